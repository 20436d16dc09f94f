"""Cutting: to the pixel where no resize is needed, centred where one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import coordinate_image, save_svs
from w2wpath.errors import SlideError
from w2wpath.frames import Scale
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.cut import cut

IMAGE = coordinate_image(640, 512)


def tiles_at(
    path: Path, corners: list[tuple[int, int]], scale: Scale, threads: int | None = None
) -> list[NDArray[np.uint8]]:
    x0, y0 = np.array(corners, dtype=np.int32).T
    with open_slide(path) as slide:
        return list(cut(slide, x0, y0, scale, threads=threads))


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 256 x 256 px whose red is x and whose green is y, at level 1 as a camera would see it."""
    y, x = np.mgrid[0:256, 0:256]
    image = np.stack([x, y, np.zeros_like(x)], axis=-1)
    quarter = image.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    path = tmp_path_factory.mktemp("ramp") / "ramp.svs"
    return save_svs(path, image.astype(np.uint8), quarter=np.round(quarter).astype(np.uint8))


@given(x0=st.integers(0, 576), y0=st.integers(0, 448))
def test_at_scale_1_a_tile_is_exact_at_any_offset(coordinate_svs: Path, x0: int, y0: int) -> None:
    (tile,) = tiles_at(coordinate_svs, [(x0, y0)], Scale(64, 64, 64, 0.5))
    assert tile.dtype == np.uint8
    assert np.array_equal(tile, IMAGE[y0 : y0 + 64, x0 : x0 + 64])


@given(column=st.integers(0, 96), row=st.integers(0, 64))
def test_at_a_quarter_a_tile_is_exact_from_level_1(coordinate_svs: Path, column: int, row: int) -> None:
    (tile,) = tiles_at(coordinate_svs, [(column * 4, row * 4)], Scale(64, 256, 256, 2.0))
    assert np.array_equal(tile, IMAGE[::4, ::4][row : row + 64, column : column + 64])


@given(
    x0=st.integers(0, 255),
    y0=st.integers(0, 255),
    side0=st.sampled_from([40, 64, 65, 100, 127, 200, 250, 256]),
)
def test_a_resized_tile_shows_what_lies_below_each_of_its_pixels(ramp: Path, x0: int, y0: int, side0: int) -> None:
    x0, y0 = min(x0, 256 - side0), min(y0, 256 - side0)
    (tile,) = tiles_at(ramp, [(x0, y0)], Scale(64, side0, side0, 0.5))
    centres = (np.arange(64) + 0.5) * side0 / 64 - 0.5
    inner = slice(6, -6)  # at the rim the filter has no neighbours on one side
    assert tile.shape == (64, 64, 3)
    assert np.abs(tile[inner, inner, 0] - (x0 + centres[inner])).max() <= 1.01
    assert np.abs(tile[inner, inner, 1] - (y0 + centres[inner])[:, None]).max() <= 1.01
    assert np.abs(tile[..., 0] - (x0 + centres)).max() <= 1 + side0 / 64


def test_tiles_come_in_order_however_many_threads_read(coordinate_svs: Path) -> None:
    corners = [(x, y) for y in range(0, 512, 16) for x in range(0, 640, 16)]
    tiles = tiles_at(coordinate_svs, corners, Scale(16, 16, 16, 0.5), threads=3)
    assert len(tiles) == 1280 > 64 * 3
    assert all(np.array_equal(tile, IMAGE[y : y + 16, x : x + 16]) for tile, (x, y) in zip(tiles, corners, strict=True))


def test_the_last_tile_of_a_slide_brings_no_white_in(coordinate_svs: Path) -> None:
    for side0 in (64, 100, 256):
        (tile,) = tiles_at(coordinate_svs, [(640 - side0, 512 - side0)], Scale(64, side0, side0, 0.5))
        assert tile[..., 2].max() <= 1  # blue is 0 everywhere on the slide


def test_a_tile_that_cannot_be_decoded_is_placed(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "torn.svs", IMAGE)
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[1], file.pages[0].databytecounts[1]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\xff" * length
    path.write_bytes(content)
    with pytest.raises(SlideError) as caught:
        tiles_at(path, [(0, 0), (128, 0)], Scale(64, 64, 64, 0.5), threads=1)
    assert str(caught.value) == (
        f"{path}: pixels at x0=128, y0=0 cannot be decoded ({caught.value.__cause__}). "
        "The file is damaged there; scan or copy it again."
    )

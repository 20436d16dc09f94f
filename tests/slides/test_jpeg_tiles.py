"""Streams of JPEG tiles: what becomes of markers, tables, restarts and padding."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.contracts.made import encoded, split
from w2wpath.slides.jpeg_tiles import RGB, YCBCR, JpegTiles, segments

TILE = np.random.default_rng(1).integers(60, 200, (64, 64, 3), dtype=np.uint8)
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


def pillow(jpeg: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def saved(**options: Any) -> bytes:
    """A JPEG as Pillow writes it."""
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def markers(jpeg: bytes) -> list[int]:
    return [marker for marker, _, _ in segments(jpeg)]


@pytest.mark.parametrize("ids", [b"", b"\x00\x01\x02", b"\x01\x02\x03", b"RGB"])
@pytest.mark.parametrize("colours", ["RGB", "YCBCR"])
def test_any_decoder_sees_the_colours_that_the_tiff_states(colours: str, ids: bytes) -> None:
    jpeg = encoded(TILE, colours, "444")
    truth = pillow(jpeg)
    tables, rest = split(jpeg, ids=ids)
    tiles = JpegTiles((64, 64), RGB if colours == "RGB" else YCBCR, tables)
    file = tiles.file(rest)
    assert file.startswith(b"\xff\xd8" + ADOBE + (b"\x00" if colours == "RGB" else b"\x01"))
    for seen in (tiles.decode(rest), pillow(file), imagecodecs.jpeg8_decode(file)):
        assert np.array_equal(seen, truth)


def test_a_jfif_marker_goes_where_it_would_belie_the_tiff() -> None:
    tables, rest = split(encoded(TILE, "RGB", "444"), ids=b"\x01\x02\x03")
    jfif = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    tiles = JpegTiles((64, 64), RGB, tables)
    assert tiles.file(rest[:2] + jfif + rest[2:]) == tiles.file(rest)


def test_a_jfif_file_stays_one_and_loses_what_is_not_pixels() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a name that no tile should carry"
    jpeg = saved(exif=exif.tobytes(), comment=b"a comment", icc_profile=b"x" * 200, subsampling="4:2:0")
    plain = saved(subsampling="4:2:0")
    tiles = JpegTiles((64, 64), YCBCR, b"")
    assert tiles.file(jpeg) == tiles.file(plain) == plain
    assert markers(plain)[0] == 0xE0


def test_tables_in_the_stream_win_over_those_of_the_page() -> None:
    other, _ = split(bytes(imagecodecs.jpeg8_encode(TILE, level=10, outcolorspace="YCBCR")))
    jpeg = encoded(TILE, "YCBCR", "444")
    tiles = JpegTiles((64, 64), YCBCR, other)
    assert np.array_equal(tiles.decode(jpeg), pillow(jpeg))
    assert np.array_equal(pillow(tiles.file(jpeg)), pillow(jpeg))


@pytest.mark.parametrize("options", [{"restart_marker_blocks": 3}, {"progressive": True}, {"optimize": True}])
def test_restarts_scans_and_tables_of_any_kind_are_read(options: dict[str, Any]) -> None:
    jpeg = saved(**options)
    tiles = JpegTiles((64, 64), YCBCR, b"")
    assert np.array_equal(tiles.decode(jpeg), pillow(jpeg))
    assert tiles.file(jpeg) == jpeg


def test_padding_after_the_end_and_fill_bytes_are_left_out() -> None:
    jpeg = saved()
    tiles = JpegTiles((64, 64), YCBCR, b"")
    assert tiles.file(jpeg + bytes(7)) == tiles.file(jpeg + b"\xff\xff") == jpeg
    assert np.array_equal(tiles.decode(jpeg[:-2] + b"\xff\xff\xd9"), pillow(jpeg))
    assert tiles.file(jpeg[:2] + b"\xff" + jpeg[2:]) == jpeg


def test_pages_whose_tiles_have_different_headers_are_read() -> None:
    first, second = saved(), saved(optimize=True)
    tiles = JpegTiles((64, 64), YCBCR, b"")
    for jpeg in (first, second, first, second, second, first):
        assert np.array_equal(tiles.decode(jpeg), pillow(jpeg))


@pytest.mark.parametrize(
    ("jpeg", "why"),
    [
        (b"", "it does not begin as a JPEG"),
        (b"\xff\xd8\xff\xd9", "its JPEG header ends early"),
        (saved()[:300], "its JPEG header ends early"),
        (saved()[:-2], "its JPEG data break off"),
        (saved()[:-2] + b"\xff\xd9junk", "its JPEG data break off"),
    ],
)
def test_what_is_cut_says_so(jpeg: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        JpegTiles((64, 64), YCBCR, b"").file(jpeg)


def test_grey_tiles_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(TILE[..., 0]).save(file, "JPEG")
    with pytest.raises(ValueError, match=r"^its JPEG has 1 components of 8 bits, not 3 of 8$"):
        JpegTiles((64, 64), YCBCR, b"").decode(file.getvalue())


@given(at=st.integers(0, 700), new=st.binary(min_size=1, max_size=40))
def test_whatever_is_broken_ends_in_pixels_of_the_right_size_or_in_an_error(at: int, new: bytes) -> None:
    jpeg = saved()
    tiles = JpegTiles((64, 64), YCBCR, b"")
    try:
        seen = tiles.decode(jpeg[:at] + new + jpeg[at + len(new) :])
    except (ValueError, imagecodecs.Jpeg8Error):
        return
    assert seen.shape == (64, 64, 3)

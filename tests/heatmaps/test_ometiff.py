"""Each pixel of the OME-TIFF is its tile, where it says that it is; smaller levels say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import file_size_limit, save_bounded_tiff
from tests.heatmaps.made import (
    CLASS_OF,
    GLASS,
    PALETTE,
    PX,
    SEEN,
    U_OF,
    ColourReader,
    made_maps,
    picture,
    save_slide,
    state_of,
)
from tests.heatmaps.test_store import FACTS
from w2wpath.config import HeatmapSettings
from w2wpath.errors import DiskError
from w2wpath.heatmaps import ometiff
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN, Maps
from w2wpath.heatmaps.ometiff import write_ometiff
from w2wpath.heatmaps.predict import read_slide
from w2wpath.progress import Silent
from w2wpath.slides.reader import open_slide

OME = {"ome": "http://www.openmicroscopy.org/Schemas/OME/2016-06"}
Xml = Any


def written(path: Path, maps: Maps, slide: str = "a.svs") -> tuple[list[NDArray[np.float32]], Xml]:
    """The levels of the file, and the parsed OME-XML."""
    write_ometiff(path, maps, replace(FACTS, slide=slide))
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        (series,) = file.series
        assert series.axes == "CYX"
        about = ElementTree.fromstring(file.ome_metadata or "")
        return [level.asarray() for level in series.levels], about


def read(path: Path) -> Maps:
    with open_slide(path, slide_mpp=0.5) as slide:
        return read_slide(
            slide,
            ColourReader(),
            threshold=0.3,
            draws=25,
            adaptive=False,
            settings=HeatmapSettings(),
            progress=Silent(),
        ).maps


def test_each_pixel_shows_the_tile_at_its_place_on_level_0(tmp_path: Path) -> None:
    (image,), about = written(tmp_path / "a.ome.tif", read(save_slide(tmp_path / "a.svs")))
    check_places(image, about, SEEN)


def test_on_a_slide_with_bounds_places_count_from_the_whole_scan(tmp_path: Path) -> None:
    # only whole tiles inside the bounds were scanned; QuPath's view begins at (64, 128)
    path = save_bounded_tiff(tmp_path / "b.tiff", picture(), (PX, 2 * PX, 4 * PX, 2 * PX), tile=PX)
    seen = np.full_like(SEEN, GLASS)
    seen[2:4, 1:5] = SEEN[2:4, 1:5]
    with open_slide(path) as slide:
        assert slide.bounds0 is not None
        assert slide.bounds0[:2] == (PX, 2 * PX)
    (image,), about = written(tmp_path / "b.ome.tif", read(path))
    check_places(image, about, seen)


def check_places(image: NDArray[np.float32], about: Xml, seen: NDArray[np.int64]) -> None:
    """Find the level-0 corner of each pixel by the file's own words, and what the slide shows there."""
    size_um = float(about.find(".//ome:Pixels", OME).get("PhysicalSizeX"))
    plane = about.find(".//ome:Plane", OME)
    left_um, top_um = float(plane.get("PositionX")), float(plane.get("PositionY"))
    assert image.shape == (4, *seen.shape)
    for (row, column), shows in np.ndenumerate(seen):
        x0, y0 = round((left_um + column * size_um) / 0.5), round((top_um + row * size_um) / 0.5)
        stroma, tumor, u, state = image[:, row, column]
        assert state == state_of(shows)
        if shows == GLASS:
            assert (stroma, tumor, u) == (0, 0, 0)
        else:
            assert (picture()[y0 : y0 + PX, x0 : x0 + PX] == PALETTE[shows]).all()
            assert (u, stroma > tumor) == (np.float32(U_OF[shows]), CLASS_OF[shows] == 0)


def test_sizes_names_and_colours_are_said(tmp_path: Path) -> None:
    maps = replace(made_maps([CONFIDENT] * 6, [0] * 6, columns=3), classes=("Tumor", "A & <B> ä 组"))
    _, about = written(tmp_path / "a.tif", maps, "sl&<i>de \x01.svs")
    pixels = about.find(".//ome:Pixels", OME)
    assert [pixels.get(f"PhysicalSize{key}") for key in ("X", "Y", "XUnit", "YUnit")] == ["50.0", "50.0", "µm", "µm"]
    channels = about.findall(".//ome:Channel", OME)
    assert [one.get("Name") for one in channels] == ["P(Tumor)", "P(A & <B> ä 组)", "u", "state"]
    assert int(channels[0].get("Color")) & 0xFFFFFFFF == 0xC80000FF
    assert about.find("ome:Image", OME).get("Name") == "sl&<i>de ?.svs: w2wpath heatmap, research use only"


def test_a_grid_that_begins_elsewhere_and_tiles_that_overlap_move_the_first_pixel(tmp_path: Path) -> None:
    maps = made_maps([CONFIDENT] * 4, [0] * 4, columns=2)
    maps = replace(maps, x0=maps.x0 // 2 + 30, y0=maps.y0 // 2 + 10, step0=50, width0=150, height0=150)
    _, about = written(tmp_path / "a.tif", maps)
    plane = about.find(".//ome:Plane", OME)
    assert float(about.find(".//ome:Pixels", OME).get("PhysicalSizeX")) == 25.0
    # the middle of the first tile is (30 + 50, 10 + 50) level-0 pixels, half a step from the corner of its pixel
    assert (float(plane.get("PositionX")), float(plane.get("PositionY"))) == ((80 - 25) * 0.5, (60 - 25) * 0.5)


def large(rows: int, columns: int, seed: int) -> Maps:
    rng = np.random.default_rng(seed)
    n = rows * columns
    return made_maps(rng.integers(0, 3, n).tolist(), rng.integers(0, 2, n).tolist(), columns=columns)


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_smaller_level_is_the_mean_of_analysed_tiles_and_what_most_are(rows: int, columns: int, seed: int) -> None:
    maps = large(rows, columns, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ometiff, "SMALLEST_PX", 1)
        levels = ometiff._levels(maps)
    state = maps.state.reshape(rows, columns)
    tumor = maps.probs_nk[:, 1].reshape(rows, columns)
    for number, level in enumerate(levels):
        block = 2**number
        assert level.shape == (4, -(-rows // block), -(-columns // block))
        for r in range(level.shape[1]):
            for c in range(level.shape[2]):
                under = np.s_[r * block : (r + 1) * block, c * block : (c + 1) * block]
                most = max((UNCERTAIN, CONFIDENT, NOT_ANALYSED), key=lambda code: (state[under] == code).sum())
                assert level[3, r, c] == most
                mean = 0.0 if most == NOT_ANALYSED else np.nanmean(tumor[under])
                assert level[1, r, c] == pytest.approx(mean, abs=1e-6)
    assert levels[-1].shape[1:] == (1, 1)


def test_a_large_map_is_a_pyramid(tmp_path: Path) -> None:
    maps = large(30, 700, 0)
    levels, _ = written(tmp_path / "a.tif", maps)
    assert [level.shape for level in levels] == [(4, 30, 700), (4, 15, 350), (4, 8, 175)]
    assert np.array_equal(levels[0][3].ravel(), maps.state)
    assert all(np.isfinite(level).all() for level in levels)


@pytest.mark.parametrize("width0", [50, 300])
def test_a_slide_without_a_tile_gives_one_empty_pixel(tmp_path: Path, width0: int) -> None:
    maps = replace(made_maps([], [], columns=3), width0=width0)
    (image,), _ = written(tmp_path / "a.tif", maps)
    assert image.shape == (4, 1, 1)
    assert not image.any()


def test_the_same_maps_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        written(tmp_path / name, large(3, 4, 1))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    path.write_bytes(b"old")
    with file_size_limit(2000), pytest.raises(DiskError) as caught:
        write_ometiff(path, large(60, 60, 2), FACTS)
    assert str(caught.value) == (
        f"{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

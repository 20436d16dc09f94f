"""What is written for QuPath reads back as the same areas and classes, in every frame."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openslide import OpenSlide
from openslide.deepzoom import DeepZoomGenerator
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry

from tests.conftest import coordinate_image, save_bounded_tiff, write_geojson
from w2wpath.config import RoiSettings, TileSettings
from w2wpath.frames import FRAMES, Frame, named_frame
from w2wpath.qupath.check import check_geojson
from w2wpath.qupath.read import read_rois
from w2wpath.qupath.write import RegionObject, TileObject, write_regions, write_tiles
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import Entry
from w2wpath.tiles.store import TileStore

BOUNDS = (256, 128, 512, 384)
COLOUR = (200, 0, 0)
NAMES = st.sampled_from(["Tumor", "Tumor: Positive", "Tumör", "a b", "腫瘍", "x" * 60])
FRAME = st.sampled_from([named_frame(name, 1024, 768, BOUNDS) for name in FRAMES])
INSIDE = st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(1, 100), st.floats(1, 100))


def blob(place: tuple[float, float, float, float]) -> BaseGeometry:
    """An ellipse with a hole: corner, width and height."""
    x, y, width, height = place
    round_ = shapely.affinity.scale(Point(x + width / 2, y + height / 2).buffer(0.5), width, height)
    return round_.difference(shapely.affinity.scale(round_, 0.3, 0.3))


def region(name: str, area: BaseGeometry) -> RegionObject:
    return RegionObject(uuid.uuid5(uuid.NAMESPACE_OID, name), name, COLOUR, area, None)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.lists(st.tuples(NAMES, INSIDE), min_size=1, max_size=5), frame=FRAME)
def test_outlines_come_back_in_the_slide_frame(tmp_path: Path, drawn: list[Any], frame: Frame) -> None:
    areas0 = [shapely.transform(blob(place), lambda xy: xy + 300) for _, place in drawn]
    path = tmp_path / "regions.geojson.gz"
    objects = [
        region(name, shapely.transform(area, frame.from_slide)) for (name, _), area in zip(drawn, areas0, strict=True)
    ]
    assert write_regions(path, objects, {}) == len(drawn)
    rois = read_rois(path)
    assert [roi.class_name for roi in rois.regions] == [name for name, _ in drawn]
    assert (rois.repaired(), rois.skipped()) == ((), {})
    for roi, area0 in zip(rois.regions, areas0, strict=True):
        back = shapely.transform(roi.geometry, frame.to_slide)
        assert shapely.hausdorff_distance(back, area0) < 0.02
        assert back.area == pytest.approx(area0.area, rel=0.05)
        assert len(shapely.get_rings(shapely.get_parts(back))) == len(shapely.get_rings(shapely.get_parts(area0)))
    assert check_geojson(path).faults == ()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x0=st.integers(-50, 2000), y0=st.integers(-50, 2000), side0=st.integers(8, 512), name=NAMES, frame=FRAME)
def test_tiles_come_back_on_the_same_pixels(
    tmp_path: Path, x0: int, y0: int, side0: int, name: str, frame: Frame
) -> None:
    x, y = frame.corner_from_slide(x0, y0, side0)
    path = tmp_path / "tiles.geojson"
    write_tiles(path, [TileObject(uuid.uuid4(), x, y, side0, name, COLOUR, {"w2w uncertainty": 0.5})], {})
    rois = read_rois(path, RoiSettings(include=("tile",)))
    assert [roi.class_name for roi in rois.regions] == [name]
    back = shapely.transform(rois.regions[0].geometry, frame.to_slide)
    assert back.equals(box(x0, y0, x0 + side0, y0 + side0))
    assert check_geojson(path).faults == ()


def pink_in_one_place(width: int, height: int, tissue0: tuple[int, int, int, int]) -> np.ndarray:
    image = np.full((height, width, 3), 245, dtype=np.uint8)
    left, top, wide, high = tissue0
    image[top : top + high, left : left + wide] = (200, 120, 180)
    return image


def test_a_file_drawn_in_the_shifted_frame_finds_its_pixels_by_itself(tmp_path: Path) -> None:
    """OpenSlide states bounds for this TIFF, as for MIRAX: QuPath shows, and counts from, its scanned area."""
    image = coordinate_image(1024, 768)
    image[:] = pink_in_one_place(1024, 768, (384, 256, 128, 128))
    slide = save_bounded_tiff(tmp_path / "shifted.tiff", image, BOUNDS)
    shown = DeepZoomGenerator(OpenSlide(slide), tile_size=512, overlap=0, limit_bounds=True)
    assert shown.level_dimensions[-1] == BOUNDS[2:]
    tissue_as_shown = box(384 - 256, 256 - 128, 512 - 256, 384 - 128)
    rois = write_geojson(tmp_path / "rois.geojson", [("Tumor", tissue_as_shown)])
    settings = TileSettings(tile_px=64, mpp=0.5)
    (outcome,) = tile(tmp_path / "tiles.zarr", [Entry(slide, rois, "P1")], settings)
    assert (outcome.error, outcome.tiles) == ("", 4)
    store = TileStore.open(tmp_path / "tiles.zarr")
    assert store.attributes("shifted")["origin"]["name"] == "qupath"
    assert {tuple(pixel) for pixel in store.images("shifted").reshape(-1, 3).tolist()} == {(200, 120, 180)}
    report = (tmp_path / "tiles.zarr.imports" / "shifted.json").read_text("utf-8")
    assert '"frame": "qupath"' in report

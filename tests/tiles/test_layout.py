"""What is decided of a slide's tiles before any pixel is read."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from tests.conftest import write_geojson
from w2wpath.config import ClassMap, TileSettings
from w2wpath.errors import AnnotationError, ConfigError
from w2wpath.frames import Frame, Scale
from w2wpath.qupath.read import read_rois
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.layout import TILE_NAMESPACE, lay_out, tile_ids
from w2wpath.tiles.store import COLUMNS, SlideTiles

IN_FRAME = Frame("qupath", 0, 0, 640, 512)
Regions = list[tuple[str | None, BaseGeometry]]


class Bench:
    """Lays out one coordinate slide of 640 x 512 px with tiles of 64 level-0 pixels."""

    def __init__(self, slide: Path, folder: Path) -> None:
        self.slide, self.rois = slide, folder / "rois.geojson"

    def __call__(
        self, regions: Regions, *, patient: str | None = "P1", frame: Frame = IN_FRAME, **settings: Any
    ) -> SlideTiles:
        chosen = TileSettings(tile_px=64, **settings)
        rois = read_rois(write_geojson(self.rois, regions), chosen)
        with open_slide(self.slide) as slide:
            return lay_out(slide, self.slide, Scale(64, 64, 64, 0.5), rois, frame, patient, chosen, "abc")


@pytest.fixture
def bench(coordinate_svs: Path, tmp_path: Path) -> Bench:
    return Bench(coordinate_svs, tmp_path)


def corners(tiles: SlideTiles) -> list[tuple[int, int]]:
    return list(zip(tiles.columns["x0"].tolist(), tiles.columns["y0"].tolist(), strict=True))


def test_every_column_has_its_type_and_one_row_per_tile(bench: Bench) -> None:
    tiles = bench([("Tumor", box(0, 0, 128, 64)), ("Stroma", box(128, 0, 192, 64))])
    assert {name: str(tiles.columns[name].dtype) for name in COLUMNS} == {
        **dict.fromkeys(("x0", "y0", "side0", "roi", "patient", "core"), "int32"),
        **dict.fromkeys(("valid_share", "area_share"), "float32"),
        "label": "int16",
        "tile_id": "uint8",
    }
    assert {len(tiles.columns[name]) for name in COLUMNS} == {tiles.n} == {3}
    assert tiles.attributes["classes"] == ["Stroma", "Tumor"]
    assert tiles.columns["label"].tolist() == [1, 1, 0]


def test_border_and_conflict_are_stored_without_a_label_and_counted(bench: Bench) -> None:
    tiles = bench(
        [("Tumor", box(0, 0, 64 + 20, 64)), ("Tumor", box(128, 0, 192, 64)), ("Stroma", box(128, 0, 192, 32))]
    )
    assert corners(tiles) == [(0, 0), (64, 0), (128, 0)]
    assert tiles.columns["label"].tolist() == [1, -1, -1]
    assert tiles.attributes["counts"] == {
        "tiles": 3,
        "by_class": {"Stroma": 0, "Tumor": 1},
        "border": 1,
        "conflict": 1,
    }


def test_a_tile_is_stored_from_the_smallest_share_on(bench: Bench) -> None:
    regions: Regions = [("Tumor", box(0, 0, 64, 64)), ("Tumor", box(64, 0, 128, 16))]
    assert corners(bench(regions, min_share=0.25)) == [(0, 0), (64, 0)]
    assert corners(bench(regions, min_share=0.26)) == [(0, 0)]


def test_regions_move_with_the_frame_and_tiles_stay_in_the_slides(bench: Bench) -> None:
    frame = Frame("qupath", 128, 192, 256, 128)
    tiles = bench([("Tumor", box(0, 0, 64, 64)), ("Ignore*", box(0, 0, 64, 32))], frame=frame)
    assert corners(tiles) == [(128, 192)]
    assert tiles.columns["area_share"].tolist() == [[0.5]]
    assert tiles.attributes["origin"] == {
        "name": "qupath",
        "x0": 128,
        "y0": 192,
        "width0": 256,
        "height0": 128,
        "turns": 0,
    }


def test_regions_of_a_turned_image_are_turned_back(bench: Bench) -> None:
    # the frame shows 640 x 512 px turned clockwise: its top right corner is the slide's top left
    tiles = bench([("Tumor", box(512 - 64, 0, 512, 128))], frame=Frame("qupath-rot90", 0, 0, 640, 512, 1))
    assert corners(tiles) == [(0, 0), (64, 0)]


def test_only_area_in_the_scope_counts(bench: Bench) -> None:
    regions: Regions = [("Tumor", box(0, 0, 256, 64)), ("Region*", box(0, 0, 96, 64))]
    tiles = bench(regions, class_map=ClassMap(starred={"Region*": "scope"}))
    assert corners(tiles) == [(0, 0), (64, 0)]
    assert tiles.columns["area_share"].tolist() == [[1.0], [0.5]]
    with pytest.raises(AnnotationError) as caught:
        bench([regions[0], ("Region*", box(300, 0, 400, 64))], class_map=ClassMap(starred={"Region*": "scope"}))
    assert str(caught.value) == (f"{bench.rois}: no region lies in the scope. Draw the scope around the regions.")


def test_the_grid_may_begin_at_the_regions(bench: Bench) -> None:
    regions: Regions = [("Tumor", box(10, 20, 138, 84))]
    assert corners(bench(regions, anchor="roi")) == [(10, 20), (74, 20)]
    assert (10, 20) not in corners(bench(regions, anchor="slide"))


def test_roi_points_at_the_line_of_the_import_report(bench: Bench) -> None:
    tiles = bench(
        [
            (None, box(0, 0, 9, 9)),
            ("Tumor", box(0, 0, 64, 64)),
            ("Region*", box(0, 0, 9, 9)),
            ("AC", box(64, 0, 128, 64)),
        ]
    )
    regions = {line["index"]: line["class"] for line in tiles.attributes["regions"]}
    assert [regions[index] for index in tiles.columns["roi"].tolist()] == ["Tumor", "AC"]
    assert tiles.attributes["import_report"] == {
        "objects": 4,
        "kept": 2,
        "repaired": 0,
        "ignored": 2,
        "ignored_by_reason": {"class Region* is not a label": 1, "no class": 1},
    }
    assert tiles.attributes["colours"] == {"AC": [200, 0, 0], "Tumor": [200, 0, 0]}


def test_an_id_names_slide_and_box_in_every_run() -> None:
    x0, y0 = np.array([0, 64], dtype=np.int32), np.array([5, 5], dtype=np.int32)
    ids = tile_ids("abc", x0, y0, 64)
    assert (ids.shape, ids.dtype) == ((2, 16), np.uint8)
    assert uuid.UUID(bytes=ids[1].tobytes()) == uuid.uuid5(TILE_NAMESPACE, "abc 64 5 64")
    assert not np.array_equal(ids, tile_ids("abd", x0, y0, 64))
    assert tile_ids("abc", x0[:0], y0[:0], 64).shape == (0, 16)


def test_pixels_and_labels_have_hashes_of_their_own(bench: Bench) -> None:
    regions: Regions = [("Tumor", box(0, 0, 128, 64))]
    first = bench(regions).attributes
    other_patient = bench(regions, patient="P2").attributes
    other_class = bench([("Stroma", box(0, 0, 128, 64))]).attributes
    other_place = bench([("Tumor", box(0, 64, 128, 128))]).attributes
    for other in (other_patient, other_class):
        assert other["pixels_hash"] == first["pixels_hash"]
        assert other["labels_hash"] != first["labels_hash"]
    assert other_place["pixels_hash"] != first["pixels_hash"]
    assert bench(regions).attributes == first


def test_a_slide_without_a_patient_stands_in_for_one_and_says_so(bench: Bench) -> None:
    regions: Regions = [("Tumor", box(0, 0, 64, 64))]
    given, guessed = bench(regions).attributes, bench(regions, patient=None).attributes
    assert (given["patients"], given["patient_from"]) == (["P1"], "given")
    assert (guessed["patients"], guessed["patient_from"]) == (["coordinates"], "slide name")


def test_regions_off_the_slide_say_how_large_it_is(bench: Bench) -> None:
    with pytest.raises(AnnotationError) as caught:
        bench([("Tumor", box(5000, 5000, 6000, 6000))])
    assert str(caught.value) == (
        f"{bench.rois}: no tile of 64 level-0 pixels is covered by a ROI to 0.1 on coordinates.svs (640 x 512). "
        "Check that they belong together, or make tiles smaller."
    )


def test_a_class_outside_the_fixed_set_is_refused_with_a_hint(bench: Bench) -> None:
    with pytest.raises(ConfigError) as caught:
        bench([("Tumour", box(0, 0, 64, 64))], classes=("Stroma", "Tumor"))
    assert str(caught.value) == (
        f"{bench.rois}: class 'Tumour' is not one of --classes Stroma, Tumor. Did you mean 'Tumor'? "
        "Add it, or mend the annotation."
    )


def test_a_fixed_set_keeps_its_order_and_classes_not_seen(bench: Bench) -> None:
    tiles = bench([("AC", box(0, 0, 64, 64))], classes=("H", "AC"))
    assert tiles.attributes["classes"] == ["H", "AC"]
    assert tiles.columns["label"].tolist() == [1]
    assert tiles.attributes["counts"]["by_class"] == {"H": 0, "AC": 1}

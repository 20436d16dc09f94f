"""What is decided of a slide's tiles before any pixel is read."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from tests.conftest import write_geojson
from w2wpath.config import ClassMap, TileSettings
from w2wpath.errors import AnnotationError, CohortError, ConfigError
from w2wpath.frames import Frame, Scale
from w2wpath.qupath.read import Core, read_rois
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.layout import TILE_NAMESPACE, lay_out, tile_ids
from w2wpath.tiles.patients import PatientOf
from w2wpath.tiles.store import COLUMNS, SlideTiles

IN_FRAME = Frame("qupath", 0, 0, 640, 512)
Regions = list[tuple[str | None, BaseGeometry]]


class Bench:
    """Lays out one coordinate slide of 640 x 512 px with tiles of 64 level-0 pixels."""

    def __init__(self, slide: Path, folder: Path) -> None:
        self.slide, self.rois = slide, folder / "rois.geojson"

    def __call__(
        self,
        regions: Regions,
        *,
        patient: PatientOf | str | None = "P1",
        frame: Frame = IN_FRAME,
        cores: tuple[Core, ...] = (),
        **settings: Any,
    ) -> SlideTiles:
        chosen = TileSettings(tile_px=64, **settings)
        rois = replace(read_rois(write_geojson(self.rois, regions), chosen), cores=cores)
        with open_slide(self.slide) as slide:
            scale = Scale(64, 64, chosen.step_px, 0.5)
            return lay_out(slide, self.slide, scale, rois, frame, patient, chosen, "abc")


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


# overlapping regions, policies, edges -------------------------------------------------------------------------------


def test_regions_that_overlap_never_give_a_tile_twice(bench: Bench) -> None:
    regions: Regions = [("Tumor", box(0, 0, 200, 200)), ("Tumor", box(50, 50, 260, 260)), ("AC", box(0, 0, 260, 90))]
    tiles = bench(regions, stride_px=24)
    assert len(set(corners(tiles))) == tiles.n > 60
    assert len({row.tobytes() for row in tiles.columns["tile_id"]}) == tiles.n


MIXED: Regions = [
    ("A", box(0, 0, 64, 64)),
    ("B", box(0, 0, 64, 32)),
    ("A", box(64, 0, 128, 32)),
    ("B", box(64, 32, 128, 64)),
    ("B", box(128, 0, 192, 20)),
]


@pytest.mark.parametrize(
    ("settings", "label", "border", "conflict"),
    [
        ({}, [-1, -1, -1], 1, 2),
        ({"policy": "majority"}, [0, -1, -1], 1, 1),
        ({"policy": "priority"}, [0, 0, -1], 1, 0),
        ({"policy": "priority", "priority": ("C", "B", "A")}, [1, 1, -1], 1, 0),
        ({"policy": "multi"}, [0, 0, -1], 1, 0),
        ({"policy": "multi", "label_share": 0.3}, [0, 0, 1], 0, 0),
    ],
)
def test_the_policy_decides_of_the_same_shares(
    bench: Bench, settings: dict[str, Any], label: list[int], border: int, conflict: int
) -> None:
    tiles = bench(MIXED, **settings)
    found = tiles.attributes["counts"]
    assert tiles.columns["label"].tolist() == label
    assert (found["border"], found["conflict"]) == (border, conflict)
    assert np.array_equal(tiles.columns["area_share"], bench(MIXED).columns["area_share"])


def test_a_class_without_a_rank_is_refused_with_a_hint(bench: Bench) -> None:
    with pytest.raises(ConfigError) as caught:
        bench([("Tumour", box(0, 0, 64, 64))], policy="priority", priority=("Stroma", "Tumor"))
    assert str(caught.value) == (
        "rois.geojson: class 'Tumour' has no rank in priority Stroma, Tumor. Did you mean 'Tumor'? "
        "Name every class there."
    )


def test_what_multi_claims_changes_the_hash_of_the_labels(bench: Bench) -> None:
    whole: Regions = [("A", box(0, 0, 64, 64)), ("B", box(0, 0, 64, 32))]
    one, other = (bench(whole, policy="multi", label_share=share) for share in (0.5, 0.6))
    assert one.columns["label"].tolist() == other.columns["label"].tolist()
    assert one.attributes["labels_hash"] != other.attributes["labels_hash"]


def test_a_tile_over_the_edge_is_dropped_padded_or_shifted(bench: Bench) -> None:
    # the slide has 640 x 512 px: with tiles of 64 from (32, 0) the last column reaches over its right edge
    regions: Regions = [("Tumor", box(32, 0, 700, 64))]
    dropped, padded, shifted = (bench(regions, anchor="roi", edge=edge) for edge in ("drop", "pad", "shift"))
    inner = [(32 + 64 * i, 0) for i in range(9)]
    assert corners(dropped) == inner
    assert corners(padded) == [*inner, (608, 0)]
    assert corners(shifted) == [(0, 0), *inner, (576, 0)]
    assert padded.columns["valid_share"].tolist() == [*[1.0] * 9, 0.5]
    assert padded.columns["area_share"].tolist() == [*[[1.0]] * 9, [0.5]]  # of the whole tile, and only on the slide
    assert padded.columns["label"].tolist() == [0] * 10
    assert set(dropped.columns["valid_share"].tolist()) == set(shifted.columns["valid_share"].tolist()) == {1.0}


# cores and patients -------------------------------------------------------------------------------------------------

PAIR = (Core("A-1", box(0, 0, 128, 128), False), Core("A-2", box(128, 0, 256, 128), False))
ROW: Regions = [("Tumor", box(0, 0, 320, 64))]


def test_each_tile_has_the_core_that_holds_its_centre(bench: Bench) -> None:
    gone = Core("A-0", box(0, 0, 64, 64), True)
    also = Core("A-3", box(96, 0, 160, 64), False)
    tiles = bench(ROW, cores=(gone, *PAIR, also))
    assert tiles.attributes["cores"] == ["A-1", "A-2", "A-3"]
    assert tiles.columns["core"].tolist() == [0, 0, 1, 1, -1]
    assert bench(ROW, cores=(gone,)).columns["core"].tolist() == [-1] * 5


def test_cores_move_with_the_frame(bench: Bench) -> None:
    tiles = bench(ROW, cores=PAIR, frame=Frame("qupath", 64, 64, 512, 256))
    assert corners(tiles)[0] == (64, 64)
    assert tiles.columns["core"].tolist() == [0, 0, 1, 1, -1]


def test_a_core_gives_its_tiles_their_patient_and_a_tile_in_none_gets_no_label(bench: Bench) -> None:
    who = PatientOf("coordinates", "cores", {"A-1": "P9", "A-2": "P3", "B-7": "P4"}, "cores.csv")
    tiles = bench(ROW, cores=PAIR, patient=who)
    assert tiles.attributes["patients"] == ["P3", "P9", "coordinates"]
    assert tiles.columns["patient"].tolist() == [1, 1, 0, 0, 2]
    assert tiles.columns["label"].tolist() == [0, 0, 0, 0, -1]
    assert tiles.attributes["patient_from"] == "cores"
    assert tiles.attributes["core_patients"] == {"A-1": "P9", "A-2": "P3", "B-7": "P4"}
    assert tiles.attributes["counts"] == {
        "tiles": 5,
        "by_class": {"Tumor": 4},
        "border": 0,
        "conflict": 0,
        "in_no_core": 1,
    }


def test_a_core_without_a_patient_is_named(bench: Bench) -> None:
    with pytest.raises(CohortError) as caught:
        bench(ROW, cores=PAIR, patient=PatientOf("coordinates", "cores", {"A-1": "P9"}, "cores.csv"))
    assert str(caught.value) == (
        "cores.csv: names no patient for core(s) A-2 of slide 'coordinates', which hold tiles. "
        "Add a row slide, core, patient for each, or mark them missing in QuPath."
    )


def test_patients_of_cores_that_change_places_change_the_hash(bench: Bench) -> None:
    one, other = (
        bench(ROW, cores=PAIR, patient=PatientOf("coordinates", "cores", dict(zip(("A-1", "A-2"), names, strict=True))))
        for names in (("P1", "P2"), ("P2", "P1"))
    )
    assert one.attributes["patients"] == other.attributes["patients"]
    assert one.attributes["labels_hash"] != other.attributes["labels_hash"]
    assert one.attributes["pixels_hash"] == other.attributes["pixels_hash"]

"""Other labels and patients for stored tiles: what `tile` would give on the same tiles, without a pixel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from w2wpath.config import ClassMap, TileSettings
from w2wpath.errors import AnnotationError, CohortError, ConfigError, StoreError
from w2wpath.frames import Frame, Scale
from w2wpath.qupath.read import Core, Roi, Rois
from w2wpath.qupath.report import Line
from w2wpath.tiles.layout import lay_out
from w2wpath.tiles.patients import PatientOf
from w2wpath.tiles.relabel import relabelled, stored_patient, stored_settings, with_patients
from w2wpath.tiles.store import SlideTiles

SLIDE: Any = SimpleNamespace(width0=640, height0=512, mpp=0.5, mpp_from="header", downsamples=(1.0,))
FRAME = Frame("qupath", 0, 0, 640, 512)
PATIENT = PatientOf("P1", "given")
Regions = list[tuple[str, BaseGeometry]]


def annotated(regions: Regions, cores: tuple[Core, ...] = (), file: str = "r.geojson") -> Rois:
    return Rois(
        Path(file),
        tuple(Roi(name, area, i) for i, (name, area) in enumerate(regions)),
        cores=cores,
        report=tuple(Line(i, area.wkt[:100], name, "kept", "label") for i, (name, area) in enumerate(regions)),
    )


def tiled(rois: Rois, patient: PatientOf = PATIENT, frame: Frame = FRAME, **settings: Any) -> SlideTiles:
    chosen = TileSettings(tile_px=64, **settings)
    return lay_out(SLIDE, Path("s.svs"), Scale(64, 64, chosen.step_px, 0.5), rois, frame, patient, chosen, "abc")


def again(tiles: SlideTiles, rois: Rois | None = None, frame: Frame | None = None, **changed: Any) -> SlideTiles:
    settings = stored_settings(tiles)
    return relabelled(tiles, rois, frame, settings.model_validate({**settings.model_dump(), **changed}))


def same(one: SlideTiles, other: SlideTiles) -> bool:
    return one.attributes == other.attributes and all(
        np.array_equal(one.columns[name], other.columns[name]) and one.columns[name].dtype == other.columns[name].dtype
        for name in {*one.columns, *other.columns}
    )


MIXED: Regions = [
    ("A", box(0, 0, 64, 64)),
    ("B", box(0, 0, 64, 32)),
    ("A", box(64, 0, 128, 32)),
    ("B", box(64, 32, 128, 64)),
    ("B", box(128, 0, 192, 20)),
]
POLICIES: list[dict[str, Any]] = [
    {},
    {"policy": "majority"},
    {"policy": "priority", "priority": ("B", "A")},
    {"policy": "multi", "label_share": 0.3},
    {"label_share": 0.3, "conflict_share": 0.9},
    {"classes": ("B", "C", "A")},
]


@pytest.mark.parametrize("settings", POLICIES, ids=str)
@pytest.mark.parametrize("with_file", [True, False])
def test_relabelling_gives_what_tile_would_have_given(settings: dict[str, Any], with_file: bool) -> None:
    rois = annotated(MIXED)
    wanted = tiled(rois, **settings)
    for before in POLICIES:
        found = again(
            tiled(rois, **before),
            rois if with_file else None,
            **{
                **TileSettings().model_dump(include={"policy", "priority", "label_share", "conflict_share", "classes"}),
                **settings,
            },
        )
        assert same(found, wanted)


def test_what_is_relabelled_stays_as_it_was() -> None:
    tiles = tiled(annotated(MIXED))
    before = tiles.columns["label"].copy()
    found = again(tiles, policy="majority")
    assert found.columns["label"].tolist() != before.tolist()
    assert np.array_equal(tiles.columns["label"], before)
    assert tiles.attributes["settings"]["policy"] == "drop-conflict"
    assert found.attributes["pixels_hash"] == tiles.attributes["pixels_hash"]
    assert found.attributes["labels_hash"] != tiles.attributes["labels_hash"]


corner, length = st.integers(0, 400), st.integers(100, 300)
drawn = st.lists(
    st.tuples(
        st.sampled_from("AB"), st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), corner, corner, length, length)
    ),
    min_size=1,
    max_size=4,
)


@given(before=drawn, after=drawn, edge=st.sampled_from(("drop", "pad", "shift")), stride_px=st.sampled_from((40, 64)))
def test_edited_annotations_label_the_stored_tiles_as_tile_would(
    before: Regions, after: Regions, edge: str, stride_px: int
) -> None:
    shares = {"min_share": 0.2, "policy": "majority", "classes": ("A", "B")}
    stored = tiled(annotated(before), edge=edge, stride_px=stride_px, **shares)
    wanted = tiled(annotated(after), edge=edge, stride_px=stride_px, **shares)
    both = set(stored.corners) & set(wanted.corners)
    if not both:
        with pytest.raises(AnnotationError):
            again(stored, annotated(after))
        return
    found = again(stored, annotated(after))
    assert found.corners == stored.corners
    row = {corner: i for i, corner in enumerate(wanted.corners)}
    for i, place in enumerate(found.corners):
        if place in both:
            for name in found.columns:
                assert np.array_equal(found.columns[name][i], wanted.columns[name][row[place]]), name
        else:
            assert found.columns["label"][i] == -1
    counts = found.attributes["counts"]
    assert counts.get("below_min_share", 0) == stored.n - len(both)
    assert counts.get("not_stored", 0) == wanted.n - len(both)
    assert sum(counts["by_class"].values()) + counts["border"] + counts["conflict"] == len(both)


def test_all_that_is_said_of_the_annotations_is_new() -> None:
    stored = tiled(annotated([("A", box(0, 0, 128, 64))]))
    edited = annotated([("B", box(0, 0, 128, 64))], file="edited.geojson")
    found = again(stored, edited)
    assert same(found, tiled(edited))
    assert (found.attributes["classes"], found.attributes["rois_file"]) == (["B"], "edited.geojson")


def test_edited_annotations_may_be_in_another_frame() -> None:
    moved = Frame("qupath", 64, 0, 512, 512)
    stored = tiled(annotated([("A", box(0, 0, 256, 64))]))
    found = again(stored, annotated([("A", box(0, 0, 128, 64))]), moved)
    assert found.columns["label"].tolist() == [-1, 0, 0, -1]
    assert found.attributes["origin"]["x0"] == 64
    assert again(found, annotated([("A", box(0, 0, 64, 64))])).columns["label"].tolist() == [-1, 0, -1, -1]


def test_a_grid_that_began_at_the_regions_stays_where_it_is() -> None:
    stored = tiled(annotated([("A", box(10, 20, 138, 84))]), anchor="roi")
    found = again(stored, annotated([("A", box(74, 20, 202, 84))]))
    assert found.corners == [(10, 20), (74, 20)]
    assert found.columns["label"].tolist() == [-1, 0]
    assert found.attributes["counts"] == {
        "tiles": 2,
        "by_class": {"A": 1},
        "border": 0,
        "conflict": 0,
        "below_min_share": 1,
        "not_stored": 1,
    }


def test_what_is_not_stored_stays_counted_until_other_annotations_come() -> None:
    stored = tiled(annotated([("A", box(0, 0, 128, 64))]))
    wider = again(stored, annotated([("A", box(0, 0, 256, 64))]))
    assert wider.attributes["counts"]["not_stored"] == 2
    assert again(wider, policy="majority").attributes["counts"]["not_stored"] == 2
    assert with_patients(wider, PatientOf("P2", "given")).attributes["counts"]["not_stored"] == 2
    assert same(again(wider, annotated([("A", box(0, 0, 128, 64))])), stored)


def test_tiles_that_cannot_be_read_are_not_missing() -> None:
    rois = annotated([("A", box(0, 0, 256, 64))])
    stored = tiled(rois).without_damaged(np.array([True, False, True, True]))
    found = again(stored, rois)
    assert found.attributes["counts"] == {"tiles": 3, "by_class": {"A": 3}, "border": 0, "conflict": 0}
    assert found.attributes["damaged"] == [[64, 0]]


def test_a_larger_min_share_takes_labels_away() -> None:
    stored = tiled(annotated([("A", box(0, 0, 64 + 40, 64))]))
    found = again(stored, min_share=0.7)
    assert found.columns["label"].tolist() == [0, -1]
    assert found.attributes["counts"]["below_min_share"] == 1


def test_columns_and_attributes_of_others_are_kept() -> None:
    stored = tiled(annotated(MIXED))
    more = SlideTiles(
        {**stored.columns, "tissue": np.ones(stored.n, dtype=np.float32)}, {**stored.attributes, "scanner": "x"}
    )
    for found in (again(more, policy="multi"), again(more, annotated(MIXED)), with_patients(more, PATIENT)):
        assert found.columns["tissue"].tolist() == [1.0] * stored.n
        assert found.attributes["scanner"] == "x"


# refused ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tile_px": 128}, "tile_px 64, not 128. Run `w2wpath tile` again, or leave tile_px as it was."),
        ({"stride_px": 32}, "step_px 64, not 32. Run `w2wpath tile` again, or leave step_px as it was."),
        ({"edge": "pad"}, "edge drop, not pad. Run `w2wpath tile` again, or leave edge as it was."),
        ({"origin": "slide"}, "origin auto, not slide. Give the annotation file, or leave origin as it was."),
        (
            {"class_map": ClassMap(unclassified="error")},
            "another class map. Give the annotation file, or leave class_map as it was.",
        ),
        (
            {"min_share": 0.05},
            "min_share 0.1, so tiles covered to 0.05 are not stored. "
            "Run `w2wpath tile` again, or leave min_share as it was.",
        ),
    ],
)
def test_what_needs_other_tiles_or_the_file_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        again(tiled(annotated(MIXED)), **changed)
    assert str(caught.value) == f"s.svs: was tiled with {words}"


def test_with_the_file_a_smaller_min_share_is_counted() -> None:
    rois = annotated([("A", box(0, 0, 64 + 5, 64))])
    found = again(tiled(rois), rois, min_share=0.05)
    assert found.attributes["counts"]["not_stored"] == 1


def test_annotations_that_cover_no_stored_tile_are_refused() -> None:
    with pytest.raises(AnnotationError) as caught:
        again(tiled(annotated(MIXED)), annotated([("A", box(300, 300, 400, 400))]))
    assert str(caught.value) == (
        "r.geojson: no stored tile of s.svs is covered by a ROI to 0.1. "
        "Check that they belong together, or run `w2wpath tile` again."
    )


def test_a_class_that_the_new_settings_do_not_know_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        again(tiled(annotated(MIXED)), classes=("A",))
    assert str(caught.value) == ("r.geojson: class 'B' is not one of --classes A. Add it, or mend the annotation.")


def test_a_slide_of_an_older_version_is_refused() -> None:
    stored = tiled(annotated(MIXED))
    old = SlideTiles(stored.columns, {key: stored.attributes[key] for key in stored.attributes if key != "anchor0"})
    with pytest.raises(StoreError) as caught:
        stored_settings(old)
    assert str(caught.value) == (
        "s.svs: was tiled by an older w2wpath, which did not keep all that is needed. "
        "Run `w2wpath tile` on this slide again."
    )


# cores and patients -------------------------------------------------------------------------------------------------

CORES = (Core("A-1", box(0, 0, 64, 64), False), Core("A-2", box(64, 0, 128, 64), False))
ROW: Regions = [("A", box(0, 0, 192, 64))]
BY_CORE = PatientOf("s", "cores", {"A-1": "P1", "A-2": "P2"})


def test_tiles_keep_their_patients() -> None:
    for who in (PATIENT, PatientOf("7", "regex"), PatientOf("s", "slide name"), BY_CORE):
        rois = annotated(ROW, CORES)
        stored = tiled(rois, who)
        assert stored_patient(stored) == who
        for found in (again(stored), again(stored, rois)):
            assert same(found, stored)


def test_a_file_without_cores_leaves_them_and_one_with_cores_moves_them() -> None:
    stored = tiled(annotated(ROW, CORES), BY_CORE)
    assert again(stored, annotated(ROW)).columns["core"].tolist() == [0, 1, -1]
    wider = (CORES[0], Core("A-2", box(64, 0, 192, 64), False))
    found = again(stored, annotated(ROW, wider))
    assert found.columns["core"].tolist() == [0, 1, 1]
    assert found.columns["label"].tolist() == [0, 0, 0]
    assert "in_no_core" not in found.attributes["counts"]
    with pytest.raises(CohortError) as caught:
        again(stored, annotated(ROW, (*CORES, Core("A-3", box(128, 0, 192, 64), False))))
    assert str(caught.value) == (
        "the core table: names no patient for core(s) A-3 of slide 's', which hold tiles. "
        "Add a row slide, core, patient for each, or mark them missing in QuPath."
    )


def test_patients_may_change_afterwards_as_if_they_had_been_said_before() -> None:
    rois = annotated(ROW, CORES)
    people = (PATIENT, PatientOf("P2", "given"), BY_CORE)
    for before in people:
        for after in people:
            assert same(with_patients(tiled(rois, before), after), tiled(rois, after))


def test_only_patients_change_with_patients() -> None:
    stored = tiled(annotated(MIXED), policy="majority")
    found = with_patients(stored, PatientOf("P2", "given"))
    changed = {key for key in stored.attributes if stored.attributes[key] != found.attributes[key]}
    assert changed == {"patients", "labels_hash"}
    assert all(np.array_equal(stored.columns[name], found.columns[name]) for name in stored.columns)

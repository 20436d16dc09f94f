"""What QuPath gets: tiles in the frame that was asked for, uncertain ones named so and not painted."""

from __future__ import annotations

import gzip
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import box, unary_union

from tests.conftest import save_bounded_tiff
from tests.heatmaps.made import CLASS_OF, CLASSES, GLASS, PX, SEEN, U_OF, ColourReader, made_maps, picture, save_slide
from w2wpath.errors import ConfigError, FrameError
from w2wpath.frames import FRAMES, Frame, named_frame
from w2wpath.heatmaps import geojson
from w2wpath.heatmaps.geojson import qupath_regions, qupath_tiles
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN
from w2wpath.heatmaps.run import Heatmap, heatmap
from w2wpath.qupath.colours import class_colours

SLIDE_FRAME = Frame("slide", 0, 0, 2000, 1500)
BOUNDS = (2 * PX, PX, 4 * PX, 2 * PX)
"""Whole tiles of the TIFF: x, y, width, height of the scanned area."""


def read(made: Heatmap) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(next(f for f in made.files if f.suffix == ".gz").read_bytes()))
    return found


def corners(document: dict[str, Any]) -> list[tuple[int, int]]:
    return [tuple(feature["geometry"]["coordinates"][0][0]) for feature in document["features"]]


@pytest.fixture
def bounded(tmp_path: Path) -> Path:
    """A slide whose scanned area begins at (128, 64) and holds the middle cells."""
    return save_bounded_tiff(tmp_path / "bounded.tiff", picture(), BOUNDS, tile=PX)


def test_each_analysed_tile_becomes_one_qupath_tile(tmp_path: Path) -> None:
    features = read(heatmap(save_slide(tmp_path / "a.svs"), ColourReader(), tmp_path / "out"))["features"]
    analysed = [(c, r) for r in range(4) for c in range(6) if SEEN[r, c] != GLASS]
    assert len(features) == len(analysed) == 20
    for (column, row), feature in zip(analysed, features, strict=True):
        left, top, seen = column * PX, row * PX, SEEN[row, column]
        name = CLASSES[CLASS_OF[seen]] if U_OF[seen] <= 0.3 else "Uncertain*"
        assert feature["type"] == "Feature"
        assert feature["geometry"] == {
            "type": "Polygon",
            "coordinates": [
                [[left, top], [left + PX, top], [left + PX, top + PX], [left, top + PX], [left, top]],
            ],
        }
        assert feature["properties"]["objectType"] == "tile"
        assert feature["properties"]["classification"]["name"] == name
        assert feature["properties"]["measurements"]["w2w uncertainty"] == U_OF[seen]


def test_a_confident_tile_has_class_colour_and_confident_measurements() -> None:
    (found,) = qupath_tiles(made_maps([CONFIDENT], [1], columns=1), SLIDE_FRAME, "print")
    assert (found.class_name, found.colour) == ("Tumor", class_colours(CLASSES)["Tumor"])
    assert found.measurements == {
        "w2w P(Stroma)": 0.25,
        "w2w P(Tumor)": 0.75,
        "w2w uncertainty": 0.25,
        "w2w P(Stroma) confident": 0.25,
        "w2w P(Tumor) confident": 0.75,
    }


def test_an_uncertain_tile_is_named_so_and_has_no_confident_measurement() -> None:
    (found,) = qupath_tiles(made_maps([UNCERTAIN], [1], columns=1), SLIDE_FRAME, "print")
    assert (found.class_name, found.colour) == ("Uncertain*", (120, 120, 120))
    assert found.measurements == {"w2w P(Stroma)": 0.25, "w2w P(Tumor)": 0.75, "w2w uncertainty": 0.25}


def test_tiles_that_were_not_analysed_are_left_out() -> None:
    assert list(qupath_tiles(made_maps([NOT_ANALYSED] * 3, [0] * 3, columns=3), SLIDE_FRAME, "print")) == []


def test_ids_are_the_same_in_every_run_and_differ_between_tiles_and_slides() -> None:
    maps = made_maps([CONFIDENT, UNCERTAIN, CONFIDENT], [0, 1, 1], columns=3)
    ids = [[tile.object_id for tile in qupath_tiles(maps, SLIDE_FRAME, print_)] for print_ in ("a", "a", "b")]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 6
    other_state = made_maps([UNCERTAIN, CONFIDENT, CONFIDENT], [1, 1, 0], columns=3)
    assert [tile.object_id for tile in qupath_tiles(other_state, SLIDE_FRAME, "a")] == ids[0]
    assert all(isinstance(one, uuid.UUID) and one.version == 5 for one in ids[0])


def test_the_frame_moves_coordinates_and_not_ids() -> None:
    maps = made_maps([CONFIDENT, UNCERTAIN], [0, 1], columns=2)
    in_slide = list(qupath_tiles(maps, SLIDE_FRAME, "print"))
    in_qupath = list(qupath_tiles(maps, Frame("qupath", 30, 7, 500, 400), "print"))
    assert [(tile.x, tile.y) for tile in in_slide] == [(0, 0), (100, 0)]
    assert [(tile.x, tile.y) for tile in in_qupath] == [(-30, -7), (70, -7)]
    assert [tile.object_id for tile in in_slide] == [tile.object_id for tile in in_qupath]


@pytest.mark.parametrize("name", FRAMES)
def test_a_turned_frame_turns_tiles_and_outlines(name: str) -> None:
    maps = made_maps([CONFIDENT] * 4 + [UNCERTAIN] * 2, [0, 1, 1, 0, 1, 1], columns=3)
    frame = named_frame(name, 300, 200, (10, 20, 290, 170))
    tiles = list(qupath_tiles(maps, frame, "print"))
    for tile, x0, y0 in zip(tiles, maps.x0, maps.y0, strict=True):
        turned = frame.from_slide(np.array([[x0, y0], [x0 + 100, y0], [x0, y0 + 100], [x0 + 100, y0 + 100]]))
        assert [tile.x, tile.y] == turned.min(axis=0).tolist()
        assert [tile.x + 100, tile.y + 100] == turned.max(axis=0).tolist()
        assert (tile.x, tile.y) == frame.corner_from_slide(int(x0), int(y0), 100)
    for outline in qupath_regions(maps, frame, "print"):
        own = [box(t.x, t.y, t.x + 100, t.y + 100) for t in tiles if t.class_name == outline.class_name]
        assert outline.geometry.equals(unary_union(own))


def test_outlines_merge_the_tiles_of_a_class() -> None:
    # Stroma Stroma Tumor / uncertain, uncertain, not analysed
    states = [CONFIDENT, CONFIDENT, CONFIDENT, UNCERTAIN, UNCERTAIN, NOT_ANALYSED]
    found = list(qupath_regions(made_maps(states, [0, 0, 1, 0, 1, 0], columns=3), SLIDE_FRAME, "print"))
    assert [(one.class_name, one.name, one.colour, one.locked) for one in found] == [
        ("Stroma", "w2w Stroma", (150, 200, 150), True),
        ("Tumor", "w2w Tumor", (200, 0, 0), True),
        ("Uncertain*", "w2w Uncertain*", (120, 120, 120), True),
    ]
    areas = [box(0, 0, 200, 100), box(200, 0, 300, 100), box(0, 100, 200, 200)]
    assert [one.geometry.normalize() for one in found] == [area.normalize() for area in areas]


def test_a_hole_stays_a_hole_and_tiles_that_touch_at_a_corner_stay_apart() -> None:
    ring = made_maps([CONFIDENT] * 4 + [NOT_ANALYSED] + [CONFIDENT] * 4, [1] * 9, columns=3)
    (found,) = qupath_regions(ring, SLIDE_FRAME, "print")
    assert found.geometry.equals(box(0, 0, 300, 300) - box(100, 100, 200, 200))
    apart = made_maps([CONFIDENT, NOT_ANALYSED, NOT_ANALYSED, CONFIDENT], [1] * 4, columns=2)
    (found,) = qupath_regions(apart, SLIDE_FRAME, "print")
    assert (found.geometry.geom_type, len(found.geometry.geoms), found.geometry.is_valid) == ("MultiPolygon", 2, True)


@given(state=st.lists(st.sampled_from([NOT_ANALYSED, CONFIDENT, UNCERTAIN]), min_size=1, max_size=60), data=st.data())
def test_outlines_cover_their_tiles_and_nothing_else(state: list[int], data: st.DataObject) -> None:
    predicted = data.draw(st.lists(st.sampled_from([0, 1]), min_size=len(state), max_size=len(state)))
    maps = made_maps(state, predicted, columns=data.draw(st.integers(1, 9)))
    tiles = list(qupath_tiles(maps, SLIDE_FRAME, "print"))
    outlines = {one.class_name: one.geometry for one in qupath_regions(maps, SLIDE_FRAME, "print")}
    assert set(outlines) == {tile.class_name for tile in tiles}
    for name, outline in outlines.items():
        own = unary_union([box(t.x, t.y, t.x + 100, t.y + 100) for t in tiles if t.class_name == name])
        assert outline.is_valid
        assert outline.equals(own)


def test_outlines_of_tiles_that_overlap_are_their_union() -> None:
    maps = replace(made_maps([CONFIDENT] * 3, [1] * 3, columns=3), side0=150)
    (found,) = qupath_regions(maps, SLIDE_FRAME, "print")
    assert found.geometry.equals(box(0, 0, 350, 150))


def test_without_a_tile_there_is_no_outline() -> None:
    assert list(qupath_regions(made_maps([NOT_ANALYSED] * 3, [0] * 3, columns=3), SLIDE_FRAME, "print")) == []


def test_ids_of_outlines_are_the_same_in_every_run_and_differ_between_classes_and_slides() -> None:
    maps = made_maps([CONFIDENT, CONFIDENT, UNCERTAIN], [0, 1, 1], columns=3)
    other = made_maps([CONFIDENT, UNCERTAIN, CONFIDENT], [1, 1, 0], columns=3)
    turned = Frame("qupath-rot90", 0, 0, 300, 100, 1)
    runs = [(maps, SLIDE_FRAME, "a"), (other, SLIDE_FRAME, "a"), (maps, turned, "a"), (maps, SLIDE_FRAME, "b")]
    ids = [[one.object_id for one in qupath_regions(*run)] for run in runs]
    assert ids[0] == ids[1] == ids[2]
    assert len({*ids[0], *ids[3], *(tile.object_id for tile in qupath_tiles(maps, SLIDE_FRAME, "a"))}) == 9


def test_tiles_of_more_than_one_block_come_in_the_order_of_the_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = made_maps([CONFIDENT, NOT_ANALYSED, UNCERTAIN, CONFIDENT, UNCERTAIN], [0, 1, 1, 1, 0], columns=2)
    whole = list(qupath_tiles(maps, SLIDE_FRAME, "print"))
    monkeypatch.setattr(geojson, "_BLOCK", 2)
    assert list(qupath_tiles(maps, SLIDE_FRAME, "print")) == whole
    assert [(tile.x, tile.y) for tile in whole] == [(0, 0), (0, 100), (100, 100), (0, 200)]


def test_a_slide_with_bounds_is_written_in_the_frame_asked_for(bounded: Path, tmp_path: Path) -> None:
    in_slide = read(heatmap(bounded, ColourReader(), tmp_path / "slide", origin="slide"))
    in_qupath = read(heatmap(bounded, ColourReader(), tmp_path / "qupath", origin="qupath"))
    scanned = [(c * PX, r * PX) for r in (1, 2) for c in (2, 3, 4, 5) if SEEN[r, c] != GLASS]
    assert corners(in_slide) == scanned
    assert corners(in_qupath) == [(x - BOUNDS[0], y - BOUNDS[1]) for x, y in scanned]
    assert [f["id"] for f in in_slide["features"]] == [f["id"] for f in in_qupath["features"]]
    assert in_slide["w2wpath"] == {"frame": "slide", "bounds": [0, 0], "threshold": 0.3, "domain": None}
    assert in_qupath["w2wpath"] == {"frame": "qupath", "bounds": [128, 64], "threshold": 0.3, "domain": None}


def test_a_slide_with_bounds_is_refused_while_its_frame_is_not_said(bounded: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameError) as caught:
        heatmap(bounded, ColourReader(), tmp_path / "out")
    assert str(caught.value) == (
        f"{bounded}: the slide's bounds begin at (128, 64), so QuPath's frame and the slide's differ. "
        "Pass --origin qupath (QuPath with its default settings) or --origin slide (level-0 pixels of the whole scan, "
        "QuPath with --no-crop)."
    )
    assert not (tmp_path / "out").exists()


def test_an_unknown_frame_is_refused_and_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        heatmap(save_slide(tmp_path / "a.svs"), ColourReader(), tmp_path / "out", origin="quPath")
    assert str(caught.value) == (
        "origin must be one of auto, qupath, slide, qupath-rot90, qupath-rot180, qupath-rot270; got 'quPath'. "
        "Did you mean 'qupath'?"
    )


def test_the_file_holds_finite_numbers_and_integers_only(tmp_path: Path) -> None:
    document = read(heatmap(save_slide(tmp_path / "a.svs"), ColourReader(), tmp_path / "out"))
    for feature in document["features"]:
        assert all(type(number) is int for point in feature["geometry"]["coordinates"][0] for number in point)
        assert all(np.isfinite(list(feature["properties"]["measurements"].values())))

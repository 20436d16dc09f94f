"""What QuPath gets: tiles in the frame that was asked for, uncertain ones named so and not painted."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import save_bounded_tiff
from tests.heatmaps.made import CLASS_OF, CLASSES, GLASS, PX, SEEN, U_OF, ColourReader, made_maps, picture, save_slide
from w2wpath.errors import ConfigError, FrameError
from w2wpath.frames import Origin
from w2wpath.heatmaps.geojson import qupath_tiles
from w2wpath.heatmaps.predict import CONFIDENT, NOT_ANALYSED, UNCERTAIN
from w2wpath.heatmaps.run import Heatmap, heatmap
from w2wpath.qupath.colours import class_colours

SLIDE_FRAME = Origin("slide", 0, 0)
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
    in_qupath = list(qupath_tiles(maps, Origin("qupath", 30, 7), "print"))
    assert [(tile.x, tile.y) for tile in in_slide] == [(0, 0), (100, 0)]
    assert [(tile.x, tile.y) for tile in in_qupath] == [(-30, -7), (70, -7)]
    assert [tile.object_id for tile in in_slide] == [tile.object_id for tile in in_qupath]


def test_a_slide_with_bounds_is_written_in_the_frame_asked_for(bounded: Path, tmp_path: Path) -> None:
    in_slide = read(heatmap(bounded, ColourReader(), tmp_path / "slide", origin="slide"))
    in_qupath = read(heatmap(bounded, ColourReader(), tmp_path / "qupath", origin="qupath"))
    scanned = [(c * PX, r * PX) for r in (1, 2) for c in (2, 3, 4, 5) if SEEN[r, c] != GLASS]
    assert corners(in_slide) == scanned
    assert corners(in_qupath) == [(x - BOUNDS[0], y - BOUNDS[1]) for x, y in scanned]
    assert [f["id"] for f in in_slide["features"]] == [f["id"] for f in in_qupath["features"]]
    assert in_slide["w2wpath"] == {"frame": "slide", "bounds": [0, 0], "threshold": 0.3}
    assert in_qupath["w2wpath"] == {"frame": "qupath", "bounds": [128, 64], "threshold": 0.3}


def test_a_slide_with_bounds_is_refused_while_its_frame_is_not_said(bounded: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameError) as caught:
        heatmap(bounded, ColourReader(), tmp_path / "out")
    assert str(caught.value) == (
        f"{bounded}: the slide's bounds begin at (128, 64), so QuPath's frame and the slide's differ "
        "and the annotations do not say which they use. Pass --origin qupath (drawn in QuPath with its "
        "default settings) or --origin slide (level-0 pixels of the whole scan)."
    )
    assert not (tmp_path / "out").exists()


def test_an_unknown_frame_is_refused_and_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        heatmap(save_slide(tmp_path / "a.svs"), ColourReader(), tmp_path / "out", origin="quPath")
    assert str(caught.value) == "origin must be one of auto, qupath, slide; got 'quPath'. Did you mean 'qupath'?"


def test_the_file_holds_finite_numbers_and_integers_only(tmp_path: Path) -> None:
    document = read(heatmap(save_slide(tmp_path / "a.svs"), ColourReader(), tmp_path / "out"))
    for feature in document["features"]:
        assert all(type(number) is int for point in feature["geometry"]["coordinates"][0] for number in point)
        assert all(np.isfinite(list(feature["properties"]["measurements"].values())))

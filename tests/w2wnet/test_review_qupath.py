"""Tiles go to QuPath and come back: re-classified there is relabelled, deleted there is excluded."""

from __future__ import annotations

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.decided import decided
from w2wpath.errors import ReviewError
from w2wpath.qupath.check import check_geojson
from w2wpath.tiles.store import SlideTiles, TileStore, TileTable
from w2wpath.w2wnet.ledger import REASONS, Decisions
from w2wpath.w2wnet.review import label_name, tile_uuid
from w2wpath.w2wnet.review_qupath import doubtful, read_verdicts_qupath, write_review_qupath
from w2wpath.w2wnet.verdicts import Verdict, ids_of


def judged(table: TileTable) -> Decisions:
    i = np.arange(table.n)
    reasons = np.array([REASONS.index(name) for name in ("", "label", "tie")])
    return decided(table, {}, state=i % 3, reason=reasons[i % 3], score=i / 50, u=0.5)


def exported(store: TileStore, folder: Path, rows: NDArray[np.intp]) -> Path:
    table = store.table()
    folder.mkdir()
    (path,) = write_review_qupath(folder, store, table, rows, run="r", decisions=judged(table))
    return path


def edited(path: Path, change: Any, to: str | None = None) -> Path:
    """Save what QuPath would after `change` of the list of features."""
    document = json.loads(path.read_text("utf-8"))
    change(document["features"])
    out = path if to is None else path.with_name(to)
    text = json.dumps(document).encode()
    out.write_bytes(gzip.compress(text) if out.suffix == ".gz" else text)
    return out


def reclassified(feature: dict[str, Any], name: str | None) -> None:
    feature["properties"]["classification"] = None if name is None else {"name": name, "color": [1, 2, 3]}


def test_undecided_tiles_come_first_then_those_nearest_to_the_cut(store: TileStore) -> None:
    table = store.table()
    decisions = judged(table)
    rows = doubtful(table, decisions, 40)
    assert len(rows) == len(set(rows.tolist())) == 40
    assert rows[:30].tolist() == [i for i in range(table.n) if i % 3 == 2]
    # the cut is at 50: 49 (excluded) and 51 (kept) are nearest, then 52 and 48
    assert rows[30:34].tolist() == [49, 51, 52, 48]
    assert doubtful(table, decisions, 3).tolist() == [2, 5, 8]
    assert len(doubtful(table, decisions, 1000)) == table.n


def test_what_a_person_decided_is_not_asked_again(store: TileStore) -> None:
    table = store.table()
    plain = decided(table, {}, reason=np.where(np.arange(table.n) < 5, REASONS.index("review"), 0))
    assert sorted(doubtful(table, plain, 1000).tolist()) == list(range(5, table.n))


def test_qupath_has_nothing_to_refuse_and_ids_are_stable(store: TileStore, tmp_path: Path) -> None:
    table = store.table()
    path = exported(store, tmp_path / "review", np.arange(3))
    assert path.name == "s1.review.geojson"
    assert check_geojson(path).faults == ()
    first = json.loads(path.read_text())["features"][0]
    own = tile_uuid(table, 0)
    assert first["id"] == str(uuid.uuid5(own, "review"))
    assert first["properties"] == {
        "objectType": "tile",
        "classification": {"name": label_name(table, 0), "color": first["properties"]["classification"]["color"]},
        "measurements": {"w2w score": 0.0, "w2w uncertainty": 0.5},
        "metadata": {"tile_id": str(own)},
    }
    assert first["geometry"]["coordinates"][0][2] == [32, 32]


def test_tiles_lie_in_the_frame_of_the_annotations(store: TileStore, tmp_path: Path) -> None:
    tiles = store.read("s1")
    origin = {"name": "qupath-rot90", "x0": 10, "y0": -20, "width0": 2000, "height0": 1000, "turns": 1}
    store.replace_labels("s1", SlideTiles(tiles.columns, {**tiles.attributes, "origin": origin}))
    path = exported(store, tmp_path / "review", np.arange(1, 2))
    ring = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0]
    # tile 1 is at (32, 0): 20 below the top, 22 from the left, 32 wide, in an area 1000 high
    assert (ring[0], ring[2]) == ([1000 - 20 - 32, 22], [1000 - 20, 54])


@pytest.mark.parametrize("to", [None, "s1.geojson", "edited.geojson.gz"])
def test_a_round_trip_through_qupath(store: TileStore, tmp_path: Path, to: str | None) -> None:
    table = store.table()
    path = exported(store, tmp_path / "review", np.arange(5))
    labels = [label_name(table, i) for i in range(5)]
    other = next(name for name in table.classes if name != labels[1])

    def change(features: list[dict[str, Any]]) -> None:
        reclassified(features[1], other.upper())
        reclassified(features[4], "Ignore*")
        features[3]["id"] = str(uuid.uuid4())  # known by its metadata alone
        del features[2]
        features.append({"type": "Feature", "geometry": features[0]["geometry"], "properties": {}})  # a stranger

    path = edited(path, change, to)
    ids = ids_of(table)
    expected = {
        Verdict(ids[1], "relabel", other, labels[1]),
        Verdict(ids[2], "exclude", "", labels[2]),
        Verdict(ids[4], "exclude", "", labels[4]),
    }
    assert set(read_verdicts_qupath(path, table).verdicts) == expected
    kept = {Verdict(ids[i], "keep", "", labels[i]) for i in (0, 3)}
    assert set(read_verdicts_qupath(path, table, unchanged="keep").verdicts) == expected | kept


def test_what_was_not_touched_says_nothing(store: TileStore, tmp_path: Path) -> None:
    path = exported(store, tmp_path / "review", np.arange(5))
    assert read_verdicts_qupath(path, store.table()).verdicts == ()


def test_a_file_without_any_of_its_tiles_excludes_none(store: TileStore, tmp_path: Path) -> None:
    path = exported(store, tmp_path / "review", np.arange(5))
    edited(path, lambda features: features.clear())
    with pytest.raises(ReviewError) as caught:
        read_verdicts_qupath(path, store.table())
    assert str(caught.value) == (
        f"{path}: holds none of the 5 exported tiles, which would exclude them all. Export all objects from QuPath, "
        "detections too; to exclude every tile, give the verdicts in review.csv."
    )


def test_without_its_list_nobody_knows_what_was_deleted(store: TileStore, tmp_path: Path) -> None:
    path = exported(store, tmp_path / "review", np.arange(5))
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / path.name)
    with pytest.raises(ReviewError) as caught:
        read_verdicts_qupath(moved, store.table())
    assert str(caught.value) == (
        f"{moved}: no lists of exported tiles (SLIDE.review.json) beside it fit, so it cannot be told which tiles were "
        "deleted. Put the file beside that list, or name it with --exported."
    )
    own = tmp_path / "review" / "s1.review.json"
    assert read_verdicts_qupath(moved, store.table(), exported=own).verdicts == ()
    own.write_text("[]")
    with pytest.raises(ReviewError) as caught:
        read_verdicts_qupath(moved, store.table(), exported=own)
    assert str(caught.value) == (
        f"{own}: not a list of exported tiles (TypeError: list indices must be integers or slices, not str). "
        "Give the SLIDE.review.json that `w2wpath review export` wrote."
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "has no class. Give it the class that it shows, or delete it to exclude the tile."),
        ("gren", "class 'gren' is not one of blue, green, red. Did you mean 'green'?"),
    ],
)
def test_a_class_that_the_store_has_not_is_refused(
    store: TileStore, tmp_path: Path, name: str | None, said: str
) -> None:
    path = exported(store, tmp_path / "review", np.arange(2))
    edited(path, lambda features: reclassified(features[1], name))
    with pytest.raises(ReviewError) as caught:
        read_verdicts_qupath(path, store.table())
    assert str(caught.value) == f"{path}: object 1 (tile {tile_uuid(store.table(), 1)}): {said}"


def test_a_tile_that_is_there_twice_is_refused(store: TileStore, tmp_path: Path) -> None:
    table = store.table()
    path = exported(store, tmp_path / "review", np.arange(2))
    one, other = label_name(table, 0), next(name for name in table.classes if name != label_name(table, 0))

    def change(features: list[dict[str, Any]]) -> None:
        features.append(json.loads(json.dumps(features[0])))
        reclassified(features[-1], other)

    edited(path, change)
    with pytest.raises(ReviewError) as caught:
        read_verdicts_qupath(path, table)
    assert str(caught.value) == (
        f"{path}: tile {tile_uuid(table, 0)} is there twice, as {one} and as {other}. Delete one of them."
    )

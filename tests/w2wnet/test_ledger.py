"""Decisions are added, read back as they were, and never changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import file_bytes, file_size_limit
from tests.decided import decided
from tests.w2wnet.conftest import add_slide
from w2wpath.errors import DiskError, RunError, StoreError
from w2wpath.tiles.store import SlideTiles, TileStore, TileTable
from w2wpath.w2wnet.ledger import (
    COLUMNS,
    EXCLUDED,
    KEPT,
    REASONS,
    UNDECIDED,
    Decisions,
    new_run,
    read_decisions,
    require_fresh,
    runs,
    undo_run,
    vote,
    write_decisions,
)


def made(store: TileStore, table: TileTable, run: str = "20260101T000000Z-aaaaaa") -> Decisions:
    """Decisions without sense, different for every tile."""
    n = table.n
    i = np.arange(n)
    return decided(
        table,
        {
            "store_hash": store.content_hash(),
            "classes": list(table.classes),
            "folds": [{"stop": {"stds": [None, 0.5]}}],
        },
        run=run,
        state=i % 3,
        reason=i % 5,
        votes=np.stack([i, i + 1], axis=1) % 3 - 1,
        fold=i % 2,
        u=np.where(i % 7 == 0, np.nan, i / n),
        score=i / n,
        predicted=i % 3,
        unseen=np.random.default_rng(0).random((n, 4)),
    )


def test_what_is_written_is_read_back_in_table_order(store: TileStore) -> None:
    table = store.table()
    written = made(store, table)
    write_decisions(store, table, written)
    read = read_decisions(store, table)
    assert (read.run, read.about) == (written.run, written.about)
    for name in COLUMNS:
        assert getattr(read, name).dtype == getattr(written, name).dtype
        assert np.array_equal(getattr(read, name), getattr(written, name), equal_nan=name in ("u", "probs"))


def test_a_second_run_leaves_every_byte_of_the_first(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    before = file_bytes(store.path)
    write_decisions(store, table, made(store, table, "20260102T000000Z-bbbbbb"))
    assert before.items() <= file_bytes(store.path).items()
    assert runs(store) == ["20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"]


def test_the_run_that_was_written_last_is_read_unless_another_is_named(store: TileStore) -> None:
    table = store.table()
    # the one that began first was interrupted, and ends last
    late, early = "20260102T000000Z-bbbbbb", "20260101T000000Z-aaaaaa"
    for run in (late, early):
        write_decisions(store, table, made(store, table, run))
    assert runs(store) == [late, early]
    assert read_decisions(store, table).run == early
    assert read_decisions(store, table, late).run == late
    assert undo_run(store, None, "ana") == (early, True)
    assert read_decisions(store, table).run == late


def test_runs_without_a_place_come_first_by_name(store: TileStore) -> None:
    table = store.table()
    for run in ("20260103T000000Z-cccccc", "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"):
        write_decisions(store, table, made(store, table, run))
    for run, text in (("20260101T000000Z-aaaaaa", "{}"), ("20260102T000000Z-bbbbbb", "damaged")):
        (store.path / "decisions" / run / "zarr.json").write_text(text)
    assert runs(store) == ["20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb", "20260103T000000Z-cccccc"]


def test_a_run_of_that_name_is_never_overwritten(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    before = file_bytes(store.path)
    with pytest.raises(OSError, match="not empty"):
        write_decisions(store, table, made(store, table))
    assert file_bytes(store.path) == before


def test_a_full_disk_leaves_no_half_run(store: TileStore) -> None:
    table = store.table()
    before = file_bytes(store.path.parent)
    large = replace(made(store, table), about={"store_hash": "x" * 100_000})
    with file_size_limit(50_000), pytest.raises(DiskError) as caught:
        write_decisions(store, table, large)
    assert str(caught.value) == (
        f"{store.path / 'decisions' / large.run}: could not be written, the file-size limit is met. "
        "Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert file_bytes(store.path.parent) == before


def test_a_store_that_was_never_cleaned_says_so(store: TileStore) -> None:
    with pytest.raises(RunError) as caught:
        read_decisions(store, store.table())
    assert (
        str(caught.value)
        == f"{store.path}: has no decisions yet. Run `w2wpath clean`; if one waits for you, `w2wpath status` says so."
    )


def test_a_run_that_is_not_there_is_refused_with_those_that_are(store: TileStore) -> None:
    table = store.table()
    for run in ("20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"):
        write_decisions(store, table, made(store, table, run))
    with pytest.raises(RunError) as caught:
        read_decisions(store, table, "yesterday")
    assert str(caught.value) == (
        f"{store.path}: has no run 'yesterday'. Its runs are 20260101T000000Z-aaaaaa, 20260102T000000Z-bbbbbb."
    )


def relabelled(store: TileStore, slide: str, change: Callable[[dict[str, NDArray[Any]]], None]) -> None:
    """Publish a slide's group with other labels or shares."""
    tiles = store.read(slide)
    columns = {name: values.copy() for name, values in tiles.columns.items()}
    change(columns)
    store.replace_labels(slide, SlideTiles(columns, {**tiles.attributes, "labels_hash": "other"}))


def test_a_tile_with_another_label_is_stale_and_keeps_its_scores(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, written := made(store, table))

    def change(columns: dict[str, NDArray[Any]]) -> None:
        columns["label"][0] = (columns["label"][0] + 1) % 3
        columns["area_share"][4] = [0.6, 0.2, 0.2]
        columns["label"][7] = -1

    relabelled(store, "s2", change)
    now = store.table()
    read = read_decisions(store, now)
    first = int(np.flatnonzero(table.slide == 1)[0])
    stale = np.isin(np.arange(table.n), [first, first + 4, first + 7])
    assert np.array_equal(read.stale, stale)
    assert (read.state[stale] == UNDECIDED).all()
    assert {REASONS[code] for code in read.reason[stale]} == {"stale"}
    assert np.array_equal(read.training_label, now.label)
    assert np.array_equal(read.label, written.label)
    assert first + 7 not in read.for_training()
    for name in set(COLUMNS) - {"state", "reason"}:
        assert np.array_equal(getattr(read, name), getattr(written, name), equal_nan=True), name
    for name in ("state", "reason"):
        assert np.array_equal(getattr(read, name)[~stale], getattr(written, name)[~stale])
    with pytest.raises(RunError) as caught:
        require_fresh(read)
    refused = (
        "run 20260101T000000Z-aaaaaa: 3 tiles have other labels now than when they were judged "
        "(run `w2wpath clean` again)."
    )
    assert str(caught.value) == refused
    with pytest.raises(RunError) as caught:
        require_fresh(read, allow_stale=False)
    assert str(caught.value) == f"{refused} Or pass --allow-stale to use them as they are."
    require_fresh(read, allow_stale=True)


def test_a_tile_that_the_run_has_not_seen_is_undecided_and_one_that_is_gone_is_counted(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, written := made(store, table))
    add_slide(store, "s0", np.array([0, 1, 2]), np.array([0, 1, -1]), ["p9"])
    shutil.rmtree(store.path / "slides" / "s1")
    read = read_decisions(store, store.table())
    kept = table.slide == 1
    assert np.array_equal(read.state, [UNDECIDED] * 3 + written.state[kept].tolist())
    assert [REASONS[code] for code in read.reason[:3]] == ["new", "new", "no label"]
    assert np.array_equal(read.score[3:], written.score[kept])
    assert np.isnan(read.score[:3]).all()
    assert np.isnan(read.probs[:3]).all()
    assert (read.fold[:3].tolist(), read.votes[:3].tolist()) == ([-1] * 3, [[-1, -1]] * 3)
    assert not read.judged[:3].any()
    assert not read.stale.any()
    assert {0, 1} <= set(read.for_training().tolist())
    assert read.since is not None
    assert read.since.gone == int((~kept).sum())
    require_fresh(read)


def test_a_tile_that_had_no_label_when_it_was_judged_is_new(store: TileStore) -> None:
    relabelled(store, "s1", lambda columns: columns["label"].__setitem__(0, -1))
    table = store.table()
    write_decisions(store, table, made(store, table))
    relabelled(store, "s1", lambda columns: columns["label"].__setitem__(0, 2))
    read = read_decisions(store, store.table())
    assert (read.state[0], REASONS[read.reason[0]], read.stale.any()) == (UNDECIDED, "new", False)


def test_classes_are_matched_by_name(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, written := made(store, table))
    tiles = store.read("s2")
    renamed = {**tiles.attributes, "classes": ["amber", "green", "red"], "labels_hash": "other"}
    store.replace_labels("s2", SlideTiles(tiles.columns, renamed))
    now = store.table()
    assert now.classes == ("amber", "blue", "green", "red")
    read = read_decisions(store, now)
    was_blue = np.array([table.classes[one] == "blue" for one in table.label]) & (table.slide == 1)
    assert np.array_equal(read.stale, was_blue)
    assert [now.classes[one] for one in read.label] == [table.classes[one] for one in written.label]
    assert np.array_equal(read.probs[:, 1:], written.probs, equal_nan=True)
    assert set(read.probs[:, 0].tolist()) == {0.0}
    assert [now.classes[one] for one in read.predicted] == [table.classes[one] for one in written.predicted]


def test_tiles_of_a_class_that_is_gone_are_stale(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    for slide in ("s1", "s2"):
        tiles = store.read(slide)
        columns = {**tiles.columns, "label": np.where(tiles.columns["label"] == 0, 1, tiles.columns["label"] - 0)}
        columns["label"] = (columns["label"] - 1).astype(np.int16)
        columns["area_share"] = np.eye(2, dtype=np.float32)[columns["label"]]
        attributes = {**tiles.attributes, "classes": ["green", "red"], "labels_hash": "other"}
        store.replace_labels(slide, SlideTiles(columns, attributes))
    read = read_decisions(store, store.table())
    assert np.array_equal(read.stale, table.label == 0)
    assert (read.label[read.stale] == -1).all()
    assert read.probs.shape == (table.n, 2)


def test_copies_of_a_slide_under_two_names_keep_their_own_decisions(store: TileStore) -> None:
    tiles = store.read("s1")
    store.add("s1b", SlideTiles({**tiles.columns}, {**tiles.attributes}), store.images("s1"))
    table = store.table()
    write_decisions(store, table, written := made(store, table))
    add_slide(store, "s0", np.array([0]), np.array([0]), ["p9"])
    assert np.array_equal(read_decisions(store, store.table()).score[1:], written.score)


def test_the_ledger_of_another_store_is_refused(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    add_slide(store, "other", np.array([0, 1]), np.array([0, 1]), ["p9"])
    for slide in ("s1", "s2"):
        shutil.rmtree(store.path / "slides" / slide)
    with pytest.raises(RunError) as caught:
        read_decisions(store, store.table())
    assert str(caught.value) == (
        f"{store.path}: run 20260101T000000Z-aaaaaa shares no tile with it, so it is the ledger of another store. "
        "Run `w2wpath clean` for this one."
    )


# undo ---------------------------------------------------------------------------------------------------------------


def same(one: Decisions, other: Decisions) -> bool:
    columns = all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in COLUMNS)
    return columns and (one.run, one.about) == (other.run, other.about)


def test_undo_brings_the_earlier_decisions_back_and_changes_no_file(store: TileStore) -> None:
    table = store.table()
    first, second = "20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"
    write_decisions(store, table, made(store, table, first))
    before = read_decisions(store, table)
    write_decisions(store, table, replace(made(store, table, second), state=np.full(table.n, KEPT, dtype=np.uint8)))
    files, data = file_bytes(store.path), store.content_hash()
    assert read_decisions(store, table).run == second
    assert undo_run(store, None, "ann") == (second, True)
    assert same(read_decisions(store, table), before)
    assert files.items() <= file_bytes(store.path).items()
    assert store.content_hash() == data
    assert runs(store) == [first, second]
    assert read_decisions(store, table, second).run == second
    assert undo_run(store, second, "ben") == (second, False)
    assert read_decisions(store, table).run == second
    assert files.items() <= file_bytes(store.path).items()


def test_a_store_whose_runs_are_all_undone_says_so(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    undo_run(store, None, "ann")
    for call in (lambda: read_decisions(store, table), lambda: undo_run(store, None, "ann")):
        with pytest.raises(RunError) as caught:
            call()
        assert str(caught.value) == (
            f"{store.path}: every run is undone (20260101T000000Z-aaaaaa). "
            "Bring one back with `w2wpath undo RUN`, or run `w2wpath clean`."
        )


def test_a_damaged_entry_of_undo_is_refused(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    undo_run(store, None, "ann")
    (entry,) = (store.path / "undone").iterdir()
    (entry / "zarr.json").write_text("{")
    with pytest.raises(StoreError) as caught:
        read_decisions(store, table)
    cause = caught.value.__cause__
    assert str(caught.value) == (
        f"{store.path}: the entry undone/{entry.name} cannot be read ({type(cause).__name__}: {cause}). "
        "Bring it back from a copy, or remove it and undo its run again."
    )


def damage_about(run: Path) -> None:
    about = json.loads((run / "zarr.json").read_text())
    del about["attributes"]["about"]
    (run / "zarr.json").write_text(json.dumps(about))


def cut_metadata(run: Path) -> None:
    (run / "zarr.json").write_text((run / "zarr.json").read_text()[:50])


def lose_slide(run: Path) -> None:
    (run / "s2" / "zarr.json").unlink()
    (run / "s2").rename(run / "gone")


def lose_values(run: Path) -> None:
    (run / "s1" / "state" / "c" / "0").unlink()


def cut_values(run: Path) -> None:
    values = run / "s1" / "votes" / "c" / "0" / "0"
    os.truncate(values, values.stat().st_size // 2)


@pytest.mark.parametrize("damage", [damage_about, cut_metadata, lose_slide, lose_values, cut_values])
def test_a_damaged_run_is_refused_and_not_guessed(store: TileStore, damage: object) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    assert callable(damage)
    damage(store.path / "decisions" / "20260101T000000Z-aaaaaa")
    with pytest.raises(StoreError) as caught:
        read_decisions(store, table)
    cause = caught.value.__cause__
    assert str(caught.value) == (
        f"{store.path}: the decisions of run 20260101T000000Z-aaaaaa cannot be read ({type(cause).__name__}: {cause}). "
        "Run `w2wpath clean` again."
    )


def test_a_lost_file_of_values_is_not_read_as_kept(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, replace(made(store, table), state=np.zeros(table.n, dtype=np.uint8)))
    assert (read_decisions(store, table).state == KEPT).all()
    lose_values(store.path / "decisions" / "20260101T000000Z-aaaaaa")
    with pytest.raises(StoreError) as caught:
        read_decisions(store, table)
    assert str(caught.value.__cause__) == "a file of s1/state is missing"


def test_votes_decide_by_majority_and_a_tie_is_undecided() -> None:
    votes = np.array([[1, 1, 0], [0, 0, 1], [1, 0, -1], [-1, 1, 1], [0, -1, -1], [-1, -1, -1]], dtype=np.int8)
    assert vote(votes).tolist() == [EXCLUDED, KEPT, UNDECIDED, EXCLUDED, KEPT, UNDECIDED]


def test_training_takes_kept_and_undecided_tiles_that_carry_a_label(store: TileStore) -> None:
    table = store.table()
    decisions = made(store, table)
    decisions = replace(decisions, label=np.where(np.arange(table.n) < 5, -1, decisions.label).astype(np.int16))
    assert decisions.for_training().tolist() == [i for i in range(5, table.n) if i % 3 != EXCLUDED]
    judged = range(5, table.n)
    assert decisions.counts() == {
        name: sum(i % 3 == code for i in judged) for code, name in enumerate(("kept", "excluded", "undecided"))
    }


def test_a_run_is_named_by_its_time_and_never_twice() -> None:
    names = {new_run() for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{6}", name) for name in names)

"""Decisions are added, read back as they were, and never changed."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import file_bytes, file_size_limit
from tests.decided import decided
from tests.w2wnet.conftest import add_slide
from w2wpath.errors import DiskError, RunError, StoreError
from w2wpath.tiles.store import SlideTiles, TileStore, TileTable
from w2wpath.w2wnet.journal import entries
from w2wpath.w2wnet.ledger import (
    COLUMNS,
    EXCLUDED,
    KEPT,
    REASONS,
    STATES,
    UNDECIDED,
    Decisions,
    new_run,
    read_decisions,
    redo_run,
    require_fresh,
    runs,
    undo_run,
    undone_runs,
    vote,
    write_decisions,
)


def made(store: TileStore, table: TileTable, run: str = "20260101T000000Z-aaaaaa") -> Decisions:
    """Decisions without sense, different for every tile."""
    n = table.n
    i = np.arange(n)
    return decided(
        table,
        {"store_hash": store.content_hash(), "folds": [{"stop": {"stds": [None, 0.5]}}]},
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


def test_the_newest_run_is_read_unless_another_is_named(store: TileStore) -> None:
    table = store.table()
    for run in ("20260102T000000Z-bbbbbb", "20260101T000000Z-aaaaaa"):
        write_decisions(store, table, made(store, table, run))
    assert read_decisions(store, table).run == "20260102T000000Z-bbbbbb"
    assert read_decisions(store, table, "20260101T000000Z-aaaaaa").run == "20260101T000000Z-aaaaaa"


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
    assert str(caught.value) == f"{store.path}: has not been cleaned. Run `w2wpath clean` first."


def test_a_run_that_is_not_there_is_refused_with_those_that_are(store: TileStore) -> None:
    table = store.table()
    for run in ("20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"):
        write_decisions(store, table, made(store, table, run))
    with pytest.raises(RunError) as caught:
        read_decisions(store, table, "yesterday")
    assert str(caught.value) == (
        f"{store.path}: has no run 'yesterday'. Its runs are 20260101T000000Z-aaaaaa, 20260102T000000Z-bbbbbb."
    )


RUN = "20260101T000000Z-aaaaaa"


def named(decisions: Decisions, rows: NDArray[np.bool_]) -> list[tuple[str, str]]:
    """State and reason of rows, in words."""
    return [(STATES[decisions.state[i]], REASONS[decisions.reason[i]]) for i in np.flatnonzero(rows)]


def test_new_tiles_are_undecided_and_every_other_tile_is_as_it_was(store: TileStore) -> None:
    table = store.table()
    written = made(store, table)
    write_decisions(store, table, written)
    add_slide(store, "s0", np.array([0, 1, 2]), np.array([0, 1, -1]), ["p9"])  # before the others in the table
    now = store.table()
    read = read_decisions(store, now)
    old = now.slide > 0
    assert named(read, ~old) == [("undecided", "new"), ("undecided", "new"), ("undecided", "no label")]
    for name in COLUMNS:
        assert getattr(read, name)[old].tobytes() == getattr(written, name).tobytes()
    assert (read.label[~old] == -1).all()
    assert (read.votes[~old] == -1).all()
    assert np.isnan(read.score[~old]).all()
    assert not read.stale.any()
    assert read.gone == 0
    assert read.training_label.tolist() == now.label.tolist()
    assert set(read.for_training()[read.for_training() < 3]) == {0, 1}


def relabelled(store: TileStore, slide: str, row: int, **change: object) -> None:
    """Give one tile of a slide other values, as `w2wpath relabel` does."""
    had = store.read(slide)
    columns = {name: values.copy() for name, values in had.columns.items()}
    for name, value in change.items():
        columns[name][row] = value
    store.replace_labels(slide, SlideTiles(columns, {**had.attributes, "labels_hash": f"changed {row} {change}"}))


def test_tiles_with_another_label_or_other_shares_are_stale_and_keep_their_scores(store: TileStore) -> None:
    table = store.table()
    written = made(store, table)
    write_decisions(store, table, written)
    relabelled(store, "s1", 0, label=(table.label[0] + 1) % 3)
    relabelled(store, "s1", 2, label=-1)
    relabelled(store, "s1", 4, area_share=np.array([0.5, 0.25, 0.25], dtype=np.float32))
    now = store.table()
    read = read_decisions(store, now)
    assert np.flatnonzero(read.stale).tolist() == [0, 2, 4]
    assert named(read, read.stale) == [("undecided", "stale")] * 3
    assert read.score.tobytes() == written.score.tobytes()
    assert read.label.tolist() == table.label.tolist()
    assert read.training_label.tolist() == now.label.tolist()
    assert read.state[~read.stale].tolist() == written.state[~read.stale].tolist()
    assert 2 not in read.for_training()
    assert {0, 4} <= set(read.for_training().tolist())


def test_a_class_that_comes_or_goes_moves_no_decision_to_another_class(store: TileStore) -> None:
    table = store.table()
    written = replace(made(store, table), about={"classes": table.classes})
    write_decisions(store, table, written)
    had = store.read("s1")
    for slide in ("s1", "s2"):
        had = store.read(slide)
        renamed = {**had.attributes, "classes": ["amber", "azure", "red"], "labels_hash": slide}  # no blue, no green
        store.replace_labels(slide, SlideTiles(had.columns, renamed))
    now = store.table()
    read = read_decisions(store, now)
    red = table.label == 2
    assert read.stale.tolist() == (~red).tolist()
    assert set(read.label[red]) == {2}
    assert set(read.label[~red]) == {-1}
    assert read.probs[:, 2].tolist() == written.probs[:, 2].tolist()
    assert (read.probs[:, :2] == 0).all()


def test_tiles_that_are_gone_are_counted_and_a_ledger_of_another_store_is_refused(store: TileStore) -> None:
    table = store.table()
    written = made(store, table)
    write_decisions(store, table, written)
    shutil.rmtree(store.path / "slides" / "s1")
    left = store.table()
    read = read_decisions(store, left)
    assert read.gone == table.n - left.n > 0
    assert read.state.tolist() == written.state[table.slide == 1].tolist()
    shutil.rmtree(store.path / "slides" / "s2")
    add_slide(store, "other", np.array([0, 1]), np.array([0, 1]), ["p9"])
    with pytest.raises(RunError) as caught:
        read_decisions(store, store.table())
    assert str(caught.value) == (
        f"{store.path}: run {RUN} judged tiles of another store: none of its {table.n} tiles is here. "
        "Run `w2wpath clean` again."
    )


def test_stale_tiles_stop_training_unless_they_are_allowed(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    require_fresh(read_decisions(store, table), allow_stale=False)
    relabelled(store, "s2", 1, label=-1)
    read = read_decisions(store, store.table())
    require_fresh(read, allow_stale=True)
    with pytest.raises(RunError) as caught:
        require_fresh(read, allow_stale=False)
    assert str(caught.value) == (
        f"run {RUN}: 1 tiles have another label, or other shares, than when they were judged. "
        "Run `w2wpath clean` again, and review again those that had a verdict; "
        "or pass --allow-stale to `w2wpath train` to train on the labels that they have now."
    )


def test_k20_undo_brings_back_the_run_before_byte_for_byte_and_changes_no_file(store: TileStore) -> None:
    table = store.table()
    first, second = RUN, "20260102T000000Z-bbbbbb"
    write_decisions(store, table, made(store, table, first))
    before = read_decisions(store, table)
    write_decisions(store, table, replace(made(store, table, second), state=np.zeros(table.n, dtype=np.uint8)))
    files = file_bytes(store.path)
    assert undo_run(store, None, "ana") == second
    after = read_decisions(store, table)
    assert (after.run, after.about) == (before.run, before.about)
    assert all(getattr(after, name).tobytes() == getattr(before, name).tobytes() for name in COLUMNS)
    assert read_decisions(store, table, second).run == second
    assert redo_run(store, None, "ana") == second
    assert read_decisions(store, table).run == second
    assert undo_run(store, first, "ana") == first
    assert read_decisions(store, table).run == second
    assert undone_runs(store) == [first]
    assert files.items() <= file_bytes(store.path).items()
    said = [(one.about["run"], one.about["undone"], one.about["who"]) for one in entries(store, "undone")]
    assert said == [(second, True, "ana"), (second, False, "ana"), (first, True, "ana")]


def test_an_undo_that_makes_no_sense_is_refused(store: TileStore) -> None:
    table = store.table()
    with pytest.raises(RunError, match="has not been cleaned"):
        undo_run(store, None, "ana")
    write_decisions(store, table, made(store, table))
    undo_run(store, None, "ana")
    for call, words in (
        (
            lambda: undo_run(store, RUN, "ana"),
            f"run {RUN} is undone already. `w2wpath undo {RUN} --redo` takes that back.",
        ),
        (
            lambda: undo_run(store, None, "ana"),
            "every run is undone. Take that back with `w2wpath undo --redo`, or run `w2wpath clean`.",
        ),
        (lambda: undo_run(store, "yesterday", "ana"), f"has no run 'yesterday'. Its runs are {RUN}."),
        (
            lambda: redo_run(store, RUN, "ana") and redo_run(store, None, "ana"),
            "no run is undone. Nothing was written.",
        ),
        (lambda: redo_run(store, RUN, "ana"), f"run {RUN} is not undone. Nothing was written."),
    ):
        with pytest.raises(RunError) as caught:
            call()
        assert str(caught.value) == f"{store.path}: {words}"


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
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", name) for name in names)

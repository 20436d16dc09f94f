"""Decisions are added, read back as they were, and never changed."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import file_bytes, file_size_limit
from tests.decided import decided
from tests.w2wnet.conftest import add_slide
from w2wpath.errors import DiskError, RunError, StoreError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import (
    COLUMNS,
    EXCLUDED,
    KEPT,
    UNDECIDED,
    Decisions,
    new_run,
    read_decisions,
    runs,
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


def test_decisions_on_tiles_that_have_changed_are_refused(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, made(store, table))
    add_slide(store, "s3", np.array([0, 1]), np.array([0, 1]), ["p9"])
    with pytest.raises(RunError) as caught:
        read_decisions(store, store.table())
    assert str(caught.value) == (
        f"{store.path}: its tiles or labels have changed since run 20260101T000000Z-aaaaaa. Run `w2wpath clean` again."
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
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", name) for name in names)

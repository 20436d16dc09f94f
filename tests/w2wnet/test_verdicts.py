"""Verdicts are added and taken back without a change to any file, and go over what every run decides."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import file_bytes
from tests.decided import decided
from tests.w2wnet.conftest import CLASSES, add_slide, new_store
from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import SlideTiles, TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, read_decisions, write_decisions
from w2wpath.w2wnet.verdicts import Verdict, append_verdicts, batches, read_verdicts, undo_batch

TILES = 3
WHO = "ana"


@pytest.fixture
def few(tmp_path: Path) -> TileStore:
    """Eight tiles of one slide; the last carries no label."""
    store = new_store(tmp_path / "tiles.zarr")
    add_slide(store, "s1", np.arange(8) % 3, np.array([0, 1, 2, 0, 1, 2, 0, -1]), ["p1", "p2"])
    return store


def said(table: TileTable, row: int, verdict: str, class_name: str = "", label: str | None = None) -> Verdict:
    own = table.classes[table.label[row]] if table.label[row] >= 0 else ""
    return Verdict(table.tile_id[row].tobytes(), verdict, class_name, own if label is None else label)


def write_run(store: TileStore, state: int, run: str = "20260101T000000Z-aaaaaa") -> None:
    table = store.table()
    write_decisions(store, table, decided(table, {"classes": table.classes}, run=run, state=state))


def give_label(store: TileStore, row: int, label: int) -> None:
    had = store.read("s1")
    columns = {**had.columns, "label": had.columns["label"].copy()}
    columns["label"][row] = label
    store.replace_labels("s1", SlideTiles(columns, {**had.attributes, "labels_hash": f"{row} is {label}"}))


VERDICTS = st.builds(
    lambda tile, word, class_name, label: Verdict(
        bytes([tile]) * 16, word, class_name if word == "relabel" else "", label
    ),
    st.integers(0, TILES - 1),
    st.sampled_from(("keep", "exclude", "relabel")),
    st.sampled_from(CLASSES),
    st.sampled_from(("", *CLASSES)),
)
STEPS = st.lists(st.one_of(st.lists(VERDICTS, min_size=1, max_size=3), st.integers(0, 5)), max_size=6)


@given(STEPS)
@settings(max_examples=12, deadline=None)
def test_any_sequence_changes_no_file_and_replays_by_hand(steps: list[list[Verdict] | int]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        store = new_store(folder / "tiles.zarr")
        add_slide(store, "s1", np.array([0]), np.array([0]), ["p1"])
        log: list[tuple[str, list[Verdict], str]] = []
        for step in steps:
            before = file_bytes(store.path)
            if isinstance(step, list):
                log.append((append_verdicts(store, step, WHO, "by hand"), step, ""))
            elif log and counts(log, log[step % len(log)][0]):
                undone = log[step % len(log)][0]
                log.append((undo_batch(store, undone, WHO), [], undone))
            assert before.items() <= file_bytes(store.path).items()
            assert [one.name for one in batches(store)] == [name for name, _, _ in log]
        by_hand = {}
        for name, verdicts, _ in log:
            for verdict in verdicts if counts(log, name) else []:
                by_hand[verdict.tile_id] = verdict
        assert read_verdicts(store) == by_hand
    finally:
        shutil.rmtree(folder)


def counts(log: list[tuple[str, list[Verdict], str]], name: str) -> bool:
    """A batch counts unless one that counts undoes it."""
    return not any(undoes == name and counts(log, later) for later, _, undoes in log)


def test_who_when_and_from_where_are_kept(few: TileStore) -> None:
    table = few.table()
    verdicts = [said(table, 0, "keep"), said(table, 1, "relabel", "red")]
    name = append_verdicts(few, verdicts, "ana", "review.csv")
    undo = undo_batch(few, name, "ben")
    first, second = batches(few)
    assert (first.name, first.verdicts, first.who, first.source) == (name, tuple(verdicts), "ana", "review.csv")
    assert (second.name, second.verdicts, second.who, second.undoes) == (undo, (), "ben", name)
    assert [first.counts, second.counts] == [False, True]
    assert first.when <= second.when


def test_k20_a_verdict_goes_over_every_later_run_until_it_is_undone(few: TileStore) -> None:
    table = few.table()
    write_run(few, EXCLUDED)
    by_run = read_decisions(few, table)
    verdicts = [
        said(table, 0, "keep"),
        said(table, 1, "exclude"),
        said(table, 2, "relabel", "blue"),
        said(table, 7, "relabel", "green"),
    ]
    batch = append_verdicts(few, verdicts, WHO, "review.csv")
    for state in (EXCLUDED, KEPT, UNDECIDED):
        if state != EXCLUDED:
            write_run(few, state, f"2026010{state + 2}T000000Z-bbbbbb")
        read = read_decisions(few, table)
        assert read.state[[0, 1, 2, 7]].tolist() == [KEPT, EXCLUDED, KEPT, KEPT]
        assert {REASONS[code] for code in read.reason[[0, 1, 2, 7]]} == {"review"}
        assert (read.state[3:7] == state).all()
        assert read.training_label.tolist() == [0, 1, 0, 0, 1, 2, 0, 1]
        assert read.label.tolist() == table.label.tolist()
        assert set(read.for_training()) >= {0, 2, 7}
        assert 1 not in read.for_training()
        assert (read_decisions(few, table, with_verdicts=False).state == state).all()
    undo_batch(few, batch, WHO)
    again = read_decisions(few, table, by_run.run)
    for name in ("state", "reason", "training_label", "stale"):
        assert getattr(again, name).tobytes() == getattr(by_run, name).tobytes()


def test_a_verdict_on_a_label_that_has_changed_is_asked_again(few: TileStore) -> None:
    table = few.table()
    append_verdicts(few, [said(table, 0, "exclude"), said(table, 1, "relabel", "red")], WHO, "review.csv")
    give_label(few, 0, 1)
    give_label(few, 1, 2)
    now = few.table()
    write_run(few, KEPT)
    read = read_decisions(few, now)
    assert np.flatnonzero(read.stale).tolist() == [0, 1]
    assert read.state[:2].tolist() == [UNDECIDED, UNDECIDED]
    assert [REASONS[code] for code in read.reason[:2]] == ["stale", "stale"]
    assert read.training_label.tolist() == now.label.tolist()
    append_verdicts(few, [said(now, 0, "exclude"), said(now, 1, "keep")], WHO, "review.csv")
    read = read_decisions(few, now)
    assert not read.stale.any()
    assert read.state[:2].tolist() == [EXCLUDED, KEPT]


def test_a_verdict_on_the_label_of_now_settles_a_stale_tile(few: TileStore) -> None:
    write_run(few, KEPT)
    give_label(few, 0, 1)
    now = few.table()
    assert read_decisions(few, now).stale[0]
    append_verdicts(few, [said(now, 0, "keep")], WHO, "review.csv")
    read = read_decisions(few, now)
    assert (read.stale[0], read.state[0], read.training_label[0]) == (False, KEPT, 1)


def test_a_class_that_is_no_longer_there_is_given_to_no_tile(few: TileStore) -> None:
    append_verdicts(few, [said(few.table(), 0, "relabel", "red")], WHO, "review.csv")
    had = few.read("s1")
    label = had.columns["label"].copy()
    label[label == 2] = -1
    columns = {**had.columns, "label": label, "area_share": had.columns["area_share"][:, :2]}
    few.replace_labels("s1", SlideTiles(columns, {**had.attributes, "classes": ["blue", "green"], "labels_hash": "x"}))
    write_run(few, KEPT)
    read = read_decisions(few, few.table())
    assert (read.stale[0], read.state[0], read.training_label[0]) == (True, UNDECIDED, 0)


ID = bytes(16)


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ([], "review.csv: holds no verdict. Nothing was written."),
        (
            [Verdict(ID, "keep", "", "red"), Verdict(ID, "kep", "", "red")],
            "review.csv: verdict 2: must be one of keep, exclude, relabel; got 'kep'. Did you mean 'keep'?",
        ),
        (
            [Verdict(ID, "relabel", "rod", "blue")],
            "review.csv: verdict 1: relabel needs one of the store's classes, blue, green, red; "
            "got 'rod'. Did you mean 'red'?",
        ),
        (
            [Verdict(ID, "exclude", "red", "blue")],
            "review.csv: verdict 1: exclude takes no class; got 'red'. Leave it out.",
        ),
        (
            [Verdict(b"abc", "keep", "", "")],
            "review.csv: verdict 1: a tile id has 16 bytes, this one 3. Check the file.",
        ),
    ],
)
def test_a_verdict_without_sense_is_refused_and_nothing_is_written(
    few: TileStore, verdicts: list[Verdict], words: str
) -> None:
    before = file_bytes(few.path)
    with pytest.raises(RunError) as caught:
        append_verdicts(few, verdicts, WHO, "review.csv")
    assert str(caught.value) == words
    assert file_bytes(few.path) == before


def test_an_undo_of_what_is_not_there_or_undone_is_refused(few: TileStore) -> None:
    with pytest.raises(RunError) as caught:
        undo_batch(few, "x", WHO)
    assert str(caught.value) == f"{few.path}: has no batch of verdicts 'x'. It has none."
    name = append_verdicts(few, [said(few.table(), 0, "keep")], WHO, "review.csv")
    with pytest.raises(RunError) as caught:
        undo_batch(few, "x", WHO)
    assert str(caught.value) == f"{few.path}: has no batch of verdicts 'x'. Its batches are {name}."
    undo_batch(few, name, WHO)
    with pytest.raises(RunError) as caught:
        undo_batch(few, name, WHO)
    assert str(caught.value) == f"{few.path}: the batch of verdicts {name} is undone already. Nothing was written."


def lose_values(batch: Path) -> None:
    (batch / "label" / "c" / "0").unlink()


def lose_head(batch: Path) -> None:
    (batch / "zarr.json").unlink()


@pytest.mark.parametrize("damage", [lose_values, lose_head])
def test_a_damaged_batch_is_refused_and_not_guessed(few: TileStore, damage: Callable[[Path], None]) -> None:
    write_run(few, KEPT)
    batch = few.path / "verdicts" / append_verdicts(few, [said(few.table(), 1, "exclude")], WHO, "review.csv")
    damage(batch)
    with pytest.raises(StoreError) as caught:
        read_decisions(few, few.table())
    cause = caught.value.__cause__
    assert str(caught.value) == (
        f"{batch}: cannot be read ({type(cause).__name__}: {cause}). "
        "Bring it back from a backup; without it, what was decided is not known."
    )

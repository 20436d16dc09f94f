"""Verdicts are added, never changed; the latest that is not undone holds, and outlives every run of `clean`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, file_bytes
from tests.decided import decided
from tests.w2wnet.conftest import QUICK, fake_learner, new_store
from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import SlideTiles, TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.ledger import (
    COLUMNS,
    EXCLUDED,
    KEPT,
    REASONS,
    UNDECIDED,
    Decisions,
    read_decisions,
    require_fresh,
    undo_run,
    write_decisions,
)
from w2wpath.w2wnet.verdicts import (
    Batch,
    Verdict,
    append_verdicts,
    counting,
    effective,
    ids_of,
    overlay,
    read_batches,
    undo_batch,
)

STEPS = st.lists(
    st.one_of(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["keep", "exclude", "relabel"])), min_size=1, max_size=3),
        st.integers(0, 9),
    ),
    max_size=7,
)


def a_verdict(tile: int, word: str) -> Verdict:
    return Verdict(bytes([tile] * 16), word, "red" if word == "relabel" else "", "blue")


def holds(batches: list[Batch], name: str) -> bool:
    """Whether a batch counts, asked forwards: the last of the undoings that count decides."""
    later = batches[[one.name for one in batches].index(name) + 1 :]
    return not any(one.undoes == name and holds(batches, one.name) for one in later)


def replayed(batches: list[Batch]) -> dict[bytes, Verdict]:
    found = {}
    for batch in batches:
        if holds(batches, batch.name):
            for one in batch.verdicts:
                found[one.tile_id] = one
    return found


@settings(max_examples=25)
@given(steps=STEPS)
def test_the_log_only_grows_and_what_holds_is_what_a_replay_finds(steps: list[list[tuple[int, str]] | int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = new_store(Path(folder) / "tiles.zarr")
        files = file_bytes(store.path)
        for step in steps:
            batches = read_batches(store)
            if isinstance(step, list):
                append_verdicts(store, [a_verdict(*one) for one in step], who="ann", source="x.csv")
            elif batches:
                name = batches[step % len(batches)].name
                before = holds(batches, name)
                undo_batch(store, name, "ben")
                assert holds(read_batches(store), name) != before
            now = file_bytes(store.path)
            assert files.items() <= now.items()
            files = now
            assert effective(store) == replayed(read_batches(store))


def test_what_is_appended_is_read_back(store: TileStore) -> None:
    given_ = [Verdict(b"a" * 16, "keep", "", ""), Verdict(b"b" * 16, "relabel", "rot: ü", "green")]
    name = append_verdicts(store, given_, who="ann", source="review.csv")
    (batch,) = read_batches(store)
    assert (batch.name, batch.who, batch.source, batch.undoes) == (name, "ann", "review.csv", "")
    assert batch.verdicts == tuple(given_)
    assert counting([batch]) == [batch]


def test_a_batch_that_is_not_there_cannot_be_undone(store: TileStore) -> None:
    with pytest.raises(RunError) as caught:
        undo_batch(store, "yesterday", "ann")
    assert str(caught.value) == f"{store.path}: has no batch of verdicts 'yesterday'. It has none."
    name = append_verdicts(store, [a_verdict(0, "keep")], who="ann", source="x")
    with pytest.raises(RunError) as caught:
        undo_batch(store, "yesterday", "ann")
    assert str(caught.value) == f"{store.path}: has no batch of verdicts 'yesterday'. Its batches are {name}."


@pytest.mark.parametrize("lost", ["verdict/c/0", "tile_id/c/0/0", "zarr.json"])
def test_a_damaged_batch_is_refused_and_not_passed_over(store: TileStore, lost: str) -> None:
    name = append_verdicts(store, [a_verdict(0, "exclude")], who="ann", source="x")
    (store.path / "verdicts" / name / lost).unlink()
    with pytest.raises(StoreError) as caught:
        effective(store)
    cause = caught.value.__cause__
    assert str(caught.value) == (
        f"{store.path}: the verdicts of batch {name} cannot be read ({type(cause).__name__}: {cause}). "
        f"Bring {store.path / 'verdicts' / name} back from a copy, or remove it and import its verdicts again."
    )


DIES = """
import os, signal, sys
from pathlib import Path
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.verdicts import Verdict, append_verdicts

Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # the moment before it would be seen
append_verdicts(TileStore.open(sys.argv[1]), [Verdict(b"a" * 16, "keep", "", "")], who="ann", source="x")
"""


def test_a_batch_killed_before_it_is_published_is_not_there(store: TileStore) -> None:
    before = file_bytes(store.path)
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(store.path)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert any(store.scratch.iterdir())
    assert file_bytes(store.path) == before
    assert read_batches(TileStore.open(store.path)) == []


# on decisions -------------------------------------------------------------------------------------------------------


def given_on(table: TileTable, i: int, word: str, class_name: str = "", label: str | None = None) -> Verdict:
    own = table.classes[table.label[i]] if label is None else label
    return Verdict(ids_of(table)[i], word, class_name, own)


def on(table: TileTable, decisions: Decisions, *verdicts: Verdict) -> Decisions:
    return overlay(decisions, table, {one.tile_id: one for one in verdicts})


def test_a_person_has_the_last_word(store: TileStore) -> None:
    table = store.table()
    plain = decided(table, {}, state=np.arange(table.n) % 3, reason=1)
    other = next(name for name in table.classes if name != table.classes[table.label[2]])
    said = on(
        table, plain, given_on(table, 1, "keep"), given_on(table, 0, "exclude"), given_on(table, 2, "relabel", other)
    )
    assert said.state[:3].tolist() == [EXCLUDED, KEPT, KEPT]
    assert {REASONS[code] for code in said.reason[:3]} == {"review"}
    assert table.classes[said.training_label[2]] == other
    assert {0, 1, 2} & set(said.for_training().tolist()) == {1, 2}
    for name in ("state", "reason", "training_label"):
        assert np.array_equal(getattr(said, name)[3:], getattr(plain, name)[3:])
    assert not said.stale.any()
    assert (plain.state[:3].tolist(), plain.since) == ([0, 1, 2], None)


def test_a_verdict_on_another_label_is_asked_again(store: TileStore) -> None:
    table = store.table()
    plain = decided(table, {})
    said = on(table, plain, given_on(table, 0, "exclude", label="green" if table.label[0] != 1 else "red"))
    assert (said.state[0], REASONS[said.reason[0]], said.stale[0]) == (UNDECIDED, "stale", True)
    with pytest.raises(RunError) as caught:
        require_fresh(said, allow_stale=False)
    assert str(caught.value) == (
        f"run {said.run}: 1 verdicts were given on other labels (give them again: `w2wpath review export`). "
        "Or pass --allow-stale to use them as they are."
    )


def test_a_verdict_on_the_label_of_now_settles_a_stale_tile(store: TileStore) -> None:
    table = store.table()
    write_decisions(store, table, decided(table, {"classes": list(table.classes)}))
    tiles = store.read("s1")
    columns = {**tiles.columns, "label": (tiles.columns["label"] + 1) % 3}
    store.replace_labels("s1", SlideTiles(columns, {**tiles.attributes, "labels_hash": "other"}))
    now = store.table()
    assert read_decisions(store, now).stale[0]
    append_verdicts(store, [given_on(now, 0, "keep")], who="ann", source="x")
    read = read_decisions(store, now)
    assert (read.state[0], read.stale[0], read.stale[1]) == (KEPT, False, True)
    assert read_decisions(store, now, with_verdicts=False).stale[0]


def test_apply_undo_and_override_k20(store: TileStore, tmp_path: Path) -> None:
    data = store.content_hash()
    table, first = clean(store, fake_learner(store), QUICK, tmp_path / "clean")
    kept = read_decisions(store, table)
    _, second = clean(store, fake_learner(store), replace_seed(1), tmp_path / "clean")
    files = file_bytes(store.path)
    assert undo_run(store, None, "ann") == (second.run, True)
    back = read_decisions(store, table)
    assert back.run == first.run
    assert all(getattr(back, name).tobytes() == getattr(kept, name).tobytes() for name in COLUMNS)
    wrongly = int(np.flatnonzero(back.state == EXCLUDED)[0])
    append_verdicts(store, [given_on(table, wrongly, "keep")], who="ben", source="review.csv")
    assert read_decisions(store, table).state[wrongly] == KEPT
    _, third = clean(store, fake_learner(store), replace_seed(2), tmp_path / "clean")
    again = read_decisions(store, table)
    assert (again.run, third.state[wrongly]) == (third.run, EXCLUDED)
    assert (again.state[wrongly], REASONS[again.reason[wrongly]]) == (KEPT, "review")
    assert files.items() <= file_bytes(store.path).items()
    assert store.content_hash() == data


def replace_seed(seed: int) -> object:
    return QUICK.model_copy(update={"seed": seed})

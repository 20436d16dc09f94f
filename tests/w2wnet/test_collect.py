"""Where more than half of a class or patient is excluded, nothing is decided until a person says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import file_bytes
from tests.decided import decided
from tests.w2wnet.conftest import CLASSES, QUICK, FakeLearner, StoreLearner, add_slide, new_store, shown
from w2wpath.errors import DiskError, RunError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import Cleaning, clean, collect, prepare, run_fold, run_folds
from w2wpath.w2wnet.collect import stops
from w2wpath.w2wnet.ledger import COLUMNS, EXCLUDED, Decisions, read_decisions, runs, write_decisions
from w2wpath.w2wnet.plan import make_plan

LABEL = np.arange(60) // 6 % 3


@pytest.fixture
def suspicious(tmp_path: Path) -> TileStore:
    """Ten tiles of each of six patients; the last one's labels are all wrong."""
    store = new_store(tmp_path / "tiles.zarr")
    of_last = np.arange(60) % 6 == 5
    add_slide(store, "s", LABEL, np.where(of_last, (LABEL + 1) % 3, LABEL), [f"p{i}" for i in range(6)])
    return store


def cleaned(store: TileStore, learner_for: object = None, *, force: bool = False) -> tuple[TileTable, Decisions]:
    return clean(store, learner_for or StoreLearner(store.path), QUICK, store.path.parent / "clean", force=force)


SAYS = "patient p5: 10 of 10 tiles excluded, more than half"


def test_nothing_is_written_where_more_than_half_of_a_patient_is_excluded(suspicious: TileStore) -> None:
    before = file_bytes(suspicious.path)
    table, decisions = cleaned(suspicious)
    assert decisions.about["stopped"] == [SAYS]
    assert decisions.about["forced"] == []
    assert (decisions.state[table.patient == 5] == EXCLUDED).all()
    assert file_bytes(suspicious.path) == before
    folder = suspicious.path.parent / "clean" / decisions.run
    assert sorted(path.name for path in folder.glob("fold-*")) == [f"fold-{k}.npz" for k in range(3)]
    assert not (folder / "done").exists()


def test_forced_it_is_decided_without_training_again(suspicious: TileStore) -> None:
    _, first = cleaned(suspicious)
    assert cleaned(suspicious, never)[1].about["stopped"] == [SAYS]
    _, second = cleaned(suspicious, never, force=True)
    assert (second.run, runs(suspicious)) == (first.run, [first.run])
    assert (second.about["stopped"], second.about["forced"]) == ([], [SAYS])
    assert all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in COLUMNS)


def never(*_: object) -> FakeLearner:
    raise AssertionError("a learner was made")


@pytest.mark.parametrize(("tiles", "gone", "stopped"), [(10, 6, True), (10, 5, False), (9, 9, False)])
def test_the_limit_is_more_than_half_of_ten_tiles_or_more(
    suspicious: TileStore, tiles: int, gone: int, stopped: bool
) -> None:
    table = suspicious.table()
    mine = np.flatnonzero(table.patient == 2)
    state = np.zeros(table.n, dtype=np.uint8)
    state[mine[:gone]] = EXCLUDED
    label = table.label.copy()
    label[mine[tiles:]] = -1
    made = decided(TileTable(**{**vars(table), "label": label}), {}, state=state)
    assert stops(table, made) == ([f"patient p2: {gone} of 10 tiles excluded, more than half"] if stopped else [])


def test_a_class_of_few_tiles_does_not_vanish_unseen(suspicious: TileStore) -> None:
    table = suspicious.table()
    label = np.where(table.label == 2, 0, table.label)
    label[:3] = 2
    few = TileTable(**{**vars(table), "label": label})
    for gone, stopped in ((1, []), (2, ["class red: 2 of 3 tiles excluded, more than half"])):
        made = decided(few, {}, state=np.where(np.arange(table.n) < gone, EXCLUDED, 0))
        assert stops(few, made) == stopped


def test_a_class_is_named_before_patients(suspicious: TileStore) -> None:
    table = suspicious.table()
    of_class = table.label == CLASSES.index("green")
    made = decided(table, {}, state=np.where(of_class, EXCLUDED, 0))
    count = int(of_class.sum())
    assert stops(table, made)[0] == f"class green: {count} of {count} tiles excluded, more than half"


def test_folds_that_are_missing_are_named(store: TileStore) -> None:
    cleaning = prepare(make_plan(store, QUICK), store.path.parent / "clean")
    learner = FakeLearner(shown(store, store.table()))
    cure = "missing. Run `w2wpath clean` with the same settings, for one of them with --fold."
    for k, names in ((None, "folds 1, 2 and 3 are"), (1, "folds 1 and 3 are"), (0, "fold 3 is")):
        if k is not None:
            run_fold(cleaning, learner, k)
        with pytest.raises(RunError) as caught:
            collect(cleaning)
        assert str(caught.value) == f"run {cleaning.run}: {names} {cure}"
    assert runs(store) == []
    run_fold(cleaning, learner, 2)
    assert collect(cleaning)[1].run == cleaning.run
    assert runs(store) == [cleaning.run]


def changes(store: TileStore) -> str:
    add_slide(store, "s3", np.arange(9) % 3, np.arange(9) % 3, ["p9"])
    return (
        f"{store.path}: its tiles or labels have changed while it was being cleaned. "
        "What was found is of no use for it; run the same command again."
    )


def trained(store: TileStore) -> Cleaning:
    cleaning = prepare(make_plan(store, QUICK), store.path.parent / "clean")
    run_folds(cleaning, StoreLearner(store.path))
    return cleaning


def test_a_run_that_died_before_its_report_reports_when_it_is_run_again(store: TileStore) -> None:
    cleaning = trained(store)

    def dies(table: TileTable, decisions: Decisions) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(cleaning, report=dies)
    assert runs(store) == [cleaning.run]
    before = file_bytes(store.path)
    reported: list[str] = []
    again = prepare(make_plan(store, QUICK), store.path.parent / "clean")
    assert (again.run, again.missing()) == (cleaning.run, [])
    collect(again, report=lambda _, decisions: reported.append(decisions.run))
    assert reported == [cleaning.run]
    assert file_bytes(store.path) == before
    assert (cleaning.folder / "done").exists()


def test_a_run_that_was_forced_and_died_is_not_stopped_again(suspicious: TileStore) -> None:
    cleaning = trained(suspicious)
    collect(cleaning, force=True)
    (cleaning.folder / "done").unlink()
    _, decisions = collect(cleaning)
    assert (decisions.about["stopped"], decisions.about["forced"]) == ([], [SAYS])
    assert (cleaning.folder / "done").exists()


def test_of_two_processes_that_join_the_same_folds_both_end_well(
    store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaning, write = trained(store), write_decisions

    def after_the_other(*args: Any) -> None:
        write(*args)  # the other process is a moment earlier
        write(*args)

    monkeypatch.setattr("w2wpath.w2wnet.clean.write_decisions", after_the_other)
    _, decisions = collect(cleaning)
    assert runs(store) == [cleaning.run]
    assert np.array_equal(read_decisions(store, store.table()).state, decisions.state)


def test_decisions_that_cannot_be_written_are_an_error(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaning = trained(store)

    def full(*_: Any) -> None:
        raise DiskError("no room")

    monkeypatch.setattr("w2wpath.w2wnet.clean.write_decisions", full)
    with pytest.raises(DiskError, match="no room"):
        collect(cleaning)
    assert not (cleaning.folder / "done").exists()


def test_a_store_that_changes_between_folds_is_not_mixed(store: TileStore) -> None:
    cleaning = prepare(make_plan(store, QUICK), store.path.parent / "clean")
    learner = FakeLearner(shown(store, store.table()))
    run_fold(cleaning, learner, 0)
    message = changes(store)
    with pytest.raises(RunError) as caught:
        run_fold(cleaning, learner, 1)
    assert str(caught.value) == message
    # nor by a job that starts now and is told to go on with that run
    with pytest.raises(RunError) as caught:
        prepare(make_plan(store, QUICK), store.path.parent / "clean", run=cleaning.run)
    assert str(caught.value) == (
        f"run {cleaning.run}: cannot go on, because the store's tiles or labels have changed since. "
        f"Give the settings in {cleaning.folder / 'key.json'}, or leave --run out to begin a new run."
    )


def test_a_store_that_changes_before_the_end_gets_no_decisions(store: TileStore) -> None:
    cleaning = prepare(make_plan(store, QUICK), store.path.parent / "clean")
    learner = FakeLearner(shown(store, store.table()))
    for k in range(3):
        run_fold(cleaning, learner, k)
    message = changes(store)
    with pytest.raises(RunError) as caught:
        collect(cleaning)
    assert str(caught.value) == message
    assert runs(store) == []


def test_copies_across_patients_are_told_with_the_decisions(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    rng = np.random.default_rng(0)
    pixels = (rng.integers(0, 40, (54, 32, 32, 3)) + np.eye(3)[np.arange(54) // 6 % 3][:, None, None] * 150).astype(
        "u1"
    )
    pixels[1] = pixels[0]
    add_slide(store, "s", np.arange(54) // 6 % 3, np.arange(54) // 6 % 3, [f"p{i}" for i in range(6)], pixels)
    labels = store.table().label.astype(np.int64)
    _, decisions = cleaned(store, lambda table: FakeLearner(labels))
    assert decisions.about["duplicate_tiles"] == 2
    assert [group["tiles"] for group in decisions.about["duplicates"]] == [[["s", 0, 0, "p0"], ["s", 32, 0, "p1"]]]

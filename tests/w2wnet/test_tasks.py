"""Folds in other processes give the same bits as one after another, and stop when they are asked to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, FakeLearner, FakeRun, StoreLearner, epochs_in, make_store
from w2wpath.config import CleanSettings
from w2wpath.errors import NonFiniteScoreError, RunError
from w2wpath.progress import Stopped
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import Cleaning, collect, prepare, run_fold, run_folds
from w2wpath.w2wnet.learner import LearnerFor, Rows
from w2wpath.w2wnet.ledger import COLUMNS, Decisions
from w2wpath.w2wnet.plan import make_plan
from w2wpath.w2wnet.tasks import FoldTask, distribute_folds, run_task

DIVERGED = (
    "the network gave no finite probabilities for 60 of 60 tiles: its training diverged. "
    "Lower --lr, or use --precision fp32."
)
CONTROLLED = QUICK.model_copy(update={"controls": 0.1})


def begun(store: TileStore, home: str, settings: CleanSettings = QUICK) -> Cleaning:
    return prepare(make_plan(store, settings), store.path.parent / home)


def told(decisions: Decisions) -> dict[str, object]:
    """All that a run decided, without times."""
    folds = [{name: value for name, value in fold.items() if name != "seconds"} for fold in decisions.about["folds"]]
    about = {name: decisions.about[name] for name in ("controls", "duplicates", "duplicate_tiles", "fold_table")}
    return {"folds": folds, **about, **{name: getattr(decisions, name).tobytes() for name in COLUMNS}}


def one_after_another(cleaning: Cleaning, learner_for: LearnerFor) -> dict[str, object]:
    run_folds(cleaning, learner_for)
    return told(collect(cleaning)[1])


def backwards(cleaning: Cleaning, learner_for: LearnerFor) -> dict[str, object]:
    for k in (2, 1, 0):
        run_folds(cleaning, learner_for, [k])
    return told(collect(cleaning)[1])


def in_processes(cleaning: Cleaning, learner_for: LearnerFor) -> dict[str, object]:
    distribute_folds(cleaning, learner_for, workers=2)
    return told(collect(cleaning)[1])


@pytest.mark.parametrize("settings", [QUICK, CONTROLLED], ids=["plain", "with controls"])
def test_folds_of_jobs_give_the_bits_of_one_run(store: TileStore, settings: CleanSettings) -> None:
    learner_for = StoreLearner(store.path)
    expected = one_after_another(begun(store, "a", settings), learner_for)
    assert backwards(begun(store, "b", settings), learner_for) == expected


@pytest.mark.long
def test_folds_in_other_processes_give_the_bits_of_one_run(store: TileStore) -> None:
    learner_for = StoreLearner(store.path)
    expected = one_after_another(begun(store, "a", CONTROLLED), learner_for)
    assert in_processes(begun(store, "b", CONTROLLED), learner_for) == expected


@pytest.mark.long
@pytest.mark.usefixtures("one_thread")
def test_real_networks_in_other_processes_give_the_bits_of_one_run(tmp_path: Path) -> None:
    from w2wpath.w2wnet.nets.training import Wises

    store = make_store(tmp_path / "tiles.zarr", patients=4, per_patient=12)
    settings = CONTROLLED.model_copy(update={"backbone": "conv5", "batch_size": 16, "max_epochs": 4, "folds": 2})
    wises = Wises(store.path, settings, threads=1)
    expected = one_after_another(begun(store, "a", settings), wises)
    assert in_processes(begun(store, "b", settings), wises) == expected


# stops and faults ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diverging(StoreLearner):
    """Its networks say nothing finite from fold 2 on, which has seed 1."""

    def __call__(self, table: TileTable, planted: object = None) -> FakeLearner:
        found = super().__call__(table)

        class Learner(FakeLearner):
            def start(self, rows: Rows, labels: np.ndarray, seed: int) -> FakeRun:
                run = super().start(rows, labels, seed)
                if seed:
                    run.draw = lambda rows: np.full((len(rows), 3), np.nan, dtype=np.float32)  # type: ignore[method-assign]
                return run

        return Learner(found.content_n)


@dataclass(frozen=True)
class Deadly(StoreLearner):
    """Kills the process that makes it."""

    def __call__(self, table: TileTable, planted: object = None) -> FakeLearner:
        os._exit(9)


def raised(error: type[BaseException], action: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        action()
    return str(caught.value)


def test_what_is_not_finite_is_refused_and_what_was_done_stays(store: TileStore) -> None:
    cleaning = begun(store, "clean")
    said = raised(NonFiniteScoreError, lambda: run_folds(cleaning, Diverging(store.path)))
    assert said == DIVERGED
    assert cleaning.missing() == [1, 2]
    assert not (store.path / "decisions").exists()


def test_a_fold_that_fails_does_not_stop_the_others(store: TileStore) -> None:
    cleaning = begun(store, "clean")
    run_fold(cleaning, StoreLearner(store.path)(store.table()), 0)
    (cleaning.folder / "fold-0.npz").rename(store.path.parent / "aside.npz")
    # with one worker the tasks are done here, one after another
    said = raised(NonFiniteScoreError, lambda: distribute_folds(cleaning, Diverging(store.path)))
    assert said == DIVERGED
    assert cleaning.missing() == [1, 2]


@pytest.mark.long
def test_workers_that_die_are_told_with_the_cure(store: TileStore) -> None:
    cleaning = begun(store, "clean")
    run_fold(cleaning, StoreLearner(store.path)(store.table()), 0)
    said = raised(RunError, lambda: distribute_folds(cleaning, Deadly(store.path), workers=2))
    assert said in [
        f"fold {k}: every worker process that took it died (out of memory?). Its last epoch and the other folds are on "
        "disk; run the same command again with fewer --workers."
        for k in (2, 3)
    ]


@pytest.mark.parametrize("asks", [1, 3, 5])
def test_a_stop_loses_no_epoch(store: TileStore, asks: int) -> None:
    expected = one_after_another(begun(store, "whole"), StoreLearner(store.path))
    cleaning, asked = begun(store, "clean"), iter(range(1000))
    said = raised(
        Stopped, lambda: run_folds(cleaning, StoreLearner(store.path), stop_asked=lambda: next(asked) >= asks)
    )
    # asked once before the first epoch, and after each
    assert said == f"after epoch {asks} of fold 1/3"
    assert epochs_in(cleaning.checkpoint(0)) == asks
    again = begun(store, "clean")
    assert again.run == cleaning.run
    assert one_after_another(again, StoreLearner(store.path)) == expected


def test_a_stop_in_the_passes_goes_on_from_the_last_epoch(store: TileStore) -> None:
    expected = one_after_another(begun(store, "whole"), StoreLearner(store.path))
    epochs = len(expected["folds"][0]["stop"]["deltas"])  # type: ignore[index]  # of the first fold
    for after, where in ((2, "8 exact passes"), (10, "unseen patients")):
        cleaning, asked = begun(store, f"clean {after}"), iter(range(1000))
        limit = epochs + after
        said = raised(
            Stopped,
            lambda: run_folds(cleaning, StoreLearner(store.path), stop_asked=lambda: next(asked) >= limit),  # noqa: B023
        )
        assert said == f"in fold 1/3: {where}"
        assert one_after_another(begun(store, f"clean {after}"), StoreLearner(store.path)) == expected


def test_a_stop_before_any_epoch_is_told_so(store: TileStore) -> None:
    plan = make_plan(store, QUICK)
    assert raised(Stopped, lambda: prepare(plan, store.path.parent / "clean", stop_asked=lambda: True)) == (
        "before the first epoch"
    )


def test_a_task_ends_where_its_file_says_so(store: TileStore) -> None:
    cleaning = begun(store, "clean")
    stop = cleaning.folder / "stop-x"
    stop.touch()
    task = FoldTask(store.path, QUICK, cleaning.folder, 1, StoreLearner(store.path), stop)
    assert run_task(task) == "before fold 2"
    stop.unlink()
    assert run_task(task) is None
    assert cleaning.missing() == [0, 2]


def test_tasks_are_stopped_by_what_the_command_hears(store: TileStore) -> None:
    cleaning = begun(store, "clean", QUICK.model_copy(update={"max_epochs": 5000, "std_window": 4000}))
    heard = threading.Event()
    threading.Timer(1.0, heard.set).start()
    said = raised(Stopped, lambda: distribute_folds(cleaning, StoreLearner(store.path), stop_asked=heard.is_set))
    first, *others = said.split(", ")
    assert first.startswith("after epoch ")
    assert first.endswith(" of fold 1/3")
    assert others == ["before fold 2", "before fold 3"]
    assert list(cleaning.folder.glob("stop-*")) == []


def test_a_killed_write_of_a_checkpoint_leaves_nothing(store: TileStore) -> None:
    cleaning = begun(store, "clean")
    left = cleaning.folder / ".fold-1.checkpoint.4711.partial"
    left.write_bytes(b"half of it")
    os.utime(left, (0, 0))
    run_folds(cleaning, StoreLearner(store.path), [0])
    assert left.exists()  # another job may be at it
    run_folds(cleaning, StoreLearner(store.path), [1])
    assert not left.exists()

"""Folds as tasks of their own: in processes of this machine, or on a dask.distributed scheduler."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from w2wpath.config import CleanSettings
from w2wpath.errors import RunError
from w2wpath.progress import Progress, Silent, StopAsked, Stopped, never
from w2wpath.tiles.distribute import WorkerLost, each
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.clean import Cleaning, make_learner, prepare, run_fold, say_time
from w2wpath.w2wnet.learner import LearnerFor
from w2wpath.w2wnet.plan import make_plan

ASK_EVERY_S = 0.2
"""Seconds between two looks at whether the run shall stop."""


@dataclass(frozen=True)
class FoldTask:
    """One fold of a run, to be worked on wherever the same files are seen; `learner_for` can be pickled.

    `stop` is a file that is made when the work shall stop after its epoch.
    """

    store: Path
    settings: CleanSettings
    folder: Path
    fold: int
    learner_for: LearnerFor
    stop: Path


def run_task(task: FoldTask) -> str | None:
    """Work on a fold; return where it was stopped, None when its result is on disk.

    Raises
    ------
    RunError
        The store is no longer what it was when the run began.
    """
    if task.stop.exists():
        return f"before fold {task.fold + 1}"
    plan = make_plan(TileStore.open(task.store), task.settings)
    try:
        cleaning = prepare(plan, task.folder.parent, run=task.folder.name, stop_asked=task.stop.exists)
        run_fold(cleaning, make_learner(cleaning, task.learner_for), task.fold, stop_asked=task.stop.exists)
    except Stopped as stopped:
        return str(stopped)
    return None


def distribute_folds(
    cleaning: Cleaning,
    learner_for: LearnerFor,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress | None = None,
    stop_asked: StopAsked = never,
    tell_time: bool = False,
) -> None:
    """Work on the folds that have no result yet, several at a time; the bits are those of one after another.

    Parameters
    ----------
    learner_for
        Can be pickled, and by name imported where the work is done.
    workers, scheduler
        As :func:`~w2wpath.tiles.distribute.each` takes them.
    tell_time
        Measure here and say how long it will take; not with a `scheduler`, whose machines are others.

    Raises
    ------
    Stopped
        It was asked to stop; every fold has its last epoch on disk.
    RunError
        A fold's processes died. Other errors are those of the folds; all folds are tried before one is raised.
    """
    progress = progress or Silent()
    missing = cleaning.missing()
    if tell_time and missing and scheduler is None:
        say_time(cleaning, learner_for, missing, progress, workers=workers)
    ended, errors = [], []
    with _stop_file(cleaning.folder, stop_asked) as stop, progress.track("folds", len(missing)) as step:
        tasks = [_task(cleaning, k, learner_for, stop) for k in missing]
        for task, result in each(run_task, tasks, workers=workers, scheduler=scheduler):
            if isinstance(result, Exception):
                errors.append(_told(task, result))
            elif result is not None:
                ended.append(result)
            step(1, f"fold {task.fold + 1}{': ' + str(result) if result is not None else ''}")
    if stop_asked() and cleaning.missing():
        raise Stopped(", ".join(sorted(ended)) or "before the first epoch")
    if errors:
        raise errors[0]


def _task(cleaning: Cleaning, k: int, learner_for: LearnerFor, stop: Path) -> FoldTask:
    plan = cleaning.plan
    return FoldTask(plan.store.path.resolve(), plan.settings, cleaning.folder.resolve(), k, learner_for, stop)


def _told(task: FoldTask, error: Exception) -> Exception:
    if not isinstance(error, WorkerLost):
        return error
    return RunError(
        f"fold {task.fold + 1}: every worker process that took it died (out of memory?). Its last epoch and the other "
        "folds are on disk; run the same command again with fewer --workers."
    )


@contextmanager
def _stop_file(folder: Path, stop_asked: StopAsked) -> Iterator[Path]:
    """Give the path of a file that is made as soon as the work shall stop, so that other machines see it too."""
    path = folder.resolve() / f"stop-{uuid.uuid4().hex}"
    over = threading.Event()

    def watch() -> None:
        while not over.wait(ASK_EVERY_S):
            if stop_asked():
                path.touch()
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield path
    finally:
        over.set()
        watching.join()
        path.unlink(missing_ok=True)

"""The procedure: a Wise per fold, votes on every tile, decisions. It receives a Learner and never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2wpath.config import CleanSettings
from w2wpath.errors import RunError
from w2wpath.progress import Progress, Silent, StopAsked, Stopped, never
from w2wpath.provenance import record
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet import collect as collecting
from w2wpath.w2wnet import texture
from w2wpath.w2wnet.at_work import at_work
from w2wpath.w2wnet.checkpoint import reached
from w2wpath.w2wnet.controls import plant, recall
from w2wpath.w2wnet.duplicates import Duplicates, across_patients
from w2wpath.w2wnet.estimate import estimate
from w2wpath.w2wnet.foldwork import FoldResult, FoldWork, Pixels
from w2wpath.w2wnet.learner import Learner, LearnerFor
from w2wpath.w2wnet.ledger import Decisions, runs, write_decisions
from w2wpath.w2wnet.pixels import measured
from w2wpath.w2wnet.plan import Plan, make_plan
from w2wpath.w2wnet.quality import measure
from w2wpath.w2wnet.runs import LOCK, choose_run, finish, remove_partials

Report = Callable[[TileTable, Decisions], object]


@dataclass(frozen=True)
class Cleaning:
    """A run that has begun: its plan, its folder, and what every fold needs."""

    plan: Plan
    folder: Path
    work: FoldWork
    duplicates: Duplicates

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.folder.name

    def result(self, k: int) -> Path:
        """Return where the result of fold `k` is, or will be."""
        return self.folder / f"fold-{k}.npz"

    def checkpoint(self, k: int) -> Path:
        """Return where fold `k` keeps its last epoch while it is under way."""
        return self.folder / f"fold-{k}.checkpoint"

    def missing(self) -> list[int]:
        """Return the folds that have no result."""
        return [k for k in range(self.plan.settings.folds) if FoldResult.read(self.result(k)) is None]


def clean(
    store: TileStore,
    learner_for: LearnerFor,
    settings: CleanSettings,
    home: Path,
    progress: Progress | None = None,
    *,
    force: bool = False,
) -> tuple[TileTable, Decisions]:
    """Find the spurious tiles of a store, patient by patient, and write the decisions into it.

    Parameters
    ----------
    learner_for
        Makes the learner for a table of tiles.
    home
        Folder for what belongs to runs (``clean/<run>/``). A run there that was interrupted, with the same settings
        on the same store, is taken up after the last epoch that it finished.
    force
        Write the decisions even if more than half of a class or patient is excluded. Else they are only returned, and
        ``about["stopped"]`` says of which; calling again with `force` trains nothing anew.

    Raises
    ------
    ConfigError
        Tiles are too small for the image-quality score.
    StoreError
        No tile has a label.
    FoldError
        Patients or classes do not suffice.
    NonFiniteScoreError
        A network diverged.
    RunError
        The store changed meanwhile.
    """
    progress = progress or Silent()
    cleaning = prepare(make_plan(store, settings), home, progress)
    run_folds(cleaning, learner_for, progress=progress)
    return collect(cleaning, force=force)


def prepare(
    plan: Plan,
    home: Path,
    progress: Progress | None = None,
    *,
    run: str | None = None,
    may_begin: bool = True,
    stop_asked: StopAsked = never,
) -> Cleaning:
    """Take up the run that the plan belongs to, or begin one, and measure what every fold needs.

    Parameters
    ----------
    run
        Take up this one.
    may_begin
        Else only an unfinished run is taken up.

    Raises
    ------
    RunError
        There is no such run to take up, or it was begun with something else.
    """
    progress = progress or Silent()
    store, settings, judged = plan.store, plan.settings, plan.judged
    folder = home / choose_run(home, plan.key, plan.folds, progress, name=run, may_begin=may_begin)
    pixels = measured(folder / "pixels.npz", store, judged, progress, stop_asked, settings)
    planted, features, textures = None, pixels.features[:0], pixels.texture[:0]
    if settings.controls > 0:
        share, folds = settings.controls, settings.folds
        planted = plant(store, judged, plan.fold_n, folds=folds, share=share, seed=settings.seed)
        features = measure(planted.images) if settings.quality else features
        textures = texture.measure(planted.images) if settings.second_reader == "forest" else textures
    n = plan.table.n
    own, theirs = Pixels(pixels.features, pixels.texture), Pixels(features, textures)
    work = FoldWork(settings, judged, plan.rows, n, plan.fold_n, own, planted, theirs)
    return Cleaning(plan, folder, work, across_patients(judged, pixels.digest))


def make_learner(cleaning: Cleaning, learner_for: LearnerFor) -> Learner:
    """Make the learner of a run, with its planted images where there are any."""
    planted = cleaning.work.planted
    table = cleaning.plan.table
    return learner_for(table) if planted is None else learner_for(table, planted.images)


def run_fold(
    cleaning: Cleaning,
    learner: Learner,
    k: int,
    progress: Progress | None = None,
    stop_asked: StopAsked = never,
) -> None:
    """Work on fold `k` (from 0), after the last epoch that is on disk, and write what it found.

    Raises
    ------
    Stopped
        It was asked to stop; run it again to go on.
    RunError
        The store changed meanwhile.
    """
    remove_partials(cleaning.folder, f"fold-{k}.")
    cleaning.plan.refuse_changed_store()
    with at_work(cleaning.folder / LOCK.format(k)):
        found = cleaning.work.run(learner, k, cleaning.checkpoint(k), progress or Silent(), stop_asked)
    cleaning.plan.refuse_changed_store()
    found.write(cleaning.result(k))
    cleaning.checkpoint(k).unlink(missing_ok=True)


def run_folds(
    cleaning: Cleaning,
    learner_for: LearnerFor,
    folds: Sequence[int] | None = None,
    *,
    progress: Progress | None = None,
    stop_asked: StopAsked = never,
    tell_time: bool = False,
) -> None:
    """Work, one after another, on those of `folds` (from 0; None: all) that have no result yet.

    With `tell_time`, the time that it will take is measured and said before it starts.
    """
    progress = progress or Silent()
    wanted = range(cleaning.plan.settings.folds) if folds is None else folds
    absent = cleaning.missing()
    missing = [k for k in wanted if k in absent]
    for k in [k for k in wanted if k not in absent]:
        progress.say(f"fold {k + 1}: taken from the interrupted run {cleaning.run}")
        cleaning.checkpoint(k).unlink(missing_ok=True)
    if not missing:
        return
    if stop_asked():
        raise Stopped("before the first epoch")
    if tell_time:
        say_time(cleaning, learner_for, missing, progress)
    learner = make_learner(cleaning, learner_for)
    for k in missing:
        run_fold(cleaning, learner, k, progress, stop_asked)


def say_time(
    cleaning: Cleaning, learner_for: LearnerFor, folds: Sequence[int], progress: Progress, *, workers: int = 1
) -> None:
    """Measure a little and say how long `folds` will take at most."""
    done = {k: found[0] for k in folds if (found := reached(cleaning.checkpoint(k))) is not None}
    told = estimate(cleaning.plan, learner_for, folds, done=done, workers=workers)
    progress.say(f"{told}, less where a network is stable before epoch {cleaning.plan.settings.max_epochs}")


def collect(cleaning: Cleaning, *, force: bool = False, report: Report | None = None) -> tuple[TileTable, Decisions]:
    """Join the folds into decisions, and write them into the store unless they exclude too much.

    Where more than half of a class or patient is excluded, and not `force`, ``about["stopped"]`` of the decisions
    says so, and the run stays unfinished; with `force`, ``about["forced"]`` says it.

    Parameters
    ----------
    report
        Called with the tiles and the decisions before the run counts as finished, so that one that dies meanwhile is
        taken up, and reports, again.

    Raises
    ------
    RunError
        Folds are missing, or the store changed meanwhile.
    """
    plan = cleaning.plan
    found = [FoldResult.read(cleaning.result(k)) for k in range(plan.settings.folds)]
    results = [result for result in found if result is not None]
    if len(results) < len(found):
        raise RunError(_missing(cleaning))
    plan.refuse_changed_store()
    about = record(
        "clean",
        plan.settings.model_dump(mode="json"),
        store_hash=plan.key.store,
        fold_table=plan.folds.fold_of_patient,
        fold_hash=plan.folds.digest,
        folds=[result.about for result in results],
        classes=plan.table.classes,
        duplicates=cleaning.duplicates.groups,
        duplicate_tiles=cleaning.duplicates.tiles,
    )
    decisions = collecting.decide(cleaning.run, plan.table, results, about)
    planted = cleaning.work.planted
    about["controls"] = {}
    if planted is not None:
        count_k = np.bincount(plan.judged.label, minlength=len(plan.table.classes))
        about["controls"] = recall(planted.kind, collecting.controls_found(planted, results, count_k, about))
    too_much = collecting.stops(plan.table, decisions)
    written = cleaning.run in runs(plan.store)  # it was interrupted after they were
    about["stopped"], about["forced"] = ([], too_much) if force or written else (too_much, [])
    if not about["stopped"] and not written:
        _publish(cleaning, decisions)
    if report is not None:
        report(plan.table, decisions)
    if not about["stopped"]:
        finish(cleaning.folder)
    return plan.table, decisions


def _publish(cleaning: Cleaning, decisions: Decisions) -> None:
    try:
        write_decisions(cleaning.plan.store, cleaning.plan.table, decisions)
    except OSError:
        # another process that joined the same folds was first, with the same decisions
        if cleaning.run not in runs(cleaning.plan.store):
            raise


def _missing(cleaning: Cleaning) -> str:
    names = [str(k + 1) for k in cleaning.missing()]
    which = f"fold {names[0]} is" if len(names) == 1 else f"folds {', '.join(names[:-1])} and {names[-1]} are"
    return (
        f"run {cleaning.run}: {which} missing. Run `w2wpath clean` with the same settings, for one of them with --fold."
    )

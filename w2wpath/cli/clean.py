"""``w2wpath clean``: find the spurious tiles."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from w2wpath.cli import net_options as of
from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn
from w2wpath.cli.signals import stopping
from w2wpath.errors import ConfigError, RunError

if TYPE_CHECKING:
    from w2wpath.config import CleanSettings
    from w2wpath.tiles.store import TileStore, TileTable
    from w2wpath.w2wnet.clean import Cleaning
    from w2wpath.w2wnet.ledger import Decisions
    from w2wpath.w2wnet.plan import Plan

NAME = "clean"


def run(
    store: options.Store = Path("tiles.zarr"),
    folds: of.Folds = None,
    preset: of.Preset = None,
    backbone: of.Backbone = None,
    stem: of.Stem = None,
    weights: of.Weights = None,
    low_pass_sigma: of.LowPassSigma = None,
    dropout_rate: of.DropoutRate = None,
    dropout_kind: of.DropoutKind = None,
    dropout_scope: of.DropoutScope = None,
    dropout_logits: of.DropoutLogits = None,
    mask_batch: of.MaskBatch = None,
    draws: of.Draws = None,
    max_epochs: of.MaxEpochs = None,
    wiped_epochs: of.WipedEpochs = None,
    batch_size: of.BatchSize = None,
    micro_batch: of.MicroBatch = None,
    lr: of.Lr = None,
    momentum: of.Momentum = None,
    weight_decay: of.WeightDecay = None,
    schedule: of.Schedule = None,
    augment: of.Augment = None,
    standardise: of.Standardise = None,
    tracker: of.Tracker = None,
    track_every: of.TrackEvery = None,
    ema_decay: of.EmaDecay = None,
    stop_rule: of.StopRule = None,
    median_window: of.MedianWindow = None,
    std_window: of.StdWindow = None,
    std_below: of.StdBelow = None,
    label_weight: of.LabelWeight = None,
    split: of.Split = None,
    second_reader: of.SecondReader = None,
    balanced: of.Balanced = None,
    doubt_below: of.DoubtBelow = None,
    out_of_fold_veto: of.OutOfFoldVeto = None,
    min_separation: of.MinSeparation = None,
    quality: of.Quality = None,
    threshold: of.Threshold = None,
    flag_share: of.FlagShare = None,
    controls: of.Controls = None,
    seed: of.Seed = None,
    device: of.Device = None,
    precision: of.Precision = None,
    compile: of.Compile = None,
    loader_workers: of.LoaderWorkers = None,
    workers: of.Workers = 1,
    scheduler: of.Scheduler = None,
    fold: of.Fold = None,
    collect: of.Collect = False,
    force: of.Force = False,
    run_name: of.RunName = None,
    dry_run: of.DryRun = False,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Train a Wise per patient-grouped fold, vote on every tile, and write decisions and a report.

    Exit code 1: more than half of a class or patient was excluded, and nothing was decided; look at the report, then
    use --force. Code 143 or 130: a signal came; the same command goes on.
    """
    given = dict(locals())
    from w2wpath.config import CleanSettings, load
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.plan import make_plan

    settings = load(CleanSettings, "clean", config, {key: given[key] for key in CleanSettings.model_fields})
    _refuse(settings, fold, collect=collect, apart=workers > 1 or scheduler is not None)
    opened = TileStore.open(store)
    plan = make_plan(opened, settings)
    home = opened.path.parent / "clean"
    if dry_run:
        _tell_plan(plan, as_json=as_json)
        return
    from w2wpath.w2wnet.clean import collect as collected
    from w2wpath.w2wnet.clean import prepare

    progress = make_progress()
    with stopping() as stop_asked:
        if not (collect or force):  # both join what has been trained
            _refuse_network(plan)
        cleaning = prepare(plan, home, progress, run=run_name, may_begin=not collect, stop_asked=stop_asked)
        if words := cleaning.duplicates.says():
            warn(words)
        if not collect:
            _work(cleaning, fold, workers, scheduler, progress, stop_asked)
    if fold is not None:
        _tell_fold(cleaning, fold, as_json=as_json)
        return
    from w2wpath.reports.cleaning import write_report

    tiles, decisions = collected(cleaning, force=force, report=partial(write_report, cleaning.folder, opened))
    _finish(opened, cleaning.folder / "report.html", tiles, decisions, as_json=as_json)


def _refuse(settings: CleanSettings, fold: int | None, *, collect: bool, apart: bool) -> None:
    if fold is not None and not 1 <= fold <= settings.folds:
        raise ConfigError(f"--fold must be 1 to {settings.folds}, the number of folds; got {fold}.")
    if (fold is not None) + collect + apart > 1:
        raise typer.BadParameter("--fold, --collect and --workers or --scheduler exclude each other")


def _refuse_network(plan: Plan) -> None:
    """Make the network once, so that a misspelt backbone or lost weights are told before pixels are measured.

    torch enters here, after the plan: a store that cannot be cleaned is refused at once.
    """
    from w2wpath.w2wnet.nets.backbones import build

    settings, store = plan.settings, plan.store
    n_classes = len(plan.table.classes)
    build(settings.backbone, n_classes, store.spec.tile_px, stem=settings.stem, weights=settings.weights)


def _work(
    cleaning: Cleaning, fold: int | None, workers: int, scheduler: str | None, progress: Any, stop_asked: Any
) -> None:
    from w2wpath.w2wnet.clean import run_folds
    from w2wpath.w2wnet.tasks import distribute_folds

    if not cleaning.missing():
        progress.say(f"run {cleaning.run}: every fold is done")
        return
    from w2wpath.w2wnet.nets.training import Wises

    plan = cleaning.plan
    path = plan.store.path.resolve()
    if workers == 1 and scheduler is None:
        wises = Wises(path, plan.settings, progress=progress)
        chosen = None if fold is None else [fold - 1]
        run_folds(cleaning, wises, chosen, progress=progress, stop_asked=stop_asked, tell_time=True)
        return
    wises = Wises(path, plan.settings, threads=None if scheduler is not None else _threads(workers))
    distribute_folds(
        cleaning,
        wises,
        workers=workers,
        scheduler=scheduler,
        progress=progress,
        stop_asked=stop_asked,
        tell_time=True,
    )


def _threads(workers: int) -> int:
    """Return each worker's share of the cores, or what OMP_NUM_THREADS says if that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores // workers, int(said) if said.isdigit() and int(said) else cores))


def _tell_plan(plan: Plan, *, as_json: bool) -> None:
    from w2wpath.w2wnet.estimate import estimate
    from w2wpath.w2wnet.nets.training import Wises

    wises = Wises(plan.store.path, plan.settings)
    took = estimate(plan, wises, range(plan.settings.folds))
    rows = plan.by_fold()
    if as_json:
        tell_json({"tiles": plan.judged.n, "folds": rows, "epochs": plan.settings.max_epochs, **vars(took)})
        return
    tell(f"{plan.judged.n} labelled tiles of {len(plan.folds.fold_of_patient)} patients")
    tell(table(list(rows[0]), [list(row.values()) for row in rows]))
    tell(f"at most {plan.settings.max_epochs} epochs a fold: {took}, less where a network is stable before")


def _tell_fold(cleaning: Cleaning, fold: int, *, as_json: bool) -> None:
    missing = [k + 1 for k in cleaning.missing()]
    if as_json:
        tell_json({"run": cleaning.run, "fold": fold, "missing": missing})
        return
    tell(f"run {cleaning.run}: fold {fold} is done")
    tell(
        f"missing: {', '.join(f'--fold {k}' for k in missing)}"
        if missing
        else "Next: the same command with --collect instead of --fold"
    )


def _finish(opened: TileStore, report: Path, tiles: TileTable, decisions: Decisions, *, as_json: bool) -> None:
    from w2wpath.reports.cleaning_folds import nothing_judged

    if as_json:
        tell_json(_summary(tiles, decisions, report))
    else:
        _tell(opened, tiles, decisions)
        tell(f"report: {report}")
    if stopped := decisions.about["stopped"]:
        raise RunError(
            f"run {decisions.run}: {'; '.join(stopped)}. No decision was written. Look at {report}; if it is right, "
            "run the same command with --force, which trains nothing again."
        )
    if as_json:
        return
    if nothing_judged(decisions.about["folds"]):
        tell("Next: clean again with other settings; this run says nothing of the tiles")
    else:
        tell("Next: look at the report, correct it with w2wpath review, then w2wpath train -o model/")


def _summary(tiles: TileTable, decisions: Decisions, report: Path) -> dict[str, Any]:
    from w2wpath.reports.cleaning_tables import excluded_by

    by_class = excluded_by(decisions, tiles.label, tiles.classes)
    about = decisions.about
    return {
        "run": decisions.run,
        "tiles": decisions.counts(),
        "by_class": {row.name: {"judged": row.judged, "excluded": row.excluded} for row in by_class},
        "folds": [{**fold, "fold": fold["fold"] + 1} for fold in about["folds"]],  # as --fold counts
        **{key: about[key] for key in ("controls", "duplicate_tiles", "stopped", "forced")},
        "report": str(report),
    }


def _tell(opened: TileStore, tiles: TileTable, decisions: Decisions) -> None:
    from w2wpath.reports.cleaning_folds import unlearned
    from w2wpath.reports.cleaning_tables import excluded_by, warnings_of
    from w2wpath.w2wnet.controls import says

    by_class = excluded_by(decisions, tiles.label, tiles.classes, "class")
    by_patient = excluded_by(decisions, tiles.patient, tiles.patients, "patient")
    by_slide = excluded_by(decisions, tiles.slide, tiles.slides, "slide")
    for what, shares in (("class", by_class), ("patient", by_patient), ("slide", by_slide)):
        if what != "slide" or len(by_slide) != len(by_patient):
            tell(table([what, "judged", "excluded", "share"], [row.cells() for row in shares]))
            tell()
    counts, about = decisions.counts(), decisions.about
    tell(f"kept {counts['kept']}, excluded {counts['excluded']}, undecided {counts['undecided']}")
    for fold in about["folds"]:
        stop = fold["stop"]
        tell(
            f"fold {fold['fold'] + 1}: stopped at epoch {stop['epoch']} ({stop['reason']}), "
            f"accuracy on unseen patients {fold['test_accuracy']:.3f}, threshold {fold['threshold']:.3f}"
        )
    for line in says(about["controls"]):
        tell(line)
    for line in (*unlearned(about["folds"]), *warnings_of(by_class, by_patient, by_slide)):
        warn(line)
    if guessed := [s for s in tiles.slides if opened.attributes(s)["patient_from"] == "slide name"]:
        warn(f"{len(guessed)} slide(s) without a patient count as patients of their own.")

"""``w2wpath clean``: find the spurious tiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from w2wpath.w2wnet.nets.training import WiseLearner

NAME = "clean"


def run(
    store: options.Store = Path("tiles.zarr"),
    folds: Annotated[int | None, typer.Option(help="Patient-grouped folds. [default: 5]")] = None,
    preset: options.Preset = None,
    backbone: options.Backbone = None,
    stem: options.Stem = None,
    weights: options.Weights = None,
    max_epochs: options.MaxEpochs = None,
    wiped_epochs: options.WipedEpochs = None,
    tracker: options.Tracker = None,
    track_every: options.TrackEvery = None,
    batch_size: options.BatchSize = None,
    micro_batch: options.MicroBatch = None,
    lr: options.Lr = None,
    dropout_rate: options.DropoutRate = None,
    dropout_kind: options.DropoutKind = None,
    dropout_scope: options.DropoutScope = None,
    mask_batch: options.MaskBatch = None,
    draws: options.Draws = None,
    label_weight: options.LabelWeight = None,
    quality: options.Quality = None,
    compile: options.Compile = None,
    seed: options.Seed = None,
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.Config = None,
    as_json: options.Json = False,
) -> None:
    """Train a Wise per patient-grouped fold, vote on every tile, and write decisions and a report."""
    from w2wpath.config import CleanSettings, load

    flags = {
        "folds": folds,
        "preset": preset,
        "backbone": backbone,
        "stem": stem,
        "weights": weights,
        "max_epochs": max_epochs,
        "wiped_epochs": wiped_epochs,
        "tracker": tracker,
        "track_every": track_every,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "lr": lr,
        "dropout_rate": dropout_rate,
        "dropout_kind": dropout_kind,
        "dropout_scope": dropout_scope,
        "mask_batch": mask_batch,
        "draws": draws,
        "label_weight": label_weight,
        "quality": quality,
        "compile": compile,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    settings = load(CleanSettings, "clean", config, flags)

    from w2wpath.reports.cleaning import excluded_by, write_report
    from w2wpath.tiles.store import TileStore, TileTable
    from w2wpath.w2wnet import controls, duplicates
    from w2wpath.w2wnet.clean import clean

    opened = TileStore.open(store)
    home = opened.path.parent / "clean"
    progress = make_progress()

    def learner(of_table: TileTable, planted: NDArray[np.uint8] | None = None) -> WiseLearner:
        # torch enters only here, so that a store that cannot be cleaned is refused at once
        from w2wpath.w2wnet.nets.training import Tiles, WiseLearner

        shared = Tiles.of(opened, of_table, settings, planted)
        progress.say(f"networks: {settings.backbone} on {shared.compute}")
        return WiseLearner(shared, progress)

    tiles, decisions = clean(opened, learner, settings, home, progress)
    report = write_report(home / decisions.run, opened, tiles, decisions)
    counts = decisions.counts()
    by_class = excluded_by(decisions, tiles.label, tiles.classes)
    if as_json:
        tell_json(
            {
                "run": decisions.run,
                "tiles": counts,
                "by_class": {row.name: {"judged": row.judged, "excluded": row.excluded} for row in by_class},
                "folds": decisions.about["folds"],
                "report": str(report),
            }
        )
        return
    tell(table(["class", "judged", "excluded", "share"], [row.cells() for row in by_class]))
    tell(f"kept {counts['kept']}, excluded {counts['excluded']}, undecided {counts['undecided']}")
    for fold in decisions.about["folds"]:
        stop = fold["stop"]
        tell(
            f"fold {fold['fold'] + 1}: stopped at epoch {stop['epoch']} ({stop['reason']}), "
            f"accuracy on unseen patients {fold['test_accuracy']:.3f}, threshold {fold['threshold']:.3f}"
        )
        if stop["reason"] == "degenerate":
            warn(f"fold {fold['fold'] + 1} learned nothing, so it excludes nothing. Look at its curve in the report.")
    for line in controls.says(decisions.about):
        tell(line)
    if copies := duplicates.warning(decisions.about):
        warn(copies)
    for row in [*by_class, *excluded_by(decisions, tiles.patient, tiles.patients)]:
        if row.warning:
            warn(row.warning)
    if opened_without_patients := [s for s in tiles.slides if opened.attributes(s)["patient_from"] == "slide name"]:
        warn(f"{len(opened_without_patients)} slide(s) without a patient count as patients of their own.")
    tell(f"report: {report}")
    tell("Next: w2wpath train -o model/")

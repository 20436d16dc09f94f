"""``w2wpath evaluate``: score a run of clean."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json

if TYPE_CHECKING:
    from w2wpath.w2wnet.evaluate import Accuracy, Detection

NAME = "evaluate"


def run(
    store: options.Store = Path("tiles.zarr"),
    truth: Annotated[
        Path | None, typer.Option(help="Known truth, for scoring only: CSV of slide, x0, y0, content, spurious, kind.")
    ] = None,
    run_name: Annotated[str | None, typer.Option("--run", help="Run of clean to score. [default: the newest]")] = None,
    accuracy: Annotated[
        bool,
        typer.Option(
            "--accuracy", help="Train two networks a fold (all tiles, kept tiles) and test on unseen patients."
        ),
    ] = False,
    wiped_epochs: Annotated[int | None, typer.Option(help=f"Epochs of each network. {options.OF_RUN}")] = None,
    device: Annotated[str | None, typer.Option(help=f"auto, cpu, cuda or mps. {options.OF_RUN}")] = None,
    precision: Annotated[str | None, typer.Option(help=f"auto, fp32 or bf16. {options.OF_RUN}")] = None,
    as_json: options.Json = False,
) -> None:
    """Score a run of clean: what it found against known truth, and the accuracy on unseen patients.

    The paper's study, fold by fold beside rivals, with tables and figures, is `w2wpath run` with a study's TOML.
    """
    from w2wpath.config import CleanSettings, load
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.evaluate import cross_validate, score_detection
    from w2wpath.w2wnet.ledger import read_decisions, require_fresh
    from w2wpath.w2wnet.outoffold import require_own_folds
    from w2wpath.w2wnet.truth import read_truth

    if truth is None and not accuracy:
        raise typer.BadParameter("give --truth TABLE, --accuracy, or both")
    opened = TileStore.open(store)
    tiles = opened.table()
    # what people said later is no merit of the run
    decisions = read_decisions(opened, tiles, run_name, with_verdicts=False)
    require_fresh(decisions)
    require_own_folds(tiles, decisions)
    known = read_truth(truth, tiles) if truth is not None else None
    detection = score_detection(tiles, decisions, known) if known is not None else None
    accuracies: list[Accuracy] = []
    if accuracy:
        from w2wpath.w2wnet.nets.training import Tiles, WipedFitter

        flags = {"wiped_epochs": wiped_epochs, "device": device, "precision": precision}
        settings = load(CleanSettings, "evaluate", None, flags, base=decisions.about["settings"])
        fitter = WipedFitter(Tiles.of(opened, tiles, settings))
        accuracies = cross_validate(
            tiles, decisions, fitter, known, epochs=settings.wiped_epochs, seed=settings.seed, progress=make_progress()
        )
    if as_json:
        tell_json(summary(decisions.run, detection, accuracies))
        return
    tell(f"run {decisions.run}")
    if detection is not None:
        tell_detection(detection)
    if accuracies:
        tell_accuracies(accuracies)


def summary(run_name: str, detection: Detection | None, accuracies: list[Accuracy]) -> dict[str, Any]:
    """Return what was measured as plain values."""
    return {
        "run": run_name,
        "detection": None if detection is None else asdict(detection),
        "accuracy": [asdict(one) for one in accuracies],
    }


def tell_detection(found: Detection) -> None:
    """Print how a run's exclusions compare with the truth."""
    tell(
        f"the truth names {found.spurious + found.good} of {found.judged} judged tiles: {found.spurious} spurious, "
        f"{found.good} good (95 % intervals: bootstrap over patients)"
    )
    tell(f"  excluded of the spurious (sensitivity)            {found.sensitivity}")
    tell(f"  excluded of the good (false removals)             {found.false_removal}")
    tell(f"  AUROC of the score on training tiles              {found.auroc_training}")
    tell(f"  AUROC of u on unseen patients, image faults only  {found.auroc_unseen}")
    rows = [[row.kind, row.tiles, row.excluded, f"{row.auroc:.3f}"] for row in found.kinds]
    tell(table(["kind", "tiles", "excluded", "AUROC against good"], rows))


def tell_accuracies(accuracies: list[Accuracy]) -> None:
    """Print accuracies on unseen patients."""
    header = ["trained on", "accuracy, given labels", "good tiles", "confident tiles", "coverage"]
    rows = [[a.name, a.given, a.good or "-", a.confident, f"{a.coverage:.1%}"] for a in accuracies]
    tell(table(header, rows))

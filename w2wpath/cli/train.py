"""``w2wpath train``: the final Wise and Wiped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, tell, tell_json

NAME = "train"


def run(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the model.")] = Path("model"),
    store: options.Store = Path("tiles.zarr"),
    run_name: Annotated[str | None, typer.Option("--run", help="Run of clean to use. [default: the newest]")] = None,
    max_epochs: Annotated[int | None, typer.Option(help=f"Most epochs Wise may train. {options.OF_RUN}")] = None,
    wiped_epochs: Annotated[int | None, typer.Option(help=f"Epochs of Wiped. {options.OF_RUN}")] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="Threshold that the model masks by: quantile (out-of-fold u, flags --flag-share of the kept tiles) or "
            f"centroid (of the unsure training tiles). All are kept in the model. {options.OF_RUN}"
        ),
    ] = None,
    flag_share: Annotated[
        float | None, typer.Option(help=f"Share of the kept tiles that threshold quantile flags. {options.OF_RUN}")
    ] = None,
    calibrate: Annotated[
        str,
        typer.Option(
            help="Whose out-of-fold probabilities set the temperature: wiped (one more Wiped, trained without one "
            "fold's patients), oof (the folds' Wises: no training, but not Wiped's own), or none."
        ),
    ] = "wiped",
    allow_stale: Annotated[
        bool, typer.Option("--allow-stale", help="Train although labels have changed since they were judged.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help=f"Seed of the networks. {options.OF_RUN}")] = None,
    device: Annotated[str | None, typer.Option(help=f"auto, cpu, cuda or mps. {options.OF_RUN}")] = None,
    precision: Annotated[str | None, typer.Option(help=f"auto, fp32 or bf16. {options.OF_RUN}")] = None,
    as_json: options.Json = False,
) -> None:
    """Train Wise on all labelled tiles and Wiped on those that cleaning kept.

    Network settings are those of the run of clean; the flags here change them.
    """
    from w2wpath.config import NetSettings, load
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.ledger import read_decisions

    opened = TileStore.open(store)
    tiles = opened.table()
    decisions = read_decisions(opened, tiles, run_name)
    of_run = {key: value for key, value in decisions.about["settings"].items() if key in NetSettings.model_fields}
    flags = {
        "max_epochs": max_epochs,
        "wiped_epochs": wiped_epochs,
        "threshold": threshold,
        "flag_share": flag_share,
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    settings = load(NetSettings, "train", None, flags, base=of_run)

    from w2wpath.w2wnet.nets.train import source_of, train

    trained = train(
        opened,
        tiles,
        decisions,
        settings,
        out,
        make_progress(),
        calibrate_with=source_of(calibrate),
        allow_stale=allow_stale,
    )
    if as_json:
        tell_json({"model": str(out), **trained.summary})
        return
    _tell(trained.summary)
    tell(f"model: {out} ({out}/README.md says what it can and cannot do).")
    tell(f"Next: w2wpath heatmap slide.svs --model {out} -o out/")


def _tell(said: Mapping[str, Any]) -> None:
    tell(
        f"decisions of run {said['run']}. Wise: {said['tiles']} tiles, stopped at epoch {said['stop_epoch']} "
        f"({said['stop_reason']}). "
        f"Wiped: {said['kept']} kept tiles, {said['wiped_epochs']} epochs, "
        f"accuracy on them {said['training_accuracy_wiped']:.3f} (training, not evidence)."
    )
    unseen, transfer, name = said["out_of_fold"], said["transfer"], said["threshold_name"]
    tell(
        f"unseen patients in the folds: accuracy {unseen['accuracy']:.3f}, balanced {unseen['balanced_accuracy']:.3f} "
        f"on {unseen['tiles']} kept tiles"
    )
    tell(
        f"threshold on u ({name}) {said['threshold']:.3f}: of unseen patients it would mask "
        f"{transfer['flagged_out_of_fold'][name]:.1%} of the kept tiles and "
        f"{said['out_of_fold_above_threshold']:.1%} of all labelled ones"
    )
    middle, high, top = (f"{a:.3f} / {b:.3f}" for a, b in zip(transfer["out_of_fold"], transfer["final"], strict=True))
    tell(
        f"u of kept tiles, out of fold / final Wise: median {middle}, 90 % {high}, 95 % {top}; "
        f"distance {transfer['distance']:.2f} (0 to 1); by the final Wise the threshold flags "
        f"{transfer['flagged_final'][name]:.1%}"
    )
    found = said["calibration"]
    tell(
        f"temperature {found['temperature']:.3f} ({found['source']}, {found['tiles']} tiles): negative log-likelihood "
        f"{found['nll_before']:.3f} -> {found['nll_after']:.3f}, calibration error "
        f"{found['ece_before']:.3f} -> {found['ece_after']:.3f}"
    )

"""``w2wpath train``: the final Wise and Wiped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
        "seed": seed,
        "device": device,
        "precision": precision,
    }
    settings = load(NetSettings, "train", None, flags, base=of_run)

    from w2wpath.w2wnet.nets.train import train

    trained = train(opened, tiles, decisions, settings, out, make_progress())
    if as_json:
        tell_json({"model": str(out), **trained.summary})
        return
    said = trained.summary
    tell(
        f"Wise: {said['tiles']} tiles, stopped at epoch {said['stop_epoch']} ({said['stop_reason']}). "
        f"Wiped: {said['kept']} kept tiles, {said['wiped_epochs']} epochs, "
        f"accuracy on them {said['training_accuracy_wiped']:.3f} (training, not evidence)."
    )
    tell(
        f"threshold on u {said['threshold']:.3f}: it would mask {said['out_of_fold_above_threshold']:.1%} "
        "of the tiles of unseen patients in the folds"
    )
    tell(f"model: {out}. Next: w2wpath heatmap slide.svs --model {out} -o out/")

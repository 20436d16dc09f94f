"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OF_RUN = "[default: as in the run of clean]"
Store = Annotated[Path, typer.Option("--store", "-s", help="Tile store.")]
Config = Annotated[Path | None, typer.Option("--config", help="TOML with a table for each stage; flags win over it.")]
Json = Annotated[bool, typer.Option("--json", help="Summary as JSON on stdout.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps. [default: auto]")]
Precision = Annotated[
    str | None,
    typer.Option(help="auto, fp32 or bf16; auto takes bf16 where the device computes in it. [default: auto]"),
]
Preset = Annotated[
    str | None,
    typer.Option(help="recommended, or paper: W2WNet to the letter. Other flags win over it. [default: recommended]"),
]
Backbone = Annotated[str | None, typer.Option(help="Any timm model, or conv5. [default: densenet121]")]
Stem = Annotated[
    str | None, typer.Option(help="imagenet, or small (3 x 3, no pooling) for tiles below 64 px. [default: imagenet]")
]
Weights = Annotated[
    Path | None, typer.Option(help="Pretrained weights (safetensors) to begin with. Random without; none is fetched.")
]
Tracker = Annotated[
    str | None,
    typer.Option(
        help="What the stop rule follows: ema, the average of the training forwards, or exact MC passes after an "
        "epoch. [default: ema]"
    ),
]
TrackEvery = Annotated[int | None, typer.Option(help="Epochs between exact measurements. [default: 1]")]
Quality = Annotated[
    bool | None, typer.Option("--quality/--no-quality", help="Judge focus and background too. [default: True]")
]
MicroBatch = Annotated[
    int | None, typer.Option(help="Tiles at a time, if the device's memory is short; gradients add up.")
]
Compile = Annotated[
    bool | None, typer.Option("--compile/--no-compile", help="Compile networks; worth it on a GPU. [default: False]")
]
DropoutScope = Annotated[
    str | None, typer.Option(help="Where Wise drops: all layers, no-conv, or head. [default: no-conv]")
]
MaxEpochs = Annotated[int | None, typer.Option(help="Most epochs a Wise may train. [default: 100]")]
WipedEpochs = Annotated[int | None, typer.Option(help="Epochs of Wiped. [default: 100]")]
BatchSize = Annotated[int | None, typer.Option(help="Tiles per training step. [default: 64]")]
Lr = Annotated[float | None, typer.Option(help="Learning rate. [default: 0.05]")]
DropoutRate = Annotated[float | None, typer.Option(help="MC dropout rate of Wise. [default: 0.3]")]
DropoutKind = Annotated[str | None, typer.Option(help="element or channel. [default: element]")]
MaskBatch = Annotated[int | None, typer.Option(help="Tiles that share a dropout mask in a pass. [default: 16]")]
Draws = Annotated[int | None, typer.Option(help="MC passes of the exact uncertainty. [default: 25]")]
LabelWeight = Annotated[
    float | None, typer.Option(help="Weight of the label's Brier score in the score; 0 is the paper. [default: 1.0]")
]
Seed = Annotated[int | None, typer.Option(help="Seed of folds and networks. [default: 0]")]
SlideMpp = Annotated[
    float | None, typer.Option("--slide-mpp", help="um per level-0 pixel of the slide, instead of its header's.")
]
Origin = Annotated[
    str | None,
    typer.Option(
        help="Frame of the annotations: auto, qupath, slide (level-0 pixels), qupath-rot90, -rot180 or -rot270. "
        "[default: auto]"
    ),
]

Policy = Annotated[
    str | None,
    typer.Option(help="How shares become labels: drop-conflict, majority, priority or multi. [default: drop-conflict]"),
]
Priority = Annotated[
    str | None, typer.Option(help="Every class, first first, for --policy priority. [default: as the classes]")
]


def names(text: str | None) -> tuple[str, ...] | None:
    """Return the names of a comma-separated option; None where it was not given."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def number(text: str | None) -> float | None:
    """Return an option that is a number or a name as a number; None where it is a name, or was not given."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None

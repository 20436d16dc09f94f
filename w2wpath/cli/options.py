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
Scheduler = Annotated[
    str | None, typer.Option(help="dask.distributed scheduler, like tcp://host:8786, instead of --workers.")
]
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

"""``w2wpath relabel``: other labels for stored tiles, without reading a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.tile import finish

NAME = "relabel"


def run(
    store: options.Store = Path("tiles.zarr"),
    rois: Annotated[
        list[Path] | None, typer.Option(help="Edited annotations of the slide of that name; may be given again.")
    ] = None,
    cohort: Annotated[Path | None, typer.Option(help="CSV of slide, rois: edited annotations of many slides.")] = None,
    policy: options.Policy = None,
    priority: options.Priority = None,
    label_share: Annotated[
        float | None, typer.Option(help="A class claims a tile from this share on. [default: as before]")
    ] = None,
    conflict_share: Annotated[
        float | None, typer.Option(help="Share of another class that makes a conflict. [default: as before]")
    ] = None,
    min_share: Annotated[float | None, typer.Option(help="Least ROI share of a tile. [default: as before]")] = None,
    classes: Annotated[str | None, typer.Option(help="The only classes to accept, comma separated.")] = None,
    class_map: Annotated[Path | None, typer.Option(help="TOML that says what the classes of the files mean.")] = None,
    as_json: options.Json = False,
) -> None:
    """Label stored tiles by another policy, other shares, or edited annotations of the same slides."""
    from w2wpath.config import load_class_map
    from w2wpath.tiles.changes import relabel
    from w2wpath.tiles.entries import read_cohort

    changes = {
        "policy": policy,
        "priority": options.names(priority),
        "label_share": label_share,
        "conflict_share": conflict_share,
        "min_share": min_share,
        "classes": options.names(classes),
        "class_map": load_class_map(class_map) if class_map is not None else None,
    }
    edited = {path.name.split(".")[0]: path for path in rois or ()}
    if cohort is not None:
        edited |= {entry.name: entry.rois for entry in read_cohort(cohort)}
    given = {name: value for name, value in changes.items() if value is not None}
    finish(store, relabel(store, given, edited), as_json=as_json)

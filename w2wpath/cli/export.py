"""``w2wpath export``: tiles for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json

NAME = "export"
LATEST = "latest"


def run(
    store: Annotated[Path, typer.Argument(help="Tile store.")] = Path("tiles.zarr"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to make; it must not be there.")] = Path("export"),
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="png or jpeg (a folder a class), webdataset (tar shards), h5 (for TRIDENT, CLAM, wsinfer).",
        ),
    ] = "png",
    kept: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Only what train takes after this run of clean: not the excluded. latest is the newest."
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Only these, comma separated, in the order of their index. [default: all]")
    ] = None,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Border and conflict tiles too.")] = False,
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Of JPEGs; webdataset then holds JPEGs, not PNGs. [default: 90]"),
    ] = None,
    shard_tiles: Annotated[int, typer.Option(min=1, help="Tiles in a shard of webdataset.")] = 1000,
    as_json: options.Json = False,
) -> None:
    """Write tiles to folders of images, WebDataset shards, or HDF5 files of coordinates.

    tiles.csv says of each tile where it comes from; its coordinates are level-0 pixels of the slide.
    """
    if kept is not None and unlabelled:
        raise typer.BadParameter("--kept takes judged tiles only, and those have a label; leave --unlabelled out")

    from dataclasses import replace

    import numpy as np

    from w2wpath.tiles.export import export
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.ledger import read_decisions

    opened = TileStore.open(store)
    tiles = opened.table()
    decisions = None if kept is None else read_decisions(opened, tiles, None if kept == LATEST else kept)
    keep = None
    if decisions is not None:
        keep = np.zeros(tiles.n, dtype=np.bool_)
        keep[decisions.for_training()] = True
        # a tile that a person gave another class goes to that class
        tiles = replace(tiles, label=decisions.training_label)
    done = export(
        opened,
        tiles,
        out,
        format_,
        classes=options.names(classes),
        unlabelled=unlabelled,
        keep=keep,
        quality=quality,
        shard_tiles=shard_tiles,
        run=None if decisions is None else decisions.run,
        progress=make_progress(),
    )
    if as_json:
        tell_json(
            {
                "store": str(store),
                "out": str(out),
                "format": format_,
                "run": None if decisions is None else decisions.run,
                "tiles": done.tiles,
                "by_class": done.by_class,
                "unlabelled": done.unlabelled,
                "files": done.files,
            }
        )
        return
    rest = [["(no label)", done.unlabelled]] if unlabelled else []
    tell(table(["class", "tiles"], [*([name, count] for name, count in done.by_class.items()), *rest]))
    only = "" if decisions is None else f" that run {decisions.run} did not exclude"
    tell(f"{out}: {done.tiles} tiles{only}, {done.files} files. What each is: {out / 'tiles.csv'}")

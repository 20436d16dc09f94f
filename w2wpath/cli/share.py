"""``w2wpath share``: heatmaps for somebody else, without names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json, warn

NAME = "share"
SKIPPED = 3


def run(
    out: Annotated[Path, typer.Argument(help="Folder made by `w2wpath heatmap`.")] = Path("out"),
    as_zip: Annotated[bool, typer.Option("--zip", help="Pack into a zip; there is no other form.")] = True,
    target: Annotated[
        Path | None, typer.Option("-o", "--target", help="Zip to write. [default: OUT.zip beside the folder]")
    ] = None,
    keep_names: Annotated[
        bool, typer.Option("--keep-names", help="Keep file names, paths and command lines as they are.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Pack the page, a PDF of two pages and the QuPath files of every slide into one zip.

    Slides are called slide-01 and so on, and paths, patients and command lines are taken out. What is written on the
    glass stays visible.
    """
    from w2wpath.heatmaps.share import share

    target = target or out.resolve().with_name(f"{out.resolve().name}.zip")
    made = share(out, target, keep_names=keep_names, progress=make_progress())
    if as_json:
        tell_json({"zip": str(target), "files": list(made.files), "slides": made.slides, "skipped": list(made.skipped)})
    else:
        tell(table(["in the zip", "slide"], [[label, stem] for label, stem in made.slides.items()]))
        tell(f"{target}: {len(made.files)} files")
        if not keep_names:
            tell("Keep the list above: nothing in the zip leads back. Look at the slides for what is on the glass.")
    for line in made.skipped:
        warn(line)
    if made.skipped:
        raise typer.Exit(SKIPPED)

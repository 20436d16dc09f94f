"""``w2wpath undo``: take the last run of clean back, or bring one back."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import tell, tell_json

NAME = "undo"
Who = Annotated[str | None, typer.Option(help="Whose decision it is. [default: the login name]")]


def person(who: str | None) -> str:
    """Return the name given, else the login name."""
    if who:
        return who
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return "unknown"


def run(
    run_name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Run of clean. [default: the newest that is not undone]")
    ] = None,
    store: options.Store = Path("tiles.zarr"),
    who: Who = None,
    as_json: options.Json = False,
) -> None:
    """Undo a run of clean: the run before it holds again. Undoing a run that is undone brings it back.

    Nothing is deleted; an entry is added to the store. Verdicts of people are not touched: see review undo.
    """
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.ledger import runs, undo_run, undone_runs

    opened = TileStore.open(store)
    of_run, undone = undo_run(opened, run_name, person(who))
    away = undone_runs(opened)
    left = [one for one in runs(opened) if one not in away]
    holds = left[-1] if left else None
    if as_json:
        tell_json({"store": str(store), "run": of_run, "undone": undone, "holds": holds})
        return
    tell(f"run {of_run}: {'undone' if undone else 'brought back'}. `w2wpath undo {of_run}` turns this round.")
    tell(f"Now run {holds} holds." if holds else "No run holds now.")

"""``w2wpath undo``: a run of clean does not count, or counts again; nothing is deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from w2wpath.cli import options
from w2wpath.cli.console import tell, tell_json

NAME = "undo"


def run(
    run_name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Run of clean. [default: the newest]")] = None,
    redo: Annotated[
        bool, typer.Option("--redo", help="Let the run count again. [default: the one undone last]")
    ] = False,
    who: Annotated[str | None, typer.Option(help="Who says so. [default: the name you are logged in with]")] = None,
    store: options.Store = Path("tiles.zarr"),
    as_json: options.Json = False,
) -> None:
    """Undo a run of clean: the run before it is the newest again, as it was.

    The word is added to the store with name and time; no decision is changed or deleted.
    """
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.ledger import redo_run, runs, undo_run, undone_runs

    opened = TileStore.open(store)
    named = signer(who)
    done = redo_run(opened, run_name, named) if redo else undo_run(opened, run_name, named)
    undone = undone_runs(opened)
    current = [one for one in runs(opened) if one not in undone]
    if as_json:
        tell_json({"run": done, "undone": not redo, "who": named, "counting": current, "not_counting": undone})
        return
    tell(f"run {done} {'counts again' if redo else 'is undone'}.")
    tell(f"newest run that counts: {current[-1] if current else 'none'}")


def signer(who: str | None) -> str:
    """Return who signs what is added to a store: `who`, or the name of the account.

    Raises
    ------
    RunError
        None was given and the account has no name, as in some containers.
    """
    from getpass import getuser

    from w2wpath.errors import RunError

    try:
        return who or getuser()
    except (KeyError, OSError) as error:
        raise RunError("who says so is not known: this account has no name. Pass --who.") from error

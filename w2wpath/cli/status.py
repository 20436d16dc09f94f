"""``w2wpath status``: what has run, what is missing, and the next command."""

from __future__ import annotations

from pathlib import Path

from w2wpath.cli import options
from w2wpath.cli.console import tell, tell_json

NAME = "status"


def run(store: options.Store = Path("tiles.zarr"), as_json: options.Json = False) -> None:
    """Tell what has been done with a tile store, the next command, and the time that it takes."""
    from dataclasses import asdict

    from w2wpath.w2wnet.estimate import in_words
    from w2wpath.w2wnet.status import status

    found = status(store)
    if as_json:
        tell_json(asdict(found))
        return
    if found.slides:
        tell(
            f"{found.store}: {found.slides} slide(s) of {found.patients} patient(s), {found.tiles} tiles, "
            f"{found.labelled} with a label"
        )
    else:
        tell(f"{found.store}: no tiles yet")
    for one in found.runs:
        tell(one.says())
    if found.slides and not found.runs:
        tell("not cleaned yet")
    if found.verdicts:
        tell(f"{found.verdicts} tiles with a person's verdict")
    if found.runs:
        tell("no model yet" if found.model_run is None else f"model/ is of run {found.model_run}")
    took = "" if found.seconds is None else f" ({in_words(found.seconds)} at most)"
    tell(f"Next: {found.next}{took}")

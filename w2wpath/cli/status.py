"""``w2wpath status``: what has run, what is missing, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from w2wpath.cli import options
from w2wpath.cli.console import table, tell, tell_json

if TYPE_CHECKING:
    from w2wpath.w2wnet.status import RunStatus, Status

NAME = "status"


def run(store: options.Store = Path("tiles.zarr"), as_json: options.Json = False) -> None:
    """Tell what has run on a store, what is missing, the next command and the time it needs."""
    from dataclasses import asdict

    from w2wpath.w2wnet.status import status

    found = status(store)
    if as_json:
        tell_json(asdict(found))
        return
    for line in _lines(found):
        tell(line)


def _lines(found: Status) -> Iterator[str]:
    labelled = sum(found.labelled.values())
    by_class = ", ".join(f"{name} {n}" for name, n in found.labelled.items())
    yield f"{found.path}: {found.slides} slide(s), {found.tiles} tiles, {labelled} labelled ({by_class or 'none'})"
    if found.runs:
        rows = [[one.run, one.state, f"{one.folds_done} of {one.folds}", _at(one)] for one in found.runs]
        yield table(["run of clean", "state", "folds", "now at"], rows)
    yield f"review: {found.verdicts} batch(es) of verdicts"
    yield f"model: {'none' if found.model is None else f'{found.model}, of run {found.model_run}'}"
    yield f"missing: {'; '.join(found.missing) or 'nothing'}"
    yield f"next: {found.next}"
    yield f"time that needs: {_time(found.seconds)}"


def _at(one: RunStatus) -> str:
    return "" if one.fold is None else f"fold {one.fold}, epoch {one.epoch}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not known yet"
    return f"about {seconds / 3600:.1f} h" if seconds >= 5400 else f"about {max(1, round(seconds / 60))} min"

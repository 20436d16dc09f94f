"""What has run on a store, what is missing, the next command, and the time it needs. It reads only.

It reads the store's heads and the run folders beside it, so it may be asked while they are written.
"""

from __future__ import annotations

import csv
import json
import shlex
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.errors import StoreError
from w2wpath.tiles.store import TileStore
from w2wpath.tiles.table import read_root

FINISHED, INTERRUPTED, UNDONE, STALE = "finished", "under way or interrupted", "undone", "of other tiles or labels"
HASH_BYTES = 32
"""A checkpoint begins with the sha256 of the rest, which is an npz."""


@dataclass(frozen=True)
class RunStatus:
    """How far a run of `clean` has come.

    Attributes
    ----------
    state
        FINISHED; INTERRUPTED (under way looks the same); UNDONE; or STALE: the store has changed since.
    folds, folds_done
        Folds it has, and those that are finished.
    fold, epoch
        The fold that is being trained, counted from 1, and the epoch it has reached; None where none is.
    seconds
        What it needed, or still needs; None where not known.
    """

    run: str
    state: str
    folds: int
    folds_done: int
    fold: int | None
    epoch: int | None
    seconds: float | None


@dataclass(frozen=True)
class Status:
    """Everything that is known of a store's way from tiles to a model.

    Attributes
    ----------
    labelled
        Tiles by class; `damaged` slides are left out.
    runs
        Runs of `clean`, oldest first.
    verdicts
        Batches of review verdicts in the store.
    model, model_run
        Folder of the model beside the store, and the run whose tiles it was trained on; None where there is none.
    missing
        In words.
    next, seconds
        The next command, and what it needs; None where not known.
    """

    path: str
    slides: int
    tiles: int
    labelled: Mapping[str, int]
    damaged: tuple[str, ...]
    runs: tuple[RunStatus, ...]
    verdicts: int
    model: str | None
    model_run: str | None
    missing: tuple[str, ...]
    next: str
    seconds: float | None


def status(path: Path | str) -> Status:
    """Tell how far a store has come.

    Raises
    ------
    StoreError
        Nothing is there, or no store of ours.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such tile store. Make one with `w2wpath tile slide.svs rois.geojson`.")
    store = TileStore(path, read_root(path))  # opening it might bring a slide back; that is not for a reader to do
    tiles, labelled, damaged = _count(store)
    runs = () if damaged else _runs(store)
    model = path.parent / "model"
    has_model = (model / "model.json").is_file()
    model_run = _json(model / "model.json").get("provenance", {}).get("clean_run") if has_model else None
    verdicts = len(_folders(path / "verdicts"))
    missing, command, seconds = _next(path, sum(labelled.values()), damaged, runs, has_model, model_run, verdicts)
    return Status(
        path=str(path),
        slides=len(store.slides()),
        tiles=tiles,
        labelled=labelled,
        damaged=damaged,
        runs=runs,
        verdicts=verdicts,
        model=str(model) if has_model else None,
        model_run=model_run,
        missing=missing,
        next=command,
        seconds=seconds,
    )


def _count(store: TileStore) -> tuple[int, dict[str, int], tuple[str, ...]]:
    """Count tiles, and labelled ones by class; name the slides that cannot be read."""
    tiles, labelled, damaged = 0, dict[str, int](), []
    for slide in store.slides():
        try:
            found = store.read(slide)
        except StoreError:
            damaged.append(slide)
            continue
        tiles += found.n
        for code, name in enumerate(found.attributes["classes"]):
            labelled[name] = labelled.get(name, 0) + int((found.columns["label"] == code).sum())
    return tiles, dict(sorted(labelled.items())), tuple(damaged)


def _runs(store: TileStore) -> tuple[RunStatus, ...]:
    """List the runs in the store, and those beside it that were begun on it and are not finished."""
    home, store_hash = store.path.parent / "clean", store.content_hash()
    finished = {name: FINISHED for name in _folders(store.path / "decisions")}
    undone = {name: UNDONE for name in _folders(store.path / "decisions-undone")}
    begun = {
        name: INTERRUPTED if key.get("store") == store_hash else STALE
        for name in _folders(home)
        if (key := _json(home / name / "key.json")) and not (home / name / "done").exists()
    }
    states = {**begun, **undone, **finished}
    for name in finished:
        if _about(store.path, name).get("store_hash") != store_hash:
            states[name] = STALE
    return tuple(_run(store.path, home / name, state) for name, state in sorted(states.items()))


def _run(store: Path, folder: Path, state: str) -> RunStatus:
    about = _about(store, folder.name)
    if about:
        took = [fold.get("seconds") for fold in about["folds"]]
        total = sum(took) if all(one is not None for one in took) else None
        return RunStatus(folder.name, state, len(took), len(took), None, None, total)
    folds = _folds(folder)
    seconds = _seconds_of_folds(folder, folds)
    at = {k: _epoch(folder / f"fold-{k}.checkpoint") for k in range(folds) if k not in seconds}
    fold, epoch = next(((k + 1, epoch) for k, epoch in at.items() if epoch is not None), (None, None))
    left = (folds - len(seconds)) * float(np.mean(list(seconds.values()))) if seconds else None
    return RunStatus(folder.name, state, folds, len(seconds), fold, epoch, left)


def _seconds_of_folds(folder: Path, folds: int) -> dict[int, float]:
    """Return what each finished fold took: what it says itself, else the time since the file before it."""
    done = sorted((when, k) for k in range(folds) if (when := _mtime(folder / f"fold-{k}.npz")) is not None)
    before, took = _mtime(folder / "key.json") or 0.0, dict[int, float]()
    for when, k in done:
        said = _fold_about(folder / f"fold-{k}.npz").get("seconds")
        took[k] = when - before if said is None else float(said)
        before = when
    return took


def _next(
    path: Path,
    labelled: int,
    damaged: tuple[str, ...],
    runs: tuple[RunStatus, ...],
    has_model: bool,
    model_run: str | None,
    verdicts: int,
) -> tuple[tuple[str, ...], str, float | None]:
    """Say what is missing, the next command, and the seconds that it needs."""
    of_store = "" if path.name == "tiles.zarr" and path.parent == Path() else f" --store {path}"
    finished = [run for run in runs if run.state == FINISHED]
    begun = [run for run in runs if run.state == INTERRUPTED]
    if damaged:
        return (f"slides that can be read: {', '.join(damaged)} cannot",), f"w2wpath info {path}", None
    if not labelled:
        return ("tiles with a label",), "w2wpath tile slide.svs rois.geojson", None
    if begun and (not finished or begun[-1].run > finished[-1].run):
        left = f"{begun[-1].folds - begun[-1].folds_done} of the {begun[-1].folds} folds of run {begun[-1].run}"
        words = _json(path.parent / "clean" / begun[-1].run / "key.json").get("command")
        again = shlex.join(["w2wpath", *words]) if words else f"w2wpath clean{of_store}, with the settings of that run"
        return (left,), again, begun[-1].seconds
    if not finished:
        return ("decisions on these tiles",), f"w2wpath clean{of_store}", _last_known(runs)
    newest = finished[-1].run
    missing = () if verdicts else (f"a review of run {newest}",)
    model = path.parent / "model"
    if not has_model or model_run != newest:
        of = f"a model of run {newest}" + (f" ({model} is of run {model_run})" if has_model else "")
        return (*missing, of), f"w2wpath train{of_store} -o {model}", None
    return missing, f"w2wpath heatmap slide.svs --model {model} -o out/", None


def _last_known(runs: tuple[RunStatus, ...]) -> float | None:
    """Return the seconds of the newest whole run: the best guess for another one of the same store."""
    return next(
        (run.seconds for run in reversed(runs) if run.state != INTERRUPTED and run.folds_done == run.folds), None
    )


# what is on disk; each part may be missing, or be replaced in this moment --------------------------------------------


def _folders(home: Path) -> list[str]:
    return sorted(entry.name for entry in home.iterdir() if entry.is_dir()) if home.is_dir() else []


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _about(store: Path, run: str) -> dict[str, Any]:
    """Return the record of a run that is in the store, or was; empty where it never was."""
    for home in ("decisions", "decisions-undone"):
        if found := _json(store / home / run / "zarr.json"):
            return dict(found.get("attributes", {}).get("about", {}))
    return {}


def _folds(folder: Path) -> int:
    with (folder / "folds.csv").open(encoding="utf-8", newline="") as file:
        return 1 + max(int(row["fold"]) for row in csv.DictReader(file))


def _fold_about(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return dict(json.loads(found["about"].tobytes()))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return {}


def _epoch(checkpoint: Path) -> int | None:
    """Return the epoch after which a checkpoint was written, without reading the weights in it."""
    try:
        with checkpoint.open("rb") as file:
            file.seek(HASH_BYTES)
            with np.load(file, allow_pickle=False) as found:
                return int(json.loads(found["facts"].tobytes())["epoch"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None

"""What has been done with a tile store, what is missing, and how long the next step takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.at_work import is_at_work
from w2wpath.w2wnet.checkpoint import reached
from w2wpath.w2wnet.foldwork import FoldResult
from w2wpath.w2wnet.ledger import runs, undone_runs
from w2wpath.w2wnet.runs import LOCK, Key, unfinished
from w2wpath.w2wnet.verdicts import counting, latest, read_batches, standing

FINISHED, OUTDATED, UNDONE = "finished", "outdated", "undone"
RUNNING, WAITING, STOPPED = "running", "waiting", "stopped"
INTERRUPTED, ABANDONED = "interrupted", "abandoned"


@dataclass(frozen=True)
class RunStatus:
    """How far a run of `clean` has come.

    Attributes
    ----------
    state
        ``finished``; ``outdated``: finished, but the store has changed since; ``undone``: finished, but taken back;
        ``running``: a process of this machine works on it; ``waiting``: every fold is done, but they were not joined;
        ``stopped``: they were, and so much would be excluded that a person has to look first; ``interrupted``;
        ``abandoned``: not finished, and begun on other tiles or labels, so that it cannot go on.
    folds, folds_done
        Their number, and those that are done, counted from 1.
    epochs
        Epochs that are over, of the folds under way.
    max_epochs
        Of a fold.
    seconds
        What is left of an interrupted run at most; what a finished one took. None where it is not known.
    command
        Words of the command that began it; empty where it was no command.
    """

    run: str
    state: str
    folds: int
    folds_done: tuple[int, ...]
    epochs: Mapping[int, int]
    max_epochs: int
    seconds: float | None
    command: tuple[str, ...]

    def says(self) -> str:
        """Say it in words."""
        words = {
            FINISHED: "finished",
            OUTDATED: "finished, but tiles or labels have changed since",
            UNDONE: "undone (w2wpath undo RUN turns that round)",
            WAITING: "every fold is done, but they were not joined into decisions",
            STOPPED: "more than half of a class or patient would be excluded, so no decision was written "
            "(look at its report.html)",
            RUNNING: f"at work just now, {len(self.folds_done)} of {self.folds} folds are done",
            INTERRUPTED: f"interrupted, {len(self.folds_done)} of {self.folds} folds are done",
            ABANDONED: "not finished, and begun on other tiles or labels than those of now, so it cannot go on",
        }[self.state]
        under_way = [f"fold {k} is after epoch {epoch} of {self.max_epochs}" for k, epoch in self.epochs.items()]
        return f"run {self.run}: {', '.join([words, *under_way])}"


@dataclass(frozen=True)
class Status:
    """What has been done with a store.

    Attributes
    ----------
    slides, tiles, labelled, patients
        How many there are.
    runs
        Of `clean`: the finished ones in the order in which they ended, then those that have not.
    verdicts
        How many tiles carry one of a person that counts.
    model_run
        The run that ``model/`` beside the store was trained with; None where there is no model.
    next
        The next command.
    seconds
        What it takes at most, where that is known.
    """

    store: str
    slides: int
    tiles: int
    labelled: int
    patients: int
    runs: tuple[RunStatus, ...]
    verdicts: int
    model_run: str | None
    next: str
    seconds: float | None


def status(path: Path) -> Status:
    """Tell what has been done with the store at `path`; it need not be there.

    Raises
    ------
    StoreError
        It is no tile store, or is damaged.
    """
    if not path.exists():
        return Status(str(path), 0, 0, 0, 0, (), 0, None, "w2wpath tile slide.svs rois.geojson", None)
    store = TileStore.open(path)
    slides = store.slides()
    table = store.table() if slides else None
    labelled = 0 if table is None else len(table.labelled())
    found = tuple(_runs(store))
    model, with_verdicts = _model(path.parent / "model")
    batches = read_batches(store)
    newer = with_verdicts is not None and with_verdicts != standing(batches)
    command, seconds = _next(labelled, found, model, newer_verdicts=newer)
    return Status(
        store=str(path),
        slides=len(slides),
        tiles=0 if table is None else table.n,
        labelled=labelled,
        patients=0 if table is None else len(set(table.patient.tolist())),
        runs=found,
        verdicts=len(latest(counting(batches))),
        model_run=model,
        next=command,
        seconds=seconds,
    )


def _runs(store: TileStore) -> list[RunStatus]:
    home = store.path.parent / "clean"
    published, begun = runs(store), dict(unfinished(home))
    content, undone = store.content_hash(), set(undone_runs(store))
    found = [_published(store.path / "decisions" / run, content, undone=run in undone) for run in published]
    mine = {run: key for run, key in begun.items() if key.store_name in ("", store.path.name) and run not in published}
    return found + [_begun(home / run, key, content) for run, key in reversed(mine.items())]


def _published(folder: Path, content: str, *, undone: bool) -> RunStatus:
    about = _json(folder / "zarr.json").get("attributes", {}).get("about", {})
    folds = about.get("folds", [])
    seconds = [fold["seconds"] for fold in folds if "seconds" in fold]
    return RunStatus(
        run=folder.name,
        state=UNDONE if undone else FINISHED if about.get("store_hash") == content else OUTDATED,
        folds=len(folds),
        folds_done=tuple(range(1, len(folds) + 1)),
        epochs={},
        max_epochs=int(about.get("settings", {}).get("max_epochs", 0)),
        seconds=sum(seconds) if len(seconds) == len(folds) > 0 else None,
        command=tuple(about.get("argv", ())),
    )


def _begun(folder: Path, key: Key, content: str) -> RunStatus:
    folds, most = int(key.settings["folds"]), int(key.settings["max_epochs"])
    results = {k: FoldResult.read(folder / f"fold-{k}.npz") for k in range(folds)}
    took = [float(result.about["seconds"]) for result in results.values() if result is not None]
    missing = [k for k, result in results.items() if result is None]
    state = INTERRUPTED if missing else STOPPED if (folder / "report.html").is_file() else WAITING
    if any(is_at_work(folder / LOCK.format(k)) for k in missing):
        state = RUNNING
    points = {k: point for k in missing if (point := reached(folder / f"fold-{k}.checkpoint")) is not None}
    return RunStatus(
        run=folder.name,
        state=state if key.store == content else ABANDONED,
        folds=folds,
        folds_done=tuple(k + 1 for k in range(folds) if k not in missing),
        epochs={k + 1: epoch for k, (epoch, _) in points.items()},
        max_epochs=most,
        seconds=_left(missing, points, took, most),
        command=key.command,
    )


def _left(
    missing: list[int], points: Mapping[int, tuple[int, float]], took: list[float], max_epochs: int
) -> float | None:
    """Return the seconds that the missing folds take at most: each what a fold that is done took, or by their pace."""
    epochs, spent = sum(epoch for epoch, _ in points.values()), sum(seconds for _, seconds in points.values())
    if not missing:
        return 0.0
    if not took and not epochs:
        return None
    whole = max(took) if took else spent / epochs * max_epochs
    return max(0.0, whole * len(missing) - spent)


def _next(
    labelled: int, found: tuple[RunStatus, ...], model: str | None, *, newer_verdicts: bool
) -> tuple[str, float | None]:
    if not labelled:
        return "w2wpath tile slide.svs rois.geojson", None
    if running := next((one for one in found if one.state == RUNNING), None):
        return f"w2wpath status, when run {running.run} is done", running.seconds
    finished = [one for one in found if one.state == FINISHED]
    # a run that was left for another, which ended well, is left
    later = [one for one in found if not finished or one.run > finished[-1].run]
    under_way = [one for one in later if one.state in (INTERRUPTED, WAITING, STOPPED)]
    if under_way:
        newest = under_way[-1]
        if newest.state == STOPPED:
            return f"look at clean/{newest.run}/report.html; if it is right, {_again(newest)} --force", newest.seconds
        return _again(newest), newest.seconds
    if not finished:
        return "w2wpath clean (--dry-run tells the time)", None
    if model != finished[-1].run or newer_verdicts:
        return "w2wpath train -o model/", _training_s(finished[-1])
    return "w2wpath heatmap slide.svs --model model/ -o out/", None


def _again(run: RunStatus) -> str:
    """Return the command that began a run, or how to go on where it was none."""
    if run.command[:1] != ("clean",):
        return f"w2wpath clean --run {run.run}, with the settings in its key.json"
    words = list(run.command)
    if "--fold" in words:  # one job of several: now all that is missing
        at = words.index("--fold")
        del words[at : at + 2]
    return shlex.join(["w2wpath", *words])


def _training_s(run: RunStatus) -> float | None:
    """Return about what `train` takes: a Wise on all folds' tiles, and a Wiped for no more epochs."""
    return None if run.seconds is None else 2 * run.seconds / (run.folds - 1)


def _model(folder: Path) -> tuple[str | None, list[str] | None]:
    """Return the run that a model was trained with, and the batches of verdicts; None where that is not known."""
    if not (folder / "model.json").is_file():
        return None, None
    said = _json(folder / "model.json").get("provenance", {})
    return str(said.get("clean_run", "not known")), said.get("verdicts")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

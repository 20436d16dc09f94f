"""Heatmaps of many slides: one task a slide; a slide that fails is told and the others go on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from w2wpath.config import HeatmapSettings
from w2wpath.errors import DiskError, ModelError, W2wError, writing
from w2wpath.heatmaps.predict import Reader
from w2wpath.heatmaps.run import ENDINGS, SUMMARY, heatmap, job_key, refuse
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import fingerprint, write_whole
from w2wpath.tiles.distribute import each
from w2wpath.tiles.entries import SlideEntry

TABLE = "slides.csv"


@dataclass(frozen=True)
class Job:
    """One slide's task, which may run in another process or on another machine."""

    entry: SlideEntry
    load: Callable[[], Reader]
    """Loads the model where the task runs; can be pickled."""
    identity: str
    """Of the model: a worker that lives on must not take an older one for it."""
    out: Path
    settings: HeatmapSettings
    overwrite: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one slide: ``read``, ``unchanged`` or ``failed``, with its summary or the error in words."""

    slide: str
    status: str
    summary: Mapping[str, Any] | None = None
    error: str = ""
    files: tuple[Path, ...] = ()

    @property
    def out_of_domain(self) -> bool:
        """Whether the slide does not look like the training slides."""
        domain = (self.summary or {}).get("domain")
        return domain is not None and not domain["inside"]


def heatmaps(
    entries: Sequence[SlideEntry],
    load: Callable[[], Reader],
    out: Path,
    settings: HeatmapSettings,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
    table: str = TABLE,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Read slides with a model, and write the outputs of each and ``slides.csv`` about all into `out`.

    A slide whose outputs are there already, of the same slide, model and settings, stays as it is.

    Parameters
    ----------
    entries
        Slides; annotations are optional.
    load
        Loads the model; called once in every process that works.
    workers, scheduler
        As for :func:`w2wpath.tiles.distribute.each`.
    overwrite
        Read every slide again.
    table
        Name of the table about all slides; jobs that share `out` need one each.

    Raises
    ------
    ConfigError
        No scheduler answers.
    ModelError
        The model cannot be loaded, or not be used with the settings.
    DiskError
        There is no room; slides finished before stay.
    """
    progress = progress or Silent()
    model = load()  # here too where others read: what is wrong with it is said before anything begins
    refuse(model, settings)
    jobs = [Job(entry, load, model.identity, out, settings, overwrite) for entry in entries]
    alone = scheduler is None and (workers <= 1 or len(jobs) <= 1)
    task: Callable[[Job], Outcome] = partial(_read, model=model, progress=progress) if alone else read_one
    outcomes: dict[str, Outcome] = {}
    with progress.track("slides", len(jobs)) as step:
        for job, result in each(task, jobs, workers=workers, scheduler=scheduler):
            if isinstance(result, DiskError):
                raise result
            outcome = result if isinstance(result, Outcome) else _failed(job, result)
            outcomes[outcome.slide] = outcome
            step(1, f"{outcome.slide}: {outcome.status}")
    ordered = [outcomes[entry.name] for entry in entries]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write_whole(out / table, _table(ordered))
    return ordered


def read_one(job: Job) -> Outcome:
    """Do one task in a process of its own; the slide's own faults become an :class:`Outcome`, a full disk raises."""
    try:
        return _read(job, model=_model_of(job), progress=Silent())
    except ModelError as error:
        return Outcome(job.entry.name, "failed", error=str(error))


_MODEL: dict[str, Reader] = {}
"""The model of this process by its identity: a worker that takes ten slides loads it once."""


def _model_of(job: Job) -> Reader:
    if job.identity not in _MODEL:
        _MODEL.clear()
        model = job.load()
        if model.identity != job.identity:
            raise ModelError(
                f"{job.entry.slide}: the model is another one than when the command began. "
                "Let it alone until the slides are read, and run the command again."
            )
        _MODEL[job.identity] = model
    return _MODEL[job.identity]


def _read(job: Job, *, model: Reader, progress: Progress) -> Outcome:
    entry = job.entry
    try:
        done = None if job.overwrite else _done(job, model)
        if done is not None:
            files = tuple(job.out / f"{entry.name}.{ending}" for ending in ENDINGS)
            return Outcome(entry.name, "unchanged", done, files=files)
        made = heatmap(
            entry.slide,
            model,
            job.out,
            job.settings,
            slide_mpp=entry.slide_mpp,
            origin=entry.origin or "auto",
            rois=entry.rois,
            progress=progress,
        )
        return Outcome(entry.name, "read", made.summary, files=made.files)
    except DiskError:
        raise
    except W2wError as error:
        return Outcome(entry.name, "failed", error=str(error))


def _done(job: Job, model: Reader) -> Mapping[str, Any] | None:
    """Return the summary of a slide that has been read already by the same model with the same settings."""
    entry = job.entry
    try:
        said: dict[str, Any] = json.loads((job.out / f"{entry.name}.{SUMMARY}").read_text("utf-8"))
        had = said.pop("provenance")["key"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if entry.rois is not None and not entry.rois.is_file():
        return None
    slide_print = fingerprint(entry.slide)
    origin = entry.origin or "auto"
    key = job_key(slide_print, model, job.settings, slide_mpp=entry.slide_mpp, origin=origin, rois=entry.rois)
    return said if had == key else None


def _failed(job: Job, error: Exception) -> Outcome:
    """Tell an error that is none of ours, or the death of the processes that worked on the slide."""
    return Outcome(job.entry.name, "failed", error=f"{job.entry.slide}: {type(error).__name__}: {error}")


def _table(outcomes: Sequence[Outcome]) -> str:
    """Return a CSV with a line for every slide, also for those that failed."""
    classes = next((list(one.summary["confident_area_mm2"]) for one in outcomes if one.summary), [])
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    areas = [f"confident mm2 {name}" for name in classes]
    lines.writerow(["slide", "status", "confident", "uncertain", "not analysed", "domain", *areas, "error"])
    for one in outcomes:
        if one.summary is None:
            lines.writerow([one.slide, one.status, *[""] * (4 + len(classes)), one.error])
            continue
        tiles, domain = one.summary["tiles"], one.summary["domain"]
        where = "" if domain is None else "inside" if domain["inside"] else "outside: " + "; ".join(domain["unusual"])
        counts = [tiles[name] for name in ("confident", "uncertain", "not analysed")]
        area = [one.summary["confident_area_mm2"].get(name, "") for name in classes]
        lines.writerow([one.slide, one.status, *counts, where, *area, ""])
    return text.getvalue()

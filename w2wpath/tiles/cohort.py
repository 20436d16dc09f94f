"""Tile one slide, or a cohort of slides, into a store; one bad slide never stops the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import TileSettings
from w2wpath.errors import DiskError, SlideError, StoreError, W2wError
from w2wpath.frames import Scale, tile_scale
from w2wpath.progress import Progress, Silent, Step
from w2wpath.provenance import append_line, fingerprint, record
from w2wpath.qupath.read import Rois
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import open_slide, require_mpp
from w2wpath.slides.tissue import TissueMask
from w2wpath.tiles.cut import RESAMPLE, cut, refuse_source
from w2wpath.tiles.distribute import WorkerLost, each
from w2wpath.tiles.entries import Entry, refuse_equal_stems
from w2wpath.tiles.imports import import_rois
from w2wpath.tiles.layout import lay_out
from w2wpath.tiles.measures import sharpness
from w2wpath.tiles.patients import PatientOf, Table, patient_of, read_cores, require_slides
from w2wpath.tiles.pictures import draw_classes, draw_slide
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore

PLAUSIBLE_MPP = (0.02, 20.0)
"""um/px of every slide scanner, with room; outside, a header or flag is wrong."""
TOLD_EVERY = 256
"""Tiles between two reports of progress."""


@dataclass(frozen=True)
class Outcome:
    """What became of one slide: ``tiled``, ``relabelled``, ``unchanged`` or ``failed`` (then `error` says why)."""

    slide: str
    status: str
    tiles: int = 0
    by_class: tuple[tuple[str, int], ...] = ()
    border: int = 0
    conflict: int = 0
    skipped_objects: tuple[tuple[str, int], ...] = ()
    repaired_objects: int = 0
    warnings: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    """Parts of the slide that cannot be decoded; the tiles on them are not stored."""
    patient_guessed: bool = False
    error: str = ""


@dataclass(frozen=True)
class Job:
    """One slide's task, which may run in another process or on another machine."""

    store: Path
    entry: Entry
    settings: TileSettings
    patient: PatientOf
    overwrite: bool = False
    previews: bool = True
    threads: int | None = None


def tile(
    store_path: Path | str,
    entries: Sequence[Entry],
    settings: TileSettings | None = None,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
    patient_from: str | None = None,
    cores: Path | None = None,
    previews: bool = True,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Tile slides into a store; a slide that fails is reported and the others go on.

    A slide whose pixels and labels would be the same stays as it is; one whose tiles stay where they are gets new
    labels without a pixel being read.

    Parameters
    ----------
    store_path
        The store; made if it is not there.
    workers
        Processes of this machine, each taking whole slides. A slide is read by threads in any case.
    scheduler
        Address of a dask.distributed scheduler, whose workers see the same files; `workers` is then not used.
    overwrite
        Cut every slide again, whatever the store holds.
    patient_from
        Regular expression that finds the patient in a slide's name, where no patient is given.
    cores
        Table of TMA cores (slide, core, patient) for the entries that have none of their own.
    previews
        Draw every slide's tiles, and a sheet of tiles of every class, into ``<store>.imports/``.

    Raises
    ------
    CohortError
        Two slides share a file stem, or a table of cores is wrong.
    ConfigError
        `patient_from` finds no patient, or no scheduler answers.
    StoreError
        The store is not ours, or holds tiles of other settings.
    DiskError
        There is no room; slides finished before stay.
    """
    settings = settings or TileSettings()
    progress = progress or Silent()
    refuse_equal_stems(entries, str(store_path))
    patients = _patients(entries, patient_from, cores)
    spec = StoreSpec(settings.tile_px, settings.mpp, settings.step_px, RESAMPLE, codec=settings.codec)
    store = TileStore.create_or_open(store_path, spec)
    threads = max(1, (os.cpu_count() or 1) // max(1, min(workers, len(entries)))) if scheduler is None else None
    jobs = [
        Job(store.path, entry, settings, patient, overwrite, previews, threads)
        for entry, patient in zip(entries, patients, strict=True)
    ]
    outcomes: dict[str, Outcome] = {}
    alone = scheduler is None and (workers <= 1 or len(jobs) <= 1)
    with progress.track("tile", len(entries)) as step:
        task = partial(tile_slide, step=step) if alone else tile_slide
        for job, result in each(task, jobs, workers=workers, scheduler=scheduler):
            outcome = _outcome(job, result)
            outcomes[outcome.slide] = outcome
            step(1, f"{outcome.slide}: {outcome.tiles} tiles, {outcome.status}")
    ordered = [outcomes[entry.name] for entry in entries]
    if previews and any(outcome.status in ("tiled", "relabelled") for outcome in ordered):
        try:
            draw_classes(store)
        except StoreError as error:  # another slide of the store is damaged: the work of this run is done all the same
            progress.say(f"warning: no sheets of tiles were drawn. {error}")
    append_line(
        store.path.with_name(f"{store.path.name}.provenance.jsonl"),
        record(
            "tile",
            settings.model_dump(mode="json"),
            inputs=[{"slide": str(entry.slide), "rois": str(entry.rois)} for entry in entries],
            outcomes={outcome.slide: outcome.error or outcome.status for outcome in ordered},
        ),
    )
    return ordered


def _patients(entries: Sequence[Entry], pattern: str | None, cores: Path | None) -> list[PatientOf]:
    """Settle whose slides they are before any is read."""
    tables: dict[Path, Table] = {}
    for path in [entry.cores or cores for entry in entries]:
        if path is not None and path not in tables:
            tables[path] = read_cores(path)
            require_slides(tables[path], [entry.name for entry in entries], str(path))
    found = []
    for entry in entries:
        path = entry.cores or cores
        table = tables[path] if path is not None else None
        where = str(path) if path is not None else "the core table"
        found.append(patient_of(entry.name, given=entry.patient, pattern=pattern, table=table, where=where))
    return found


def _outcome(job: Job, result: Any) -> Outcome:
    if isinstance(result, WorkerLost):
        return Outcome(
            job.entry.name,
            "failed",
            error=f"{job.entry.slide}: every worker process that took it died (out of memory?). "
            "Run the same command again with fewer --workers.",
        )
    if isinstance(result, Exception):
        raise result
    done: Outcome = result
    return done


def tile_slide(job: Job, step: Step | None = None) -> Outcome:
    """Tile one slide into an existing store; its own faults become an :class:`Outcome`, a full disk raises."""
    store = TileStore.open(job.store)
    try:
        return _tile_slide(store, job, step)
    except DiskError:
        raise
    except W2wError as error:
        return Outcome(job.entry.name, "failed", error=str(error))


def _tile_slide(store: TileStore, job: Job, step: Step | None) -> Outcome:
    entry, settings = job.entry, job.settings
    damaged: dict[str, None] = {}
    with open_slide(entry.slide, slide_mpp=entry.slide_mpp) as slide:
        scale = scale_on(slide, settings)
        read = import_rois(store.path, entry, slide, settings)
        tiles = lay_out(
            slide, entry.slide, scale, read.rois, read.frame, job.patient, settings, fingerprint(entry.slide)
        )
        tiles = _with_extra(tiles, read.tissue, scale, settings)
        had = None if job.overwrite else store.present(entry.name)
        if had is None or had.get("damaged") or not _equal(had, tiles, "pixels_hash", "extra"):
            if settings.codec == "source":
                refuse_source(slide, tiles.columns["x0"], tiles.columns["y0"], scale)
            store.add(entry.name, tiles, _pixels(store, slide, tiles, scale, job, damaged, step))
            status = "tiled"
        elif not _equal(had, tiles, "labels_hash"):
            store.replace_labels(entry.name, _keeping_sharpness(store, entry.name, tiles))
            status = "relabelled"
        else:
            status = "unchanged"
        if job.previews and status != "unchanged":
            draw_slide(store, entry.name, read, slide, settings)
    return told(store, entry.name, status, read.rois, tuple(damaged), guessed=job.patient.source == "slide name")


def _equal(had: Mapping[str, Any], tiles: SlideTiles, *keys: str) -> bool:
    return all(had.get(key) == tiles.attributes[key] for key in keys)


def _with_extra(tiles: SlideTiles, tissue: TissueMask, scale: Scale, settings: TileSettings) -> SlideTiles:
    """Add the columns asked for; sharpness is filled in while the pixels go by."""
    columns = dict(tiles.columns)
    if "tissue" in settings.extra:
        share = tissue.share(columns["x0"], columns["y0"], scale.side0)
        columns["tissue_share"] = share.astype(np.float32)
    if "sharpness" in settings.extra:
        columns["sharpness"] = np.zeros(tiles.n, dtype=np.float32)
    return SlideTiles(columns, {**tiles.attributes, "extra": sorted(settings.extra)})


def _keeping_sharpness(store: TileStore, name: str, tiles: SlideTiles) -> SlideTiles:
    if "sharpness" not in tiles.columns:
        return tiles
    return SlideTiles({**tiles.columns, "sharpness": store.read(name).columns["sharpness"]}, tiles.attributes)


def plausible_mpp(slide: Slide) -> float:
    """Return a slide's um/px.

    Raises
    ------
    MissingMppError
        The header has none and the user gave none.
    SlideError
        It lies outside what microscopes give.
    """
    mpp = require_mpp(slide)
    if not PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]:
        raise SlideError(
            f"{slide.path}: {mpp:g} um/px ({slide.mpp_from}) is no microscope's. "
            "Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
        )
    return mpp


def scale_on(slide: Slide, settings: TileSettings) -> Scale:
    """Return the scale of a slide's tiles.

    Raises
    ------
    ConfigError, SlideError
        The slide's um/px is not known, cannot be, or does not allow such tiles.
    """
    return tile_scale(
        tile_px=settings.tile_px,
        stride_px=settings.step_px,
        mpp=settings.mpp,
        slide_mpp=plausible_mpp(slide),
        allow_upsample=settings.allow_upsample,
        where=str(slide.path),
    )


def _pixels(
    store: TileStore,
    slide: Slide,
    tiles: SlideTiles,
    scale: Scale,
    job: Job,
    damaged: dict[str, None],
    step: Step | None,
) -> Iterator[bytes | None]:
    source, sharp = job.settings.codec == "source", tiles.columns.get("sharpness")

    def encode(pixels: NDArray[np.uint8]) -> tuple[bytes, float]:
        return store.encode(pixels), sharpness(pixels) if sharp is not None else 0.0

    cutting = cut(
        slide,
        tiles.columns["x0"],
        tiles.columns["y0"],
        scale,
        encode=None if source else encode,
        damaged=lambda where: damaged.setdefault(where),
        source=source,
        threads=job.threads,
    )
    for row, found in enumerate(cutting):
        if step is not None and row % TOLD_EVERY == 0:
            step(0, f"{job.entry.name}: {row} of {tiles.n} tiles")
        if source or found is None:
            yield found
        else:
            encoded, measured = found
            if sharp is not None:
                sharp[row] = measured
            yield encoded


def told(
    store: TileStore, name: str, status: str, rois: Rois | None, damaged: tuple[str, ...], *, guessed: bool
) -> Outcome:
    """Return what became of a slide that is in the store."""
    counts = store.attributes(name)["counts"]
    return Outcome(
        name,
        status,
        counts["tiles"],
        tuple(counts["by_class"].items()),
        counts["border"],
        counts["conflict"],
        () if rois is None else tuple(sorted(rois.skipped().items())),
        0 if rois is None else len(rois.repaired()),
        () if rois is None else rois.warnings,
        damaged,
        guessed,
    )

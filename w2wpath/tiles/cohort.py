"""Tile one slide, or a cohort of slides, into a store; one bad slide never stops the others."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from w2wpath.config import TileSettings
from w2wpath.errors import CohortError, DiskError, FrameError, W2wError, did_you_mean, writing
from w2wpath.frames import ORIGINS, Frame, tile_scale
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import append_line, fingerprint, record, write_whole
from w2wpath.qupath.align import Alignment, align
from w2wpath.qupath.alignment_picture import alignment_png
from w2wpath.qupath.read import Rois, read_rois, require_regions
from w2wpath.qupath.report import write_report
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import open_slide, require_mpp
from w2wpath.slides.tissue import tissue_of
from w2wpath.tiles.cut import RESAMPLE, cut
from w2wpath.tiles.layout import lay_out
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore

COLUMNS = ("slide", "rois", "patient", "slide_mpp", "origin")
NEEDED = ("slide", "rois")
THUMBNAIL_PX = 1024


@dataclass(frozen=True)
class Entry:
    """One slide to tile: its file, its annotations, and what the user said of it."""

    slide: Path
    rois: Path
    patient: str | None = None
    slide_mpp: float | None = None
    origin: str | None = None

    @property
    def name(self) -> str:
        """The slide's name in the store: its file stem."""
        return self.slide.stem


@dataclass(frozen=True)
class Outcome:
    """What became of one slide: ``tiled``, ``unchanged`` or ``failed`` (then `error` says why)."""

    slide: str
    status: str
    tiles: int = 0
    by_class: tuple[tuple[str, int], ...] = ()
    border: int = 0
    conflict: int = 0
    skipped_objects: tuple[tuple[str, int], ...] = ()
    repaired_objects: int = 0
    warnings: tuple[str, ...] = ()
    patient_guessed: bool = False
    error: str = ""


def read_cohort(path: Path) -> list[Entry]:
    """Read a cohort table: columns slide, rois, and optionally patient, slide_mpp, origin; paths relative to it.

    Raises
    ------
    CohortError
        The file is missing or empty, a column is missing or unknown, a cell is empty or wrong, or two slides
        share a file stem.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except FileNotFoundError:
        raise CohortError(f"{path}: no such cohort table. Give a CSV with columns slide, rois, patient.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path}: not a readable CSV ({error}). Save it as UTF-8, comma separated.") from None
    if not rows:
        raise CohortError(f"{path}: holds no slide. Give one row per slide below the header slide, rois, patient.")
    for line, row in enumerate(rows, start=2):
        if None in row:
            raise CohortError(f"{path}: line {line}: has more cells than the header. Quote names that hold a comma.")
    for column in rows[0]:
        if column not in COLUMNS:
            hint = did_you_mean(str(column), COLUMNS)
            raise CohortError(f"{path}: column must be one of {', '.join(COLUMNS)}; got {column!r}.{hint}")
    missing = [column for column in NEEDED if column not in rows[0]]
    if missing:
        raise CohortError(f"{path}: column {missing[0]!r} is missing. Give columns slide, rois, patient.")
    entries = [_entry(row, line, path) for line, row in enumerate(rows, start=2)]
    _refuse_equal_stems(entries, str(path))
    return entries


def _entry(row: dict[str, str | None], line: int, path: Path) -> Entry:
    for column in NEEDED:
        if not (row.get(column) or "").strip():
            raise CohortError(f"{path}: line {line}: {column} is empty. Give the file, relative to the table.")
    mpp_text = (row.get("slide_mpp") or "").strip()
    try:
        mpp = float(mpp_text) if mpp_text else None
    except ValueError:
        mpp = -1.0
    if mpp is not None and not 0 < mpp < 1000:
        raise CohortError(
            f"{path}: line {line}: slide_mpp is {mpp_text!r}. Give um per pixel, like 0.25, or leave it empty."
        )
    origin = (row.get("origin") or "").strip() or None
    if origin not in (None, *ORIGINS):
        raise CohortError(f"{path}: line {line}: origin must be one of {', '.join(ORIGINS)}; got {origin!r}.")
    here = path.parent
    return Entry(
        here / str(row["slide"]).strip(),
        here / str(row["rois"]).strip(),
        (row.get("patient") or "").strip() or None,
        mpp,
        origin,
    )


def _refuse_equal_stems(entries: Sequence[Entry], where: str) -> None:
    seen: dict[str, Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if other is not entry:
            raise CohortError(
                f"{where}: {other.slide} and {entry.slide} share the name {entry.name!r}. "
                "Rename one of them: the file stem names the slide in the store."
            )


def tile(
    store_path: Path | str,
    entries: Sequence[Entry],
    settings: TileSettings | None = None,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Tile slides into a store; a slide that fails is reported and the others go on.

    Parameters
    ----------
    store_path
        The store; made if it is not there.
    workers
        Processes (spawned), each taking whole slides. A slide is read by threads in any case.

    Raises
    ------
    CohortError
        Two slides share a file stem.
    StoreError
        The store is not ours, or holds tiles of other settings.
    DiskError
        There is no room; slides finished before stay.
    """
    settings = settings or TileSettings()
    progress = progress or Silent()
    _refuse_equal_stems(entries, str(store_path))
    store = TileStore.create_or_open(store_path, StoreSpec(settings.tile_px, settings.mpp, settings.step_px, RESAMPLE))
    outcomes: dict[str, Outcome] = {}
    with progress.track("tile", len(entries)) as step:
        for outcome in _outcomes(store, entries, settings, workers):
            outcomes[outcome.slide] = outcome
            step(1, f"{outcome.slide}: {outcome.tiles} tiles, {outcome.status}")
    ordered = [outcomes[entry.name] for entry in entries]
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


def _outcomes(store: TileStore, entries: Sequence[Entry], settings: TileSettings, workers: int) -> Any:
    if workers <= 1 or len(entries) <= 1:
        for entry in entries:
            yield tile_slide(store.path, entry, settings)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[Outcome], Entry] = {
            pool.submit(tile_slide, store.path, entry, settings): entry for entry in entries
        }
        for done in as_completed(waiting):
            try:
                yield done.result()
            except DiskError:
                pool.shutdown(cancel_futures=True)
                raise
            except BrokenProcessPool:
                yield Outcome(waiting[done].name, "failed", error=_died(waiting[done]))


def _died(entry: Entry) -> str:
    return f"{entry.slide}: a worker process died (out of memory?). Run the same command again with fewer --workers."


def tile_slide(store_path: Path, entry: Entry, settings: TileSettings) -> Outcome:
    """Tile one slide into an existing store; its own faults become an :class:`Outcome`, a full disk raises."""
    store = TileStore.open(store_path)
    try:
        return _tile_slide(store, entry, settings)
    except DiskError:
        raise
    except W2wError as error:
        return Outcome(entry.name, "failed", error=str(error))


def _tile_slide(store: TileStore, entry: Entry, settings: TileSettings) -> Outcome:
    with open_slide(entry.slide, slide_mpp=entry.slide_mpp) as slide:
        scale = tile_scale(
            tile_px=settings.tile_px,
            stride_px=settings.step_px,
            mpp=settings.mpp,
            slide_mpp=require_mpp(slide),
            allow_upsample=settings.allow_upsample,
            where=str(entry.slide),
        )
        rois, frame = _import(store, entry, slide, settings)
        tiles = lay_out(slide, entry.slide, scale, rois, frame, entry.patient, settings, fingerprint(entry.slide))
        status = "unchanged"
        if not _same(store, entry.name, tiles):
            store.add(entry.name, tiles, cut(slide, tiles.columns["x0"], tiles.columns["y0"], scale))
            status = "tiled"
    counts = tiles.attributes["counts"]
    return Outcome(
        entry.name,
        status,
        tiles.n,
        tuple(counts["by_class"].items()),
        counts["border"],
        counts["conflict"],
        tuple(sorted(rois.skipped().items())),
        len(rois.repaired()),
        rois.warnings,
        patient_guessed=entry.patient is None,
    )


def imports(store_path: Path) -> Path:
    """Return the folder beside a store with each slide's import report (JSON) and alignment check (PNG)."""
    return store_path.with_name(f"{store_path.name}.imports")


def _import(store: TileStore, entry: Entry, slide: Slide, settings: TileSettings) -> tuple[Rois, Frame]:
    """Read a slide's annotations and find their frame; report and picture are there even where both are refused."""
    rois = read_rois(entry.rois, settings, slide_mpp=slide.mpp)
    thumbnail = slide.thumbnail(THUMBNAIL_PX)
    wanted = entry.origin or settings.origin
    found = align(
        rois,
        slide,
        rois.frame if wanted == "auto" and rois.frame is not None else wanted,
        tissue_of(thumbnail, slide.width0, slide.height0),
        str(entry.slide),
    )
    rois = replace(rois, warnings=(*rois.warnings, *(found.warnings if rois.regions else ())))
    home = imports(store.path)
    with writing(home):
        home.mkdir(exist_ok=True)
    picture = home / f"{entry.name}.alignment.png"
    facts = _facts(found, slide.path.name)
    write_report(home / f"{entry.name}.json", rois.path.name, rois.report, rois.warnings, facts)
    write_whole(picture, alignment_png(rois, thumbnail, (slide.width0, slide.height0), found, slide.path.name))
    require_regions(rois, strict=settings.strict)
    if found.frame is None:
        raise FrameError(f"{found.why} Picture: {picture}")
    return rois, found.frame


def _facts(found: Alignment, slide: str) -> dict[str, Any]:
    return {
        "slide": slide,
        "frame": found.frame and found.frame.name,
        "frames": {score.frame.name: {"inside": score.inside, "on_tissue": score.on_tissue} for score in found.scores},
    }


def _same(store: TileStore, name: str, tiles: SlideTiles) -> bool:
    if name not in store.slides():
        return False
    had = store.attributes(name)
    return all(had.get(key) == tiles.attributes[key] for key in ("pixels_hash", "labels_hash"))

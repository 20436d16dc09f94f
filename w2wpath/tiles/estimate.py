"""What tiling would give, before it is done: counts, time and room, from a sample of the tiles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2wpath.config import TileSettings
from w2wpath.errors import ConfigError, W2wError
from w2wpath.provenance import fingerprint
from w2wpath.qupath.read import read_rois, require_regions
from w2wpath.slides.reader import open_slide
from w2wpath.slides.tissue import tissue_mask
from w2wpath.tiles.codecs import encoder
from w2wpath.tiles.cohort import scale_on
from w2wpath.tiles.cut import cut, refuse_source
from w2wpath.tiles.entries import Entry
from w2wpath.tiles.imports import THUMBNAIL_PX, find_frame
from w2wpath.tiles.layout import lay_out

SAMPLE = 128
"""Tiles that are cut and encoded to tell time and room."""


@dataclass(frozen=True)
class Estimate:
    """What one slide would give; where it would fail, `error` says why."""

    slide: str
    tiles: int = 0
    by_class: tuple[tuple[str, int], ...] = ()
    border: int = 0
    conflict: int = 0
    seconds: float = 0.0
    mb: tuple[tuple[str, float], ...] = ()
    """Megabytes by codec; `source` only where it can be used."""
    error: str = ""


def estimate(entry: Entry, settings: TileSettings) -> Estimate:
    """Lay out one slide's tiles and cut a sample of them; nothing is written."""
    try:
        return _estimate(entry, settings)
    except W2wError as error:
        return Estimate(entry.name, error=str(error))


def _estimate(entry: Entry, settings: TileSettings) -> Estimate:
    with open_slide(entry.slide, slide_mpp=entry.slide_mpp) as slide:
        scale = scale_on(slide, settings)
        rois = read_rois(entry.rois, settings, slide_mpp=slide.mpp)
        require_regions(rois, strict=settings.strict)
        found = find_frame(rois, entry, slide, settings, tissue_mask(slide, max_px=THUMBNAIL_PX))
        if found.frame is None:
            return Estimate(entry.name, error=found.why)
        tiles = lay_out(slide, entry.slide, scale, rois, found.frame, entry.patient, settings, fingerprint(entry.slide))
        x0, y0 = tiles.columns["x0"], tiles.columns["y0"]
        # neighbours, since they share blocks, from several places, since tissue differs
        runs = np.array_split(np.arange(tiles.n), max(1, min(8, tiles.n // 16)))
        rows = np.concatenate([run[: SAMPLE // len(runs)] for run in runs])
        mb: dict[str, float] = {}
        began = time.perf_counter()
        pixels = [tile for tile in cut(slide, x0[rows], y0[rows], scale, damaged=lambda _: None) if tile is not None]
        seconds = (time.perf_counter() - began) * tiles.n / len(rows)
        for codec in ("zstd", "jpeg"):
            encode = encoder(codec)
            mb[codec] = _mb(sum(len(encode(tile)) for tile in pixels), len(pixels), tiles.n)
        try:
            refuse_source(slide, x0, y0, scale)
            own = [
                len(data) for data in cut(slide, x0[rows], y0[rows], scale, damaged=lambda _: None, source=True) if data
            ]
            mb["source"] = _mb(sum(own), len(own), tiles.n)
        except ConfigError:
            pass
    counts = tiles.attributes["counts"]
    return Estimate(
        entry.name,
        tiles.n,
        tuple(counts["by_class"].items()),
        counts["border"],
        counts["conflict"],
        seconds,
        tuple(mb.items()),
    )


def _mb(size: int, of: int, n: int) -> float:
    return size * n / of / 1e6 if of else 0.0


def estimates(entries: Sequence[Entry], settings: TileSettings) -> list[Estimate]:
    """Estimate every slide; one that would fail says why and does not stop the others."""
    return [estimate(entry, settings) for entry in entries]


def free_mb(place: Path) -> float:
    """Return the megabytes free on the disk that holds `place`, or will."""
    import shutil

    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free / 1e6

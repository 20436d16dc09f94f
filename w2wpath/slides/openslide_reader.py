"""Slides through OpenSlide, and past it where the tiles of a TIFF can be read as they lie in the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import SlideError
from w2wpath.slides.base import DAMAGED, REGION_PX, WHITE, BaseSlide, RegionBlocks
from w2wpath.slides.contract import Blocks
from w2wpath.slides.scale import scale
from w2wpath.slides.source_tiles import SourceBlocks, SourceFile, TiledPage, TiledTiff, tiled_tiff

PLAIN_GRIDS = ("aperio", "generic-tiff")
"""Vendors whose levels are TIFF pages, tile beside tile; others overlap, stitch or shift theirs."""


class OpenSlideReader(BaseSlide):
    """A slide that OpenSlide reads; safe to use from several threads, and in processes forked from this one."""

    def __init__(self, path: Path, slide_mpp: float | None) -> None:
        super().__init__(path, slide_mpp)
        try:
            handle = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideError(f"{path}: not a readable slide ({error}). Check that the file is whole.") from error
        # OpenSlide's handle must not be shared with a forked process: both would move one file position
        self._handles = {os.getpid(): handle}
        self._properties = dict(handle.properties)
        self._state_levels(handle.level_dimensions, tuple(float(factor) for factor in handle.level_downsamples))
        self.background = _background(self._properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR))
        self.bounds0 = _bounds(self._properties)
        self.mpp, self.mpp_from = scale(
            path,
            slide_mpp,
            header=(
                self._properties.get(openslide.PROPERTY_NAME_MPP_X),
                self._properties.get(openslide.PROPERTY_NAME_MPP_Y),
            ),
            tiff=(self._properties.get("tiff.XResolution"), self._properties.get("tiff.YResolution")),
            unit=self._properties.get("tiff.ResolutionUnit", "none"),
        )
        self._tiff: TiledTiff | None = None
        self._file: SourceFile | None = None

    @property
    def vendor(self) -> str:
        """What OpenSlide calls the kind of file."""
        return str(self._properties[openslide.PROPERTY_NAME_VENDOR])

    def _handle(self) -> Any:
        process = os.getpid()
        handle = self._handles.get(process)
        # setdefault is atomic: threads that meet here agree on one handle, without a lock that a fork could leave shut
        return self._handles.setdefault(process, openslide.OpenSlide(self.path)) if handle is None else handle

    def _read(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        try:
            rgba = self._region((x0, y0), level, (width, height))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"{self.path}: pixels at x0={x0}, y0={y0} cannot be decoded ({error}). {DAMAGED}"
            ) from error
        alpha = rgba.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return np.asarray(rgba.convert("RGB"))
        canvas = Image.new("RGB", (width, height), self.background)
        canvas.paste(rgba, mask=alpha)
        return np.asarray(canvas)

    def _region(self, corner0: tuple[int, int], level: int, size: tuple[int, int]) -> Image.Image:
        """Read once more through a fresh handle where reading fails.

        After its first error a handle repeats that error for ever, so the fault may lie elsewhere, even in what another
        thread reads at the same time. Handles are dropped, not closed: other threads may still be inside them.
        """
        try:
            rgba: Image.Image = self._handle().read_region(corner0, level, size)
            return rgba
        except openslide.OpenSlideError:
            fresh = openslide.OpenSlide(self.path)
            try:
                rgba = fresh.read_region(corner0, level, size)
            except openslide.OpenSlideError:
                self._handles.pop(os.getpid(), None)
                raise
            self._handles[os.getpid()] = fresh
            return rgba

    def _make_blocks(self, level: int) -> Blocks:
        page, packing = self._page(level)
        if page is None or page.packing is None:
            return RegionBlocks(self, level, packing, self._region_size(level))
        self._file = self._file or SourceFile(self.path)
        # Aperio's missing tiles are holes of a coarser level only, which OpenSlide fills from the finer one
        finer = level > 0 and self.vendor == "aperio"
        fill = (lambda left, top, width, height: self._read_box(level, left, top, width, height)) if finer else None
        return SourceBlocks(self.path, level, page, self._file, self.background, fill)

    def _page(self, level: int) -> tuple[TiledPage | None, str]:
        """Return the TIFF page that holds a level, found by its size, and how its tiles are packed."""
        foreign = f"reached through OpenSlide only ({self.vendor})"
        if self.vendor not in PLAIN_GRIDS:
            return None, foreign
        try:
            self._tiff = self._tiff or tiled_tiff(self.path)
        except Exception:  # tifffile may stumble over what OpenSlide reads; then regions serve
            return None, foreign
        size = self.level_sizes[level]
        pages = [page for page in self._tiff.levels if page.size == size]
        nth = self.level_sizes[:level].count(size)
        if nth < len(pages) and pages[nth].tile == self._tile(level):
            return pages[nth], pages[nth].packing_name
        return None, foreign

    def _tile(self, level: int) -> tuple[int, int]:
        name = f"openslide.level[{level}].tile-"
        return int(self._properties.get(f"{name}width", 0)), int(self._properties.get(f"{name}height", 0))

    def _region_size(self, level: int) -> tuple[int, int]:
        """Return a block size near 512 px whose borders are those of source tiles, so that none is decoded twice."""
        width, height = (
            side * max(1, REGION_PX // side) if 0 < side <= 2 * REGION_PX else REGION_PX for side in self._tile(level)
        )
        return width, height

    def _release(self) -> None:
        self._handles.pop(os.getpid(), None)
        self._file = None


def _background(stated: str | None) -> tuple[int, int, int]:
    try:
        red, green, blue = bytes.fromhex(stated or "")
    except ValueError:
        return WHITE
    return red, green, blue


def _bounds(properties: dict[str, str]) -> tuple[int, int, int, int] | None:
    names = ("BOUNDS_X", "BOUNDS_Y", "BOUNDS_WIDTH", "BOUNDS_HEIGHT")
    values = [properties.get(getattr(openslide, f"PROPERTY_NAME_{name}")) for name in names]
    # QuPath crops only when all four are there (its OpenSlide reader), so we do the same
    if any(value is None for value in values):
        return None
    x, y, width, height = (int(value) for value in values if value is not None)
    return x, y, width, height

"""Slides through tiffslide: for TIFFs whose packing OpenSlide does not know (JPEG 2000, WebP, JPEG XL ...)."""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from w2wpath.errors import SlideError
from w2wpath.slides.base import DAMAGED, LevelReader, RegionBlocks
from w2wpath.slides.contract import Blocks
from w2wpath.slides.scale import scale
from w2wpath.slides.source_reader import scanned_bounds
from w2wpath.slides.source_tiles import SourceBlocks, SourceFile, TiledPage, tiled_page


class TiffSlideReader(LevelReader):
    """A slide that tiffslide reads; safe to use from several threads."""

    def __init__(self, path: Path, slide_mpp: float | None) -> None:
        super().__init__(path, slide_mpp)
        try:
            handle, properties = _open(path)
        except Exception as error:
            raise SlideError(f"{path}: not a readable slide ({error}). Check that the file is whole.") from error
        # a forked process moves the position of a file that it shares, so each process has its own handle
        self._handles = {os.getpid(): handle}
        self._file: SourceFile | None = None
        try:
            series = handle.ts_tifffile.series[properties["tiffslide.series-index"]]
            _check_pixels(path, series)
            self._state_levels(tuple((int(w), int(h)) for w, h in handle.level_dimensions))
            self._pages = [_page(level) for level in series.levels[: len(self.level_sizes)]]
            self._vendor = properties.get("tiffslide.vendor") or "generic-tiff"
            header = (properties.get("tiffslide.mpp-x"), properties.get("tiffslide.mpp-y"))
            self.mpp, self.mpp_from = scale(path, slide_mpp, header=header)
        except BaseException:
            self._release()
            raise
        if self._vendor == "generic-tiff" and self._pages[0] is not None:
            self.bounds0 = scanned_bounds(self._pages[0])

    def _handle(self) -> Any:
        process = os.getpid()
        handle = self._handles.get(process)
        return self._handles.setdefault(process, _open(self.path)[0]) if handle is None else handle

    def _make_blocks(self, level: int) -> Blocks:
        page = self._pages[level]
        if page is None or page.packing is None or self._vendor not in ("aperio", "generic-tiff"):
            return RegionBlocks(self, level, page.packing_name if page else f"read by tiffslide only ({self._vendor})")
        self._file = self._file or SourceFile(self.path)
        return SourceBlocks(self.path, level, page, self._file, self.background)

    def _read_level(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        factor = self.downsamples[level]
        corner0 = (_first_at(left, factor), _first_at(top, factor))
        try:
            found = self._handle().read_region(corner0, level, (width, height), as_array=True, padding=False)
            if found.shape[:2] != (height, width):
                raise ValueError(f"{found.shape[1]} x {found.shape[0]} px came back")
        except Exception as error:
            raise SlideError(
                f"{self.path}: pixels at x0={corner0[0]}, y0={corner0[1]} cannot be decoded ({error}). {DAMAGED}"
            ) from error
        rgb = np.array(found[..., :3] if found.shape[2] >= 3 else np.repeat(found[..., :1], 3, axis=2))
        if found.shape[2] == 4:
            _blend(rgb, found[..., 3:], self.background)
        self._clear_unscanned(rgb, self._pages[level], left, top)
        return rgb

    def _clear_unscanned(self, rgb: NDArray[np.uint8], page: TiledPage | None, left: int, top: int) -> None:
        """Paint the tiles that are not in the file, which tiffslide leaves black, with the background."""
        if page is None or (scanned := page.scanned()).all():
            return
        rows = (top + np.arange(rgb.shape[0])) // page.tile[1]
        columns = (left + np.arange(rgb.shape[1])) // page.tile[0]
        rgb[~scanned[np.ix_(rows, columns)]] = self.background

    def _release(self) -> None:
        handle = self._handles.pop(os.getpid(), None)
        if handle is not None:
            handle.close()
        self._file = None


def _open(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return a handle and its properties."""
    import tiffslide  # brings zarr with it

    handle = tiffslide.TiffSlide(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "hamamatsu metadata parsing only partially implemented"
            return handle, handle.properties
    except BaseException:
        handle.close()
        raise


def _first_at(place: int, factor: float) -> int:
    """Return the first level-0 pixel that tiffslide, which truncates, takes to `place` of a level."""
    found = math.ceil(place * factor)
    while int(found / factor) < place:
        found += 1
    return found


def _page(level: Any) -> TiledPage | None:
    page = level.pages[0]
    return tiled_page(page.aspage() if page is not None else level.keyframe)


def _check_pixels(path: Path, series: Any) -> None:
    if series.dtype != np.uint8:
        raise SlideError(
            f"{path}: its pixels are {series.dtype}, not 8-bit colours. Export it as RGB, 8 bits a channel."
        )
    axes = series.axes
    samples = series.shape[axes.index("S")] if "S" in axes else series.shape[axes.index("C")] if "C" in axes else 1
    if axes not in ("YXS", "CYX", "YX") or samples not in (1, 3, 4):
        raise SlideError(f"{path}: its axes are {axes} with {samples} channels, not one RGB image. Export it as RGB.")
    compression = series.keyframe.compression
    if int(compression) not in tifffile.TIFF.DECOMPRESSORS:
        raise SlideError(f"{path}: its tiles are of TIFF compression {int(compression)}, which nothing here decodes.")


def _blend(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], background: tuple[int, int, int]) -> None:
    weight = alpha.astype(np.float32) / 255
    rgb[:] = np.rint(rgb * weight + np.asarray(background, dtype=np.float32) * (1 - weight))

"""Tiled JPEG TIFF and SVS without a slide library: tifffile finds the tiles, imagecodecs decodes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import SlideError
from w2wpath.slides.base import LevelReader
from w2wpath.slides.contract import Blocks
from w2wpath.slides.scale import Pair, in_um, scale, unit_name
from w2wpath.slides.source_tiles import SourceBlocks, SourceFile, TiledPage, tiled_tiff


class SourceReader(LevelReader):
    """A slide composed of the tiles in its file, exact at every level; safe to use from several threads."""

    def __init__(self, path: Path, slide_mpp: float | None) -> None:
        super().__init__(path, slide_mpp)
        try:
            tiff = tiled_tiff(path)
        except Exception as error:
            raise SlideError(f"{path}: not a readable tiled TIFF ({error}). Check that the file is whole.") from error
        self._levels = tiff.levels
        self._file: SourceFile | None = SourceFile(path)
        self._state_levels(tuple(level.size for level in tiff.levels))
        aperio = tiff.description.startswith("Aperio")
        if not aperio:
            self.bounds0 = scanned_bounds(tiff.levels[0])
        unit = unit_name(tiff.unit)
        # in a generic TIFF the resolution is the header's scale; OpenSlide reports it as such, so all readers do
        header = _aperio_mpp(tiff.description) if aperio else in_um(tiff.resolution, unit)
        self.mpp, self.mpp_from = scale(path, slide_mpp, header=header, tiff=tiff.resolution, unit=unit)
        for level in range(len(tiff.levels)):
            self.blocks(level)  # refuses tiles that it does not decode

    def _make_blocks(self, level: int) -> Blocks:
        if self._file is None:
            raise SlideError(f"{self.path}: is closed. Open it again to read it.")
        return SourceBlocks(self.path, level, self._levels[level], self._file, self.background)

    def _read_level(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        return compose(self.blocks(level), left, top, width, height)

    def _release(self) -> None:
        self._file = None


def compose(blocks: Blocks, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return a box of a level, all of it inside, put together from the blocks that it meets."""
    out = np.empty((height, width, 3), dtype=np.uint8)
    block_width, block_height = blocks.block_width, blocks.block_height
    for row in range(top // block_height, -(-(top + height) // block_height)):
        for column in range(left // block_width, -(-(left + width) // block_width)):
            x, y = column * block_width - left, row * block_height - top
            block = blocks.decode(column, row)[max(-y, 0) : height - y, max(-x, 0) : width - x]
            out[max(y, 0) : max(y, 0) + block.shape[0], max(x, 0) : max(x, 0) + block.shape[1]] = block
    return out


def scanned_bounds(page: TiledPage) -> tuple[int, int, int, int] | None:
    """Return the box (x, y, width, height) around the tiles that are in the file; None where it is the whole page.

    OpenSlide states such bounds for a generic TIFF, and QuPath crops to them.
    """
    scanned = page.scanned()
    if not scanned.any():
        return None
    rows, columns = np.flatnonzero(scanned.any(axis=1)), np.flatnonzero(scanned.any(axis=0))
    left, top = int(columns[0]) * page.tile[0], int(rows[0]) * page.tile[1]
    right = min(int(columns[-1] + 1) * page.tile[0], page.size[0])
    bottom = min(int(rows[-1] + 1) * page.tile[1], page.size[1])
    box = (left, top, right - left, bottom - top)
    return None if box == (0, 0, *page.size) else box


def _aperio_mpp(description: str) -> Pair:
    fields = dict(part.split("=", 1) for part in description.split("|") if "=" in part)
    found = {name.strip(): value.strip().replace(",", ".") for name, value in fields.items()}.get("MPP")
    return found, found

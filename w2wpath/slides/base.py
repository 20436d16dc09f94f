"""What all readers of slides share: the frame, the background, thumbnails, and blocks cut as regions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import SlideError
from w2wpath.slides.contract import Blocks

WHITE = (255, 255, 255)
THUMBNAIL_BLOCK_PX = 4096
THUMBNAIL_PIECE_PX = 512
"""Where a block of a thumbnail is damaged, pieces of this size are tried, so that the loss stays small."""
COARSER = 1.7
"""A thumbnail may be this many times smaller than asked for, where a finer level would cost much more."""
REGION_PX = 512
DAMAGED = "The file is damaged there; scan or copy it again."


class BaseSlide(ABC):
    """A slide whose subclass states its facts and reads pixels; see the contract for what the names mean."""

    background: tuple[int, int, int] = WHITE
    mpp: float | None = None
    mpp_from: str = "unknown"
    bounds0: tuple[int, int, int, int] | None = None

    def __init__(self, path: Path, slide_mpp: float | None) -> None:
        self.path = path
        self._slide_mpp = slide_mpp
        self._closed = False
        self._blocks: dict[int, Blocks] = {}
        self.damaged0: set[tuple[int, int, int, int]] = set()

    def _state_levels(self, sizes: tuple[tuple[int, int], ...], downsamples: tuple[float, ...] | None = None) -> None:
        width0, height0 = sizes[0]
        self.width0, self.height0, self.level_sizes = width0, height0, sizes
        self.downsamples = downsamples or tuple((width0 / w + height0 / h) / 2 for w, h in sizes)

    @abstractmethod
    def _read(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return RGB of a level that exists, on the background."""

    @abstractmethod
    def _make_blocks(self, level: int) -> Blocks:
        """Return a level that exists as a grid of blocks."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the file."""

    def read_rgb(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return ``(height, width, 3)`` RGB of `level` from level-0 corner (x0, y0); background outside the scan."""
        self._check(level)
        return self._read(x0, y0, level, width, height)

    def blocks(self, level: int) -> Blocks:
        """Return a level as a grid of blocks."""
        self._check(level)
        if level not in self._blocks:
            self._blocks[level] = self._make_blocks(level)
        return self._blocks[level]

    def _check(self, level: int) -> None:
        if self._closed:
            raise SlideError(f"{self.path}: is closed. Open it again to read it.")
        if not 0 <= level < len(self.downsamples):
            raise SlideError(f"{self.path}: has no level {level}; its levels are 0 to {len(self.downsamples) - 1}.")

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """Return the whole slide as ``(h, w, 3)`` RGB whose longer side is at most `max_px`.

        It may be smaller by a factor of up to 1.7, where the level of that size spares reading a much finer one.
        What is damaged shows as background, unless nothing can be read at all.
        """
        factor = max(1.0, max(self.width0, self.height0) / max_px)
        fit = [level for level, down in enumerate(self.downsamples) if down <= factor * COARSER]
        level = max(fit, default=0)
        wanted = (max(1, int(self.width0 / factor)), max(1, int(self.height0 / factor)))
        width, height = self.level_sizes[level]
        size = (min(wanted[0], width), min(wanted[1], height))
        return np.asarray(self._shrunk(level, size).resize(size, Image.Resampling.BOX))

    def _shrunk(self, level: int, size: tuple[int, int]) -> Image.Image:
        """Read a whole level block by block, each shrunk on arrival, so that memory stays flat on huge levels."""
        width, height = self.level_sizes[level]
        shrink = max(1, min(width // size[0], height // size[1]))
        side = max(1, THUMBNAIL_BLOCK_PX // shrink) * shrink
        canvas = Image.new("RGB", (-(-width // shrink), -(-height // shrink)))
        readable, fault = False, None
        for top in range(0, height, side):
            for left in range(0, width, side):
                box = (left, top, min(side, width - left), min(side, height - top))
                try:
                    block = self._read_box(level, *box)
                    readable = True
                except SlideError as error:
                    fault = fault or error
                    block, found = self._salvage(level, *box)
                    readable = readable or found
                canvas.paste(Image.fromarray(block).reduce(shrink), (left // shrink, top // shrink))
        if fault is not None and not readable:
            raise fault
        return canvas

    def _salvage(self, level: int, left: int, top: int, width: int, height: int) -> tuple[NDArray[np.uint8], bool]:
        """Return what can be read of a damaged block, and whether anything can."""
        block, found = self._canvas(width, height), False
        for y in range(0, height, THUMBNAIL_PIECE_PX):
            for x in range(0, width, THUMBNAIL_PIECE_PX):
                piece = block[y : y + THUMBNAIL_PIECE_PX, x : x + THUMBNAIL_PIECE_PX]
                try:
                    piece[:] = self._read_box(level, left + x, top + y, piece.shape[1], piece.shape[0])
                    found = True
                except SlideError:
                    factor = self.downsamples[level]
                    box = (left + x, top + y, piece.shape[1], piece.shape[0])
                    self.damaged0.add(tuple(round(value * factor) for value in box))  # type: ignore[arg-type] # four
        return block, found

    def _read_box(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a box given in pixels of its level."""
        factor = self.downsamples[level]
        return self.read_rgb(round(left * factor), round(top * factor), level, width, height)

    def _canvas(self, width: int, height: int) -> NDArray[np.uint8]:
        canvas = np.empty((height, width, 3), dtype=np.uint8)
        canvas[:] = self.background
        return canvas

    def close(self) -> None:
        """Release the file."""
        self._closed = True
        self._blocks.clear()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # a slide that travels to another process is opened again there
        return type(self), (self.path, self._slide_mpp)


class LevelReader(BaseSlide):
    """A slide whose subclass reads boxes that lie wholly inside a level; the rest is background.

    A level-0 corner that falls between two pixels of a level goes to the nearest one.
    """

    @abstractmethod
    def _read_level(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return RGB of a box in pixels of its level, all of it inside."""

    def _read(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        factor = self.downsamples[level]
        left, top = math.floor(x0 / factor + 0.5), math.floor(y0 / factor + 0.5)
        right, bottom = (min(a, b) for a, b in zip(self.level_sizes[level], (left + width, top + height), strict=True))
        inner_left, inner_top = max(left, 0), max(top, 0)
        canvas = self._canvas(width, height)
        if right > inner_left and bottom > inner_top:
            inside = canvas[inner_top - top : bottom - top, inner_left - left : right - left]
            inside[:] = self._read_level(level, inner_left, inner_top, right - inner_left, bottom - inner_top)
        return canvas


class Grid:
    """A level of `width` x `height` pixels in blocks; row and column count from the top left."""

    def __init__(self, path: Path, level: int, size: tuple[int, int], block: tuple[int, int]) -> None:
        self.path, self.level = path, level
        self.width, self.height = size
        self.block_width, self.block_height = block
        self.columns, self.rows = -(-self.width // self.block_width), -(-self.height // self.block_height)

    def _box(self, column: int, row: int) -> tuple[int, int, int, int]:
        """Return left, top, width and height of a block in pixels of the level, cut at its edges."""
        if not (0 <= column < self.columns and 0 <= row < self.rows):
            raise SlideError(
                f"{self.path}: level {self.level} has no block ({column}, {row}); "
                f"it has {self.columns} columns and {self.rows} rows."
            )
        left, top = column * self.block_width, row * self.block_height
        return left, top, min(self.block_width, self.width - left), min(self.block_height, self.height - top)

    def _fault(self, column: int, row: int, why: object) -> SlideError:
        return SlideError(
            f"{self.path}: level {self.level}, block ({column}, {row}) cannot be decoded ({why}). {DAMAGED}"
        )


class RegionBlocks(Grid):
    """A level whose source tiles are out of reach: blocks are regions that the slide reads."""

    def __init__(self, slide: BaseSlide, level: int, packing: str, block: tuple[int, int] = (REGION_PX,) * 2) -> None:
        super().__init__(slide.path, level, slide.level_sizes[level], block)
        self._slide = slide
        self._packing = packing

    def decode(self, column: int, row: int) -> NDArray[np.uint8]:
        """Return a block ``(h, w, 3)`` RGB, cut at the level's edges."""
        left, top, width, height = self._box(column, row)
        try:
            return self._slide._read_box(self.level, left, top, width, height)
        except SlideError as error:
            raise self._fault(column, row, error.__cause__ or error) from error

    def jpeg(self, column: int, row: int) -> bytes:
        """Refuse: there is no JPEG of its own to hand out."""
        raise no_jpeg(self.path, self._packing)


def no_jpeg(path: Path, packing: str) -> SlideError:
    """Return the error for a slide whose tiles, packed as named, are no JPEG files of their own."""
    return SlideError(
        f"{path}: its tiles are {packing}; the codec `source` needs JPEG tiles. Take --codec jpeg or zstd."
    )

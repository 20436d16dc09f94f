"""Cut tiles out of a slide: every block of the right pyramid level decoded once, resized once with the one filter."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import ConfigError, SlideError
from w2wpath.frames import Scale, source_level
from w2wpath.slides.contract import Blocks, Slide

RESAMPLE = "lanczos3"
"""The one antialiasing filter of every resize (Pillow's LANCZOS), recorded in stores and models."""
WINDOW = 64
"""Tiles whose blocks are fetched ahead together."""
PER_TASK = 8
"""Tiles or blocks of one task: fewer cost time for handing over, more leave threads idle at the end of a window."""
CACHE_BYTES = 192 << 20
"""Decoded blocks kept at most, beyond those that the tiles in work need."""

Pixels = NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Box:
    """A tile on its level: the whole pixels that hold it, and where it begins in them; sides in level pixels."""

    column: int
    row: int
    width: int
    height: int
    left: float
    top: float
    side: float


def cut(
    slide: Slide,
    x0: NDArray[np.int32],
    y0: NDArray[np.int32],
    scale: Scale,
    *,
    encode: Callable[[Pixels], T] | None = None,
    damaged: Callable[[str], None] | None = None,
    source: bool = False,
    threads: int | None = None,
) -> Iterator[Any]:
    """Yield the tiles ``(tile_px, tile_px, 3)`` uint8 RGB at corners (x0, y0), in order, cut by several threads.

    Parameters
    ----------
    encode
        Called with every tile in the thread that cut it; what it returns is yielded instead.
    damaged
        Told of every block that cannot be decoded; its tiles are then None. Without it, the first one raises.
    source
        Yield the scanner's own JPEG of every tile, as a complete file; each tile must be a block of the level.
    threads
        None takes as many as there are processors.

    Raises
    ------
    SlideError
        Some of the pixels cannot be decoded, and `damaged` is not given.
    """
    level = source_level(slide.downsamples, scale.side0, scale.tile_px)
    work = _Work(slide, level, scale, encode, damaged)
    boxes = [_box(x, y, slide.downsamples[level], scale) for x, y in zip(x0.tolist(), y0.tolist(), strict=True)]
    if source:
        yield from work.sources(boxes)
        return
    windows = [boxes[i : i + WINDOW] for i in range(0, len(boxes), WINDOW)]
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        cache = _Cache(work.blocks, windows, pool)
        waiting: deque[list[Future[list[Any]]]] = deque()
        try:
            for number, window in enumerate(windows):
                held = cache.fetch(number)
                waiting.append(
                    [pool.submit(work.tiles, window[i : i + PER_TASK], held) for i in range(0, len(window), PER_TASK)]
                )
                # one window is cut while the blocks of the next are decoded
                if len(waiting) > 1:
                    yield from _results(waiting.popleft())
            while waiting:
                yield from _results(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _results(tasks: list[Future[list[Any]]]) -> Iterator[Any]:
    for task in tasks:
        yield from task.result()


def _box(x0: int, y0: int, factor: float, scale: Scale) -> _Box:
    left, top, side = x0 / factor, y0 / factor, scale.side0 / factor
    column, row = math.floor(left + 1e-9), math.floor(top + 1e-9)
    width, height = math.ceil(left + side - 1e-9) - column, math.ceil(top + side - 1e-9) - row
    # the division may fall short of a whole pixel by a last bit
    return _Box(column, row, width, height, max(0.0, left - column), max(0.0, top - row), side)


Held = dict[tuple[int, int], "Future[dict[tuple[int, int], Pixels | SlideError]]"]


class _Cache:
    """Blocks in work or decoded. Each is decoded once, unless so many wait for a later tile that memory would grow."""

    def __init__(self, blocks: Blocks, windows: list[list[_Box]], pool: ThreadPoolExecutor) -> None:
        self._blocks, self._pool = blocks, pool
        self._needs = [sorted({place for box in window for place in covered(blocks, box)}) for window in windows]
        # lists: a deque takes 760 bytes, and a slide has 100,000 blocks
        self._uses: dict[tuple[int, int], list[int]] = {}
        for number, places in enumerate(self._needs):
            for place in places:
                self._uses.setdefault(place, []).append(number)
        self._held: Held = {}
        self._most = max(1, CACHE_BYTES // (3 * blocks.block_width * blocks.block_height))

    def fetch(self, number: int) -> Held:
        """Begin to decode what window `number` needs and has not; return all it needs; drop what no later one does."""
        places = self._needs[number]
        new = [place for place in places if place not in self._held]
        for i in range(0, len(new), PER_TASK):
            part = new[i : i + PER_TASK]
            task = self._pool.submit(self._decode, part)
            self._held.update(dict.fromkeys(part, task))
        held = {place: self._held[place] for place in places}
        for place in places:
            uses = self._uses[place]
            del uses[0]
            if not uses:
                del self._held[place]
        if len(self._held) > self._most:
            # what is needed last is given up first
            for place in sorted(self._held, key=lambda place: self._uses[place][0])[self._most :]:
                del self._held[place]
        return held

    def _decode(self, places: list[tuple[int, int]]) -> dict[tuple[int, int], Pixels | SlideError]:
        found: dict[tuple[int, int], Pixels | SlideError] = {}
        for column, row in places:
            try:
                found[column, row] = self._blocks.decode(column, row)
            except SlideError as error:
                found[column, row] = error
        return found


def refuse_source(slide: Slide, x0: NDArray[np.int32], y0: NDArray[np.int32], scale: Scale) -> None:
    """Refuse the codec `source` where a tile is not exactly one whole block of its level.

    Raises
    ------
    ConfigError
        Says which of size, scale or grid does not fit, and what would.
    """
    level = source_level(slide.downsamples, scale.side0, scale.tile_px)
    blocks, factor = slide.blocks(level), slide.downsamples[level]
    size = (blocks.block_width, blocks.block_height)
    fits = size == (scale.tile_px, scale.tile_px) and scale.side0 == scale.tile_px * factor
    whole = (x0 % scale.side0 == 0).all() and (y0 % scale.side0 == 0).all()
    if not (fits and whole):
        raise ConfigError(
            f"{slide.path}: --codec source keeps the scanner's own tiles of {size[0]} x {size[1]} px, and tiles of "
            f"{scale.tile_px} px of {scale.side0} level-0 pixels are not these. Take --tile-px {size[0]}, --mpp "
            f"{(slide.mpp or scale.mpp) * factor:g}, --anchor slide and no --stride, or --codec jpeg or zstd."
        )


def covered(blocks: Blocks, box: _Box) -> list[tuple[int, int]]:
    """Return (column, row) of the blocks that a box of level pixels meets."""
    wide, high = blocks.block_width, blocks.block_height
    right, bottom = min(box.column + box.width, blocks.width), min(box.row + box.height, blocks.height)
    return [
        (column, row)
        for row in range(max(box.row, 0) // high, -(-bottom // high))
        for column in range(max(box.column, 0) // wide, -(-right // wide))
    ]


class _Work:
    """What a thread does with a tile once its blocks are decoded."""

    def __init__(
        self,
        slide: Slide,
        level: int,
        scale: Scale,
        encode: Callable[[Pixels], Any] | None,
        damaged: Callable[[str], None] | None,
    ) -> None:
        self.blocks = slide.blocks(level)
        self._background = slide.background
        self._tile_px = scale.tile_px
        self._encode, self._damaged = encode, damaged

    def sources(self, boxes: list[_Box]) -> Iterator[bytes | None]:
        """Yield the JPEG that the scanner wrote of each tile; None for one that cannot be read."""
        for box in boxes:
            try:
                yield self.blocks.jpeg(box.column // self.blocks.block_width, box.row // self.blocks.block_height)
            except SlideError as error:
                if self._damaged is None:
                    raise
                self._damaged(str(error))
                yield None

    def tiles(self, boxes: list[_Box], held: Held) -> list[Any]:
        """Return tiles, encoded if so wished; None for one on a block that cannot be decoded."""
        return [self._tile(box, held) for box in boxes]

    def _tile(self, box: _Box, held: Held) -> Any:
        pixels = self._assembled(box, held)
        if pixels is None:
            return None
        px = self._tile_px
        if not (box.width == box.height == px == box.side):
            within = (box.left, box.top, min(box.left + box.side, box.width), min(box.top + box.side, box.height))
            image = Image.fromarray(pixels).resize((px, px), Image.Resampling.LANCZOS, box=within)
            pixels = np.asarray(image)
        return pixels if self._encode is None else self._encode(pixels)

    def _assembled(self, box: _Box, held: Held) -> Pixels | None:
        """Return the pixels of a box out of its blocks, background where the level has none."""
        wide, high = self.blocks.block_width, self.blocks.block_height
        patch: Pixels = np.empty((box.height, box.width, 3), dtype=np.uint8)
        if box.column < 0 or box.row < 0 or self._beyond(box):
            patch[:] = self._background
        whole = True
        for place in covered(self.blocks, box):
            block = held[place].result()[place]
            if isinstance(block, SlideError):
                if self._damaged is None:
                    raise block
                self._damaged(str(block))
                whole = False
                continue
            left, top = place[0] * wide - box.column, place[1] * high - box.row
            from_x, from_y = max(0, -left), max(0, -top)
            part = block[from_y : box.height - top, from_x : box.width - left]
            height, width = part.shape[:2]
            patch[top + from_y : top + from_y + height, left + from_x : left + from_x + width] = part
        return patch if whole else None

    def _beyond(self, box: _Box) -> bool:
        return box.column + box.width > self.blocks.width or box.row + box.height > self.blocks.height

"""Picture tiles of a slide for a viewer: cut from the slide one by one, or all of a small pyramid to carry along.

Zoom 0 shows one level-0 pixel as one pixel of the screen, zoom -1 two by two of them, and so on. The tile (column, row)
of a zoom covers TILE_PX pixels from ``column * TILE_PX, row * TILE_PX`` of that zoom; the slide's corner is (0, 0).
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import SlideError
from w2wpath.slides.contract import Slide

TILE_PX = 256
LARGEST_PX = 6144
"""Longer side of the largest picture that a page carries."""
SMALLEST_PX = 1024
"""Longer side from which on quality is lowered rather than size."""
SHARPNESS = (1.0, 0.75)
"""Share of its pixels that the finest zoom keeps; the next step is a zoom less."""
QUALITY = 80
LOWER_QUALITIES = (65, 50, 35)
SERVED_QUALITY = 90
MOST_SHRINK = 16
"""Pixels of a level, along a side, that one pixel of a tile may need at once."""

Key = tuple[int, int, int]
"""Zoom, column and row of a tile."""


@dataclass(frozen=True)
class Pyramid:
    """JPEG tiles of every zoom from `min_zoom`, where one tile holds the whole slide, to `max_zoom`."""

    min_zoom: int
    max_zoom: int
    tiles: dict[Key, bytes]
    side_px: int
    """Pixels along the longer side of the finest picture."""
    quality: int

    @property
    def size(self) -> int:
        """Bytes of all tiles."""
        return sum(map(len, self.tiles.values()))


def min_zoom(width0: int, height0: int) -> int:
    """Return the zoom at which one tile holds the whole slide; 0 where level 0 does."""
    return -max(0, math.ceil(math.log2(max(width0, height0, 1) / TILE_PX)))


def tile_counts(width0: int, height0: int, zoom: int) -> tuple[int, int]:
    """Return columns and rows of tiles at `zoom` (0 or less)."""
    side0 = TILE_PX << -zoom
    return -(-width0 // side0), -(-height0 // side0)


def cut_tile(slide: Slide, zoom: int, column: int, row: int) -> NDArray[np.uint8]:
    """Return a tile (h, w, 3) uint8 RGB at `zoom` (0 or less), smaller than TILE_PX where the slide ends.

    Raises
    ------
    SlideError
        The pixels cannot be decoded, or there is no such tile.
    """
    columns, rows = tile_counts(slide.width0, slide.height0, zoom)
    if not (0 <= column < columns and 0 <= row < rows):
        raise SlideError(f"{slide.path}: has no tile {column}, {row} at zoom {zoom}; it has {columns} x {rows}.")
    factor = 1 << -zoom
    x0, y0 = column * TILE_PX * factor, row * TILE_PX * factor
    width = min(TILE_PX, -(-(slide.width0 - x0) // factor))
    height = min(TILE_PX, -(-(slide.height0 - y0) // factor))
    fit = [level for level, down in enumerate(slide.downsamples) if down <= factor * (1 + 1e-3)]
    level = max(fit, key=lambda one: slide.downsamples[one], default=0)
    down = slide.downsamples[level]
    if factor / down > MOST_SHRINK:
        return _of_four(slide, zoom, column, row, width, height)
    read = slide.read_rgb(x0, y0, level, max(1, round(width * factor / down)), max(1, round(height * factor / down)))
    if read.shape[:2] == (height, width):
        return read
    return np.asarray(Image.fromarray(read).resize((width, height), Image.Resampling.BOX))


def _of_four(slide: Slide, zoom: int, column: int, row: int, width: int, height: int) -> NDArray[np.uint8]:
    """Halve the four tiles of the next zoom, so that memory stays flat where a slide has no coarse level."""
    columns, rows = tile_counts(slide.width0, slide.height0, zoom + 1)
    canvas = Image.new("RGB", (2 * width, 2 * height), slide.background)
    for down, right in product((0, 1), (0, 1)):
        at = (2 * column + right, 2 * row + down)
        if at[0] < columns and at[1] < rows:
            canvas.paste(Image.fromarray(cut_tile(slide, zoom + 1, *at)), (right * TILE_PX, down * TILE_PX))
    return np.asarray(canvas.reduce(2))


def jpeg(rgb: NDArray[np.uint8] | Image.Image, quality: int) -> bytes:
    """Return pixels (h, w, 3) uint8 RGB as a JPEG file."""
    image = rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)
    buffer = io.BytesIO()
    # half the colour is lost in the picture of a slide only where the file must be small
    image.save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= SERVED_QUALITY else 2, optimize=True)
    return buffer.getvalue()


def embed(slide: Slide, budget: int, *, largest_px: int = LARGEST_PX) -> Pyramid:
    """Return the largest and best pyramid of at most `budget` bytes: size is given up first, then quality.

    The smallest that is tried is returned whatever its size. What cannot be decoded shows the slide's background.
    """
    bottom = min_zoom(slide.width0, slide.height0)
    top = min(0, max(bottom, -math.ceil(math.log2(max(slide.width0, slide.height0) / largest_px))))
    pictures = _pictures(slide, top, bottom)
    made: Pyramid | None = None
    for zoom, share, quality in _plans(slide, top, bottom):
        # the pixels of a plan are about known beforehand; encoding what is hopeless is spared
        if made is not None and made.size > 3 * budget and made.max_zoom == zoom and made.quality == quality:
            continue
        made = _encoded(pictures, zoom, bottom, share, quality)
        if made.size <= budget:
            break
    assert made is not None  # there is always a plan
    return made


def _plans(slide: Slide, top: int, bottom: int) -> Iterator[tuple[int, float, int]]:
    """Give (finest zoom, share of its pixels, quality), best first."""
    longer = max(slide.width0, slide.height0)
    large = [zoom for zoom in range(top, bottom - 1, -1) if zoom == top or longer / (1 << -zoom) >= SMALLEST_PX]
    yield from ((zoom, share, QUALITY) for zoom, share in product(large, SHARPNESS))
    least = SHARPNESS[-1]
    yield from ((large[-1], least, quality) for quality in LOWER_QUALITIES)
    yield from ((zoom, least, LOWER_QUALITIES[-1]) for zoom in range(large[-1] - 1, bottom - 1, -1))


def _pictures(slide: Slide, top: int, bottom: int) -> dict[int, Image.Image]:
    """Return the slide at every zoom, the finest cut from the slide, each coarser one halved."""
    factor = 1 << -top
    finest = Image.new("RGB", (-(-slide.width0 // factor), -(-slide.height0 // factor)), slide.background)
    columns, rows = tile_counts(slide.width0, slide.height0, top)
    fault, read = None, False
    for row, column in product(range(rows), range(columns)):
        try:
            tile = cut_tile(slide, top, column, row)
        except SlideError as error:
            fault = error
            continue
        read = True
        finest.paste(Image.fromarray(tile), (column * TILE_PX, row * TILE_PX))
    if fault is not None and not read:
        raise fault
    found = {top: finest}
    for zoom in range(top - 1, bottom - 1, -1):
        found[zoom] = found[zoom + 1].reduce(2)
    return found


def _encoded(pictures: dict[int, Image.Image], top: int, bottom: int, share: float, quality: int) -> Pyramid:
    tiles: dict[Key, bytes] = {}
    for zoom in range(top, bottom - 1, -1):
        picture = pictures[zoom]
        for row, column in product(range(-(-picture.height // TILE_PX)), range(-(-picture.width // TILE_PX))):
            left, upper = column * TILE_PX, row * TILE_PX
            right, lower = min(left + TILE_PX, picture.width), min(upper + TILE_PX, picture.height)
            tile = picture.crop((left, upper, right, lower))
            if share < 1 and zoom == top:
                size = (max(1, round(tile.width * share)), max(1, round(tile.height * share)))
                tile = tile.resize(size, Image.Resampling.BOX)
            tiles[zoom, column, row] = jpeg(tile, quality)
    return Pyramid(bottom, top, tiles, round(max(pictures[top].size) * share), quality)

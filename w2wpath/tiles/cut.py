"""Cut tiles out of a slide: from the right pyramid level, resized once with the one declared filter."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.frames import Scale, source_level
from w2wpath.slides.contract import Slide

RESAMPLE = "lanczos3"
"""The one antialiasing filter of every resize (Pillow's LANCZOS), recorded in stores and models."""


def cut(
    slide: Slide, x0: NDArray[np.int32], y0: NDArray[np.int32], scale: Scale, *, threads: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles ``(tile_px, tile_px, 3)`` uint8 RGB at corners (x0, y0), in order, read by several threads.

    Raises
    ------
    SlideError
        Some of the pixels cannot be decoded.
    """
    level = source_level(slide.downsamples, scale.side0, scale.tile_px)
    corners = iter(zip(x0.tolist(), y0.tolist(), strict=True))
    workers = threads or min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        # a bounded window keeps memory flat whatever the number of tiles
        while window := list(islice(corners, 64 * workers)):
            yield from pool.map(lambda corner: cut_one(slide, corner[0], corner[1], level, scale), window)


def cut_one(slide: Slide, x0: int, y0: int, level: int, scale: Scale) -> NDArray[np.uint8]:
    """Return one tile read from `level`; its sub-pixel box at that level is kept by the resize."""
    factor = slide.downsamples[level]
    side = scale.side0 / factor
    left, top = x0 / factor, y0 / factor
    column, row = math.floor(left + 1e-9), math.floor(top + 1e-9)
    width = math.ceil(left + side - 1e-9) - column
    height = math.ceil(top + side - 1e-9) - row
    rgb = slide.read_rgb(round(column * factor), round(row * factor), level, width, height)
    if (width, height) == (scale.tile_px, scale.tile_px) and side == scale.tile_px:
        return rgb
    box = (left - column, top - row, min(left - column + side, width), min(top - row + side, height))
    resized = Image.fromarray(rgb).resize((scale.tile_px, scale.tile_px), Image.Resampling.LANCZOS, box=box)
    return np.asarray(resized)

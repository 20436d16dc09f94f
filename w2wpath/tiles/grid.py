"""The grid of candidate tiles of one slide, in level-0 pixels of the slide frame."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from w2wpath.frames import Scale


def grid(
    scale: Scale,
    *,
    width0: int,
    height0: int,
    within0: tuple[float, float, float, float] | None = None,
    anchor0: tuple[int, int] = (0, 0),
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the corners ``x0, y0`` (n,) int32 of every whole tile on the slide, row by row.

    Parameters
    ----------
    scale
        Side and step of the grid.
    width0, height0
        Size of the slide; a tile that would reach over its edge is not a candidate.
    within0
        (min x, min y, max x, max y) that a tile must overlap; None takes the whole slide.
    anchor0
        A grid node; the grid extends from it in every direction.
    """
    left, top, right, bottom = within0 or (0, 0, width0, height0)
    columns = _nodes(left, right, width0, anchor0[0], scale)
    rows = _nodes(top, bottom, height0, anchor0[1], scale)
    y0, x0 = np.meshgrid(rows, columns, indexing="ij")
    return x0.ravel().astype(np.int32), y0.ravel().astype(np.int32)


def _nodes(low: float, high: float, limit: int, anchor: int, scale: Scale) -> NDArray[np.int64]:
    """Return grid nodes k with node + side > low, node < high, and the tile inside [0, limit]."""
    first = max(math.floor((low - scale.side0 - anchor) / scale.step0) + 1, math.ceil(-anchor / scale.step0))
    last = min(math.ceil((high - anchor) / scale.step0) - 1, (limit - scale.side0 - anchor) // scale.step0)
    return anchor + scale.step0 * np.arange(first, max(first, last + 1), dtype=np.int64)

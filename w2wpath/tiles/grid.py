"""The grid of candidate tiles of one slide, in level-0 pixels of the slide frame."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from w2wpath.frames import Scale

Edge = Literal["drop", "pad", "shift"]


def grid(
    scale: Scale,
    *,
    width0: int,
    height0: int,
    within0: tuple[float, float, float, float] | None = None,
    anchor0: tuple[int, int] = (0, 0),
    edge: Edge = "drop",
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the corners ``x0, y0`` (n,) int32 of every candidate tile, row by row; no two are the same.

    Parameters
    ----------
    scale
        Side and step of the grid.
    width0, height0
        Size of the slide.
    within0
        (min x, min y, max x, max y) that a tile must overlap; None takes the whole slide.
    anchor0
        A grid node; the grid extends from it in every direction.
    edge
        What becomes of a tile that reaches over the slide's edge: ``drop`` it, keep it as it is to ``pad`` it,
        or ``shift`` it inward until it ends at the edge. A slide smaller than a tile has none to shift.
    """
    left, top, right, bottom = within0 or (0, 0, width0, height0)
    columns = _nodes(left, right, width0, anchor0[0], scale, edge)
    rows = _nodes(top, bottom, height0, anchor0[1], scale, edge)
    y0, x0 = np.meshgrid(rows, columns, indexing="ij")
    return x0.ravel().astype(np.int32), y0.ravel().astype(np.int32)


def valid_share(
    x0: NDArray[np.int32], y0: NDArray[np.int32], side0: int, *, width0: int, height0: int
) -> NDArray[np.float32]:
    """Return the share (n,) float32 of each tile that lies on the slide."""
    across, down = (
        np.minimum(corner.astype(np.int64) + side0, size) - np.maximum(corner, 0)
        for corner, size in ((x0, width0), (y0, height0))
    )
    return np.asarray((across.clip(0) * down.clip(0) / side0**2).astype(np.float32))


def _nodes(low: float, high: float, limit: int, anchor: int, scale: Scale, edge: Edge) -> NDArray[np.int64]:
    """Return the rising corners of tiles of one axis that overlap (low, high), for a slide of `limit` pixels."""
    side, step = scale.side0, scale.step0
    if edge == "drop" or (edge == "shift" and limit < side):
        first, last = math.ceil(-anchor / step), (limit - side - anchor) // step
    else:  # every node whose tile overlaps the slide
        first, last = (-side - anchor) // step + 1, math.ceil((limit - anchor) / step) - 1
    corners = anchor + step * np.arange(first, max(first, last + 1), dtype=np.int64)
    if edge == "shift":
        corners = np.unique(corners.clip(0, max(0, limit - side)))
    return np.asarray(corners[(corners + side > low) & (corners < high)])

"""What a viewer draws: cells that tile the slide without overlap, each with its probabilities, u, state and reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.frames import um
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Maps

BY_U = REASONS.index("uncertain")
"""The reason that a threshold moves; every later one holds whatever the threshold."""


@dataclass(frozen=True)
class Cells:
    """A grid of squares of `step0` level-0 pixels from the slide's (0, 0), row by row.

    Attributes
    ----------
    averaged
        How many tiles, along one side, a cell is the mean of; 1 where cells are the tiles themselves.
    state, reason
        (n,) uint8 as in :class:`~w2wpath.heatmaps.maps.Maps`.
    probs_nk, u
        (n, k), (n,) float32; NaN where not analysed.
    unread
        (n,) bool: should have been analysed, and cannot be decoded.
    label
        (n,) class that people gave, -1 where none; None where `probs_nk` are a model's.
    """

    classes: tuple[str, ...]
    columns: int
    rows: int
    step0: int
    averaged: int
    state: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    probs_nk: NDArray[np.float32]
    u: NDArray[np.float32]
    unread: NDArray[np.bool_]
    label: NDArray[np.int16] | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class (n,) int64, or the label where there is one; -1 where not analysed."""
        analysed = self.state != NOT_ANALYSED
        best = np.where(analysed[:, None], self.probs_nk, 0.0).argmax(axis=1) if len(self.state) else self.state
        if self.label is not None:
            best = np.where(self.label >= 0, self.label, best)
        return np.where(analysed, best, -1)

    def mm2(self, slide_mpp: float) -> float:
        """Return the area of one cell in mm2."""
        return (um(self.step0, slide_mpp) / 1000) ** 2


def cells_of(maps: Maps) -> Cells:
    """Return the tiles as cells; overlapping tiles become the mean of those that cover each step of the grid.

    A tile counts by the share of the cell that it covers. A mean cell is uncertain where its mean u is above the
    threshold, or where tiles of at least half its weight are uncertain for one reason that is not u.
    """
    rows, columns = maps.grid_shape
    times = max(1, math.ceil(maps.side0 / maps.step0))
    if times == 1 or not len(maps.x0):
        shape = (columns if rows else 0, rows, maps.step0, 1)
        return Cells(maps.classes, *shape, maps.state, maps.reason, maps.probs_nk, maps.u, maps.unread)
    # what a tile covers of its own cell, the next one, and so on, along one side
    cover = (maps.side0 / maps.step0 - np.arange(times)).clip(0, 1)
    inside = (maps.height0 // maps.step0, maps.width0 // maps.step0)
    analysed = (maps.state != NOT_ANALYSED).reshape(rows, columns)

    def spread(values: NDArray[Any]) -> NDArray[np.float64]:
        grid = np.where(analysed, values.reshape(rows, columns), 0).astype(np.float64)
        return _spread(grid, cover)[: inside[0], : inside[1]]

    weight = spread(np.ones(len(maps.x0)))
    seen, some = weight > 0, np.maximum(weight, 1e-9)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(seen, spread(values) / some, np.nan).astype(np.float32).ravel()

    u = mean(maps.u)
    reason = np.where(u > maps.threshold, BY_U, 0).astype(np.uint8)
    for code in range(BY_U + 1, len(REASONS)):
        reason[(spread(maps.reason == code) / some).ravel() >= 0.5] = code
    state = np.where(seen.ravel(), np.where(reason > 0, UNCERTAIN, CONFIDENT), NOT_ANALYSED).astype(np.uint8)
    touched = _spread(maps.unread.reshape(rows, columns).astype(np.float64), cover)[: inside[0], : inside[1]] > 0
    probs = np.column_stack([mean(maps.probs_nk[:, k]) for k in range(len(maps.classes))])
    shape = (weight.shape[1], weight.shape[0], maps.step0, times)
    return Cells(maps.classes, *shape, state, reason, probs, u, (touched & ~seen).ravel())


def _spread(values: NDArray[np.float64], cover: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add each tile's value to the cells that it covers, by what it covers of them; (rows, columns) grows both ways."""
    more = len(cover) - 1
    total = np.zeros((values.shape[0] + more, values.shape[1] + more))
    for down, high in enumerate(cover):
        for right, wide in enumerate(cover):
            total[down : down + values.shape[0], right : right + values.shape[1]] += high * wide * values
    return total

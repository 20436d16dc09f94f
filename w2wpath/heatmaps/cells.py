"""What a viewer draws: cells that tile the slide without overlap, each with its probabilities, u, state and reason."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class (n,) int64; -1 where not analysed."""
        analysed = self.state != NOT_ANALYSED
        best = np.where(analysed[:, None], self.probs_nk, 0.0).argmax(axis=1) if len(self.state) else self.state
        return np.where(analysed, best, -1)

    def mm2(self, slide_mpp: float) -> float:
        """Return the area of one cell in mm2."""
        return (um(self.step0, slide_mpp) / 1000) ** 2


def cells_of(maps: Maps) -> Cells:
    """Return the tiles as cells; overlapping tiles become the mean of the tiles that cover each step of the grid.

    A mean cell is uncertain where its mean u is above the threshold, or where at least half of its tiles are uncertain
    for one reason that is not u.
    """
    rows, columns = maps.grid_shape
    times = max(1, maps.side0 // maps.step0)
    if times == 1 or not len(maps.x0):
        return Cells(
            maps.classes,
            columns if rows else 0,
            rows,
            maps.step0,
            1,
            maps.state,
            maps.reason,
            maps.probs_nk,
            maps.u,
            maps.unread,
        )
    analysed = (maps.state != NOT_ANALYSED).reshape(rows, columns)
    count = _summed(analysed.astype(np.float64), times)
    some = np.maximum(count, 1)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        total = _summed(np.where(analysed, values.reshape(rows, columns), 0.0).astype(np.float64), times)
        return np.where(count > 0, total / some, np.nan).astype(np.float32).ravel()

    u = mean(maps.u)
    reason = np.where(u > maps.threshold, BY_U, 0).astype(np.uint8)
    for code in range(BY_U + 1, len(REASONS)):
        share = _summed((maps.reason == code).reshape(rows, columns).astype(np.float64), times) / some
        reason[share.ravel() >= 0.5] = code
    seen = (count > 0).ravel()
    state = np.where(seen, np.where(reason > 0, UNCERTAIN, CONFIDENT), NOT_ANALYSED).astype(np.uint8)
    unread = (_summed(maps.unread.reshape(rows, columns).astype(np.float64), times) > 0).ravel() & ~seen
    probs = np.column_stack([mean(maps.probs_nk[:, k]) for k in range(len(maps.classes))])
    return Cells(
        maps.classes,
        columns + times - 1,
        rows + times - 1,
        maps.step0,
        times,
        state,
        np.where(seen, reason, 0).astype(np.uint8),
        probs,
        u,
        unread,
    )


def _summed(values: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Sum over the `times` x `times` tiles that cover each cell; (rows, columns) grows by ``times - 1`` both ways."""
    total = np.zeros((values.shape[0] + times - 1, values.shape[1] + times - 1))
    for down in range(times):
        for right in range(times):
            total[down : down + values.shape[0], right : right + values.shape[1]] += values
    return total

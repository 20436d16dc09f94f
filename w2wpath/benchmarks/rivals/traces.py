"""Scores from how a network learns its training tiles: area under the margin, and small loss.

Both are means over all epochs, to the end of the schedule, of what the training forwards said. Their lists remove a
known share of the tiles: neither method says where to cut without one (AUM's own cut needs a class of planted wrong
labels).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.rival import Floats, Mask, Piece, Rival

_LEAST = 1e-12
"""A probability of 0 has no logarithm; float32 softmax gives it."""


def margins(probs_nk: NDArray[np.floating], labels: NDArray[np.integer]) -> Floats:
    """Return the logit of the given label minus the largest other one (n,): of log-probabilities it is the same."""
    logs = np.log(np.maximum(np.asarray(probs_nk, dtype=np.float64), _LEAST))
    rows = np.arange(len(labels))
    given = logs[rows, labels]
    logs[rows, labels] = -np.inf
    return np.asarray(given - logs.max(axis=1))


def losses(probs_nk: NDArray[np.floating], labels: NDArray[np.integer]) -> Floats:
    """Return the cross entropy (n,) of the given labels."""
    given = np.asarray(probs_nk, dtype=np.float64)[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(given, _LEAST)))


def area_under_margin(margin_n: Floats) -> Floats:
    """Return a score (n,), high where the mean margin over epochs is low (Pleiss et al., NeurIPS 2020)."""
    return -margin_n


def without_worst(score_n: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
    """Keep all tiles (n,) but the `count` of the highest score; of equal ones the later go first."""
    kept = np.ones(len(score_n), dtype=np.bool_)
    if count > 0:
        kept[np.argsort(np.asarray(score_n), kind="stable")[-count:]] = False
    return kept


def _pieces(part_n: NDArray[np.intp]) -> list[Piece]:
    everything = np.ones(len(part_n), dtype=np.bool_)
    # without dropout a Wise is the deterministic network, and it tells of its training forwards
    return [Piece("trace", "trace", everything, ~everything, {"dropout_rate": 0.0, "tracker": "ema"})]


def _by_margin(cells: Sequence[Any], labels: NDArray[np.int16], part_n: NDArray[np.intp]) -> tuple[Mask | None, Floats]:
    return None, area_under_margin(cells[0].margin_n)


def _by_loss(cells: Sequence[Any], labels: NDArray[np.int16], part_n: NDArray[np.intp]) -> tuple[Mask | None, Floats]:
    return None, cells[0].loss_n


RIVALS = {
    "aum": Rival(1, _pieces, _by_margin, told_count=True),
    "small-loss": Rival(1, _pieces, _by_loss, told_count=True),
}

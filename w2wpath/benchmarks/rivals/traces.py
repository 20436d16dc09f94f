"""Scores from how a network learns its training tiles: area under the margin, and small loss.

Both are sums over epochs of what the training forwards said. Their lists remove a known share of the tiles: neither
method says where to cut without one (AUM's own cut needs a class of planted wrong labels).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
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

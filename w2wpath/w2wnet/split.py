"""Exact two-means on a line: the global optimum that k-means with K = 2 only searches for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError


@dataclass(frozen=True)
class Split:
    """Two clusters of scores.

    Attributes
    ----------
    low, high
        Centroids; equal when all scores are equal.
    boundary
        Their midpoint: scores above it belong to the high cluster (R17).
    high_n
        (n,) bool, the members of the high cluster.
    """

    low: float
    high: float
    boundary: float
    high_n: NDArray[np.bool_]

    @property
    def delta(self) -> float:
        """Signed, normalised difference of the cluster sizes: (n_low - n_high) / n (R10)."""
        return 1.0 - 2.0 * float(self.high_n.mean())


def two_means(scores_n: NDArray[np.floating]) -> Split:
    """Split scores (n,) into the two clusters with the least total squared distance to their means.

    Sort and prefix sums, O(n log n), deterministic. When all scores are equal the high cluster is empty.

    Raises
    ------
    NonFiniteScoreError
        A score is NaN or infinite.
    ValueError
        There is no score.
    """
    scores = np.asarray(scores_n, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores_n must be a non-empty vector, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise NonFiniteScoreError(f"{int((~np.isfinite(scores)).sum())} of {scores.size} tiles have no finite score.")
    ordered = np.sort(scores)
    if ordered[0] == ordered[-1]:
        value = float(ordered[0])
        return Split(value, value, value, np.zeros(scores.size, dtype=np.bool_))
    # centred, so that the prefix sums below do not lose digits on a common offset
    centre = float(ordered.mean())
    rising = ordered - centre
    n_low = np.arange(1, scores.size)
    sum_low = np.cumsum(rising)[:-1]
    sum_high = rising.sum() - sum_low
    gain = sum_low**2 / n_low + sum_high**2 / (scores.size - n_low)
    # equal scores cannot be told apart, so a cut between them is no cut
    gain[ordered[:-1] == ordered[1:]] = -np.inf
    cut = int(gain.argmax())
    low = centre + float(sum_low[cut] / n_low[cut])
    high = centre + float(sum_high[cut] / (scores.size - n_low[cut]))
    return Split(low, high, (low + high) / 2.0, scores > ordered[cut])

"""The one accumulator behind every uncertainty: predictive, aleatoric, epistemic.

With p_t the softmax of draw t, pbar its mean over T draws and sums over classes:

    aleatoric = mean_t sum_c p_t (1 - p_t)          (Kwon et al. 2018, diagonal; Eq. 3 of the W2WNet paper)
    epistemic = mean_t sum_c p_t^2 - sum_c pbar^2
    u         = aleatoric + epistemic = 1 - ||pbar||^2      exactly, for every T

so memory does not grow with T: a sum of p (n, k) and a sum of ||p||^2 (n,) suffice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError

Floats = NDArray[np.float64]


def gini(probs_nk: NDArray[np.floating]) -> Floats:
    """Return u (n,) = 1 - ||p||^2 of probabilities (n, k): 0 when sure, 1 - 1/k when all classes are equal."""
    wide = np.asarray(probs_nk, dtype=np.float64)
    return np.asarray(1.0 - np.einsum("nk,nk->n", wide, wide))


def brier(probs_nk: NDArray[np.floating], labels_n: NDArray[np.integer]) -> Floats:
    """Return the Brier score (n,) = ||p - e_label||^2 of the given labels (n,) under probabilities (n, k)."""
    wide = np.asarray(probs_nk, dtype=np.float64)
    given = wide[np.arange(len(wide)), labels_n]
    return np.asarray(np.einsum("nk,nk->n", wide, wide) - 2.0 * given + 1.0)


def label_quality(probs_nk: NDArray[np.floating], labels_n: NDArray[np.integer], label_weight: float) -> Floats:
    """Return u + `label_weight` * Brier (n,): high where image or label is doubtful; weight 0 is the paper's u."""
    return np.asarray(gini(probs_nk) + label_weight * brier(probs_nk, labels_n))


def check_probs(probs_nk: NDArray[np.floating], n: int) -> None:
    """Check what a learner returned.

    Raises
    ------
    ValueError
        The shape is not (n, k), or rows do not sum to 1.
    NonFiniteScoreError
        A value is NaN or infinite.
    """
    if probs_nk.ndim != 2 or len(probs_nk) != n:
        raise ValueError(f"probs_nk must be ({n} tiles, classes), got shape {probs_nk.shape}")
    bad = np.flatnonzero(~np.isfinite(probs_nk).all(axis=1))
    if bad.size:
        raise NonFiniteScoreError(
            f"the network gave no finite probabilities for {bad.size} of {n} tiles: its training diverged. "
            "Lower --lr, or use --precision fp32."
        )
    gap = float(np.abs(probs_nk.sum(axis=1) - 1).max(initial=0.0))
    if not gap < 1e-3:
        raise ValueError(f"probs_nk rows must sum to 1 (worst gap {gap:.3g}); apply softmax to logits first")


class MCStats:
    """Running sums over MC draws of n tiles and k classes; constant memory in the number of draws."""

    def __init__(self, n: int, k: int) -> None:
        self.draws = 0
        self._sum_nk: Floats = np.zeros((n, k))
        self._sum_squares_n: Floats = np.zeros(n)

    def add(self, probs_nk: NDArray[np.floating]) -> None:
        """Add one draw (n, k); rows sum to 1."""
        check_probs(probs_nk, len(self._sum_nk))
        wide = np.asarray(probs_nk, dtype=np.float64)
        self._sum_nk += wide
        self._sum_squares_n += np.einsum("nk,nk->n", wide, wide)
        self.draws += 1

    def merge(self, other: MCStats) -> MCStats:
        """Return the statistics of both sets of draws."""
        both = MCStats(*self._sum_nk.shape)
        both._sum_nk = self._sum_nk + other._sum_nk
        both._sum_squares_n = self._sum_squares_n + other._sum_squares_n
        both.draws = self.draws + other.draws
        return both

    @property
    def mean_nk(self) -> Floats:
        """Mean probabilities (n, k)."""
        if self.draws == 0:
            raise ValueError("MCStats holds no draw yet")
        return self._sum_nk / self.draws

    @property
    def u_n(self) -> Floats:
        """Predictive uncertainty (n,) = 1 - ||pbar||^2."""
        return gini(self.mean_nk)

    @property
    def aleatoric_n(self) -> Floats:
        """Part of u (n,) that each draw shows by itself."""
        if self.draws == 0:
            raise ValueError("MCStats holds no draw yet")
        return np.asarray(1.0 - self._sum_squares_n / self.draws)

    @property
    def epistemic_n(self) -> Floats:
        """Part of u (n,) by which the draws disagree."""
        return np.asarray(self.u_n - self.aleatoric_n)


@dataclass
class MovingAverage:
    """Exponential moving average over epochs of what the training forwards said; a tracker that costs nothing.

    The first epochs are weighted so that the average is unbiased from the start (as in Adam).
    """

    decay: float
    epochs: int = 0
    _sum_nk: Floats | None = None

    def add(self, probs_nk: NDArray[np.floating]) -> None:
        """Add the probabilities (n, k) of one epoch."""
        new = (1.0 - self.decay) * np.asarray(probs_nk, dtype=np.float64)
        self._sum_nk = new if self._sum_nk is None else self.decay * self._sum_nk + new
        self.epochs += 1

    @property
    def mean_nk(self) -> Floats:
        """Averaged probabilities (n, k); rows sum to 1."""
        if self._sum_nk is None:
            raise ValueError("MovingAverage holds no epoch yet")
        return np.asarray(self._sum_nk / (1.0 - self.decay**self.epochs))

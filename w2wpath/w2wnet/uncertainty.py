"""The one accumulator behind every uncertainty: predictive, aleatoric, epistemic.

With p_t the softmax of draw t, pbar its mean over T draws and sums over classes:

    aleatoric = mean_t sum_c p_t (1 - p_t)          (Kwon et al. 2018, diagonal; Eq. 3 of the W2WNet paper)
    epistemic = mean_t sum_c p_t^2 - sum_c pbar^2
    u         = aleatoric + epistemic = 1 - ||pbar||^2      exactly, for every T

so memory does not grow with T: a sum of p (n, k) and a sum of ||p||^2 (n,) suffice. The standard error of u needs the
sum of p p^T (n, k, k) too, which is kept on demand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError

Floats = NDArray[np.float64]

ROUNDING = 1e-6
"""How far below 0 a probability may come out of a low-precision network."""


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


def as_if_balanced(probs_nk: NDArray[np.floating], count_k: NDArray[np.integer]) -> Floats:
    """Return what probabilities (n, k) would be if classes were equally frequent: over their frequencies, scaled.

    Saerens, Latinne and Decaestecker, Neural Computation 2002, Eq. 2.4, with even priors. `count_k` (k,) are the tiles
    of each class that were learned from; a class without any stays at 0.
    """
    by_class_nk = np.asarray(probs_nk, dtype=np.float64) * (count_k > 0) / np.maximum(count_k, 1)
    # all of a row can lie on a class that was not there: it then says nothing, and is no NaN
    return np.asarray(by_class_nk / np.maximum(by_class_nk.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def check_probs(probs_nk: NDArray[np.floating], n: int) -> None:
    """Check what a learner returned.

    Raises
    ------
    ValueError
        The shape is not (n, k), a value is negative, or rows do not sum to 1.
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
    lowest = float(probs_nk.min(initial=0.0))
    if lowest < -ROUNDING:
        raise ValueError(f"probs_nk must not be negative (lowest {lowest:.3g}); apply softmax to logits first")
    gap = float(np.abs(probs_nk.sum(axis=1) - 1).max(initial=0.0))
    if not gap < 1e-3:
        raise ValueError(f"probs_nk rows must sum to 1 (worst gap {gap:.3g}); apply softmax to logits first")


class MCStats:
    """Running sums over MC draws of n tiles and k classes; constant memory in the number of draws.

    Parameters
    ----------
    n, k
        Number of tiles and classes.
    covariance
        Keep the sum of outer products (n, k, k) as well, which `standard_error_n` needs.
    """

    def __init__(self, n: int, k: int, *, covariance: bool = False) -> None:
        self.draws = 0
        self._sum_nk: Floats = np.zeros((n, k))
        self._sum_squares_n: Floats = np.zeros(n)
        self._sum_outer_nkk: Floats | None = np.zeros((n, k, k)) if covariance else None

    def add(self, probs_nk: NDArray[np.floating]) -> None:
        """Add one draw (n, k).

        Raises
        ------
        ValueError
            The shape is another, a value is negative, or rows do not sum to 1.
        NonFiniteScoreError
            A value is NaN or infinite.
        """
        check_probs(probs_nk, len(self._sum_nk))
        if probs_nk.shape != self._sum_nk.shape:
            raise ValueError(f"this draw has {probs_nk.shape[1]} classes, those before it {self._sum_nk.shape[1]}")
        wide = np.asarray(probs_nk, dtype=np.float64)
        self._sum_nk += wide
        self._sum_squares_n += np.einsum("nk,nk->n", wide, wide)
        if self._sum_outer_nkk is not None:
            self._sum_outer_nkk += wide[:, :, None] * wide[:, None, :]
        self.draws += 1

    def merge(self, other: MCStats) -> MCStats:
        """Return the statistics of both sets of draws of the same tiles.

        Raises
        ------
        ValueError
            The other statistics are of other shape, or only one of both keeps the covariance.
        """
        mine, others = self._sum_nk.shape, other._sum_nk.shape
        if mine != others:
            raise ValueError(f"statistics of {mine} and {others} (tiles, classes) cannot be merged")
        if (self._sum_outer_nkk is None) != (other._sum_outer_nkk is None):
            raise ValueError("only one of these statistics keeps the covariance: make both with covariance=True")
        both = MCStats(*mine)
        both.draws = self.draws + other.draws
        both._sum_nk = self._sum_nk + other._sum_nk
        both._sum_squares_n = self._sum_squares_n + other._sum_squares_n
        if self._sum_outer_nkk is not None and other._sum_outer_nkk is not None:
            both._sum_outer_nkk = self._sum_outer_nkk + other._sum_outer_nkk
        return both

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> MCStats:
        """Return new statistics of some tiles: `rows` are their positions (m,), or a mask (n,)."""
        part = MCStats(0, self._sum_nk.shape[1])
        part.draws = self.draws
        # an index array copies, so that later draws of the part leave the whole alone
        part._sum_nk = self._sum_nk[rows]
        part._sum_squares_n = self._sum_squares_n[rows]
        part._sum_outer_nkk = None if self._sum_outer_nkk is None else self._sum_outer_nkk[rows]
        return part

    @property
    def mean_nk(self) -> Floats:
        """Mean probabilities (n, k)."""
        self._need(1, "the mean")
        return self._sum_nk / self.draws

    @property
    def u_n(self) -> Floats:
        """Predictive uncertainty (n,) = 1 - ||pbar||^2; on average epistemic / T below that of endless draws."""
        return gini(self.mean_nk)

    @property
    def aleatoric_n(self) -> Floats:
        """Part of u (n,) that each draw shows by itself."""
        self._need(1, "the aleatoric part")
        return np.asarray(1.0 - self._sum_squares_n / self.draws)

    @property
    def epistemic_n(self) -> Floats:
        """Part of u (n,) by which the draws disagree."""
        return np.asarray(self.u_n - self.aleatoric_n)

    @property
    def u_unbiased_n(self) -> Floats:
        """Estimate (n,) of u of endless draws: u + S / T, S the trace of the sample covariance, ddof 1 (R7).

        It may exceed 1 - 1/k when draws are few. Two draws at least, else ValueError.
        """
        self._need(2, "the unbiased u")
        # S = epistemic * T / (T - 1)
        return np.asarray(self.u_n + self.epistemic_n / (self.draws - 1))

    @property
    def standard_error_n(self) -> Floats:
        """Standard error (n,) of u over repeats of the draws: 2 sd(p . pbar) / sqrt(T), ddof 1 (S12).

        This is the delta method: u = 1 - ||pbar||^2 has the gradient -2 pbar. It is 0 where pbar gives all classes
        the same, and too small near there, since the first-order term vanishes. Needs `covariance=True` and two draws
        at least, else ValueError.
        """
        if self._sum_outer_nkk is None:
            raise ValueError("MCStats keeps no covariance; make it with covariance=True to ask for the standard error")
        self._need(2, "the standard error")
        mean_nk = self.mean_nk
        moment_n = np.einsum("nk,nkl,nl->n", mean_nk, self._sum_outer_nkk, mean_nk) / self.draws
        length_n = np.einsum("nk,nk->n", mean_nk, mean_nk)
        # rounding can push a variance of zero below it
        variance_n = np.maximum(moment_n - length_n**2, 0.0)
        return np.asarray(2.0 * np.sqrt(variance_n / (self.draws - 1)))

    def _need(self, draws: int, what: str) -> None:
        if self.draws == 0:
            raise ValueError("MCStats holds no draw yet")
        if self.draws < draws:
            raise ValueError(f"{what} needs at least {draws} draws, MCStats holds {self.draws}")


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

    def state(self) -> dict[str, NDArray[Any]]:
        """Return ``epochs`` (scalar) and, after the first, ``sum_nk`` (n, k): what a checkpoint needs."""
        summed = {} if self._sum_nk is None else {"sum_nk": self._sum_nk}
        return {"epochs": np.array(self.epochs), **summed}

    @classmethod
    def from_state(cls, decay: float, arrays: Mapping[str, NDArray[Any]]) -> MovingAverage:
        """Go on from a `state`, to the same bits.

        Raises
        ------
        ValueError
            The state is not one that `state` made.
        """
        epochs, sum_nk = int(arrays.get("epochs", np.array(-1))), arrays.get("sum_nk")
        if epochs < 0 or (epochs > 0) != (sum_nk is not None):
            raise ValueError(f"this is no state of a MovingAverage: it holds {', '.join(sorted(arrays)) or 'nothing'}")
        return cls(decay, epochs, sum_nk)

    @property
    def mean_nk(self) -> Floats:
        """Averaged probabilities (n, k); rows sum to 1."""
        if self._sum_nk is None:
            raise ValueError("MovingAverage holds no epoch yet")
        return np.asarray(self._sum_nk / (1.0 - self.decay**self.epochs))

"""Detection and classification metrics with intervals that respect patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

RESAMPLES = 500


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (percentile bootstrap over patients) and the number of tiles behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auroc(scores_n: NDArray[np.floating], positive_n: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve by ranks (ties count half); NaN when one side is empty."""
    n_pos = int(positive_n.sum())
    n_neg = len(positive_n) - n_pos
    if n_pos == 0 or n_neg == 0:
        return float("nan")
    ranks = rankdata(scores_n)
    return float((ranks[positive_n].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def rate(hits_n: NDArray[np.bool_]) -> float:
    """Return the share of True; NaN when there is none to share."""
    return float(hits_n.mean()) if hits_n.size else float("nan")


def by_patient(
    statistic: Callable[[NDArray[np.intp]], float], patient_n: NDArray[np.integer], *, seed: int = 0
) -> Estimate:
    """Estimate ``statistic(rows)`` with an interval from whole patients drawn with replacement.

    Tiles of one patient are alike, so a bootstrap over tiles would be too sure of itself.
    """
    groups = [np.flatnonzero(patient_n == patient) for patient in np.unique(patient_n)]
    value = statistic(np.arange(len(patient_n)))
    if len(groups) < 2:
        return Estimate(value, float("nan"), float("nan"), len(patient_n))
    rng = np.random.default_rng(seed)
    drawn = [
        statistic(np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]))
        for _ in range(RESAMPLES)
    ]
    finite = [x for x in drawn if np.isfinite(x)]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite else (float("nan"), float("nan"))
    return Estimate(value, float(low), float(high), len(patient_n))

"""Detection and classification metrics with intervals that respect patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

RESAMPLES = 500


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (bootstrap percentiles over patients, or Wilson's) and the tiles behind it."""

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


def _operating_points(
    scores_n: NDArray[np.floating], positive_n: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return true and false positives of "at least this score is positive" for each distinct score, falling.

    The first point flags nothing. Equal scores cannot be told apart, so they are flagged together.
    """
    order = np.argsort(-scores_n, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores_n[order])), len(order) - 1)
    hits, misses = np.cumsum(positive_n[order])[last], np.cumsum(~positive_n[order])[last]
    return np.concatenate([[0], hits]), np.concatenate([[0], misses])


def _one_sided(positive_n: NDArray[np.bool_]) -> bool:
    return bool(positive_n.all() or not positive_n.any())


def fpr_at_tpr(scores_n: NDArray[np.floating], positive_n: NDArray[np.bool_], tpr: float = 0.95) -> float:
    """Return the least false-positive rate of a threshold that finds at least `tpr` of the positives.

    NaN when one side is empty.
    """
    if _one_sided(positive_n):
        return float("nan")
    hits, misses = _operating_points(scores_n, positive_n)
    # counts, so that a share such as 0.95 of 20 is not lost to rounding
    enough = hits >= tpr * hits[-1] - 1e-9
    return float(misses[enough][0] / misses[-1])


def sensitivity_at(scores_n: NDArray[np.floating], positive_n: NDArray[np.bool_], removed: float = 0.05) -> float:
    """Return the greatest sensitivity of a threshold that flags at most the share `removed` of the negatives.

    NaN when one side is empty.
    """
    if _one_sided(positive_n):
        return float("nan")
    hits, misses = _operating_points(scores_n, positive_n)
    allowed = misses <= removed * misses[-1] + 1e-9
    return float(hits[allowed][-1] / hits[-1])


def rate(hits_n: NDArray[np.bool_]) -> float:
    """Return the share of True; NaN when there is none to share."""
    return float(hits_n.mean()) if hits_n.size else float("nan")


def wilson(hits: int, n: int) -> Estimate:
    """Estimate the share `hits` of `n` with Wilson's score interval (Wilson 1927), which holds for few tiles too.

    It takes the tiles as independent, so it is for those that were drawn one by one, such as planted controls. NaN
    when there is none to share.
    """
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    low, high = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return Estimate(hits / n, float(low), float(high), n)


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


def paired_by_patient(
    scores_n: NDArray[np.floating],
    others_n: NDArray[np.floating],
    positive_n: NDArray[np.bool_],
    patient_n: NDArray[np.integer],
    *,
    seed: int = 0,
) -> Estimate:
    """Estimate AUROC of `scores_n` minus AUROC of `others_n`, both on the same tiles of each drawn set of patients.

    What makes a set of patients easy raises both areas and leaves their difference, so the interval is narrower than
    two separate ones suggest. An interval above 0 says that `scores_n` rank better.
    """
    return by_patient(
        lambda rows: auroc(scores_n[rows], positive_n[rows]) - auroc(others_n[rows], positive_n[rows]),
        patient_n,
        seed=seed,
    )

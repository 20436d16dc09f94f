"""Intervals from whole patients drawn with replacement, the same draws for every fold and row.

A statistic is a function of weights (b, n): how often each tile's patient was drawn. The first row is the data as they
are, so that ``[0]`` is the figure and the rest its bootstrap; whatever is computed of several figures is computed draw
by draw, which pairs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.w2wnet.metrics import RESAMPLES

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Figure:
    """A mean over folds, its 95 % interval, the std over folds, the tiles behind it, and the value of each fold."""

    value: float
    low: float
    high: float
    std: float
    n: int
    folds: tuple[float, ...] = ()

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        return f"{self.value:.3f}" if np.isnan(self.low) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def patient_weights(patient_n: NDArray[np.integer], *, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Return weights (1 + resamples, n) of tiles by their patients (n,); the first row is all ones."""
    patients, index = np.unique(patient_n, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(patients), np.full(len(patients), 1.0 / len(patients)), size=resamples)
    return np.concatenate([np.ones((1, len(patients))), drawn])[:, index].astype(np.float64)


def mean_of(per_fold: Sequence[Floats]) -> Floats:
    """Return the mean (b,) over folds of draws (b,); a fold that has nothing to count in a draw is left out of it."""
    stacked = np.stack(per_fold)
    known = ~np.isnan(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return _ratio(total, known.sum(axis=0).astype(np.float64))


def figure(drawn_b: Floats, n: int, per_fold: Sequence[Floats] = ()) -> Figure:
    """Sum draws (b,) up."""
    finite = drawn_b[1:][np.isfinite(drawn_b[1:])]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) else (np.nan, np.nan)
    folds = tuple(float(one[0]) for one in per_fold)
    known = [value for value in folds if not np.isnan(value)]
    std = float(np.std(known, ddof=1)) if len(known) > 1 else float("nan")
    return Figure(float(drawn_b[0]), float(low), float(high), std, n, folds)


def over_folds(per_fold: Sequence[Floats], n: int) -> Figure:
    """Sum the draws of several folds up to their mean."""
    return figure(mean_of(per_fold), n, per_fold)


def share(hits_n: NDArray[np.floating] | Mask, weight_bn: Floats) -> Floats:
    """Return the weighted mean (b,) of values or hits (n,); NaN where nothing was drawn."""
    return _ratio(weight_bn @ np.asarray(hits_n, dtype=np.float64), weight_bn.sum(axis=1))


def auroc(score_n: NDArray[np.floating], positive_n: Mask, weight_bn: Floats) -> Floats:
    """Return the area under the ROC curve (b,), ties counting half; NaN where one side was not drawn."""
    hits, misses = _cumulated(score_n, positive_n, weight_bn)
    below = hits[:, 1:] + hits[:, :-1]
    area = (np.diff(misses, axis=1) * below).sum(axis=1) / 2.0
    return _ratio(area, hits[:, -1] * misses[:, -1])


def sensitivity_at(score_n: NDArray[np.floating], positive_n: Mask, weight_bn: Floats, removed: float = 0.05) -> Floats:
    """Return the greatest sensitivity (b,) of a threshold that flags at most the share `removed` of the negatives."""
    hits, misses = _cumulated(score_n, positive_n, weight_bn)
    allowed = misses <= removed * misses[:, -1:] + 1e-9
    # the curve rises, so the last allowed point is the best one
    last = allowed.shape[1] - 1 - allowed[:, ::-1].argmax(axis=1)
    found = _ratio(hits[np.arange(len(hits)), last], hits[:, -1])
    return np.where(misses[:, -1] > 0, found, np.nan)


def average_precision(score_n: NDArray[np.floating], positive_n: Mask, weight_bn: Floats) -> Floats:
    """Return the average precision (b,), equal scores taken together; NaN where no positive was drawn."""
    hits, misses = _cumulated(score_n, positive_n, weight_bn)
    flagged = hits + misses
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    return _ratio((np.diff(hits, axis=1) * precision[:, 1:]).sum(axis=1), hits[:, -1])


def balanced_accuracy(right_n: Mask, label_n: NDArray[np.integer], weight_bn: Floats) -> Floats:
    """Return the mean over classes (b,) of the share that is recognised; a class that was not drawn is left out."""
    return mean_of([share(right_n[label_n == c], weight_bn[:, label_n == c]) for c in np.unique(label_n)])


def ece(probs_nk: NDArray[np.floating], label_n: NDArray[np.integer], weight_bn: Floats, bins: int = 15) -> Floats:
    """Return the expected calibration error (b,) over `bins` of equal width."""
    confidence = probs_nk.max(axis=1).astype(np.float64)
    gap = (probs_nk.argmax(axis=1) == label_n) - confidence
    bin_n = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence, side="left")
    of_bin = (bin_n[:, None] == np.arange(bins)) * gap[:, None]
    return _ratio(np.abs(weight_bn @ of_bin).sum(axis=1), weight_bn.sum(axis=1))


def augrc(uncertainty_n: NDArray[np.floating], wrong_n: Mask, weight_bn: Floats) -> Floats:
    """Return the area under the generalised risk-coverage curve (b,): Traub et al. 2024, by AUROC and accuracy."""
    right = 1.0 - share(wrong_n, weight_bn)
    area = np.nan_to_num(auroc(uncertainty_n, wrong_n, weight_bn), nan=0.5)
    return np.asarray((1.0 - area) * right * (1.0 - right) + (1.0 - right) ** 2 / 2.0)


def aurc(uncertainty_n: NDArray[np.floating], wrong_n: Mask, weight_bn: Floats) -> Floats:
    """Return the area under the risk-coverage curve (b,): the mean over i of the risk of the i most certain tiles."""
    wrong, right = _cumulated(-uncertainty_n, wrong_n, weight_bn)
    accepted = wrong + right
    # between two thresholds the wrong ones rise evenly, a + b i, so that sum (a + b i) / i has a closed form
    step = np.diff(accepted, axis=1)
    slope = np.divide(np.diff(wrong, axis=1), step, out=np.zeros_like(step), where=step > 0)
    offset = wrong[:, :-1] - slope * accepted[:, :-1]
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(accepted.max(initial=0)) + 1))])
    at = harmonic[accepted.astype(np.intp)]
    return _ratio((offset * np.diff(at, axis=1) + slope * step).sum(axis=1), accepted[:, -1])


def selective_accuracy(
    uncertainty_n: NDArray[np.floating], right_n: Mask, weight_bn: Floats, coverage_b: Floats
) -> Floats:
    """Return the accuracy (b,) on the share `coverage_b` (b,) of tiles that are the most certain."""
    right, wrong = _cumulated(-uncertainty_n, right_n, weight_bn)
    accepted = right + wrong
    wanted = coverage_b * accepted[:, -1]
    at = [np.interp(w, a, r) for w, a, r in zip(wanted, accepted, right, strict=True)]
    return _ratio(np.array(at), wanted)


def _cumulated(score_n: NDArray[np.floating], positive_n: Mask, weight_bn: Floats) -> tuple[Floats, Floats]:
    """Return the weight (b, m + 1) of positives and of negatives at least as high as each distinct score, falling."""
    order = np.argsort(-score_n, kind="stable")
    ordered = score_n[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(order) - 1)[: max(len(order), 0)]
    weights, positive = weight_bn[:, order], positive_n[order]
    start = np.zeros((len(weights), 1))
    hits = np.cumsum(weights * positive, axis=1)[:, last]
    misses = np.cumsum(weights * ~positive, axis=1)[:, last]
    return np.concatenate([start, hits], axis=1), np.concatenate([start, misses], axis=1)


def _ratio(part_b: Floats, whole_b: Floats) -> Floats:
    return np.asarray(np.divide(part_b, whole_b, out=np.full(np.shape(part_b), np.nan), where=whole_b > 0))

"""How far the probabilities of a network can be believed: calibration error and proper scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from w2wpath.w2wnet.uncertainty import brier as brier_n
from w2wpath.w2wnet.uncertainty import check_probs

LEAST = float(np.finfo(np.float32).tiny)
"""What a probability of 0 counts as in `nll`: the least that a float32 softmax tells apart from 0."""


def ece(
    probs_nk: NDArray[np.floating], label_n: NDArray[np.integer], bins: int = 15, equal_mass: bool = False
) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy, bin by bin.

    ``sum_b n_b / n |accuracy_b - confidence_b|`` over bins of the largest probability (Guo et al., ICML 2017). Bins are
    of equal width, ``(i / bins, (i + 1) / bins]``, or hold equally many tiles (Nixon et al., CVPR Workshops 2019), with
    equal confidences in one bin. NaN without tiles.

    Raises
    ------
    ValueError
        Rows of `probs_nk` (n, k) are not probabilities.
    NonFiniteScoreError
        One of them is NaN or infinite.
    """
    n = len(label_n)
    check_probs(probs_nk, n)
    if n == 0:
        return float("nan")
    confidence_n = probs_nk.max(axis=1).astype(np.float64)
    right_n = probs_nk.argmax(axis=1) == label_n
    bin_n = _by_mass(confidence_n, bins) if equal_mass else _by_width(confidence_n, bins)
    return float(np.abs(np.bincount(bin_n, weights=right_n - confidence_n)).sum() / n)


def brier(probs_nk: NDArray[np.floating], label_n: NDArray[np.integer]) -> float:
    """Return the mean of ``||p - e_label||^2`` (Brier 1950): 0 is best, 2 worst. NaN without tiles."""
    check_probs(probs_nk, len(label_n))
    return float(brier_n(probs_nk, label_n).mean()) if len(label_n) else float("nan")


def nll(probs_nk: NDArray[np.floating], label_n: NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood of the labels, ``-ln p_label``, in nats. NaN without tiles.

    A probability below :data:`LEAST` counts as that, or one tile would make the mean infinite.
    """
    check_probs(probs_nk, len(label_n))
    given_n = probs_nk[np.arange(len(label_n)), label_n].astype(np.float64)
    return float(-np.log(np.maximum(given_n, LEAST)).mean()) if len(label_n) else float("nan")


def balanced_accuracy(predicted_n: NDArray[np.integer], label_n: NDArray[np.integer]) -> float:
    """Return the mean over the classes among `label_n` of the share that is recognised. NaN without tiles."""
    recalls = [float((predicted_n[label_n == label] == label).mean()) for label in np.unique(label_n)]
    return float(np.mean(recalls)) if recalls else float("nan")


def _by_width(confidence_n: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    inner = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    return np.searchsorted(inner, confidence_n, side="left")


def _by_mass(confidence_n: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    below_n = rankdata(confidence_n, method="min").astype(np.intp) - 1
    return np.asarray(below_n * bins // len(confidence_n))

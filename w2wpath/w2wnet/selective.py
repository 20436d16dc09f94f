"""Selective classification: what is gained in accuracy by leaving the most uncertain tiles unanswered.

A tile is accepted when its uncertainty is low. Coverage is the share of accepted tiles, selective risk the share of
wrong ones among the accepted (Geifman and El-Yaniv, NeurIPS 2017), generalised risk the share of tiles that are both
accepted and wrong (Traub et al., NeurIPS 2024). Only the order of the uncertainties counts; equal ones cannot be told
apart, so that a threshold accepts them together, and areas are expectations over every order of the equal ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError

Floats = NDArray[np.float64]


def risk_coverage(uncertainty_n: NDArray[np.floating], wrong_n: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return coverage and selective risk (m,) of "accept at most this uncertainty" for each distinct one, rising.

    The last coverage is 1, and its risk that of all tiles; both are empty where there are no tiles.

    Raises
    ------
    NonFiniteScoreError
        An uncertainty is NaN or infinite.
    """
    accepted, wrong = _accepted(uncertainty_n, wrong_n)
    return accepted[1:] / max(len(wrong_n), 1), wrong[1:] / accepted[1:]


def aurc(uncertainty_n: NDArray[np.floating], wrong_n: NDArray[np.bool_]) -> float:
    """Return the area under the risk-coverage curve: the mean selective risk at coverage 1/n, 2/n, ..., 1.

    Geifman, Uziel and El-Yaniv, ICLR 2019: ``1/n sum_i wrong(i) / i``, where ``wrong(i)`` counts the wrong ones of the
    i most certain tiles. 0 is best. NaN without tiles.
    """
    accepted, wrong = _accepted(uncertainty_n, wrong_n)
    return _mean_selective_risk(accepted, wrong)


def eaurc(uncertainty_n: NDArray[np.floating], wrong_n: NDArray[np.bool_]) -> float:
    """Return AURC minus that of a perfect order of the same tiles, in which every wrong one comes last.

    Geifman, Uziel and El-Yaniv, ICLR 2019, who approximate the perfect AURC by ``r + (1 - r) ln(1 - r)`` with r the
    share of wrong tiles; here it is counted, so that a perfect order gives exactly 0. NaN without tiles.
    """
    n, wrong = len(wrong_n), int(np.count_nonzero(wrong_n))
    perfect = _mean_selective_risk(np.array([0.0, n - wrong, n]), np.array([0.0, 0.0, wrong]))
    return aurc(uncertainty_n, wrong_n) - perfect


def augrc(uncertainty_n: NDArray[np.floating], wrong_n: NDArray[np.bool_]) -> float:
    """Return the area under the generalised risk-coverage curve: the mean risk of an error that goes unnoticed.

    Traub et al., NeurIPS 2024: the trapezoid area of accepted-and-wrong over coverage, which is
    ``(1 - AUROC) a (1 - a) + (1 - a)^2 / 2`` with a the accuracy and AUROC that of the uncertainty against the wrong
    tiles. From ``(1 - a)^2 / 2`` to ``(1 - a^2) / 2``; 0 is best. NaN without tiles.
    """
    n = len(wrong_n)
    if n == 0:
        return float("nan")
    accepted, wrong = _accepted(uncertainty_n, wrong_n)
    return float((np.diff(accepted) * (wrong[1:] + wrong[:-1])).sum() / (2 * n * n))


def selective_accuracy(uncertainty_n: NDArray[np.floating], right_n: NDArray[np.bool_], coverage: float) -> float:
    """Return the accuracy on the share `coverage` of tiles that are the most certain.

    Of tiles that are equally uncertain and not all accepted, it is the exact expectation over which of them are.
    ``coverage * n`` need not be whole: the last tile counts for its part. So methods compare at equal coverage.
    NaN without tiles and at coverage 0.

    Raises
    ------
    ValueError
        The coverage lies outside 0..1.
    NonFiniteScoreError
        An uncertainty is NaN or infinite.
    """
    if not 0.0 <= coverage <= 1.0:
        raise ValueError(f"coverage must lie between 0 and 1; got {coverage:g}")
    accepted, right = _accepted(uncertainty_n, right_n)
    wanted = coverage * len(right_n)
    return float(np.interp(wanted, accepted, right) / wanted) if wanted > 0 else float("nan")


def coverage_at_risk(uncertainty_n: NDArray[np.floating], wrong_n: NDArray[np.bool_], risk: float) -> float:
    """Return the greatest coverage of a threshold whose selective risk is at most `risk`; 0 where none is.

    NaN without tiles.

    Raises
    ------
    NonFiniteScoreError
        An uncertainty is NaN or infinite.
    """
    coverage, risks = risk_coverage(uncertainty_n, wrong_n)
    if not len(coverage):
        return float("nan")
    return float(coverage[risks <= risk + 1e-12].max(initial=0.0))


def _accepted(uncertainty_n: NDArray[np.floating], counted_n: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return how many tiles each distinct threshold accepts, rising from none, and how many of them are counted."""
    bad = int(np.count_nonzero(~np.isfinite(uncertainty_n)))
    if bad:
        raise NonFiniteScoreError(
            f"{bad} of {len(uncertainty_n)} tiles have no finite uncertainty. Leave out the tiles that were not judged."
        )
    order = np.argsort(uncertainty_n, kind="stable")
    # compared, not subtracted: the difference of two tiny values can be 0
    last = np.append(uncertainty_n[order][1:] != uncertainty_n[order][:-1], True)[: len(order)]
    accepted, counted = np.flatnonzero(last) + 1.0, np.cumsum(counted_n[order], dtype=np.float64)[last]
    return np.concatenate([[0.0], accepted]), np.concatenate([[0.0], counted])


def _mean_selective_risk(accepted: Floats, wrong: Floats) -> float:
    """Return the mean of wrong(i) / i over i = 1..n, wrong(i) rising evenly from one threshold to the next."""
    n = int(accepted[-1])
    if n == 0:
        return float("nan")
    i = np.arange(1, n + 1)
    return float((np.interp(i, accepted, wrong) / i).mean())

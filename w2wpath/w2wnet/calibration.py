"""Temperature scaling: one number that makes the probabilities of a network as sure as it is right.

Logits are divided by a temperature (Guo et al., ICML 2017): above 1 the probabilities become less sure, below 1 surer.
The most probable class never changes. The temperature is fitted on tiles of patients that the network never saw, since
a network is right on nearly all that it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from w2wpath.w2wnet.reliability import ece, nll
from w2wpath.w2wnet.uncertainty import Floats, check_probs

COOLEST, HOTTEST = 0.05, 20.0
"""The least and greatest temperature."""
FLOOR = 1e-7
"""Least probability whose logarithm is taken."""


@dataclass(frozen=True)
class Calibration:
    """A temperature, and what it does to the tiles that it was fitted on.

    Attributes
    ----------
    temperature
        1 where there were no tiles.
    tiles
        How many there were.
    nll_before, nll_after, ece_before, ece_after
        Mean negative log-likelihood in nats, and expected calibration error in 15 bins, without and with the
        temperature. One number was fitted on these very tiles, so "after" is a little too good. It can be worse than
        "before" where every tile was named right, see :func:`fit_temperature`. NaN without tiles.
    """

    temperature: float
    tiles: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float


def calibrate(
    probs_nk: NDArray[np.floating], label_n: NDArray[np.integer], *, fixed: float | None = None
) -> Calibration:
    """Fit a temperature on probabilities (n, k) of unseen tiles and their given labels (n,), and say what it changes.

    With a temperature `fixed` nothing is fitted.

    Raises
    ------
    ValueError
        Rows of `probs_nk` are not probabilities.
    NonFiniteScoreError
        One of them is NaN or infinite.
    """
    temperature = fit_temperature(probs_nk, label_n) if fixed is None else fixed
    after = apply(probs_nk, temperature)
    return Calibration(
        temperature=temperature,
        tiles=len(label_n),
        nll_before=nll(probs_nk, label_n),
        nll_after=nll(after, label_n),
        ece_before=ece(probs_nk, label_n),
        ece_after=ece(after, label_n),
    )


def fit_temperature(probs_nk: NDArray[np.floating], label_n: NDArray[np.integer]) -> float:
    """Return the temperature with the least negative log-likelihood of labels (n,); 1 where there are no tiles.

    One tile more with a label of every class in equal parts is counted in (Platt 1999): without it a network that
    happened to name every tile right would become infinitely sure of itself.

    Raises
    ------
    ValueError
        Rows of `probs_nk` (n, k) are not probabilities.
    NonFiniteScoreError
        One of them is NaN or infinite.
    """
    check_probs(probs_nk, len(label_n))
    if not len(label_n):
        return 1.0
    n, k = probs_nk.shape
    logit_nk = _logits(probs_nk)
    target_nk = (n * (label_n[:, None] == np.arange(k)) + 1.0 / k) / (n + 1)

    def loss(log_temperature: float) -> float:
        return float(-(target_nk * _log_softmax(logit_nk / np.exp(log_temperature))).sum(axis=1).mean())

    # convex in 1 / T, so there is one minimum
    found = minimize_scalar(loss, bounds=(np.log(COOLEST), np.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def apply(probs_nk: NDArray[np.floating], temperature: float) -> Floats:
    """Return probabilities (n, k) at a temperature; as they are at 1."""
    if temperature == 1.0:
        return probs_nk.astype(np.float64)
    return np.exp(_log_softmax(_logits(probs_nk) / temperature))


def _logits(probs_nk: NDArray[np.floating]) -> Floats:
    return np.log(np.maximum(probs_nk.astype(np.float64), FLOOR))


def _log_softmax(logit_nk: Floats) -> Floats:
    shifted = logit_nk - logit_nk.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))

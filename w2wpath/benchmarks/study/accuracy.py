"""What networks trained on each list do on unseen patients: accuracy, selective accuracy, calibration, gain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.study.detection import Drawn
from w2wpath.benchmarks.study.resampling import (
    Figure,
    Floats,
    Mask,
    augrc,
    aurc,
    balanced_accuracy,
    ece,
    figure,
    mean_of,
    selective_accuracy,
    share,
)
from w2wpath.w2wnet.reliability import LEAST
from w2wpath.w2wnet.selective import risk_coverage
from w2wpath.w2wnet.uncertainty import brier

GOOD = "accuracy"
OUTSIDE = 0.025
"""Share of the draws that a 95 % interval leaves out on each side."""
GRID = np.linspace(0.0, 1.0, 101)
"""Coverages at which curves of folds are averaged."""


@dataclass(frozen=True)
class Answers:
    """What one network said of one fold's unseen tiles (n,).

    Attributes
    ----------
    uncertainty_n
        What it would reject by: u of the Wise for W2WNet, 1 - largest softmax for others.
    accepted_n
        Which tiles it answers at its own threshold; all where it has none.
    good_n
        Which tiles count: the truly good ones, or all where there is no truth.
    """

    rows: NDArray[np.intp]
    probs_nk: NDArray[np.float32]
    uncertainty_n: NDArray[np.floating]
    accepted_n: Mask
    good_n: Mask

    def right_n(self, label_n: NDArray[np.int16]) -> Mask:
        """Tell which answers agree with the given labels of the study's tiles."""
        return np.asarray(self.probs_nk.argmax(axis=1) == label_n[self.rows])


def coverage_of(answers: Answers, weight_bn: Floats) -> Floats:
    """Return the share (b,) of the tiles that count which is answered."""
    return share(answers.accepted_n[answers.good_n], weight_bn[:, answers.rows][:, answers.good_n])


def answered(
    folds: Sequence[Answers], label_n: NDArray[np.int16], weight_bn: Floats, coverages: Sequence[Floats] | None
) -> Drawn:
    """Score the answers of every fold; `coverages` (b,) of each fold are those at which methods are compared."""
    found: Drawn = {}
    for i, answers in enumerate(folds):
        at = None if coverages is None else coverages[i]
        for name, drawn in _of_fold(answers, label_n, weight_bn, at).items():
            found.setdefault(name, []).append(drawn)
    return found


def _of_fold(
    answers: Answers, label_n: NDArray[np.int16], weight_bn: Floats, coverage_b: Floats | None
) -> dict[str, Floats]:
    good, everything = answers.good_n, weight_bn[:, answers.rows]
    right, given = answers.right_n(label_n), label_n[answers.rows]
    weight, probs, label, hit = everything[:, good], answers.probs_nk[good], given[good], right[good]
    unsure, accepted = answers.uncertainty_n[good], answers.accepted_n[good]
    of_label = np.maximum(probs[np.arange(len(label)), label].astype(np.float64), LEAST)
    found = {
        GOOD: share(hit, weight),
        "balanced accuracy": balanced_accuracy(hit, label, weight),
        "accuracy, given labels": share(right, everything),
        "coverage": share(accepted, weight),
        "selective accuracy": share(hit[accepted], weight[:, accepted]),
        "ECE": ece(probs, label, weight),
        "Brier": share(brier(probs, label), weight),
        "NLL": share(-np.log(of_label), weight),
        "AURC": aurc(unsure, ~hit, weight),
        "AUGRC": augrc(unsure, ~hit, weight),
    }
    if coverage_b is not None:
        softmax = 1.0 - probs.max(axis=1).astype(np.float64)
        found["accuracy at equal coverage"] = selective_accuracy(unsure, hit, weight, coverage_b)
        found["accuracy at equal coverage, by softmax"] = selective_accuracy(softmax, hit, weight, coverage_b)
    return found


def gains(drawn: Mapping[str, Drawn], n: int) -> dict[str, dict[str, Figure]]:
    """Return the share of the gain of perfect cleaning that each row captures: (A - A_all) / (A_oracle - A_all).

    A is the mean accuracy over the folds that all rows have; draws are paired. There is no share where perfect cleaning
    gains nothing, and no interval where that is so in more draws than the interval leaves out on one side.
    """
    if "all" not in drawn or "oracle" not in drawn:
        return {}
    base, best = mean_of(drawn["all"][GOOD]), mean_of(drawn["oracle"][GOOD])
    room = best - base
    bounded = float((room[1:] > 0).mean()) > 1.0 - OUTSIDE
    found = {}
    for name, one in drawn.items():
        if name == "all":
            continue
        gained = mean_of(one[GOOD]) - base
        captured = figure(np.divide(gained, room, out=np.full(len(room), np.nan), where=room > 0), n)
        if not bounded:
            captured = replace(captured, low=float("nan"), high=float("nan"))
        by_fold = [a - b for a, b in zip(one[GOOD], drawn["all"][GOOD], strict=True)]
        found[name] = {"gain over all": figure(gained, n, by_fold), "gain captured": captured}
    return found


def leads(drawn: Mapping[str, Drawn], of: str, over: str, n: int) -> dict[str, dict[str, Figure]]:
    """Return how far row `of` is ahead of each other row in accuracy, and how far each other row is ahead of `over`.

    On the folds that all rows have; draws are paired.
    """
    means = {name: mean_of(one[GOOD]) for name, one in drawn.items()}
    found: dict[str, dict[str, Figure]] = {}
    for name, mean in means.items():
        mine = {}
        if of in means and name != of:
            mine[f"lead of {of}"] = figure(means[of] - mean, n)
        if over in means and name != over:
            mine[f"lead over {over}"] = figure(mean - means[over], n)
        if mine:
            found[name] = mine
    return found


def curve(folds: Sequence[Answers], label_n: NDArray[np.int16]) -> list[float | None]:
    """Return the selective risk at GRID coverages, the mean over folds; None where no fold covers so little."""
    risks = []
    for answers in folds:
        wrong = ~answers.right_n(label_n)[answers.good_n]
        coverage, risk = risk_coverage(answers.uncertainty_n[answers.good_n], wrong)
        if len(coverage):
            risks.append(np.interp(GRID, coverage, risk, left=np.nan))
    if not risks:
        return []
    stacked = np.stack(risks)
    known = (~np.isnan(stacked)).sum(axis=0)
    mean = np.nansum(stacked, axis=0) / np.maximum(known, 1)
    return [float(value) if count else None for value, count in zip(mean, known, strict=True)]

"""One figure of several seeds: data set, networks and draws of a seed are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from w2wpath.benchmarks.study.accuracy import GOOD, gains
from w2wpath.benchmarks.study.resampling import Figure, Floats

NORMAL = 1.96
"""Standard errors on either side of a 95 % interval."""


def over_seeds(figures: Sequence[Figure], *, share: bool = True) -> Figure:
    """Return the mean over the seeds that have a value, its interval, and the std between seeds.

    The interval of one seed tells what other images would change, and nothing of what another training would. So its
    half, the mean of those of the seeds, is joined with 1.96 std / sqrt(seeds) as independent errors are: the root of
    the sum of squares. That counts the images twice, and is rather too wide than too narrow.

    Parameters
    ----------
    share
        It is one of something, so the interval ends at 0 and 1.
    """
    values = np.array([one.value for one in figures])
    if len(figures) == 1:
        return figures[0]
    known = [one for one in figures if not np.isnan(one.value)]
    if len(known) < 2:  # the others have nothing to count
        return replace((known or list(figures))[0], folds=tuple(values.tolist()))
    value, low, high = np.array([[one.value, one.low, one.high] for one in known]).mean(axis=0)
    std = float(np.std([one.value for one in known], ddof=1))
    between = NORMAL * std / np.sqrt(len(known))
    low, high = value - np.hypot(value - low, between), value + np.hypot(high - value, between)
    if share:
        low, high = max(low, 0.0), min(high, 1.0)
    return Figure(float(value), float(low), float(high), std, known[0].n, tuple(values.tolist()))


def gains_over_seeds(accuracies: Sequence[Mapping[str, Floats]], n: int) -> dict[str, dict[str, Figure]]:
    """Return what share of the oracle's gain each row captures, over the seeds that it has with ``all`` and ``oracle``.

    Gain and room are averaged before they are divided: a seed in which the oracle gains next to nothing has no say of
    its own.

    Parameters
    ----------
    accuracies
        Of each seed, draws (b,) of each row's accuracy.
    n
        Images behind them.
    """
    found: dict[str, dict[str, Figure]] = {}
    for row in dict.fromkeys(row for one in accuracies for row in one):
        needed = ("all", "oracle", row)
        shared = [one for one in accuracies if all(name in one for name in needed)]
        if shared:
            drawn = {name: {GOOD: [one[name] for one in shared]} for name in needed}
            found |= {name: figures for name, figures in gains(drawn, n).items() if name == row}
    return found

"""The stop rule of Wise: the two clusters have been stable for long enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import did_you_mean

Bools = NDArray[np.bool_]

RULES = ("size", "membership")
TRACES = ("deltas", "medians", "stds", "churns", "jaccards")
NAN = float("nan")


class StopRule:
    """Tell when to stop from who belongs to the high cluster, observed every `every` epochs.

    An observation is a membership (n,) bool. Its delta is (n_low - n_high) / n (R10), its churn the share of tiles that
    changed cluster since the observation before. Windows are given in epochs and hold a = ceil(median_window / every)
    and b = ceil(std_window / every) observations. All windows are causal and never padded (R11).

    Rule ``size`` (R10 to R12) fires at observation j >= a + b - 1 when the std (ddof 0) of the last b medians is below
    `std_below`; the median of observation i is that of delta[i - a + 1 .. i].

    Rule ``membership`` (R13) fires at observation j >= a + b - 1 when each of the last b - 1 filtered churns is below
    `std_below`; the filtered churn of observation i is the median of churn[i - a + 1 .. i]. It is b - 1 because b
    observations have b - 1 changes between them; so the rule sees the same observations as the other: the first churn
    is that of observation 2. With 0.01 it asks that at least 99 % of the tiles stay where they are. Churn counts the
    changes from one observation to the next, not an epoch's: with `every` > 1 the rule is the stricter for it.

    Both can fire at epoch every * (a + b - 1) at the earliest: 50 with the paper's windows of 11 and 40, observed at
    each or at every fifth epoch.

    Parameters
    ----------
    median_window, std_window
        Epochs.
    std_below
        The limit. A value that equals it does not stop.
    rule
        ``size`` or ``membership``.
    every
        Epochs from one observation to the next.

    Attributes
    ----------
    deltas, medians, stds, churns, jaccards
        Traces, one value an observation, whatever the rule. NaN until a window is full (`medians`, `stds`) and at the
        first observation (`churns`, `jaccards`). Jaccard: of the high cluster with the one before, 1 if both are empty.

    Raises
    ------
    ValueError
        There is no such rule, a number is out of range, or the std window holds a single observation.
    """

    def __init__(
        self,
        median_window: int = 11,
        std_window: int = 40,
        std_below: float = 0.01,
        *,
        rule: str = "size",
        every: int = 1,
    ) -> None:
        if rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}; got {rule!r}.{did_you_mean(rule, RULES)}")
        if median_window < 1 or every < 1 or not std_below > 0:
            given = f"median_window={median_window}, every={every}, std_below={std_below}"
            raise ValueError(f"median_window and every must be at least 1 and std_below above 0; got {given}")
        if std_window <= every:
            raise ValueError(
                f"a std window of {std_window} epochs holds one observation when there is one every {every} epochs, "
                "and one never varies: observe more often, or widen the window"
            )
        self.median_window, self.std_window, self.std_below = median_window, std_window, std_below
        self.rule, self.every = rule, every
        self.deltas: list[float] = []
        self.medians: list[float] = []
        self.stds: list[float] = []
        self.churns: list[float] = []
        self.jaccards: list[float] = []
        self._last_high_n: Bools | None = None

    def add(self, high_n: Bools) -> bool:
        """Take who is in the high cluster (n,) at one more observation; return whether the rule fires now.

        Raises
        ------
        ValueError
            `high_n` is no vector of bool, or of another length than the one before.
        """
        self._check(high_n)
        self.deltas.append(1.0 - 2.0 * float(high_n.mean()))
        self.medians.append(_median(self.deltas, self._median_count))
        self.stds.append(_std(self.medians, self._std_count))
        self._compare(high_n)
        # a copy: the caller's array may change
        self._last_high_n = high_n.copy()
        return self._fires()

    @property
    def epoch(self) -> int:
        """Epochs seen so far."""
        return len(self.deltas) * self.every

    @property
    def earliest(self) -> int:
        """First epoch at which the rule can fire."""
        return self.every * (self._median_count + self._std_count - 1)

    @property
    def std(self) -> float | None:
        """The std after the last observation; None while there are too few."""
        return None if not self.stds or math.isnan(self.stds[-1]) else self.stds[-1]

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint needs: JSON (None for NaN) but for ``last_high_n``, (n,) bool, if there is one.

        ``StopRule.from_state`` goes on from it to the same bits.
        """
        settings = {
            "median_window": self.median_window,
            "std_window": self.std_window,
            "std_below": self.std_below,
            "rule": self.rule,
            "every": self.every,
        }
        # strict JSON has no NaN
        traces = {name: [None if math.isnan(value) else value for value in getattr(self, name)] for name in TRACES}
        return {**settings, **traces, "last_high_n": self._last_high_n}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> StopRule:
        """Make the rule that `state` came from."""
        windows = (state["median_window"], state["std_window"], state["std_below"])
        rule = cls(*windows, rule=state["rule"], every=state["every"])
        for name in TRACES:
            setattr(rule, name, [NAN if value is None else float(value) for value in state[name]])
        last_high_n = state["last_high_n"]
        rule._last_high_n = None if last_high_n is None else np.array(last_high_n, dtype=np.bool_)
        return rule

    @property
    def _median_count(self) -> int:
        return math.ceil(self.median_window / self.every)

    @property
    def _std_count(self) -> int:
        return math.ceil(self.std_window / self.every)

    def _check(self, high_n: Bools) -> None:
        if high_n.ndim != 1 or high_n.size == 0 or high_n.dtype != np.bool_:
            raise ValueError(f"high_n must be a non-empty vector of bool, got {high_n.dtype} of shape {high_n.shape}")
        if self._last_high_n is not None and high_n.size != self._last_high_n.size:
            raise ValueError(f"this membership is of {high_n.size} tiles, the one before of {self._last_high_n.size}")

    def _compare(self, high_n: Bools) -> None:
        """Note churn and Jaccard index against the observation before."""
        last = self._last_high_n
        if last is None:
            self.churns.append(NAN)
            self.jaccards.append(NAN)
            return
        self.churns.append(float((high_n != last).mean()))
        either = int((high_n | last).sum())
        self.jaccards.append(int((high_n & last).sum()) / either if either else 1.0)

    def _fires(self) -> bool:
        if self.epoch < self.earliest:
            return False
        if self.rule == "size":
            return self.stds[-1] < self.std_below
        seen = len(self.churns)
        lasts = range(seen - self._std_count + 2, seen + 1)
        return all(_median(self.churns[:last], self._median_count) < self.std_below for last in lasts)


def _median(values: list[float], window: int) -> float:
    """Return the median of the last `window` values; NaN while there are fewer."""
    return float(np.median(values[-window:])) if len(values) >= window else NAN


def _std(medians: list[float], window: int) -> float:
    """Return the std (ddof 0) of the last `window` medians; NaN while there are fewer."""
    recent = medians[-window:]
    return float(np.std(recent)) if len(recent) == window and not math.isnan(recent[0]) else NAN

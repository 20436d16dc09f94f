"""The stop rule of Wise: the sizes of the two clusters have been stable for long enough."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class StopRule:
    """Stop when the std (ddof 0) of the median-filtered delta over `std_window` epochs is below `std_below`.

    The median is causal and never padded: ``m_j = median(delta[j - median_window + 1 .. j])`` (R11), so the first
    epoch that can stop is ``median_window + std_window - 1`` (R12; 50 with the paper's 11 and 40).
    """

    median_window: int
    std_window: int
    std_below: float
    deltas: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    stds: list[float] = field(default_factory=list)
    """NaN until enough epochs have passed; one entry an epoch, as in `medians`."""

    def add(self, delta: float) -> bool:
        """Take the delta of one more epoch; return whether the rule fires now."""
        self.deltas.append(delta)
        recent = self.deltas[-self.median_window :]
        self.medians.append(float(np.median(recent)) if len(recent) == self.median_window else float("nan"))
        window = self.medians[-self.std_window :]
        full = len(window) == self.std_window and not np.isnan(window[0])
        self.stds.append(float(np.std(window)) if full else float("nan"))
        return full and self.stds[-1] < self.std_below

    @property
    def epoch(self) -> int:
        """Epochs seen so far."""
        return len(self.deltas)

    @property
    def std(self) -> float | None:
        """The std after the last epoch; None while there are too few epochs."""
        return None if not self.stds or np.isnan(self.stds[-1]) else self.stds[-1]

"""How wrong a classifier is on the tiles that it answers, when it leaves out those that it is least sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """The curve of n tiles: at point i the i + 1 surest are answered.

    Attributes
    ----------
    coverage_n
        Share (n,) of the tiles that are answered, rising to 1.
    risk_n
        Share (n,) of wrong answers among those.
    """

    coverage_n: Floats
    risk_n: Floats

    @property
    def aurc(self) -> float | None:
        """Area under the curve: the mean risk over all coverages; None without tiles."""
        return float(self.risk_n.mean()) if self.risk_n.size else None

    @property
    def risk(self) -> float | None:
        """Share of wrong answers when every tile is answered; None without tiles."""
        return float(self.risk_n[-1]) if self.risk_n.size else None

    def risk_at(self, coverage: float) -> float | None:
        """Return the risk when at least this share is answered; None without tiles."""
        at = int(np.searchsorted(self.coverage_n, coverage - 1e-9))
        return float(self.risk_n[at]) if at < self.risk_n.size else None


def risk_coverage(u_n: NDArray[np.floating[Any]], wrong_n: NDArray[np.bool_]) -> RiskCoverage:
    """Answer tiles from the least uncertain `u_n` on; those of one u in random order, of which this is the mean."""
    _, group_n, size_g = np.unique(u_n, return_inverse=True, return_counts=True)
    group_n = group_n.reshape(-1)
    mean_g = np.bincount(group_n, weights=wrong_n.astype(np.float64), minlength=len(size_g)) / size_g
    answered_n = np.arange(1, len(u_n) + 1, dtype=np.float64)
    errors_n = np.cumsum(np.repeat(mean_g, size_g))
    return RiskCoverage(answered_n / max(len(u_n), 1), errors_n / answered_n)

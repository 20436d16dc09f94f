"""Join what the network and the image quality say of a tile into one severity with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.w2wnet.fit import WiseFit
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS
from w2wpath.w2wnet.quality import Quality
from w2wpath.w2wnet.uncertainty import Floats

NET_REASONS = ("label", "uncertain")
REASONS = (*NET_REASONS, *QUALITY_REASONS)
"""``label``: what is read names another class; ``uncertain``: it does not, but is unsure; the rest is image quality."""


@dataclass(frozen=True)
class Joined:
    """The joined judgement of n training tiles.

    Attributes
    ----------
    severity_nr
        (n, 5) for each of REASONS: how far beyond the cut of its own kind; above 1 excludes.
    """

    severity_nr: Floats

    @property
    def severity_n(self) -> Floats:
        """The joined score (n,): the worst severity of each tile, so that it exceeds 1 where a tile is excluded."""
        return np.asarray(self.severity_nr.max(axis=1))

    @property
    def excluded_n(self) -> NDArray[np.bool_]:
        """Which tiles (n,) are excluded."""
        return np.asarray(self.severity_n > 1.0)


def join(fit: WiseFit, labels: NDArray[np.int16], quality: Quality | None) -> Joined:
    """Join a Wise's fit with the image quality of the same tiles; None joins nothing (preset ``paper``).

    Severities are comparable because each is 1 at the cut of its own kind. All are 0 where the fit is degenerate: then
    nothing is excluded.
    """
    if fit.stop.reason == "degenerate":
        return Joined(np.zeros((len(labels), len(REASONS))))
    other_class = fit.read_nk.argmax(axis=1) != labels
    by_net = [np.where(other_class, fit.severity_n, 0.0), np.where(other_class, 0.0, fit.severity_n)]
    by_quality = np.zeros((len(labels), len(QUALITY_REASONS))) if quality is None else quality.severity_nr
    return Joined(np.column_stack([*by_net, by_quality]))

"""Judge what a Wise said of its training tiles, by the rules of `clean`; no truth is here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.study.cells import WiseCell
from w2wpath.benchmarks.study.ground import Ground
from w2wpath.config import NetSettings
from w2wpath.w2wnet.decide import join
from w2wpath.w2wnet.fit import WiseFit, judge
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS
from w2wpath.w2wnet.quality import Reference
from w2wpath.w2wnet.quality import judge as judge_quality
from w2wpath.w2wnet.second_reader import second_reading
from w2wpath.w2wnet.uncertainty import MCStats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One fold, judged.

    Attributes
    ----------
    severity_nr
        (n, 5) of the training tiles; above 1 excludes.
    unseen_quality_nr
        (m, 3) image quality of the unseen patients' tiles, against the reference of the training side.
    """

    fit: WiseFit
    severity_nr: Floats
    unseen_quality_nr: Floats

    @property
    def severity_n(self) -> Floats:
        """The worst severity of each training tile (n,)."""
        return np.asarray(self.severity_nr.max(axis=1))

    @property
    def kept_n(self) -> NDArray[np.bool_]:
        """Which training tiles (n,) stay."""
        return np.asarray(self.severity_n <= 1.0)


def read_again(ground: Ground, k: int, seed: int) -> Floats:
    """Return the second reader's probabilities (n, k) of fold `k`'s training tiles; no settings of a Wise change it."""
    train = ground.sides(k)[0]
    table = ground.table
    return second_reading(
        ground.texture_nf[train], table.patient[train], table.label[train], len(table.classes), seed=seed
    )


def judged(
    ground: Ground, cell: WiseCell, k: int, settings: NetSettings, seed: int, second_nk: Floats | None
) -> Judged:
    """Judge fold `k` from what its Wise said, and the second reader where there is one."""
    train, test = ground.sides(k)
    label_n = ground.table.label[train]
    exact = MCStats(len(train), cell.mean_nk.shape[1])
    exact.add(cell.mean_nk)  # u is the Gini impurity of the mean draw (F1), whatever the number of draws behind it
    # whether it learned nothing is a judgement too
    stop = replace(cell.stop, reason="max_epochs") if cell.stop.reason == "degenerate" else cell.stop
    fit = judge(cell.tracked_nk, exact, label_n, stop, settings, seed, second_nk)
    quality, unseen = None, np.zeros((len(test), len(QUALITY_REASONS)))
    if settings.quality and ground.features_nf is not None:
        features, slide = ground.features_nf, ground.table.slide
        reference = Reference.learn(features[train], slide[train])
        quality = judge_quality(features[train], slide[train], reference)
        unseen = judge_quality(features[test], slide[test], reference).severity_nr
    return Judged(fit, join(fit, label_n, quality).severity_nr, unseen)

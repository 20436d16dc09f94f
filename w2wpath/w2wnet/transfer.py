"""Whether a threshold on u that the folds' Wises set holds for the final Wise, which is another network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVELS = (0.5, 0.9, 0.95)
"""The quantiles that are told."""
FAR = 0.5
"""Kolmogorov-Smirnov distance above which a transfer is doubted. Tiles that a network trained on look surer than unseen
ones, so some distance is usual."""


@dataclass(frozen=True)
class Transfer:
    """Two distributions of u over the same kept tiles: out of fold, and of the final Wise, which trained on them.

    Attributes
    ----------
    out_of_fold, final
        Quantiles at LEVELS.
    distance
        Kolmogorov-Smirnov distance of the two, 0 (the same) to 1.
    flagged_out_of_fold, flagged_final
        Share of the tiles above each threshold, by its name.
    """

    tiles: int
    out_of_fold: tuple[float, ...]
    final: tuple[float, ...]
    distance: float
    flagged_out_of_fold: Mapping[str, float]
    flagged_final: Mapping[str, float]

    def warnings(self, name: str, flag_share: float) -> list[str]:
        """Say what speaks against threshold `name`, where `flag_share` of the kept tiles should lie above it."""
        said = []
        if (share := self.flagged_final[name]) > 2 * flag_share:
            said.append(
                f"threshold {name!r} flags {share:.1%} of the kept tiles by the final Wise, which trained on them, and "
                f"should flag {flag_share:.1%} of unseen ones: the final Wise is less sure than those of the folds, "
                "and slides will be masked more than stated. Clean with more epochs, and train again."
            )
        if self.distance > FAR:
            said.append(
                f"u of the final Wise is far from u out of fold (Kolmogorov-Smirnov distance {self.distance:.2f}, "
                f"above {FAR}): the share of a new patient's tiles that is masked may not be the stated one. "
                "Look at the mask of a slide that you know before you trust it."
            )
        return said


def compare(
    out_of_fold_n: NDArray[np.floating], final_n: NDArray[np.floating], thresholds: Mapping[str, float]
) -> Transfer:
    """Compare u (n,) out of fold with u (n,) of the final Wise on the same kept tiles.

    They are not compared tile by tile: the one is of unseen tiles, the other of training tiles.

    Raises
    ------
    ValueError
        There is no tile.
    """
    if not len(out_of_fold_n) or len(out_of_fold_n) != len(final_n):
        raise ValueError(f"u of the same tiles is needed, got {len(out_of_fold_n)} and {len(final_n)}")
    return Transfer(
        tiles=len(final_n),
        out_of_fold=tuple(np.quantile(out_of_fold_n, LEVELS).tolist()),
        final=tuple(np.quantile(final_n, LEVELS).tolist()),
        distance=ks_distance(out_of_fold_n, final_n),
        flagged_out_of_fold={name: float((out_of_fold_n > value).mean()) for name, value in thresholds.items()},
        flagged_final={name: float((final_n > value).mean()) for name, value in thresholds.items()},
    )


def ks_distance(a_n: NDArray[np.floating], b_n: NDArray[np.floating]) -> float:
    """Return the greatest gap between the distribution functions of two samples."""
    every = np.concatenate([a_n, b_n])
    share_a = np.searchsorted(np.sort(a_n), every, side="right") / len(a_n)
    share_b = np.searchsorted(np.sort(b_n), every, side="right") / len(b_n)
    return float(np.abs(share_a - share_b).max())

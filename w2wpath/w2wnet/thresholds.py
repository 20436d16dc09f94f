"""Thresholds on u for patients that no network has seen, set without any truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def quantile_threshold(u_n: NDArray[np.floating], flag_share: float) -> float:
    """Return the u above which the share `flag_share` of tiles with out-of-fold u (n,) lies; 1 where there is none.

    Give the tiles kept for training: what is kept should be confident, but for the stated share.
    """
    return float(np.quantile(u_n, 1.0 - flag_share)) if u_n.size else 1.0


def out_of_fold_thresholds(
    u_n: NDArray[np.floating], fold_n: NDArray[np.integer], folds: int, flag_share: float
) -> Floats:
    """Return a threshold (folds,) for each fold, from the kept tiles of the other folds alone.

    Parameters
    ----------
    u_n, fold_n
        Out-of-fold u and test fold of each kept tile (n,). A fold's own tiles never set the threshold that flags them.
    """
    return np.array([quantile_threshold(u_n[fold_n != k], flag_share) for k in range(folds)])

"""Thresholds on u for patients that no network has seen, set without any truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2wpath.w2wnet.folds import assert_out_of_fold

Floats = NDArray[np.float64]


def quantile_threshold(u_n: NDArray[np.floating], flag_share: float) -> float:
    """Return the u above which the share `flag_share` of tiles with out-of-fold u (n,) lies; 1 where there is none.

    Give the tiles kept for training: what is kept should be confident, but for the stated share.
    """
    return float(np.quantile(u_n, 1.0 - flag_share)) if u_n.size else 1.0


def out_of_fold_thresholds(
    u_n: NDArray[np.floating], fold_n: NDArray[np.integer], votes_nf: NDArray[np.int8], flag_share: float
) -> Floats:
    """Return a threshold (folds,) for each fold, from the tiles of the other folds that its own Wise keeps.

    So neither its own tiles set the threshold that flags them, nor a vote that they had a part in (K15). What is left
    is that the networks which give u to the other folds were trained on them.

    Parameters
    ----------
    u_n, fold_n
        Out-of-fold u and test fold of each judged tile (n,).
    votes_nf
        (n, folds) of the same tiles: 0 the fold's Wise keeps the tile, -1 the tile was not in its training side.

    Raises
    ------
    FoldError
        A u is of a network that was trained on its tile.
    """
    assert_out_of_fold(votes_nf, fold_n)
    return np.array([quantile_threshold(u_n[kept], flag_share) for kept in (votes_nf == 0).T])

"""Köhler et al. (2019) as the paper takes it: one MC-dropout classifier, a fixed threshold on u, prune, train again.

Their threshold is not given, so a row of quantiles is tried: what is reported is the best of them, which favours this
rival, and the median. They also correct labels, which neither the paper nor this comparison does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError

QUANTILES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def koehler_lists(u_n: NDArray[np.floating], quantiles: Sequence[float] = QUANTILES) -> dict[float, NDArray[np.bool_]]:
    """Return, for each quantile of u (n,), which training tiles (n,) a threshold there keeps: those at most that u.

    `u_n` is in-sample, of the draws over the tiles that the classifier was trained on. Tiles as uncertain as
    the threshold stay, so that a list may keep more than its share.

    Raises
    ------
    NonFiniteScoreError
        A tile has no finite uncertainty.
    """
    bad = int(np.count_nonzero(~np.isfinite(u_n)))
    if bad:
        raise NonFiniteScoreError(
            f"{bad} of {len(u_n)} tiles have no finite uncertainty. Leave out the tiles that were not judged."
        )
    # a quantile that is the u of a tile, never between two: rounding must not part equal tiles
    return {share: np.asarray(u_n <= np.quantile(u_n, share, method="inverted_cdf")) for share in quantiles}

"""Ponzio et al. (2020), the predecessor of W2WNet: cleaning downstream of a Bayesian network, not inside its training.

Our reading of it: a Bayesian network of a fixed number of epochs says how uncertain it is of tiles that it has not
seen; the uncertain ones are left out, and a deterministic network is trained on the rest. So that every training tile
is judged, the training side is halved by patient, and each half is read by a network of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.rival import Floats, Mask, Piece, Rival
from w2wpath.w2wnet.split import two_means

HALVES = 2
NEVER = 1_000_000
"""Epochs over which a std would have to be small for the stop rule to fire: more than any network is trained."""


def ponzio_list(u_n: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Keep the tiles whose u (n,), of a network that has not seen them, lies in the lower of two clusters.

    Their threshold is not given; it is that of exact two-means, as in W2WNet.
    """
    return np.asarray(u_n <= two_means(np.asarray(u_n, dtype=np.float64)).boundary)


def _pieces(part_n: NDArray[np.intp]) -> list[Piece]:
    # no stop rule, and so no epoch of the least std either: both are what W2WNet added
    fixed = {"std_window": NEVER}
    return [Piece("wise", f"half {p + 1}", part_n != p, part_n == p, fixed) for p in range(HALVES)]


def _judge(cells: Sequence[Any], labels: NDArray[np.int16], part_n: NDArray[np.intp]) -> tuple[Mask | None, Floats]:
    u = np.empty(len(labels))
    for p, cell in enumerate(cells):
        u[part_n == p] = cell.test_u
    return ~ponzio_list(u), u


RIVALS = {"ponzio": Rival(HALVES, _pieces, _judge)}

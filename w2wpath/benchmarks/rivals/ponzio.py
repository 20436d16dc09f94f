"""Ponzio et al. (2020), the predecessor of W2WNet: cleaning downstream of a Bayesian network, not inside its training.

Our reading of it: a Bayesian network of a fixed number of epochs says how uncertain it is of tiles that it has not
seen; the uncertain ones are left out, and a deterministic network is trained on the rest. So that every training tile
is judged, the training side is halved by patient, and each half is read by a network of the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2wpath.w2wnet.split import two_means


def ponzio_list(u_n: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Keep the tiles whose u (n,), of a network that has not seen them, lies in the lower of two clusters.

    Their threshold is not given; it is that of exact two-means, as in W2WNet.
    """
    return np.asarray(u_n <= two_means(np.asarray(u_n, dtype=np.float64)).boundary)

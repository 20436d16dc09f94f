"""A second reader of labels beside Wise: a forest on colour and texture, asked only about tiles that it has not seen.

Wise learns its training tiles by heart in part, wrong labels too. The forest reads each tile after learning from the
others of the same training side, so that it has nothing by heart; a tile's copies are not among those others, since of
two copies with two labels each would be read as the other, by heart again. Tiles of one patient may lie on both sides
of that, on purpose: what is asked is whether a tile's label fits tiles that look alike, and never how well unseen
patients are read. No figure of accuracy comes from here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.w2wnet import texture

Floats = NDArray[np.float64]

PARTS = 5
"""Each part is read by a forest that learned from the others."""
COPIES = 5
"""More tiles than these with the same pixels are a kind of tile of their own, such as empty glass, and are dealt like
any others: kept in one part, no forest would know their kind."""
TREES = 200
TRIED = 0.3
"""Share of the features that a split chooses from. With leaves of one tile and three tenths of the features the forest
ranked wrong labels that were planted in crc27 above the others better than with leaves of three and the root of their
number (`pipelines/crc/planted.py`)."""


def second_reading(
    texture_nf: NDArray[np.floating],
    patient_n: NDArray[np.integer],
    labels: NDArray[np.integer],
    n_classes: int,
    *,
    seed: int,
    **of_trees: Any,
) -> Floats:
    """Return probabilities (n, k) of each tile from extremely randomised trees (Geurts et al. 2006).

    Parameters
    ----------
    texture_nf
        (n, f) of training tiles, as of :func:`w2wpath.w2wnet.texture.measure`. Give no others. Tiles with the same
        numbers to the last bit are copies of each other.
    patient_n
        (n,) patients; the forest reads the numbers beside their z within each patient.
    labels
        (n,) given labels.
    of_trees
        Settings of scikit-learn's trees in place of those here.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    features_nf = texture.within(texture_nf, patient_n)
    part_n = _parts(texture_nf, labels, np.random.default_rng(seed))
    probs = np.zeros((len(labels), n_classes))
    for part in range(PARTS):
        here, rest = part_n == part, part_n != part
        if not here.any() or not rest.any():
            probs[here] = 1.0 / n_classes
            continue
        forest = ExtraTreesClassifier(TREES, random_state=seed + part, **{"max_features": TRIED, **of_trees})
        forest.fit(features_nf[rest], labels[rest])
        probs[np.ix_(here, forest.classes_)] = forest.predict_proba(features_nf[here])
    return probs


def _parts(
    texture_nf: NDArray[np.floating], labels: NDArray[np.integer], random: np.random.Generator
) -> NDArray[np.intp]:
    """Deal the tiles of each class over the parts, at random; a few copies follow the first of them."""
    part_n = np.empty(len(labels), dtype=np.intp)
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        part_n[mine] = (np.arange(len(mine)) + random.integers(PARTS)) % PARTS
    found = np.unique(texture_nf, axis=0, return_index=True, return_inverse=True, return_counts=True)
    first, copy_of, count = found[1], found[2].reshape(-1), found[3]  # numpy 2.0 alone gives the inverse a second axis
    return np.where(count[copy_of] <= COPIES, part_n[first[copy_of]], part_n)

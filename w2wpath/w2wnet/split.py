"""Cut scores into two clusters, and tell whether there are two at all.

Two-means always cuts, also where nothing is wrong: a cut says nothing about whether two groups exist. `is_separated`
asks that question by itself, and may set nothing aside (R14, R20).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError, did_you_mean

Floats = NDArray[np.float64]

ENGINES = ("exact", "kmeans++")
STARTS = 10
"""Starts of k-means++; the best is taken."""
CHANCE = 1.7
"""Largest gap times sqrt(tiles) of a side whose law has no valley; a law without one exceeds it in less than 1 % of
samples. It is the 0.99 quantile for the uniform law, the worst case, simulated: 1.61 for 10 tiles, 1.69 for 100, 1.67
for 1,000."""


@dataclass(frozen=True)
class Split:
    """Two clusters of scores.

    Attributes
    ----------
    low, high
        Centroids; equal when all scores are equal.
    boundary
        Their midpoint: training tiles above it belong to the high cluster and are pruned (R17).
    high_n
        (n,) bool, the members of the high cluster.
    """

    low: float
    high: float
    boundary: float
    high_n: NDArray[np.bool_]

    @property
    def delta(self) -> float:
        """Signed, normalised difference of the cluster sizes: (n_low - n_high) / n (R10)."""
        return 1.0 - 2.0 * float(self.high_n.mean())

    @property
    def centroid(self) -> float:
        """Centroid of the high cluster: an unseen tile above it is uncertain (R18)."""
        return self.high


def cut(scores_n: NDArray[np.floating], engine: str, *, seed: int) -> Split:
    """Split scores (n,) by the engine of that name: ``exact``, which needs no seed, or ``kmeans++``.

    Raises
    ------
    NonFiniteScoreError
        A score is NaN or infinite.
    ValueError
        There is no score, or no such engine.
    """
    if engine == "exact":
        return two_means(scores_n)
    if engine == "kmeans++":
        return kmeans_plus_plus(scores_n, seed=seed)
    raise ValueError(f"engine must be one of {', '.join(ENGINES)}; got {engine!r}.{did_you_mean(engine, ENGINES)}")


def two_means(scores_n: NDArray[np.floating]) -> Split:
    """Split scores (n,) into the two clusters with the least total squared distance to their means.

    Sort and prefix sums, O(n log n), deterministic: the global optimum, which k-means with K = 2 only searches for.
    When all scores are equal the high cluster is empty.

    Raises
    ------
    NonFiniteScoreError
        A score is NaN or infinite.
    ValueError
        There is no score.
    """
    scores = _checked(scores_n)
    ordered = np.sort(scores)
    if ordered[0] == ordered[-1]:
        return _one_cluster(scores)
    # centred, so that the prefix sums below do not lose digits on a common offset
    centre = float(ordered.mean())
    rising = ordered - centre
    n_low = np.arange(1, scores.size)
    sum_low = np.cumsum(rising)[:-1]
    sum_high = rising.sum() - sum_low
    # in units of the span, so that no square underflows
    span = float(ordered[-1] - ordered[0])
    gain = (sum_low / span) ** 2 / n_low + (sum_high / span) ** 2 / (scores.size - n_low)
    # equal scores cannot be told apart, so a cut between them is no cut
    gain[ordered[:-1] == ordered[1:]] = -np.inf
    best = int(gain.argmax())
    low = centre + float(sum_low[best] / n_low[best])
    high = centre + float(sum_high[best] / (scores.size - n_low[best]))
    return Split(low, high, (low + high) / 2.0, scores > ordered[best])


def kmeans_plus_plus(scores_n: NDArray[np.floating], *, seed: int) -> Split:
    """Split scores (n,) by scikit-learn's k-means++ with ten starts: R9 to the letter.

    Clusters are ordered by centroid. Never better than :func:`two_means`. When all scores are equal the high cluster
    is empty. Equal seeds give equal clusters; a seed counts modulo 2^32.

    Raises
    ------
    NonFiniteScoreError
        A score is NaN or infinite.
    ValueError
        There is no score.
    """
    # scikit-learn takes a second to load, and only this engine needs it: the core stays NumPy alone
    from sklearn.cluster import KMeans

    scores = _checked(scores_n)
    least, most = float(scores.min()), float(scores.max())
    if least == most:
        return _one_cluster(scores)
    # the clusters do not depend on the scale; on [0, 1] no squared distance underflows
    unit_n1 = ((scores - least) / (most - least))[:, None]
    found: Any = KMeans(2, init="k-means++", n_init=STARTS, random_state=seed % 2**32).fit(unit_n1)
    high_n: NDArray[np.bool_] = found.labels_ == int(found.cluster_centers_[:, 0].argmax())
    low, high = float(scores[~high_n].mean()), float(scores[high_n].mean())
    return Split(low, high, (low + high) / 2.0, high_n)


def separation(scores_n: NDArray[np.floating], split: Split) -> float:
    """Return how deep the valley at the boundary is: 0 (none) to 1 (two points).

    If scores follow a law with one mode, the mode lies below or above the boundary. If below, the density only falls
    above the boundary, so that the distribution function of the high cluster is concave; if above, that of the low
    cluster is concave when read downwards from the boundary. A valley breaks both. So the separation is, of the two
    sides, the smaller largest gap between the side's empirical distribution function, read from the boundary
    outwards, and its least concave majorant. A group spread evenly over a width w that begins at a distance d from
    the boundary has the gap d / (d + w).

    The between-cluster variance or Ashman's D cannot do this: the cut itself makes them large. After a hard cut D is
    2.65 for one Gaussian and 3.46 for a uniform law, where two groups are said to begin at 2.

    What it does not see:

    - A skewed law, most mass near 0 with a long tail, has one mode though spurious tiles make the tail: 0.
    - Groups whose boundary does not lie in the valley, because one is far larger or wider than the other.
    - Scores on a grid (few draws, rounding): every grid point is a mode of its own, and the gap is real.

    Raises
    ------
    NonFiniteScoreError
        A score is NaN or infinite.
    ValueError
        There is no score, or the split is one of other scores.
    """
    return min((gap for gap, _ in _sides(scores_n, split)), default=0.0)


def is_separated(scores_n: NDArray[np.floating], split: Split, min_separation: float) -> bool:
    """Tell whether the scores are two groups: the gate that may set nothing aside (R14, R20).

    They are when the separation reaches `min_separation` and, on each side, the gap is more than chance:
    gap * sqrt(tiles of the side) > 1.7. The second condition needs three tiles a side at least. At a boundary fixed
    beforehand a law with one mode passes it in less than 1 % of samples, whatever its form: with L the majorant of
    the empirical function G of uniform draws, and F concave, L(F) is concave and above G(F), so no gap of draws from
    F exceeds that of the uniform ones. That the boundary comes from the same scores is not in the proof, but in the
    tests. Scores of tiles that shared dropout masks or a slide are not independent: there the 1 % is optimistic.

    Raises
    ------
    NonFiniteScoreError
        A score is NaN or infinite.
    ValueError
        `min_separation` is not in 0..1, there is no score, or the split is one of other scores.
    """
    if not 0.0 <= min_separation <= 1.0:
        raise ValueError(f"min_separation must lie in 0..1, got {min_separation!r}")
    sides = _sides(scores_n, split)
    return bool(sides) and all(gap >= min_separation and gap * n**0.5 > CHANCE for gap, n in sides)


def _checked(scores_n: NDArray[np.floating]) -> Floats:
    scores = np.asarray(scores_n, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores_n must be a non-empty vector, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise NonFiniteScoreError(f"{int((~np.isfinite(scores)).sum())} of {scores.size} tiles have no finite score.")
    return scores


def _one_cluster(scores: Floats) -> Split:
    value = float(scores[0])
    return Split(value, value, value, np.zeros(scores.size, dtype=np.bool_))


def _sides(scores_n: NDArray[np.floating], split: Split) -> tuple[tuple[float, int], ...]:
    """Return gap and number of tiles of the low and the high side; nothing when one is empty."""
    scores = _checked(scores_n)
    if split.high_n.shape != scores.shape:
        raise ValueError(f"this split is of {split.high_n.size} tiles, not of {scores.size}")
    above = scores - split.boundary
    sides = (-above[~split.high_n], above[split.high_n])
    return tuple((_gap(side), side.size) for side in sides) if all(side.size for side in sides) else ()


def _gap(distances: Floats) -> float:
    """Return the largest gap between the empirical function of distances (n,) >= 0 and its concave majorant from 0."""
    # one tile more at distance 0 anchors the majorant at the boundary; it is not counted
    x, counts = np.unique(np.append(np.maximum(distances, 0.0), 0.0), return_counts=True)
    y = (np.cumsum(counts) - 1) / distances.size
    corner_x, corner_y = _concave_majorant(x.tolist(), y.tolist())
    # the function jumps at x, so the gap is largest just before
    return float((np.interp(x[1:], corner_x, corner_y) - y[:-1]).max(initial=0.0))


def _concave_majorant(xs: list[float], ys: list[float]) -> tuple[list[float], list[float]]:
    """Return the corners of the least concave function above the points; xs rise strictly."""
    corner_x: list[float] = []
    corner_y: list[float] = []
    for x, y in zip(xs, ys, strict=True):
        while len(corner_x) > 1 and _below(corner_x, corner_y, x, y):
            corner_x.pop()
            corner_y.pop()
        corner_x.append(x)
        corner_y.append(y)
    return corner_x, corner_y


def _below(corner_x: list[float], corner_y: list[float], x: float, y: float) -> bool:
    """Tell whether the last corner lies on or below the chord from the one before it to (x, y)."""
    run, rise = x - corner_x[-2], y - corner_y[-2]
    return (corner_y[-1] - corner_y[-2]) * run <= rise * (corner_x[-1] - corner_x[-2])

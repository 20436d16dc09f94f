"""Labels from the exact area share of every class in every tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

NO_LABEL = -1
SLACK = 1e-6
"""float32 shares of an exact half may read 0.49999997."""
Policy = Literal["drop-conflict", "majority", "priority", "multi"]

_LARGE = 2000
"""Vertices from which an area is halved towards its tiles, rather than met with each."""
_FEW = 4


@dataclass(frozen=True)
class Shares:
    """Exact shares of n tiles: ``area_share`` (n, C) float32 by class, ``roi`` (n,) int32 largest region or -1."""

    area_share: NDArray[np.float32]
    roi: NDArray[np.int32]


def area_shares(
    x0: NDArray[np.int32],
    y0: NDArray[np.int32],
    side0: int,
    regions: Sequence[tuple[int, BaseGeometry]],
    ignored: Sequence[BaseGeometry],
    n_classes: int,
) -> Shares:
    """Measure how much of each tile each class covers.

    Each region meets the tiles at its edge; a union is formed only where several regions of one class meet in a
    tile that none of them fills.

    Parameters
    ----------
    x0, y0, side0
        Corners (n,) and side of the tiles, level-0 pixels of the slide frame.
    regions
        (class index, area) in the same frame. Overlapping regions of one class count once.
    ignored
        Areas taken out of every class.
    n_classes
        C.
    """
    boxes = shapely.box(x0, y0, x0.astype(np.float64) + side0, y0.astype(np.float64) + side0)
    areas = _without(_objects([area for _, area in regions]), _objects(ignored))
    shapely.prepare(areas)
    region_i, tile_i = shapely.STRtree(boxes).query(areas, predicate="intersects")
    pieces = boxes[tile_i]
    edge = np.flatnonzero(~shapely.contains_properly(areas[region_i], pieces))
    pieces[edge] = _cut_out(areas, region_i[edge], pieces[edge])
    covered = shapely.area(pieces)
    met = covered > 0  # a region that only touches a tile covers nothing
    region_i, tile_i, pieces, covered = region_i[met], tile_i[met], pieces[met], covered[met]
    klass = np.array([index for index, _ in regions], dtype=np.int64)
    cell = tile_i * n_classes + klass[region_i]
    area = np.zeros(len(x0) * n_classes, dtype=np.float64)
    np.add.at(area, cell, covered)
    _count_overlaps_once(area, cell, pieces, covered, float(side0) ** 2)
    share = np.minimum(area / float(side0) ** 2, 1.0).reshape(len(x0), n_classes)
    return Shares(share.astype(np.float32), _largest(len(x0), tile_i, region_i, covered))


def _objects(areas: Sequence[BaseGeometry]) -> NDArray[Any]:
    found = np.empty(len(areas), dtype=object)
    found[:] = areas
    return found


def _without(areas: NDArray[Any], ignored: NDArray[Any]) -> NDArray[Any]:
    """Take out of each area what is ignored there."""
    area_i, ignored_i = shapely.STRtree(ignored).query(areas, predicate="intersects")
    left = areas.copy()
    for i, mine in _groups(area_i):
        left[i] = shapely.difference(areas[i], shapely.union_all(ignored[ignored_i[mine]]))
    return left


def _cut_out(areas: NDArray[Any], region_i: NDArray[np.int64], boxes: NDArray[Any]) -> NDArray[Any]:
    """Return the part of area ``region_i[p]`` in ``boxes[p]`` for each pair p."""
    large = shapely.get_num_coordinates(areas)[region_i] > _LARGE
    pieces = np.empty(len(boxes), dtype=object)
    pieces[~large] = shapely.intersection(areas[region_i[~large]], boxes[~large])
    pairs = np.flatnonzero(large)
    for i, mine in _groups(region_i[pairs]):
        pieces[pairs[mine]] = _halved(areas[i], boxes[pairs[mine]])
    return pieces


def _groups(values: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Give each value and where it stands."""
    order = np.argsort(values, kind="stable")
    found, start = np.unique(values[order], return_index=True)
    return zip(found.tolist(), np.split(order, start[1:]), strict=False)  # of nothing, split gives one part


def _halved(area: BaseGeometry, boxes: NDArray[Any]) -> NDArray[Any]:
    """Cut an area of many vertices in two again and again, so that a tile meets only the vertices near it."""
    if len(boxes) <= _FEW or shapely.get_num_coordinates(area) <= _LARGE:
        return np.asarray(shapely.intersection(area, boxes))
    bounds = shapely.bounds(boxes)
    wider = int(np.argmax(bounds[:, 2:].max(axis=0) - bounds[:, :2].min(axis=0)))
    pieces = np.empty(len(boxes), dtype=object)
    for half in np.array_split(np.argsort(bounds[:, wider], kind="stable"), 2):
        around = shapely.box(*bounds[half, :2].min(axis=0), *bounds[half, 2:].max(axis=0))
        pieces[half] = _halved(shapely.intersection(area, around), boxes[half])
    return pieces


def _count_overlaps_once(
    area: NDArray[np.float64],
    cell: NDArray[np.int64],
    pieces: NDArray[Any],
    covered: NDArray[np.float64],
    whole: float,
) -> None:
    """Put the area of their union where several pieces lie in one cell (tile and class) of `area`."""
    order = np.argsort(cell, kind="stable")
    found, start, count = np.unique(cell[order], return_index=True, return_counts=True)
    several = np.flatnonzero(count > 1)
    found, start, count = found[several], start[several], count[several]
    filled = np.zeros(len(area), dtype=np.bool_)
    filled[cell[covered >= whole]] = True  # one of the pieces is the whole tile
    area[found[filled[found]]] = whole
    for size in np.unique(count[~filled[found]]):
        these = ~filled[found] & (count == size)
        together = pieces[order[start[these][:, None] + np.arange(size)]]
        area[found[these]] = shapely.area(shapely.union_all(together, axis=1))


def _largest(
    n: int, tile_i: NDArray[np.int64], region_i: NDArray[np.int64], covered: NDArray[np.float64]
) -> NDArray[np.int32]:
    roi = np.full(n, -1, dtype=np.int32)
    for_largest_last = np.argsort(covered, kind="stable")
    roi[tile_i[for_largest_last]] = region_i[for_largest_last]
    return roi


@dataclass(frozen=True)
class Labels:
    """Labels (n,) int16 with -1 where none, and why: counts of ``border`` (no class claims) and ``conflict`` tiles."""

    label: NDArray[np.int16]
    border: int
    conflict: int


def labels_of(
    area_share: NDArray[np.float32],
    policy: Policy,
    *,
    label_share: float,
    conflict_share: float,
    ranks: Sequence[int] | None = None,
) -> Labels:
    """Label tiles by a policy; a class claims a tile when it covers at least `label_share` of it.

    Parameters
    ----------
    area_share
        Shares (n, C).
    policy
        ``drop-conflict``: the class that claims, unless another covers `conflict_share`.
        ``majority``: the class that covers most, if it claims; a tie is a conflict.
        ``priority``: the first class of `ranks` that claims. ``multi``: every class that claims counts
        (see :func:`multi_hot`), the label is the one that covers most.
    ranks
        Class indices, first first; None takes 0 to C - 1.
    """
    if policy == "drop-conflict":
        return drop_conflict(area_share, label_share=label_share, conflict_share=conflict_share)
    if policy == "majority":
        return majority(area_share, label_share=label_share)
    if policy == "priority":
        ranks = range(area_share.shape[1]) if ranks is None else ranks
        return priority(area_share, label_share=label_share, ranks=ranks)
    if policy == "multi":
        return multi(area_share, label_share=label_share)
    raise ValueError(f"no such label policy: {policy!r}")


def drop_conflict(area_share: NDArray[np.float32], *, label_share: float, conflict_share: float) -> Labels:
    """Label each tile with the class that covers at least `label_share` of it, unless another covers `conflict_share`.

    A tile that two classes claim is a conflict, one that no class claims is border; both get -1.
    """
    first, top, second = _two_largest(area_share)
    return _labels(first, top >= label_share - SLACK, second >= conflict_share - SLACK)


def majority(area_share: NDArray[np.float32], *, label_share: float) -> Labels:
    """Label each tile with the class that covers most of it, if that is `label_share`; equal shares are a conflict."""
    first, top, second = _two_largest(area_share)
    claimed = top >= label_share - SLACK
    return _labels(first, claimed, np.logical_and(claimed, top - second <= SLACK))


def priority(area_share: NDArray[np.float32], *, label_share: float, ranks: Sequence[int]) -> Labels:
    """Label each tile with the first class of `ranks` that covers at least `label_share` of it; never a conflict."""
    claims = multi_hot(area_share, label_share)[:, list(ranks)]
    first = np.asarray(ranks, dtype=np.int64)[claims.argmax(axis=1)]
    return _labels(first, np.asarray(claims.any(axis=1)), np.zeros(len(first), dtype=np.bool_))


def multi(area_share: NDArray[np.float32], *, label_share: float) -> Labels:
    """Label each tile with the class that covers most of it, if that is `label_share`; never a conflict."""
    first, top, _ = _two_largest(area_share)
    return _labels(first, top >= label_share - SLACK, np.zeros(len(first), dtype=np.bool_))


def multi_hot(area_share: NDArray[np.float32], label_share: float) -> NDArray[np.bool_]:
    """Return (n, C): every class that covers at least `label_share` of a tile."""
    return np.asarray(area_share >= label_share - SLACK)


def _two_largest(
    area_share: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return the class that covers most (the first of equals), its share, and the next share; 0 where there is none."""
    n, n_classes = area_share.shape
    first = area_share.argmax(axis=1)
    top = area_share[np.arange(n), first]
    others = area_share.copy()
    others[np.arange(n), first] = -1.0
    second = others.max(axis=1) if n_classes > 1 else np.zeros(n, dtype=np.float32)
    return first, top, second


def _labels(first: NDArray[np.int64], claimed: NDArray[np.bool_], contested: NDArray[np.bool_]) -> Labels:
    label = np.where(claimed & ~contested, first, NO_LABEL).astype(np.int16)
    return Labels(label, border=int((~claimed & ~contested).sum()), conflict=int(contested.sum()))

"""Labels from the exact area share of every class in every tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

NO_LABEL = -1


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
    mask = shapely.union_all(list(ignored)) if ignored else None
    areas = np.array([area if mask is None else shapely.difference(area, mask) for _, area in regions], dtype=object)
    klass = np.array([index for index, _ in regions], dtype=np.int64)
    shapely.prepare(areas)
    tree = shapely.STRtree(boxes)
    region_i, tile_i = tree.query(areas, predicate="intersects")
    whole = shapely.contains_properly(areas[region_i], boxes[tile_i])
    pieces = boxes[tile_i].copy()
    pieces[~whole] = shapely.intersection(areas[region_i[~whole]], boxes[tile_i[~whole]])
    covered = shapely.area(pieces)
    share = np.zeros((len(x0), n_classes), dtype=np.float64)
    np.add.at(share, (tile_i, klass[region_i]), covered)
    for tile, of_class in _covered_twice(tile_i, klass[region_i]):
        # a tile under several regions of one class: their union, so that an overlap counts once
        mine = (tile_i == tile) & (klass[region_i] == of_class)
        share[tile, of_class] = shapely.area(shapely.union_all(pieces[mine]))
    return Shares((share / side0**2).astype(np.float32), _largest(len(x0), tile_i, region_i, covered))


def _covered_twice(tile_i: NDArray[np.int64], klass_i: NDArray[np.int64]) -> list[tuple[int, int]]:
    pairs, count = np.unique(np.stack([tile_i, klass_i], axis=1), axis=0, return_counts=True)
    return [(int(tile), int(of_class)) for tile, of_class in pairs[count > 1]]


def _largest(
    n: int, tile_i: NDArray[np.int64], region_i: NDArray[np.int64], covered: NDArray[np.float64]
) -> NDArray[np.int32]:
    roi = np.full(n, -1, dtype=np.int32)
    for_largest_last = np.argsort(covered, kind="stable")
    for_largest_last = for_largest_last[covered[for_largest_last] > 0]  # a region that only touches covers nothing
    roi[tile_i[for_largest_last]] = region_i[for_largest_last]
    return roi


@dataclass(frozen=True)
class Labels:
    """Labels (n,) int16 with -1 where none, and why: counts of ``labelled``, ``border`` and ``conflict`` tiles."""

    label: NDArray[np.int16]
    border: int
    conflict: int


def majority(area_share: NDArray[np.float32], *, label_share: float, conflict_share: float) -> Labels:
    """Label each tile with the class that covers at least `label_share` of it, unless another covers `conflict_share`.

    A tile that two classes claim is a conflict, one that no class claims is border; both get -1.
    """
    n, n_classes = area_share.shape
    first = area_share.argmax(axis=1)
    top = area_share[np.arange(n), first]
    others = area_share.copy()
    others[np.arange(n), first] = -1.0
    second = others.max(axis=1) if n_classes > 1 else np.zeros(n, dtype=np.float32)
    # float32 shares of an exact half may read 0.49999997
    claimed = top >= label_share - 1e-6
    contested = second >= conflict_share - 1e-6
    label = np.where(claimed & ~contested, first, NO_LABEL).astype(np.int16)
    return Labels(label, border=int((~claimed & ~contested).sum()), conflict=int(contested.sum()))

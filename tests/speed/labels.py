"""How fast exact area shares are measured: 100,000 candidate tiles under 1,000 blobs of 200 vertices that overlap.

Run: ``python tests/speed/labels.py``. Prints seconds and the ratio to uniting each class first and cutting the union
with every tile at its edge (medians of 3, both ways in turns), and how far the shares of both differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.tiles.labels import area_shares

ROUNDS, SIDE0, CLASSES, VERTICES = 3, 224, 4, 200
Case = tuple[NDArray[np.int32], NDArray[np.int32], list[tuple[int, BaseGeometry]]]


def case(tiles: int, blobs: int) -> Case:
    """Make a square grid of `tiles` and (class, blob) pairs that cover it 3 to 4 times over."""
    across = int(np.ceil(np.sqrt(tiles)))
    place = np.arange(tiles, dtype=np.int32)
    draw = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    regions = []
    for _ in range(blobs):
        waves = sum(draw.normal(0, 0.25 / k) * np.cos(k * angle + draw.uniform(0, 2 * np.pi)) for k in range(2, 8))
        radius = 10 * SIDE0 * draw.uniform(0.5, 1.5) * np.clip(1 + waves, 0.2, 3)
        x, y = draw.uniform(0, across * SIDE0, 2)
        blob = shapely.Polygon(np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=-1))
        regions.append((int(draw.integers(CLASSES)), blob))
    return place % across * SIDE0, place // across * SIDE0, regions


def by_pairs(made: Case) -> NDArray[np.float32]:
    """Measure as `tile` does."""
    x0, y0, regions = made
    return area_shares(x0, y0, SIDE0, regions, [], CLASSES).area_share


def united_first(made: Case) -> NDArray[np.float32]:
    """Unite each class, then cut the union with every tile at its edge."""
    x0, y0, regions = made
    boxes = shapely.box(x0, y0, x0 + SIDE0, y0 + SIDE0)
    share = np.zeros((len(x0), CLASSES), dtype=np.float32)
    for k in range(CLASSES):
        union = shapely.union_all([area for index, area in regions if index == k])
        shapely.prepare(union)
        whole = shapely.contains_properly(union, boxes)
        edge = shapely.intersects(union, boxes) & ~whole
        share[whole, k] = 1
        share[edge, k] = shapely.area(shapely.intersection(union, boxes[edge])) / SIDE0**2
    return share


def main() -> None:
    """Measure both ways in turns."""
    made = case(100_000, 1000)
    cover = sum(area.area for _, area in made[2]) / (100_000 * SIDE0**2)
    _say(f"100000 tiles, 1000 blobs of {VERTICES} vertices, {CLASSES} classes, covered {cover:.1f} times")
    rounds = [(_timed(by_pairs, made), _timed(united_first, made)) for _ in range(ROUNDS)]
    own, plain = (sorted(pair[way][0] for pair in rounds) for way in (0, 1))
    _say(f"pairs by polygon: {own[ROUNDS // 2]:.1f} s (from {own[0]:.1f} to {own[-1]:.1f}; the limit is 15)")
    _say(f"each class united first: {plain[ROUNDS // 2]:.1f} s, ratio {plain[ROUNDS // 2] / own[ROUNDS // 2]:.1f}")
    _say(f"largest difference of a share: {np.abs(rounds[0][0][1] - rounds[0][1][1]).max():.1e}")


def _timed(way: Callable[[Case], NDArray[np.float32]], made: Case) -> tuple[float, NDArray[np.float32]]:
    began = time.perf_counter()
    found = way(made)
    return time.perf_counter() - began, found


def _say(line: str) -> None:
    print(line)  # noqa: T201 - a script


if __name__ == "__main__":
    main()

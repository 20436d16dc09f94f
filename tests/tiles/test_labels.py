"""Area shares against brute force, one tile and one class at a time; labels from shares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import union_all
from shapely.geometry import Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from w2wpath.tiles.labels import Shares, area_shares, majority

SIDE0 = 10
Y0, X0 = (axis.ravel().astype(np.int32) for axis in np.mgrid[0:40:SIDE0, 0:40:SIDE0])


def measured(regions: list[tuple[int, BaseGeometry]], ignored: list[BaseGeometry] | None = None) -> Shares:
    return area_shares(X0, Y0, SIDE0, regions, ignored or [], 3)


def at(shares: Shares, x0: int, y0: int) -> list[float]:
    row = int(np.flatnonzero((x0 == X0) & (y0 == Y0))[0])
    return [round(float(share), 6) for share in shares.area_share[row]]


def brute_force(regions: list[tuple[int, BaseGeometry]], ignored: list[BaseGeometry]) -> NDArray[np.float64]:
    share = np.zeros((len(X0), 3))
    for i, (x, y) in enumerate(zip(X0.tolist(), Y0.tolist(), strict=True)):
        tile = box(x, y, x + SIDE0, y + SIDE0)
        for k in range(3):
            mine = union_all([area for index, area in regions if index == k])
            share[i, k] = mine.difference(union_all(ignored)).intersection(tile).area / SIDE0**2
    return share


def test_a_region_covers_what_it_covers() -> None:
    shares = measured([(1, box(0, 0, 15, 10))])
    assert shares.area_share.dtype == np.float32
    assert (at(shares, 0, 0), at(shares, 10, 0), at(shares, 20, 0)) == ([0, 1, 0], [0, 0.5, 0], [0, 0, 0])


def test_regions_of_one_class_that_overlap_count_once() -> None:
    shares = measured([(0, box(0, 0, 6, 10)), (0, box(4, 0, 8, 10)), (0, box(0, 0, 10, 2))])
    assert at(shares, 0, 0) == [0.84, 0, 0]


def test_classes_that_overlap_count_each_for_itself() -> None:
    shares = measured([(0, box(0, 0, 10, 10)), (2, box(0, 0, 10, 5))])
    assert at(shares, 0, 0) == [1, 0, 0.5]


def test_ignored_areas_are_taken_out_of_every_class() -> None:
    shares = measured([(0, box(0, 0, 20, 10)), (1, box(0, 0, 10, 10))], [box(0, 0, 5, 10), box(3, 0, 12, 5)])
    assert (at(shares, 0, 0), at(shares, 10, 0)) == ([0.25, 0.25, 0], [0.9, 0, 0])


def test_a_hole_is_a_hole() -> None:
    holed = Polygon(box(0, 0, 30, 30).exterior, [box(10, 10, 20, 20).exterior])
    shares = measured([(0, holed)])
    assert (at(shares, 0, 0), at(shares, 10, 10), at(shares, 20, 10)) == ([1, 0, 0], [0, 0, 0], [1, 0, 0])


def test_the_region_named_is_the_one_that_covers_most() -> None:
    shares = measured([(0, box(0, 0, 10, 3)), (1, box(0, 3, 10, 10)), (0, box(10, 0, 20, 10))])
    assert shares.roi[:4].tolist() == [1, 2, -1, -1]


def test_a_region_that_only_touches_a_tile_is_not_named() -> None:
    assert measured([(0, box(10, 10, 20, 20))]).roi.tolist().count(0) == 1


def test_without_tiles_or_with_regions_elsewhere_nothing_is_covered() -> None:
    none = np.zeros(0, dtype=np.int32)
    assert area_shares(none, none, SIDE0, [(0, box(0, 0, 5, 5))], [], 3).area_share.shape == (0, 3)
    far = measured([(0, box(1000, 1000, 1010, 1010))])
    assert (far.area_share.max(), far.roi.max()) == (0, -1)


corner = st.integers(-5, 35)
length = st.integers(1, 25)
rectangles = st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), corner, corner, length, length)
discs = st.builds(lambda x, y, r: Point(x, y).buffer(r), corner, corner, st.floats(0.5, 12))
rings = st.builds(lambda disc, r: disc.difference(disc.centroid.buffer(r)), discs, st.floats(0.1, 0.4))
areas = rectangles | discs | rings


@given(
    regions=st.lists(st.tuples(st.integers(0, 2), areas), min_size=1, max_size=7), ignored=st.lists(areas, max_size=3)
)
def test_shares_are_those_of_brute_force(regions: list[tuple[int, BaseGeometry]], ignored: list[BaseGeometry]) -> None:
    shares = measured(regions, ignored)
    assert np.allclose(shares.area_share, brute_force(regions, ignored), atol=1e-5)


@given(regions=st.lists(st.tuples(st.integers(0, 2), areas), min_size=1, max_size=7))
def test_the_named_region_covers_no_less_than_any_other(regions: list[tuple[int, BaseGeometry]]) -> None:
    roi = measured(regions).roi
    for i, (x, y) in enumerate(zip(X0.tolist(), Y0.tolist(), strict=True)):
        covered = [area.intersection(box(x, y, x + SIDE0, y + SIDE0)).area for _, area in regions]
        assert (roi[i] == -1) == (max(covered) < 1e-12)
        assert roi[i] == -1 or covered[roi[i]] == pytest.approx(max(covered))


def labels_of(*rows: tuple[float, ...]) -> tuple[list[int], int, int]:
    found = majority(np.array(rows, dtype=np.float32), label_share=0.5, conflict_share=0.25)
    return found.label.tolist(), found.border, found.conflict


def test_a_tile_takes_the_class_that_covers_half_of_it() -> None:
    assert labels_of((0.5, 0.0), (0.1, 0.9), (1.0, 0.24)) == ([0, 1, 0], 0, 0)


def test_too_little_of_one_class_is_border() -> None:
    assert labels_of((0.49, 0.0), (0.2, 0.1)) == ([-1, -1], 2, 0)


def test_too_much_of_another_class_is_a_conflict() -> None:
    assert labels_of((0.75, 0.25), (0.5, 0.5), (1.0, 1.0)) == ([-1, -1, -1], 0, 3)


def test_one_class_alone_never_conflicts() -> None:
    assert labels_of((0.6,), (0.4,)) == ([0, -1], 1, 0)


def test_an_exact_half_survives_single_precision() -> None:
    assert labels_of((0.49999997, 0.0)) == ([0], 0, 0)


@given(
    shares=st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=1, max_size=8),
    label_share=st.integers(1, 20),
    conflict_share=st.integers(1, 20),
)
def test_every_tile_is_labelled_border_or_conflict(
    shares: list[list[int]], label_share: int, conflict_share: int
) -> None:
    found = majority(
        np.array(shares, dtype=np.float32) / 20, label_share=label_share / 20, conflict_share=conflict_share / 20
    )
    border = conflict = 0
    for label, row in zip(found.label.tolist(), shares, strict=True):
        top, second = sorted(row, reverse=True)[:2]
        border += second < conflict_share and top < label_share
        conflict += second >= conflict_share
        assert label == (row.index(top) if top >= label_share and second < conflict_share else -1)
    assert (found.border, found.conflict) == (border, conflict)

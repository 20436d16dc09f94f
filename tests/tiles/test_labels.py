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

from w2wpath.tiles import labels
from w2wpath.tiles.labels import Labels, Policy, Shares, area_shares, labels_of, multi_hot

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


@given(regions=st.lists(st.tuples(st.integers(0, 2), areas), min_size=1, max_size=5))
def test_areas_of_many_vertices_are_halved_to_the_same_shares(regions: list[tuple[int, BaseGeometry]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_LARGE", 4)
        shares = measured(regions)
    assert np.allclose(shares.area_share, brute_force(regions, []), atol=1e-5)


@given(
    regions=st.lists(st.tuples(st.integers(0, 1), discs), min_size=2, max_size=12),
    step0=st.integers(2, 10),
    shift=st.integers(-3, 3),
)
def test_many_regions_on_tiles_that_overlap_never_cover_more_than_the_tile(
    regions: list[tuple[int, BaseGeometry]], step0: int, shift: int
) -> None:
    y0, x0 = (axis.ravel().astype(np.int32) for axis in np.mgrid[shift : 30 : 3 * step0, shift : 40 : 2 * step0])
    shares = area_shares(x0, y0, SIDE0, regions, [], 2).area_share
    union = [union_all([area for index, area in regions if index == k]) for k in range(2)]
    for row, x, y in zip(shares, x0.tolist(), y0.tolist(), strict=True):
        tile = box(x, y, x + SIDE0, y + SIDE0)
        assert row == pytest.approx([whole.intersection(tile).area / SIDE0**2 for whole in union], abs=1e-6)
    assert shares.max(initial=0) <= 1


@given(regions=st.lists(st.tuples(st.integers(0, 2), areas), min_size=1, max_size=7))
def test_the_named_region_covers_no_less_than_any_other(regions: list[tuple[int, BaseGeometry]]) -> None:
    roi = measured(regions).roi
    for i, (x, y) in enumerate(zip(X0.tolist(), Y0.tolist(), strict=True)):
        covered = [area.intersection(box(x, y, x + SIDE0, y + SIDE0)).area for _, area in regions]
        assert (roi[i] == -1) == (max(covered) < 1e-12)
        assert roi[i] == -1 or covered[roi[i]] == pytest.approx(max(covered))


# policies -----------------------------------------------------------------------------------------------------------


def labelled(policy: Policy, *rows: tuple[float, ...], **more: list[int]) -> tuple[list[int], int, int]:
    shares = np.array(rows, dtype=np.float32)
    found = labels_of(shares, policy, label_share=0.5, conflict_share=0.25, ranks=more.get("ranks"))
    return found.label.tolist(), found.border, found.conflict


def test_a_tile_takes_the_class_that_covers_half_of_it() -> None:
    assert labelled("drop-conflict", (0.5, 0.0), (0.1, 0.9), (1.0, 0.24)) == ([0, 1, 0], 0, 0)


def test_too_little_of_one_class_is_border() -> None:
    assert labelled("drop-conflict", (0.49, 0.0), (0.2, 0.1)) == ([-1, -1], 2, 0)


def test_too_much_of_another_class_is_a_conflict() -> None:
    assert labelled("drop-conflict", (0.75, 0.25), (0.5, 0.5), (1.0, 1.0)) == ([-1, -1, -1], 0, 3)


def test_one_class_alone_never_conflicts() -> None:
    assert labelled("drop-conflict", (0.6,), (0.4,)) == ([0, -1], 1, 0)
    assert labelled("majority", (0.6,), (0.4,)) == ([0, -1], 1, 0)


def test_an_exact_half_survives_single_precision() -> None:
    for policy in ("drop-conflict", "majority", "priority", "multi"):
        assert labelled(policy, (0.49999997, 0.0)) == ([0], 0, 0)


def test_the_majority_wins_unless_it_is_a_tie() -> None:
    rows = ((0.75, 0.25), (0.5, 0.6), (0.5, 0.5), (0.9, 0.89999998), (0.3, 0.4), (0.4, 0.4))
    assert labelled("majority", *rows) == ([0, 1, -1, -1, -1, -1], 2, 2)


def test_the_first_class_that_claims_wins_by_priority() -> None:
    rows = ((0.5, 0.9, 1.0), (0.4, 0.6, 0.9), (0.0, 0.4, 0.49))
    assert labelled("priority", *rows) == ([0, 1, -1], 1, 0)
    assert labelled("priority", *rows, ranks=[2, 1, 0]) == ([2, 2, -1], 1, 0)


def test_every_class_that_claims_counts_for_multi_and_the_largest_is_the_label() -> None:
    rows = ((0.5, 0.9, 1.0), (0.4, 0.6, 0.6), (0.0, 0.4, 0.49))
    assert labelled("multi", *rows) == ([2, 1, -1], 1, 0)
    hot = multi_hot(np.array(rows, dtype=np.float32), 0.5)
    assert hot.tolist() == [[True, True, True], [False, True, True], [False, False, False]]


def test_a_policy_that_does_not_exist_never_falls_through() -> None:
    with pytest.raises(ValueError, match=r"^no such label policy: 'most'$"):
        labels_of(np.zeros((1, 2), dtype=np.float32), "most", label_share=0.5, conflict_share=0.25)  # type: ignore[arg-type]


def test_no_tile_has_no_label() -> None:
    for policy in ("drop-conflict", "majority", "priority", "multi"):
        found = labels_of(np.zeros((0, 3), dtype=np.float32), policy, label_share=0.5, conflict_share=0.25)
        assert (found.label.shape, found.label.dtype, found.border, found.conflict) == ((0,), np.int16, 0, 0)


def one_label(policy: Policy, row: list[int], label: int, conflict: int, ranks: list[int]) -> int | str:
    """The rule of each policy for one tile, in whole twentieths."""
    top, second = sorted(row, reverse=True)[:2]
    claims = [k for k in ranks if row[k] >= label]
    if policy == "drop-conflict":
        return "conflict" if second >= conflict else row.index(top) if top >= label else "border"
    if not claims:
        return "border"
    if policy == "majority" and second == top:
        return "conflict"
    return claims[0] if policy == "priority" else row.index(top)


@given(
    shares=st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3), min_size=1, max_size=8),
    label_share=st.integers(1, 20),
    conflict_share=st.integers(1, 20),
    ranks=st.permutations([0, 1, 2]),
    policy=st.sampled_from(("drop-conflict", "majority", "priority", "multi")),
)
def test_every_tile_is_labelled_border_or_conflict(
    shares: list[list[int]], label_share: int, conflict_share: int, ranks: list[int], policy: Policy
) -> None:
    area_share = np.array(shares, dtype=np.float32) / 20
    found = labels_of(area_share, policy, label_share=label_share / 20, conflict_share=conflict_share / 20, ranks=ranks)
    wanted = [one_label(policy, row, label_share, conflict_share, ranks) for row in shares]
    assert found.label.tolist() == [-1 if isinstance(label, str) else label for label in wanted]
    assert found == Labels(found.label, wanted.count("border"), wanted.count("conflict"))
    hot = multi_hot(area_share, label_share / 20)
    assert policy != "multi" or all(hot[i, label] for i, label in enumerate(found.label) if label >= 0)

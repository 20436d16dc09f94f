"""The grid of candidate tiles, against a search over every node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.frames import Scale
from w2wpath.tiles.grid import Edge, grid, valid_share

Box = tuple[float, float, float, float]


def nodes(
    side0: int, step0: int, size: tuple[int, int], within0: Box | None, anchor0: tuple[int, int]
) -> list[tuple[int, int]]:
    """Every (x0, y0), row by row, found by looking at each pixel of the slide."""
    left, top, right, bottom = within0 or (0, 0, *size)
    return [
        (x, y)
        for y in range(size[1] - side0 + 1)
        for x in range(size[0] - side0 + 1)
        if (x - anchor0[0]) % step0 == 0 and (y - anchor0[1]) % step0 == 0
        if x + side0 > left and x < right and y + side0 > top and y < bottom
    ]


def test_tiles_lie_side_by_side_from_the_corner_and_stay_on_the_slide() -> None:
    x0, y0 = grid(Scale(8, 10, 10, 0.5), width0=25, height0=39)
    assert x0.dtype == y0.dtype == np.int32
    assert list(zip(x0.tolist(), y0.tolist(), strict=True)) == [(0, 0), (10, 0), (0, 10), (10, 10), (0, 20), (10, 20)]


def test_a_box_that_only_touches_a_tile_does_not_take_it() -> None:
    x0, _ = grid(Scale(8, 10, 10, 0.5), width0=100, height0=10, within0=(20.0, 0.0, 40.0, 10.0))
    assert x0.tolist() == [20, 30]


@pytest.mark.parametrize("within0", [(-50.0, -50.0, -10.0, -10.0), (500.0, 0.0, 600.0, 50.0), (2e9, 0.0, 2.1e9, 50.0)])
def test_a_box_off_the_slide_has_no_tiles(within0: Box) -> None:
    x0, y0 = grid(Scale(8, 10, 10, 0.5), width0=100, height0=100, within0=within0)
    assert (x0.size, y0.size) == (0, 0)


def test_a_slide_smaller_than_a_tile_has_none() -> None:
    assert grid(Scale(8, 10, 10, 0.5), width0=9, height0=100)[0].size == 0


corner = st.integers(-30, 60)


@given(
    side0=st.integers(1, 20),
    step0=st.integers(1, 25),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    within0=st.none()
    | st.tuples(corner, corner, st.integers(1, 60), st.integers(1, 60)).map(
        lambda b: (b[0] + 0.5, float(b[1]), b[0] + 0.5 + b[2], float(b[1] + b[3]))
    ),
    anchor0=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
)
def test_the_grid_is_every_whole_tile_that_overlaps_the_box(
    side0: int, step0: int, size: tuple[int, int], within0: Box | None, anchor0: tuple[int, int]
) -> None:
    scale = Scale(8, side0, step0, 0.5)
    x0, y0 = grid(scale, width0=size[0], height0=size[1], within0=within0, anchor0=anchor0)
    assert list(zip(x0.tolist(), y0.tolist(), strict=True)) == nodes(side0, step0, size, within0, anchor0)


# edges --------------------------------------------------------------------------------------------------------------

SCALE = Scale(8, 10, 10, 0.5)


def corners(edge: Edge, width0: int, height0: int, **more: object) -> list[tuple[int, int]]:
    x0, y0 = grid(SCALE, width0=width0, height0=height0, edge=edge, **more)  # type: ignore[arg-type]
    return list(zip(x0.tolist(), y0.tolist(), strict=True))


def test_a_padded_tile_reaches_over_the_right_and_bottom_edge() -> None:
    assert corners("pad", 25, 10) == [(0, 0), (10, 0), (20, 0)]
    assert corners("pad", 10, 11) == [(0, 0), (0, 10)]


def test_a_grid_that_begins_at_a_region_reaches_over_the_left_and_top_edge_too() -> None:
    assert corners("pad", 20, 10, anchor0=(3, 9)) == [(x, y) for y in (-1, 9) for x in (-7, 3, 13)]
    assert corners("shift", 20, 10, anchor0=(3, 9)) == [(0, 0), (3, 0), (10, 0)]


def test_a_shifted_tile_ends_at_the_edge_and_never_doubles_another() -> None:
    assert corners("shift", 25, 10) == [(0, 0), (10, 0), (15, 0)]
    assert corners("shift", 20, 10) == [(0, 0), (10, 0)]


def test_a_slide_smaller_than_a_tile_is_padded_but_not_shifted() -> None:
    assert corners("pad", 4, 5) == [(0, 0)]
    assert corners("shift", 4, 5) == []


def test_a_shifted_tile_is_taken_where_it_lies_now() -> None:
    assert corners("shift", 25, 10, within0=(16.0, 0.0, 19.0, 10.0)) == [(10, 0), (15, 0)]
    assert corners("shift", 25, 10, within0=(25.0, 0.0, 29.0, 10.0)) == []


def test_the_valid_share_is_the_part_on_the_slide() -> None:
    x0, y0 = (np.array(values, dtype=np.int32) for values in ((0, 20, -7, 20, 30), (0, 0, -1, 5, 0)))
    found = valid_share(x0, y0, 10, width0=25, height0=10)
    assert found.dtype == np.float32
    assert np.allclose(found, [1, 0.5, 0.27, 0.25, 0])


@given(
    side0=st.integers(1, 20),
    stride=st.floats(0.05, 1),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    anchor0=st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
)
def test_with_padding_or_shifting_every_pixel_is_in_a_tile_and_no_tile_is_twice(
    side0: int, stride: float, size: tuple[int, int], anchor0: tuple[int, int]
) -> None:
    scale = Scale(8, side0, max(1, int(side0 * stride)), 0.5)
    edges: tuple[Edge, ...] = ("pad", "shift") if side0 <= min(size) else ("pad",)
    dropped = set(nodes(side0, scale.step0, size, None, anchor0))
    for edge in edges:
        x0, y0 = grid(scale, width0=size[0], height0=size[1], anchor0=anchor0, edge=edge)
        places = list(zip(x0.tolist(), y0.tolist(), strict=True))
        assert len(set(places)) == len(places)
        assert dropped <= set(places)
        seen = np.zeros((size[1], size[0]), dtype=np.bool_)
        for x, y in places:
            seen[max(0, y) : y + side0, max(0, x) : x + side0] = True
        assert seen.all()
        share = valid_share(x0, y0, side0, width0=size[0], height0=size[1])
        assert (share > 0).all()
        assert edge == "pad" or (share == 1).all()


@given(
    side0=st.integers(1, 20),
    step0=st.integers(1, 25),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    within0=st.tuples(corner, corner, st.integers(1, 60), st.integers(1, 60)),
    edge=st.sampled_from(("drop", "pad", "shift")),
)
def test_a_box_takes_of_the_whole_grid_what_it_overlaps(
    side0: int, step0: int, size: tuple[int, int], within0: tuple[int, int, int, int], edge: Edge
) -> None:
    scale = Scale(8, side0, step0, 0.5)
    left, top, right, bottom = within0[0], within0[1], within0[0] + within0[2], within0[1] + within0[3]
    every = zip(*(axis.tolist() for axis in grid(scale, width0=size[0], height0=size[1], edge=edge)), strict=True)
    inside = grid(scale, width0=size[0], height0=size[1], edge=edge, within0=(left, top, right, bottom))
    assert list(zip(*(axis.tolist() for axis in inside), strict=True)) == [
        (x, y) for x, y in every if x + side0 > left and x < right and y + side0 > top and y < bottom
    ]

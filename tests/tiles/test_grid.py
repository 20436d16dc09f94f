"""The grid of candidate tiles, against a search over every node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.frames import Scale
from w2wpath.tiles.grid import grid

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

"""A geometry becomes a valid area or says why not: nothing is lost unsaid, and scribble does not hold a run up."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from w2wpath.qupath.geometry import FARTHEST_PX, MANY_VERTICES, Shape, read_area, thickened

SCRIBBLE = "crosses itself too often to be repaired"
NO_ROWS = "coordinates are not rows of x, y"
NO_NUMBERS = "coordinates that are no numbers"
NOWHERE = "coordinates that lie on no slide"


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def seen(shape: Shape) -> tuple[float | None, str, float | None]:
    """Area after, note, area before; an area that is not valid is none of these."""
    if shape.area is None:
        return None, shape.note, shape.px_before
    assert shape.area.is_valid
    assert shape.area.geom_type in ("Polygon", "MultiPolygon")
    return round(shape.area.area, 6), shape.note, shape.px_before


SQUARE = square(0, 0, 10)
FAULTS = {
    "bow-tie": (
        polygon([[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]),
        (50.0, "self-intersection repaired, area 0 to 50 px, more than 1 %", 0.0),
    ),
    "hole outside its shell": (
        polygon(SQUARE, square(20, 20, 5)),
        (125.0, "hole lies outside shell repaired, area 75 to 125 px, more than 1 %", 75.0),
    ),
    "hole in the notch of its shell": (
        polygon([[0, 0], [30, 0], [30, 10], [10, 10], [10, 30], [0, 30], [0, 0]], square(15, 15, 5), square(2, 2, 3)),
        (516.0, "hole lies outside shell repaired, area 466 to 516 px, more than 1 %", 466.0),
    ),
    "hole that is itself a bow-tie": (
        polygon(SQUARE, [[2, 2], [4, 4], [4, 2], [2, 4], [2, 2]]),
        (98.0, "self-intersection repaired, area 100 to 98 px, more than 1 %", 100.0),
    ),
    "hole that crosses its shell": (
        polygon(SQUARE, square(5, 5, 10)),
        (75.0, "self-intersection repaired, area 0 to 75 px, more than 1 %", 0.0),
    ),
    "hole that fills its shell": (
        polygon(SQUARE, SQUARE),
        (None, "empty area", None),
    ),
    "overlapping parts": (
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [square(5, 0, 10)]]},
        (150.0, "self-intersection repaired, area 200 to 150 px, more than 1 %", 200.0),
    ),
    "the same part twice": (
        {"type": "MultiPolygon", "coordinates": [[SQUARE], [SQUARE]]},
        (100.0, "self-intersection repaired, area 200 to 100 px, more than 1 %", 200.0),
    ),
    "spike": (
        polygon([[0, 0], [10, 0], [10, 5], [50, 5], [10, 5], [10, 10], [0, 10], [0, 0]]),
        (100.0, "self-intersection repaired, area 100 to 100 px", 100.0),
    ),
    "spike inwards": (
        polygon([[0, 0], [5, 0], [5, 9], [5, 0], [10, 0], [10, 10], [0, 10], [0, 0]]),
        (100.0, "self-intersection repaired, area 100 to 100 px", 100.0),
    ),
    "ring not closed": (polygon(SQUARE[:-1]), (100.0, "ring was not closed", None)),
    "triangle not closed": (polygon([[0, 0], [10, 0], [0, 10]]), (50.0, "ring was not closed", None)),
    "numbers as text": (
        polygon([["0", "0"], ["1e1", "0"], [10, " 10 "], ["0", "0.0"]]),
        (50.0, "numbers were written as text", None),
    ),
    "three dimensions": (polygon([[*row, 7] for row in SQUARE]), (100.0, "", None)),
    "four dimensions": (polygon([[*row, 7, 8.5] for row in SQUARE]), (100.0, "", None)),
    "two and three dimensions": (polygon([[0, 0], [10, 0, 5], [10, 10], [0, 0, 5]]), (50.0, "", None)),
    "doubled points": (polygon([row for row in SQUARE for _ in range(3)]), (100.0, "", None)),
    "ring the other way round": (polygon(SQUARE[::-1]), (100.0, "", None)),
    "a hole": (polygon(SQUARE, square(2, 2, 3)), (91.0, "", None)),
    "a hole of no points": (polygon(SQUARE, []), (100.0, "empty hole left out", None)),
    "a hole of two points": (polygon(SQUARE, [[1, 1], [2, 2]]), (100.0, "empty hole left out", None)),
    "an empty part beside another": (
        {"type": "MultiPolygon", "coordinates": [[[]], [SQUARE], []]},
        (100.0, "", None),
    ),
    "two faults": (
        polygon([[0, 0], [10, 10], [10, 0], ["0", 10]]),
        (
            50.0,
            "numbers were written as text; ring was not closed; "
            "self-intersection repaired, area 0 to 50 px, more than 1 %",
            0.0,
        ),
    ),
    "nearly too far": (polygon(square(2.0**31 - 20, 0, 10)), (100.0, "", None)),
    "negative": (polygon(square(-(2.0**31) + 10, -100, 10)), (100.0, "", None)),
    "too far": (polygon(square(2.0**31 - 10, 0, 10)), (None, NOWHERE, None)),
    "much too far": (polygon([[0, 0], [1e308, 0], [1e308, 1e308], [0, 0]]), (None, NOWHERE, None)),
    "NaN": (polygon([[0, 0], [math.nan, 0], [1, 1], [0, 0]]), (None, NOWHERE, None)),
    "infinite": (polygon([[0, 0], [-math.inf, 0], [1, 1], [0, 0]]), (None, NOWHERE, None)),
    "NaN as text": (polygon([[0, 0], ["NaN", 0], [1, 1], [0, 0]]), (None, NOWHERE, None)),
    "beyond every float": (polygon([[0, 0], [10**400, 0], [1, 1], [0, 0]]), (None, NOWHERE, None)),
    "beyond every whole number": (polygon([[0, 0], [2**64, 0], [1, 1], [0, 0]]), (None, NOWHERE, None)),
    "true": (polygon([[0, 0], [True, 0], [1, 1], [0, 0]]), (None, NO_NUMBERS, None)),
    "all true or false": (polygon([[False, False], [True, False], [True, True]]), (None, NO_NUMBERS, None)),
    "null": (polygon([[0, 0], [None, 0], [1, 1], [0, 0]]), (None, NO_NUMBERS, None)),
    "word": (polygon([[0, 0], ["x", 0], [1, 1], [0, 0]]), (None, NO_NUMBERS, None)),
    "one long word among many numbers": (
        polygon([["x" * 1_000_000, 0]] + [[1, 1]] * 100_000),  # as numpy's text, 800 GB
        (None, NO_NUMBERS, None),
    ),
    "list for a number": (polygon([[0, 0], [[1], 0], [1, 1], [0, 0]]), (None, NO_NUMBERS, None)),
    "object for a number": (polygon([[0, 0], [{}, 0], [1, 1], [0, 0]]), (None, NO_NUMBERS, None)),
    "objects for points": (polygon([{"x": 0, "y": 0}] * 4), (None, NO_ROWS, None)),
    "text for points": (polygon(["00", "10", "11", "00"]), (None, NO_ROWS, None)),
    "text for a ring": (polygon("00 10 11"), (None, NO_ROWS, None)),
    "number for a ring": (polygon(5), (None, NO_ROWS, None)),
    "null for a ring": (polygon(None), (None, NO_ROWS, None)),
    "numbers for points": (polygon([1, 2, 3, 4]), (None, NO_ROWS, None)),
    "points of one number": (polygon([[1], [2], [3], [4]]), (None, NO_ROWS, None)),
    "points of five": (polygon([[1, 2, 3, 4, 5]] * 4), (None, NO_ROWS, None)),
    "points of none": (polygon([[], [], [], []]), (None, NO_ROWS, None)),
    "one point of none": (polygon([[0, 0], [], [1, 1], [0, 0]]), (None, NO_ROWS, None)),
    "a level too few": ({"type": "Polygon", "coordinates": SQUARE}, (None, NO_ROWS, None)),
    "a level too many": ({"type": "Polygon", "coordinates": [[SQUARE]]}, (None, NO_ROWS, None)),
    "a polygon called many": (
        {"type": "MultiPolygon", "coordinates": [SQUARE]},
        (None, NO_ROWS, None),
    ),
    "parts that are no lists": (
        {"type": "MultiPolygon", "coordinates": [5]},
        (None, "coordinates are not lists of rings", None),
    ),
    "text for rings": (
        {"type": "MultiPolygon", "coordinates": "x"},
        (None, "coordinates are not lists of rings", None),
    ),
    "no coordinates": ({"type": "Polygon"}, (None, "coordinates are not lists of rings", None)),
    "no ring": (polygon(), (None, "empty area", None)),
    "no points": (polygon([]), (None, "empty area", None)),
    "one point": (polygon([[1, 2]]), (None, "empty area", None)),
    "one point twice": (polygon([[1, 2], [1, 2]]), (None, "empty area", None)),
    "there and back": (polygon([[1, 2], [3, 4], [1, 2]]), (None, "empty area", None)),
    "one point five times": (polygon([[0, 0]] * 5), (None, "empty area", None)),
    "no width": (polygon([[5, 5], [5, 5], [5, 15], [5, 15], [5, 5]]), (None, "empty area", None)),
    "no parts": ({"type": "MultiPolygon", "coordinates": []}, (None, "empty area", None)),
    "collection": (
        {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Point", "coordinates": [0, 0]},
                polygon(SQUARE),
                {
                    "type": "GeometryCollection",
                    "geometries": [{"type": "MultiPolygon", "coordinates": [[square(50, 0, 10)]]}],
                },
                None,
            ],
        },
        (200.0, "2 part(s) of a collection without area left out", None),
    ),
    "collection whose parts overlap": (
        {"type": "GeometryCollection", "geometries": [polygon(SQUARE), polygon(square(5, 0, 10))]},
        (150.0, "self-intersection repaired, area 200 to 150 px, more than 1 %", 200.0),
    ),
    "collection of nothing": ({"type": "GeometryCollection", "geometries": []}, (None, "empty area", None)),
    "collection of lines": (
        {"type": "GeometryCollection", "geometries": [{"type": "LineString"}]},
        (None, "empty area", None),
    ),
    "collection without": ({"type": "GeometryCollection"}, (None, "a collection without geometries", None)),
    "no geometry": (None, (None, "no geometry", None)),
    "empty geometry": ({}, (None, "no geometry", None)),
    "list": ([], (None, "no geometry", None)),
    "number": (5, (None, "no geometry", None)),
    "no type": ({"coordinates": [SQUARE]}, (None, "geometry None has no area", None)),
    "point": ({"type": "Point", "coordinates": [1, 2]}, (None, "geometry Point has no area", None)),
    "letter case": ({"type": "polygon", "coordinates": [SQUARE]}, (None, "geometry polygon has no area", None)),
    "a type that cannot be shown": (
        {"type": "\ud800a\nb" + "c" * 99},
        (None, f"geometry a b{'c' * 37} has no area", None),
    ),
    "a type that is an object": ({"type": {"a": 1}}, (None, "geometry {'a': 1} has no area", None)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_geometry_gives_its_area_or_the_reason(fault: str) -> None:
    geometry, truth = FAULTS[fault]
    assert seen(read_area(geometry)) == truth


def test_a_repair_tells_the_area_before_and_after_and_marks_a_large_change() -> None:
    small = polygon([[0, 0], [1000, 0], [1000, 1000], [0, 1000], [0, 500], [-5, 505], [-5, 495], [0, 500], [0, 0]])
    shape = read_area(small)
    assert seen(shape) == (1_000_025.0, "ring self-intersection repaired, area 1000025 to 1000025 px", 1_000_025.0)
    lost = read_area(polygon(square(0, 0, 100), square(95, 95, 10)))
    assert seen(lost) == (9975.0, "self-intersection repaired, area 9900 to 9975 px", 9900.0)
    more = read_area(polygon(square(0, 0, 100), square(90, 90, 12)))
    assert seen(more) == (9900.0, "self-intersection repaired, area 9856 to 9900 px", 9856.0)
    large = read_area(polygon(square(0, 0, 100), square(90, 90, 20)))
    assert seen(large) == (9900.0, "self-intersection repaired, area 9600 to 9900 px, more than 1 %", 9600.0)


def test_collections_nested_without_end_are_refused_in_words() -> None:
    geometry: dict[str, Any] = polygon(SQUARE)
    for _ in range(100):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    assert seen(read_area(geometry)) == (100.0, "", None)
    for _ in range(5_000):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    assert seen(read_area(geometry)) == (None, "collections nested too deeply", None)


def wave(n: int, decimals: int = 2) -> list[list[float]]:
    """A closed outline of `n` points that never crosses itself."""
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = 1e4 * (1 + 0.1 * np.sin(50 * turn))
    ring = np.round(np.stack([2e4 + radius * np.cos(turn), 2e4 + radius * np.sin(turn)], axis=1), decimals)
    rows: list[list[float]] = ring.tolist()
    return [*rows, rows[0]]


def random_ring(n: int, seed: int = 0) -> list[list[float]]:
    rows: list[list[float]] = np.random.default_rng(seed).uniform(0, 1e5, (n, 2)).tolist()
    return rows


def random_walk(n: int) -> list[list[float]]:
    steps = np.random.default_rng(0).normal(size=(n, 2)) * 5
    rows: list[list[float]] = (5e4 + np.cumsum(steps, axis=0)).tolist()
    return rows


@pytest.mark.parametrize(
    ("make", "n"),
    [
        (random_ring, 2_000),
        (random_ring, MANY_VERTICES - 1),
        (random_walk, MANY_VERTICES - 1),
        (random_ring, 1_000_000),
        (random_walk, 1_000_000),
    ],
)
def test_scribble_is_refused_before_it_costs_anything(make: Any, n: int) -> None:
    geometry = polygon(make(n))
    start = time.perf_counter()
    assert seen(read_area(geometry)) == (None, SCRIBBLE, None)
    assert time.perf_counter() - start < 20


def test_scribble_in_many_parts_is_refused_too() -> None:
    parts = {"type": "MultiPolygon", "coordinates": [[square(i, i, 1000)] for i in range(3_000)]}
    assert seen(read_area(parts)) == (None, SCRIBBLE, None)


def test_the_worst_that_is_still_repaired_takes_seconds() -> None:
    up = [[[i * 10, 0], [i * 10, 10_000]][:: 1 if i % 2 == 0 else -1] for i in range(200)]
    across = [[[0, i * 10 + 5], [10_000, i * 10 + 5]][:: 1 if i % 2 == 0 else -1] for i in range(200)]
    geometry = polygon([point for pair in (*up, *across) for point in pair])
    start = time.perf_counter()
    shape = read_area(geometry)
    assert time.perf_counter() - start < 20
    assert shape.area is not None
    assert shape.area.is_valid


@pytest.mark.parametrize("decimals", [2, 0])
def test_an_outline_of_a_million_points_is_kept(decimals: int) -> None:
    shape = read_area(polygon(wave(1_000_000, decimals)))
    assert (shape.note, shape.px_before) == ("", None)
    # of r = 1e4 (1 + a sin): pi r^2 (1 + a^2 / 2)
    assert shapely.area(shape.area) == pytest.approx(np.pi * 1e8 * (1 + 0.1**2 / 2), rel=1e-4)


def test_pixels_that_touch_at_every_corner_are_kept() -> None:
    y, x = np.nonzero(np.indices((230, 230)).sum(axis=0) % 2)
    squares = [[[[int(i) * 4 + dx, int(j) * 4 + dy] for dx, dy in square(0, 0, 4)]] for i, j in zip(x, y, strict=True)]
    assert len(squares) * 5 > MANY_VERTICES
    assert seen(read_area({"type": "MultiPolygon", "coordinates": squares})) == (16.0 * len(squares), "", None)


@settings(max_examples=400)
@given(
    ring=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=9),
    holes=st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6), max_size=2),
)
@example(
    ring=[(0, 1), (1, 0), (0, 0), (0, 1), (1, 0), (0, 2)], holes=[]
)  # GEOS 3.14 leaves two parts that share an edge
def test_any_rings_become_a_valid_area_within_their_box(
    ring: list[tuple[int, int]], holes: list[list[tuple[int, int]]]
) -> None:
    shape = read_area(polygon(*json.loads(json.dumps([[*ring, ring[0]], *holes]))))
    if shape.area is None:
        assert shape.note == "empty area"
    else:
        assert shape.area.is_valid
        assert shape.area.geom_type in ("Polygon", "MultiPolygon")
        assert 0 < shape.area.area <= 400
        assert shape.area.within(box(0, 0, 20, 20))
        assert (shape.px_before is None) == ("repaired" not in shape.note)


@given(
    ring=st.lists(
        st.tuples(*[st.floats(-FARTHEST_PX, FARTHEST_PX, exclude_min=True, exclude_max=True)] * 2),
        min_size=3,
        max_size=8,
    )
)
def test_any_ring_of_floats_becomes_a_valid_area_or_a_reason(ring: list[tuple[float, float]]) -> None:
    shape = read_area(polygon([list(row) for row in ring]))
    if shape.area is None:
        assert shape.note == "empty area"
    else:
        assert shape.area.is_valid
        assert shape.area.area > 0
        assert np.isfinite(shapely.get_coordinates(shape.area)).all()


def test_a_line_is_thickened_to_what_lies_near_it() -> None:
    shape = thickened({"type": "LineString", "coordinates": [[0, 0], [10, 0], [10, 10], [10, 10]]}, 1.0)
    assert shape is not None
    area = shape.area
    assert area is not None
    assert area.is_valid
    whole = shapely.linestrings([[0, 0], [10, 0], [10, 10]]).buffer(1.0)
    assert area.symmetric_difference(whole).area < 0.05  # of 43; the corners have other points


def test_many_points_are_thickened_in_seconds_and_scribbled_lines_refused() -> None:
    points = np.random.default_rng(0).integers(0, 1_000, (5_000, 2)).tolist()
    start = time.perf_counter()
    many = thickened({"type": "MultiPoint", "coordinates": points}, 50.0)
    line = thickened({"type": "LineString", "coordinates": points}, 50.0)
    assert time.perf_counter() - start < 10
    assert many is not None
    assert many.area is not None
    assert 980**2 < many.area.area < 1_100**2
    assert line == Shape(None, SCRIBBLE)


def test_text_among_points_is_noted_and_areas_are_not_thickened() -> None:
    text = thickened({"type": "Point", "coordinates": ["5", "6"]}, 1.0)
    assert text is not None
    assert text.note == "numbers were written as text"
    assert thickened(polygon(SQUARE), 1.0) is None
    assert thickened({"type": {}}, 1.0) is None
    assert thickened(None, 1.0) is None

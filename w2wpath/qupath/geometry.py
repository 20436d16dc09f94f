"""From a GeoJSON geometry to a valid area, with a note of all that had to be mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.qupath.classes import printable

FARTHEST_PX = 2.0**31
"""Coordinates at or beyond this lie on no slide: the store holds int32."""
MOST_CROSSINGS = 50_000
"""A ring whose parts meet more often than about this is scribble: to repair it would take seconds, then minutes."""
SAMPLED_SEGMENTS = 2_000
MANY_VERTICES = 100_000
LARGE_CHANGE = 0.01
"""A repair that changes the area by more than this share is marked."""

_SCRIBBLE = "crosses itself too often to be repaired"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a geometry gives.

    Attributes
    ----------
    area
        A valid Polygon or MultiPolygon in the frame of the file; None where there is none.
    note
        What was repaired, "" for nothing; where `area` is None, why.
    px_before
        Area in square pixels as drawn, where it was repaired.
    """

    area: BaseGeometry | None
    note: str = ""
    px_before: float | None = None


class _Broken(Exception):
    """A geometry gives no area; the text says why."""


def read_area(geometry: Any) -> Shape:
    """Return the valid area of a GeoJSON geometry (Polygon, MultiPolygon, or the polygons of a collection).

    Rings are closed, numbers in text and third coordinates are read, invalid areas are repaired with
    ``shapely.make_valid(method="structure")``, which keeps both wings of a bow-tie and every hole.
    """
    notes: list[str] = []
    try:
        polygons = list(_polygons(geometry, notes))
        if not polygons:
            raise _Broken("empty area")
        area = polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)
        before = None
        if shapely.get_num_coordinates(area) > MANY_VERTICES and _tangled(_segments(area), usual=20):
            raise _Broken(_SCRIBBLE)  # before the question whether it is valid, which alone would take minutes
        if not shapely.is_valid(area):
            before = float(shapely.area(area))
            area = _repaired(area, notes)
        if not shapely.area(area) > 0:
            raise _Broken("empty area")
        return Shape(area, "; ".join(dict.fromkeys(notes)), before)
    except _Broken as why:
        return Shape(None, str(why))
    except RecursionError:
        return Shape(None, "collections nested too deeply")


def thickened(geometry: Any, radius_px: float) -> Shape | None:
    """Return points or lines as the area within `radius_px` of them; None for other geometries."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        return None
    coordinates = geometry.get("coordinates")
    rows = [coordinates] if kind == "Point" else coordinates
    lines = rows if kind == "MultiLineString" else [rows]
    notes: list[str] = []
    try:
        if not isinstance(lines, list):
            raise _Broken("coordinates are not rows of x, y")
        pieces = [piece for line in lines for piece in _pieces(_points(line, notes), joined="Line" in kind)]
        area = shapely.union_all(shapely.buffer(pieces, radius_px))  # many times faster than the buffer of them all
        if not shapely.area(area) > 0:
            raise _Broken("empty area")
        return Shape(area, "; ".join(dict.fromkeys(notes)))
    except _Broken as why:
        return Shape(None, str(why))


def _pieces(points: NDArray[np.float64], *, joined: bool) -> NDArray[np.object_]:
    """Return points one by one or, where they are joined to a line, its segments."""
    if not joined or len(points) < 2:
        return np.asarray(shapely.points(points))
    pairs = np.stack([points[:-1], points[1:]], axis=1)
    if _tangled(pairs):
        raise _Broken(_SCRIBBLE)
    return np.asarray(shapely.linestrings(pairs))


def _polygons(geometry: Any, notes: list[str]) -> Iterator[BaseGeometry]:
    if not isinstance(geometry, dict) or not geometry:
        raise _Broken("no geometry")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        drawn = [coordinates]
    elif kind == "MultiPolygon":
        if not isinstance(coordinates, list):
            raise _Broken("coordinates are not lists of rings")
        drawn = coordinates
    elif kind == "GeometryCollection":
        yield from _collected(geometry.get("geometries"), notes)
        return
    else:
        raise _Broken(f"geometry {printable(str(kind))[:40]} has no area")
    for rings in drawn:
        polygon = _polygon(rings, notes)
        if polygon is not None:
            yield polygon


def _collected(parts: Any, notes: list[str]) -> Iterator[BaseGeometry]:
    if not isinstance(parts, list):
        raise _Broken("a collection without geometries")
    left_out = 0
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("Polygon", "MultiPolygon", "GeometryCollection"):
            yield from _polygons(part, notes)
        else:
            left_out += 1
    if left_out:
        notes.append(f"{left_out} part(s) of a collection without area left out")


def _polygon(rings: Any, notes: list[str]) -> BaseGeometry | None:
    if not isinstance(rings, list):
        raise _Broken("coordinates are not lists of rings")
    lines = [_ring(ring, notes) for ring in rings]
    if not lines or lines[0] is None:
        return None
    holes = [line for line in lines[1:] if line is not None]
    if len(holes) < len(lines) - 1:
        notes.append("empty hole left out")
    return shapely.polygons(lines[0], holes or None)


def _ring(ring: Any, notes: list[str]) -> BaseGeometry | None:
    """Return a closed ring; None where it has fewer than three points."""
    points = _points(ring, notes)
    if len(points) < 3:
        return None
    if (points[0] != points[-1]).any():
        notes.append("ring was not closed")
    elif len(points) < 4:
        return None
    return shapely.linearrings(points)  # closes what is open


def points_of(rows: Any) -> tuple[NDArray[np.float64], bool]:
    """Return rows of coordinates as points (n, 2), and whether some of their numbers stand in text.

    Raises
    ------
    ValueError
        Says in words why they are none.
    """
    if rows == []:
        return np.empty((0, 2)), False
    if not isinstance(rows, list) or set(map(type, rows)) != {list} or not (widths := set(map(len, rows))) <= {2, 3, 4}:
        raise ValueError("coordinates are not rows of x, y")
    kinds = set(map(type, chain.from_iterable(rows)))  # not left to numpy: as text, all would be as long as the longest
    if not kinds <= {int, float, str}:
        raise ValueError("coordinates that are no numbers")
    try:
        same = rows if len(widths) == 1 else [row[:2] for row in rows]
        return np.ascontiguousarray(np.array(same, dtype=np.float64)[:, :2]), str in kinds
    except ValueError:
        raise ValueError("coordinates that are no numbers") from None
    except OverflowError:  # a whole number beyond the largest float
        raise ValueError("coordinates that lie on no slide") from None


def _points(rows: Any, notes: list[str]) -> NDArray[np.float64]:
    """Return rows of coordinates as points (n, 2), each on a slide that could be."""
    try:
        points, as_text = points_of(rows)
    except ValueError as why:
        raise _Broken(str(why)) from None
    if as_text:
        notes.append("numbers were written as text")
    if not (np.abs(points) < FARTHEST_PX).all():  # written so that NaN fails too
        raise _Broken("coordinates that lie on no slide")
    return points


def _repaired(area: BaseGeometry, notes: list[str]) -> BaseGeometry:
    if _tangled(_segments(area)):
        raise _Broken(_SCRIBBLE)
    fault = str(shapely.is_valid_reason(area)).partition("[")[0].lower()
    before = float(shapely.area(area))
    mended = shapely.make_valid(area, method="structure", keep_collapsed=False)
    if not shapely.is_valid(mended):  # GEOS may leave parts that share an edge
        mended = shapely.union_all(shapely.get_parts(mended))
    after = float(shapely.area(mended))
    large = ", more than 1 %" if abs(after - before) > LARGE_CHANGE * max(after, before) else ""
    notes.append(f"{fault} repaired, area {before:.0f} to {after:.0f} px{large}")
    return mended


def _segments(area: BaseGeometry) -> NDArray[np.float64]:
    """Return the segments of all rings: their ends, (n, 2, 2)."""
    coordinates, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(area)), return_index=True)
    pairs = np.stack([coordinates[:-1], coordinates[1:]], axis=1)
    within: NDArray[np.float64] = pairs[ring[:-1] == ring[1:]]
    return within


def _tangled(pairs: NDArray[np.float64], usual: int = 5) -> bool:
    """Estimate from a sample of segments (n, 2, 2) how often bounding boxes of segments meet.

    Each meets itself and two neighbours; `usual` leaves room for doubled points and for corners that touch.
    """
    n = len(pairs)
    segments = shapely.linestrings(pairs)
    tree = shapely.STRtree(segments)
    sample = segments[np.unique(np.linspace(0, n - 1, min(n, SAMPLED_SEGMENTS)).astype(int))]
    most = len(sample) * (usual + 2 * MOST_CROSSINGS / n)
    at_once = max(1, 4_000_000 // n)  # a query that meets everything stays small
    met = 0
    for i in range(0, len(sample), at_once):
        met += tree.query(sample[i : i + at_once]).shape[1]
        if met > most:
            return True
    return False

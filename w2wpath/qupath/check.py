"""What QuPath 0.5 and 0.7 refuse in a GeoJSON, object by object: for one bad Feature they import nothing at all."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import AnnotationError
from w2wpath.qupath.geojson import top_features, walk
from w2wpath.qupath.geometry import FARTHEST_PX, points_of, read_area
from w2wpath.qupath.source import MAX_MB, Document, read_documents

BOTH = ("0.5", "0.7")
MOST_OBJECTS = 200_000  # QuPath read 100,000 tiles in 10 s; 500,000 did not fit into 2 GB
FINEST_PX = 0.01  # QuPath 0.7 rounds areas to this
OBJECT_TYPES = ("annotation", "detection", "tile", "cell", "tmaCore", "root")
LEGACY_TYPES = (*(f"Path{one}Object" for one in ("Annotation", "Detection", "Tile", "Cell", "Root")), "TMACoreObject")
SPECIAL = ("NaN", "Infinity", "-Infinity")
REDRAW = "Draw it again, or leave it out."
WRITE_RGB = "Write [red, green, blue], each from 0 to 255."
LEAVE_OUT = "Leave it out: a missing measurement reads as NaN."
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")


class Problem(NamedTuple):
    """One thing about a Feature: what, how to mend it, and which versions refuse it (none: it is only a surprise)."""

    what: str
    cure: str
    refused_by: tuple[str, ...] = BOTH


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem and its place: the object's index counted from 0, None for the file as a whole."""

    index: int | None
    id: str
    class_name: str
    what: str
    cure: str
    refused_by: tuple[str, ...]


@dataclass(frozen=True)
class Checked:
    """How many objects a file holds, and its faults in file order."""

    objects: int
    faults: tuple[Fault, ...]

    @property
    def refused_by(self) -> tuple[str, ...]:
        """The versions of QuPath that refuse the file."""
        return tuple(version for version in BOTH if any(version in fault.refused_by for fault in self.faults))


def check_geojson(path: Path, max_mb: int = MAX_MB) -> Checked:
    """Check every object of a GeoJSON file (plain, gzip or zip) of at most `max_mb` after decompression."""
    faults: list[Fault] = []
    objects = 0
    for document in read_documents(path, max_mb):
        text, problem = read_text(document)
        if problem:
            faults.append(Fault(None, "", "", problem.what, problem.cure, problem.refused_by))
        for feature in top_features(text, document.where):
            for found in walk(feature, objects):
                objects = found.index + 1
                for what, cure, versions in inspect(found.feature):
                    faults.append(Fault(found.index, *id_and_class(found.feature), what, cure, versions))
    if objects > MOST_OBJECTS:
        what = f"{objects} objects: QuPath needs a minute or more, and may run out of memory"
        faults.append(Fault(None, "", "", what, f"Write at most {MOST_OBJECTS} objects to a file.", ()))
    return Checked(objects, tuple(faults))


def read_text(document: Document) -> tuple[str, Problem | None]:
    """Return the text of a document and what is wrong with its encoding."""
    if document.is_xml:
        raise AnnotationError(f"{document.where}: XML, which QuPath does not import. Give a GeoJSON.")
    (text, assumed), name = document.text(), Path(document.where).name
    if b"\0" in document.data[:4]:
        return text, Problem(f"{name}: UTF-16 or UTF-32, but QuPath reads UTF-8", "Write it as UTF-8.")
    if assumed:
        return text, Problem(f"{name}: {assumed}; QuPath will show other letters", "Write it as UTF-8.", ())
    if document.data.startswith(b"\xef\xbb\xbf"):
        return text, Problem(f"{name}: begins with a byte-order mark", "Write it without one.", ())
    return text, None


def inspect(feature: Mapping[str, Any]) -> list[Problem]:
    """Return what QuPath would refuse, or take otherwise than meant, in one Feature; its children are not looked at."""
    found: list[Problem] = []
    if "id" in feature and not is_text(value := feature["id"]):
        found.append(Problem(f"id is {said(value)}", "Leave the id out, or write a UUID."))
    elif "id" in feature and not _UUID.fullmatch(str(value)) and value not in LEGACY_TYPES:
        found.append(Problem(f"id {said(value)} is no UUID: the object gets a new one", "Write a UUID.", ()))
    found += geometry_problems(feature.get("geometry"), "geometry")
    if "nucleusGeometry" in feature:
        found += geometry_problems(feature["nucleusGeometry"], "nucleusGeometry")
    properties = feature.get("properties", {})
    if not isinstance(properties, dict):
        found.append(Problem(f"properties is {said(properties)}", "Write {} instead."))
        properties = {}
    if "name" in properties and not is_text(properties["name"]):
        found.append(Problem(f"name is {said(properties['name'])}", "Leave the name out, or write a text."))
    if not is_object_colour(properties.get("color")):
        found.append(Problem(f"color of the object is {said(properties['color'])}", WRITE_RGB))
    found += class_problems(properties.get("classification"))
    found += measurement_problems(properties.get("measurements"))
    found += _type_problems(feature, properties)
    if any(isinstance(feature.get(key), list) and feature[key] for key in ("childObjects", "children")):
        what = "objects below it stand beside its properties, not in them, and are not imported"
        found.append(Problem(what, "Move them into properties.childObjects.", ()))
    return found


def said(value: Any) -> str:
    """Show a JSON value in a message: short, and without characters that a terminal would act upon."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]}..."


def is_text(value: Any) -> bool:
    """Whether QuPath can read a JSON value as text: numbers and booleans too."""
    return isinstance(value, str | bool) or is_finite(value)


def is_finite(value: Any) -> bool:
    """Whether a JSON value is a number that a double can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def id_and_class(feature: Mapping[str, Any]) -> tuple[str, str]:
    """Return id and class as printable text for a message, "" where there is none."""
    properties = feature.get("properties")
    names = names_of(properties.get("classification")) if isinstance(properties, dict) else None
    return printable(feature["id"] if is_text(feature.get("id")) else ""), printable(": ".join(names or []))


def printable(value: Any) -> str:
    """Return a text or number as one short line."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(value)[:80])


def type_key(properties: Mapping[str, Any]) -> str | None:
    """Return the key that QuPath takes the object type from; None where there is none."""
    return next((key for key in ("objectType", "object_type", "type") if key in properties), None)


def known_type(value: Any) -> str | None:
    """Return the object type as QuPath writes it, whatever its case; None for an unknown one."""
    wanted = str(value).lower().replace("_", "")
    return next((one for one in OBJECT_TYPES if one.lower() == wanted), None)


def _type_problems(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[Problem]:
    key, one_of = type_key(properties), f"Write one of {', '.join(OBJECT_TYPES)}."
    value = properties[key] if key else "unknown"
    if key is None and "objectType" in feature:
        what = "objectType stands beside the properties, not in them: it becomes an annotation"
        yield Problem(what, "Move it into the properties.", ())
    elif not is_text(value):
        yield Problem(f"{key} is {said(value)}", one_of)
    elif value not in (*OBJECT_TYPES, *LEGACY_TYPES, "tma_core", "unknown"):
        known = known_type(value)
        if known or key != "type":  # which other programs use for their own
            cure = f"Write {known}." if known else one_of
            yield Problem(f"{key} {said(value)} is unknown: it becomes an annotation", cure, ())


def names_of(found: Any) -> list[str] | None:
    """Return the names of a classification as written, outermost first; [] for no class, None for no such form."""
    if found is None or found == {}:
        return []
    if isinstance(found, str):
        return found.split(":")
    names: list[Any] = []
    if isinstance(found, dict) and isinstance(found.get("names"), list):
        names = found["names"]
    else:
        while isinstance(found, dict):
            names.insert(0, found.get("name"))
            found = found.get("parentClass")
    return names if names and all(isinstance(one, str) for one in names) else None


def is_rgb(colour: Any) -> bool:
    """Whether QuPath reads it as the colour of a class: three or four whole numbers."""
    return isinstance(colour, list) and len(colour) in (3, 4) and all(map(is_whole, colour))


def is_whole(value: Any) -> bool:
    """Whether a JSON value is a whole number."""
    return is_finite(value) and value == int(value)


def is_object_colour(colour: Any) -> bool:
    """Whether QuPath reads it as the colour of an object, or passes over it."""
    if isinstance(colour, list):
        return len(colour) != 3 or is_rgb(colour)
    return colour is None or isinstance(colour, dict) or is_whole(colour)


def class_problems(found: Any) -> Iterator[Problem]:
    """Yield what QuPath refuses in a classification."""
    names = names_of(found)
    if names is None:
        cure = 'Write {"name": ..., "color": [red, green, blue]}.'
        yield Problem(f"classification is {said(found)} without a name", cure)
        return
    if any(not name.strip() for name in names):
        yield Problem("the class has an empty name", "Leave the classification out.")
    if any("\n" in name or "\r" in name for name in names):
        yield Problem("the class has a line break in its name", "Take the line break out.")
    if isinstance(found, dict) and "names" in found and any(":" in name for name in names):
        yield Problem("the class has a ':' in one of its names", "Write the parts as names of their own.")
    while isinstance(found, dict) and found:
        if not (is_rgb(found["color"]) if "color" in found else is_whole(found.get("colorRGB"))):
            key = next((one for one in ("color", "colorRGB") if one in found), None)
            yield Problem(f"{key} of the class is {said(found[key])}" if key else "the class has no color", WRITE_RGB)
            return
        found = found.get("parentClass")


def is_numeric(value: Any) -> bool:
    """Whether a JSON value is a text that reads as a finite number."""
    return isinstance(value, str) and _NUMBER.fullmatch(value) is not None and math.isfinite(float(value))


def measurement_problems(found: Any) -> Iterator[Problem]:
    """Yield what QuPath refuses or drops among the measurements: one line for each kind."""
    kinds: dict[Problem, list[str]] = {}
    for name, value in _measured(found):
        if is_finite(value) and name is not None:
            continue
        kind = Problem(" is no number", LEAVE_OUT)
        if name is None:
            kind = Problem(" has no name", "Leave it out, or give it a name.")
        elif value is None and isinstance(found, dict):
            kind = Problem(" is dropped", LEAVE_OUT, ())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            kind = Problem(" cannot be read by other programs", LEAVE_OUT, ())
        elif value in SPECIAL:
            kind = Problem(" is refused by QuPath 0.4", LEAVE_OUT, ())
        elif is_numeric(value):
            kind = Problem(" is refused by QuPath 0.4", "Write the number without quotes.", ())
        kinds.setdefault(kind, []).append(f"measurement {said(name)}: {said(value)}")
    for (what, cure, versions), some in kinds.items():
        more = f" (and {len(some) - 1} more)" if len(some) > 1 else ""
        yield Problem(f"{some[0]}{what}{more}", cure, versions)


def _measured(found: Any) -> Iterator[tuple[Any, Any]]:
    """Yield name and value of each measurement in either form; QuPath passes over all other forms."""
    if isinstance(found, dict):
        yield from found.items()
    elif isinstance(found, list):
        for one in found:
            item = one if isinstance(one, dict) else {}
            yield (item.get("name") if is_text(item.get("name")) else None), item.get("value")


class _Refused(Exception):
    """A geometry that QuPath cannot read: what, and the cure where it is not to draw it again."""


def geometry_problems(geometry: Any, key: str) -> list[Problem]:
    """Return what QuPath refuses, or takes otherwise than meant, in the geometry under `key`."""
    if not isinstance(geometry, dict) or not geometry:
        return [Problem(f"no {key}" if geometry in (None, {}) else f"{key} is {said(geometry)}", REDRAW)]
    found: list[Problem] = []
    if "plane" in geometry and not is_plane(geometry["plane"]):
        found.append(Problem(f"{key}: its plane is not of whole numbers c, z, t", "Leave the plane out."))
    if geometry.get("type") == "GeometryCollection":
        found.append(Problem(f"{key} is a GeometryCollection", "Write its polygons as one MultiPolygon.", ("0.7",)))
    waiting = [geometry]
    while waiting:
        part = waiting.pop()
        inner = part.get("geometries")
        if part.get("type") != "GeometryCollection":
            found += _simple_problems(part, key)
        elif isinstance(inner, list) and all(isinstance(one, dict) for one in inner):
            waiting.extend(reversed(inner))
        else:
            found.append(Problem(f"{key}: a collection without geometries", REDRAW))
    return list(dict.fromkeys(found))


def is_plane(plane: Any) -> bool:
    """Whether a plane is one that QuPath reads."""
    return isinstance(plane, dict) and all(name in ("c", "z", "t") and type(at) is int for name, at in plane.items())


def _simple_problems(geometry: Mapping[str, Any], key: str) -> list[Problem]:
    kind, rows = geometry.get("type"), geometry.get("coordinates")
    as_text: list[bool] = []
    found: list[Problem] = []
    try:
        if kind in ("Point", "MultiPoint"):
            _points([rows] if kind == "Point" else rows, as_text)
        elif kind in ("LineString", "MultiLineString"):
            if any(len(_points(line, as_text)) == 1 for line in ([rows] if kind == "LineString" else _listed(rows))):
                raise _Refused("a line of one point")
        elif kind in ("Polygon", "MultiPolygon"):
            drawn = [rows] if kind == "Polygon" else _listed(rows)
            parts = [[_ring(ring, as_text) for ring in _listed(rings)] for rings in drawn]
            found = _area_problems(geometry, parts, key)
        else:
            raise _Refused(f"type is {said(kind)}")
    except _Refused as error:
        what, *cure = error.args
        return [Problem(f"{key}: {what}", *(cure or [REDRAW]))]
    if as_text:
        found.append(Problem(f"{key}: numbers are written as text", "Write them without quotes.", ()))
    return found


def _listed(rows: Any) -> list[Any]:
    if isinstance(rows, list):
        return rows
    raise _Refused("coordinates are not lists of points")


def _points(rows: Any, as_text: list[bool]) -> NDArray[np.float64]:
    """Return points (n, 2)."""
    try:
        points, text = points_of(_listed(rows))
    except ValueError:
        points, text = np.full((1, 2), np.nan), False
    if not np.isfinite(points).all():
        raise _Refused("coordinates are not rows of numbers x, y")
    as_text += [True] * text
    return points


def _ring(rows: Any, as_text: list[bool]) -> NDArray[np.float64]:
    points = _points(rows, as_text)
    if len(points) and (points[0] != points[-1]).any():
        raise _Refused("a ring is not closed", "Repeat its first point at its end.")
    if 0 < len(points) < 4:
        raise _Refused("a ring of fewer than four points")
    return points


def _area_problems(geometry: Mapping[str, Any], drawn: list[list[NDArray[np.float64]]], key: str) -> list[Problem]:
    """Return the problems of an area whose rings are closed."""
    parts = [[ring for ring in rings if len(ring)] for rings in drawn]
    if any(part and not len(rings[0]) for part, rings in zip(parts, drawn, strict=True)):
        raise _Refused("a hole without an outline")
    parts = [part for part in parts if part]
    single = geometry["type"] == "MultiPolygon" and len(parts) < 2
    found = [Problem(f"{key} is a MultiPolygon of {len(parts)} part(s)", "Write a Polygon.", ("0.5",))] * single
    if not parts:
        return [*found, Problem(f"{key} has no area", REDRAW, ())]
    if any(not (np.abs(ring) < FARTHEST_PX).all() for part in parts for ring in part):
        return [*found, Problem(f"{key} lies on no slide", "Write pixels of level 0.", ())]
    polygons = [shapely.polygons(part[0], [shapely.linearrings(hole) for hole in part[1:]] or None) for part in parts]
    area = polygons[0] if len(polygons) == 1 else shapely.multipolygons(polygons)
    if shapely.get_dimensions(shapely.convex_hull(area)) < 2:
        return [*found, Problem(f"{key} has no area", REDRAW, ())]
    if not shapely.is_valid(area):
        reason = str(shapely.is_valid_reason(area)).partition("[")[0]
        if reason != "Ring Self-intersection" or not _only_touches(area, geometry):
            what = f"{key} is not valid ({reason.lower()}); QuPath 0.5 takes it, but its area may be wrong"
            found.append(Problem(what, "Draw it without crossings, spikes and overlaps.", ("0.7",)))
    # only slim areas are rounded, since that takes long
    elif area.area < 2 * FINEST_PX * area.length and shapely.set_precision(area, FINEST_PX).is_empty:
        found.append(Problem(f"{key} is finer than 0.01 px: QuPath 0.7 makes it empty", REDRAW, ()))
    return found


def _only_touches(area: BaseGeometry, geometry: Mapping[str, Any]) -> bool:
    """Whether an area is as it should be but for rings that touch themselves in points, which QuPath takes."""
    clean = read_area(geometry).area
    # crossings change the area, spikes and shared edges the length of the outline
    return clean is not None and math.isclose(area.area, clean.area) and math.isclose(area.length, clean.length)

"""Mend what QuPath refuses in a GeoJSON, and say of every object what was done; nothing is dropped in silence."""

from __future__ import annotations

import gzip
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import AnnotationError, writing
from w2wpath.qupath import check
from w2wpath.qupath.colours import class_colours
from w2wpath.qupath.geojson import table, top_features, walk
from w2wpath.qupath.geometry import read_area
from w2wpath.qupath.source import MAX_MB, read_documents

CHILD_KEYS = ("childObjects", "children")
_HEX = re.compile(r"#?([0-9a-fA-F]{6})")


class Palette:
    """Colours for classes that have none: one for each name, in the order in which the names are met."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def colour(self, name: str) -> list[int]:
        """Return the colour of a class."""
        self._names.setdefault(name)
        return list(class_colours(tuple(self._names))[name])


@dataclass(frozen=True, slots=True)
class Done:
    """What was done to one object, by its index counted from 0; `left_out` where it could not be kept."""

    index: int
    id: str
    class_name: str
    what: str
    left_out: bool


@dataclass(frozen=True)
class Fixed:
    """What :func:`fix_geojson` read, wrote and did, and what it found when it checked the new file."""

    objects: int
    written: int
    done: tuple[Done, ...]
    checked: check.Checked

    @property
    def left_out(self) -> int:
        """How many objects could not be kept."""
        return sum(one.left_out for one in self.done)


def fix_geojson(path: Path, out: Path, max_mb: int = MAX_MB) -> Fixed:
    """Write a mended copy of a GeoJSON file, gzipped if `out` ends in ``.gz``; whole, checked again, or not at all.

    Raises
    ------
    AnnotationError
        The file is no GeoJSON, cannot be read, or is larger than `max_mb` after decompression.
    DiskError
        There is no room.
    """
    scratch = out.with_name(f".{out.name}.{os.getpid()}.partial")
    palette, done, objects, written = Palette(), list[Done](), 0, 0
    documents = read_documents(path, max_mb)
    with writing(out):
        try:
            with ExitStack() as files:
                file: IO[bytes] | gzip.GzipFile = files.enter_context(open(scratch, "wb"))
                if out.name.lower().endswith(".gz"):
                    # mtime 0: the same objects give the same bytes
                    file = files.enter_context(gzip.GzipFile("", "wb", 6, file, mtime=0))
                file.write(b'{"type":"FeatureCollection","features":[')
                for document in documents:
                    for feature in top_features(check.read_text(document)[0], document.where):
                        try:
                            kept, said, count = mend_tree(feature, objects, palette)
                            lines = [_encoded(one) for one in kept]
                        except RecursionError:
                            raise AnnotationError(
                                f"{document.where}: object {objects} is nested too deeply. Export it again."
                            ) from None
                        for line in lines:
                            file.write((b",\n" if written else b"\n") + line)
                            written += 1
                        done += said
                        objects += count
                file.write(b"\n]}\n")
            # a letter beyond ASCII takes up to six times as many bytes
            checked = check.check_geojson(scratch, max_mb * 10)
            if checked.refused_by:
                first = next(fault for fault in checked.faults if fault.refused_by)
                raise AnnotationError(
                    f"{path}: object {first.index} of the mended file would still be refused ({first.what}); "
                    f"{out} was not written. This is a fault of w2wpath: please report it with that object."
                )
            os.replace(scratch, out)
        finally:
            scratch.unlink(missing_ok=True)
    return Fixed(objects, checked.objects, tuple(done), checked)


def mend_tree(feature: Mapping[str, Any], start: int, palette: Palette) -> tuple[list[dict[str, Any]], list[Done], int]:
    """Mend a Feature and all objects below it, whose places are counted from `start`.

    Returns the Feature, or its children where it cannot be kept itself; what was done; and the number of objects read.
    """
    found = list(walk(feature, start))
    below: list[list[dict[str, Any]]] = [[] for _ in found]
    top: list[dict[str, Any]] = []
    done: list[Done] = []
    for one in reversed(found):  # children before their parents
        held = below[one.index - start][::-1]
        mended, said = mend(one.feature, palette)
        if mended is None:
            kept = held
            said += ["what it held takes its place"] if held else []
        else:
            kept = [_with_children(mended, one.feature, held, said)]
        if said:
            done.append(Done(one.index, *check.id_and_class(one.feature), "; ".join(said), mended is None))
        (top if one.parent is None else below[one.parent - start]).extend(reversed(kept))
    return top[::-1], done[::-1], len(found)


def mend(feature: Mapping[str, Any], palette: Palette | None = None) -> tuple[dict[str, Any] | None, list[str]]:
    """Return one mended Feature, and what was done; None where it has no geometry that QuPath reads.

    Its children are left as they are. A Feature without faults comes back unchanged.
    """
    said: list[str] = []
    mended = dict(feature)
    for key in ("geometry", "nucleusGeometry"):
        if key == "geometry" or key in feature:
            mended[key], note = _mended_geometry(feature.get(key), key)
            said += [note] if note else []
    if mended["geometry"] is None:
        return None, [f"left out: {said[0]}"]
    if mended.get("nucleusGeometry", "") is None:
        del mended["nucleusGeometry"]
        said[-1] = f"nucleus left out: {said[-1]}"
    properties = dict(table(feature, "properties"))
    if "properties" in feature and not isinstance(feature["properties"], dict):
        said.append("properties was no object")
    _mend_properties(properties, palette or Palette(), said)
    _mend_type(mended, properties, said)
    if properties or "properties" in feature:
        mended["properties"] = properties
    own = {**_childless(mended), "properties": _childless(properties), "id": None}
    try:
        text = json.dumps(own, sort_keys=True, allow_nan=False)
    except ValueError:
        said.append("numbers that are not finite are null")
        mended = _strict(mended)
        text = json.dumps(own, sort_keys=True)  # what is bare in it tells objects apart as well
    if "id" in feature and not check.is_text(feature["id"]):
        # of the content, so that a second import finds the same object
        mended["id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, text))
        said.append("given an id")
    return mended, said


def _childless(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in owner.items() if not (key in CHILD_KEYS and isinstance(value, list))}


def _encoded(feature: Mapping[str, Any]) -> bytes:
    return json.dumps(feature, separators=(",", ":"), allow_nan=False).encode("ascii")


def _strict(value: Any) -> Any:
    """Return a JSON value in which numbers that are not finite are null."""
    if isinstance(value, dict):
        return {key: _strict(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_strict(one) for one in value]
    return None if isinstance(value, float) and not check.is_finite(value) else value


def _with_children(
    mended: dict[str, Any], feature: Mapping[str, Any], held: list[dict[str, Any]], said: list[str]
) -> dict[str, Any]:
    """Return `mended` with its mended children in properties, under the name they had there."""
    properties = table(feature, "properties")
    beside = [key for key in CHILD_KEYS if isinstance(feature.get(key), list) and feature[key]]
    inside = [key for key in CHILD_KEYS if isinstance(properties.get(key), list)]
    if not beside and not inside:
        return mended
    if beside:
        said.append("objects below it moved into properties.childObjects")
    alias = not beside and inside == ["children"] and "childObjects" not in properties
    name = "children" if alias else "childObjects"
    rest = {key: value for key, value in table(mended, "properties").items() if key == name or key not in inside}
    new = {key: value for key, value in mended.items() if key not in beside}
    return {**new, "properties": {**rest, name: held}}


# properties ----------------------------------------------------------------------------------------------------------


def _mend_properties(properties: dict[str, Any], palette: Palette, said: list[str]) -> None:
    if "name" in properties and not check.is_text(properties["name"]):
        del properties["name"]
        said.append("name left out")
    if not check.is_object_colour(properties.get("color")):
        colour = _rgb(properties.pop("color"))
        if colour:
            properties["color"] = colour
        said.append("color of the object written as numbers" if colour else "color of the object left out")
    if "classification" in properties and any(check.class_problems(properties["classification"])):
        mended = _classification(properties.pop("classification"), palette)
        if mended:
            properties["classification"] = mended
        said.append(f"class written as {json.dumps(mended)[:120]}" if mended else "class left out")
    found = properties.get("measurements")
    if any(check.measurement_problems(found)):
        properties["measurements"], left_out = _measurements(found)
        said.append(f"{left_out} measurement(s) left out" if left_out else "measurements written as numbers")


def _mend_type(mended: dict[str, Any], properties: dict[str, Any], said: list[str]) -> None:
    while (key := check.type_key(properties)) and not check.is_text(properties[key]):
        del properties[key]
        said.append(f"{key} left out")
    if key is None:
        known = check.known_type(mended.get("objectType"))
        if known:
            del mended["objectType"]
            properties["objectType"] = known
            said.append("objectType moved into properties")
    elif properties[key] != "tma_core" and (known := check.known_type(properties[key])) not in (None, properties[key]):
        properties[key] = known
        said.append(f"{key} written as {known}")


def _classification(found: Any, palette: Palette) -> dict[str, Any] | None:
    names = check.names_of(found)
    if names is None:
        names = [str(found)] if check.is_finite(found) else found if isinstance(found, list) else []
    parts = [part for name in names if isinstance(name, str) for part in name.split(":")]
    names = [" ".join(part.split()) for part in parts if part.strip()]
    if not names:
        return None
    colours = (_rgb(found.get(key)) for key in ("color", "colorRGB")) if isinstance(found, dict) else ()
    colour = next((one for one in colours if one), None) or palette.colour(names[-1])
    return {"name": names[0], "color": colour} if len(names) == 1 else {"names": names, "color": colour}


def _rgb(found: Any) -> list[int] | None:
    """Return a colour of any form as red, green, blue; None where it is none."""
    if isinstance(found, str) and (match := _HEX.fullmatch(found)):
        found = int(match[1], 16)
    elif isinstance(found, str):
        found = _number(found)
    if check.is_whole(found):
        return [int(found) >> shift & 255 for shift in (16, 8, 0)]
    if not isinstance(found, list) or len(found) < 3:
        return None
    parts = [_number(one) for one in found[:3]]
    numbers = [one for one in parts if one is not None]
    if len(numbers) < 3:
        return None
    # some programs write shares of 1
    scale = 255 if max(numbers) <= 1 and not all(map(check.is_whole, numbers)) else 1
    return [min(max(round(one * scale), 0), 255) for one in numbers]


def _number(value: Any) -> int | float | None:
    """Return a finite number, out of a text too; None where it is none."""
    if check.is_numeric(value):
        value = float(value)
        return int(value) if value.is_integer() else value
    return value if check.is_finite(value) else None


def _measurements(found: Any) -> tuple[Any, int]:
    """Return measurements in the form they had, finite numbers only, and how many were left out."""
    if isinstance(found, dict):
        kept: Any = {name: one for name, value in found.items() if (one := _number(value)) is not None}
    else:
        kept = [
            {**item, "value": one}
            for item in found
            if isinstance(item, dict) and check.is_text(item.get("name"))
            if (one := _number(item.get("value"))) is not None
        ]
    return kept, len(found) - len(kept)


# geometry ------------------------------------------------------------------------------------------------------------


def _mended_geometry(found: Any, key: str) -> tuple[Any, str]:
    """Return a geometry that QuPath reads, and what was done; None, and why, where there is none."""
    problems = check.geometry_problems(found, key)
    if not problems or not isinstance(found, dict) or not found:
        return (None, problems[0].what) if problems else (found, "")
    whole, said = dict(found), list[str]()
    if "plane" in whole and not check.is_plane(whole["plane"]):
        del whole["plane"]
        said.append(f"{key}: plane left out")
    for one, note in _unwrapped(whole, key):
        numbers = _as_numbers(one.get("coordinates"))
        if numbers != one.get("coordinates"):
            one, note = {**one, "coordinates": numbers}, [*note, f"{key}: numbers written as numbers"]
        if not _refused(one, key):
            return one, "; ".join([*said, *note])
    why = next(problem.what for problem in problems if problem.refused_by)
    try:
        shape = read_area(found)
    except RecursionError:
        return None, f"{key} is nested too deeply"
    for area in () if shape.area is None else (_rounded(shape.area), shape.area):
        mended = {name: value for name, value in whole.items() if name != "geometries"} | _geojson(area)
        if not _refused(mended, key):
            return mended, f"{key}: {shape.note or 'written as ' + mended['type']}"
    return None, f"{why} ({shape.note})"


def _refused(geometry: Any, key: str) -> bool:
    return any(problem.refused_by for problem in check.geometry_problems(geometry, key))


def _as_numbers(value: Any, depth: int = 4) -> Any:
    """Return coordinates with numbers for texts."""
    if isinstance(value, list) and depth:
        return [_as_numbers(one, depth - 1) for one in value]
    return _number(value) if check.is_numeric(value) else value


def _unwrapped(geometry: dict[str, Any], key: str) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield a geometry, then what it holds as long as that is one part only."""
    said: list[str] = []
    while True:
        yield geometry, said
        rest = {name: value for name, value in geometry.items() if name not in ("geometries", "coordinates")}
        rows, inner = geometry.get("coordinates"), geometry.get("geometries")
        if geometry.get("type") == "MultiPolygon" and isinstance(rows, list) and len(rows) == 1:
            geometry = {**rest, "type": "Polygon", "coordinates": rows[0]}
        elif geometry.get("type") == "GeometryCollection" and isinstance(inner, list) and len(inner) == 1:
            geometry = {**rest, **(inner[0] if isinstance(inner[0], dict) else {})}
        else:
            return
        said = [f"{key}: its only part written by itself"]


def _rounded(area: BaseGeometry) -> BaseGeometry:
    """Return an area with two decimals, as QuPath writes, where that is as valid."""
    rounded = shapely.transform(area, lambda points: np.round(points, 2))
    return rounded if shapely.is_valid(rounded) and rounded.area > 0 else area


def _geojson(area: BaseGeometry) -> dict[str, Any]:
    parts = [
        [
            [[int(at) if at.is_integer() else at for at in point] for point in shapely.get_coordinates(ring).tolist()]
            for ring in (part.exterior, *part.interiors)
        ]
        for part in shapely.get_parts(area)
    ]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}

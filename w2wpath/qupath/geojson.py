"""Features out of GeoJSON text, one after the other: a file of many objects is never decoded as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from w2wpath.errors import AnnotationError

GEOMETRIES = (
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
)
EXPORT = "Export it from QuPath: File > Export objects as GeoJSON."
NOTE = "w2wpath_note"
"""Property by which a reader of another format says what it had to assume of an object."""
_STRANGER = (
    "not GeoJSON of QuPath (expected a FeatureCollection, an array of Features, a Feature or a geometry). " + EXPORT
)
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class Found:
    """One object of a file: its place counted from 0 (parents before their children), itself, its parent's place."""

    index: int
    feature: Mapping[str, Any]
    parent: int | None


def top_features(text: str, where: str) -> Iterator[Mapping[str, Any]]:
    """Yield the Features of a text that no other Feature holds, in file order.

    Read are a FeatureCollection, an array (nested, of collections too), one Feature, a bare geometry (it becomes a
    Feature of its own) and ``{"root": Feature}``. NaN and repeated keys are taken as the ``json`` module does.

    Raises
    ------
    AnnotationError
        The text is not JSON, is nested too deeply, or something in it is none of these.
    """
    for item in _Scanner(text, where).items():
        yield from _expanded(item, where)


def walk(feature: Mapping[str, Any], start: int) -> Iterator[Found]:
    """Yield a Feature and all objects below it (``childObjects``, ``children``), parents first, from place `start`."""
    waiting: list[tuple[Mapping[str, Any], int | None]] = [(feature, None)]
    while waiting:
        one, parent = waiting.pop()
        yield Found(start, one, parent)
        waiting.extend((child, start) for child in reversed(children(one)))
        start += 1


def children(feature: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the Features that a Feature holds; what is no object is an empty one, so that it is counted."""
    found: list[Mapping[str, Any]] = []
    for owner in (table(feature, "properties"), feature):
        for key in ("childObjects", "children"):
            held = owner.get(key)
            if isinstance(held, list):
                found.extend(one if isinstance(one, dict) else {} for one in held)
    return found


def table(owner: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the JSON object under `key`; an empty one where there is none or something else."""
    found = owner.get(key)
    return found if isinstance(found, dict) else {}


def _expanded(item: Any, where: str) -> Iterator[Mapping[str, Any]]:
    waiting = [item]  # a stack, not recursion: arrays may be nested as deep as a hostile file likes
    while waiting:
        part = waiting.pop()
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif kind == "Feature":
            yield part
        elif kind == "FeatureCollection":
            waiting.append(part.get("features", []))
        elif kind in GEOMETRIES:
            yield {"type": "Feature", "geometry": part, "properties": {}}
        elif isinstance(part, dict) and isinstance(part.get("root"), dict):
            waiting.append({"type": "Feature", **part["root"]})
        else:
            raise AnnotationError(f"{where}: valid JSON, but {_STRANGER}")


class _Scanner:
    """Walks the outermost arrays and the outermost object by hand; everything inside is decoded value by value."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.at = 0
        self._decode = json.JSONDecoder().raw_decode

    def items(self) -> Iterator[Any]:
        """Yield the values of nested arrays, or of the outermost object's ``features``, or the one value there is."""
        self.at = self.text.startswith("\ufeff")
        start = self._next()
        if start == "[":
            yield from self._array()
        elif start == "{":
            yield from self._object()
        else:
            yield self._value()
        if self._next():
            self._fail("extra data")

    def _array(self) -> Iterator[Any]:
        depth = 0
        while True:
            if self._next() == "[":
                depth += 1
                self.at += 1
                if self._next() != "]":
                    continue
            else:
                yield self._value()
            while self._next() == "]":
                depth -= 1
                self.at += 1
                if depth == 0:
                    return
            if self._next() != ",":
                self._fail("expected ',' or ']'")
            self.at += 1

    def _object(self) -> Iterator[Any]:
        self.at += 1
        rest: dict[str, Any] = {}
        collection = False
        if self._next() == "}":
            self.at += 1
            yield rest
            return
        while True:
            if self._next() != '"':
                self._fail("expected a name in quotes")
            key = self._value()
            if self._next() != ":":
                self._fail("expected ':'")
            self.at += 1
            if key == "features" and (collection or "features" in rest):
                self._fail("a second list of features")
            if key == "features" and self._next() == "[":
                collection = True
                yield from self._array()
            else:
                self._next()
                rest[key] = self._value()
            if (mark := self._next()) not in (",", "}"):
                self._fail("expected ',' or '}'")
            self.at += 1
            if mark == "}":
                break
        if not collection:
            yield rest
        elif rest.get("type", "FeatureCollection") != "FeatureCollection":
            raise AnnotationError(f"{self.where}: valid JSON, but {_STRANGER}")

    def _next(self) -> str:
        """Skip space; return the character that comes, "" at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def _value(self) -> Any:
        try:
            value, self.at = self._decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.at = error.pos
            self._fail(error.msg)
        except RecursionError:
            self._fail("nested too deeply")
        except ValueError as error:  # a whole number of more digits than Python reads
            self._fail(str(error))
        return value

    def _fail(self, why: str) -> NoReturn:
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        why = why[0].lower() + why[1:]
        raise AnnotationError(f"{self.where}: not GeoJSON ({why}, line {line} column {column}). {EXPORT}") from None

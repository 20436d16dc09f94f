"""Read the regions of an annotation file, and say of every object in it what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from w2wpath.config import ClassMap, RoiSettings
from w2wpath.errors import AnnotationError, ConfigError
from w2wpath.frames import pixels0
from w2wpath.qupath.classes import (
    LEGACY_IDS,
    class_of,
    colour_of,
    kind_of,
    meaning,
    near_duplicates,
    printable,
)
from w2wpath.qupath.colours import Colour, class_colours
from w2wpath.qupath.geojson import NOTE, Found, table, top_features, walk
from w2wpath.qupath.geometry import Shape, read_area, thickened
from w2wpath.qupath.report import Line, Status
from w2wpath.qupath.source import Document, read_documents
from w2wpath.qupath.xml import is_asap, xml_features

SHOWN = 3
"""Objects that a message names before it counts the rest."""
MOST_CLASSES = 500
"""Classes among which doubles are looked for; each is compared with each."""


@dataclass(frozen=True)
class Roi:
    """One annotated region in the frame of its file (level-0 pixels of the image as QuPath shows it)."""

    class_name: str
    geometry: BaseGeometry
    entry: int
    """Index of its line in the import report."""


@dataclass(frozen=True)
class Core:
    """A core of a tissue microarray: its name, its area in the frame of the file, and whether it is marked missing."""

    name: str
    geometry: BaseGeometry
    missing: bool


@dataclass(frozen=True)
class Rois:
    """What an annotation file holds.

    Attributes
    ----------
    regions
        Usable regions with a class, in file order.
    ignored
        Areas that are cut out of every class (``Ignore*``, or what the class map says).
    scope
        The only areas that count, where there are any (by the class map).
    cores
        TMA cores.
    report
        One line for each object of the file, in file order.
    warnings
        What a person should look at.
    colours
        A colour for each class: the class map's, else the file's, else a fixed one.
    frame
        Name of the frame where the format fixes it: ASAP counts from the corner of the scan. None where it does not.
    """

    path: Path
    regions: tuple[Roi, ...]
    ignored: tuple[BaseGeometry, ...] = ()
    scope: tuple[BaseGeometry, ...] = ()
    cores: tuple[Core, ...] = ()
    report: tuple[Line, ...] = ()
    warnings: tuple[str, ...] = ()
    colours: Mapping[str, Colour] = field(default_factory=dict)
    frame: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names found, sorted."""
        return tuple(sorted({roi.class_name for roi in self.regions}))

    def skipped(self) -> Counter[str]:
        """Count the objects that were ignored, by reason."""
        return Counter(line.reason for line in self.report if line.status == "ignored")

    def repaired(self) -> tuple[Line, ...]:
        """Return the objects that are used, but not as they were written."""
        return tuple(line for line in self.report if line.status == "repaired")


def read_rois(path: Path | str, settings: RoiSettings | None = None, *, slide_mpp: float | None = None) -> Rois:
    """Read an annotation file: GeoJSON of QuPath 0.2 to 0.7 or of the Digital Slide Archive, ASAP or ImageScope XML.

    Plain, gzip or zip, recognised by content. Objects that cannot be used are ignored with their reason and the
    others are read; a file without any usable region gives none (see :func:`require_regions`).

    Parameters
    ----------
    settings
        Class map, kinds of objects, plane, limits.
    slide_mpp
        um per level-0 pixel; needed only where points become areas (``point_radius_um``).

    Raises
    ------
    AnnotationError
        The file is missing, too large, or none of these formats; or the class map makes an object an error.
    ConfigError
        Points shall become areas and `slide_mpp` is not known.
    """
    path, settings = Path(path), settings or RoiSettings()
    radius_px = None
    if settings.point_radius_um is not None:
        if slide_mpp is None:
            raise ConfigError(
                f"{path}: a radius for points is in um, and the slide's um/px is not known. Give slide_mpp."
            )
        radius_px = pixels0(settings.point_radius_um, slide_mpp)
    reading = _Reading(path, settings, radius_px)
    for document in read_documents(path, settings.max_mb):
        if is_asap(document):
            reading.frame = "slide"  # its reader of slides ignores their bounds
        for feature in _features(document, reading.warnings):
            for found in walk(feature, len(reading.report)):
                reading.take(found)
    return reading.done()


def require_regions(rois: Rois, *, strict: bool = False) -> None:
    """Refuse annotations that give no region or, when `strict`, any that had to be repaired.

    Raises
    ------
    AnnotationError
        Says what the file holds instead, or which objects were repaired.
    """
    mended = rois.repaired()
    if strict and mended:
        first = "; ".join(
            f"object {line.index} ({line.id or 'no id'}, {line.class_name}): {line.reason}" for line in mended[:SHOWN]
        )
        rest = f" and {len(mended) - SHOWN} more" if len(mended) > SHOWN else ""
        raise AnnotationError(
            f"{rois.path}: {len(mended)} object(s) had to be repaired ({first}{rest}). "
            "Mend them (see w2wpath check-geojson), or leave --strict out."
        )
    if not rois.regions:
        reasons = Counter(line.reason or f"class {line.class_name} is no label" for line in rois.report)
        seen = ", ".join(f"{count} x {why}" for why, count in sorted(reasons.items()))
        raise AnnotationError(
            f"{rois.path}: no usable ROI ({seen or 'the file holds no object'}). "
            "Draw areas in QuPath, give each a class, and export them as GeoJSON."
        )


def _features(document: Document, warnings: list[str]) -> Iterator[Mapping[str, Any]]:
    if document.is_xml:
        yield from xml_features(document)
        return
    text, assumed = document.text()
    if assumed:
        warnings.append(f"{document.where}: {assumed}; look at class names with accents")
    yield from top_features(text, document.where)


class _Reading:
    """Sorts the objects of one file, one by one."""

    def __init__(self, path: Path, settings: RoiSettings, radius_px: float | None) -> None:
        self.path, self.settings, self.radius_px = path, settings, radius_px
        self.warnings: list[str] = []
        self.report: list[Line] = []
        self.regions: list[Roi] = []
        self.areas: dict[str, list[BaseGeometry]] = {"exclude": [], "scope": []}
        self.cores: list[Core] = []
        self.colours: dict[str, Colour] = {}
        self.said: set[str] = set()
        self.tidied: Counter[str] = Counter()
        self.without_rule: Counter[str] = Counter()
        self.frame: str | None = None

    def take(self, found: Found) -> None:
        """Use one object, or say why not."""
        feature, rules = found.feature, self.settings.class_map
        kind = kind_of(feature)
        if kind == "tmaCore":
            self._core(found)
            return
        named = class_of(feature, rules.class_from)
        if named.name is not None:
            self.said.add(named.name)
            self.tidied[named.note] += bool(named.note)
        meant = meaning(named.name, rules)
        if kind not in self.settings.include:
            self._ignore(found, meant.name, f"object type {printable(kind)[:40]}")
            return
        shape = self._shape(feature)
        if shape.area is None:
            self._ignore(found, meant.name, shape.note)
        elif not named.understood:
            self._ignore(found, None, named.note)
        elif meant.use is None:
            self._refuse(found, meant.name, meant.unknown, meant.reason)
            self._ignore(found, meant.name, meant.reason)
        else:
            own = table(feature, "properties").get(NOTE)
            own = printable(own) if isinstance(own, str) else ""
            note = "; ".join(filter(None, (own, named.note, shape.note)))
            if meant.use == "label" and meant.name is not None:
                self.regions.append(Roi(meant.name, shape.area, found.index))
                colour = colour_of(feature)
                if colour is not None:
                    self.colours.setdefault(meant.name, colour)
            else:
                self.areas[meant.use].append(shape.area)
            self._keep(found, meant.name, meant.use, note, shape)

    def done(self) -> Rois:
        """Return what was read."""
        self.warnings += self._doubts()
        names = tuple(sorted({roi.class_name for roi in self.regions}))
        return Rois(
            self.path,
            tuple(self.regions),
            tuple(self.areas["exclude"]),
            tuple(self.areas["scope"]),
            tuple(self.cores),
            tuple(self.report),
            tuple(self.warnings),
            self._colours(names),
            self.frame,
        )

    def _colours(self, names: tuple[str, ...]) -> dict[str, Colour]:
        """Give each class the map's colour, else the file's unless another class has it too, else a fixed one."""
        rules = self.settings.class_map.classes
        found: dict[str, Colour] = {}
        for name, fixed in class_colours(names).items():
            mapped = rules[name].colour if name in rules else None
            drawn = self.colours.get(name, fixed)
            found[name] = mapped or (fixed if drawn in found.values() else drawn)
        return found

    def _shape(self, feature: Mapping[str, Any]) -> Shape:
        geometry = feature.get("geometry")
        plane = table(table(feature, "geometry"), "plane")
        z, t = plane.get("z") or 0, plane.get("t") or 0
        if (z, t) != self.settings.plane:
            return Shape(None, f"on plane z={printable(str(z))[:9]}, t={printable(str(t))[:9]}")
        thick = None if self.radius_px is None else thickened(geometry, self.radius_px)
        return thick or read_area(geometry)

    def _core(self, found: Found) -> None:
        properties = table(found.feature, "properties")
        name = properties.get("name")
        name = printable(name) if isinstance(name, str) else ""
        missing = properties.get("isMissing") is True
        shape = read_area(found.feature.get("geometry"))
        if shape.area is None or not name:
            self._ignore(found, None, f"TMA core without a name or an area ({shape.note or 'no name'})")
        else:
            self.cores.append(Core(name, shape.area, missing))
            self._keep(found, None, "core", shape.note, shape)

    def _keep(self, found: Found, name: str | None, use: str, note: str, shape: Shape) -> None:
        status: Status = "repaired" if note else "kept"
        px = float(shapely.area(shape.area)) if shape.px_before is not None else None
        line = Line(found.index, _id(found.feature), name, status, use, note, found.parent, shape.px_before, px)
        self.report.append(line)

    def _ignore(self, found: Found, name: str | None, reason: str) -> None:
        self.report.append(Line(found.index, _id(found.feature), name, "ignored", None, reason, found.parent))

    def _refuse(self, found: Found, name: str | None, unknown: str, reason: str) -> None:
        rules = self.settings.class_map
        who = f"{self.path}: object {found.index} ({_id(found.feature) or 'no id'})"
        if name is None and rules.unclassified == "error":
            raise AnnotationError(
                f'{who} has no class. Give it one in QuPath, or say unclassified = "skip" in the class map.'
            )
        if unknown == "unlisted" and rules.unlisted == "error":
            raise AnnotationError(f'{who}: {reason} Add it or an alias, or say unlisted = "skip" there.')
        if unknown == "starred" and name is not None:
            self.without_rule[name] += 1

    def _doubts(self) -> Iterator[str]:
        for name, count in sorted(self.without_rule.items()):
            yield (
                f"{count} object(s) of class {name} were left out: say in a class map whether it is to exclude, "
                "scope or skip"
            )
        for note, count in sorted(self.tidied.items()):
            if note:
                yield f"{count} object(s): {note}"
        known = _aliases(self.settings.class_map)
        names = [name for name in self.said if name.casefold() not in known]
        if len(names) > MOST_CLASSES:
            yield f"{len(names)} classes are too many to look for doubles among them: is it class_from that you meant?"
        for one, other in near_duplicates(names if len(names) <= MOST_CLASSES else ()):
            yield (
                f"classes {one!r} and {other!r} look like one: rename one in QuPath, or make it an alias in a class map"
            )
        ids = Counter(line.id for line in self.report if line.id)
        if double := [name for name, count in ids.items() if count > 1]:
            yield f"{len(double)} id(s) occur more than once, first {double[0]}: perhaps the same objects twice"


def _aliases(rules: ClassMap) -> set[str]:
    return {word.casefold() for name, rule in rules.classes.items() for word in (name, *rule.aliases)}


def _id(feature: Mapping[str, Any]) -> str:
    found = feature.get("id", table(feature, "properties").get("id"))
    return "" if found is None or str(found) in LEGACY_IDS else printable(str(found))[:100]

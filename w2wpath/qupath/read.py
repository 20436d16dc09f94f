"""Read the regions of a QuPath GeoJSON export, and report every object in it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import AnnotationError

GZIP = b"\x1f\x8b"
FARTHEST_PX = 2.0**31
"""Coordinates at or beyond this lie on no slide: the store holds int32."""


@dataclass(frozen=True)
class Roi:
    """One annotated region in the frame of its file (level-0 pixels of the image as QuPath shows it)."""

    class_name: str
    geometry: BaseGeometry
    entry: int
    """Index of its line in the import report."""


@dataclass(frozen=True)
class Rois:
    """What an annotation file holds.

    Attributes
    ----------
    regions
        Usable regions with a class, in file order.
    ignored
        Geometries whose class begins with ``Ignore`` and ends with ``*``: they are subtracted.
    report
        One entry per object of the file: ``{"id", "class", "kept", "reason"}``.
    """

    path: Path
    regions: tuple[Roi, ...]
    ignored: tuple[BaseGeometry, ...]
    report: tuple[Mapping[str, Any], ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names found, sorted."""
        return tuple(sorted({roi.class_name for roi in self.regions}))

    def skipped(self) -> Counter[str]:
        """Count the objects that give no region, by reason."""
        return Counter(str(entry["reason"]) for entry in self.report if not entry["kept"])


def read_rois(path: Path | str) -> Rois:
    """Read a GeoJSON export of QuPath 0.2 to 0.7 (FeatureCollection, array, or one Feature; plain or gzip).

    Polygons and MultiPolygons of annotations become regions; invalid rings are repaired
    (``make_valid(method="structure")``); everything else is counted in the report with its reason.

    Raises
    ------
    AnnotationError
        The file is missing, is not GeoJSON, or holds no usable region.
    """
    path = Path(path)
    regions: list[Roi] = []
    ignored: list[BaseGeometry] = []
    report: list[Mapping[str, Any]] = []
    for feature in _features(_parse(path), path):
        name = _class_name(feature, path)
        geometry, reason = _area(feature)
        if geometry is not None and name is None:
            geometry, reason = None, "no class"
        if geometry is not None and name is not None:
            if name.startswith("Ignore") and name.endswith("*"):
                ignored.append(geometry)
                reason = "subtracted (Ignore*)"
            elif name.endswith("*"):
                geometry, reason = None, f"class {name} is not a label"
            else:
                regions.append(Roi(name, geometry, len(report)))
        report.append(
            {
                "id": str(feature.get("id", "")),
                "class": name,
                "kept": geometry is not None,
                "reason": reason,
            }
        )
    if not regions:
        seen = ", ".join(f"{count} x {why}" for why, count in sorted(Counter(e["reason"] for e in report).items()))
        raise AnnotationError(
            f"{path}: no usable ROI ({seen or 'the file holds no object'}). "
            "Draw areas in QuPath, give each a class, and export them as GeoJSON."
        )
    return Rois(path, tuple(regions), tuple(ignored), tuple(report))


def _parse(path: Path) -> Any:
    try:
        raw = path.read_bytes()
        if raw.startswith(GZIP):
            raw = gzip.decompress(raw)
        return json.loads(raw.decode("utf-8-sig"))
    except FileNotFoundError:
        raise AnnotationError(f"{path}: no such annotation file. Check the path.") from None
    except (OSError, zlib.error) as error:
        raise AnnotationError(f"{path}: cannot be read ({error}). Export it again.") from None
    except (ValueError, EOFError, RecursionError) as error:
        raise AnnotationError(
            f"{path}: not GeoJSON ({error}). Export it from QuPath: File > Export objects as GeoJSON."
        ) from None


def _features(document: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    waiting = [document]  # a stack, not recursion: arrays may be nested as deep as a hostile file likes
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(reversed(part))
        elif isinstance(part, dict) and part.get("type") == "FeatureCollection":
            waiting.append(part.get("features", []))
        elif isinstance(part, dict) and part.get("type") == "Feature":
            yield part
        else:
            raise AnnotationError(
                f"{path}: valid JSON, but not GeoJSON of QuPath (expected a FeatureCollection, an array of Features "
                "or a Feature). Export it from QuPath: File > Export objects as GeoJSON."
            )


def _class_name(feature: Mapping[str, Any], path: Path) -> str | None:
    """Return the class as QuPath shows it, derived classes as ``A: B``; None when unclassified."""
    found = _table(feature, "properties").get("classification")
    if found is None or found == {}:
        return None
    if isinstance(found, str):
        return found.strip() or None
    if isinstance(found, dict):
        names = [str(name) for name in found["names"]] if isinstance(found.get("names"), list) else []
        if not names and isinstance(found.get("name"), str):
            names = [found["name"]]
            parent = found.get("parentClass")
            while isinstance(parent, dict):
                names.insert(0, str(parent.get("name", "")))
                parent = parent.get("parentClass")
        names = [name.strip() for name in names]
        if any(names):
            return ": ".join(name for name in names if name)
    raise AnnotationError(
        f"{path}: object {feature.get('id', '?')} has a class of unknown form ({found!r}). Export it again from QuPath."
    )


def _area(feature: Mapping[str, Any]) -> tuple[BaseGeometry | None, str]:
    """Return the valid area of a feature and "", or None (or a repaired area) and the reason."""
    properties = _table(feature, "properties")
    kind = properties.get("objectType", properties.get("object_type", "annotation"))
    legacy = str(feature.get("id", ""))
    if legacy.startswith("Path") and legacy.endswith("Object"):
        kind = legacy.removeprefix("Path").removesuffix("Object").lower()
    if kind != "annotation":
        return None, f"object type {kind}"
    geometry = feature.get("geometry")
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return None, f"geometry {geometry.get('type') if isinstance(geometry, dict) else None} has no area"
    plane = _table(geometry, "plane")
    if plane.get("z", 0) or plane.get("t", 0):
        return None, f"on plane z={plane.get('z', 0)}, t={plane.get('t', 0)}"
    try:
        area = shapely.force_2d(shape(geometry))
    except (ValueError, TypeError, LookupError, ArithmeticError, shapely.errors.ShapelyError) as error:
        return None, f"broken geometry ({type(error).__name__})"
    # written so that NaN fails too
    if not (np.abs(shapely.get_coordinates(area)) < FARTHEST_PX).all():
        return None, "coordinates that lie on no slide"
    reason = ""
    if not area.is_valid:
        before = area.area
        area = shapely.make_valid(area, method="structure", keep_collapsed=False)
        if not area.is_valid:  # GEOS may leave parts that share an edge
            area = shapely.union_all(shapely.get_parts(area))
        reason = f"repaired, area {before:.0f} to {area.area:.0f} px"
    return (area, reason) if area.area > 0 else (None, "empty area")


def _table(owner: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the JSON object under `key`; an empty one where there is none or something else."""
    found = owner.get(key)
    return found if isinstance(found, dict) else {}

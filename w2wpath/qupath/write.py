"""Write tiles and outlines as GeoJSON that QuPath 0.4 to 0.7 imports: one object a line, whole or not at all."""

from __future__ import annotations

import gzip
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from w2wpath.errors import AnnotationError, NonFiniteScoreError, writing
from w2wpath.qupath.colours import Colour

MANY_OBJECTS = 200_000
"""With more than so many objects in one file QuPath may run out of memory."""
_GRID_PX = 0.01
_BATCH = 512
_GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True)
class TileObject:
    """One tile for QuPath.

    Attributes
    ----------
    object_id
        Stable id: the same tile has the same id in every run, so a second import updates instead of doubling.
    x, y, side
        Corner and side in the frame that the file is written for, in full-resolution pixels.
    class_name
        ``Tumor``, or derived: ``Tumor: Positive``.
    measurements
        Finite numbers by name. A name that is absent reads as NaN in QuPath and is not painted.
    metadata
        Texts by name, which QuPath keeps and writes again.
    """

    object_id: uuid.UUID
    x: int
    y: int
    side: int
    class_name: str
    colour: Colour
    measurements: Mapping[str, float]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RegionObject:
    """One outline for QuPath, an annotation.

    Attributes
    ----------
    object_id
        Stable id, as for a tile.
    class_name
        ``Tumor``, or derived: ``Tumor: Positive``.
    geometry
        A shapely Polygon or MultiPolygon in the frame that the file is written for, in full-resolution pixels.
    name
        What QuPath shows beside the class; None for no name.
    locked
        Whether QuPath keeps it from being moved by hand.
    """

    object_id: uuid.UUID
    class_name: str
    colour: Colour
    geometry: shapely.Polygon | shapely.MultiPolygon
    name: str | None
    locked: bool = True


def write_tiles(path: Path, tiles: Iterable[TileObject], about: Mapping[str, Any]) -> int:
    """Stream tiles to a file, gzipped where its name ends in ``.gz``; return how many were written.

    Parameters
    ----------
    about
        Facts for the key ``w2wpath`` of the file, which QuPath ignores.

    Raises
    ------
    NonFiniteScoreError
        A measurement is NaN or infinite, which QuPath 0.4 refuses.
    AnnotationError
        QuPath would refuse the name of a class.
    DiskError
        There is no room; a file of that name stays as it was.
    """
    return _write(path, map(_tile, tiles), about)


def write_regions(path: Path, regions: Iterable[RegionObject], about: Mapping[str, Any]) -> int:
    """Stream outlines to a file, gzipped where its name ends in ``.gz``; return how many were written.

    Coordinates are written to 0.01 pixels. Raises as :func:`write_tiles` does.

    Raises
    ------
    AnnotationError
        QuPath would refuse the name of a class, or an outline: it is no area, not valid, or smaller than 0.01 pixels.
    """
    return _write(path, map(_region, regions), about)


def size_warning(path: Path, count: int) -> str | None:
    """Return what to tell the user of a file with `count` objects; None where QuPath copes with them."""
    if count <= MANY_OBJECTS:
        return None
    return (
        f"{path}: {count:,} objects. QuPath holds a file whole in memory while it imports, and 2 GB do not suffice "
        "for 500,000. Raise its maximum memory (Edit > Preferences) and save your project before you import it."
    )


def _write(path: Path, lines: Iterator[str], about: Mapping[str, Any]) -> int:
    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial")
    end = json.dumps(about, separators=(",", ":"), allow_nan=False)
    with writing(path):
        try:
            with open(scratch, "wb") as raw:
                if path.suffix == ".gz":
                    # no name and mtime 0: the same objects give the same bytes
                    with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
                        count = _write_lines(file, lines, end)
                else:
                    count = _write_lines(raw, lines, end)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    return count


def _write_lines(file: IO[bytes] | gzip.GzipFile, lines: Iterator[str], end: str) -> int:
    """Write a batch at a time: gzip is several times slower line by line."""
    count = 0
    file.write(b'{"type":"FeatureCollection","features":[')
    while batch := list(islice(lines, _BATCH)):
        file.write(("\n" if count == 0 else ",\n").encode() + ",\n".join(batch).encode())
        count += len(batch)
    file.write(f'\n],"w2wpath":{end}}}\n'.encode())
    return count


def _tile(tile: TileObject) -> str:
    left, top = tile.x, tile.y
    right, bottom = left + tile.side, top + tile.side
    measured = []
    for name, value in tile.measurements.items():
        if not math.isfinite(value):
            raise NonFiniteScoreError(f"tile at x={tile.x}, y={tile.y}: measurement {name!r} is {value}, not a number.")
        measured.append(f"{_quoted(name)}:{round(float(value), 4)!r}")
    metadata = f',"metadata":{json.dumps(dict(tile.metadata))}' if tile.metadata else ""
    # `:d` refuses what is no whole number
    return (
        f'{{"type":"Feature","id":"{tile.object_id}","geometry":{{"type":"Polygon","coordinates":'
        f"[[[{left:d},{top:d}],[{right:d},{top:d}],[{right:d},{bottom:d}],[{left:d},{bottom:d}],[{left:d},{top:d}]]]}},"
        f'"properties":{{"objectType":"tile","classification":{_classification(tile.class_name, tile.colour)},'
        f'"measurements":{{{",".join(measured)}}}{metadata}}}}}'
    )


def _region(region: RegionObject) -> str:
    name = "" if region.name is None else f'"name":{_quoted(region.name)},'
    locked = ',"isLocked":true' if region.locked else ""
    return (
        f'{{"type":"Feature","id":"{region.object_id}","geometry":{_outline(region)},'
        f'"properties":{{"objectType":"annotation",{name}'
        f'"classification":{_classification(region.class_name, region.colour)}{locked}}}}}'
    )


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    """Return a JSON string in ASCII: QuPath up to 0.4.0 reads files in the charset of the computer."""
    return json.dumps(text)


@lru_cache(maxsize=256)
def _classification(name: str, colour: Colour) -> str:
    parts = [part.strip() for part in name.split(":")]
    if not all(parts) or "\n" in name or "\r" in name:
        raise AnnotationError(
            f"class {name!r} cannot be written for QuPath: a name must hold text in one line, and so must each part "
            "of a derived one (Tumor: Positive). Rename the class."
        )
    red, green, blue = colour
    # QuPath refuses a class without a colour, and a name with a colon where it expects one part
    said = f'"name":{_quoted(name)}' if len(parts) == 1 else f'"names":[{",".join(map(_quoted, parts))}]'
    return f'{{{said},"color":[{red:d},{green:d},{blue:d}]}}'


def _outline(region: RegionObject) -> str:
    """Return the geometry as QuPath 0.5 and 0.7 take it: valid on the grid of 0.01 px, one part as a Polygon."""
    area = region.geometry
    if not isinstance(area, shapely.Polygon | shapely.MultiPolygon):
        raise _refused(region, f"is a {area.geom_type} and no area", "Give a Polygon or MultiPolygon")
    if not np.isfinite(shapely.get_coordinates(area)).all():
        raise _refused(region, "has coordinates that are not numbers", "Check how it was made")
    if not area.is_valid:
        raise _refused(region, f"is not valid ({shapely.is_valid_reason(area)})", "Mend it with shapely.make_valid")
    # normalised, so that the same area gives the same bytes however it was drawn
    area = shapely.normalize(shapely.set_precision(shapely.force_2d(area), _GRID_PX))
    area = shapely.transform(area, lambda xy: np.round(xy, 2))
    if area.is_empty or not area.is_valid:
        raise _refused(region, f"is no area any more at {_GRID_PX} px", "Leave it out")
    rings = [
        f"[{','.join(_ring(ring) for ring in (part.exterior, *part.interiors))}]" for part in shapely.get_parts(area)
    ]
    if len(rings) == 1:  # QuPath 0.5 fails on a MultiPolygon of one part
        return f'{{"type":"Polygon","coordinates":{rings[0]}}}'
    return f'{{"type":"MultiPolygon","coordinates":[{",".join(rings)}]}}'


def _ring(ring: shapely.LinearRing) -> str:
    points: NDArray[np.float64] = shapely.get_coordinates(ring)
    return f"[{','.join(f'[{_number(x)},{_number(y)}]' for x, y in points.tolist())}]"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _refused(region: RegionObject, what: str, cure: str) -> AnnotationError:
    called = f"outline {region.name!r}" if region.name else f"outline {region.object_id}"
    return AnnotationError(f"{called} of class {region.class_name!r} {what}, so QuPath would refuse the file. {cure}.")

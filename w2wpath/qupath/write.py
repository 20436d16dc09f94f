"""Write tiles as GeoJSON that QuPath 0.4 to 0.7 imports as detections."""

from __future__ import annotations

import gzip
import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from w2wpath.errors import NonFiniteScoreError, writing

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class TileObject:
    """One tile for QuPath.

    Attributes
    ----------
    object_id
        Stable id: the same tile has the same id in every run, so a second import updates instead of doubling.
    x, y, side
        Corner and side in the frame that the file is written for, in full-resolution pixels.
    measurements
        Finite numbers by name. A name that is absent reads as NaN in QuPath and is not painted.
    """

    object_id: uuid.UUID
    x: int
    y: int
    side: int
    class_name: str
    colour: Colour
    measurements: Mapping[str, float]


def write_tiles(path: Path, tiles: Iterable[TileObject], about: Mapping[str, Any]) -> int:
    """Stream tiles to a ``.geojson.gz``, whole or not at all; return how many were written.

    Raises
    ------
    NonFiniteScoreError
        A measurement is NaN or infinite, which QuPath 0.4 refuses.
    DiskError
        There is no room.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial")
    count = 0
    with writing(path):
        try:
            # mtime 0: the same tiles give the same bytes
            with open(scratch, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
                file.write(b'{"type":"FeatureCollection","features":[')
                for tile in tiles:
                    file.write(b"\n" if count == 0 else b",\n")
                    file.write(json.dumps(_feature(tile), separators=(",", ":"), allow_nan=False).encode())
                    count += 1
                file.write(b'\n],"w2wpath":' + json.dumps(about, separators=(",", ":")).encode() + b"}\n")
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
    return count


def _feature(tile: TileObject) -> dict[str, Any]:
    for name, value in tile.measurements.items():
        if not math.isfinite(value):
            raise NonFiniteScoreError(f"tile at x={tile.x}, y={tile.y}: measurement {name!r} is {value}, not a number.")
    left, top, right, bottom = tile.x, tile.y, tile.x + tile.side, tile.y + tile.side
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {
        "type": "Feature",
        "id": str(tile.object_id),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "tile",
            "classification": {"name": tile.class_name, "color": list(tile.colour)},
            "measurements": {name: round(float(value), 4) for name, value in tile.measurements.items()},
        },
    }

"""A slide's maps for QuPath: tiles (an uncertain one has no ``confident`` measurement and is not painted), outlines."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from w2wpath.frames import Frame
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, Facts, Maps
from w2wpath.heatmaps.maps import UNCERTAIN as UNCERTAIN_STATE
from w2wpath.qupath.colours import UNCERTAIN, class_colours
from w2wpath.qupath.write import RegionObject, TileObject
from w2wpath.tiles.layout import TILE_NAMESPACE, tile_ids
from w2wpath.w2wnet.domain import as_json

UNCERTAIN_CLASS = "Uncertain*"
_BLOCK = 4096


def qupath_about(maps: Maps, facts: Facts) -> dict[str, Any]:
    """Return what a file for QuPath says of itself, which QuPath ignores."""
    return {
        "frame": facts.frame.name,
        "bounds": [facts.frame.x0, facts.frame.y0],
        "threshold": maps.threshold,
        "domain": as_json(facts.domain),
    }


def qupath_tiles(maps: Maps, frame: Frame, fingerprint: str) -> Iterator[TileObject]:
    """Yield the analysed tiles in `frame`, with ids that are the same in every run.

    Parameters
    ----------
    fingerprint
        Of the slide; part of every id.
    """
    rows = np.flatnonzero(maps.state != NOT_ANALYSED)
    # ids and corners of a whole slide at once would be most of the memory that writing takes
    for start in range(0, len(rows), _BLOCK):
        yield from _tiles(maps, rows[start : start + _BLOCK], frame, fingerprint)


def qupath_regions(maps: Maps, frame: Frame, fingerprint: str) -> Iterator[RegionObject]:
    """Yield in `frame` the outline of each class's confident tiles, then that of all uncertain tiles.

    A class without a tile has none. Ids are the same in every run.

    Parameters
    ----------
    fingerprint
        Of the slide; part of every id.
    """
    colours = {**class_colours(maps.classes), UNCERTAIN_CLASS: UNCERTAIN}
    predicted, confident = maps.predicted, maps.state == CONFIDENT
    parts = [(name, confident & (predicted == index)) for index, name in enumerate(maps.classes)]
    for name, tiles in (*parts, (UNCERTAIN_CLASS, maps.state == UNCERTAIN_STATE)):
        if tiles.any():
            yield RegionObject(
                object_id=uuid.uuid5(TILE_NAMESPACE, f"{fingerprint} outline of {name}"),
                class_name=name,
                colour=colours[name],
                geometry=shapely.transform(_merged(maps, tiles), frame.from_slide),
                name=f"w2w {name}",
            )


def _tiles(maps: Maps, rows: NDArray[np.intp], frame: Frame, fingerprint: str) -> Iterator[TileObject]:
    colours = class_colours(maps.classes)
    names = [f"w2w P({name})" for name in maps.classes]
    sure = [f"{name} confident" for name in names]
    ids = tile_ids(fingerprint, maps.x0[rows], maps.y0[rows], maps.side0)
    columns = (
        (uuid.UUID(bytes=one.tobytes()) for one in ids),
        _corners(maps, rows, frame).tolist(),
        (maps.state[rows] == CONFIDENT).tolist(),
        maps.probs_nk[rows].argmax(axis=1).tolist(),
        maps.probs_nk[rows].tolist(),
        maps.u[rows].tolist(),
    )
    for tile_id, (x, y), confident, best, probs, u in zip(*columns, strict=True):
        measured = {**dict(zip(names, probs, strict=True)), "w2w uncertainty": u}
        if confident:
            measured.update(zip(sure, probs, strict=True))
        name = maps.classes[best]
        yield TileObject(
            object_id=uuid.uuid5(tile_id, "heatmap"),
            x=x,
            y=y,
            side=maps.side0,
            class_name=name if confident else UNCERTAIN_CLASS,
            colour=colours[name] if confident else UNCERTAIN,
            measurements=measured,
        )


def _corners(maps: Maps, rows: NDArray[np.intp], frame: Frame) -> NDArray[np.int64]:
    """Return top left corners (n, 2) in `frame`, as ``frame.corner_from_slide`` does for one tile."""
    near = np.stack([maps.x0[rows], maps.y0[rows]], axis=-1)
    corners = np.minimum(frame.from_slide(near), frame.from_slide(near + maps.side0))
    return corners.astype(np.int64)


def _merged(maps: Maps, tiles: NDArray[np.bool_]) -> shapely.Polygon | shapely.MultiPolygon:
    """Return the union of tiles in level-0 pixels of the slide frame."""
    x0, y0 = maps.x0[tiles], maps.y0[tiles]
    boxes = shapely.box(x0, y0, x0 + maps.side0, y0 + maps.side0)
    # many times faster than union_all, but only right where boxes do not overlap
    merge = shapely.coverage_union_all if maps.step0 >= maps.side0 else shapely.union_all
    # straight edges lose the corners of the tiles along them, which moves nothing, so topology needs no slow guard
    return shapely.simplify(merge(boxes), 0, preserve_topology=False)

"""A slide's maps as tiles for QuPath: an uncertain tile has no ``confident`` measurement and is not painted."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np

from w2wpath.frames import Frame
from w2wpath.heatmaps.predict import CONFIDENT, NOT_ANALYSED, Maps
from w2wpath.qupath.colours import UNCERTAIN, class_colours
from w2wpath.qupath.write import TileObject
from w2wpath.tiles.layout import tile_ids

UNCERTAIN_CLASS = "Uncertain*"


def qupath_tiles(maps: Maps, frame: Frame, fingerprint: str) -> Iterator[TileObject]:
    """Yield the analysed tiles in `frame`, with ids that are the same in every run."""
    colours = class_colours(maps.classes)
    predicted = maps.predicted
    ids = tile_ids(fingerprint, maps.x0, maps.y0, maps.side0)
    for i in np.flatnonzero(maps.state != NOT_ANALYSED):
        confident = maps.state[i] == CONFIDENT
        measured = {f"w2w P({name})": float(p) for name, p in zip(maps.classes, maps.probs_nk[i], strict=True)}
        measured["w2w uncertainty"] = float(maps.u[i])
        if confident:
            measured |= {
                f"w2w P({name}) confident": float(p) for name, p in zip(maps.classes, maps.probs_nk[i], strict=True)
            }
        name = maps.classes[predicted[i]]
        x, y = frame.corner_from_slide(int(maps.x0[i]), int(maps.y0[i]), maps.side0)
        yield TileObject(
            object_id=uuid.uuid5(uuid.UUID(bytes=ids[i].tobytes()), "heatmap"),
            x=x,
            y=y,
            side=maps.side0,
            class_name=name if confident else UNCERTAIN_CLASS,
            colour=colours[name] if confident else UNCERTAIN,
            measurements=measured,
        )

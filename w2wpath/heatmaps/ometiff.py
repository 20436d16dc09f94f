"""The maps as an OME-TIFF pyramid, one pixel a grid step: for archives, and for viewers that read images only."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from w2wpath.errors import writing
from w2wpath.frames import um
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, STATES, UNCERTAIN, Facts, Maps
from w2wpath.qupath.colours import Colour, class_colours
from w2wpath.tiles.layout import TILE_NAMESPACE

SMALLEST_PX = 256
"""Levels are halved until the longer side is at most this."""
_BLOCK = 256
_DOUBTFUL_FIRST = (UNCERTAIN, CONFIDENT, NOT_ANALYSED)
_U_COLOUR: Colour = (255, 255, 0)
_STATE_COLOUR: Colour = (255, 255, 255)

Floats = NDArray[np.float64]


def write_ometiff(path: Path, maps: Maps, facts: Facts) -> None:
    """Write channels ``P(<class>)`` of each class, ``u`` and ``state`` (CYX, float32, deflate), whole or not at all.

    A pixel is one tile; its centre is the tile's, its size the grid step. ``PositionX`` and ``PositionY`` of the planes
    are the um from the corner of the slide frame (level 0, not QuPath's cropped view) to the corner of the first pixel.

    Where a tile was not analysed, P and u are 0, since NaN confuses the contrast of most viewers: ``state`` tells
    (0 not analysed, 1 confident, 2 uncertain). On smaller levels P and u are the mean of the analysed tiles, and
    ``state`` is what most tiles are, of equals the more doubtful one. A slide without a tile gives one pixel of zeros.

    Raises
    ------
    DiskError
        There is no room; a file of that name stays as it was.
    """
    levels = _levels(maps)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "tile": (_BLOCK, _BLOCK)}
    with writing(path):
        try:
            with tifffile.TiffWriter(scratch, ome=True) as file:
                file.write(levels[0], subifds=len(levels) - 1, metadata=_metadata(maps, facts), **options)
                for level in levels[1:]:
                    file.write(level, subfiletype=1, metadata=None, **options)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def _metadata(maps: Maps, facts: Facts) -> dict[str, Any]:
    colours = class_colours(maps.classes)
    count = len(maps.classes) + 2
    pixel_um = um(maps.step0, maps.slide_mpp)
    # where tiles overlap, a pixel is the middle of its tile
    margin0 = (maps.side0 - maps.step0) / 2
    left0, top0 = (int(maps.x0[0]), int(maps.y0[0])) if len(maps.x0) else (0, 0)
    return {
        "axes": "CYX",
        "Name": _printable(f"{facts.slide}: w2wpath heatmap, research use only"),
        "Description": _printable("" if facts.domain is None else facts.domain.words),
        # stated, since it would be another in every run
        "UUID": str(uuid.uuid5(TILE_NAMESPACE, f"{facts.fingerprint} heatmap")),
        "Channel": {
            "Name": [*(_printable(f"P({name})") for name in maps.classes), "u", "state"],
            "Color": [_signed(one) for one in (*(colours[name] for name in maps.classes), _U_COLOUR, _STATE_COLOUR)],
        },
        "PhysicalSizeX": pixel_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_um,
        "PhysicalSizeYUnit": "µm",
        "Plane": {
            "PositionX": [um(left0 + margin0, maps.slide_mpp)] * count,
            "PositionXUnit": ["µm"] * count,
            "PositionY": [um(top0 + margin0, maps.slide_mpp)] * count,
            "PositionYUnit": ["µm"] * count,
        },
    }


def _printable(text: str) -> str:
    """Return text without characters that XML cannot hold."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _signed(colour: Colour) -> int:
    """Return a colour as OME has it: RGBA in a signed 32-bit number."""
    red, green, blue = colour
    return int.from_bytes(bytes([red, green, blue, 255]), "big", signed=True)


def _levels(maps: Maps) -> list[NDArray[np.float32]]:
    """Return (k + 2, rows, columns) float32 of each level, each half as large as the one before, rounded up."""
    rows, columns = maps.grid_shape
    if not rows * columns:
        return [np.zeros((len(maps.classes) + 2, 1, 1), dtype=np.float32)]
    state = maps.state.reshape(rows, columns)
    analysed = state != NOT_ANALYSED
    said = np.column_stack([maps.probs_nk, maps.u]).T.reshape(-1, rows, columns)
    # sums over the tiles below each pixel, so that every level is made from the finest one
    sums: Floats = np.where(analysed, said, 0.0).astype(np.float64)
    counts: Floats = np.stack([state == code for code in range(len(STATES))]).astype(np.float64)
    levels = [_level(sums, counts)]
    while max(levels[-1].shape[1:]) > SMALLEST_PX:
        sums, counts = _halved(sums), _halved(counts)
        levels.append(_level(sums, counts))
    return levels


def _level(sums: Floats, counts: Floats) -> NDArray[np.float32]:
    order = list(_DOUBTFUL_FIRST)
    state = np.array(order)[counts[order].argmax(axis=0)]
    analysed = counts[CONFIDENT] + counts[UNCERTAIN]
    mean = np.where(state == NOT_ANALYSED, 0.0, sums / np.maximum(analysed, 1))
    return np.concatenate([mean, state[None]]).astype(np.float32)


def _halved(values: Floats) -> Floats:
    """Add up blocks of 2 x 2 (channels, rows, columns); what is beyond the edge counts nothing."""
    channels, rows, columns = values.shape
    padded = np.pad(values, ((0, 0), (0, rows % 2), (0, columns % 2)))
    return np.asarray(padded.reshape(channels, (rows + 1) // 2, 2, (columns + 1) // 2, 2).sum(axis=(2, 4)))

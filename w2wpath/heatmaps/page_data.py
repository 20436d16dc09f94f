"""What the viewer's script works with: numbers of every cell, packed small, and outlines in level-0 pixels."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from matplotlib import colormaps
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import ConfigError, did_you_mean
from w2wpath.frames import Frame
from w2wpath.heatmaps.annotations import Region
from w2wpath.heatmaps.cells import Cells
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN
from w2wpath.qupath.colours import Colour

COLOUR_MAPS = ("inferno", "cividis")
U_STEPS = 65535
"""u is kept to 1 in so many; probabilities to 1 in 255."""
NO_CLASS = 255


def packed(
    cells: Cells,
    frame: Frame,
    regions: Sequence[Region],
    colours: Mapping[str, Colour],
    *,
    width0: int,
    height0: int,
    slide_mpp: float,
    threshold: float,
    colour_map: str,
    opacity: float,
    calibrated: bool,
    of_labels: bool,
) -> dict[str, Any]:
    """Return plain values for the page's JSON.

    Parameters
    ----------
    of_labels
        The cells hold labels that people gave, not what a model says.

    Raises
    ------
    ConfigError
        `colour_map` is unknown, `opacity` is not from 0 to 0.8, or there are too many classes.
    """
    if colour_map not in COLOUR_MAPS:
        hint = did_you_mean(colour_map, COLOUR_MAPS)
        raise ConfigError(f"colour map must be one of {', '.join(COLOUR_MAPS)}; got {colour_map!r}.{hint}")
    if not 0 <= opacity <= 0.8:
        raise ConfigError(f"opacity must be from 0 to 0.8, so that tissue stays visible; got {opacity:g}.")
    k = len(cells.classes)
    if k >= NO_CLASS:
        raise ConfigError(f"the page shows at most {NO_CLASS - 1} classes; the model has {k}.")
    best = cells.predicted
    analysed = cells.state != NOT_ANALYSED
    probs = np.rint(np.where(analysed[:, None], cells.probs_nk, 0).clip(0, 1) * 255).astype(np.uint8)
    # rounded down: what the page finds above a threshold is above it
    u = np.floor(np.where(analysed, cells.u, 0).clip(0, 1) * np.float64(U_STEPS)).astype("<u2")
    return {
        "classes": list(cells.classes),
        "colours": [list(colours[name]) for name in cells.classes],
        "columns": cells.columns,
        "rows": cells.rows,
        "step0": cells.step0,
        "width0": width0,
        "height0": height0,
        "mpp": slide_mpp,
        "mm2": cells.mm2(slide_mpp),
        "threshold": threshold,
        "most_u": 1 - 1 / max(k, 2),
        "frame": {"to": _affine(frame), "name": frame.name},
        "reasons": list(REASONS),
        "state": _b64(cells.state),
        "reason": _b64(cells.reason),
        "best": _b64(np.where(best < 0, NO_CLASS, best).astype(np.uint8)),
        "probs": _b64(np.ascontiguousarray(probs.T)),
        "u": _b64(u),
        "unread": _b64(cells.unread.astype(np.uint8)),
        "maps": {name: _b64(_lut(name)) for name in COLOUR_MAPS},
        "colour_map": colour_map,
        "opacity": opacity,
        "calibrated": calibrated,
        "of_labels": of_labels,
        "regions": [
            {"name": one.class_name, "colour": list(one.colour), "rings": list(_rings(one.geometry))} for one in regions
        ],
    }


@dataclass(frozen=True)
class Count:
    """Cells of one class that are confident: how many, their area, and their share of what was analysed."""

    name: str
    colour: str
    cells: int
    mm2: float
    share: float


def counts(cells: Cells, colours: Mapping[str, Colour], slide_mpp: float) -> tuple[list[Count], int, int]:
    """Return what each class has, the number of uncertain cells, and of all that were analysed."""
    analysed = int((cells.state != NOT_ANALYSED).sum())
    predicted = cells.predicted
    found = []
    for index, name in enumerate(cells.classes):
        n = int(((cells.state == CONFIDENT) & (predicted == index)).sum())
        colour = "#{:02x}{:02x}{:02x}".format(*colours[name])
        found.append(Count(name, colour, n, n * cells.mm2(slide_mpp), n / analysed if analysed else 0.0))
    return found, int((cells.state == UNCERTAIN).sum()), analysed


def _affine(frame: Frame) -> list[float]:
    """Return ``[a, b, c, d, e, f]``: a level-0 point (x, y) is (a x + b y + c, d x + e y + f) in `frame`."""
    origin, right, down = frame.from_slide(np.array([[0, 0], [1, 0], [0, 1]]))
    (a, d), (b, e) = right - origin, down - origin
    return [float(value) for value in (a, b, origin[0], d, e, origin[1])]


def _rings(geometry: BaseGeometry) -> Iterator[list[list[int]]]:
    # a vertex less than a pixel off the line is nothing that a person sees
    for part in shapely.get_parts(shapely.simplify(geometry, 0.7)):
        for line in shapely.get_parts(part.boundary):
            yield np.rint(shapely.get_coordinates(line)).astype(int).tolist()


def _lut(name: str) -> NDArray[np.uint8]:
    return np.asarray(np.rint(colormaps[name](np.arange(256))[:, :3] * 255).astype(np.uint8))


def _b64(values: NDArray[np.generic]) -> str:
    return base64.b64encode(values.tobytes()).decode()

"""The annotations of one slide in its level-0 pixels, ready to be measured on tiles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.config import TileSettings
from w2wpath.errors import AnnotationError, ConfigError, did_you_mean
from w2wpath.frames import Frame
from w2wpath.qupath.read import Rois
from w2wpath.qupath.report import counts
from w2wpath.tiles.labels import area_shares

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Drawn:
    """A slide's annotations in level-0 pixels of the slide frame.

    Attributes
    ----------
    regions, entries
        (class index, area) and the line of the import report, of each region.
    ignored
        Areas taken out of every class.
    cores, core_areas
        Names and areas of the TMA cores that are not missing.
    within0
        Common bounding box of the regions.
    attributes
        What a store's slide says of its annotations.
    """

    regions: Sequence[tuple[int, BaseGeometry]]
    entries: Ints
    ignored: Sequence[BaseGeometry]
    cores: tuple[str, ...]
    core_areas: NDArray[Any]
    within0: tuple[float, float, float, float]
    attributes: Mapping[str, Any]

    def measure(self, x0: Ints, y0: Ints, side0: int) -> tuple[NDArray[np.float32], Ints]:
        """Return shares (n, C) of tiles by class, and the report's line (n,) of the largest region or -1."""
        n_classes = len(self.attributes["classes"])
        shares = area_shares(x0, y0, side0, self.regions, self.ignored, n_classes)
        return shares.area_share, np.where(shares.roi >= 0, self.entries[shares.roi], -1).astype(np.int32)

    def core_of(self, x0: Ints, y0: Ints, side0: int) -> Ints:
        """Return the core (n,) that holds each tile's centre, the first where several do, or -1."""
        centres = shapely.points(x0 + side0 / 2, y0 + side0 / 2)
        tile_i, core_i = shapely.STRtree(self.core_areas).query(centres, predicate="intersects")
        found = np.full(len(x0), len(self.cores), dtype=np.int32)
        np.minimum.at(found, tile_i, core_i.astype(np.int32))
        return np.where(found < len(self.cores), found, -1).astype(np.int32)


def draw(rois: Rois, frame: Frame, settings: TileSettings, size0: tuple[int, int]) -> Drawn:
    """Bring annotations into the slide frame, cut down to the scope where there is one.

    Raises
    ------
    AnnotationError
        No region lies in the scope.
    ConfigError
        A class is not among ``settings.classes``.
    """
    classes = accepted(rois.classes, settings, str(rois.path))
    regions = _moved([roi.geometry for roi in rois.regions], frame)
    if rois.scope:
        scope = shapely.union_all(_moved(rois.scope, frame))
        shapely.prepare(scope)
        regions = shapely.intersection(regions, scope)
        if shapely.is_empty(regions).all():
            raise AnnotationError(f"{rois.path}: no region lies in the scope. Draw the scope around the regions.")
    left0, top0, right0, bottom0 = (float(edge) for edge in shapely.total_bounds(regions))
    if settings.edge == "pad":  # what is drawn off the slide covers nothing of it
        regions = shapely.intersection(regions, shapely.box(0, 0, *size0))
    present = [core for core in rois.cores if not core.missing]
    lines = [line.as_dict() for line in rois.report]
    return Drawn(
        [(classes.index(roi.class_name), area) for roi, area in zip(rois.regions, regions, strict=True)],
        np.array([roi.entry for roi in rois.regions], dtype=np.int32),
        list(_moved(rois.ignored, frame)),
        tuple(core.name for core in present),
        _moved([core.geometry for core in present], frame),
        (left0, top0, right0, bottom0),
        {
            "classes": list(classes),
            "rois_file": rois.path.name,
            "origin": asdict(frame),
            "import_report": counts(rois.report),
            "regions": [rois.report[roi.entry].as_dict() for roi in rois.regions],
            "colours": {name: list(colour) for name, colour in rois.colours.items()},
            "annotations_hash": digest(json.dumps([rois.path.name, asdict(frame), lines])),
        },
    )


def _moved(areas: Sequence[BaseGeometry], frame: Frame) -> NDArray[Any]:
    found = np.empty(len(areas), dtype=object)
    found[:] = areas
    return np.asarray(shapely.transform(found, frame.to_slide))


def accepted(found: Sequence[str], settings: TileSettings, where: str) -> tuple[str, ...]:
    """Return the classes that count, in their order: those `found`, or the settings' where these hold all of them.

    Raises
    ------
    ConfigError
        One that was found is not among the settings' classes.
    """
    if settings.classes is None:
        return tuple(found)
    for name in found:
        if name not in settings.classes:
            hint = did_you_mean(name, settings.classes)
            raise ConfigError(
                f"{where}: class {name!r} is not one of --classes {', '.join(settings.classes)}.{hint} "
                "Add it, or mend the annotation."
            )
    return settings.classes


def digest(*parts: object) -> str:
    """Return a sha256 over the parts and where each ends."""
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()

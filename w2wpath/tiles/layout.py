"""Decide which tiles a slide gives and what is known of each, before any pixel is read."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.config import TileSettings
from w2wpath.errors import AnnotationError, ConfigError, did_you_mean
from w2wpath.frames import Frame, Scale, source_level
from w2wpath.qupath.read import Rois
from w2wpath.qupath.report import counts
from w2wpath.slides.contract import Slide
from w2wpath.tiles.cut import RESAMPLE
from w2wpath.tiles.grid import grid
from w2wpath.tiles.labels import area_shares, majority
from w2wpath.tiles.store import SlideTiles

TILE_NAMESPACE = uuid.UUID("6f1f7c0e-3f0c-5d1a-9a53-2b7c1f1f0a11")


def lay_out(
    slide: Slide,
    slide_path: Path,
    scale: Scale,
    rois: Rois,
    frame: Frame,
    patient: str | None,
    settings: TileSettings,
    fingerprint: str,
) -> SlideTiles:
    """Lay the grid over a slide's regions, measure the shares and give every stored tile its label and id.

    Parameters
    ----------
    slide, slide_path
        The open slide and the file it was opened from.
    scale
        Side and step of the grid in level-0 pixels.
    rois, frame
        Regions and the frame they are in; tiles and shares are in the slide frame.
    patient
        None where the user gave none: the slide's name stands in, and the attributes say so.
    fingerprint
        Of the slide; part of every tile's id.

    Raises
    ------
    AnnotationError
        No tile is covered enough.
    ConfigError
        A class is not among ``settings.classes``.
    """
    classes = _accepted(rois, settings)
    regions, ignored = _in_slide_frame(rois, frame)
    left0, top0, right0, bottom0 = (float(edge) for edge in shapely.total_bounds(regions))
    x0, y0 = grid(
        scale,
        width0=slide.width0,
        height0=slide.height0,
        within0=(left0, top0, right0, bottom0),
        anchor0=(0, 0) if settings.anchor == "slide" else (int(left0), int(top0)),
    )
    shares = area_shares(
        x0,
        y0,
        scale.side0,
        [(classes.index(roi.class_name), area) for roi, area in zip(rois.regions, regions, strict=True)],
        list(ignored),
        len(classes),
    )
    stored = shares.area_share.sum(axis=1) >= settings.min_share - 1e-6
    if not stored.any():
        raise AnnotationError(
            f"{rois.path}: no tile of {scale.side0} level-0 pixels is covered by a ROI to {settings.min_share:g} on "
            f"{slide_path.name} ({slide.width0} x {slide.height0}). "
            "Check that they belong together, or make tiles smaller."
        )
    x0, y0, area_share = x0[stored], y0[stored], shares.area_share[stored]
    labels = majority(area_share, label_share=settings.label_share, conflict_share=settings.conflict_share)
    entry_of_region = np.array([roi.entry for roi in rois.regions], dtype=np.int32)
    n = len(x0)
    columns: dict[str, NDArray[Any]] = {
        "x0": x0,
        "y0": y0,
        "side0": np.full(n, scale.side0, dtype=np.int32),
        "label": labels.label,
        "roi": entry_of_region[shares.roi[stored]],
        "patient": np.zeros(n, dtype=np.int32),
        "core": np.full(n, -1, dtype=np.int32),
        "valid_share": np.ones(n, dtype=np.float32),
        "area_share": area_share,
        "tile_id": tile_ids(fingerprint, x0, y0, scale.side0),
    }
    by_class = {name: int((labels.label == index).sum()) for index, name in enumerate(classes)}
    patients = [patient or slide_path.stem]
    attributes = {
        "classes": list(classes),
        "patients": patients,
        "patient_from": "given" if patient else "slide name",
        "file": slide_path.name,
        "rois_file": rois.path.name,
        "fingerprint": fingerprint,
        "size0": [slide.width0, slide.height0],
        "slide_mpp": slide.mpp,
        "mpp_from": slide.mpp_from,
        "mpp": scale.mpp,
        "source_level": source_level(slide.downsamples, scale.side0, scale.tile_px),
        "origin": asdict(frame),
        "settings": settings.model_dump(mode="json"),
        "counts": {"tiles": n, "by_class": by_class, "border": labels.border, "conflict": labels.conflict},
        "import_report": counts(rois.report),
        "regions": [rois.report[roi.entry].as_dict() for roi in rois.regions],
        "colours": {name: list(colour) for name, colour in rois.colours.items()},
        "pixels_hash": _hash(fingerprint, RESAMPLE, scale.tile_px, scale.side0, x0.tobytes(), y0.tobytes()),
        "labels_hash": _hash(
            json.dumps([classes, patients, rois.path.name, asdict(frame), [line.as_dict() for line in rois.report]]),
            *(columns[name].tobytes() for name in ("label", "roi", "area_share")),
        ),
    }
    return SlideTiles(columns, attributes)


def _in_slide_frame(rois: Rois, frame: Frame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the regions, cut down to the scope where there is one, and the areas to cut out."""
    regions = shapely.transform(_array([roi.geometry for roi in rois.regions]), frame.to_slide)
    if rois.scope:
        scope = shapely.transform(shapely.union_all(_array(rois.scope)), frame.to_slide)
        shapely.prepare(scope)
        regions = shapely.intersection(regions, scope)
        if shapely.is_empty(regions).all():
            raise AnnotationError(f"{rois.path}: no region lies in the scope. Draw the scope around the regions.")
    return regions, shapely.transform(_array(rois.ignored), frame.to_slide)


def _array(areas: Sequence[BaseGeometry]) -> NDArray[Any]:
    found = np.empty(len(areas), dtype=object)
    found[:] = areas
    return found


def _accepted(rois: Rois, settings: TileSettings) -> tuple[str, ...]:
    if settings.classes is None:
        return rois.classes
    for name in rois.classes:
        if name not in settings.classes:
            hint = did_you_mean(name, settings.classes)
            raise ConfigError(
                f"{rois.path}: class {name!r} is not one of --classes {', '.join(settings.classes)}.{hint} "
                "Add it, or mend the annotation."
            )
    return settings.classes


def tile_ids(fingerprint: str, x0: NDArray[np.int32], y0: NDArray[np.int32], side0: int) -> NDArray[np.uint8]:
    """Return ids (n, 16) uint8: uuid5 of slide fingerprint and level-0 box, the same in every run."""
    ids = [
        uuid.uuid5(TILE_NAMESPACE, f"{fingerprint} {x} {y} {side0}").bytes
        for x, y in zip(x0.tolist(), y0.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 16)


def _hash(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()

"""Decide which tiles a slide gives and what is known of each, before any pixel is read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import TileSettings
from w2wpath.errors import AnnotationError, ConfigError, did_you_mean
from w2wpath.frames import Frame, Scale, source_level
from w2wpath.qupath.read import Rois
from w2wpath.slides.contract import Slide
from w2wpath.tiles.cut import RESAMPLE
from w2wpath.tiles.drawn import Ints, digest, draw
from w2wpath.tiles.grid import grid, valid_share
from w2wpath.tiles.labels import NO_LABEL, SLACK, labels_of
from w2wpath.tiles.patients import PatientOf, patient_of
from w2wpath.tiles.store import SlideTiles

TILE_NAMESPACE = uuid.UUID("6f1f7c0e-3f0c-5d1a-9a53-2b7c1f1f0a11")


def lay_out(
    slide: Slide,
    slide_path: Path,
    scale: Scale,
    rois: Rois,
    frame: Frame,
    patient: PatientOf | str | None,
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
        Of all tiles, or how each finds its own. None where the user gave none: the slide's name stands in, and the
        attributes say so.
    fingerprint
        Of the slide; part of every tile's id.

    Raises
    ------
    AnnotationError
        No tile is covered enough.
    CohortError
        TMA cores decide the patient, and tiles lie in a core without one.
    ConfigError
        A class is not among ``settings.classes``, or has no rank.
    """
    size0 = (slide.width0, slide.height0)
    drawn = draw(rois, frame, settings, size0)
    anchor0 = (0, 0) if settings.anchor == "slide" else (int(drawn.within0[0]), int(drawn.within0[1]))
    x0, y0 = candidates(scale, size0, drawn.within0, anchor0, settings)
    area_share, roi = drawn.measure(x0, y0, scale.side0)
    stored = area_share.sum(axis=1) >= settings.min_share - SLACK
    if not stored.any():
        raise AnnotationError(
            f"{rois.path}: no tile of {scale.side0} level-0 pixels is covered by a ROI to {settings.min_share:g} on "
            f"{slide_path.name} ({slide.width0} x {slide.height0}). "
            "Check that they belong together, or make tiles smaller."
        )
    x0, y0 = x0[stored], y0[stored]
    columns = {
        "x0": x0,
        "y0": y0,
        "side0": np.full(len(x0), scale.side0, dtype=np.int32),
        "roi": roi[stored],
        "core": drawn.core_of(x0, y0, scale.side0),
        "valid_share": valid_share(x0, y0, scale.side0, width0=slide.width0, height0=slide.height0),
        "area_share": area_share[stored],
        "tile_id": tile_ids(fingerprint, x0, y0, scale.side0),
    }
    attributes = {
        "file": slide_path.name,
        "fingerprint": fingerprint,
        "size0": list(size0),
        "slide_mpp": slide.mpp,
        "mpp_from": slide.mpp_from,
        "mpp": scale.mpp,
        "step0": scale.step0,
        "anchor0": list(anchor0),
        "source_level": source_level(slide.downsamples, scale.side0, scale.tile_px),
        **drawn.attributes,
        "cores": list(drawn.cores),
        "pixels_hash": digest(fingerprint, RESAMPLE, scale.tile_px, scale.side0, x0.tobytes(), y0.tobytes()),
    }
    if not isinstance(patient, PatientOf):
        patient = patient_of(slide_path.stem, given=patient or None)
    return labelled(columns, attributes, patient, settings)


def candidates(
    scale: Scale,
    size0: tuple[int, int],
    within0: tuple[float, float, float, float],
    anchor0: tuple[int, int],
    settings: TileSettings,
) -> tuple[Ints, Ints]:
    """Return the corners ``x0, y0`` of the tiles of a slide's grid that may meet a region."""
    return grid(scale, width0=size0[0], height0=size0[1], within0=within0, anchor0=anchor0, edge=settings.edge)


def labelled(
    columns: Mapping[str, NDArray[Any]],
    attributes: Mapping[str, Any],
    patient: PatientOf,
    settings: TileSettings,
    *,
    not_stored: int = 0,
) -> SlideTiles:
    """Give tiles whose shares are known their labels and patients, with counts and hash.

    Raises
    ------
    CohortError
        TMA cores decide the patient, and tiles lie in a core without one.
    ConfigError
        A class has no rank among ``settings.priority``.
    """
    classes, area_share = tuple(attributes["classes"]), columns["area_share"]
    patients, of_tile = patient.assign(columns["core"], attributes["cores"])
    below = area_share.sum(axis=1) < settings.min_share - SLACK
    nobodys = patient.unknown(columns["core"]) & ~below
    usable = ~below & ~nobodys
    labels = labels_of(
        area_share[usable],
        settings.policy,
        label_share=settings.label_share,
        conflict_share=settings.conflict_share,
        ranks=_ranks(classes, settings, attributes["rois_file"]),
    )
    label = np.full(len(usable), NO_LABEL, dtype=np.int16)
    label[usable] = labels.label
    left_out = {"below_min_share": int(below.sum()), "in_no_core": int(nobodys.sum()), "not_stored": not_stored}
    columns = {**columns, "label": label, "patient": of_tile}
    # what `multi` claims is not in the columns, but follows from them and label_share
    claims = [settings.label_share] if settings.policy == "multi" else []
    named = json.dumps([classes, patients, attributes["annotations_hash"], *claims])
    found = {
        **attributes,
        "patients": patients,
        "patient_from": patient.source,
        "core_patients": dict(patient.by_core),
        "settings": settings.model_dump(mode="json"),
        "counts": {
            "tiles": len(label),
            "by_class": {name: int((label == index).sum()) for index, name in enumerate(classes)},
            "border": labels.border,
            "conflict": labels.conflict,
            **{why: count for why, count in left_out.items() if count},
        },
        "labels_hash": digest(
            named, *(columns[name].tobytes() for name in ("label", "roi", "area_share", "patient", "core"))
        ),
    }
    return SlideTiles(columns, found)


def _ranks(classes: Sequence[str], settings: TileSettings, where: str) -> list[int] | None:
    if settings.policy != "priority" or settings.priority is None:
        return None
    for name in classes:
        if name not in settings.priority:
            hint = did_you_mean(name, settings.priority)
            raise ConfigError(
                f"{where}: class {name!r} has no rank in priority {', '.join(settings.priority)}.{hint} "
                "Name every class there."
            )
    return [classes.index(name) for name in settings.priority if name in classes]


def tile_ids(fingerprint: str, x0: Ints, y0: Ints, side0: int) -> NDArray[np.uint8]:
    """Return ids (n, 16) uint8: uuid5 of slide fingerprint and level-0 box, the same in every run."""
    ids = [
        uuid.uuid5(TILE_NAMESPACE, f"{fingerprint} {x} {y} {side0}").bytes
        for x, y in zip(x0.tolist(), y0.tolist(), strict=True)
    ]
    return np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 16)

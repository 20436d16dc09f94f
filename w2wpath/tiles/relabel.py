"""Other labels or patients for tiles that are stored, without reading a pixel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import TileSettings, load
from w2wpath.errors import AnnotationError, ConfigError, StoreError
from w2wpath.frames import Frame, Scale
from w2wpath.qupath.read import Rois
from w2wpath.tiles.drawn import Drawn, Ints, accepted, draw
from w2wpath.tiles.labels import SLACK
from w2wpath.tiles.layout import candidates, labelled
from w2wpath.tiles.patients import PatientOf
from w2wpath.tiles.store import SlideTiles

PLACES = ("tile_px", "mpp", "step_px", "anchor", "edge")
"""Settings that say where tiles lie."""
READING = ("class_map", "include", "plane", "point_radius_um", "origin")
"""Settings that say what an annotation file means."""
NEEDED = ("annotations_hash", "anchor0", "step0", "cores", "core_patients", "settings")


def relabelled(tiles: SlideTiles, rois: Rois | None, frame: Frame | None, settings: TileSettings) -> SlideTiles:
    """Label a slide's stored tiles by other settings, or by other annotations of the same slide.

    A tile that the annotations no longer cover to ``min_share`` stays, without a label
    (``counts["below_min_share"]``). Tiles that they cover and that are not stored are counted in
    ``counts["not_stored"]``: only `w2wpath tile` brings them. Each tile keeps its patient; where TMA cores decide it
    and `rois` hold cores, its core is found again.

    Parameters
    ----------
    tiles
        As the store gives them; they are not changed.
    rois, frame
        The annotations and the frame they are in. Without `rois` the stored shares are used; without `frame` the
        stored one.
    settings
        :func:`stored_settings` with what shall change.

    Raises
    ------
    AnnotationError
        The annotations cover none of the stored tiles.
    CohortError
        TMA cores decide the patient, and tiles lie in a core without one.
    ConfigError
        The settings ask for other tiles or, without `rois`, for another reading of the annotations; a class is not
        among ``settings.classes`` or has no rank.
    StoreError
        An older version, which did not keep what is needed, tiled the slide.
    """
    was, about = stored_settings(tiles), tiles.attributes
    _require_same(was, settings, PLACES, about["file"], "Run `w2wpath tile` again")
    patient = stored_patient(tiles)
    if rois is None:
        _require_same(was, settings, READING, about["file"], "Give the annotation file")
        if settings.min_share < was.min_share:
            raise ConfigError(
                f"{about['file']}: was tiled with min_share {was.min_share:g}, so tiles covered to "
                f"{settings.min_share:g} are not stored. Run `w2wpath tile` again, or leave min_share as it was."
            )
        columns, attributes = _by_classes(tiles, settings)
        return labelled(columns, attributes, patient, settings, not_stored=_not_stored(tiles))
    frame = Frame(**about["origin"]) if frame is None else frame
    drawn = draw(rois, frame, settings, _size0(about))
    columns, not_stored = _measured(tiles, drawn, settings)
    if not (columns["area_share"].sum(axis=1) >= settings.min_share - SLACK).any():
        raise AnnotationError(
            f"{rois.path}: no stored tile of {about['file']} is covered by a ROI to {settings.min_share:g}. "
            "Check that they belong together, or run `w2wpath tile` again."
        )
    attributes = {**about, **drawn.attributes}
    if drawn.cores:
        attributes["cores"] = list(drawn.cores)
    return labelled(columns, attributes, patient, settings, not_stored=not_stored)


def with_patients(tiles: SlideTiles, patient: PatientOf) -> SlideTiles:
    """Give a slide's stored tiles other patients. Labels change only where cores come to decide, or cease to.

    Raises
    ------
    CohortError
        Cores decide the patient, and the slide has none, or tiles lie in a core without a patient.
    StoreError
        An older version, which did not keep what is needed, tiled the slide.
    """
    settings = stored_settings(tiles)
    return labelled(tiles.columns, tiles.attributes, patient, settings, not_stored=_not_stored(tiles))


def stored_settings(tiles: SlideTiles) -> TileSettings:
    """Return the settings that a slide's tiles were made or last relabelled with.

    Raises
    ------
    StoreError
        An older version, which did not keep what is needed, tiled the slide.
    """
    if any(key not in tiles.attributes for key in NEEDED):
        raise StoreError(
            f"{tiles.attributes['file']}: was tiled by an older w2wpath, which did not keep all that is needed. "
            "Run `w2wpath tile` on this slide again."
        )
    return load(TileSettings, "tile", None, {}, tiles.attributes["settings"])


def stored_patient(tiles: SlideTiles) -> PatientOf:
    """Return how a slide's stored tiles found their patient."""
    about = tiles.attributes
    if about["patient_from"] == "cores":
        return PatientOf(Path(about["file"]).stem, "cores", about["core_patients"])
    return PatientOf(about["patients"][0], about["patient_from"])


def _require_same(was: TileSettings, now: TileSettings, names: tuple[str, ...], file: str, cure: str) -> None:
    for name in names:
        old, new = getattr(was, name), getattr(now, name)
        if old != new:
            shown = f"{name} {old}, not {new}" if name != "class_map" else "another class map"
            raise ConfigError(f"{file}: was tiled with {shown}. {cure}, or leave {name} as it was.")


def _not_stored(tiles: SlideTiles) -> int:
    return int(tiles.attributes["counts"].get("not_stored", 0))


def _size0(about: Mapping[str, Any]) -> tuple[int, int]:
    width0, height0 = about["size0"]
    return int(width0), int(height0)


def _by_classes(tiles: SlideTiles, settings: TileSettings) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return columns and attributes with the stored shares in the order of the settings' classes."""
    about, was = tiles.attributes, list(tiles.attributes["classes"])
    classes = accepted(sorted({line["class"] for line in about["regions"]}), settings, about["rois_file"])
    shares = np.zeros((tiles.n, len(classes)), dtype=np.float32)
    for index, name in enumerate(classes):
        if name in was:
            shares[:, index] = tiles.columns["area_share"][:, was.index(name)]
    return {**tiles.columns, "area_share": shares}, {**about, "classes": list(classes)}


def _measured(tiles: SlideTiles, drawn: Drawn, settings: TileSettings) -> tuple[dict[str, NDArray[Any]], int]:
    """Return columns with new shares, regions and cores, and how many covered candidates are not stored."""
    x0, y0, side0 = tiles.columns["x0"], tiles.columns["y0"], int(tiles.columns["side0"][0])
    new_x0, new_y0 = _missing(tiles, drawn, side0, settings)
    area_share, roi = drawn.measure(np.concatenate([x0, new_x0]), np.concatenate([y0, new_y0]), side0)
    covered = area_share[tiles.n :].sum(axis=1) >= settings.min_share - SLACK
    columns = {**tiles.columns, "area_share": area_share[: tiles.n], "roi": roi[: tiles.n]}
    if drawn.cores:
        columns["core"] = drawn.core_of(x0, y0, side0)
    return columns, int(covered.sum())


def _missing(tiles: SlideTiles, drawn: Drawn, side0: int, settings: TileSettings) -> tuple[Ints, Ints]:
    """Return the corners of the candidates of the slide's grid that are not stored, nor known to be damaged."""
    about = tiles.attributes
    scale = Scale(settings.tile_px, side0, about["step0"], about["mpp"])
    left, top = about["anchor0"]
    x0, y0 = candidates(scale, _size0(about), drawn.within0, (left, top), settings)
    damaged = np.array(about.get("damaged", []), dtype=np.int32).reshape(-1, 2)
    known = np.concatenate([_place(tiles.columns["x0"], tiles.columns["y0"]), _place(damaged[:, 0], damaged[:, 1])])
    new = ~np.isin(_place(x0, y0), known)
    return x0[new], y0[new]


def _place(x0: Ints, y0: Ints) -> NDArray[np.int64]:
    """Return one number for each corner."""
    return np.asarray((y0.astype(np.int64) << 32) + x0)

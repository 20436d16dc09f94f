"""Other labels or patients for the slides of a store: one bad slide never stops the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from w2wpath.config import TileSettings, load
from w2wpath.errors import DiskError, W2wError
from w2wpath.qupath.read import Rois, read_rois, require_regions
from w2wpath.tiles.cohort import Outcome, told
from w2wpath.tiles.patients import Table, patient_of, require_slides
from w2wpath.tiles.relabel import relabelled, stored_settings, with_patients
from w2wpath.tiles.store import SlideTiles, TileStore


def relabel(store_path: Path, changes: Mapping[str, Any], rois: Mapping[str, Path] | None = None) -> list[Outcome]:
    """Give stored tiles other labels without reading a pixel.

    Parameters
    ----------
    changes
        Settings of `tile` that shall change (policy, shares, classes ...); the others stay as each slide has them.
    rois
        Edited annotations by slide name: these slides only. Without, all slides by their stored shares.

    Raises
    ------
    CohortError
        A slide is not in the store.
    """
    store = TileStore.open(store_path)
    require_slides({(name, None): "" for name in rois or ()}, store.slides(), str(store.path))
    return [_relabel_slide(store, name, changes, (rois or {}).get(name)) for name in rois or store.slides()]


def _relabel_slide(store: TileStore, name: str, changes: Mapping[str, Any], path: Path | None) -> Outcome:
    try:
        tiles = store.read(name)
        settings = load(TileSettings, "tile", None, changes, stored_settings(tiles).model_dump())
        rois = None
        if path is not None:
            rois = read_rois(path, settings, slide_mpp=tiles.attributes["slide_mpp"])
            require_regions(rois, strict=settings.strict)
        return _replaced(store, name, tiles, relabelled(tiles, rois, None, settings), rois)
    except DiskError:
        raise
    except W2wError as error:
        return Outcome(name, "failed", error=str(error))


def assign_patients(store_path: Path, table: Table, where: str) -> list[Outcome]:
    """Give the slides that `table` names other patients, without reading a pixel.

    Parameters
    ----------
    table, where
        Of :func:`w2wpath.tiles.patients.read_patient_map`, and the file's name for messages.

    Raises
    ------
    CohortError
        A slide is not in the store.
    """
    store = TileStore.open(store_path)
    require_slides(table, store.slides(), where)
    return [_assign_slide(store, name, table, where) for name in dict.fromkeys(slide for slide, _ in table)]


def _assign_slide(store: TileStore, name: str, table: Table, where: str) -> Outcome:
    try:
        tiles = store.read(name)
        return _replaced(store, name, tiles, with_patients(tiles, patient_of(name, table=table, where=where)), None)
    except DiskError:
        raise
    except W2wError as error:
        return Outcome(name, "failed", error=str(error))


def _replaced(store: TileStore, name: str, had: SlideTiles, now: SlideTiles, rois: Rois | None) -> Outcome:
    same = had.attributes["labels_hash"] == now.attributes["labels_hash"]
    if not same:
        store.replace_labels(name, now)
    return told(store, name, "unchanged" if same else "relabelled", rois, (), guessed=False)

"""What is known of a tile store, or of a slide file: plain values that JSON can hold."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from w2wpath.config import TileSettings
from w2wpath.errors import StoreError, W2wError
from w2wpath.frames import source_level, tile_scale
from w2wpath.provenance import companion_folder, fingerprint
from w2wpath.slides.reader import open_slide, require_mpp
from w2wpath.tiles.store import SlideTiles, TileStore

FEW_PATIENTS = 2
"""A class of fewer patients cannot be on both sides of a split by patient."""
PROPERTIES = ("openslide.vendor", "openslide.objective-power", "openslide.mpp-x", "openslide.mpp-y")
"""What is told of a file's own properties; others may name a person, or when and where the slide was scanned."""


def info(path: Path | str, *, slide_mpp: float | None = None) -> dict[str, Any]:
    """Tell what is known of a store or of a slide, whichever `path` holds; key ``kind`` says which.

    Raises
    ------
    StoreError
        Nothing is there, or a folder that is no store of ours.
    SlideError
        The file is no slide that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise StoreError(f"{path}: no such tile store or slide. Check the path.")
    return store_info(TileStore.open(path)) if path.is_dir() else slide_info(path, slide_mpp=slide_mpp)


def store_info(store: TileStore) -> dict[str, Any]:
    """Tell what a store holds: settings, counts by class, patient and slide, what differs, what is damaged.

    A slide that cannot be read is listed under ``damaged`` and left out of every count.
    """
    parts: dict[str, SlideTiles] = {}
    damaged = []
    for name in store.slides():
        try:
            parts[name] = store.read(name)
        except StoreError as error:
            damaged.append({"slide": name, "error": str(error)})
    slides = [_slide_of_store(name, part) for name, part in parts.items()]
    names = sorted({name for slide in slides for name in slide["by_class"]})
    patients = _by_patient(parts)
    sizes = [entry.stat().st_size for entry in store.path.rglob("*") if entry.is_file()]
    decisions = store.path / "decisions"
    found: dict[str, Any] = {
        "kind": "store",
        "path": str(store.path),
        **_root(store),
        **asdict(store.spec),
        "tiles": sum(slide["tiles"] for slide in slides),
        "labelled": sum(slide["labelled"] for slide in slides),
        **{why: _sum(slide[why] for slide in slides) for why in ("border", "conflict", "damaged_tiles")},
        "by_class": {
            name: {
                "tiles": sum(slide["by_class"].get(name, 0) for slide in slides),
                "patients": sum(name in patient["by_class"] for patient in patients.values()),
                "slides": sum(slide["by_class"].get(name, 0) > 0 for slide in slides),
            }
            for name in names
        },
        "by_patient": patients,
        "slides": slides,
        "damaged": damaged,
        **_settings({name: part.attributes for name, part in parts.items()}),
        "runs": sorted(entry.name for entry in decisions.iterdir() if entry.is_dir()) if decisions.is_dir() else [],
        "bytes": sum(sizes),
        "files": len(sizes),
    }
    found["verdict"] = _verdict(found)
    return found


def _root(store: TileStore) -> dict[str, Any]:
    about = json.loads((store.path / "zarr.json").read_text("utf-8"))["attributes"]["w2wpath"]
    return {key: about.get(key) for key in ("schema", "version")}


def _slide_of_store(name: str, part: SlideTiles) -> dict[str, Any]:
    about = part.attributes
    label = part.columns["label"]
    classes = list(about["classes"])
    counts, report = about.get("counts", {}), about.get("import_report", {})
    return {
        "slide": name,
        "file": about.get("file"),
        "patients": list(about["patients"]),
        "patient_from": about.get("patient_from"),
        "tiles": part.n,
        "labelled": int((label >= 0).sum()),
        "by_class": {one: int((label == index).sum()) for index, one in enumerate(classes)},
        "border": counts.get("border"),
        "conflict": counts.get("conflict"),
        "damaged_tiles": len(about.get("damaged", ())),
        "over_the_edge": int((part.columns["valid_share"] < 1).sum()),
        "slide_mpp": about.get("slide_mpp"),
        "mpp_from": about.get("mpp_from"),
        "mpp": about.get("mpp"),
        "side0": int(part.columns["side0"][0]) if part.n else None,
        "source_level": about.get("source_level"),
        "origin": (about.get("origin") or {}).get("name"),
        "rois_file": about.get("rois_file"),
        "repaired_objects": report.get("repaired"),
        "ignored_objects": report.get("ignored"),
        "ignored_by_reason": report.get("ignored_by_reason", {}),
        "fingerprint": about.get("fingerprint"),
    }


def _by_patient(parts: Mapping[str, SlideTiles]) -> dict[str, Any]:
    """Count tiles by patient and class; a class that a patient has no tile of is left out."""
    found: dict[str, Any] = defaultdict(lambda: {"slides": 0, "tiles": 0, "labelled": 0, "by_class": defaultdict(int)})
    for part in parts.values():
        patient, label = part.columns["patient"], part.columns["label"]
        for index in np.unique(patient).tolist():
            mine = label[patient == index]
            one = found[part.attributes["patients"][index]]
            one["slides"] += 1
            one["tiles"] += len(mine)
            one["labelled"] += int((mine >= 0).sum())
            for code, count in zip(*np.unique(mine[mine >= 0], return_counts=True), strict=True):
                one["by_class"][part.attributes["classes"][code]] += int(count)
    return {name: {**found[name], "by_class": dict(sorted(found[name]["by_class"].items()))} for name in sorted(found)}


def _settings(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all slides share, and under ``differences`` those they do not: values, most used first.

    The slides' own um/px (``slide_mpp``) may be among the differences.
    """
    tables = {
        name: {**about.get("settings", {}), "slide_mpp": about.get("slide_mpp")} for name, about in attributes.items()
    }
    shared, differences = {}, {}
    for key in sorted({key for table in tables.values() for key in table}):
        of_value: dict[str, list[str]] = defaultdict(list)
        for name, table in tables.items():
            of_value[json.dumps(table.get(key), sort_keys=True)].append(name)
        ordered = sorted(of_value.items(), key=lambda item: (-len(item[1]), item[0]))
        if len(ordered) > 1:
            differences[key] = [{"value": json.loads(value), "slides": names} for value, names in ordered]
        elif key != "slide_mpp":
            shared[key] = json.loads(ordered[0][0])
    return {"settings": shared, "differences": differences}


def _verdict(found: Mapping[str, Any]) -> list[str]:
    """Return short sentences: what should be looked at, and the next step."""
    if not found["slides"]:
        none = "no slide can be read" if found["damaged"] else "holds no slide"
        return [f"{none}: add one with `w2wpath tile slide.svs rois.geojson`"]
    lines = []
    if found["damaged"]:
        lines.append(f"{len(found['damaged'])} slide(s) cannot be read: tile them again")
    if found["damaged_tiles"]:
        lines.append(f"{found['damaged_tiles']} tile(s) could not be read from their slides and are not in the store")
    settings = [key for key in found["differences"] if key != "slide_mpp"]
    if settings:
        lines.append(f"slides were tiled with different settings: {', '.join(settings)}")
    if guessed := sum(slide["patient_from"] == "slide name" for slide in found["slides"]):
        lines.append(f"{guessed} slide(s) without a patient: each counts as a patient of its own")
    for name, counts in found["by_class"].items():
        if not counts["tiles"]:
            lines.append(f"class {name} has no tile")
        elif counts["patients"] < FEW_PATIENTS:
            lines.append(f"class {name} comes from one patient: it cannot be tested on another")
    if len(found["by_class"]) < 2:
        lines.append("one class only: nothing to learn from")
    if found["runs"]:
        lines.append(f"cleaned {len(found['runs'])} time(s), last in run {found['runs'][-1]}")
    else:
        lines.append("not cleaned yet. Next: w2wpath clean --folds 5")
    return lines


def slide_info(path: Path, *, slide_mpp: float | None = None) -> dict[str, Any]:
    """Tell what a slide file says of itself, and how tiles of the default settings would lie on it.

    Raises
    ------
    SlideError
        The file is no slide that can be read.
    ConfigError
        `slide_mpp` is not a scale.
    """
    with open_slide(path, slide_mpp=slide_mpp) as slide:
        settings = TileSettings()
        try:
            scale = tile_scale(
                tile_px=settings.tile_px,
                stride_px=settings.step_px,
                mpp=settings.mpp,
                slide_mpp=require_mpp(slide),
                allow_upsample=False,
                where=path.name,
            )
            level = source_level(slide.downsamples, scale.side0, scale.tile_px)
            tiles: dict[str, Any] = {**asdict(scale), "source_level": level, "error": None}
        except W2wError as error:
            tiles = {"tile_px": settings.tile_px, "mpp": settings.mpp, "error": str(error)}
        levels = zip(slide.level_sizes, slide.downsamples, strict=True)
        return {
            "kind": "slide",
            "path": str(path),
            "bytes": _bytes_of(path),
            "fingerprint": fingerprint(path),
            "size0": [slide.width0, slide.height0],
            "levels": [
                {"width": width, "height": height, "downsample": downsample} for (width, height), downsample in levels
            ],
            "mpp": slide.mpp,
            "mpp_from": slide.mpp_from,
            "bounds0": list(slide.bounds0) if slide.bounds0 else None,
            "properties": _properties(path),
            "default_tiles": tiles,
        }


def _bytes_of(path: Path) -> int:
    """Return the size of a slide's file, with the folder that holds the pixels of a MIRAX slide."""
    folder = companion_folder(path)
    return sum(os.path.getsize(one) for one in [path, *(folder.rglob("*") if folder else ())])


def _properties(path: Path) -> dict[str, str]:
    try:
        with openslide.OpenSlide(path) as slide:
            return {name.partition(".")[2]: slide.properties[name] for name in PROPERTIES if name in slide.properties}
    except openslide.OpenSlideError:  # another library reads it
        return {}


def _sum(values: Any) -> int | None:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None

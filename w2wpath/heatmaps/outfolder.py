"""The folder that `heatmap` wrote, opened again: which slides it holds, and what a viewer shows of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from w2wpath.config import TileSettings
from w2wpath.errors import ConfigError
from w2wpath.heatmaps.annotations import read_regions, regions_of
from w2wpath.heatmaps.page import content_of
from w2wpath.heatmaps.server import Shown
from w2wpath.heatmaps.store import read_maps
from w2wpath.slides.reader import open_slide
from w2wpath.slides.tissue import tissue_mask

SUMMARY, MAPS = ".summary.json", ".maps.zarr"


def stems(out: Path) -> list[str]:
    """Return the slides of a folder by their stems, sorted.

    Raises
    ------
    ConfigError
        There is none.
    """
    found = sorted(path.name.removesuffix(MAPS) for path in out.glob(f"*{MAPS}"))
    if not found:
        raise ConfigError(f"{out}: holds no *{MAPS}. Make it with `w2wpath heatmap`, or give a slide.")
    return found


def shown(out: Path, stem: str, slide: Path | None, rois: Path | None, origin: str | None) -> Shown:
    """Open one slide of a folder with its maps, the slide where it was or at `slide`.

    Parameters
    ----------
    rois, origin
        Annotations to outline, and their frame where it is not that of the heatmap.

    Raises
    ------
    ConfigError
        The slide is not found, or is another one.
    """
    maps, facts = read_maps(out / f"{stem}{MAPS}")
    path = slide or _recorded(out, stem, facts.slide)
    opened = open_slide(path, slide_mpp=maps.slide_mpp)
    if (opened.width0, opened.height0) != (maps.width0, maps.height0):
        raise ConfigError(
            f"{path}: has {opened.width0} x {opened.height0} px, and the maps of {stem} belong to a slide of "
            f"{maps.width0} x {maps.height0}. Pass --slide with the slide that they were made from."
        )
    regions = []
    if rois is not None:
        settings = TileSettings.model_validate({"origin": origin or facts.frame.name})
        found, frame, _ = read_regions(opened, rois, settings)
        regions = regions_of(found, frame)
    files = {one.name: one for one in sorted(out.glob("*")) if one.is_file() and one.name.startswith(f"{stem}.")}
    links = tuple(f"files/{name}" for name in files)
    content = content_of(maps, facts, rois=regions, tissue=tissue_mask(opened).mask, downloads=links)
    return Shown(opened, content, files)


def _recorded(out: Path, stem: str, name: str) -> Path:
    """Return where a slide is: where it was read, else beside the folder or in it."""
    places = [out / name, out.parent / name]
    try:
        summary: Any = json.loads((out / f"{stem}{SUMMARY}").read_text("utf-8"))
        places.insert(0, Path(summary["provenance"]["slide_path"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # an older folder, or a summary that somebody changed
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(f"{out}: the slide of {stem} is not at {places[0]}. Pass --slide with its path.")

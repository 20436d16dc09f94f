"""A slide's annotations on their way in: read, put into their frame, reported and drawn for a person to check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import TileSettings
from w2wpath.errors import FrameError, writing
from w2wpath.frames import Frame
from w2wpath.provenance import write_whole
from w2wpath.qupath.align import Alignment, align
from w2wpath.qupath.alignment_picture import alignment_png
from w2wpath.qupath.read import Rois, read_rois, require_regions
from w2wpath.qupath.report import write_report
from w2wpath.slides.contract import Slide
from w2wpath.slides.tissue import TissueMask, tissue_of
from w2wpath.tiles.entries import Entry

THUMBNAIL_PX = 1024


def imports(store_path: Path) -> Path:
    """Return the folder beside a store with each slide's import report (JSON) and alignment check (PNG)."""
    return store_path.with_name(f"{store_path.name}.imports")


@dataclass(frozen=True)
class Imported:
    """A slide's annotations and their frame, with the thumbnail (h, w, 3) and tissue that settled it."""

    rois: Rois
    frame: Frame
    thumbnail: NDArray[np.uint8]
    tissue: TissueMask


def import_rois(store_path: Path, entry: Entry, slide: Slide, settings: TileSettings) -> Imported:
    """Read a slide's annotations and find their frame; report and picture are there even where both are refused.

    Raises
    ------
    AnnotationError, ConfigError
        The file cannot be used.
    FrameError
        The frame is not certain.
    """
    rois = read_rois(entry.rois, settings, slide_mpp=slide.mpp)
    thumbnail = slide.thumbnail(THUMBNAIL_PX)
    tissue = tissue_of(thumbnail, slide.width0, slide.height0)
    found = find_frame(rois, entry, slide, settings, tissue)
    rois = replace(rois, warnings=(*rois.warnings, *(found.warnings if rois.regions else ())))
    home = imports(store_path)
    with writing(home):
        home.mkdir(exist_ok=True)
    picture = home / f"{entry.name}.alignment.png"
    facts = _facts(found, slide.path.name)
    write_report(home / f"{entry.name}.json", rois.path.name, rois.report, rois.warnings, facts)
    write_whole(picture, alignment_png(rois, thumbnail, (slide.width0, slide.height0), found, slide.path.name))
    require_regions(rois, strict=settings.strict)
    if found.frame is None:
        raise FrameError(f"{found.why} Picture: {picture}")
    return Imported(rois, found.frame, thumbnail, tissue)


def find_frame(rois: Rois, entry: Entry, slide: Slide, settings: TileSettings, tissue: TissueMask) -> Alignment:
    """Find the frame of a slide's annotations: as the entry says, else the settings, else the format, else by score."""
    wanted = entry.origin or settings.origin
    if wanted == "auto" and rois.frame is not None:
        wanted = rois.frame
    return align(rois, slide, wanted, tissue, str(entry.slide))


def _facts(found: Alignment, slide: str) -> dict[str, Any]:
    return {
        "slide": slide,
        "frame": found.frame and found.frame.name,
        "frames": {score.frame.name: {"inside": score.inside, "on_tissue": score.on_tissue} for score in found.scores},
    }

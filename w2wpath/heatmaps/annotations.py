"""Annotations of a slide in its level-0 pixels: to read a part of it, to outline, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from w2wpath.config import TileSettings
from w2wpath.errors import FrameError
from w2wpath.frames import Frame
from w2wpath.qupath.colours import Colour
from w2wpath.qupath.read import Rois, read_rois, require_regions
from w2wpath.slides.contract import Slide
from w2wpath.slides.tissue import tissue_mask
from w2wpath.tiles.entries import Entry
from w2wpath.tiles.imports import THUMBNAIL_PX, find_frame


@dataclass(frozen=True)
class Region:
    """A region to outline: its class, its colour, its area in level-0 pixels of the slide frame."""

    class_name: str
    colour: Colour
    geometry: BaseGeometry


@dataclass(frozen=True)
class Annotations:
    """The annotations of one slide.

    Attributes
    ----------
    regions
        In the order of the file, in level-0 pixels of the slide frame; what the file says to ignore is cut out.
    frame
        The frame that the file is in.
    warnings
        What a person should look at.
    """

    regions: tuple[Region, ...]
    frame: Frame
    warnings: tuple[str, ...] = ()


def read_annotations(path: Path, slide: Slide, origin: str = "auto") -> Annotations:
    """Read annotations of an open slide and put them into the slide frame.

    Parameters
    ----------
    origin
        Frame of the file, one of :data:`~w2wpath.frames.ORIGINS`; ``auto`` takes the one that fits, if only one does.

    Raises
    ------
    AnnotationError
        The file cannot be used, or has no region.
    FrameError
        The frame is not certain.
    """
    rois, frame, warnings = read_regions(slide, path, TileSettings.model_validate({"origin": origin}))
    regions = regions_of(rois, frame)
    if rois.ignored:
        ignored = shapely.transform(shapely.union_all(list(rois.ignored)), frame.to_slide)
        cut_out = [replace(one, geometry=shapely.difference(one.geometry, ignored)) for one in regions]
        regions = [one for one in cut_out if not one.geometry.is_empty]
    return Annotations(tuple(regions), frame, tuple(warnings))


def regions_of(rois: Rois, frame: Frame) -> list[Region]:
    """Return regions to outline in level-0 pixels of the slide frame."""
    return [
        Region(one.class_name, rois.colours[one.class_name], shapely.transform(one.geometry, frame.to_slide))
        for one in rois.regions
    ]


def read_regions(slide: Slide, rois_path: Path, settings: TileSettings) -> tuple[Rois, Frame, Sequence[str]]:
    """Read annotations and find their frame as `tile` does; return them, the frame, and what looks wrong.

    Raises
    ------
    AnnotationError, ConfigError
        The file cannot be used.
    FrameError
        The frame is not certain.
    """
    rois = read_rois(rois_path, settings, slide_mpp=slide.mpp)
    require_regions(rois, strict=settings.strict)
    entry = Entry(slide.path, rois_path)
    found = find_frame(rois, entry, slide, settings, tissue_mask(slide, max_px=THUMBNAIL_PX))
    if found.frame is None:
        raise FrameError(found.why)
    return rois, found.frame, (*rois.warnings, *found.warnings)

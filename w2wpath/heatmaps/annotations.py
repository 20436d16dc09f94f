"""Annotations of a slide in its level-0 pixels: to read a part of it, to compare with, to check against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import shapely

from w2wpath.config import TileSettings
from w2wpath.frames import Frame
from w2wpath.heatmaps.labelled import read_regions, regions_of
from w2wpath.heatmaps.page_data import Region
from w2wpath.slides.contract import Slide


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

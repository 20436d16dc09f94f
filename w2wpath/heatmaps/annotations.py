"""Annotations of a slide in its level-0 pixels: to read a part of it, to compare with, to check against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import FrameError
from w2wpath.frames import Frame
from w2wpath.qupath.align import align
from w2wpath.qupath.colours import Colour, class_colours
from w2wpath.qupath.read import read_rois, require_regions
from w2wpath.slides.contract import Slide
from w2wpath.slides.tissue import tissue_mask


@dataclass(frozen=True)
class Annotation:
    """One annotated region: its class, its colour, its valid area in level-0 pixels of the slide frame."""

    class_name: str
    colour: Colour
    area0: BaseGeometry


@dataclass(frozen=True)
class Annotations:
    """The annotations of one slide.

    Attributes
    ----------
    regions
        In the order of the file; what the file says to ignore has been cut out of them.
    frame
        The frame that the file is in.
    warnings
        What a person should look at.
    """

    regions: tuple[Annotation, ...]
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
    rois = read_rois(path, slide_mpp=slide.mpp)
    require_regions(rois)
    wanted = rois.frame if origin == "auto" and rois.frame is not None else origin
    found = align(rois, slide, wanted, tissue_mask(slide), str(path))
    if found.frame is None:
        raise FrameError(found.why)
    frame = found.frame
    ignored = shapely.union_all([_to_slide(area, frame) for area in rois.ignored]) if rois.ignored else None
    colours = {**class_colours(rois.classes), **rois.colours}
    regions = []
    for roi in rois.regions:
        area0 = _to_slide(roi.geometry, frame)
        if ignored is not None:
            area0 = shapely.difference(area0, ignored)
        if not area0.is_empty:
            regions.append(Annotation(roi.class_name, colours[roi.class_name], area0))
    return Annotations(tuple(regions), frame, (*rois.warnings, *found.warnings))


def _to_slide(area: BaseGeometry, frame: Frame) -> BaseGeometry:
    def moved(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return frame.to_slide(xy)

    return shapely.transform(area, moved)

"""Which frame are a slide's annotations in? QuPath's file does not say, so each candidate is scored and never guessed.

Rules of ``auto``, with their reasons
-------------------------------------
A frame *fits* when no vertex lies outside (2 px of rounding are forgiven). A frame that the user stated is taken;
whatever looks wrong about it is a warning.

1. Turned frames are never chosen, only proposed: a file paired with a wrong slide is likelier than a turned import.
2. No region lies on the slide, or the only plain frame holds less than half of the vertices: refused, since these are
   probably another slide's annotations.
3. One plain frame (no offset of the slide's bounds): taken, for nothing else can be meant, unless a turned frame fits
   and has more tissue by `MARGIN` while the plain one has little or does not fit. Some vertices outside: a warning.
4. Two plain frames (``qupath`` and ``slide``): one is taken when it fits, `LITTLE_TISSUE` or more of it is tissue, and
   the other does not fit (nor has more tissue by `MARGIN`), or fits and has less by `MARGIN`, and no turned frame fits
   and has more by `MARGIN`. Anything else is refused, since a shift by the bounds' offset labels tissue wrongly
   without a trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from w2wpath.frames import Frame, candidate_frames, named_frame
from w2wpath.qupath.read import Rois
from w2wpath.slides.contract import Slide
from w2wpath.slides.tissue import TissueMask

MARGIN = 0.3
"""Difference of two shares of tissue from which one frame counts as clearly better."""
LITTLE_TISSUE = 0.5
"""Share of tissue below which annotations look misplaced."""
MOST_INSIDE = 0.5
"""Share of vertices below which the only plain frame is not believed."""
TOLERANCE_PX = 2.0
MOST_PX = 1 << 22
"""Most pixels of the drawing that is compared with the tissue; larger ones are drawn more coarsely."""


@dataclass(frozen=True, slots=True)
class FrameScore:
    """How well annotations suit a frame.

    Attributes
    ----------
    inside
        Share of the vertices inside the frame's area, give or take 2 px; 1 where there is none.
    on_tissue
        Share of the annotated area on the slide that is tissue; None where no region lies on the slide.
    """

    frame: Frame
    inside: float
    on_tissue: float | None

    @property
    def fits(self) -> bool:
        """Whether no vertex lies outside."""
        return self.inside == 1.0

    @property
    def tissue(self) -> float:
        """`on_tissue`, and 0 where no region lies on the slide."""
        return self.on_tissue or 0.0

    def text(self) -> str:
        """Return the score in words: ``inside 100 %, on tissue 62 %``."""
        tissue = "no region on the slide" if self.on_tissue is None else f"on tissue {percent(self.on_tissue)}"
        return f"inside {percent(self.inside)}, {tissue}"


@dataclass(frozen=True)
class Alignment:
    """The frame of a slide's annotations, or why it is not known.

    Attributes
    ----------
    frame
        None where more than one is possible, or none.
    scores
        Every candidate, plain ones first.
    why, warnings
        Whole messages: the error where `frame` is None (else empty), and what looks wrong though it is settled.
    """

    frame: Frame | None
    scores: tuple[FrameScore, ...]
    why: str = ""
    warnings: tuple[str, ...] = ()


def align(rois: Rois, slide: Slide, wanted: str, mask: TissueMask, where: str) -> Alignment:
    """Find the frame of `rois` on `slide` by the rules of this module.

    Parameters
    ----------
    wanted
        One of :data:`w2wpath.frames.ORIGINS`; anything but ``auto`` is taken as it is.
    mask
        Tissue of the whole slide.
    where
        What every message begins with.
    """
    size0 = (slide.width0, slide.height0)
    frames = candidate_frames(*size0, slide.bounds0)
    if wanted != "auto" and wanted not in {frame.name for frame in frames}:
        # without an offset ``slide`` is no candidate of its own: it differs from ``qupath`` in its size alone
        frames = (named_frame(wanted, *size0, slide.bounds0), *frames[1:])
    regions = np.array([roi.geometry for roi in rois.regions], dtype=object)
    vertices = shapely.get_coordinates([*regions, *rois.ignored])
    drawing = _drawing(regions, frames, size0, mask)
    scores = tuple(FrameScore(frame, _inside(vertices, frame), _on_tissue(*drawing, frame, mask)) for frame in frames)
    if wanted == "auto":
        chosen, reason = _choose(scores, any_region=regions.size > 0)
        if chosen is None:
            return Alignment(None, scores, f"{where}: {reason}")
    else:
        chosen = next(score for score in scores if score.frame.name == wanted)
    return Alignment(chosen.frame, scores, warnings=tuple(_warnings(chosen, scores, regions, where)))


def percent(share: float) -> str:
    """Return a share in per cent; 0 and 100 only where they are exact."""
    return f"{round(100 * share) if share in (0.0, 1.0) else max(1, min(99, round(100 * share)))} %"


def _inside(vertices: NDArray[np.float64], frame: Frame) -> float:
    # in the frame's own coordinates: bounds may reach beyond the image, so the image's edge decides nothing here
    good = (vertices >= -TOLERANCE_PX) & (vertices <= np.array(frame.size) + TOLERANCE_PX)
    return float(good.all(axis=1).mean()) if len(vertices) else 1.0


def _choose(scores: tuple[FrameScore, ...], *, any_region: bool) -> tuple[FrameScore, str] | tuple[None, str]:
    plain = [score for score in scores if score.frame.turns == 0]
    most = max(score.tissue for score in plain)
    turned = [score for score in scores if score.frame.turns and score.fits and score.tissue >= most + MARGIN]
    every = "; ".join(f"{score.frame.name} ({score.text()})" for score in scores)
    flags = " or ".join(f"--origin {score.frame.name}" for score in (*plain, *turned))
    nowhere = any_region and all(score.on_tissue is None for score in plain)
    if nowhere or (len(plain) == 1 and plain[0].inside < MOST_INSIDE and not turned):
        what = "no region lies on the slide" if nowhere else "most of the annotations lie outside the slide"
        possible = "; ".join(f"{score.frame.name} ({score.text()})" for score in scores if score in plain or score.fits)
        return None, (
            f"{what}, so they may be another slide's. The file does not record its frame: {possible}. "
            "If the slide is the right one, look at the picture and pass --origin NAME."
        )
    if len(plain) == 2:
        for one, other in (plain, plain[::-1]):
            worse = other.tissue <= one.tissue - MARGIN if other.fits else other.tissue < one.tissue + MARGIN
            if one.fits and one.tissue >= LITTLE_TISSUE and worse and not turned:
                return one, ""
        return None, (
            "the annotations may count from the corner of the slide's bounds (qupath) or of the whole scan (slide), "
            f"and the file does not record its frame: {every}. Look at the picture, then pass {flags}."
        )
    if turned and (most < LITTLE_TISSUE or not plain[0].fits):
        return None, (
            "the annotations lie on tissue better when they are turned, and the file does not record its frame: "
            f"{every}. The image was turned at its import, or they are another slide's. "
            f"Look at the picture, then pass {flags}."
        )
    return plain[0], ""


def _warnings(chosen: FrameScore, scores: Sequence[FrameScore], regions: NDArray[Any], where: str) -> Iterator[str]:
    frame, check = chosen.frame, "Check that the annotations belong to this slide"
    if regions.size and chosen.on_tissue is None:
        yield f"{where}: no region lies on the slide in frame {frame.name}. {check} and frame."
    elif not chosen.fits:
        outside = f"{percent(1 - chosen.inside)} of the vertices lie outside"
        yield f"{where}: {outside} frame {frame.name} ({frame.size[0]} x {frame.size[1]} px). {check}."
    if chosen.on_tissue is not None and chosen.on_tissue < LITTLE_TISSUE:
        near_corner = (shapely.total_bounds(regions)[2:] < np.array(frame.size) / 2).all()
        hint = " All of it lies in the top left quarter: perhaps it is in um, or in pixels of a smaller export."
        hint = hint if near_corner else ""
        yield f"{where}: {percent(chosen.on_tissue)} of the annotated area is tissue. {check}.{hint}"
    # a frame that holds every vertex needs no margin over one that does not
    least = chosen.tissue + (MARGIN if chosen.fits else 0.0)
    better = [s for s in scores if s is not chosen and s.fits and s.on_tissue is not None and s.tissue >= least]
    if better:
        best = max(better, key=lambda score: score.tissue)
        yield (
            f"{where}: frame {best.frame.name} ({best.text()}) suits the annotations better than {frame.name} "
            f"({chosen.text()}). Pass --origin {best.frame.name} if that is right."
        )


def _drawing(
    regions: NDArray[Any], frames: tuple[Frame, ...], size0: tuple[int, int], mask: TissueMask
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Draw what lies on the slide in any frame: (h, w), and where its columns (w,) and rows (h,) lie in annotations.

    Frames differ by shifts and quarter turns, so the tissue is looked up for each and the regions never drawn again.
    """
    ends = np.concatenate([frame.from_slide(np.array([(0, 0), size0])) for frame in frames])
    low, extent = ends.min(axis=0), np.ptp(ends, axis=0)
    step = max(*mask.scale0, float(np.sqrt(extent.prod() / MOST_PX)))
    width, height = (int(n) for n in np.ceil(extent / step))
    areas = shapely.transform(_polygons(regions), lambda xy: (xy - low) / step)
    left, top, right, bottom = shapely.bounds(areas).T
    near = (right >= 0) & (bottom >= 0) & (left <= width) & (top <= height)
    beyond = near & ((left < -1) | (top < -1) | (right > width + 1) | (bottom > height + 1))
    # far-off coordinates would overflow Pillow's integers
    cut = _polygons(shapely.clip_by_rect(areas[beyond], -1, -1, width + 1, height + 1))
    drawn = _painted(np.concatenate([areas[near & ~beyond], cut]), width, height)
    return drawn, low[0] + (np.arange(width) + 0.5) * step, low[1] + (np.arange(height) + 0.5) * step


def _on_tissue(
    drawn: NDArray[np.bool_], u: NDArray[np.float64], v: NDArray[np.float64], frame: Frame, mask: TissueMask
) -> float | None:
    """Return the share of drawn pixels on the slide that are tissue; None where none is on the slide."""
    # x0 and y0 depend on one of u and v each: which one, a quarter turn exchanges
    by_u = np.floor(frame.to_slide(np.stack([u, 0 * u], axis=-1)) / mask.scale0).astype(int)
    by_v = np.floor(frame.to_slide(np.stack([0 * v, v], axis=-1)) / mask.scale0).astype(int)
    odd = frame.turns % 2
    tissue, rows, columns = (mask.mask.T if odd else mask.mask), by_v[:, 1 - odd], by_u[:, odd]
    good_rows, good_columns = (rows >= 0) & (rows < tissue.shape[0]), (columns >= 0) & (columns < tissue.shape[1])
    on_slide = drawn[np.ix_(good_rows, good_columns)]
    hits = on_slide & tissue[np.ix_(rows[good_rows], columns[good_columns])]
    return float(hits.sum() / on_slide.sum()) if on_slide.any() else None


def _polygons(geometries: NDArray[Any]) -> NDArray[Any]:
    parts = shapely.get_parts(shapely.get_parts(geometries))
    return np.asarray(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])


def _painted(polygons: NDArray[Any], width: int, height: int) -> NDArray[np.bool_]:
    """Return (height, width) bool, True where a polygon (in pixels) lies; no hole wipes what another one covers."""
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    rings, owner = shapely.get_rings(polygons, return_index=True)
    # a pixel belongs to a polygon when its centre does, and Pillow cuts fractions off; it reads float32 arrays directly
    xy = np.rint(shapely.get_coordinates(rings) - 0.5).astype(np.float32)
    outlines = np.split(xy, np.cumsum(shapely.get_num_coordinates(rings))[:-1])
    first = np.searchsorted(owner, np.arange(len(polygons) + 1)).tolist()
    for begin, end in pairwise(first):
        if end - begin == 1:
            draw.polygon(outlines[begin], fill=1)
            continue
        low = outlines[begin].min(axis=0)
        patch = Image.new("1", tuple((np.ptp(outlines[begin], axis=0) + 1).astype(int).tolist()))
        on_patch = ImageDraw.Draw(patch)
        on_patch.polygon(outlines[begin] - low, fill=1)
        for hole in outlines[begin + 1 : end]:
            on_patch.polygon(hole - low, fill=0, outline=1)  # its rim belongs to the polygon
        image.paste(1, tuple(low.astype(int).tolist()), patch)
    return np.array(image, dtype=np.bool_)

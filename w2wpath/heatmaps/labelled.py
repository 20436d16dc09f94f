"""What a viewer shows before there is a model: a slide, its regions, and the tiles that `tile` would store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from w2wpath.config import TileSettings
from w2wpath.frames import Frame, Scale, named_frame, tile_scale
from w2wpath.heatmaps.annotations import read_regions, regions_of
from w2wpath.heatmaps.cells import Cells
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN, Facts
from w2wpath.heatmaps.page import Content
from w2wpath.provenance import fingerprint
from w2wpath.qupath.colours import Colour
from w2wpath.qupath.read import Rois
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import require_mpp
from w2wpath.tiles.grid import grid
from w2wpath.tiles.layout import lay_out


def labelled(slide: Slide, rois_path: Path | None, settings: TileSettings) -> Content:
    """Return a slide with its regions and the tiles of `settings`; without regions, the slide alone.

    Raises
    ------
    AnnotationError, ConfigError, FrameError
        As for `tile`.
    MissingMppError
        The slide has no um/px.
    """
    slide_mpp = require_mpp(slide)
    scale = tile_scale(
        tile_px=settings.tile_px,
        stride_px=settings.tile_px,
        mpp=settings.mpp,
        slide_mpp=slide_mpp,
        allow_upsample=settings.allow_upsample,
        where=str(slide.path),
    )
    slide_print = fingerprint(slide.path)
    frame = named_frame("qupath", slide.width0, slide.height0, slide.bounds0)
    cells, rois = _no_cells(scale), None
    warnings: tuple[str, ...] = ("No regions were given: this is the slide alone.",)
    if rois_path is not None:
        rois, frame, said = read_regions(slide, rois_path, settings)
        cells, warnings = _cells(slide, rois, frame, scale, settings, slide_print), tuple(said)
    colours: Mapping[str, Colour] = rois.colours if rois is not None else {}
    about = {
        "tiles": f"{settings.tile_px} px at {scale.mpp:.4g} um/px, {scale.side0} level-0 pixels",
        "regions": "none" if rois_path is None else rois_path.name,
        "frame": frame.name,
    }
    return Content(
        cells,
        Facts(slide.path.name, slide_print, frame, about, calibrated=False, domain=None),
        slide.width0,
        slide.height0,
        slide_mpp,
        threshold=0.0,
        rois=() if rois is None else regions_of(rois, frame),
        of_labels=True,
        colours=colours,
        warnings=warnings,
    )


def _cells(slide: Slide, rois: Rois, frame: Frame, scale: Scale, settings: TileSettings, slide_print: str) -> Cells:
    tiles = lay_out(slide, slide.path, scale, rois, frame, None, settings, slide_print).columns
    x0, _ = grid(scale, width0=slide.width0, height0=slide.height0)
    columns = (slide.width0 - scale.side0) // scale.step0 + 1
    n, k = len(x0), tiles["area_share"].shape[1]
    rows = tiles["y0"] // scale.step0 * columns + tiles["x0"] // scale.step0
    state = np.full(n, NOT_ANALYSED, dtype=np.uint8)
    state[rows] = np.where(tiles["label"] >= 0, CONFIDENT, UNCERTAIN)
    shares = np.full((n, k), np.nan, dtype=np.float32)
    shares[rows] = tiles["area_share"]
    label = np.full(n, -1, dtype=np.int16)
    label[rows] = tiles["label"]
    return Cells(
        classes=rois.classes,
        columns=columns,
        rows=n // columns,
        step0=scale.step0,
        averaged=1,
        state=state,
        reason=np.zeros(n, dtype=np.uint8),
        probs_nk=shares,
        u=np.zeros(n, dtype=np.float32),
        unread=np.zeros(n, dtype=np.bool_),
        label=label,
    )


def _no_cells(scale: Scale) -> Cells:
    none = np.empty(0, dtype=np.uint8)
    return Cells((), 0, 0, scale.step0, 1, none, none, np.empty((0, 0), np.float32), np.empty(0, np.float32), none > 0)

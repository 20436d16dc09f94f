"""Slides through OpenSlide: the adapter behind :func:`open_slide`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import MissingMppError, SlideError
from w2wpath.slides.contract import Slide

SQUARE_TOLERANCE = 0.01
"""Largest relative difference between um/px in x and in y that still counts as square pixels."""


def open_slide(path: Path | str, *, slide_mpp: float | None = None) -> Slide:
    """Open a whole-slide image.

    Parameters
    ----------
    path
        Any file that OpenSlide reads (SVS, NDPI, MRXS, SCN, tiled TIFF, DICOM ...).
    slide_mpp
        um per level-0 pixel, instead of the header's.

    Raises
    ------
    SlideError
        The file is missing or is not a slide.
    """
    return OpenSlideReader(Path(path), slide_mpp)


def require_mpp(slide: Slide) -> float:
    """Return the slide's um/px.

    Raises
    ------
    MissingMppError
        The header has none and the user gave none.
    """
    if slide.mpp is None:
        raise MissingMppError(
            f"{slide.path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
        )
    return slide.mpp


class OpenSlideReader:
    """A slide that OpenSlide reads; safe to use from several threads."""

    def __init__(self, path: Path, slide_mpp: float | None) -> None:
        self.path = path
        if not path.exists():
            raise SlideError(f"{path}: no such slide. Check the path.")
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideError(f"{path}: not a readable slide ({error}). Check that the file is whole.") from error
        properties = self._slide.properties
        self.width0, self.height0 = self._slide.dimensions
        self.downsamples = tuple(float(factor) for factor in self._slide.level_downsamples)
        self.mpp, self.mpp_from = (slide_mpp, "flag") if slide_mpp is not None else _header_mpp(properties, path)
        self.bounds_xy0 = _bounds(properties)
        self._white = Image.new("RGB", (1, 1), (255, 255, 255))

    def read_rgb(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return ``(height, width, 3)`` RGB of `level` from level-0 corner (x0, y0); white outside the scan."""
        if not 0 <= level < len(self.downsamples):
            raise SlideError(f"{self.path}: has no level {level}; its levels are 0 to {len(self.downsamples) - 1}.")
        try:
            rgba = self._slide.read_region((x0, y0), level, (width, height))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"{self.path}: pixels at x0={x0}, y0={y0} cannot be decoded ({error}). "
                "The file is damaged there; scan or copy it again."
            ) from error
        canvas = self._white.resize((width, height))
        canvas.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(canvas)

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """Return the whole slide as ``(h, w, 3)`` RGB whose longer side is at most `max_px`."""
        factor = max(1.0, max(self.width0, self.height0) / max_px)
        fine = [level for level, down in enumerate(self.downsamples) if down <= factor * 1.001]
        level = max(fine, default=0)
        width, height = self._slide.level_dimensions[level]
        size = (max(1, int(self.width0 / factor)), max(1, int(self.height0 / factor)))
        whole = Image.fromarray(self.read_rgb(0, 0, level, width, height))
        return np.asarray(whole.resize(size, Image.Resampling.BOX))

    def close(self) -> None:
        """Release the file."""
        self._slide.close()

    def __enter__(self) -> OpenSlideReader:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def _header_mpp(properties: Any, path: Path) -> tuple[float | None, str]:
    try:
        mpp_x = float(properties.get(openslide.PROPERTY_NAME_MPP_X, "nan"))
        mpp_y = float(properties.get(openslide.PROPERTY_NAME_MPP_Y, "nan"))
    except ValueError:
        return None, "unknown"
    if not (math.isfinite(mpp_x) and math.isfinite(mpp_y) and mpp_x > 0 and mpp_y > 0):
        return None, "unknown"
    if abs(mpp_x - mpp_y) > SQUARE_TOLERANCE * mpp_x:
        raise SlideError(
            f"{path}: pixels are not square ({mpp_x:g} x {mpp_y:g} um). Pass --slide-mpp if the header is wrong."
        )
    return (mpp_x + mpp_y) / 2, "header"


def _bounds(properties: Any) -> tuple[int, int] | None:
    names = ("BOUNDS_X", "BOUNDS_Y", "BOUNDS_WIDTH", "BOUNDS_HEIGHT")
    values = [properties.get(getattr(openslide, f"PROPERTY_NAME_{name}")) for name in names]
    # QuPath crops only when all four are there (its OpenSlide reader), so we do the same
    if any(value is None for value in values):
        return None
    return int(values[0]), int(values[1])

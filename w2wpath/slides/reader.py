"""Slides through OpenSlide: the adapter behind :func:`open_slide`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import ConfigError, MissingMppError, SlideError
from w2wpath.slides.contract import Slide

SQUARE_TOLERANCE = 0.01
"""Largest relative difference between um/px in x and in y that still counts as square pixels."""
THUMBNAIL_BLOCK_PX = 4096
PLAUSIBLE_MPP = (1e-3, 1e3)
"""um/px outside these is a fault of the header, not a scale."""


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
    ConfigError
        `slide_mpp` is not a scale.
    """
    if slide_mpp is not None and not _plausible(slide_mpp):
        raise ConfigError(f"{path}: slide_mpp is {slide_mpp:g}. Give um per pixel, like 0.25.")
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
        self.bounds0 = _bounds(properties)
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
        size = (max(1, int(self.width0 / factor)), max(1, int(self.height0 / factor)))
        return np.asarray(self._shrunk(level, size).resize(size, Image.Resampling.BOX))

    def _shrunk(self, level: int, size: tuple[int, int]) -> Image.Image:
        """Read a whole level block by block, each shrunk on arrival, so that memory stays flat on huge levels."""
        width, height = self._slide.level_dimensions[level]
        shrink = max(1, min(width // size[0], height // size[1]))
        side = max(1, THUMBNAIL_BLOCK_PX // shrink) * shrink
        canvas = Image.new("RGB", (-(-width // shrink), -(-height // shrink)))
        for top in range(0, height, side):
            for left in range(0, width, side):
                corner0 = round(left * self.downsamples[level]), round(top * self.downsamples[level])
                block = self.read_rgb(*corner0, level, min(side, width - left), min(side, height - top))
                canvas.paste(Image.fromarray(block).reduce(shrink), (left // shrink, top // shrink))
        return canvas

    def close(self) -> None:
        """Release the file."""
        self._slide.close()

    def __enter__(self) -> OpenSlideReader:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def _plausible(mpp: float) -> bool:
    return PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]


def _header_mpp(properties: Any, path: Path) -> tuple[float | None, str]:
    try:
        mpp_x = float(properties.get(openslide.PROPERTY_NAME_MPP_X, "nan"))
        mpp_y = float(properties.get(openslide.PROPERTY_NAME_MPP_Y, "nan"))
    except ValueError:
        return None, "unknown"
    if not (_plausible(mpp_x) and _plausible(mpp_y)):
        return None, "unknown"
    if abs(mpp_x - mpp_y) > SQUARE_TOLERANCE * mpp_x:
        raise SlideError(
            f"{path}: pixels are not square ({mpp_x:g} x {mpp_y:g} um). Pass --slide-mpp if the header is wrong."
        )
    return (mpp_x + mpp_y) / 2, "header"


def _bounds(properties: Any) -> tuple[int, int, int, int] | None:
    names = ("BOUNDS_X", "BOUNDS_Y", "BOUNDS_WIDTH", "BOUNDS_HEIGHT")
    values = [properties.get(getattr(openslide, f"PROPERTY_NAME_{name}")) for name in names]
    # QuPath crops only when all four are there (its OpenSlide reader), so we do the same
    if any(value is None for value in values):
        return None
    x, y, width, height = (int(value) for value in values)
    return x, y, width, height

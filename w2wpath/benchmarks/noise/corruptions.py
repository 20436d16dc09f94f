"""Faults of measurement, on pixels: median blur, a crop, a loss of resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLUR_PX = 11
"""Side of the window of the median (the paper's k)."""

Image = NDArray[np.uint8]


def blurred(image: Image) -> Image:
    """Return the median of BLUR_PX x BLUR_PX px in each channel of (h, w, 3); beyond the edge the outermost go on."""
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(image, size=(BLUR_PX, BLUR_PX, 1), mode="nearest"))


def cropped(image: Image, factor: float, left: float, top: float) -> Image:
    """Cut a square out and enlarge it (bilinear) to the size of the image (side, side, 3).

    Parameters
    ----------
    factor
        Side of the square over that of the image.
    left, top
        Its place, from 0 to 1 of the room that it has.
    """
    from PIL import Image as Pillow

    side = image.shape[0]
    size = max(1, round(factor * side))
    x, y = round(left * (side - size)), round(top * (side - size))
    part = Pillow.fromarray(image[y : y + size, x : x + size])
    return np.asarray(part.resize((side, side), Pillow.Resampling.BILINEAR))


def rescaled(image: Image, factor: float) -> Image:
    """Make an image (side, side, 3) smaller by `factor`, and as large again: both bilinear, the first antialiased."""
    from PIL import Image as Pillow

    side = image.shape[0]
    size = max(1, round(factor * side))
    small = Pillow.fromarray(image).resize((size, size), Pillow.Resampling.BILINEAR)
    return np.asarray(small.resize((side, side), Pillow.Resampling.BILINEAR))

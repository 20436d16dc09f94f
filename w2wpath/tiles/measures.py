"""What can be measured of a tile while it is cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


def laplacian(planes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the Laplacian (4 neighbours) of planes (..., h, w): (..., h - 2, w - 2), in their dtype."""
    centre = planes[..., 1:-1, 1:-1]
    sides = planes[..., 1:-1, :-2] + planes[..., 1:-1, 2:] + planes[..., :-2, 1:-1] + planes[..., 2:, 1:-1]
    return np.asarray(sides - 4 * centre)


def sharpness(tile: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian (4 neighbours) of a tile's brightness: low out of focus, and on glass.

    It depends on um/px and on the tissue: compare it within one store only.
    """
    return float(laplacian(tile.astype(np.float32) @ LUMA).var())

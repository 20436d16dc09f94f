"""Colour and texture of tiles as numbers, for a reader that is no network: stains, detail by scale, local patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEASURED_PX = 64
"""Tiles are measured at most this large: the time of a tile does not depend on its pixels."""
SCALES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations in measured pixels between which the detail of a stain is told."""
GRADIENT_SCALES = (2.0, 6.0)
"""Standard deviations over which the directions of edges are compared."""
RADII = (1, 3)
"""Radii of the local binary patterns of eight points (Ojala, Pietikainen and Maenpaa 2002)."""
CLIP_Z = 8.0
COUNT = 59
"""Numbers measured of a tile."""
_FLOOR = 1e-9


def measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure tiles (n, h, w, 3) uint8 RGB: (n, COUNT) float32, finite.

    Five percentiles of red, green and blue; mean and percentiles of haematoxylin and eosin (Ruifrok and Johnston 2001)
    and the log energy of each between SCALES; how far the edges of haematoxylin agree in direction; histograms of local
    binary patterns of brightness.
    """
    return np.stack([_measure(_shrunk(image)) for image in images]) if len(images) else np.empty((0, COUNT), np.float32)


def within(features_nf: NDArray[np.floating], group_n: NDArray[np.integer]) -> Floats:
    """Return features (n, f) beside their robust z within each group (n, 2 f): stains differ between patients."""
    features = np.asarray(features_nf, dtype=np.float64)
    z = np.zeros_like(features)
    for group in np.unique(group_n):
        own = features[group_n == group]
        away = own - np.median(own, axis=0)
        spread = 1.4826 * np.median(np.abs(away), axis=0)
        z[group_n == group] = np.clip(
            np.divide(away, spread, out=np.zeros_like(away), where=spread > 1e-6), -CLIP_Z, CLIP_Z
        )
    return np.hstack([features, z])


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the tile at no more than MEASURED_PX: means of whole squares of pixels."""
    factor = min(image.shape[:2]) // MEASURED_PX
    if factor < 2:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    squares = image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.asarray(squares.mean(axis=(1, 3)).round().astype(np.uint8))


def _measure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    from skimage.color import rgb2hed

    stains = rgb2hed(image)
    parts = [np.percentile(image, [5, 25, 50, 75, 95], axis=(0, 1)).ravel()]
    parts += [_stain(stains[..., channel]) for channel in (0, 1)]
    parts += [_agreement(stains[..., 0]), _patterns(image)]
    return np.concatenate(parts).astype(np.float32)


def _stain(plane: Floats) -> Floats:
    from scipy.ndimage import gaussian_filter

    energy, sharper = [], plane
    for sigma in SCALES:
        smoother = gaussian_filter(plane, sigma, mode="reflect")
        energy.append(np.square(sharper - smoother).mean())
        sharper = smoother
    energy.append(sharper.var())
    return np.concatenate([[plane.mean()], np.percentile(plane, [10, 50, 90, 97]), np.log(np.add(energy, _FLOOR))])


def _agreement(plane: Floats) -> Floats:
    """Return mean and spread of the coherence of the structure tensor at each of GRADIENT_SCALES."""
    from scipy.ndimage import gaussian_filter

    down, across = np.gradient(gaussian_filter(plane, 1.0))
    found = []
    for sigma in GRADIENT_SCALES:
        xx, yy, xy = (gaussian_filter(part, sigma) for part in (across * across, down * down, across * down))
        coherence = np.sqrt((xx - yy) ** 2 + 4.0 * xy**2) / (xx + yy + _FLOOR)
        found += [coherence.mean(), coherence.std()]
    return np.array(found)


def _patterns(image: NDArray[np.uint8]) -> Floats:
    from skimage.feature import local_binary_pattern

    grey = (image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    counts = [np.bincount(local_binary_pattern(grey, 8, r, "uniform").astype(int).ravel(), minlength=10) for r in RADII]
    return np.asarray(np.concatenate(counts) / grey.size)

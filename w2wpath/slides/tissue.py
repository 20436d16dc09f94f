"""Where a slide holds tissue: Otsu's threshold on the saturation of a thumbnail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.slides.contract import Slide

MIN_SATURATION = 0.04
"""Saturation (0 to 1) below which nothing counts as stained, so that an empty slide yields no tissue."""
TISSUE_SATURATION = 0.07
"""A threshold above this would cut pale tissue away where the whole thumbnail is tissue; it is capped here."""


@dataclass(frozen=True)
class TissueMask:
    """Tissue of one slide: ``mask`` (h, w) bool over the whole slide, `scale0` level-0 pixels per mask pixel (x, y)."""

    mask: NDArray[np.bool_]
    scale0: tuple[float, float]

    def share(self, x0: NDArray[np.int32], y0: NDArray[np.int32], side0: int) -> NDArray[np.float64]:
        """Return the share of each square (level-0 corner x0, y0 and side) that is tissue, by an integral image."""
        total = np.pad(self.mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        height, width = self.mask.shape
        left = np.clip(np.floor(x0 / self.scale0[0]).astype(int), 0, width - 1)
        top = np.clip(np.floor(y0 / self.scale0[1]).astype(int), 0, height - 1)
        right = np.clip(np.ceil((x0 + side0) / self.scale0[0]).astype(int), left + 1, width)
        bottom = np.clip(np.ceil((y0 + side0) / self.scale0[1]).astype(int), top + 1, height)
        inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return np.asarray(inside / ((right - left) * (bottom - top)), dtype=np.float64)


def tissue_mask(slide: Slide, *, max_px: int = 1024) -> TissueMask:
    """Find the tissue of a slide on a thumbnail whose longer side is `max_px`."""
    return tissue_of(slide.thumbnail(max_px), slide.width0, slide.height0)


def tissue_of(thumbnail: NDArray[np.uint8], width0: int, height0: int) -> TissueMask:
    """Find the tissue on a thumbnail (h, w, 3) RGB of a whole slide of `width0` x `height0` level-0 pixels."""
    mask = _stained(thumbnail)
    return TissueMask(mask, (width0 / mask.shape[1], height0 / mask.shape[0]))


def _stained(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    from skimage.filters import gaussian, threshold_otsu

    high = rgb.max(axis=-1).astype(np.float64)
    low = rgb.min(axis=-1).astype(np.float64)
    saturation = gaussian((high - low) / np.maximum(high, 1.0), sigma=1.0)
    spread = float(saturation.max() - saturation.min())
    cut = float(threshold_otsu(saturation)) if spread > 1e-6 else MIN_SATURATION
    return np.asarray(saturation > min(max(cut, MIN_SATURATION), TISSUE_SATURATION))

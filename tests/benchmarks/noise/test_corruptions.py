"""Faults of measurement against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.transform import resize

from w2wpath.benchmarks.noise.corruptions import BLUR_PX, blurred, cropped, rescaled


@pytest.fixture
def image() -> np.ndarray:
    """A smooth random picture (32, 32, 3)."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))


def test_blur_is_the_median_that_pillow_takes(image: np.ndarray) -> None:
    ours, theirs = blurred(image), np.asarray(Image.fromarray(image).filter(ImageFilter.MedianFilter(BLUR_PX)))
    inside = slice(BLUR_PX // 2, -(BLUR_PX // 2))
    np.testing.assert_array_equal(ours[inside, inside], theirs[inside, inside])
    assert (ours.shape, ours.dtype) == (image.shape, np.uint8)


@pytest.mark.parametrize(("left", "top"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25)])
def test_a_crop_is_the_square_enlarged(image: np.ndarray, left: float, top: float) -> None:
    found = cropped(image, 0.5, left, top)
    x, y = round(left * 16), round(top * 16)
    expected = resize(image[y : y + 16, x : x + 16], (32, 32), order=1, preserve_range=True)
    assert (found.shape, found.dtype) == (image.shape, np.uint8)
    assert np.abs(found[1:-1, 1:-1] - expected[1:-1, 1:-1]).max() < 2.0


def test_a_crop_of_all_is_the_image(image: np.ndarray) -> None:
    np.testing.assert_array_equal(cropped(image, 1.0, 0.3, 0.9), image)


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_what_is_finer_than_the_scale_is_lost_and_the_rest_stays(image: np.ndarray, factor: float) -> None:
    checks = np.where((np.add.outer(np.arange(32), np.arange(32)) % 2)[..., None], 255, 0).astype(np.uint8)
    flat = rescaled(np.repeat(checks, 3, axis=2), factor)
    assert np.abs(flat.astype(float) - 127.5).max() < 16
    again = rescaled(image, factor)
    assert (again.shape, again.dtype) == (image.shape, np.uint8)
    assert np.corrcoef(again.ravel(), image.ravel())[0, 1] > 0.8

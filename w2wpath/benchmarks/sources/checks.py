"""Looks at arrays that came out of a file: what is not images or labels is refused with the file's name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ConfigError

AGAIN = "Get the file again."


def check_images(where: str, images: NDArray[Any], shape: tuple[int, ...], *, cure: str = AGAIN) -> NDArray[np.uint8]:
    """Return `images` if they are one or more uint8 images of `shape`; `cure` is what to do where they are not.

    Raises
    ------
    ConfigError
        They are not; `where` names the file and the array.
    """
    if images.dtype != np.uint8 or images.ndim != len(shape) + 1 or images.shape[1:] != shape or not len(images):
        raise ConfigError(
            f"{where} must be one or more images, (n, {', '.join(map(str, shape))}) uint8; "
            f"got {images.dtype} {images.shape}. {cure}"
        )
    return images


def check_labels(
    where: str, labels: NDArray[Any], images: int, classes: int, first: int = 0, *, cure: str = AGAIN
) -> NDArray[np.int16]:
    """Return labels (n,) or (n, 1), counted from `first` in the file, as (n,) int16 counted from 0.

    Raises
    ------
    ConfigError
        There is not one for each of the `images`, or they are not whole numbers from `first` on, one of `classes`.
    """
    if labels.dtype.kind not in "iu" or not labels.size or labels.shape not in ((labels.size,), (labels.size, 1)):
        raise ConfigError(
            f"{where} must be whole numbers, one for each image; got {labels.dtype} {labels.shape}. {cure}"
        )
    if len(labels) != images:
        raise ConfigError(f"{where} must be one for each of {images} images; got {len(labels)}. {cure}")
    low, high = int(labels.min()), int(labels.max())
    if low < first or high > first + classes - 1:
        raise ConfigError(f"{where} must be {first} to {first + classes - 1}; got {low} to {high}. {cure}")
    return labels.reshape(-1).astype(np.int16) - np.int16(first)

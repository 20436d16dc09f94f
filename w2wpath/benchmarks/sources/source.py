"""What the readers of public image sets return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, eq=False)
class Source:
    """A public image set with its own split; its arrays are read-only.

    Attributes
    ----------
    name
        As the paper calls it.
    classes
        One word each; a label is an index into it.
    images
        (n, h, w, 3) uint8 RGB of each split; grey is repeated.
    labels
        (n,) int16 of each split.
    origin
        Name and sha256 of each file that was read, one a line.
    stands_in_for
        What it takes the place of, in words, when it is not the whole set that the paper used; else None.

    Raises
    ------
    ValueError
        The arrays are not of these shapes and types, or a label is no class.
    """

    name: str
    classes: tuple[str, ...]
    images: Mapping[Split, NDArray[np.uint8]]
    labels: Mapping[Split, NDArray[np.int16]]
    origin: str
    stands_in_for: str | None = None

    def __post_init__(self) -> None:
        """Check shapes, types and labels, and make the arrays read-only."""
        for split in SPLITS:
            images, labels = self.images[split], self.labels[split]
            if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
                raise ValueError(f"{split} images must be (n, h, w, 3) uint8, got {images.dtype} {images.shape}")
            if labels.shape != images.shape[:1] or labels.dtype != np.int16:
                raise ValueError(f"{split} labels must be ({len(images)},) int16, got {labels.dtype} {labels.shape}")
            if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
                raise ValueError(f"{split} labels must be 0 to {len(self.classes) - 1}")
            images.flags.writeable = labels.flags.writeable = False


def as_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat (n, h, w) grey images to (n, h, w, 3)."""
    return np.repeat(grey[..., None], 3, axis=3)


def part_of(name: str, labels: Mapping[Split, NDArray[np.int16]], complete: Mapping[Split, int]) -> str | None:
    """Say that a set is only a part of `name`, with its counts and those of the complete one; None if it is all."""
    if all(len(labels[split]) == complete[split] for split in SPLITS):
        return None
    counts = " and ".join(f"{len(labels[split])} of {complete[split]} {split} images" for split in SPLITS)
    return f"the complete {name} (here {counts})"

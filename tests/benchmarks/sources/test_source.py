"""What a source may be, and that it does not change."""

from __future__ import annotations

import numpy as np
import pytest

from w2wpath.benchmarks.sources.source import Source


def make(images: np.ndarray, labels: np.ndarray) -> Source:
    good = np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1, np.int16)
    return Source("s", ("a", "b"), {"train": good[0], "test": images}, {"train": good[1], "test": labels}, "file", None)


def test_the_arrays_are_read_only() -> None:
    source = make(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1], np.int16))
    for arrays in (source.images, source.labels):
        for array in arrays.values():
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, 4, 4), np.uint8),
            np.zeros(2, np.int16),
            "test images must be (n, h, w, 3) uint8, got uint8 (2, 4, 4)",
        ),
        (
            np.zeros((2, 4, 4, 3)),
            np.zeros(2, np.int16),
            "test images must be (n, h, w, 3) uint8, got float64 (2, 4, 4, 3)",
        ),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int16), "test labels must be (2,) int16, got int16 (3,)"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.uint8), "test labels must be (2,) int16, got uint8 (2,)"),
        (np.zeros((1, 4, 4, 3), np.uint8), np.full(1, 2, np.int16), "test labels must be 0 to 1"),
        (np.zeros((1, 4, 4, 3), np.uint8), np.full(1, -1, np.int16), "test labels must be 0 to 1"),
    ],
    ids=["no colour", "floats", "counts", "type", "third class", "no class"],
)
def test_a_source_that_cannot_be_is_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        make(images, labels)
    assert str(caught.value) == message

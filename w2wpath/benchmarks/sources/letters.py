"""Handwritten letters A to Z: EMNIST letters from its idx files, or an npz of letters in its place."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.checks import check_images, check_labels
from w2wpath.benchmarks.sources.idx import idx_spellings, read_idx_splits
from w2wpath.benchmarks.sources.layout import Advice, Layout, choose_layout, lay, origin
from w2wpath.benchmarks.sources.npz import array_names, read_arrays, read_splits
from w2wpath.benchmarks.sources.source import SPLITS, Source, Split, as_rgb
from w2wpath.benchmarks.sources.stored import Stored, read_stored
from w2wpath.errors import ConfigError

NAME = "EMNIST letters"
CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
SHAPE = (28, 28)
NPZ = "*letters*.npz"
IDX: dict[Split, tuple[str, str]] = {
    "train": ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte"),
    "test": ("emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"),
}
FIRST = 1
"""EMNIST counts its letters from 1."""
CURE = "An npz that stands in for EMNIST holds upright letters, A to Z as 0 to 25: bring it into that form."
EVERY = 5
"""One distinct image of so many of a letter is for the test."""
ADVICE = Advice(
    NAME,
    "the EMNIST page of NIST (https://www.nist.gov/itl/products-and-services/emnist-dataset), as gzip.zip, of "
    "which the four files of the letters are needed,",
    {"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"},
)

Arrays = tuple[Mapping[Split, NDArray[np.uint8]], Mapping[Split, NDArray[np.int16]]]


def read_letters(folder: Path) -> Source:
    """Read letters, upright as the digits of MNIST are, grey repeated to RGB.

    EMNIST letters (Cohen et al. 2017) goes first, with its own split; its idx files hold every image transposed, which
    is undone. Any npz with ``letters`` in its name, upright and labelled 0 to 25, stands in for it: with x_train,
    y_train, x_test and y_test it has its own split; with x and y it is split by :func:`for_test`.

    Raises
    ------
    ConfigError
        Neither is whole in `folder`, or a file is damaged or holds something else.
    """
    idx = lay(folder, "the idx files, plain or .gz", [name for pair in IDX.values() for name in pair], idx_spellings)
    layouts: list[Layout] = [idx, *(lay(folder, name, [name]) for name in _npz_names(folder))]
    chosen = choose_layout(folder, layouts, ADVICE)
    files = {name: read_stored(path) for name, path in chosen.found.items()}
    grey, labels = _of_emnist(files) if chosen is idx else _of_npz(files[chosen.title])
    return Source(
        name=NAME if chosen is idx else f"letters of {chosen.title}",
        classes=CLASSES,
        images={split: as_rgb(grey[split]) for split in SPLITS},
        labels=labels,
        origin=origin(files.values(), chosen, layouts),
        stands_in_for=None if chosen is idx else NAME,
    )


def for_test(grey: NDArray[np.uint8], labels: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Say which of n letters are for the test: about one in five of each letter, the same whatever their order.

    Equal images stay together, so that none is on both sides even when a file holds it twice or under two letters.

    Parameters
    ----------
    grey
        (n, h, w) uint8.
    labels
        (n,) int16.

    Returns
    -------
    (n,) bool.
    """
    digests = [hashlib.sha256(image.tobytes()).digest() for image in grey]
    letter_of: dict[bytes, int] = {}
    for digest, letter in zip(digests, labels.tolist(), strict=True):
        letter_of[digest] = min(letter, letter_of.get(digest, letter))
    chosen: set[bytes] = set()
    for letter in range(len(CLASSES)):
        distinct = sorted(digest for digest, of in letter_of.items() if of == letter)
        chosen.update(distinct[EVERY // 2 :: EVERY])  # from the middle: the count is the rounded share
    return np.array([digest in chosen for digest in digests], dtype=np.bool_)


def _npz_names(folder: Path) -> list[str]:
    """Return the names of the npz of letters in order, or the pattern that they would have."""
    return sorted(path.name for path in folder.glob(NPZ) if path.is_file()) or [NPZ]


def _of_emnist(files: Mapping[str, Stored]) -> Arrays:
    transposed, labels = read_idx_splits(files, IDX, SHAPE, len(CLASSES), FIRST)
    return {split: np.ascontiguousarray(transposed[split].transpose(0, 2, 1)) for split in SPLITS}, labels


def _of_npz(stored: Stored) -> Arrays:
    if not {"x", "y"} <= set(array_names(stored)):
        return read_splits(stored, SHAPE, len(CLASSES), cure=CURE)
    arrays = read_arrays(stored, ("x", "y"))
    grey = check_images(f"{stored.path}: x", arrays["x"], SHAPE, cure=CURE)
    labels = check_labels(f"{stored.path}: y", arrays["y"], len(grey), len(CLASSES), cure=CURE)
    test = for_test(grey, labels)
    if not test.any():
        raise ConfigError(
            f"{stored.path}: no letter has {EVERY // 2 + 1} different images, so none can be split into training and "
            "test. Give more letters."
        )
    return {"train": grey[~test], "test": grey[test]}, {"train": labels[~test], "test": labels[test]}

"""Handwritten letters that stand among digits as what does not belong: EMNIST letters, or any letters npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.idx import find_idx, read_idx
from w2wpath.benchmarks.sources.source import (
    SPLITS,
    Source,
    Split,
    checked,
    missing,
    npz_names,
    origin_of,
    read_npz,
    rgb,
)

SIDE = 28
CLASSES = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
NPZ = ("letters.npz", "letters_az.npz")
EMNIST: dict[Split, tuple[str, str]] = {
    split: (f"emnist-letters-{split}-images-idx3-ubyte", f"emnist-letters-{split}-labels-idx1-ubyte")
    for split in SPLITS
}
ONE_IN = 5
"""Where a file has one list of letters, every fifth of each letter is a test letter."""
WHERE = (
    "Get gzip.zip of EMNIST (md5 58c8d27c78d21e728a6bc7b3cc06412e) and put its four emnist-letters files into this "
    "folder; or letters of your own as letters.npz with x (n, 28, 28) uint8, white on black and upright, and y 0 to 25."
)


def read_letters(folder: Path) -> Source:
    """Read letters: EMNIST's idx files where they are, else an npz, which stands in for them.

    EMNIST stores its images transposed against MNIST; here they stand as digits do, or every letter would be found by
    that alone.

    Raises
    ------
    ConfigError
        Files are missing or damaged.
    """
    found = {name: find_idx(folder, name) for names in EMNIST.values() for name in names}
    if all(found.values()):
        return _emnist([path for path in found.values() if path is not None])
    for name in NPZ:
        if (folder / name).is_file():
            return _npz(folder / name)
    absent = [name for name, path in found.items() if path is None]
    raise missing(folder, [f"{', '.join(absent)} (.gz or not)", *NPZ], WHERE)


def _emnist(paths: list[Path]) -> Source:
    images, labels = {}, {}
    for split, (x_path, y_path) in zip(SPLITS, (paths[:2], paths[2:]), strict=True):
        x, y = read_idx(x_path, 3), read_idx(y_path, 1).astype(np.int64) - 1  # EMNIST counts letters from 1
        labels[split] = checked(x_path, x, y, SIDE, len(CLASSES))
        images[split] = rgb(np.ascontiguousarray(x.transpose(0, 2, 1)))
    return Source("EMNIST letters", CLASSES, images, labels, origin_of(paths))


def _npz(path: Path) -> Source:
    pairs: dict[Split, tuple[NDArray[Any], NDArray[Any]]] = {}
    if "x_train" in npz_names(path):
        arrays = read_npz(path, [f"{kind}_{split}" for split in SPLITS for kind in "xy"])
        pairs = {"train": (arrays[0], arrays[1]), "test": (arrays[2], arrays[3])}
    else:
        x, y = read_npz(path, ["x", "y"])
        checked(path, x, y, SIDE, len(CLASSES))
        test = _every_fifth(y)
        pairs = {"train": (x[~test], y[~test]), "test": (x[test], y[test])}
    labels = {split: checked(path, *pairs[split], SIDE, len(CLASSES)) for split in SPLITS}
    images = {split: rgb(pairs[split][0]) for split in SPLITS}
    return Source(path.name, CLASSES, images, labels, origin_of([path]), stands_in_for="EMNIST letters")


def _every_fifth(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which images (n,) are test images: every fifth of each letter, in the order of the file."""
    test = np.zeros(len(labels), dtype=np.bool_)
    for letter in np.unique(labels):
        test[np.flatnonzero(labels == letter)[ONE_IN - 1 :: ONE_IN]] = True
    return test

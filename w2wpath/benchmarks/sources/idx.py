"""The idx format of MNIST and EMNIST: a magic number, the dimensions, then bytes (the MNIST page of Yann LeCun)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.checks import check_labels
from w2wpath.benchmarks.sources.source import SPLITS, Split
from w2wpath.benchmarks.sources.stored import Stored, gunzip
from w2wpath.errors import ConfigError

MOST_ITEMS = 1_000_000
"""More than the largest set of the family, EMNIST by class, has."""
UNSIGNED_BYTES = 0x08
GZIP = b"\x1f\x8b"


def idx_spellings(name: str) -> Sequence[str]:
    """Return the names under which an idx file is found: with a dash or a dot before ``idx``, plain or gzipped."""
    dotted = name.replace("-idx", ".idx")
    return (name, f"{name}.gz", dotted, f"{dotted}.gz")


def read_idx(stored: Stored, item: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the n items of an idx file of bytes, (n, ...) uint8; `item` is the shape of one, ``()`` for labels.

    Whether it is gzipped is seen in the bytes: browsers unpack a download and leave its name.

    Raises
    ------
    ConfigError
        It is no idx file of such items, is cut short, or goes on after them.
    """
    header = 4 * (2 + len(item))
    most = header + MOST_ITEMS * math.prod(item)
    data = gunzip(stored, most) if stored.data.startswith(GZIP) else stored.data
    count = _count(stored, data[:header], item)
    follow, need = len(data) - header, count * math.prod(item)
    if follow < need:
        raise ConfigError(
            f"{stored.path}: is cut short: {need} bytes must follow its header, {follow} do. Get the file again."
        )
    if follow > need:
        raise ConfigError(
            f"{stored.path}: goes on after its end: {need} bytes must follow its header, {follow} do. "
            "Get the file again."
        )
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(count, *item)


def read_idx_splits(
    files: Mapping[str, Stored],
    names: Mapping[Split, tuple[str, str]],
    shape: tuple[int, ...],
    classes: int,
    first: int = 0,
) -> tuple[Mapping[Split, NDArray[np.uint8]], Mapping[Split, NDArray[np.int16]]]:
    """Return images (n, ...) and labels (n,) of each split, from the files `names` gives for images and labels.

    Raises
    ------
    ConfigError
        As :func:`read_idx`, or there is not a label for each image, counted from `first`, one of `classes`.
    """
    images, labels = {}, {}
    for split in SPLITS:
        pictures, answers = (files[name] for name in names[split])
        images[split] = read_idx(pictures, shape)
        labels[split] = check_labels(
            f"{answers.path}: its labels", read_idx(answers, ()), len(images[split]), classes, first
        )
    return images, labels


def _count(stored: Stored, header: bytes, item: tuple[int, ...]) -> int:
    """Check the header and return the number of items."""
    magic = bytes([0, 0, UNSIGNED_BYTES, 1 + len(item)])
    if header[:4] != magic:
        raise ConfigError(
            f"{stored.path}: is not an idx file of {'images' if item else 'labels'}: it begins with "
            f"{header[:4].hex() or 'nothing'}, not {magic.hex()}. Get the file again."
        )
    if len(header) < 4 * (2 + len(item)):
        raise ConfigError(f"{stored.path}: is cut short within its header. Get the file again.")
    count, *sides = (int(value) for value in np.frombuffer(header, dtype=">u4")[1:])
    if tuple(sides) != item:
        raise ConfigError(
            f"{stored.path}: its images are {' x '.join(map(str, sides))} px, not {' x '.join(map(str, item))}. "
            "Get the file again."
        )
    if not 1 <= count <= MOST_ITEMS:
        raise ConfigError(
            f"{stored.path}: says that it holds {count} items; 1 to {MOST_ITEMS} can be. Get the file again."
        )
    return count

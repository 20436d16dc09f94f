"""Arrays of an npz, of which none is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.checks import AGAIN, check_images, check_labels
from w2wpath.benchmarks.sources.source import SPLITS, Split
from w2wpath.benchmarks.sources.stored import MOST_BYTES, Stored
from w2wpath.errors import ConfigError

SPLIT_ARRAYS = ("x_train", "y_train", "x_test", "y_test")

_NOT_AN_NPZ = (
    OSError,
    ValueError,  # pickled objects, among others
    KeyError,
    EOFError,
    MemoryError,  # a header that promises more than any file holds
    NotImplementedError,
    RuntimeError,  # encrypted
    zipfile.BadZipFile,
    zlib.error,
)


def array_names(stored: Stored) -> tuple[str, ...]:
    """Return the names of the arrays in an npz.

    Raises
    ------
    ConfigError
        It is no zip file, or unpacks to more than any image set here has.
    """
    try:
        with zipfile.ZipFile(BytesIO(stored.data)) as archive:
            members = archive.infolist()
    except _NOT_AN_NPZ as error:
        raise ConfigError(f"{stored.path}: not an npz ({error}). Get the file again.") from error
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise ConfigError(f"{stored.path}: unpacks to more than {MOST_BYTES} bytes. Get the file again.")
    return tuple(member.filename.removesuffix(".npy") for member in members)


def read_arrays(stored: Stored, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the named arrays of an npz, whatever their shapes.

    Raises
    ------
    ConfigError
        It is no npz, lacks one of them, holds it as pickled objects, or is damaged.
    """
    there = array_names(stored)
    lacking = [name for name in names if name not in there]
    if lacking:
        raise ConfigError(
            f"{stored.path}: has no array {', '.join(lacking)}; it holds {', '.join(there) or 'none'}. "
            f"An npz with {', '.join(names)} is needed."
        )
    try:
        with np.load(BytesIO(stored.data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in names}
    except _NOT_AN_NPZ as error:
        raise ConfigError(f"{stored.path}: cannot be read as an npz ({error}). Get the file again.") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands out the bytes of a member that is none
            raise ConfigError(f"{stored.path}: {name} is not an array. Get the file again.")
    return arrays


def read_splits(
    stored: Stored, shape: tuple[int, ...], classes: int, *, cure: str = AGAIN
) -> tuple[Mapping[Split, NDArray[np.uint8]], Mapping[Split, NDArray[np.int16]]]:
    """Return images (n, ...) and labels (n,) of each split, from x_train, y_train, x_test, y_test.

    `cure` is what to do where the arrays are something else.

    Raises
    ------
    ConfigError
        As :func:`read_arrays`, or the arrays are not images of `shape` with a label each, one of `classes`.
    """
    arrays = read_arrays(stored, SPLIT_ARRAYS)
    images = {
        split: check_images(f"{stored.path}: x_{split}", arrays[f"x_{split}"], shape, cure=cure) for split in SPLITS
    }
    labels = {
        split: check_labels(f"{stored.path}: y_{split}", arrays[f"y_{split}"], len(images[split]), classes, cure=cure)
        for split in SPLITS
    }
    return images, labels

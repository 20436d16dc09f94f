"""What every reader of a public image set returns, and the checks that all of them share."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ConfigError

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
Bytes = NDArray[np.uint8]
_DAMAGE = (OSError, KeyError, ValueError, EOFError, AttributeError, zipfile.BadZipFile)
"""What np.load raises on files that are none; an npy, which has no names, gives an AttributeError."""


@dataclass(frozen=True)
class Source:
    """A public image set.

    Attributes
    ----------
    images
        (n, h, w, 3) uint8 RGB of each split; grey is repeated.
    labels
        (n,) int16 of each split, index into `classes`.
    origin
        The files that were read, a line each: name and sha256.
    stands_in_for
        The set that it is used in place of; None where it is the set itself.
    """

    name: str
    classes: tuple[str, ...]
    images: Mapping[Split, Bytes]
    labels: Mapping[Split, NDArray[np.int16]]
    origin: str
    stands_in_for: str | None = None

    @property
    def side(self) -> int:
        """Side of an image in pixels."""
        return int(self.images["train"].shape[1])


def checked(path: Path, images: Bytes, labels: NDArray[Any], side: int, classes: int) -> NDArray[np.int16]:
    """Check that images are (n, side, side[, 3]) uint8 with a label each; return the labels as int16.

    Raises
    ------
    ConfigError
        Shape, type, count or a label is wrong.
    """
    again = "Get the file again."
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[1:3] != (side, side):
        raise ConfigError(
            f"{path}: images must be (n, {side}, {side}) uint8; got {images.dtype} {images.shape}. {again}"
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ConfigError(
            f"{path}: {len(images)} images need as many whole-number labels; got {labels.dtype} {labels.shape}. {again}"
        )
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise ConfigError(f"{path}: labels must be 0 to {classes - 1}; got {labels.min()} to {labels.max()}. {again}")
    return labels.astype(np.int16)


def rgb(grey: Bytes) -> Bytes:
    """Repeat grey images (n, h, w) to (n, h, w, 3)."""
    return np.repeat(grey[..., None], 3, axis=3)


def npz_names(path: Path) -> frozenset[str]:
    """Return the names of the arrays of an npz.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return frozenset(found.files)
    except _DAMAGE as error:
        raise ConfigError(f"{path}: not an npz ({error}). Get the file again.") from error


def read_npz(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read arrays of an npz, never an object.

    Raises
    ------
    ConfigError
        The file is damaged, or an array is missing or holds Python objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return [found[name] for name in names]
    except _DAMAGE as error:
        wanted = ", ".join(names)
        raise ConfigError(
            f"{path}: not an npz with the plain arrays {wanted} ({error}). Get the file again."
        ) from error


def origin_of(paths: Sequence[Path]) -> str:
    """Return name and sha256 of files, a line each."""
    return "\n".join(f"{path.name} sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths)


def missing(folder: Path, wanted: Sequence[str], where: str) -> ConfigError:
    """Return the error for a set that is not in `folder`: what was looked for, and where to get it."""
    return ConfigError(f"{folder}: none of {'; '.join(wanted)} is there. {where}")

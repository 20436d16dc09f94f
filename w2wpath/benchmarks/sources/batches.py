"""CIFAR's python batches: pickles, read without running anything that is in them."""

from __future__ import annotations

import codecs
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ConfigError

ALLOWED = frozenset(
    {(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
    | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
)
"""What a batch needs: arrays as numpy before and since 2.0 pickles them, and bytes as Python 2 wrote them."""


@dataclass(frozen=True)
class Batch:
    """Images of a batch as (n, 3072) rows and their labels (n,), unchecked."""

    data: NDArray[Any]
    labels: NDArray[Any]


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what may be built; refuse everything else before it is looked up."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of CIFAR-10 needs")
        if name == "encode":
            return codecs.encode
        if name == "_reconstruct":
            return _reconstruct
        return getattr(np, name)


def _reconstruct(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    """Return the empty array that the pickle then fills."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("it builds an array in a way that no batch of CIFAR-10 does")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def read_batch(path: Path, data: bytes) -> Batch:
    """Read a batch: a dictionary with ``data`` and ``labels``. Only arrays, numbers and text are built from it.

    Raises
    ------
    ConfigError
        It is damaged, asks for anything else, or has no such entries.
    """
    try:
        found = _Restricted(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything; nothing of it has run
        raise ConfigError(f"{path}: not a batch of CIFAR-10 ({error}). Get the file again.") from error
    try:
        pixels, labels = found[b"data"], np.asarray(found[b"labels"])
        if isinstance(pixels, np.ndarray) and pixels.dtype != object and labels.dtype != object:
            return Batch(pixels, labels)
    except (KeyError, TypeError, ValueError, IndexError):
        pass
    raise ConfigError(f"{path}: has no data and labels, as a batch of CIFAR-10 has. Get the file again.")

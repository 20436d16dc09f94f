"""The python batches of CIFAR-10. They are pickles, so they are read with nothing of Python or numpy within reach.

A pickle may name functions, and unpickling calls them. Here a name is looked up in a table of stand-ins that only keep
what they are given, or encode a text; every other name is refused. The array is then made from what was kept, after a
look at it.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ConfigError

MOST_BYTES = 100_000_000
"""An official batch has 31 MB."""
MOST_TUPLES = 25_000
"""A batch that Python 3 wrote has one for each file name; tuples nested without end overflow the stack when hashed."""


class Kept:
    """Stands in for an array or a dtype: keeps its arguments and its state, and does nothing.

    Attributes
    ----------
    arguments
        What it was called with.
    state
        What the pickle would have set.
    """

    __slots__ = ("arguments", "state")

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _keeper() -> Callable[..., Any]:
    # a function of its own for every pickle: one that sets attributes of it spoils nothing
    return lambda *arguments: Kept(*arguments)


def _encoder(spend: Callable[[int], None]) -> Callable[..., Any]:
    # how protocol 2 writes bytes under Python 3; one text may be named over and over, so what comes out is counted
    def encode(text: str, encoding: str = "latin1") -> bytes:
        spend(len(text))
        return str.encode(text, "latin1")

    return encode


STAND_INS: dict[tuple[str, str], Callable[[], Any]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _keeper for core in ("core", "_core")},
    ("numpy", "ndarray"): lambda: "ndarray",  # only ever an argument
    ("numpy", "dtype"): _keeper,
}
ENCODE = ("_codecs", "encode")


class BatchUnpickler(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def __init__(self, data: bytes, where: str) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self.where = where
        self._encoded = 0

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a name.

        Raises
        ------
        ConfigError
            The files of CIFAR-10 have no use for it.
        """
        if (module, name) == ENCODE:
            return _encoder(self._spend)
        if (module, name) not in STAND_INS:
            raise ConfigError(
                f"{self.where}: asks for {module}.{name}, which no file of CIFAR-10 needs; nothing in it was run. "
                "Get the file from its official page."
            )
        return STAND_INS[module, name]()

    def _spend(self, count: int) -> None:
        self._encoded += count
        if self._encoded > MOST_BYTES:
            raise pickle.UnpicklingError(f"its texts come to more than {MOST_BYTES} bytes")

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: a batch stands alone."""
        raise pickle.UnpicklingError("it refers to something outside the file")


def read_batch(data: bytes, where: str) -> dict[bytes, Any]:
    """Return the dictionary that a batch or ``batches.meta`` holds, its strings as bytes and its arrays as arrays.

    Parameters
    ----------
    data
        The pickle.
    where
        File, and member of an archive, for messages.

    Raises
    ------
    ConfigError
        It is too large, cut short, no such dictionary, or names anything but an array of bytes.
    """
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{where}: is larger than {MOST_BYTES} bytes, an official batch has 31 MB. Get it again.")
    try:
        _look_through(data)
        found = BatchUnpickler(data, where).load()
        if not isinstance(found, dict):
            raise pickle.UnpicklingError("it holds no dictionary")
        return {key: _array(value) if isinstance(value, Kept) else value for key, value in found.items()}
    except ConfigError:
        raise
    except Exception as error:  # damaged pickles raise whatever the step that they break raises
        raise ConfigError(f"{where}: is not a batch of CIFAR-10 ({error}). Get the file again.") from error


def _look_through(data: bytes) -> None:
    """Refuse what would cost memory or the stack before it is refused: far memo places, tuples without end."""
    tuples, end = 0, 0
    for opcode, argument, place in pickletools.genops(data):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise pickle.UnpicklingError("it keeps something at a place beyond its size")
        tuples += opcode.name.startswith("TUPLE") or opcode.name == "FROZENSET"
        if tuples > MOST_TUPLES:
            raise pickle.UnpicklingError(f"it holds more than {MOST_TUPLES} tuples")
        end = (place or 0) + 1
    if end != len(data):
        raise pickle.UnpicklingError("it goes on after its end")


def _array(kept: Kept) -> NDArray[np.uint8]:
    """Return the array that was kept, if it is one of bytes."""
    _, shape, dtype, by_column, data = kept.state
    if dtype.arguments[0] not in (b"u1", "u1"):
        raise pickle.UnpicklingError("its array is not of bytes")
    if not isinstance(data, bytes) or math.prod(shape) != len(data):
        raise pickle.UnpicklingError("its array has another size than its shape says")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape, order="F" if by_column else "C")

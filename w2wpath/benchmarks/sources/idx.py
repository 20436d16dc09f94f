"""The idx format of MNIST and EMNIST: a magic number, big-endian sizes, then unsigned bytes."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from w2wpath.benchmarks.sources.source import Bytes
from w2wpath.errors import ConfigError

UNSIGNED_BYTE = 0x08
MOST_BYTES = 1 << 30
"""More than this is no image set of this kind: a broken or hostile file must not fill the memory."""


def find_idx(folder: Path, stem: str) -> Path | None:
    """Return the file ``stem`` in `folder`, with a dot or a dash before ``idx``, plain or gzipped; None if absent."""
    for name in (stem, stem.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            if (path := folder / f"{name}{suffix}").is_file():
                return path
    return None


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Read an idx file of unsigned bytes, gzipped or not.

    Raises
    ------
    ConfigError
        It is damaged, of another type or number of dimensions, or shorter or longer than it says.
    """
    data = _bytes(path)
    again = "Get the file again."
    if len(data) < 4 + 4 * dimensions or data[:2] != b"\0\0" or data[2] != UNSIGNED_BYTE or data[3] != dimensions:
        raise ConfigError(
            f"{path}: not an idx file of unsigned bytes in {dimensions} dimension(s): it begins with "
            f"{data[:4].hex(' ') or 'nothing'}. {again}"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, dtype=">u4", count=dimensions, offset=4))
    body, wanted = len(data) - 4 - 4 * dimensions, int(np.prod([*map(int, shape)], dtype=object))
    if body != wanted:
        raise ConfigError(f"{path}: says {' x '.join(map(str, shape))} = {wanted} bytes and holds {body}. {again}")
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            if path.stat().st_size > MOST_BYTES:
                raise ConfigError(f"{path}: larger than any file of MNIST or EMNIST. Get the file again.")
            return path.read_bytes()
        with gzip.open(path) as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Get the file again.") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{path}: larger than any file of MNIST or EMNIST. Get the file again.")
    return data

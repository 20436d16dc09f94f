"""A file, read whole and once, so that its sha256 is that of the bytes that are used."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from w2wpath.errors import ConfigError

MOST_BYTES = 1 << 30
"""Far above any official file (CIFAR-10 is 0.17 GB); a larger one is something else."""


@dataclass(frozen=True)
class Stored:
    """The bytes of a file.

    Attributes
    ----------
    path
        Where it lies, for messages.
    data
        All of it, as it is on disk.
    """

    path: Path
    data: bytes

    @property
    def origin(self) -> str:
        """Name and sha256, one line."""
        return f"{self.path.name} sha256 {hashlib.sha256(self.data).hexdigest()}"


def read_stored(path: Path, most: int = MOST_BYTES) -> Stored:
    """Read a file of at most `most` bytes.

    Raises
    ------
    ConfigError
        It is larger, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Check its permissions and the disk.") from error
    if len(data) > most:
        raise ConfigError(f"{path}: is larger than {most} bytes, far more than the official file. Get the file again.")
    return Stored(path, data)


def gunzip(stored: Stored, most: int) -> bytes:
    """Return at most ``most + 1`` bytes of what a gzip file holds; its checksum is checked if that is all of it.

    A file that swells without end is so never unpacked further than is needed to refuse it.

    Raises
    ------
    ConfigError
        It is cut short, damaged, or no gzip file.
    """
    try:
        with gzip.open(BytesIO(stored.data)) as file:
            return file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{stored.path}: not a whole gzip file ({error}). Get the file again.") from error

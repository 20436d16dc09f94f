"""Which folds a living process works on: a lock on a file of the run's folder, which a process loses when it dies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl


def _lock(file: IO[bytes]) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: then nothing is known of others
        return True
    return True


@contextmanager
def at_work(path: Path) -> Iterator[None]:
    """Hold the lock on `path` while working; where another process holds it, or none can be had, work all the same."""
    with path.open("wb") as file:
        mine = _lock(file)
        try:
            yield
        finally:
            if mine:
                with suppress(OSError):
                    path.unlink()


def is_at_work(path: Path) -> bool:
    """Tell whether a living process holds the lock on `path`; never on Windows, which is asked for none."""
    try:
        with path.open("rb") as file:
            return not _lock(file)
    except FileNotFoundError:
        return False

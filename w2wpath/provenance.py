"""What ran: command, settings, versions, seeds and times, as one line of JSON beside every output."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from w2wpath.errors import SlideError, writing

PACKAGES = ("w2wpath", "numpy", "zarr", "shapely", "openslide-python", "torch", "timm")
MIB = 1 << 20


def fingerprint(path: Path) -> str:
    """Return a quick sha256 of a slide file: its size, first and last MiB and 16 evenly spaced 64 KiB blocks.

    For a MIRAX slide the files of its folder, which holds the pixels, count too: their names and quick sha256s.

    Raises
    ------
    SlideError
        The file cannot be read, or a MIRAX slide's folder is not there.
    """
    own = _quick_sha256(path)
    folder = companion_folder(path)
    if folder is None:
        return own
    digest = hashlib.sha256(own.encode())
    for file in sorted(found for found in folder.rglob("*") if found.is_file()):
        digest.update(f"\n{file.relative_to(folder).as_posix()} {_quick_sha256(file)}".encode())
    return digest.hexdigest()


def companion_folder(path: Path) -> Path | None:
    """Return the folder that holds the pixels of a MIRAX slide; None for other slides.

    Raises
    ------
    SlideError
        It is not there.
    """
    if path.suffix.lower() != ".mrxs":
        return None
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise SlideError(f"{path}: its folder {folder.name}/ with the pixels is not there. Copy it beside the file.")
    return folder


def _quick_sha256(path: Path) -> str:
    try:
        size = path.stat().st_size
        digest = hashlib.sha256(str(size).encode())
        spans = [(0, MIB), (max(0, size - MIB), MIB), *((size * i // 16, 64 * 1024) for i in range(16))]
        with path.open("rb") as file:
            for start, length in spans:
                file.seek(start)
                digest.update(file.read(length))
    except OSError as error:
        raise SlideError(f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.") from error
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def record(command: str, settings: Mapping[str, Any], **facts: Any) -> dict[str, Any]:
    """Return one provenance record: what was run, with which settings and versions, at what time (UTC)."""
    return {
        "command": command,
        "argv": sys.argv[1:],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "versions": versions(),
        **facts,
    }


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Append `entry` to a JSON-lines file in one write, so that concurrent writers do not mix their lines."""
    line = (json.dumps(entry, sort_keys=True, default=str) + "\n").encode()
    with writing(path), open(path, "ab", buffering=0) as file:
        # a disk that fills takes a part without complaint; only the next write says so
        while line:
            line = line[file.write(line) :]


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file so that it appears whole or not at all (scratch beside it, then rename)."""
    # threads share a process number, and machines that share a disk may too
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    data = content.encode() if isinstance(content, str) else content
    with writing(path):
        try:
            scratch.write_bytes(data)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


class Clock:
    """Measures elapsed wall-clock seconds from its creation."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since creation."""
        return time.perf_counter() - self._start

"""Append-only entries in a store: each is a zarr group of its own that appears whole; none is rewritten or deleted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import StoreError
from w2wpath.tiles.store import EVERY_CHUNK, TileStore

STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Entry:
    """One entry: its name, which sorts by time, its attributes and its arrays."""

    name: str
    about: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


def append(store: TileStore, home: str, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Add an entry to the folder `home` of the store and return its name, ``<time>-<hex>``, which sorts after all.

    Raises
    ------
    DiskError
        There is no room.
    """
    now, last = datetime.now(UTC), names(store, home)[-1:]
    for name in last:  # a clock that was set back, or two entries at once, must not change who spoke last
        before = datetime.strptime(name.rsplit("-", 1)[0], STAMP).replace(tzinfo=UTC)
        now = max(now, before + timedelta(microseconds=1))
    name = f"{now:{STAMP}}-{secrets.token_hex(3)}"
    attributes = {**about, "when": now.isoformat(timespec="seconds"), "arrays": list(arrays)}
    with store.publish(f"{home}/{name}") as folder:
        root = zarr.open_group(folder, mode="w", attributes=attributes)
        for key, values in arrays.items():
            root.create_array(key, data=np.ascontiguousarray(values), config=EVERY_CHUNK)
    return name


def names(store: TileStore, home: str) -> list[str]:
    """Return the names of the entries in `home`, oldest first."""
    folder = store.path / home
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def entries(store: TileStore, home: str) -> list[Entry]:
    """Read the entries in `home`, oldest first.

    Raises
    ------
    StoreError
        One is damaged.
    """
    return [_read(store, home, name) for name in names(store, home)]


def _read(store: TileStore, home: str, name: str) -> Entry:
    folder = store.path / home / name
    try:
        root = zarr.open_group(folder, mode="r")
        about: dict[str, Any] = root.attrs.asdict()
        return Entry(name, about, {key: read_whole(root, key) for key in about["arrays"]})
    except Exception as error:
        raise StoreError(
            f"{folder}: cannot be read ({type(error).__name__}: {error}). "
            "Bring it back from a backup; without it, what was decided is not known."
        ) from error


def read_whole(group: zarr.Group, name: str) -> NDArray[Any]:
    """Read an array of a group.

    Raises
    ------
    FileNotFoundError
        A file of it is lost, which zarr would read as zeros.
    """
    array = group[name]
    if not isinstance(array, zarr.Array) or array.nchunks_initialized < array.nchunks:
        raise FileNotFoundError(f"a file of {name} is missing")
    return np.asarray(array[...])

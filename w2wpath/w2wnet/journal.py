"""Names of entries that are only ever added to a store: sorted, they are in the order in which they were written."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from w2wpath.tiles.store import TileStore

TIME = "%Y%m%dT%H%M%S.%fZ"


def entries(store: TileStore, home: str) -> list[str]:
    """Return the names of the entries below ``<store>/<home>``, oldest first."""
    folder = store.path / home
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def next_entry(store: TileStore, home: str) -> str:
    """Return a fresh name, UTC time and six hex digits, that sorts behind every entry below ``<store>/<home>``."""
    now = datetime.now(UTC)
    if known := entries(store, home):
        # a clock that was set back, or two entries in one tick, must not change what is the latest
        last = datetime.strptime(known[-1].rpartition("-")[0], TIME).replace(tzinfo=UTC)
        now = max(now, last + timedelta(microseconds=1))
    return f"{now.strftime(TIME)}-{secrets.token_hex(3)}"

"""Tiles with the same pixels in several patients: copies, which would let a test patient be met in training."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileTable

MOST_GROUPS = 50
"""Most groups that are listed."""
DIGEST_BYTES = 32


@dataclass(frozen=True)
class Duplicates:
    """Tiles that are the same in several patients.

    Attributes
    ----------
    tiles
        How many there are in all groups.
    groups
        At most MOST_GROUPS of ``{"hash", "tiles": [[slide, x0, y0, patient], ...]}``, the largest first.
    """

    tiles: int
    groups: list[dict[str, Any]]

    def says(self) -> str:
        """Say it in one sentence; nothing where there are none."""
        if not self.tiles:
            return ""
        return (
            f"{self.tiles} tiles have the same pixels as a tile of another patient, so a network may be tested on what "
            "it was trained on. Are they one patient's slides (`w2wpath patients map.csv`), or copies?"
        )


def digests(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a sha256 (n, 32) of the pixels of each image (n, h, w, 3); zeros where they are all of one colour.

    Empty glass that was scanned as pure white is the same everywhere, and no copy.
    """
    found = np.zeros((len(images), DIGEST_BYTES), dtype=np.uint8)
    varied = np.flatnonzero((images != images[:, :1, :1]).any(axis=(1, 2, 3)))
    for i in varied:
        found[i] = np.frombuffer(hashlib.sha256(images[i].tobytes()).digest(), dtype=np.uint8)
    return found


def across_patients(table: TileTable, digest_n: NDArray[np.uint8]) -> Duplicates:
    """Find the tiles of a table whose `digest_n` (n, 32) is that of a tile of another patient."""
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for i in np.flatnonzero(digest_n.any(axis=1)).tolist():
        rows_of[digest_n[i].tobytes()].append(i)
    shared = [(key, rows) for key, rows in rows_of.items() if len({int(table.patient[i]) for i in rows}) > 1]
    shared.sort(key=lambda group: (-len(group[1]), group[0]))
    groups = [{"hash": key.hex(), "tiles": [_named(table, i) for i in rows]} for key, rows in shared[:MOST_GROUPS]]
    return Duplicates(sum(len(rows) for _, rows in shared), groups)


def _named(table: TileTable, i: int) -> list[Any]:
    return [table.slides[table.slide[i]], int(table.x0[i]), int(table.y0[i]), table.patients[table.patient[i]]]

"""Tiles with the same pixels in several patients: copies, by which a network is tested on what it was trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.progress import Progress, Silent
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.pixels import images_of

MOST_GROUPS = 50
"""Most groups that are listed."""
IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Duplicates:
    """Labelled tiles that are the same, pixel by pixel, in several patients.

    Attributes
    ----------
    groups
        At most MOST_GROUPS of ``{"hash": sha256, "tiles": [[slide, x0, y0, patient], ...]}``, the largest first.
    tiles
        How many tiles are in such groups, listed or not.
    """

    groups: list[dict[str, Any]]
    tiles: int

    def about(self) -> dict[str, Any]:
        """Return what a run's record keeps."""
        return {"duplicates": self.groups, "duplicate_tiles": self.tiles}


def find_duplicates(store: TileStore, table: TileTable, progress: Progress | None = None) -> Duplicates:
    """Find the labelled tiles of `table` whose pixels are those of a tile of another patient.

    Tiles of one colour throughout are left out: empty glass that was stored as pure white is the same everywhere.
    """
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    labelled = table.labelled()
    with (progress or Silent()).track("looking for copies", len(labelled)) as step:
        for start in range(0, len(labelled), IMAGES_AT_ONCE):
            rows = labelled[start : start + IMAGES_AT_ONCE]
            images = images_of(store, table, rows)
            for i in np.flatnonzero(_varied(images)):
                rows_of[hashlib.sha256(images[i].tobytes()).digest()].append(int(rows[i]))
            step(len(rows), "")
    shared = [(key, rows) for key, rows in rows_of.items() if len(np.unique(table.patient[rows])) > 1]
    shared.sort(key=lambda group: (-len(group[1]), group[0]))
    groups = [{"hash": key.hex(), "tiles": [_named(table, i) for i in rows]} for key, rows in shared[:MOST_GROUPS]]
    return Duplicates(groups, sum(len(rows) for _, rows in shared))


def warning(about: Mapping[str, Any]) -> str:
    """Say in words what a run's record tells of duplicates; nothing where there are none."""
    if not about.get("duplicate_tiles"):
        return ""
    slide, x0, y0, patient = about["duplicates"][0]["tiles"][0]
    return (
        f"{about['duplicate_tiles']} tiles have the same pixels as a tile of another patient, for instance {slide} "
        f"x0={x0} y0={y0} of patient {patient}. A network may be tested on what it was trained on. Tell whether they "
        "are slides of one patient (`w2wpath patients`), or remove the copies."
    )


def _varied(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which images (n, h, w, 3) are not of one colour throughout."""
    return np.asarray((images != images[:, :1, :1]).any(axis=(1, 2, 3)))


def _named(table: TileTable, i: int) -> list[Any]:
    return [table.slides[table.slide[i]], int(table.x0[i]), int(table.y0[i]), table.patients[table.patient[i]]]

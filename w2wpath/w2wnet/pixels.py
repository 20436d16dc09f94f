"""Pixels of a table's tiles, whichever slides they are of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileStore, TileTable


def images_of(store: TileStore, table: TileTable, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return tiles (m, px, px, 3) uint8 RGB of `rows` (m,) of `table`, in that order."""
    px = store.spec.tile_px
    images = np.empty((len(rows), px, px, 3), dtype=np.uint8)
    slide_m = table.slide[rows]
    for index in np.unique(slide_m):
        here = np.flatnonzero(slide_m == index)
        images[here] = store.images(table.slides[index], table.row[rows[here]])
    return images

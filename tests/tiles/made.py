"""Tiles made by hand for tests of the store: small, and different for every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.conftest import noise_image
from w2wpath.tiles.codecs import Codec, encoder
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore

SPEC = StoreSpec(tile_px=8, mpp=0.5, stride_px=8, resample="lanczos3")


def made_tiles(
    n: int,
    seed: int = 0,
    *,
    classes: Sequence[str] = ("AC", "H"),
    patients: Sequence[str] = ("P1",),
) -> SlideTiles:
    """Columns of n tiles in one row; labels go round -1, 0, 1 ..., shares and ids follow the seed."""
    rng = np.random.default_rng(seed)
    columns = {
        "x0": np.arange(n, dtype=np.int32) * 8,
        "y0": np.full(n, seed, dtype=np.int32),
        "side0": np.full(n, 8, dtype=np.int32),
        "label": (np.arange(n) % (len(classes) + 1) - 1).astype(np.int16),
        "roi": np.zeros(n, dtype=np.int32),
        "patient": (np.arange(n) % len(patients)).astype(np.int32),
        "core": np.full(n, -1, dtype=np.int32),
        "valid_share": np.ones(n, dtype=np.float32),
        "area_share": rng.random((n, len(classes)), dtype=np.float32),
        "tile_id": rng.integers(0, 256, (n, 16), dtype=np.uint8),
    }
    attributes = {
        "classes": list(classes),
        "patients": list(patients),
        "pixels_hash": f"pixels {seed}",
        "labels_hash": f"labels {seed}",
    }
    return SlideTiles(columns, attributes)


def made_pixels(n: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels (n, 8, 8, 3) of those tiles."""
    return noise_image(8, 8 * n, seed).reshape(n, 8, 8, 3)


def relabelled(tiles: SlideTiles) -> SlideTiles:
    """The same tiles, all of the second class."""
    columns = {**tiles.columns, "label": np.ones(tiles.n, dtype=np.int16)}
    return SlideTiles(columns, {**tiles.attributes, "labels_hash": "new labels"})


def empty_store(path: Path, codec: Codec = "zstd") -> TileStore:
    """A store of that codec without slides."""
    return TileStore.create_or_open(path, replace(SPEC, codec=codec))


def given(codec: Codec, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]] | list[bytes]:
    """Pixels as a store of that codec takes them: a scanner's files for ``source``, arrays else."""
    return [encoder("jpeg")(tile) for tile in pixels] if codec == "source" else list(pixels)

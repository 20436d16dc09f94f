"""Tiles in memory, and batches of them on the device."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.nets.device import Compute

IN_MEMORY_BYTES = 4 << 30
"""Above this, decoded tiles go to an unlinked temporary file that the system pages in and out."""


@dataclass(frozen=True)
class Normalisation:
    """Zero-centring per channel after scaling to 0..1 (R26): ``(x / 255 - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Normalisation:
        """Measure images (n, h, w, 3); give training tiles only."""
        # every 4th pixel in x and y is plenty for three means
        sample = images[:, ::4, ::4].reshape(-1, 3).astype(np.float64) / 255.0
        mean, std = sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-3)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))


def load_images(store: TileStore, table: TileTable) -> NDArray[np.uint8]:
    """Decode every tile of `table` once: (n, tile_px, tile_px, 3) uint8 in table order."""
    side = store.spec.tile_px
    shape = (table.n, side, side, 3)
    if int(np.prod(shape)) <= IN_MEMORY_BYTES:
        images: NDArray[np.uint8] = np.empty(shape, dtype=np.uint8)
    else:
        with tempfile.TemporaryFile(dir=Path(store.path).parent) as file:
            images = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
    for index, slide in enumerate(table.slides):
        here = np.flatnonzero(table.slide == index)
        images[here] = store.images(slide, table.row[here])
    return images


class Batches:
    """Normalised batches (b, 3, h, w) of `images` on a device."""

    def __init__(self, images: NDArray[np.uint8], normalisation: Normalisation, compute: Compute) -> None:
        self._images = images
        self._compute = compute
        options: dict[str, Any] = {"device": compute.device, "dtype": torch.float32}
        self._mean = torch.tensor(normalisation.mean, **options).view(1, 3, 1, 1) * 255.0
        self._scale = 1.0 / (torch.tensor(normalisation.std, **options).view(1, 3, 1, 1) * 255.0)

    def __call__(self, rows: Rows, turn: NDArray[np.integer[Any]] | None = None) -> Tensor:
        """Return tiles `rows`, each turned by its element (0 to 7) of the square's symmetries if `turn` is given."""
        tiles = self._images[rows]
        if turn is not None:
            tiles = np.stack([_turned(tile, int(t)) for tile, t in zip(tiles, turn, strict=True)])
        batch = torch.from_numpy(tiles).to(self._compute.device, non_blocking=True).permute(0, 3, 1, 2)
        batch = (batch.float() - self._mean) * self._scale
        return batch.contiguous(memory_format=self._compute.memory_format)


def _turned(tile: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    turned = np.rot90(tile, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned

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

from w2wpath.config import NetSettings
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.nets.device import Compute, choose_compute

IN_MEMORY_BYTES = 4 << 30
"""Above this, decoded tiles go to an unlinked temporary file that the system pages in and out."""


CHUNK = 1024
"""Tiles that are measured at a time."""


@dataclass(frozen=True)
class Normalisation:
    """Zero-centring per channel after scaling to 0..1 (R26): ``(x / 255 - mean) / std``."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, images: NDArray[np.uint8], rows: Rows, *, standardise: bool = True) -> Normalisation:
        """Measure tiles `rows` of images (n, h, w, 3): those of training, since nothing may be learned from others.

        Without `standardise` only the mean is subtracted: `std` is 1 (R26).
        """
        counts = np.zeros((3, 256))
        for i in range(0, len(rows), CHUNK):
            # every 4th pixel in x and y is plenty for three means
            sample = images[rows[i : i + CHUNK], ::4, ::4].reshape(-1, 3)
            counts += [np.bincount(channel, minlength=256) for channel in sample.T]
        share, level = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255.0
        mean = share @ level
        std = np.sqrt((share * (level - mean[:, None]) ** 2).sum(axis=1)) if standardise else np.ones(3)
        red, green, blue = zip(mean.tolist(), np.maximum(std, 1e-3).tolist(), strict=True)
        return cls(*zip(red, green, blue, strict=True))


def load_images(store: TileStore, table: TileTable, planted: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Decode every tile of `table` once: (n, tile_px, tile_px, 3) uint8 in table order, then the images `planted`."""
    side = store.spec.tile_px
    more = 0 if planted is None else len(planted)
    shape = (table.n + more, side, side, 3)
    if int(np.prod(shape)) <= IN_MEMORY_BYTES:
        images: NDArray[np.uint8] = np.empty(shape, dtype=np.uint8)
    else:
        with tempfile.TemporaryFile(dir=Path(store.path).parent) as file:
            images = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
    for index, slide in enumerate(table.slides):
        here = np.flatnonzero(table.slide == index)
        images[here] = store.images(slide, table.row[here])
    if planted is not None:
        images[table.n :] = planted
    return images


@dataclass(frozen=True)
class Tiles:
    """What every network of one command shares: decoded tiles, classes, settings, device."""

    images: NDArray[np.uint8]
    n_classes: int
    settings: NetSettings
    compute: Compute

    @classmethod
    def of(
        cls,
        store: TileStore,
        table: TileTable,
        settings: NetSettings,
        planted: NDArray[np.uint8] | None = None,
        *,
        device_index: int | None = None,
    ) -> Tiles:
        """Decode the tiles of `table` and choose the device.

        Parameters
        ----------
        planted
            Images (p, tile_px, tile_px, 3) that become rows behind the table's.
        device_index
            Which of several CUDA devices to take, in turn.
        """
        compute = choose_compute(settings.device, settings.precision, device_index)
        return cls(load_images(store, table, planted), len(table.classes), settings, compute)

    @property
    def tile_px(self) -> int:
        """Side of a tile in pixels."""
        return int(self.images.shape[1])


class Batches:
    """Normalised batches (b, 3, h, w) of `images` on a device."""

    def __init__(self, images: NDArray[np.uint8], normalisation: Normalisation, compute: Compute) -> None:
        self._images = images
        self._compute = compute
        options: dict[str, Any] = {"device": compute.device, "dtype": torch.float32}
        self._mean = torch.tensor(normalisation.mean, **options) * 255.0
        self._scale = 1.0 / (torch.tensor(normalisation.std, **options) * 255.0)

    def __call__(self, rows: Rows) -> Tensor:
        """Return tiles `rows`, normalised."""
        return self.normalised(self.uploaded(torch.from_numpy(np.asarray(self._images[rows]))))

    def uploaded(self, tiles: Tensor) -> Tensor:
        """Copy `tiles` to the device; from page-locked memory this does not wait for it."""
        return tiles.to(self._compute.device, non_blocking=True)

    def normalised(self, tiles: Tensor) -> Tensor:
        """Normalise tiles (b, h, w, 3) on the device, 0 to 255."""
        b, h, w, channels = tiles.shape
        # whole rows of pixels, since three channels are too few for the vectors of a CPU
        wide = tiles.reshape(b, h, w * channels).float()
        wide = (wide - self._mean.repeat(w)).mul_(self._scale.repeat(w))
        batch = wide.view(b, h, w, channels).permute(0, 3, 1, 2)
        return batch.contiguous(memory_format=self._compute.memory_format)

"""A store's tiles as a torch data set: random access from any number of loader processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from w2wpath.tiles.codecs import Pixels
from w2wpath.tiles.shards import Opener, keep_open
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.tiles.table import damage


class TileDataset(Dataset[tuple[Any, int]]):
    """Tiles and labels: ``(uint8 tensor (3, tile_px, tile_px) RGB, label)``, label -1 where a tile has none.

    Pickled or forked, it opens its own files: a ``DataLoader`` may start its workers either way. Memory does not grow
    with the pixels; at most 128 files are open at a time.

    Parameters
    ----------
    store, table
        The store and its table, or a part of the table.
    rows
        Rows of `table` that the data set holds, in this order; None means all.
    transform
        Applied to each tensor, as in torchvision.
    """

    def __init__(
        self,
        store: TileStore,
        table: TileTable,
        rows: NDArray[np.integer[Any]] | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        wanted = np.arange(table.n) if rows is None else np.asarray(rows)
        self._path, self._spec = Path(store.path).absolute(), store.spec
        self._slides = table.slides
        self._slide, self._row = table.slide[wanted], table.row[wanted]
        self.labels: NDArray[np.int16] = table.label[wanted]
        """Labels (n,) int16 in the order of the data set, for samplers; they index ``table.classes``."""
        self.classes = table.classes
        self.transform = transform
        self._close()

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return one tile and its label.

        Raises
        ------
        IndexError
            There is no such tile.
        StoreError
            The store is damaged.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """Return many tiles and labels in one go, as ``DataLoader`` asks for a batch; otherwise as one."""
        at = np.asarray(indices, dtype=np.intp)
        px = self._spec.tile_px
        images: NDArray[np.uint8] = np.empty((len(at), px, px, 3), dtype=np.uint8)
        for slide, row, image in zip(self._slide[at].tolist(), self._row[at].tolist(), images, strict=True):
            with damage(self._path, self._slides[slide]):
                self._of(slide).decode(row, image)
        tensors = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        shown = tensors if self.transform is None else map(self.transform, tensors)
        return list(zip(shown, self.labels[at].tolist(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_opened", "_pixels")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._close()

    def _close(self) -> None:
        self._opened: Opener = keep_open()
        self._pixels: dict[int, Pixels] = {}

    def _of(self, slide: int) -> Pixels:
        found = self._pixels.get(slide)
        if found is None:
            store = TileStore(self._path, self._spec)
            found = self._pixels[slide] = store.pixels(self._slides[slide], self._opened)
        return found

"""Batches prepared ahead, so that the network never waits for pixels."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from w2wpath.w2wnet.learner import Rows

AHEAD = 2
"""Batches that are ready, or being made ready, while the network works on another."""


class Feeder:
    """Yields tiles of `images` (n, h, w, 3) uint8, batch by batch. Batches do not depend on how they are prepared.

    Parameters
    ----------
    workers
        0 prepares batches in a thread, which a copy in memory does not need more than; else so many processes, which
        pay where `images` is a file on a slow disk. On Linux they share `images`; elsewhere each receives a copy.
    pin
        Put batches into page-locked memory, from where a CUDA device copies while it computes.

    Attributes
    ----------
    waited_s
        Seconds that the consumer has waited for batches so far.
    """

    def __init__(self, images: NDArray[np.uint8], *, workers: int, pin: bool) -> None:
        self._images, self._workers, self._pin = images, workers, pin
        self.waited_s = 0.0

    def __call__(self, batches: Sequence[Rows]) -> Generator[Tensor, None, None]:
        """Yield a tensor (len(rows), h, w, 3) uint8 for each of `batches`.

        Close the generator if you stop before its end: its thread or processes end then. What goes wrong in them is
        raised here.
        """
        source: Iterator[Tensor]
        if len(batches) < 2:
            source = map(self._gather, batches)
        elif self._workers:
            source = iter(self._loader(batches))
        else:
            source = self._in_thread(batches)
        try:
            for _ in batches:
                began = time.perf_counter()
                tiles = next(source)
                self.waited_s += time.perf_counter() - began
                yield tiles
        finally:
            # a generator closes; a loader's iterator ends its processes only when collected, which an error that
            # refers to it delays, unless this is called
            end = getattr(source, "close", None) or getattr(source, "_shutdown_workers", None)
            if end is not None:
                end()

    def _gather(self, rows: Rows) -> Tensor:
        tiles = torch.from_numpy(np.asarray(self._images[rows]))
        return tiles.pin_memory() if self._pin else tiles

    def _in_thread(self, batches: Sequence[Rows]) -> Generator[Tensor, None, None]:
        with ThreadPoolExecutor(1, thread_name_prefix="w2wpath-feeder") as pool:
            ahead = deque(pool.submit(self._gather, rows) for rows in batches[:AHEAD])
            try:
                for i in range(len(batches)):
                    tiles = ahead.popleft().result()
                    if i + AHEAD < len(batches):
                        ahead.append(pool.submit(self._gather, batches[i + AHEAD]))
                    yield tiles
            finally:
                for waiting in ahead:
                    waiting.cancel()

    def _loader(self, batches: Sequence[Rows]) -> DataLoader[Any]:
        return DataLoader(
            _Gathered(self._images),
            batch_sampler=[rows.tolist() for rows in batches],
            num_workers=self._workers,
            collate_fn=_as_it_is,
            pin_memory=self._pin,
            # the loader would otherwise draw a seed from the global generator
            generator=torch.Generator(),
            multiprocessing_context="fork" if sys.platform == "linux" else None,
        )


class _Gathered(Dataset[Any]):
    """Hands out whole batches."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images

    def __getitems__(self, rows: list[int]) -> Tensor:
        return torch.from_numpy(np.asarray(self._images[rows]))


def _as_it_is(tiles: Any) -> Any:
    return tiles

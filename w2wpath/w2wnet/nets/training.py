"""Train Wise and Wiped on tiles of a store: the learners that the core is handed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.progress import Progress, Silent
from w2wpath.tiles.distribute import worker_number
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.network import Network

__all__ = ["Network", "Tiles", "WipedFitter", "WiseLearner", "Wises"]


class WiseLearner:
    """Starts Wise networks: the backbone with MC dropout."""

    def __init__(self, tiles: Tiles, progress: Progress | None = None) -> None:
        self._tiles = tiles
        self._progress = progress or Silent()

    @property
    def where(self) -> str:
        """Device and precision, for people."""
        device, precision = str(self._tiles.compute).split(", ")
        return f"{device} ({precision})"

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Network:
        """Begin a fresh Wise on training `rows`."""
        epochs = self._tiles.settings.max_epochs
        say = self._progress.say
        return Network(self._tiles, rows, labels, seed, bayesian=True, epochs=epochs, name="Wise", say=say)


@dataclass(frozen=True)
class Wises:
    """Makes Wise learners for tables of one store, here or, since it can be pickled, in another process.

    Attributes
    ----------
    threads
        Of torch on a CPU; None leaves them as they are.
    progress
        Cannot go to another process.
    """

    store: Path
    settings: NetSettings
    threads: int | None = None
    progress: Progress | None = None

    def __call__(self, table: TileTable, planted: NDArray[np.uint8] | None = None) -> WiseLearner:
        """Decode the tiles of `table` and the `planted` images behind them; worker k takes the k-th CUDA device."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        store = TileStore.open(self.store)
        tiles = Tiles.of(store, table, self.settings, planted, device_index=worker_number())
        return WiseLearner(tiles, self.progress)


class WipedFitter:
    """Trains Wiped networks: the same backbone without dropout, from new random weights (R21)."""

    def __init__(self, tiles: Tiles, progress: Progress | None = None) -> None:
        self._tiles = tiles
        self._progress = progress or Silent()

    def fit(self, rows: Rows, labels: NDArray[np.int16], seed: int, epochs: int, what: str = "Wiped") -> Network:
        """Train a deterministic network on `rows`.

        Raises
        ------
        NonFiniteScoreError
            The training diverged.
        """
        say = self._progress.say
        network = Network(self._tiles, rows, labels, seed, bayesian=False, epochs=epochs, name=what, say=say)
        with self._progress.track(what, epochs) as step:
            for epoch in range(epochs):
                said = network.epoch()
                right = float("nan") if said is None else float((said.argmax(axis=1) == labels).mean())
                step(1, f"epoch {epoch + 1}, training accuracy {right:.3f}")
        return network

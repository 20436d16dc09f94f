"""Train Wise and Wiped on tiles of a store: the learners that the core is handed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2wpath.progress import Progress, Silent
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.network import Network

__all__ = ["Network", "Tiles", "WipedFitter", "WiseLearner"]


class WiseLearner:
    """Starts Wise networks: the backbone with MC dropout."""

    def __init__(self, tiles: Tiles, progress: Progress | None = None) -> None:
        self._tiles = tiles
        self._progress = progress or Silent()

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Network:
        """Begin a fresh Wise on training `rows`."""
        epochs = self._tiles.settings.max_epochs
        say = self._progress.say
        return Network(self._tiles, rows, labels, seed, bayesian=True, epochs=epochs, name="Wise", say=say)


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

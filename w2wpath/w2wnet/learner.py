"""What the core needs of a network: NumPy in, NumPy out. The torch island implements it; tests fake it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileTable

Rows = NDArray[np.intp]


class Run(Protocol):
    """One Wise in training."""

    def epoch(self) -> NDArray[np.float32] | None:
        """Train one epoch; return what the training forwards said of each training row (n, k), None if untracked."""
        ...

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        """Return one MC pass (len(rows), k): dropout active, everything else as in inference."""
        ...

    def state(self) -> bytes:
        """Return weights, optimiser and random state."""
        ...

    def load(self, state: bytes) -> None:
        """Return to what `state` said."""
        ...


class Learner(Protocol):
    """Starts Wise networks on tiles of one table."""

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Run:
        """Begin a fresh network on training `rows` with `labels` (len(rows),)."""
        ...


class LearnerFor(Protocol):
    """Makes the learner for a table of tiles. A learner may say in an attribute ``where`` on what it computes."""

    def __call__(self, table: TileTable, planted: NDArray[np.uint8] | None = None, /) -> Learner:
        """Make it; the rows of the images `planted` (b, px, px, 3) come behind the table's."""
        ...


class Classifier(Protocol):
    """A trained deterministic network."""

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Return probabilities (len(rows), k)."""
        ...


class ClassifierFitter(Protocol):
    """Trains deterministic networks (Wiped, or a plain baseline) on tiles of one table."""

    def fit(self, rows: Rows, labels: NDArray[np.int16], seed: int, epochs: int) -> Classifier:
        """Train on `rows` with `labels` for `epochs`."""
        ...

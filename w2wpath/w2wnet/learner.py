"""What the core needs of a network: NumPy in, NumPy out. The torch island implements it; tests fake it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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


LearnerFor = Callable[..., Learner]
"""Makes the learner for a table of tiles: called with the table and, where controls are planted, with their images
(p, h, w, 3), which the learner counts as the rows behind the table's. A learner may say in an attribute ``where`` on
which device it works."""

"""Trackers: what the stop rule follows from epoch to epoch (method S2, S3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.w2wnet.learner import Rows, Run
from w2wpath.w2wnet.uncertainty import Floats, MCStats, MovingAverage, check_probs

Arrays = Mapping[str, NDArray[Any]]


class Tracker(Protocol):
    """Follows the probabilities of the training tiles while a Wise trains."""

    every: int
    """Epochs from one measurement to the next."""

    @property
    def mean_nk(self) -> Floats:
        """The last measurement (n, k)."""
        ...

    def after_epoch(self, run: Run, said_nk: NDArray[np.float32] | None) -> bool:
        """Take one epoch, whose training forwards said `said_nk`; return whether there is a new measurement."""
        ...

    def state(self) -> Arrays:
        """Return what a checkpoint needs."""
        ...

    def load(self, arrays: Arrays) -> None:
        """Return to what `state` said."""
        ...


class EmaTracker:
    """Moving average of the training forwards: costs no pass. Indexed by training row."""

    every = 1

    def __init__(self, rows: Rows, decay: float) -> None:
        self._n, self._average = len(rows), MovingAverage(decay)

    @property
    def mean_nk(self) -> Floats:
        """The average (n, k) after the last epoch."""
        return self._average.mean_nk

    def after_epoch(self, run: Run, said_nk: NDArray[np.float32] | None) -> bool:
        """Add what the training forwards said.

        Raises
        ------
        ValueError
            The learner does not track them.
        """
        if said_nk is None:
            raise ValueError("this learner does not track its training forwards; use tracker 'exact'")
        check_probs(said_nk, self._n)
        self._average.add(said_nk)
        return True

    def state(self) -> Arrays:
        """Return the running sum and the number of epochs."""
        return self._average.state()

    def load(self, arrays: Arrays) -> None:
        """Go on from a checkpoint."""
        self._average = MovingAverage.from_state(self._average.decay, arrays)


class ExactTracker:
    """`draws` MC passes over the training tiles after every `every`-th epoch (R8)."""

    def __init__(self, rows: Rows, n_classes: int, draws: int, every: int) -> None:
        self.every = every
        self._rows, self._k, self._draws = rows, n_classes, draws
        self._epochs = 0
        self._mean_nk: Floats | None = None

    @property
    def mean_nk(self) -> Floats:
        """Mean (n, k) of the last passes."""
        if self._mean_nk is None:
            raise ValueError("no exact measurement yet")
        return self._mean_nk

    def after_epoch(self, run: Run, said_nk: NDArray[np.float32] | None) -> bool:
        """Draw, if the epoch's turn has come."""
        self._epochs += 1
        if self._epochs % self.every:
            return False
        stats = MCStats(len(self._rows), self._k)
        for _ in range(self._draws):
            stats.add(run.draw(self._rows))
        self._mean_nk = stats.mean_nk
        return True

    def state(self) -> Arrays:
        """Return the last measurement and the number of epochs."""
        measured = {} if self._mean_nk is None else {"mean_nk": self._mean_nk}
        return {"epochs": np.array(self._epochs), **measured}

    def load(self, arrays: Arrays) -> None:
        """Go on from a checkpoint."""
        self._epochs = int(arrays["epochs"])
        self._mean_nk = arrays.get("mean_nk")


def make_tracker(settings: NetSettings, rows: Rows, n_classes: int) -> Tracker:
    """Make the tracker that the settings name."""
    if settings.tracker == "ema":
        return EmaTracker(rows, settings.ema_decay)
    return ExactTracker(rows, n_classes, settings.draws, settings.track_every)

"""How long cleaning will take, from one epoch on a few tiles."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.w2wnet.learner import Learner

SAMPLE = 256
"""Most tiles of the measured epoch."""
WARM_UP = 64
"""Tiles of an epoch before it, which pays what only the first pays; where it is slow already, it is taken as it is."""
SLOW_S = 2.0


@dataclass(frozen=True)
class Pace:
    """Seconds for one tile: of an epoch, and of an MC pass."""

    epoch_s: float
    draw_s: float

    def fold_s(self, train: int, test: int, settings: NetSettings, done: int = 0) -> float:
        """Return the most seconds of a fold of so many training and test tiles, of whose epochs `done` are over."""
        epochs = settings.max_epochs - done
        passes = settings.draws * (1 + (epochs // settings.track_every if settings.tracker == "exact" else 0))
        return train * (epochs * self.epoch_s + passes * self.draw_s) + test * settings.draws * self.draw_s


def measure_pace(learner: Learner, rows: NDArray[np.intp], labels: NDArray[np.int16], seed: int) -> Pace:
    """Train one epoch and draw once on at most SAMPLE of `rows`."""
    for most in (WARM_UP, SAMPLE):
        at = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.intp))
        pace, took = _timed(learner, rows[at], labels[at], seed)
        if took > SLOW_S:
            break
    return pace


def all_folds_s(fold_s: Mapping[int, float], workers: int = 1) -> float:
    """Return the seconds of folds of which `workers` are worked on at a time."""
    if not fold_s:
        return 0.0
    rounds = -(-len(fold_s) // max(1, workers))
    return sum(fold_s.values()) / len(fold_s) * rounds


def in_words(seconds: float) -> str:
    """Return a time to be read at a glance."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 90 else f"about {minutes // 60} h {minutes % 60:02d} min"


def _timed(learner: Learner, rows: NDArray[np.intp], labels: NDArray[np.int16], seed: int) -> tuple[Pace, float]:
    run = learner.start(rows, labels, seed)
    began = time.perf_counter()
    run.epoch()
    trained = time.perf_counter()
    run.draw(rows)
    ended = time.perf_counter()
    return Pace((trained - began) / len(rows), (ended - trained) / len(rows)), ended - began

"""How long cleaning will take, from one epoch on a few tiles."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.w2wnet.folds import sides
from w2wpath.w2wnet.learner import Learner, LearnerFor
from w2wpath.w2wnet.plan import Plan

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
        measured = epochs // settings.track_every if settings.tracker == "exact" else 0
        passes = settings.draws * (train * (1 + measured) + test)
        return train * epochs * self.epoch_s + passes * self.draw_s


@dataclass(frozen=True)
class Estimate:
    """The most seconds that work takes, and where, if that is known."""

    seconds: float
    where: str

    def __str__(self) -> str:
        """Return it to be read at a glance."""
        return f"{in_words(self.seconds)}{f' on {self.where}' if self.where else ''}"


def estimate(
    plan: Plan,
    learner_for: LearnerFor,
    folds: Sequence[int],
    *,
    done: Mapping[int, int] | None = None,
    workers: int = 1,
) -> Estimate:
    """Measure a little, and tell how long `folds` take at most.

    Parameters
    ----------
    done
        Epochs of a fold that are over.
    workers
        Folds that are worked on at a time.
    """
    rows = plan.rows[np.unique(np.linspace(0, len(plan.rows) - 1, min(SAMPLE, len(plan.rows))).astype(np.intp))]
    sample = plan.table.take(rows)
    learner = learner_for(sample)
    pace = measure_pace(learner, sample.label, plan.settings.seed)
    seconds = []
    for k in folds:
        train, test = sides(plan.fold_n, k)
        seconds.append(pace.fold_s(len(train), len(test), plan.settings, (done or {}).get(k, 0)))
    return Estimate(rounds(seconds, workers), getattr(learner, "where", ""))


def measure_pace(learner: Learner, labels: NDArray[np.int16], seed: int) -> Pace:
    """Train one epoch on the tiles of a learner, which has a label (n,) for each, and draw over them once."""
    everything = np.arange(len(labels))
    first = everything[:: max(1, len(labels) // WARM_UP)]
    pace, took = _timed(learner, first, labels[first], seed)
    return pace if took > SLOW_S else _timed(learner, everything, labels, seed)[0]


def rounds(fold_s: Sequence[float], workers: int) -> float:
    """Return the seconds of folds of which `workers` are worked on at a time."""
    turns = -(-len(fold_s) // max(1, workers))
    return sum(fold_s) / max(1, len(fold_s)) * turns


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

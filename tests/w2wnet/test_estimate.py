"""The time that cleaning takes, told before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, FakeLearner, FakeRun, Heard, shown
from w2wpath.config import NetSettings
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import prepare, run_folds
from w2wpath.w2wnet.estimate import SAMPLE, SLOW_S, WARM_UP, Estimate, Pace, estimate, in_words, measure_pace, rounds
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.plan import make_plan


@dataclass
class SlowRun(FakeRun):
    """Takes a millisecond for a tile of an epoch, and half of that in a pass."""

    def epoch(self) -> np.ndarray | None:
        time.sleep(0.001 * len(self.rows))
        self.epochs += 1
        return super().draw(self.rows)

    def draw(self, rows: Rows) -> np.ndarray:
        time.sleep(0.0005 * len(rows))
        return super().draw(rows)


class SlowLearner(FakeLearner):
    where = "cpu (fp32)"

    def start(self, rows: Rows, labels: np.ndarray, seed: int) -> SlowRun:
        return SlowRun(**vars(super().start(rows, labels, seed)))


def test_the_time_of_a_fold_is_that_of_its_epochs_and_passes() -> None:
    pace = Pace(epoch_s=0.01, draw_s=0.001)
    ema = NetSettings(max_epochs=10, draws=5)
    assert pace.fold_s(100, 50, ema) == pytest.approx(100 * 10 * 0.01 + 150 * 5 * 0.001)
    assert pace.fold_s(100, 50, ema, done=4) == pytest.approx(100 * 6 * 0.01 + 150 * 5 * 0.001)
    exact = NetSettings(max_epochs=10, draws=5, tracker="exact", track_every=2)
    assert pace.fold_s(100, 50, exact) == pytest.approx(100 * 10 * 0.01 + (150 + 5 * 100) * 5 * 0.001)


@pytest.mark.parametrize(("workers", "turns"), [(1, 5), (2, 3), (5, 1), (8, 1)])
def test_folds_at_the_same_time_take_as_long_as_their_turns(workers: int, turns: int) -> None:
    assert rounds([60.0] * 5, workers) == turns * 60


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "about 1 s"),
        (89, "about 89 s"),
        (90, "about 2 min"),
        (21.4 * 60, "about 21 min"),
        (89.4 * 60, "about 89 min"),
        (90 * 60, "about 1 h 30 min"),
        (27 * 3600 + 300, "about 27 h 05 min"),
    ],
)
def test_times_are_said_to_be_read_at_a_glance(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_an_estimate_says_where() -> None:
    assert str(Estimate(21 * 60, "cpu (bf16)")) == "about 21 min on cpu (bf16)"
    assert str(Estimate(21 * 60, "")) == "about 21 min"


def test_a_sample_is_measured(store: TileStore) -> None:
    plan = make_plan(store, QUICK)
    made: list[SlowLearner] = []

    def learner_for(table: TileTable) -> SlowLearner:
        made.append(SlowLearner(shown(store, table) if table.n == store.table().n else np.zeros(table.n, dtype=int)))
        return made[-1]

    told = estimate(plan, learner_for, range(3))
    epochs = 3 * QUICK.max_epochs * 60 * 0.001
    passes = 3 * QUICK.draws * 90 * 0.0005
    assert told.seconds == pytest.approx(epochs + passes, rel=0.5)
    assert told.where == "cpu (fp32)"
    assert estimate(plan, learner_for, [0], done={0: 12}).seconds < 0.5 * told.seconds / 3
    (learner,) = made[:1]
    assert [len(rows) for rows, _, _ in learner.started] == [90, 90]


def test_at_most_so_many_tiles_are_measured_and_fewer_where_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = FakeLearner(np.zeros(SAMPLE, dtype=np.int64))
    measure_pace(learner, np.zeros(SAMPLE, dtype=np.int16), 0)
    assert [len(rows) for rows, _, _ in learner.started] == [WARM_UP, SAMPLE]
    monkeypatch.setattr("w2wpath.w2wnet.estimate.SLOW_S", -1.0)
    learner.started.clear()
    measure_pace(learner, np.zeros(SAMPLE, dtype=np.int16), 0)
    assert [len(rows) for rows, _, _ in learner.started] == [WARM_UP]
    assert SLOW_S > 0


def test_the_time_is_said_before_it_starts(store: TileStore) -> None:
    cleaning, heard = prepare(make_plan(store, QUICK), store.path.parent / "clean"), Heard()
    run_folds(cleaning, lambda table: FakeLearner(np.zeros(table.n, dtype=np.int64)), progress=heard, tell_time=True)
    assert heard.lines[0] in [
        f"about {seconds} s, less where a network is stable before epoch 12" for seconds in range(1, 4)
    ]
    run_folds(cleaning, lambda table: FakeLearner(np.zeros(table.n)), progress=heard, tell_time=True)
    assert heard.lines[1:] == [f"fold {k}: taken from the interrupted run {cleaning.run}" for k in (1, 2, 3)]

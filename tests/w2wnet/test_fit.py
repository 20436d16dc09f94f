"""One Wise: why it stops, with which weights, and what it says of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2wnet.conftest import CLASSES, NOISE, QUICK, FakeLearner
from w2wpath.config import NetSettings
from w2wpath.errors import NonFiniteScoreError
from w2wpath.progress import Silent
from w2wpath.w2wnet.fit import WiseFit, draw_exact, fit_wise
from w2wpath.w2wnet.learner import Rows, Run
from w2wpath.w2wnet.stopping import StopRule

N = 60
CONTENT = np.arange(N) % 3
CONTENT[:6] = NOISE
LABELS = (np.arange(N) % 3).astype(np.int16)
LABELS[6:10] = (LABELS[6:10] + 1) % 3
SPURIOUS = CONTENT != LABELS


def fit(learner: object, labels: NDArray[np.int16] = LABELS, settings: NetSettings = QUICK) -> tuple[Run, WiseFit]:
    return fit_wise(learner, np.arange(len(labels)), labels, len(CLASSES), 0, settings, Silent(), "Wise")  # type: ignore[arg-type]


@dataclass
class Scripted:
    """A learner and its run: of the first tiles it is unsure, and their number in each epoch is `doubts`."""

    doubts: Sequence[int]
    labels: NDArray[np.int16] = field(default_factory=lambda: LABELS)
    epochs: int = 0
    drawn_at: list[int] = field(default_factory=list)

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Scripted:
        return self

    def epoch(self) -> NDArray[np.float32] | None:
        self.epochs += 1
        return self.draw(np.arange(N))

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        self.drawn_at.append(self.epochs)
        sure = np.eye(3, dtype=np.float32)[self.labels[rows]]
        return np.where((rows < self.doubts[self.epochs - 1])[:, None], np.float32(1 / 3), sure).astype(np.float32)

    def state(self) -> bytes:
        return str(self.epochs).encode()

    def load(self, state: bytes) -> None:
        self.epochs = int(state)


STEADY_LATE = [5, 40, 5, 40, 6, 6, 6, 7, 40, 5, 40, 5]
"""Never stable below a std of 1e-6, and nearest to it in epochs 5 to 8."""
UNSTABLE = QUICK.model_copy(update={"std_below": 1e-6, "median_window": 1, "ema_decay": 0.0})


def test_a_learner_that_settles_is_stable_and_its_spurious_tiles_are_found() -> None:
    _, wise = fit(FakeLearner(CONTENT))
    assert wise.stop.reason == "stable"
    assert wise.stop.epoch == len(wise.stop.deltas) < QUICK.max_epochs
    assert np.array_equal(wise.excluded_n, SPURIOUS)
    assert np.array_equal(wise.excluded_n, wise.score_n > wise.boundary)


def test_the_threshold_is_the_mean_uncertainty_of_the_uncertain_tiles() -> None:
    _, wise = fit(FakeLearner(CONTENT))
    assert wise.threshold == pytest.approx(wise.u_n[CONTENT == NOISE].mean())


def test_with_label_weight_0_the_label_is_not_read() -> None:
    _, wise = fit(FakeLearner(CONTENT), settings=QUICK.model_copy(update={"label_weight": 0.0}))
    assert np.array_equal(wise.excluded_n, CONTENT == NOISE)


def test_the_rule_of_the_record_is_the_stop_rule() -> None:
    _, wise = fit(FakeLearner(CONTENT))
    rule = StopRule(QUICK.median_window, QUICK.std_window, QUICK.std_below)
    fired = [rule.add(delta) for delta in wise.stop.deltas]
    assert fired == [False] * (len(fired) - 1) + [True]
    assert np.array_equal(wise.stop.medians, rule.medians, equal_nan=True)
    assert np.array_equal(wise.stop.stds, rule.stds, equal_nan=True)


def test_a_learner_that_never_settles_goes_back_to_its_steadiest_epoch() -> None:
    learner = Scripted(STEADY_LATE)
    run, wise = fit(learner, settings=UNSTABLE)
    assert (wise.stop.reason, wise.stop.epoch) == ("max_epochs", 8)
    assert np.nanargmin(wise.stop.stds) + 1 == 8
    assert len(wise.stop.deltas) == QUICK.max_epochs
    assert learner.drawn_at == [*range(1, 13), *[8] * QUICK.draws]
    assert run.state() == b"8"


def test_the_split_is_that_of_the_steadiest_epoch_too() -> None:
    _, wise = fit(Scripted(STEADY_LATE), settings=UNSTABLE)
    assert np.array_equal(wise.excluded_n, np.arange(N) < 7)


def test_too_few_epochs_for_a_std_end_with_the_last() -> None:
    learner = Scripted([5, 6, 7])
    _, wise = fit(learner, settings=UNSTABLE.model_copy(update={"max_epochs": 3}))
    assert (wise.stop.reason, wise.stop.epoch) == ("max_epochs", 3)
    assert np.isnan(wise.stop.stds).all()
    assert learner.drawn_at == [1, 2, 3, *[3] * QUICK.draws]


@dataclass
class Constant(FakeLearner):
    """Says the same of every tile."""

    probs: tuple[float, ...] = (0.4, 0.3, 0.3)

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Constant:
        return self

    def epoch(self) -> NDArray[np.float32] | None:
        return self.draw(np.arange(N))

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        return np.tile(np.array(self.probs, dtype=np.float32), (len(rows), 1))

    def state(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        raise AssertionError("a constant is stable, so nothing is loaded")


def test_a_network_that_learned_nothing_excludes_nothing_and_masks_nothing() -> None:
    _, wise = fit(Constant(CONTENT))
    assert wise.stop.reason == "degenerate"
    assert wise.stop.epoch == QUICK.median_window + QUICK.std_window - 1
    assert not wise.excluded_n.any()
    assert wise.threshold == 1.0


def test_labels_that_are_all_random_are_degenerate() -> None:
    # K6: the network sees classes, but which label a tile bears has nothing to do with them
    shares = []
    for seed in range(10):
        labels = np.random.default_rng(seed).integers(0, 3, N).astype(np.int16)
        _, wise = fit(FakeLearner((np.arange(N) // 20 + 1) % 3), labels)
        accuracy, guess = (wise.mean_nk.argmax(axis=1) == labels).mean(), np.bincount(labels).max() / N
        assert (wise.stop.reason == "degenerate") == (accuracy <= guess)
        assert wise.stop.reason != "degenerate" or not wise.excluded_n.any()
        shares.append(wise.stop.reason == "degenerate")
    # by luck a guess may beat the largest class; most do not
    assert np.mean(shares) > 0.5


def test_a_diverged_network_is_said_in_words() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        fit(Constant(CONTENT, probs=(np.nan, 0.5, 0.5)))
    assert str(caught.value) == (
        "the network gave no finite probabilities for 60 of 60 tiles: its training diverged. "
        "Lower --lr, or use --precision fp32."
    )


class Untracked(Constant):
    def epoch(self) -> NDArray[np.float32] | None:
        return None


def test_a_learner_that_tracks_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="track") as caught:
        fit(Untracked(CONTENT))
    assert str(caught.value) == ("this learner does not track its training forwards; the moving average needs them")


def test_exact_statistics_are_those_of_all_draws() -> None:
    run = FakeLearner(CONTENT).start(np.arange(N), LABELS, 3)
    again = FakeLearner(CONTENT).start(np.arange(N), LABELS, 3)
    stats = draw_exact(run, np.arange(10, 20), 3, 7, Silent(), "")
    assert stats.draws == 7
    assert np.allclose(stats.mean_nk, np.mean([again.draw(np.arange(10, 20)) for _ in range(7)], axis=0))


def test_the_same_seed_gives_the_same_fit() -> None:
    one, other = fit(FakeLearner(CONTENT))[1], fit(FakeLearner(CONTENT))[1]
    assert np.array_equal(one.score_n, other.score_n)
    assert (one.boundary, one.threshold) == (other.boundary, other.threshold)

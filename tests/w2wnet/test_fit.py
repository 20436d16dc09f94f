"""One Wise: why it stops, with which weights, and what it says of its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given as given_
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.w2wnet.conftest import CLASSES, NOISE, QUICK, FakeLearner
from w2wpath.config import NetSettings
from w2wpath.errors import NonFiniteScoreError
from w2wpath.progress import Silent
from w2wpath.w2wnet.fit import WiseFit, draw_exact, fit_wise
from w2wpath.w2wnet.learner import Rows, Run
from w2wpath.w2wnet.split import two_means
from w2wpath.w2wnet.stopping import StopRule
from w2wpath.w2wnet.uncertainty import gini, label_quality

N = 60
CONTENT = np.arange(N) % 3
CONTENT[:6] = NOISE
LABELS = (np.arange(N) % 3).astype(np.int16)
CONTENTS = LABELS.copy()
"""Labels of which every class has as many."""
LABELS[6:10] = (LABELS[6:10] + 1) % 3
SPURIOUS = CONTENT != LABELS

RAW = QUICK.model_copy(update={"balanced": False})
"""Settings with which what a learner says is what decides, so that it can be reckoned."""


def fit(learner: object, labels: NDArray[np.int16] = LABELS, settings: NetSettings = RAW) -> tuple[Run, WiseFit]:
    return fit_wise(learner, np.arange(len(labels)), labels, len(CLASSES), 0, settings, Silent(), "Wise")  # type: ignore[arg-type]


def with_(**changes: object) -> NetSettings:
    return RAW.model_copy(update=changes)


def given(p_n: NDArray[np.float64], labels: NDArray[np.int16] = LABELS) -> NDArray[np.float32]:
    """Probabilities (n, 3) with p_n (n,) for the label and all the rest for the class after it."""
    probs = np.zeros((len(labels), 3))
    probs[np.arange(len(labels)), labels] = p_n
    probs[np.arange(len(labels)), (labels + 1) % 3] = 1 - p_n
    return probs.astype(np.float32)


@dataclass
class Steady:
    """A learner and its run that says the same in every epoch, and something else, if given, in every draw."""

    said: NDArray[np.float32]
    drawn: NDArray[np.float32] | None = None

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Steady:
        return self

    def epoch(self) -> NDArray[np.float32] | None:
        return self.said

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        return (self.said if self.drawn is None else self.drawn)[rows]

    def state(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None:
        raise AssertionError("what is steady is stable, so nothing is loaded")


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
        return self._say(np.arange(N))

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        self.drawn_at.append(self.epochs)
        return self._say(rows)

    def _say(self, rows: Rows) -> NDArray[np.float32]:
        sure = np.eye(3, dtype=np.float32)[self.labels[rows]]
        return np.where((rows < self.doubts[self.epochs - 1])[:, None], np.float32(1 / 3), sure).astype(np.float32)

    def state(self) -> bytes:
        return str(self.epochs).encode()

    def load(self, state: bytes) -> None:
        self.epochs = int(state)


STEADY_LATE = [5, 40, 5, 40, 6, 6, 6, 7, 40, 5, 40, 5]
"""Never stable below a std of 1e-6, and nearest to it in epochs 5 to 8."""
UNSTABLE = QUICK.model_copy(update={"std_below": 1e-6, "median_window": 1, "ema_decay": 0.0})


# what excludes ------------------------------------------------------------------------------------------------------


def test_a_learner_that_settles_is_stable_and_its_spurious_tiles_are_found() -> None:
    _, wise = fit(FakeLearner(CONTENT))
    assert wise.stop.reason == "stable"
    assert wise.stop.epoch == len(wise.stop.deltas) < QUICK.max_epochs
    assert np.array_equal(wise.excluded_n, SPURIOUS)


def test_severity_is_above_1_exactly_where_a_tile_is_excluded() -> None:
    _, wise = fit(FakeLearner(CONTENT, sure=6.0), settings=with_(std_below=10.0))
    doubted = wise.tracked_nk[np.arange(N), LABELS] < 0.5
    assert np.array_equal(wise.severity_n > 1, wise.excluded_n)
    assert np.array_equal(wise.severity_n > 1, (wise.score_n > wise.boundary) & doubted)
    assert 0 < wise.excluded_n.sum() < N
    assert (wise.severity_n >= 0).all()


P_OF_LABEL = np.repeat([0.98, 0.6, 0.2], [40, 10, 10])
"""Mean probability of the label: two-means takes the last twenty tiles together."""


@pytest.mark.parametrize(
    ("doubt_below", "excluded"), [(None, 20), (0.1, 0), (0.5, 10), (0.6, 10), (0.7, 20), (1.0, 20)]
)
def test_of_the_high_cluster_only_doubted_labels_are_excluded(doubt_below: float | None, excluded: int) -> None:
    _, wise = fit(Steady(given(P_OF_LABEL)), settings=with_(doubt_below=doubt_below))
    assert (wise.score_n > wise.boundary).sum() == 20
    assert np.array_equal(wise.excluded_n, np.arange(N) >= N - excluded)
    assert (wise.stop.reason, len(wise.severity_n)) == ("stable", N)


def test_the_label_decides_by_its_weight() -> None:
    sure_of_another_class = np.where(np.arange(N) < 10, 0.05, 0.95)
    said = given(sure_of_another_class)
    _, by_label = fit(Steady(said), settings=with_(label_weight=1.0, doubt_below=None))
    assert np.array_equal(by_label.excluded_n, np.arange(N) < 10)
    assert np.allclose(by_label.score_n, 2 * (1 - sure_of_another_class), atol=1e-6)
    _, by_u = fit(Steady(said), settings=with_(label_weight=0.0, doubt_below=None))
    assert np.allclose(by_u.score_n, gini(said))
    assert np.ptp(by_u.score_n) < 1e-6


def test_with_label_weight_0_the_label_is_not_read() -> None:
    paper = with_(label_weight=0.0, doubt_below=None)
    _, wise = fit(FakeLearner(CONTENT), settings=paper)
    assert np.array_equal(wise.excluded_n, CONTENT == NOISE)
    _, other = fit(FakeLearner(CONTENT), np.where(np.arange(N) > 50, 0, LABELS).astype(np.int16), paper)
    assert np.array_equal(wise.severity_n, other.severity_n)
    assert np.array_equal(wise.score_n, other.score_n)


RARE = np.repeat([0, 1], [900, 100]).astype(np.int16)
"""Labels of which one in ten is of the second class."""


def test_a_class_is_not_doubted_for_being_rare() -> None:
    # half of the rare class are plain; the others' looks speak four to one for it, which its rarity outweighs
    likely = np.repeat([[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], [0.01, 0.99, 0.0]], [900, 50, 50], axis=0)
    said = likely * [0.9, 0.1, 0.0]
    said = (said / said.sum(axis=1, keepdims=True)).astype(np.float32)
    _, raw = fit(Steady(said), RARE, with_(doubt_below=None))
    assert np.flatnonzero(raw.excluded_n).tolist() == list(range(900, 950))
    _, wise = fit(Steady(said), RARE, with_(balanced=True))
    assert np.allclose(wise.read_nk, likely, atol=1e-6)
    assert not wise.excluded_n.any()
    assert np.array_equal(wise.tracked_nk, raw.tracked_nk)


@given_(st.integers(0, 99))
def test_where_classes_are_equally_frequent_nothing_changes(seed: int) -> None:
    said = np.random.default_rng(seed).dirichlet([1.0] * 3, N).astype(np.float32)
    (_, raw), (_, wise) = (fit(Steady(said), CONTENTS, with_(balanced=balanced)) for balanced in (False, True))
    assert np.allclose(wise.read_nk, raw.read_nk, atol=1e-12)
    assert np.array_equal(wise.excluded_n, raw.excluded_n)


def test_a_class_that_no_tile_has_is_not_read() -> None:
    labels = (np.arange(N) % 2).astype(np.int16)
    _, wise = fit(Steady(np.full((N, 3), 1 / 3, dtype=np.float32)), labels, with_(balanced=True))
    assert np.allclose(wise.read_nk, [0.5, 0.5, 0.0])


def test_a_valley_that_is_too_shallow_excludes_nothing() -> None:
    _, open_ = fit(Steady(given(P_OF_LABEL)), settings=with_(doubt_below=None))
    _, passed = fit(Steady(given(P_OF_LABEL)), settings=with_(doubt_below=None, min_separation=open_.separation))
    assert np.array_equal(passed.severity_n, open_.severity_n)
    assert 0 < open_.separation < 1
    _, gated = fit(Steady(given(P_OF_LABEL)), settings=with_(doubt_below=None, min_separation=1.0))
    assert not gated.severity_n.any()
    # it still learned something, so that unseen tiles are judged
    assert (gated.stop.reason, gated.threshold) == ("stable", open_.threshold)


def test_the_kmeans_engine_gives_a_valid_split() -> None:
    _, wise = fit(FakeLearner(CONTENT), settings=with_(split="kmeans++"))
    assert np.array_equal(wise.excluded_n, SPURIOUS)
    assert wise.score_n[~SPURIOUS].max() < wise.boundary < wise.score_n[SPURIOUS].min()
    assert wise.threshold > np.median(wise.u_n)
    _, again = fit(FakeLearner(CONTENT), settings=with_(split="kmeans++"))
    assert (wise.boundary, wise.threshold) == (again.boundary, again.threshold)


# what is measured ---------------------------------------------------------------------------------------------------


def test_tracked_and_exact_results_are_both_kept() -> None:
    said = given(np.where(np.arange(N) < 10, 0.1, 0.95))
    drawn = given(np.where(np.arange(N) < 20, 0.3, 0.9))
    _, wise = fit(Steady(said, drawn))
    assert np.allclose(wise.tracked_nk, said)
    assert np.array_equal(wise.score_n, label_quality(wise.tracked_nk, LABELS, 1.0))
    assert np.allclose(wise.mean_nk, drawn)
    assert np.array_equal(wise.u_n, gini(wise.mean_nk))
    assert np.array_equal(wise.exact_score_n, label_quality(wise.mean_nk, LABELS, 1.0))
    # decisions follow the tracker, the threshold the exact passes
    assert wise.boundary == two_means(wise.score_n).boundary
    assert np.array_equal(wise.excluded_n, np.arange(N) < 10)
    assert wise.threshold == two_means(wise.u_n).high == pytest.approx(gini(drawn[:1])[0])


def test_the_threshold_is_the_mean_uncertainty_of_the_uncertain_tiles() -> None:
    _, wise = fit(FakeLearner(CONTENT))
    assert wise.threshold == pytest.approx(wise.u_n[CONTENT == NOISE].mean())


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


# when it stops ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["size", "membership"])
def test_the_traces_of_the_record_are_those_of_the_stop_rule(rule: str) -> None:
    doubts = [5, 40, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6]
    _, wise = fit(Scripted(doubts), settings=with_(ema_decay=0.0, stop_rule=rule, median_window=1))
    again = StopRule(1, QUICK.std_window, QUICK.std_below, rule=rule)
    fired = [again.add(np.arange(N) < doubt) for doubt in doubts[: wise.stop.epoch]]
    assert fired == [False] * (len(fired) - 1) + [True]
    assert wise.stop.reason == "stable"
    for trace in ("deltas", "medians", "stds", "churns"):
        assert np.array_equal(getattr(wise.stop, trace), getattr(again, trace), equal_nan=True)


@pytest.mark.parametrize(("rule", "reason"), [("size", "stable"), ("membership", "max_epochs")])
def test_equal_sizes_with_other_members_are_stable_by_size_alone(rule: str, reason: str) -> None:
    @dataclass
    class Swapping(Scripted):
        def _say(self, rows: Rows) -> NDArray[np.float32]:
            doubted = rows % 6 == self.epochs % 6
            sure = np.eye(3, dtype=np.float32)[LABELS[rows]]
            return np.where(doubted[:, None], np.float32(1 / 3), sure).astype(np.float32)

    _, wise = fit(Swapping([]), settings=with_(ema_decay=0.0, stop_rule=rule))
    assert wise.stop.reason == reason
    assert np.ptp(wise.stop.deltas) == 0
    assert wise.stop.churns[1:] == pytest.approx(np.full(len(wise.stop.churns) - 1, 1 / 3))


def test_a_learner_that_never_settles_goes_back_to_its_steadiest_epoch() -> None:
    learner = Scripted(STEADY_LATE)
    run, wise = fit(learner, settings=UNSTABLE)
    assert (wise.stop.reason, wise.stop.epoch) == ("max_epochs", 8)
    assert np.nanargmin(wise.stop.stds) + 1 == 8
    assert len(wise.stop.deltas) == QUICK.max_epochs
    assert learner.drawn_at == [8] * QUICK.draws
    assert run.state() == b"8"


def test_the_tracker_goes_back_to_the_steadiest_epoch_too() -> None:
    _, wise = fit(Scripted(STEADY_LATE), settings=UNSTABLE)
    assert np.array_equal(wise.excluded_n, np.arange(N) < 7)
    assert np.array_equal(gini(wise.tracked_nk) > 0.5, np.arange(N) < 7)


def test_too_few_epochs_for_a_std_end_with_the_last() -> None:
    learner = Scripted([5, 6, 7])
    _, wise = fit(learner, settings=UNSTABLE.model_copy(update={"max_epochs": 3}))
    assert (wise.stop.reason, wise.stop.epoch) == ("max_epochs", 3)
    assert np.isnan(wise.stop.stds).all()
    assert learner.drawn_at == [3] * QUICK.draws
    assert np.array_equal(wise.excluded_n, np.arange(N) < 7)


@pytest.mark.parametrize(("every", "measured"), [(1, range(1, 13)), (3, (3, 6, 9, 12)), (4, (4, 8, 12))])
def test_exact_tracking_draws_after_every_kth_epoch_and_no_more(every: int, measured: Sequence[int]) -> None:
    learner = Scripted([5, 25] * 6)
    settings = with_(tracker="exact", track_every=every, std_below=1e-6, median_window=1, std_window=13)
    _, wise = fit(learner, settings=settings)
    last = wise.stop.epoch
    assert learner.drawn_at == [*np.repeat(measured, QUICK.draws).tolist(), *[last] * QUICK.draws]
    assert wise.stop.reason == "max_epochs"
    assert wise.stop.deltas == pytest.approx([1 - 2 * [5, 25][(epoch - 1) % 2] / N for epoch in measured])


def test_exact_tracking_stops_and_falls_back_by_epochs_not_measurements() -> None:
    _, stable = fit(Scripted([7] * 12), settings=with_(tracker="exact", track_every=2))
    # windows of 3 and 4 epochs hold two measurements each, so the third is the earliest
    assert (stable.stop.reason, stable.stop.epoch, len(stable.stop.deltas)) == ("stable", 6, 3)
    run, back = fit(
        Scripted([9, 40, 9, 5, 9, 6, 9, 40, 9, 5, 9, 40]),
        settings=with_(tracker="exact", track_every=2, std_below=1e-6, median_window=1),
    )
    assert (back.stop.reason, back.stop.epoch, run.state()) == ("max_epochs", 6, b"6")
    assert np.array_equal(back.excluded_n, np.arange(N) < 6)


# what stops everything ----------------------------------------------------------------------------------------------


def nothing_is_excluded_or_masked(wise: WiseFit) -> bool:
    return wise.stop.reason == "degenerate" and not wise.severity_n.any() and wise.threshold == 1.0


def test_a_network_that_says_the_same_of_all_learned_nothing() -> None:
    _, wise = fit(Steady(np.tile(np.float32([0.4, 0.3, 0.3]), (N, 1))))
    assert nothing_is_excluded_or_masked(wise)
    assert wise.stop.epoch == QUICK.median_window + QUICK.std_window - 1


@pytest.mark.parametrize(("p_of_label", "learned"), [(0.45, False), (0.55, True)])
def test_a_network_that_doubts_most_labels_learned_nothing(p_of_label: float, learned: bool) -> None:
    # it names every label, but is sure of none
    rest = (1 - p_of_label) / 2
    said = np.where(np.arange(3) == LABELS[:, None], p_of_label, rest).astype(np.float32)
    _, wise = fit(Steady(said))
    assert nothing_is_excluded_or_masked(wise) is not learned


@pytest.mark.parametrize(("recognised", "learned"), [(0, False), (10, False), (11, True)])
def test_naming_the_largest_class_is_not_learning(recognised: int, learned: bool) -> None:
    # 45 of 60 tiles bear label 0; three standard errors above always naming it are 10.06 tiles more
    labels = np.repeat(np.int16([0, 1, 2]), [45, 8, 7])
    named = np.where(np.arange(N) < 45 + recognised, labels, 0)
    said = np.where(np.arange(3) == named[:, None], 0.9, 0.05).astype(np.float32)
    _, wise = fit(Steady(said), labels)
    assert nothing_is_excluded_or_masked(wise) is not learned
    assert (said[np.arange(N), labels] > 0.5).mean() >= 0.75


def test_k6_labels_that_are_all_random_are_degenerate() -> None:
    # the network sees classes, but which label a tile bears has nothing to do with them
    for seed in range(10):
        labels = np.random.default_rng(seed).integers(0, 3, N).astype(np.int16)
        _, wise = fit(FakeLearner((np.arange(N) // 20 + 1) % 3), labels)
        assert nothing_is_excluded_or_masked(wise)


def test_a_diverged_network_is_said_in_words() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        fit(Steady(np.tile(np.float32([np.nan, 0.5, 0.5]), (N, 1))))
    assert str(caught.value) == (
        "the network gave no finite probabilities for 60 of 60 tiles: its training diverged. "
        "Lower --lr, or use --precision fp32."
    )


@dataclass
class Untracked(Scripted):
    def epoch(self) -> NDArray[np.float32] | None:
        super().epoch()
        return None


def test_a_learner_that_tracks_nothing_needs_exact_tracking() -> None:
    with pytest.raises(ValueError, match="track") as caught:
        fit(Untracked([7] * 12))
    assert str(caught.value) == "this learner does not track its training forwards; use tracker 'exact'"
    _, wise = fit(Untracked([7] * 12), settings=with_(tracker="exact"))
    assert np.array_equal(wise.excluded_n, np.arange(N) < 7)

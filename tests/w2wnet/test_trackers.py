"""Trackers measure when they should, and go on from a checkpoint to the same bits."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2wnet.conftest import QUICK, FakeLearner, FakeRun
from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.trackers import Arrays, EmaTracker, ExactTracker, Tracker, make_tracker

N, K = 30, 3
ROWS = np.arange(N)
EXACT = QUICK.model_copy(update={"tracker": "exact", "track_every": 2, "draws": 5})


def started(seed: int = 0) -> FakeRun:
    return FakeLearner(ROWS % K).start(ROWS, (ROWS % K).astype(np.int16), seed)


def stored(arrays: Arrays) -> dict[str, NDArray[np.generic]]:
    """The arrays after they went to a file and back."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def test_the_settings_name_the_tracker() -> None:
    ema, exact = make_tracker(QUICK, ROWS, K), make_tracker(EXACT, ROWS, K)
    assert isinstance(ema, EmaTracker)
    assert isinstance(exact, ExactTracker)
    assert (ema.every, exact.every) == (1, 2)


def test_the_moving_average_is_that_of_the_forwards_and_costs_no_draw() -> None:
    tracker, run = EmaTracker(ROWS, 0.5), started()
    said = [run.draw(ROWS) for _ in range(3)]
    before = run.state()
    assert [tracker.after_epoch(run, probs) for probs in said] == [True] * 3
    assert run.state() == before
    assert np.allclose(tracker.mean_nk, (0.125 * said[0] + 0.25 * said[1] + 0.5 * said[2]) / 0.875)


def test_the_moving_average_of_a_learner_that_does_not_track_is_refused() -> None:
    with pytest.raises(ValueError, match="does not track") as caught:
        EmaTracker(ROWS, 0.9).after_epoch(started(), None)
    assert str(caught.value) == "this learner does not track its training forwards; use tracker 'exact'"


def test_forwards_of_other_tiles_or_without_a_number_are_refused() -> None:
    tracker, run = EmaTracker(ROWS, 0.9), started()
    with pytest.raises(ValueError, match="must be") as caught:
        tracker.after_epoch(run, run.draw(ROWS[:-1]))
    assert str(caught.value) == "probs_nk must be (30 tiles, classes), got shape (29, 3)"
    with pytest.raises(NonFiniteScoreError) as diverged:
        tracker.after_epoch(run, np.full((N, K), np.nan, dtype=np.float32))
    assert str(diverged.value) == (
        "the network gave no finite probabilities for 30 of 30 tiles: its training diverged. "
        "Lower --lr, or use --precision fp32."
    )


@pytest.mark.parametrize("every", [1, 2, 5])
def test_exact_passes_come_after_every_kth_epoch(every: int) -> None:
    tracker, run, again = ExactTracker(ROWS, K, 4, every), started(), started()
    measured = [tracker.after_epoch(run, None) for _ in range(10)]
    assert measured == [epoch % every == 0 for epoch in range(1, 11)]
    draws = [again.draw(ROWS) for _ in range(4 * sum(measured))]
    assert run.state() == again.state()
    assert np.allclose(tracker.mean_nk, np.mean(draws[-4:], axis=0))


def test_between_measurements_the_last_one_stands() -> None:
    tracker, run = ExactTracker(ROWS, K, 4, 2), started()
    tracker.after_epoch(run, None)
    with pytest.raises(ValueError, match="measurement") as caught:
        _ = tracker.mean_nk
    assert str(caught.value) == "no exact measurement yet"
    tracker.after_epoch(run, None)
    then = tracker.mean_nk.copy()
    tracker.after_epoch(run, None)
    assert np.array_equal(tracker.mean_nk, then)


def mean_of(tracker: Tracker) -> NDArray[np.float64] | None:
    try:
        return tracker.mean_nk
    except ValueError:
        return None


@pytest.mark.parametrize("settings", [QUICK, EXACT], ids=["ema", "exact"])
@pytest.mark.parametrize("epochs", range(6))
def test_k18_a_tracker_goes_on_from_its_state_to_the_same_bits(settings: object, epochs: int) -> None:
    tracker, run = make_tracker(settings, ROWS, K), started()  # type: ignore[arg-type]  # settings they are
    for _ in range(epochs):
        tracker.after_epoch(run, run.epoch())
    kept, place = stored(tracker.state()), run.state()
    # what was kept is a copy, which later epochs leave alone
    held = tracker.state()
    later = [tracker.after_epoch(run, run.epoch()) for _ in range(3)]
    assert held.keys() == kept.keys()
    assert all(np.array_equal(held[name], kept[name]) and held[name].dtype == kept[name].dtype for name in kept)
    restored, other = make_tracker(settings, ROWS, K), started(seed=9)  # type: ignore[arg-type]
    restored.load(kept)
    other.load(place)
    assert [restored.after_epoch(other, other.epoch()) for _ in range(3)] == later
    mine, theirs = mean_of(restored), mean_of(tracker)
    assert mine is not None
    assert theirs is not None
    assert mine.tobytes() == theirs.tobytes()
    assert other.state() == run.state()

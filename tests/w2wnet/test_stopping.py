"""The stop rule against a second writing of it, and on traces whose answer is known (K11)."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.w2wnet.stopping import StopRule


def stops_at(deltas: list[float], median_window: int = 11, std_window: int = 40, std_below: float = 0.01) -> int | None:
    """First epoch, from 1, at which the rule fires."""
    rule = StopRule(median_window, std_window, std_below)
    return next((rule.epoch for delta in deltas if rule.add(delta)), None)


def reference(deltas: list[float], median_window: int, std_window: int, std_below: float) -> int | None:
    """The same by the book: all windows at once, no state."""
    medians = [statistics.median(deltas[i : i + median_window]) for i in range(len(deltas) - median_window + 1)]
    for i in range(len(medians) - std_window + 1):
        if statistics.pstdev(medians[i : i + std_window]) < std_below:
            return i + std_window + median_window - 1
    return None


@given(
    st.lists(st.integers(-64, 64).map(lambda i: i / 64), max_size=40),
    st.integers(1, 5),
    st.integers(2, 8),
    st.sampled_from([0.013, 0.051, 0.11, 0.3]),
)
def test_the_rule_fires_where_the_book_says(
    deltas: list[float], median_window: int, std_window: int, std_below: float
) -> None:
    expected = reference(deltas, median_window, std_window, std_below)
    assert stops_at(deltas, median_window, std_window, std_below) == expected


def test_a_constant_delta_stops_at_epoch_50() -> None:
    assert stops_at([0.7] * 100) == 50


def step_at(first_new: int) -> list[float]:
    """Deltas that jump; `first_new` is the first epoch of the new value."""
    return [-0.8] * (first_new - 1) + [0.8] * 100


@pytest.mark.parametrize("first_new", range(6, 46))
def test_a_step_stops_44_epochs_after_its_first_new_value(first_new: int) -> None:
    assert stops_at(step_at(first_new)) == first_new + 44 == reference(step_at(first_new), 11, 40, 0.01)


@pytest.mark.parametrize("first_new", [2, 5, 46, 50])
def test_a_step_that_no_median_shows_by_epoch_50_stops_there(first_new: int) -> None:
    # before epoch 6 the first median already is the new value; from epoch 46 the last one still is the old
    assert stops_at(step_at(first_new)) == 50 == reference(step_at(first_new), 11, 40, 0.01)


def test_white_noise_of_a_tenth_never_stops_within_300_epochs() -> None:
    assert stops_at((0.7 + 0.1 * np.random.default_rng(0).standard_normal(300)).tolist()) is None


def test_one_outlier_does_not_delay() -> None:
    assert stops_at([0.7] * 20 + [-0.9] + [0.7] * 79) == 50


def test_a_std_that_equals_the_limit_is_not_below_it() -> None:
    assert stops_at([0.0, 1.0], median_window=1, std_window=2, std_below=0.5) is None
    assert stops_at([0.0, 1.0], median_window=1, std_window=2, std_below=np.nextafter(0.5, 1)) == 2


def test_traces_hold_one_value_an_epoch_and_nan_before_a_window_is_full() -> None:
    rule = StopRule(3, 2, 0.1)
    fired = [rule.add(delta) for delta in (0.0, 0.5, 0.25, 0.75)]
    assert fired == [False, False, False, False]
    assert rule.deltas == [0.0, 0.5, 0.25, 0.75]
    assert np.isnan(rule.medians[:2]).all()
    assert rule.medians[2:] == [0.25, 0.5]
    assert np.isnan(rule.stds[:3]).all()
    assert rule.stds[3] == rule.std == 0.125


def test_there_is_no_std_while_there_are_too_few_epochs() -> None:
    rule = StopRule(3, 2, 0.1)
    assert rule.std is None
    for delta in (0.0, 0.0, 0.0):
        rule.add(delta)
    assert rule.std is None

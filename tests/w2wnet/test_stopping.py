"""The stop rule against a second writing of it, and on traces whose answer is known (K11)."""

from __future__ import annotations

import json
import statistics
from itertools import pairwise
from math import ceil, isnan, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.w2wnet.split import Split
from w2wpath.w2wnet.stopping import StopRule

Bools = NDArray[np.bool_]
TILES = 10_000


def of_delta(delta: float) -> Bools:
    """A high cluster of that delta, to the nearest of its tiles."""
    return np.arange(TILES) < round((1 - delta) / 2 * TILES)


def stops_at(
    deltas: list[float], median_window: int = 11, std_window: int = 40, std_below: float = 0.01, **more: Any
) -> int | None:
    """First epoch, from 1, at which the rule fires."""
    rule = StopRule(median_window, std_window, std_below, **more)
    return next((rule.epoch for delta in deltas if rule.add(of_delta(delta))), None)


def windows(values: list[float], width: int) -> list[list[float]]:
    return [values[i : i + width] for i in range(len(values) - width + 1)]


def sizes_say(members: list[Bools], a: int, b: int, below: float) -> list[int]:
    """Observations, from 1, that meet rule size: all windows at once, no state."""
    deltas = [1 - 2 * float(high_n.mean()) for high_n in members]
    medians = [statistics.median(window) for window in windows(deltas, a)]
    return [i + a + b - 1 for i, window in enumerate(windows(medians, b)) if statistics.pstdev(window) < below]


def members_say(members: list[Bools], a: int, b: int, below: float) -> list[int]:
    """Observations, from 1, that meet rule membership. The first churn is that of observation 2."""
    churns = [float((now != before).mean()) for before, now in pairwise(members)]
    filtered = [statistics.median(window) for window in windows(churns, a)]
    return [i + a + b - 1 for i, window in enumerate(windows(filtered, b - 1)) if max(window) < below]


BOOK = {"size": sizes_say, "membership": members_say}


def reference(members: list[Bools], median_window: int, std_window: int, below: float, rule: str, every: int) -> Any:
    """The epochs at which the rule fires, by the book."""
    a, b = ceil(median_window / every), ceil(std_window / every)
    return [every * observation for observation in BOOK[rule](members, a, b, below)]


@st.composite
def memberships(draw: st.DrawFn) -> list[Bools]:
    """High clusters of 32 tiles that change a little or much."""
    n, flips = draw(st.integers(0, 40)), st.sampled_from([0.0, 0.0, 0.02, 0.1, 0.5])
    seed, rates = draw(st.integers(0, 2**32 - 1)), draw(st.lists(flips, min_size=n, max_size=n))
    rng, high_n, members = np.random.default_rng(seed), np.arange(32) < draw(st.integers(0, 32)), []
    for rate in rates:
        high_n = high_n ^ (rng.random(32) < rate)
        members.append(high_n)
    return members


@given(
    memberships(),
    st.integers(1, 9),
    st.integers(2, 14),
    st.sampled_from([0.0101, 0.0401, 0.1101, 0.3]),
    st.sampled_from(["size", "membership"]),
    st.integers(1, 6),
)
def test_k11_the_rule_fires_where_the_book_says(
    members: list[Bools], median_window: int, std_window: int, below: float, rule: str, every: int
) -> None:
    std_window = max(std_window, every + 1)
    stop = StopRule(median_window, std_window, below, rule=rule, every=every)
    fired = [stop.epoch for high_n in members if stop.add(high_n)]
    assert fired == reference(members, median_window, std_window, below, rule, every)
    assert not fired or fired[0] >= stop.earliest


@given(memberships())
def test_traces_say_how_the_high_cluster_changed(members: list[Bools]) -> None:
    stop = StopRule()
    for high_n in members:
        stop.add(high_n)
    sets = [set(np.flatnonzero(high_n).tolist()) for high_n in members]
    assert stop.deltas == [Split(0.0, 1.0, 0.5, high_n).delta for high_n in members]
    assert all(len(trace) == len(members) for trace in (stop.medians, stop.stds, stop.churns, stop.jaccards))
    assert all(isnan(trace[0]) for trace in (stop.churns, stop.jaccards) if members)
    pairs = list(pairwise(sets))
    assert stop.churns[1:] == [len(before ^ now) / 32 for before, now in pairs]
    assert stop.jaccards[1:] == [
        len(before & now) / len(before | now) if before | now else 1.0 for before, now in pairs
    ]


@pytest.mark.parametrize("rule", ["size", "membership"])
@pytest.mark.parametrize(
    ("every", "epoch"), [(1, 50), (2, 50), (3, 51), (4, 48), (5, 50), (7, 49), (10, 50), (20, 40), (39, 78)]
)
def test_the_earliest_stop_stays_near_epoch_50(every: int, epoch: int, rule: str) -> None:
    assert StopRule(rule=rule, every=every).earliest == epoch == every * (ceil(11 / every) + ceil(40 / every) - 1)
    assert stops_at([0.7] * 100, rule=rule, every=every) == epoch


def test_k11_a_constant_delta_stops_at_epoch_50() -> None:
    assert stops_at([0.7] * 100) == 50


def step_at(first_new: int) -> list[float]:
    """Deltas that jump; `first_new` is the first epoch of the new value."""
    return [-0.8] * (first_new - 1) + [0.8] * 100


def by_the_book(deltas: list[float]) -> int:
    first: int = reference([of_delta(delta) for delta in deltas], 11, 40, 0.01, "size", 1)[0]
    return first


@pytest.mark.parametrize("first_new", range(6, 46))
def test_k11_a_step_stops_44_epochs_after_its_first_new_value(first_new: int) -> None:
    assert stops_at(step_at(first_new)) == first_new + 44 == by_the_book(step_at(first_new))


@pytest.mark.parametrize("first_new", [2, 5, 46, 50])
def test_k11_a_step_that_no_median_shows_by_epoch_50_stops_there(first_new: int) -> None:
    # before epoch 6 the first median already is the new value; from epoch 46 the last one still is the old
    assert stops_at(step_at(first_new)) == 50 == by_the_book(step_at(first_new))


def test_k11_white_noise_of_a_tenth_never_stops_within_300_epochs() -> None:
    assert stops_at((0.7 + 0.1 * np.random.default_rng(0).standard_normal(300)).tolist()) is None


def test_one_outlier_does_not_delay() -> None:
    assert stops_at([0.7] * 20 + [-0.9] + [0.7] * 79) == 50


def test_a_std_that_equals_the_limit_is_not_below_it() -> None:
    assert stops_at([0.0, 1.0], median_window=1, std_window=2, std_below=0.5) is None
    assert stops_at([0.0, 1.0], median_window=1, std_window=2, std_below=np.nextafter(0.5, 1)) == 2


def test_traces_hold_one_value_an_observation_and_nan_before_a_window_is_full() -> None:
    rule = StopRule(3, 2, 0.1)
    fired = [rule.add(of_delta(delta)) for delta in (0.0, 0.5, 0.25, 0.75)]
    assert fired == [False, False, False, False]
    assert rule.deltas == [0.0, 0.5, 0.25, 0.75]
    assert np.isnan(rule.medians[:2]).all()
    assert rule.medians[2:] == [0.25, 0.5]
    assert np.isnan(rule.stds[:3]).all()
    assert rule.stds[3] == rule.std == 0.125


def test_there_is_no_std_while_there_are_too_few_epochs() -> None:
    rule = StopRule(3, 2, 0.1)
    assert rule.std is None
    for _ in range(3):
        rule.add(of_delta(0.0))
    assert rule.std is None


def test_clusters_of_one_size_that_swap_members_fool_the_sizes_and_not_the_members() -> None:
    swapping = [np.roll(np.arange(100) < 20, 10 * epoch) for epoch in range(120)]
    sizes, members = StopRule(), StopRule(rule="membership")
    assert [sizes.add(high_n) for high_n in swapping].index(True) == 49
    assert not any([members.add(high_n) for high_n in swapping])


def test_a_hundredth_of_the_tiles_that_move_is_not_below_a_hundredth() -> None:
    moving = [np.arange(200) < 20 + 2 * (epoch % 2) for epoch in range(100)]
    rule, laxer = StopRule(rule="membership"), StopRule(std_below=np.nextafter(0.01, 1), rule="membership")
    assert not any([rule.add(high_n) for high_n in moving])
    assert [laxer.add(high_n) for high_n in moving].index(True) == 49


def test_epochs_are_counted_also_where_none_was_observed() -> None:
    rule = StopRule(every=5)
    rule.add(of_delta(0.0))
    rule.add(of_delta(0.0))
    assert rule.epoch == 10


@given(memberships(), st.data(), st.sampled_from(["size", "membership"]), st.integers(1, 3))
def test_k18_a_rule_restored_from_json_goes_on_to_the_same_bits(
    members: list[Bools], data: st.DataObject, rule: str, every: int
) -> None:
    cut = data.draw(st.integers(0, len(members)))
    whole, first = (StopRule(3, 5, 0.05, rule=rule, every=every) for _ in range(2))
    fired = [whole.add(high_n) for high_n in members]
    for high_n in members[:cut]:
        first.add(high_n)
    state = first.state()
    last_high_n = state.pop("last_high_n")
    second = StopRule.from_state({**json.loads(json.dumps(state, allow_nan=False)), "last_high_n": last_high_n})
    assert [second.add(high_n) for high_n in members[cut:]] == fired[cut:]
    assert repr(second.state()) == repr(whole.state())
    assert second.epoch == whole.epoch


def test_what_was_observed_does_not_follow_the_callers_array() -> None:
    rule, high_n = StopRule(), np.zeros(4, dtype=np.bool_)
    rule.add(high_n)
    high_n[:2] = True
    rule.add(high_n)
    assert rule.churns[1] == 0.5
    assert rule.jaccards[1] == 0.0


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"rule": "members"}, "rule must be one of size, membership; got 'members'. Did you mean 'membership'?"),
        (
            {"median_window": 0},
            "median_window and every must be at least 1 and std_below above 0; "
            "got median_window=0, every=1, std_below=0.01",
        ),
        (
            {"std_below": nan},
            "median_window and every must be at least 1 and std_below above 0; "
            "got median_window=11, every=1, std_below=nan",
        ),
        (
            {"every": 0},
            "median_window and every must be at least 1 and std_below above 0; "
            "got median_window=11, every=0, std_below=0.01",
        ),
        (
            {"every": 40},
            "a std window of 40 epochs holds one observation when there is one every 40 epochs, "
            "and one never varies: observe more often, or widen the window",
        ),
    ],
)
def test_a_rule_that_cannot_work_is_refused(given_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"must|window") as caught:
        StopRule(**given_)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("high_n", "message"),
    [
        (np.zeros(3), "high_n must be a non-empty vector of bool, got float64 of shape (3,)"),
        (np.zeros((3, 1), dtype=np.bool_), "high_n must be a non-empty vector of bool, got bool of shape (3, 1)"),
        (np.zeros(0, dtype=np.bool_), "high_n must be a non-empty vector of bool, got bool of shape (0,)"),
        (np.zeros(4, dtype=np.bool_), "this membership is of 4 tiles, the one before of 3"),
    ],
)
def test_what_is_no_membership_is_refused(high_n: Any, message: str) -> None:
    rule = StopRule()
    rule.add(np.zeros(3, dtype=np.bool_))
    with pytest.raises(ValueError, match=r"membership|high_n") as caught:
        rule.add(high_n)
    assert str(caught.value) == message
    assert rule.epoch == 1

"""Figures of several seeds: intervals that count other trainings in, and gains averaged before they are divided."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from w2wpath.benchmarks.bench.results import _falls
from w2wpath.benchmarks.bench.seeds import gains_over_seeds, over_seeds
from w2wpath.benchmarks.study.plain import chosen_quantiles
from w2wpath.benchmarks.study.resampling import Figure, Floats

NAN = float("nan")


def made(value: float, half: float = 0.01) -> Figure:
    return Figure(value, value - half, value + half, NAN, 100)


def draws(value: float, spread: float = 0.0) -> Floats:
    """A figure and 200 draws around it."""
    return np.append(value, value + spread * np.random.default_rng(0).normal(size=200))


def test_one_seed_is_itself_and_seeds_that_agree_keep_their_interval() -> None:
    assert over_seeds([made(0.9)]) == made(0.9)
    found = over_seeds([made(0.9), made(0.9)])
    assert (found.value, found.low, found.high, found.std) == pytest.approx((0.9, 0.89, 0.91, 0.0))


def test_seeds_that_differ_widen_the_interval_by_the_error_of_their_mean() -> None:
    found = over_seeds([made(0.2, 0.03), made(0.5, 0.03), made(0.8, 0.03)])
    half = np.hypot(0.03, 1.96 * 0.3 / np.sqrt(3))
    assert (found.value, found.std) == pytest.approx((0.5, 0.3))
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))
    assert found.folds == (0.2, 0.5, 0.8)


@pytest.mark.parametrize(("share", "ends"), [(True, (0.0, 1.0)), (False, (0.5 - 0.98, 0.5 + 0.98))])
def test_only_the_interval_of_a_share_ends_at_0_and_1(share: bool, ends: tuple[float, float]) -> None:
    found = over_seeds([made(0.0, 0.0), made(1.0, 0.0)], share=share)
    assert (found.low, found.high) == pytest.approx(ends)


def test_a_seed_that_has_nothing_to_count_is_left_out() -> None:
    found = over_seeds([made(0.4), Figure(NAN, NAN, NAN, NAN, 0), made(0.6)])
    assert found.value == pytest.approx(0.5)
    alone = over_seeds([Figure(NAN, NAN, NAN, NAN, 0), made(0.6)])
    assert (alone.value, alone.low, alone.high) == (0.6, made(0.6).low, made(0.6).high)


def test_a_seed_without_room_has_no_say_of_its_own_in_the_gain() -> None:
    # the room is 0.10, 0.001 and -0.001: the row captures ten times that of the second seed, of the third no share
    seeds = [
        {"all": draws(0.90), "oracle": draws(1.00), "mine": draws(0.95)},
        {"all": draws(0.90), "oracle": draws(0.901), "mine": draws(0.91)},
        {"all": draws(0.90), "oracle": draws(0.899), "mine": draws(0.90)},
    ]
    found = gains_over_seeds(seeds, 300)
    assert set(found) == {"oracle", "mine"}
    captured = found["mine"]["gain captured"]
    assert captured.value == pytest.approx((0.05 + 0.01) / (0.10 + 0.001 - 0.001))
    assert found["mine"]["gain over all"].folds == pytest.approx((0.05, 0.01, 0.0))


def test_a_row_is_compared_on_the_seeds_that_it_has() -> None:
    seeds = [
        {"all": draws(0.8), "oracle": draws(0.9), "once": draws(0.85)},
        {"all": draws(0.5), "oracle": draws(0.9)},
        {"oracle": draws(0.9), "once": draws(0.9)},
    ]
    found = gains_over_seeds(seeds, 10)
    assert found["once"]["gain captured"].value == pytest.approx(0.5)
    assert found["oracle"]["gain over all"].folds == pytest.approx((0.1, 0.4))


def entry(accuracy: float, groups: tuple[str, ...] = ("a", "b")) -> tuple[Any, Any]:
    """A set's entry with its scores, as far as the fall of accuracy reads them."""
    study = SimpleNamespace(ground=SimpleNamespace(table=SimpleNamespace(patients=groups)))
    return SimpleNamespace(study=study), SimpleNamespace(accuracies={"all": draws(accuracy)})


def test_the_fall_pairs_a_seed_with_itself() -> None:
    found = _falls({"MNIST": {1: entry(0.9)}, "Sp-MNIST-30": {0: entry(1.0), 1: entry(0.8)}})
    assert found["MNIST"].value == pytest.approx(0.1)
    assert _falls({"MNIST": {1: entry(0.9)}, "Sp-MNIST-30": {0: entry(1.0)}}) == {}


def test_the_fall_is_not_paired_where_the_groups_of_images_differ() -> None:
    assert _falls({"MNIST": {0: entry(0.9)}, "Sp-MNIST-30": {0: entry(0.8, ("a", "c"))}}) == {}


def test_a_quantile_that_was_chosen_for_each_seed_is_told_for_each() -> None:
    rows = {"koehler, best of 6": {"quantile": over_seeds([Figure(q, NAN, NAN, NAN, 1) for q in (0.5, 0.95)])}}
    assert chosen_quantiles(rows) == " koehler, best of 6: quantile 0.5, 0.95, chosen by this result."
    alone = {"koehler, best of 6": {"quantile": Figure(0.8, NAN, NAN, NAN, 1)}}
    assert chosen_quantiles(alone) == " koehler, best of 6: quantile 0.8, chosen by this result."

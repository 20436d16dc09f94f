"""The accumulator: the law of total variance, bounds, and constant memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.uncertainty import MCStats, MovingAverage, brier, check_probs, gini, label_quality

Draws = NDArray[np.float64]


@st.composite
def draws(draw: st.DrawFn) -> Draws:
    """Probabilities (t, n, k); exact zeros and ones among them."""
    t, n, k = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    weights = draw(arrays(np.float64, (t, n, k), elements=st.sampled_from([0.0, 1e-9, 0.1, 0.5, 1.0, 7.0])))
    weights[..., 0] += (weights.sum(axis=-1) == 0).astype(float)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def stats_of(probs_tnk: Draws) -> MCStats:
    stats = MCStats(*probs_tnk.shape[1:])
    for probs_nk in probs_tnk:
        stats.add(probs_nk)
    return stats


@given(draws())
def test_the_parts_are_the_variances_of_equation_3_and_add_up_to_gini(probs_tnk: Draws) -> None:
    stats = stats_of(probs_tnk)
    mean_nk = probs_tnk.mean(axis=0)
    assert np.abs(stats.aleatoric_n - (probs_tnk * (1 - probs_tnk)).mean(axis=0).sum(axis=1)).max() < 1e-9
    assert np.abs(stats.epistemic_n - probs_tnk.var(axis=0).sum(axis=1)).max() < 1e-9
    assert np.abs(1 - (mean_nk**2).sum(axis=1) - (stats.aleatoric_n + stats.epistemic_n)).max() < 1e-9


@given(draws())
def test_uncertainty_lies_between_0_and_that_of_equal_classes(probs_tnk: Draws) -> None:
    stats = stats_of(probs_tnk)
    most = 1 - 1 / probs_tnk.shape[2] + 1e-12
    for part in (stats.u_n, stats.aleatoric_n, stats.epistemic_n):
        assert part.min() >= -1e-12
        assert part.max() <= most


@given(draws())
def test_one_draw_has_no_epistemic_part(probs_tnk: Draws) -> None:
    assert np.abs(stats_of(probs_tnk[:1]).epistemic_n).max() < 1e-12


@given(draws(), st.integers(0, 6))
def test_merging_two_sets_of_draws_is_adding_all(probs_tnk: Draws, cut: int) -> None:
    merged, whole = stats_of(probs_tnk[:cut]).merge(stats_of(probs_tnk[cut:])), stats_of(probs_tnk)
    assert merged.draws == whole.draws
    assert np.allclose(merged.mean_nk, whole.mean_nk, rtol=0, atol=1e-12)
    assert np.allclose(merged.epistemic_n, whole.epistemic_n, rtol=0, atol=1e-12)


def test_merging_leaves_both_sides_as_they_were() -> None:
    left, right = stats_of(np.full((2, 3, 2), 0.5)), stats_of(np.full((1, 3, 2), 0.5))
    left.merge(right)
    assert (left.draws, right.draws) == (2, 1)


def test_memory_does_not_grow_with_the_draws() -> None:
    def held(stats: MCStats) -> int:
        return sum(value.nbytes for value in vars(stats).values() if isinstance(value, np.ndarray))

    few, many = stats_of(np.full((1, 50, 4), 0.25)), stats_of(np.full((300, 50, 4), 0.25))
    assert held(many) == held(few) == 50 * (4 + 1) * 8


def test_draws_in_float32_are_summed_in_float64() -> None:
    probs_nk = np.random.default_rng(0).dirichlet([1, 1, 1], 20).astype(np.float32)
    stats = stats_of(np.repeat(probs_nk[None], 1000, axis=0))
    assert np.abs(stats.epistemic_n).max() < 1e-12


@pytest.mark.parametrize("what", ["mean_nk", "u_n", "aleatoric_n", "epistemic_n"])
def test_statistics_of_no_draw_do_not_exist(what: str) -> None:
    with pytest.raises(ValueError, match="MCStats") as caught:
        getattr(MCStats(2, 3), what)
    assert str(caught.value) == "MCStats holds no draw yet"


@given(draws(), st.floats(0, 3))
def test_twice_the_doubt_in_the_label_is_uncertainty_plus_brier(probs_tnk: Draws, weight: float) -> None:
    probs_nk = probs_tnk[0]
    labels = np.arange(len(probs_nk)) % probs_nk.shape[1]
    given_n = probs_nk[np.arange(len(labels)), labels]
    assert np.abs(2 * (1 - given_n) - label_quality(probs_nk, labels, 1.0)).max() < 1e-12
    assert np.array_equal(label_quality(probs_nk, labels, 0.0), gini(probs_nk))
    assert np.allclose(label_quality(probs_nk, labels, weight), gini(probs_nk) + weight * brier(probs_nk, labels))


def test_brier_is_the_squared_distance_to_the_label() -> None:
    assert brier(np.array([[0.5, 0.3, 0.2]]), np.array([1])).tolist() == pytest.approx([0.25 + 0.49 + 0.04])


@pytest.mark.parametrize(
    ("probs_nk", "message"),
    [
        (np.full(3, 0.5), "probs_nk must be (3 tiles, classes), got shape (3,)"),
        (np.full((2, 2), 0.5), "probs_nk must be (3 tiles, classes), got shape (2, 2)"),
        (
            np.array([[2.0, 1.0]] * 3),
            "probs_nk rows must sum to 1 (worst gap 2); apply softmax to logits first",
        ),
    ],
)
def test_what_are_no_probabilities_is_refused(probs_nk: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match="probs_nk") as caught:
        check_probs(probs_nk, 3)
    assert str(caught.value) == message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_tell_of_a_diverged_network(bad: float) -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        check_probs(np.array([[bad, 0.5], [0.5, 0.5], [0.0, bad]]), 3)
    assert str(caught.value) == (
        "the network gave no finite probabilities for 2 of 3 tiles: its training diverged. "
        "Lower --lr, or use --precision fp32."
    )


@given(st.floats(0, 0.99), st.integers(1, 30))
def test_the_moving_average_of_a_constant_is_the_constant(decay: float, epochs: int) -> None:
    average = MovingAverage(decay)
    for _ in range(epochs):
        average.add(np.array([[0.2, 0.8]]))
    assert np.allclose(average.mean_nk, [[0.2, 0.8]], rtol=0, atol=1e-9)


def test_the_moving_average_weighs_each_epoch_by_its_age() -> None:
    average, said = MovingAverage(0.9), np.random.default_rng(0).dirichlet([1, 1, 1], (5, 4))
    for probs_nk in said:
        average.add(probs_nk)
    weights = 0.9 ** np.arange(4, -1, -1)
    assert np.allclose(average.mean_nk, np.tensordot(weights / weights.sum(), said, axes=1))


def test_the_moving_average_of_no_epoch_does_not_exist() -> None:
    with pytest.raises(ValueError, match="MovingAverage") as caught:
        _ = MovingAverage(0.9).mean_nk
    assert str(caught.value) == "MovingAverage holds no epoch yet"

"""The accumulator: the law of total variance, bounds, and constant memory."""

from __future__ import annotations

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.uncertainty import MCStats, MovingAverage, as_if_balanced, brier, check_probs, gini, label_quality

Draws = NDArray[np.float64]


@st.composite
def draws(draw: st.DrawFn) -> Draws:
    """Probabilities (t, n, k); exact zeros and ones among them."""
    t, n, k = draw(st.integers(1, 6)), draw(st.integers(1, 4)), draw(st.integers(2, 5))
    weights = draw(arrays(np.float64, (t, n, k), elements=st.sampled_from([0.0, 1e-9, 0.1, 0.5, 1.0, 7.0])))
    weights[..., 0] += (weights.sum(axis=-1) == 0).astype(float)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def stats_of(probs_tnk: Draws, *, covariance: bool = False) -> MCStats:
    stats = MCStats(*probs_tnk.shape[1:], covariance=covariance)
    for probs_nk in probs_tnk:
        stats.add(probs_nk)
    return stats


@given(draws())
def test_k7_the_parts_are_the_variances_of_equation_3_and_add_up_to_gini(probs_tnk: Draws) -> None:
    stats = stats_of(probs_tnk)
    mean_nk = probs_tnk.mean(axis=0)
    assert np.abs(stats.aleatoric_n - (probs_tnk * (1 - probs_tnk)).mean(axis=0).sum(axis=1)).max() < 1e-9
    assert np.abs(stats.epistemic_n - probs_tnk.var(axis=0).sum(axis=1)).max() < 1e-9
    assert np.abs(1 - (mean_nk**2).sum(axis=1) - (stats.aleatoric_n + stats.epistemic_n)).max() < 1e-9


@given(draws())
def test_k7_uncertainty_lies_between_0_and_that_of_equal_classes(probs_tnk: Draws) -> None:
    stats = stats_of(probs_tnk)
    most = 1 - 1 / probs_tnk.shape[2] + 1e-12
    for part in (stats.u_n, stats.aleatoric_n, stats.epistemic_n):
        assert part.min() >= -1e-12
        assert part.max() <= most


@given(draws())
def test_k7_one_draw_has_no_epistemic_part(probs_tnk: Draws) -> None:
    assert np.abs(stats_of(probs_tnk[:1]).epistemic_n).max() < 1e-12


@given(draws(), st.integers(2, 9))
def test_k7_draws_that_never_differ_have_no_epistemic_part(probs_tnk: Draws, times: int) -> None:
    stats = stats_of(np.repeat(probs_tnk[:1], times, axis=0), covariance=True)
    assert np.abs(stats.epistemic_n).max() < 1e-12
    assert np.abs(stats.u_unbiased_n - stats.u_n).max() < 1e-12
    assert stats.standard_error_n.max() < 1e-6


@given(draws(), st.integers(0, 6), st.booleans())
def test_merging_two_sets_of_draws_is_adding_all(probs_tnk: Draws, cut: int, covariance: bool) -> None:
    parts = [stats_of(part, covariance=covariance) for part in (probs_tnk[:cut], probs_tnk[cut:])]
    merged, whole = parts[0].merge(parts[1]), stats_of(probs_tnk, covariance=covariance)
    assert merged.draws == whole.draws
    assert np.allclose(merged.mean_nk, whole.mean_nk, rtol=0, atol=1e-12)
    assert np.allclose(merged.epistemic_n, whole.epistemic_n, rtol=0, atol=1e-12)
    if covariance and whole.draws > 1:
        assert np.allclose(merged.standard_error_n, whole.standard_error_n, rtol=0, atol=1e-6)


def test_merging_leaves_both_sides_as_they_were() -> None:
    left, right = stats_of(np.full((2, 3, 2), 0.5)), stats_of(np.full((1, 3, 2), 0.5))
    left.merge(right)
    assert (left.draws, right.draws) == (2, 1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (MCStats(4, 2), "statistics of (3, 2) and (4, 2) (tiles, classes) cannot be merged"),
        (MCStats(3, 1), "statistics of (3, 2) and (3, 1) (tiles, classes) cannot be merged"),
        (
            MCStats(3, 2, covariance=True),
            "only one of these statistics keeps the covariance: make both with covariance=True",
        ),
    ],
)
def test_statistics_that_do_not_fit_are_not_merged(other: MCStats, message: str) -> None:
    with pytest.raises(ValueError, match="statistics") as caught:
        MCStats(3, 2).merge(other)
    assert str(caught.value) == message


def random_draws(t: int, n: int, k: int, seed: int = 0) -> Draws:
    return np.random.default_rng(seed).dirichlet(np.ones(k), (t, n))


@pytest.mark.parametrize("rows", [np.array([4, 1, 1]), np.array([False, True, False, False, True]), np.array([], int)])
def test_taking_some_tiles_is_having_drawn_only_them(rows: NDArray[np.intp]) -> None:
    probs_tnk = random_draws(3, 5, 4)
    part, alone = stats_of(probs_tnk, covariance=True).take(rows), stats_of(probs_tnk[:, rows], covariance=True)
    assert part.draws == alone.draws == 3
    for what in ("mean_nk", "u_n", "aleatoric_n", "u_unbiased_n", "standard_error_n"):
        assert np.array_equal(getattr(part, what), getattr(alone, what))


def test_later_draws_of_the_part_leave_the_whole_alone() -> None:
    whole = stats_of(random_draws(3, 5, 4), covariance=True)
    before = whole.mean_nk, whole.standard_error_n
    part = whole.take(np.arange(5))
    part.add(random_draws(1, 5, 4, seed=1)[0])
    assert (part.draws, whole.draws) == (4, 3)
    assert np.array_equal(whole.mean_nk, before[0])
    assert np.array_equal(whole.standard_error_n, before[1])


@pytest.mark.parametrize("covariance", [False, True])
def test_memory_does_not_grow_with_the_draws(covariance: bool) -> None:
    def peak(draws: int) -> int:
        rng = np.random.default_rng(0)
        tracemalloc.start()
        stats = MCStats(2000, 4, covariance=covariance)
        for _ in range(draws):
            stats.add(rng.dirichlet(np.ones(4), 2000))
        _ = stats.u_n, stats.epistemic_n
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(1)  # what NumPy allocates once
    few, many = peak(5), peak(200)
    one_draw = 2000 * 4 * 8
    assert abs(many - few) < one_draw / 4
    # sums of p and ||p||^2, a draw and its copies; with the covariance also the sum of p p^T and that of a draw, 4 each
    assert many < (14 if covariance else 5) * one_draw


def test_draws_in_float32_are_summed_in_float64() -> None:
    probs_nk = np.random.default_rng(0).dirichlet([1, 1, 1], 20).astype(np.float32)
    stats = stats_of(np.repeat(probs_nk[None], 1000, axis=0))
    assert np.abs(stats.epistemic_n).max() < 1e-12


def test_the_unbiased_u_is_what_pairs_of_different_draws_say() -> None:
    probs_tnk = random_draws(5, 6, 3)
    pairs = [1 - (probs_tnk[i] * probs_tnk[j]).sum(axis=1) for i, j in product(range(5), range(5)) if i != j]
    assert np.allclose(stats_of(probs_tnk).u_unbiased_n, np.mean(pairs, axis=0), rtol=0, atol=1e-12)


def test_the_standard_error_is_that_of_draws_along_their_mean() -> None:
    probs_tnk = random_draws(7, 6, 3)
    along = np.einsum("tnk,nk->tn", probs_tnk, probs_tnk.mean(axis=0))
    expected = 2 * along.std(axis=0, ddof=1) / np.sqrt(7)
    assert np.allclose(stats_of(probs_tnk, covariance=True).standard_error_n, expected, rtol=0, atol=1e-9)


def bernoulli_logits() -> tuple[Draws, Draws]:
    """Give every draw (8, 3) that three logits (2, 1, 0), each dropped with p = 0.3, can say, and how often (8,)."""
    kept = np.array(list(product([0, 1], repeat=3)))
    said = np.exp(kept * np.array([2.0, 1.0, 0.0]) / 0.7)
    return said / said.sum(axis=1, keepdims=True), (0.7**kept * 0.3 ** (1 - kept)).prod(axis=1)


REPEATS = 200_000
"""So many that the standard error of the mean u is 2 % of the bias of 40 draws."""


def repeated(draws: int) -> MCStats:
    """Statistics of that many draws of the toy, over and over: each tile is one repeat."""
    rng, (said, often) = np.random.default_rng(draws), bernoulli_logits()
    stats = MCStats(REPEATS, 3, covariance=True)
    for _ in range(draws):
        stats.add(said[rng.choice(8, REPEATS, p=often)])
    return stats


def test_k10_bias_and_variance_of_u_fall_with_the_draws_and_the_correction_takes_the_bias_away() -> None:
    said, often = bernoulli_logits()
    mean = often @ said
    u, epistemic = 1 - mean @ mean, often @ (said**2).sum(axis=1) - mean @ mean
    along = said @ mean
    variance = 4 * (often @ along**2 - (often @ along) ** 2)
    for draws in (10, 20, 40):
        stats = repeated(draws)
        error_of_mean = stats.u_n.std() / REPEATS**0.5
        assert stats.u_n.mean() - u == pytest.approx(-epistemic / draws, rel=0.1)
        assert stats.u_n.var() == pytest.approx(variance / draws, rel=0.1)
        assert abs(stats.u_unbiased_n.mean() - u) < min(4 * error_of_mean, 0.1 * epistemic / draws)


@pytest.mark.parametrize("draws", [10, 25])
def test_k10_the_standard_error_is_the_spread_over_repeats(draws: int) -> None:
    stats = repeated(draws)
    assert float(np.sqrt((stats.standard_error_n**2).mean())) == pytest.approx(stats.u_n.std(), rel=0.15)


@pytest.mark.parametrize("what", ["mean_nk", "u_n", "aleatoric_n", "epistemic_n", "u_unbiased_n", "standard_error_n"])
def test_statistics_of_no_draw_do_not_exist(what: str) -> None:
    with pytest.raises(ValueError, match="MCStats") as caught:
        getattr(MCStats(2, 3, covariance=True), what)
    assert str(caught.value) == "MCStats holds no draw yet"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("u_unbiased_n", "the unbiased u needs at least 2 draws, MCStats holds 1"),
        ("standard_error_n", "the standard error needs at least 2 draws, MCStats holds 1"),
    ],
)
def test_what_one_draw_cannot_tell_is_refused(what: str, message: str) -> None:
    with pytest.raises(ValueError, match="at least 2") as caught:
        getattr(stats_of(random_draws(1, 2, 3), covariance=True), what)
    assert str(caught.value) == message


def test_a_standard_error_without_covariance_is_refused() -> None:
    with pytest.raises(ValueError, match="covariance") as caught:
        _ = stats_of(random_draws(4, 2, 3)).standard_error_n
    assert str(caught.value) == (
        "MCStats keeps no covariance; make it with covariance=True to ask for the standard error"
    )


def test_a_draw_of_other_classes_is_refused_also_where_it_would_broadcast() -> None:
    stats = MCStats(2, 3)
    with pytest.raises(ValueError, match="classes") as caught:
        stats.add(np.ones((2, 1)))
    assert str(caught.value) == "this draw has 1 classes, those before it 3"
    assert stats.draws == 0


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
        (
            np.array([[1.5, -0.5]] * 3),
            "probs_nk must not be negative (lowest -0.5); apply softmax to logits first",
        ),
    ],
)
def test_what_are_no_probabilities_is_refused(probs_nk: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match="probs_nk") as caught:
        check_probs(probs_nk, 3)
    assert str(caught.value) == message


def test_what_rounding_leaves_below_0_is_a_probability() -> None:
    check_probs(np.array([[1.0, -9e-7]]), 1)
    with pytest.raises(ValueError, match="negative") as caught:
        check_probs(np.array([[1.0, -1.1e-6]]), 1)
    assert str(caught.value) == "probs_nk must not be negative (lowest -1.1e-06); apply softmax to logits first"


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


@pytest.mark.parametrize("cut", [0, 1, 3, 6])
def test_k18_a_restored_moving_average_goes_on_to_the_same_bits(cut: int) -> None:
    said = random_draws(6, 4, 3)
    whole, first = MovingAverage(0.9), MovingAverage(0.9)
    for probs_nk in said:
        whole.add(probs_nk)
    for probs_nk in said[:cut]:
        first.add(probs_nk)
    second = MovingAverage.from_state(0.9, {name: array.copy() for name, array in first.state().items()})
    for probs_nk in said[cut:]:
        second.add(probs_nk)
    assert second.epochs == whole.epochs
    assert np.array_equal(second.mean_nk, whole.mean_nk)


@pytest.mark.parametrize(
    ("names", "words"), [([], "nothing"), (["sum_nk"], "sum_nk"), (["epochs"], "epochs"), (["mean_nk"], "mean_nk")]
)
def test_what_is_no_state_of_a_moving_average_is_refused(names: list[str], words: str) -> None:
    found = {"epochs": np.array(2), "sum_nk": np.zeros((1, 2)), "mean_nk": np.zeros((1, 2))}
    with pytest.raises(ValueError, match="state") as caught:
        MovingAverage.from_state(0.9, {name: found[name] for name in names})
    assert str(caught.value) == f"this is no state of a MovingAverage: it holds {words}"


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 99))
def test_as_if_balanced_is_undone_by_the_frequencies(n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    probs, count = random.dirichlet(np.ones(k), n), random.integers(1, 1000, k)
    balanced = as_if_balanced(probs, count)
    assert np.allclose(balanced.sum(axis=1), 1.0)
    again = balanced * count
    assert np.allclose(again / again.sum(axis=1, keepdims=True), probs)
    assert np.allclose(as_if_balanced(probs, np.full(k, 7)), probs)


def test_what_lies_on_an_absent_class_alone_says_nothing() -> None:
    assert as_if_balanced(np.array([[0.0, 0.0, 1.0], [0.2, 0.3, 0.5]]), np.array([5, 5, 0])).tolist() == [
        [0.0, 0.0, 0.0],
        pytest.approx([0.4, 0.6, 0.0]),
    ]

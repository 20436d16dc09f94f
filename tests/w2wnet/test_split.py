"""Two-means on a line: never worse than any other cut, and silent where there is one group."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.split import CHANCE, Split, cut, is_separated, kmeans_plus_plus, separation, two_means

Scores = NDArray[np.float64]
Law = Callable[[np.random.Generator, int], Scores]

scores = st.one_of(
    st.lists(st.floats(0, 3), min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0]), min_size=1, max_size=40),  # ties
).map(np.array)


def inertia(scores_n: Scores, high_n: NDArray[np.bool_]) -> float:
    sides = [scores_n[high_n], scores_n[~high_n]]
    return float(sum(((side - side.mean()) ** 2).sum() for side in sides if side.size))


def best_of_all_cuts(scores_n: Scores) -> float:
    """Of the N - 1 cuts into two clusters; one cluster where all are equal."""
    return min((inertia(scores_n, scores_n > value) for value in np.unique(scores_n)[:-1]), default=0.0)


@given(scores)
def test_k12_no_cut_is_better(scores_n: Scores) -> None:
    assert inertia(scores_n, two_means(scores_n).high_n) == pytest.approx(best_of_all_cuts(scores_n), abs=1e-9)


@given(scores)
def test_the_centroids_are_the_means_of_their_members(scores_n: Scores) -> None:
    split = two_means(scores_n)
    if split.high_n.any():
        assert split.high == pytest.approx(scores_n[split.high_n].mean(), abs=1e-9)
    assert split.low == pytest.approx(scores_n[~split.high_n].mean(), abs=1e-9)
    assert split.boundary == (split.low + split.high) / 2


@given(scores)
def test_members_of_the_high_cluster_lie_above_the_others(scores_n: Scores) -> None:
    high_n = two_means(scores_n).high_n
    if high_n.any():
        assert scores_n[high_n].min() > scores_n[~high_n].max()


@given(scores, st.randoms(use_true_random=False))
def test_the_order_of_tiles_changes_nothing(scores_n: Scores, random: Random) -> None:
    order = np.arange(len(scores_n))
    random.shuffle(order)
    one, other = two_means(scores_n), two_means(scores_n[order])
    assert (one.low, one.high) == (other.low, other.high)
    assert np.array_equal(one.high_n[order], other.high_n)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "law", [lambda g: g.beta(0.5, 2, 200), lambda g: g.integers(0, 4, 50) / 4, lambda g: g.random(2)]
)
def test_k12_k_means_of_scikit_learn_is_not_better(law: Callable[[np.random.Generator], Scores], seed: int) -> None:
    scores_n = law(np.random.default_rng(seed))
    exact, literal = two_means(scores_n), kmeans_plus_plus(scores_n, seed=seed)
    assert inertia(scores_n, exact.high_n) <= inertia(scores_n, literal.high_n) + 1e-12


def test_k12_scores_may_be_as_small_as_numbers_go() -> None:
    assert two_means(np.array([0.0, 1e-200, 9e-200, 1e-199])).high_n.tolist() == [False, False, True, True]


def test_two_clear_groups_are_told_apart() -> None:
    split = two_means(np.array([0.9, 0.1, 0.2, 1.0, 0.15]))
    assert split.high_n.tolist() == [True, False, False, True, False]
    assert (split.low, split.high, split.boundary) == pytest.approx((0.15, 0.95, 0.55))
    assert split.delta == pytest.approx(0.2)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_k12_equal_scores_make_no_high_cluster(n: int) -> None:
    split = two_means(np.full(n, 0.3))
    assert not split.high_n.any()
    assert (split.low, split.high, split.boundary, split.delta) == (0.3, 0.3, 0.3, 1.0)


def test_k12_two_different_scores_are_two_clusters() -> None:
    split = two_means(np.array([0.5, 0.25]))
    assert split.high_n.tolist() == [True, False]
    assert (split.low, split.high, split.boundary, split.delta) == (0.25, 0.5, 0.375, 0.0)


def test_delta_keeps_its_sign_when_the_high_cluster_is_the_larger() -> None:
    assert two_means(np.array([0.0, 1.0, 1.0, 1.0])).delta == -0.5


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30).map(np.array))
def test_a_large_common_offset_changes_no_member(steps_n: NDArray[np.int64]) -> None:
    near, far = two_means(steps_n / 1024), two_means(steps_n / 1024 + 2.0**30)
    assert inertia(steps_n / 1024, far.high_n) == pytest.approx(inertia(steps_n / 1024, near.high_n), abs=1e-6)


def test_k12_a_score_that_is_not_finite_is_counted_not_sorted() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        two_means(np.array([0.1, np.nan, 0.2, np.inf]))
    assert str(caught.value) == "2 of 4 tiles have no finite score."


@pytest.mark.parametrize(("shape", "words"), [((0,), "(0,)"), ((2, 3), "(2, 3)")])
def test_what_is_no_vector_of_scores_is_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match="scores_n") as caught:
        two_means(np.zeros(shape))
    assert str(caught.value) == f"scores_n must be a non-empty vector, got shape {words}"


def test_the_centroid_of_the_high_cluster_is_the_stricter_threshold() -> None:
    split = two_means(np.array([0.0, 0.1, 0.9, 1.0]))
    assert (split.boundary, split.centroid) == pytest.approx((0.5, 0.95))
    assert split.centroid == split.high


def same(one: Split, other: Split) -> bool:
    numbers = [(split.low, split.high, split.boundary) for split in (one, other)]
    return numbers[0] == numbers[1] and np.array_equal(one.high_n, other.high_n)


@settings(max_examples=30, deadline=None)
@given(scores, st.integers(0, 2**40))
def test_clusters_of_k_means_are_ordered_and_repeatable(scores_n: Scores, seed: int) -> None:
    split = kmeans_plus_plus(scores_n, seed=seed)
    assert same(split, kmeans_plus_plus(scores_n, seed=seed))
    assert split.boundary == (split.low + split.high) / 2
    assert split.low == scores_n[~split.high_n].mean()
    if np.ptp(scores_n) == 0:
        assert not split.high_n.any()
    else:
        assert split.high == scores_n[split.high_n].mean()
        assert scores_n[split.high_n].min() > scores_n[~split.high_n].max()


def test_an_engine_is_chosen_by_name() -> None:
    scores_n = np.random.default_rng(0).random(50)
    assert same(cut(scores_n, "exact", seed=0), two_means(scores_n))
    assert same(cut(scores_n, "kmeans++", seed=3), kmeans_plus_plus(scores_n, seed=3))
    assert same(cut(scores_n, "kmeans++", seed=2**32 + 3), kmeans_plus_plus(scores_n, seed=3))


def test_an_engine_of_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="engine") as caught:
        cut(np.zeros(3), "kmeans", seed=0)
    assert str(caught.value) == "engine must be one of exact, kmeans++; got 'kmeans'. Did you mean 'kmeans++'?"


@pytest.mark.parametrize("engine", ["exact", "kmeans++"])
def test_k12_neither_engine_sorts_what_is_not_finite(engine: str) -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        cut(np.array([0.1, np.nan]), engine, seed=0)
    assert str(caught.value) == "1 of 2 tiles have no finite score."


def two_groups(far: float, share: float = 0.1) -> Law:
    """Two normals of standard deviation 1, the second of that share `far` away."""
    return lambda rng, n: rng.normal(size=n) + far * (np.arange(n) < share * n)


ONE_GROUP: dict[str, Law] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "half-normal": lambda rng, n: np.abs(rng.normal(size=n)),
    "rising": lambda rng, n: rng.beta(5, 1, n),
    "half of them exactly 0": lambda rng, n: rng.exponential(size=n) * (rng.random(n) < 0.5),
}
TWO_GROUPS: dict[str, Law] = {
    "normals 6 apart": two_groups(6),
    "normals 6 apart, the smaller first": lambda rng, n: -two_groups(6)(rng, n),
    "normals 8 apart, equal shares": two_groups(8, 0.5),
    "betas": lambda rng, n: np.where(np.arange(n) < 0.1 * n, rng.beta(20, 5, n), rng.beta(1, 20, n)),
}


@pytest.mark.parametrize("n", [10, 100, 1000])
@pytest.mark.parametrize("law", ONE_GROUP.values(), ids=ONE_GROUP)
def test_chance_passes_one_group_in_less_than_a_hundredth(law: Law, n: int) -> None:
    def passes(seed: int) -> bool:
        scores_n = law(np.random.default_rng(seed), n)
        return is_separated(scores_n, two_means(scores_n), 0.0)

    assert sum(passes(seed) for seed in range(100)) <= 1


@pytest.mark.parametrize("n", [1000, 5000])
@pytest.mark.parametrize("law", TWO_GROUPS.values(), ids=TWO_GROUPS)
def test_two_groups_are_told_apart_also_when_one_is_a_tenth(law: Law, n: int) -> None:
    for seed in range(10):
        scores_n = law(np.random.default_rng(seed), n)
        assert is_separated(scores_n, two_means(scores_n), 0.2)
        assert is_separated(scores_n, kmeans_plus_plus(scores_n, seed=seed), 0.2)


def test_the_limit_of_chance_is_that_of_the_worst_law() -> None:
    # a split at the lower end of uniform scores: its high side is the worst case, its low side two points, gap 1
    def gap(seed: int, n: int) -> float:
        uniform = np.append(np.random.default_rng(seed).random(n), [-1.0, -1.0])
        return separation(uniform, Split(-1.0, 0.5, 0.0, uniform > 0)) * n**0.5

    for n in (10, 100):
        above = np.mean([gap(seed, n) > CHANCE for seed in range(3000)])
        assert 0.002 < above < 0.012


def test_no_law_without_a_valley_has_a_larger_gap_than_the_uniform_one_it_came_from() -> None:
    for seed in range(50):
        uniform = np.random.default_rng(seed).random(60)
        low = [-1.0, -1.0]
        falling = [uniform, uniform**2, -np.log1p(-uniform), uniform / (1 - uniform)]
        splits = [np.append(side, low) for side in falling]
        gaps = [separation(side, Split(-1.0, 1.0, 0.0, side >= 0)) for side in splits]
        assert max(gaps[1:]) <= gaps[0] + 1e-12


def test_separation_is_the_share_of_a_side_that_is_valley() -> None:
    # two even blocks of width 1; the boundary in the middle of a valley of 2
    block = (np.arange(1000) + 0.5) / 1000
    scores_n = np.append(block, block + 3)
    assert separation(scores_n, two_means(scores_n)) == pytest.approx(1 / (1 + 1), abs=0.002)


def test_two_points_are_as_separate_as_can_be_and_equal_scores_not_at_all() -> None:
    points = np.repeat([0.1, 0.8], 50)
    assert separation(points, two_means(points)) == 1.0
    assert is_separated(points, two_means(points), 1.0)
    assert separation(np.full(9, 0.3), two_means(np.full(9, 0.3))) == 0.0
    assert not is_separated(np.full(9, 0.3), two_means(np.full(9, 0.3)), 0.0)


def test_two_tiles_are_no_group_and_three_may_be() -> None:
    two, three = np.repeat([0.0, 1.0], [50, 2]), np.repeat([0.0, 1.0], [50, 3])
    assert not is_separated(two, two_means(two), 0.0)
    assert is_separated(three, two_means(three), 0.0)


@given(
    st.lists(st.integers(0, 3072).map(lambda i: i / 1024), min_size=1, max_size=40).map(np.array),
    st.sampled_from([0.25, 1.0, 8.0]),
    st.booleans(),
)
def test_separation_lies_in_0_to_1_and_knows_neither_unit_nor_order(scores_n: Scores, unit: float, turn: bool) -> None:
    found = separation(scores_n, two_means(scores_n))
    assert 0.0 <= found <= 1.0
    other = scores_n[::-1] * unit if turn else scores_n * unit
    assert separation(other, two_means(other)) == pytest.approx(found, abs=1e-9)


def test_ashmans_d_would_call_one_gaussian_and_a_uniform_law_two_groups() -> None:
    def ashman(scores_n: Scores) -> float:
        split = two_means(scores_n)
        variances = [scores_n[side].var() for side in (split.high_n, ~split.high_n)]
        return float(2**0.5 * (split.high - split.low) / sum(variances) ** 0.5)

    rng = np.random.default_rng(0)
    assert ashman(rng.normal(size=20_000)) == pytest.approx(2.65, abs=0.05)
    assert ashman(rng.random(20_000)) == pytest.approx(3.46, abs=0.05)


def test_a_long_tail_is_one_group_though_it_may_hold_spurious_tiles() -> None:
    # the documented blind spot: spurious tiles spread evenly over the tail of the others leave no valley
    rng = np.random.default_rng(0)
    scores_n = np.where(np.arange(2000) < 200, rng.random(2000) * 0.6, rng.exponential(0.1, 2000))
    assert not is_separated(scores_n, two_means(scores_n), 0.0)


@pytest.mark.parametrize("limit", [-0.1, 1.1, np.nan])
def test_a_separation_that_cannot_be_is_refused(limit: float) -> None:
    with pytest.raises(ValueError, match="min_separation") as caught:
        is_separated(np.zeros(3), two_means(np.zeros(3)), limit)
    assert str(caught.value) == f"min_separation must lie in 0..1, got {limit!r}"


@pytest.mark.parametrize("ask", [separation, lambda scores_n, split: is_separated(scores_n, split, 0.1)])
def test_a_split_of_other_tiles_is_refused(ask: Callable[[Scores, Split], Any]) -> None:
    with pytest.raises(ValueError, match="split") as caught:
        ask(np.zeros(4), two_means(np.zeros(3)))
    assert str(caught.value) == "this split is of 3 tiles, not of 4"

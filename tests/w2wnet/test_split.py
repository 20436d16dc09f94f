"""Two-means on a line: never worse than any other cut."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.split import two_means

Scores = NDArray[np.float64]

scores = st.one_of(
    st.lists(st.floats(0, 3), min_size=1, max_size=40),
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0]), min_size=1, max_size=40),  # ties
).map(np.array)


def inertia(scores_n: Scores, high_n: NDArray[np.bool_]) -> float:
    sides = [scores_n[high_n], scores_n[~high_n]]
    return float(sum(((side - side.mean()) ** 2).sum() for side in sides if side.size))


def best_of_all_cuts(scores_n: Scores) -> float:
    return min(inertia(scores_n, scores_n > cut) for cut in np.unique(scores_n))


@given(scores)
def test_no_cut_is_better(scores_n: Scores) -> None:
    assert inertia(scores_n, two_means(scores_n).high_n) <= best_of_all_cuts(scores_n) + 1e-9


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


def test_k_means_of_scikit_learn_is_not_better() -> None:
    from sklearn.cluster import KMeans

    for seed in range(3):
        scores_n = np.random.default_rng(seed).beta(0.5, 2, 200)
        found = KMeans(2, n_init=10, random_state=seed).fit(scores_n[:, None])
        assert inertia(scores_n, two_means(scores_n).high_n) <= found.inertia_ + 1e-9


def test_two_clear_groups_are_told_apart() -> None:
    split = two_means(np.array([0.9, 0.1, 0.2, 1.0, 0.15]))
    assert split.high_n.tolist() == [True, False, False, True, False]
    assert (split.low, split.high, split.boundary) == pytest.approx((0.15, 0.95, 0.55))
    assert split.delta == pytest.approx(0.2)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_scores_make_no_high_cluster(n: int) -> None:
    split = two_means(np.full(n, 0.3))
    assert not split.high_n.any()
    assert (split.low, split.high, split.boundary, split.delta) == (0.3, 0.3, 0.3, 1.0)


def test_two_different_scores_are_two_clusters() -> None:
    split = two_means(np.array([0.5, 0.25]))
    assert split.high_n.tolist() == [True, False]
    assert (split.low, split.high, split.boundary, split.delta) == (0.25, 0.5, 0.375, 0.0)


def test_delta_keeps_its_sign_when_the_high_cluster_is_the_larger() -> None:
    assert two_means(np.array([0.0, 1.0, 1.0, 1.0])).delta == -0.5


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30).map(np.array))
def test_a_large_common_offset_changes_no_member(steps_n: NDArray[np.int64]) -> None:
    near, far = two_means(steps_n / 1024), two_means(steps_n / 1024 + 2.0**30)
    assert inertia(steps_n / 1024, far.high_n) == pytest.approx(inertia(steps_n / 1024, near.high_n), abs=1e-6)


def test_a_score_that_is_not_finite_is_counted_not_sorted() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        two_means(np.array([0.1, np.nan, 0.2, np.inf]))
    assert str(caught.value) == "2 of 4 tiles have no finite score."


@pytest.mark.parametrize(("shape", "words"), [((0,), "(0,)"), ((2, 3), "(2, 3)")])
def test_what_is_no_vector_of_scores_is_refused(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match="scores_n") as caught:
        two_means(np.zeros(shape))
    assert str(caught.value) == f"scores_n must be a non-empty vector, got shape {words}"

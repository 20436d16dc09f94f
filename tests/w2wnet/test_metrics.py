"""Detection metrics against scikit-learn, and intervals that respect patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from w2wpath.w2wnet.metrics import Estimate, auroc, by_patient, rate


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_that_of_scikit_learn_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores_n, positive_n = np.array([float(s) for s, _ in pairs]), np.array([p for _, p in pairs])
    if positive_n.all() or not positive_n.any():
        assert np.isnan(auroc(scores_n, positive_n))
    else:
        assert auroc(scores_n, positive_n) == pytest.approx(roc_auc_score(positive_n, scores_n), abs=1e-12)


def test_shuffled_scores_rank_by_chance() -> None:
    rng = np.random.default_rng(0)
    positive_n = np.arange(1100) < 100
    score_n = positive_n + rng.normal(0, 0.3, 1100)
    assert auroc(score_n, positive_n) > 0.95
    three_se = 3 * np.sqrt((1100 + 1) / (12 * 100 * 1000))
    for _ in range(20):
        assert auroc(rng.permutation(score_n), positive_n) == pytest.approx(0.5, abs=three_se)


def test_the_rate_of_nothing_is_not_a_number() -> None:
    assert rate(np.array([True, False, True, True])) == 0.75
    assert np.isnan(rate(np.array([], dtype=np.bool_)))


def test_the_interval_holds_the_value_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(1)
    patient_n, hit_n = np.repeat(np.arange(20), 10), rng.random(200) < 0.3
    found = by_patient(lambda rows: rate(hit_n[rows]), patient_n)
    assert found.low < found.value < found.high
    assert found.n == 200
    assert found == by_patient(lambda rows: rate(hit_n[rows]), patient_n)


def test_tiles_of_one_patient_being_alike_widens_the_interval() -> None:
    hit_n = np.repeat(np.arange(10) % 2 == 0, 30)
    by_whole_patients = by_patient(lambda rows: rate(hit_n[rows]), np.repeat(np.arange(10), 30))
    by_tiles = by_patient(lambda rows: rate(hit_n[rows]), np.arange(300))
    assert by_whole_patients.value == by_tiles.value == 0.5
    assert by_whole_patients.high - by_whole_patients.low > 3 * (by_tiles.high - by_tiles.low)


def test_whole_patients_are_drawn() -> None:
    sizes = set()

    def statistic(rows: np.ndarray) -> float:
        sizes.add(len(rows))
        return 0.5

    by_patient(statistic, np.array([0, 0, 0, 1]))
    assert sizes == {2, 4, 6}


def test_one_patient_gives_a_value_without_an_interval() -> None:
    found = by_patient(lambda rows: 0.25, np.zeros(5, dtype=np.int64))
    assert (found.value, found.n) == (0.25, 5)
    assert np.isnan([found.low, found.high]).all()


def test_samples_without_a_value_are_left_out_of_the_interval() -> None:
    positive_n, scores_n = np.array([True, False, False, False]), np.array([0.9, 0.1, 0.2, 0.3])
    found = by_patient(lambda rows: auroc(scores_n[rows], positive_n[rows]), np.arange(4))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_no_finite_sample_gives_no_interval() -> None:
    found = by_patient(lambda rows: float("nan"), np.arange(4))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_an_estimate_reads_as_value_and_interval() -> None:
    assert str(Estimate(0.12345, 0.1, 0.2, 7)) == "0.123 [0.100, 0.200]"

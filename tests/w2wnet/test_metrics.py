"""Detection metrics against scikit-learn, and intervals that respect patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from w2wpath.w2wnet.metrics import (
    Estimate,
    auroc,
    by_patient,
    fpr_at_tpr,
    paired_by_patient,
    rate,
    sensitivity_at,
    wilson,
)

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40)


@given(PAIRS)
def test_auroc_is_that_of_scikit_learn_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores_n, positive_n = np.array([float(s) for s, _ in pairs]), np.array([p for _, p in pairs])
    if positive_n.all() or not positive_n.any():
        assert np.isnan(auroc(scores_n, positive_n))
    else:
        assert auroc(scores_n, positive_n) == pytest.approx(roc_auc_score(positive_n, scores_n), abs=1e-12)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(score) for score, _ in pairs]), np.array([positive for _, positive in pairs])


@given(PAIRS, st.sampled_from([0.05, 0.5, 0.8, 0.95, 1.0]))
def test_both_rates_are_those_of_the_roc_curve_of_scikit_learn(pairs: list[tuple[int, bool]], share: float) -> None:
    scores_n, positive_n = arrays(pairs)
    if positive_n.all() or not positive_n.any():
        assert np.isnan(fpr_at_tpr(scores_n, positive_n, share))
        assert np.isnan(sensitivity_at(scores_n, positive_n, share))
        return
    fpr, tpr, _ = roc_curve(positive_n, scores_n, drop_intermediate=False)
    assert fpr_at_tpr(scores_n, positive_n, share) == pytest.approx(fpr[tpr >= share - 1e-9].min(), abs=1e-12)
    assert sensitivity_at(scores_n, positive_n, share) == pytest.approx(tpr[fpr <= share + 1e-9].max(), abs=1e-12)


def test_the_figures_are_those_of_torchmetrics() -> None:
    import torch
    from torchmetrics.functional import classification as functional

    rng = np.random.default_rng(0)
    positive_n = rng.random(500) < 0.2
    scores_n = np.round(np.clip(rng.normal(0.4 + 0.2 * positive_n, 0.15), 0, 1), 2)
    said, truth = torch.from_numpy(scores_n), torch.from_numpy(positive_n.astype(np.int64))
    assert auroc(scores_n, positive_n) == pytest.approx(float(functional.binary_auroc(said, truth)), abs=1e-5)
    found, _ = functional.binary_sensitivity_at_specificity(said, truth, 0.95)
    assert sensitivity_at(scores_n, positive_n, 0.05) == pytest.approx(float(found), abs=1e-5)


def test_the_rates_of_a_small_set_are_those_counted_by_hand() -> None:
    scores_n = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    positive_n = np.array([True, False, True, True, False, False])
    assert fpr_at_tpr(scores_n, positive_n) == pytest.approx(1 / 3)
    assert sensitivity_at(scores_n, positive_n) == pytest.approx(1 / 3)
    assert sensitivity_at(scores_n, positive_n, 1 / 3) == 1.0


def test_equal_scores_are_flagged_together_or_not_at_all() -> None:
    scores_n, positive_n = np.zeros(40), np.arange(40) < 20
    assert sensitivity_at(scores_n, positive_n) == 0.0
    assert fpr_at_tpr(scores_n, positive_n) == 1.0


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


@given(st.integers(1, 300), st.data())
def test_wilsons_interval_is_that_of_his_formula(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    found, z, p = wilson(hits, n), 1.959963984540054, hits / n
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = (np.array([centre - half, centre + half]) / (1 + z**2 / n)).clip(0, 1)
    assert (found.value, found.n) == (p, n)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-9)
    assert found.low <= p <= found.high


def test_wilsons_interval_of_nothing_is_not_a_number() -> None:
    found = wilson(0, 0)
    assert np.isnan([found.value, found.low, found.high]).all()
    assert found.n == 0


def test_the_paired_difference_is_that_of_the_two_areas_and_has_a_sign() -> None:
    rng = np.random.default_rng(2)
    patient_n, positive_n = np.repeat(np.arange(12), 40), rng.random(480) < 0.3
    good_n, poor_n = positive_n + rng.normal(0, 0.5, 480), positive_n + rng.normal(0, 1.5, 480)
    found = paired_by_patient(good_n, poor_n, positive_n, patient_n)
    assert found.value == auroc(good_n, positive_n) - auroc(poor_n, positive_n)
    assert found.low > 0
    back = paired_by_patient(poor_n, good_n, positive_n, patient_n)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert found.n == 480


def test_a_score_is_not_better_than_itself() -> None:
    rng = np.random.default_rng(3)
    positive_n, scores_n = rng.random(100) < 0.5, rng.random(100)
    found = paired_by_patient(scores_n, scores_n.copy(), positive_n, np.arange(100) // 10)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_pairing_takes_away_what_makes_patients_easy_for_both() -> None:
    rng = np.random.default_rng(4)
    patient_n, positive_n = np.repeat(np.arange(10), 60), rng.random(600) < 0.4
    # every second patient is easy for both scores
    base_n = positive_n * np.where(patient_n % 2 == 0, 3.0, 0.3) + rng.normal(0, 1, 600)
    one_n, other_n = base_n + rng.normal(0, 0.05, 600), base_n + rng.normal(0, 0.05, 600)
    paired = paired_by_patient(one_n, other_n, positive_n, patient_n)
    alone = by_patient(lambda rows: auroc(one_n[rows], positive_n[rows]), patient_n)
    assert paired.high - paired.low < (alone.high - alone.low) / 3

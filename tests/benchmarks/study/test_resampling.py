"""Weighted statistics are those of tiles repeated as often as their patient was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from w2wpath.benchmarks.study import resampling
from w2wpath.benchmarks.study.resampling import figure, mean_of, over_folds, patient_weights
from w2wpath.w2wnet import metrics, reliability, selective


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_repetitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 100))
    patient, label = rng.integers(0, 5, n), rng.integers(0, 3, n)
    score, positive = np.round(rng.random(n), 1), rng.random(n) < 0.3  # rounded, so that there are ties
    probs = rng.dirichlet([1, 1, 1], n).astype(np.float32)
    weight = patient_weights(patient, resamples=6)
    coverage = rng.random(7)
    found = [
        resampling.auroc(score, positive, weight),
        resampling.sensitivity_at(score, positive, weight),
        resampling.share(score, weight),
        resampling.ece(probs, label, weight),
        resampling.aurc(score, positive, weight),
        resampling.augrc(score, positive, weight),
        resampling.selective_accuracy(score, positive, weight, coverage),
        resampling.balanced_accuracy(positive, label, weight),
        resampling.average_precision(score, positive, weight),
    ]
    for b in range(len(weight)):
        i = np.repeat(np.arange(n), weight[b].astype(int))
        predicted = np.where(positive[i], label[i], 3)
        expected = [
            metrics.auroc(score[i], positive[i]),
            metrics.sensitivity_at(score[i], positive[i]),
            score[i].mean(),
            reliability.ece(probs[i], label[i]),
            selective.aurc(score[i], positive[i]),
            selective.augrc(score[i], positive[i]),
            selective.selective_accuracy(score[i], positive[i], coverage[b]),
            reliability.balanced_accuracy(predicted, label[i]),
            average_precision_score(positive[i], score[i]) if positive[i].any() else np.nan,
        ]
        np.testing.assert_allclose([values[b] for values in found], expected, atol=1e-9)


def test_whole_patients_are_drawn_and_the_first_row_is_the_data() -> None:
    patient = np.array([7, 7, 2, 5, 2])
    weight = patient_weights(patient, resamples=50)
    assert (weight[0] == 1).all()
    assert (weight[:, 0] == weight[:, 1]).all()
    assert (weight[:, 2] == weight[:, 4]).all()
    np.testing.assert_array_equal(weight[:, [0, 2, 3]].sum(axis=1), 3)
    np.testing.assert_array_equal(weight, patient_weights(patient, resamples=50))


def test_nothing_to_count_is_nan_and_not_zero() -> None:
    weight = np.ones((2, 3))
    none = np.zeros(3, dtype=bool)
    assert np.isnan(resampling.share(np.zeros(0), np.ones((2, 0)))).all()
    assert np.isnan(resampling.auroc(np.arange(3.0), none, weight)).all()
    assert np.isnan(resampling.sensitivity_at(np.arange(3.0), none, weight)).all()
    assert np.isnan(resampling.sensitivity_at(np.arange(3.0), ~none, weight)).all()
    assert str(figure(np.full(4, np.nan), 0)) == "–"


def test_a_fold_that_a_draw_left_out_does_not_count_in_its_mean() -> None:
    folds = [np.array([0.2, np.nan, 0.4]), np.array([0.6, 0.8, np.nan]), np.array([np.nan] * 3)]
    np.testing.assert_allclose(mean_of(folds), [0.4, 0.8, 0.4])
    found = over_folds(folds[:2], n=9)
    assert (found.value, found.n, found.folds) == (pytest.approx(0.4), 9, (0.2, 0.6))
    assert found.std == pytest.approx(np.std([0.2, 0.6], ddof=1))
    assert (found.low, found.high) == (pytest.approx(0.41), pytest.approx(0.79))
    assert str(found) == "0.400 [0.410, 0.790]"

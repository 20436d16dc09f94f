"""Calibration and proper scores against torchmetrics, scikit-learn and constructions with a known answer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss

from w2wpath.w2wnet.reliability import balanced_accuracy, brier, ece, nll


def drawn(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k) and labels, which they foretell a little too surely."""
    rng = np.random.default_rng(seed)
    probs_nk = rng.dirichlet(np.full(k, 0.5), n)
    softer_nk = 0.7 * probs_nk + 0.3 / k
    label_n = (rng.random((n, 1)) > softer_nk.cumsum(axis=1)).sum(axis=1).clip(max=k - 1)
    return probs_nk, label_n


def binned(confidence_n: np.ndarray, right_n: np.ndarray, of_bin: list[np.ndarray]) -> float:
    gaps = [len(rows) * abs(right_n[rows].mean() - confidence_n[rows].mean()) for rows in of_bin if len(rows)]
    return sum(gaps) / len(right_n)


@pytest.mark.parametrize(("k", "bins"), [(2, 15), (3, 15), (9, 10)])
def test_the_error_of_equal_widths_is_that_of_torchmetrics(k: int, bins: int) -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    probs_nk, label_n = drawn(800, k, seed=k)
    expected = multiclass_calibration_error(
        torch.from_numpy(probs_nk), torch.from_numpy(label_n), num_classes=k, n_bins=bins, norm="l1"
    )
    assert ece(probs_nk, label_n, bins) == pytest.approx(float(expected), abs=1e-6)


def test_bins_of_equal_width_hold_their_upper_edge() -> None:
    confidence_n, right_n = np.array([0.5, 0.6, 0.75, 0.76, 1.0]), np.array([1, 0, 1, 1, 0])
    probs_nk = np.stack([confidence_n, 1 - confidence_n], axis=1)
    edges = np.linspace(0, 1, 5)
    of_bin = [np.flatnonzero((confidence_n > low) & (confidence_n <= high)) for low, high in pairwise(edges)]
    assert [rows.tolist() for rows in of_bin] == [[], [0], [1, 2], [3, 4]]
    assert ece(probs_nk, 1 - right_n, bins=4) == pytest.approx(binned(confidence_n, right_n, of_bin), abs=1e-12)


def test_bins_of_equal_mass_hold_equally_many_tiles() -> None:
    probs_nk, label_n = drawn(600, 3, seed=1)
    confidence_n, right_n = probs_nk.max(axis=1), probs_nk.argmax(axis=1) == label_n
    of_bin = np.array_split(np.argsort(confidence_n), 15)
    found = ece(probs_nk, label_n, equal_mass=True)
    assert found == pytest.approx(binned(confidence_n, right_n, of_bin), abs=1e-12)
    assert found != pytest.approx(ece(probs_nk, label_n), abs=1e-6)


@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_equal_confidences_are_in_one_bin_so_the_order_of_tiles_does_not_count(pairs: list[tuple[float, bool]]) -> None:
    confidence_n, label_n = np.array([c for c, _ in pairs]), np.array([int(wrong) for _, wrong in pairs])
    probs_nk = np.stack([confidence_n, 1 - confidence_n], axis=1)
    for equal_mass in (False, True):
        found = ece(probs_nk, label_n, 4, equal_mass)
        assert found == pytest.approx(ece(probs_nk[::-1], label_n[::-1], 4, equal_mass), abs=1e-12)
        assert 0 <= found <= 1


@given(st.integers(1, 30), st.booleans(), st.lists(st.integers(6, 10), min_size=1, max_size=5, unique=True))
def test_the_error_of_probabilities_that_come_true_is_0(bins: int, equal_mass: bool, tenths: list[int]) -> None:
    # of every ten tiles with confidence c / 10, c are right
    confidence_n = np.repeat(np.array(tenths) / 10, 10)
    label_n = np.concatenate([np.arange(10) >= right for right in tenths]).astype(int)
    probs_nk = np.stack([confidence_n, 1 - confidence_n], axis=1)
    assert ece(probs_nk, label_n, bins, equal_mass) == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_a_network_that_is_surely_wrong_is_1() -> None:
    sure_nk = np.eye(3)[[0, 1, 2, 0]]
    assert ece(sure_nk, np.array([1, 2, 0, 1])) == ece(sure_nk, np.array([1, 2, 0, 1]), equal_mass=True) == 1.0
    assert ece(sure_nk, np.array([0, 1, 2, 0])) == 0.0


def test_proper_scores_are_those_of_their_formulas() -> None:
    probs_nk, label_n = drawn(500, 4, seed=2)
    one_hot_nk = np.eye(4)[label_n]
    assert brier(probs_nk, label_n) == pytest.approx(((probs_nk - one_hot_nk) ** 2).sum(axis=1).mean(), abs=1e-12)
    assert nll(probs_nk, label_n) == pytest.approx(log_loss(label_n, probs_nk, labels=range(4)), abs=1e-9)
    assert brier(np.eye(2)[[0, 0]], np.array([0, 1])) == 1.0


def test_proper_scores_are_least_where_the_labels_are_drawn_from_the_probabilities() -> None:
    rng = np.random.default_rng(3)
    probs_nk = rng.dirichlet(np.ones(3), 20000)
    label_n = (rng.random((len(probs_nk), 1)) > probs_nk.cumsum(axis=1)).sum(axis=1).clip(max=2)
    for other_nk in (0.8 * probs_nk + 0.2 / 3, probs_nk**2 / (probs_nk**2).sum(axis=1, keepdims=True)):
        assert brier(probs_nk, label_n) < brier(other_nk, label_n)
        assert nll(probs_nk, label_n) < nll(other_nk, label_n)


def test_a_label_of_probability_0_is_dear_but_finite() -> None:
    sure_nk = np.array([[1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    assert nll(sure_nk, np.array([0, 1])) == pytest.approx(87.3365 / 2, abs=1e-3)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_balanced_accuracy_is_the_mean_recall(pairs: list[tuple[int, int]]) -> None:
    label_n, other_n = np.array([label for label, _ in pairs]), np.array([said for _, said in pairs])
    # scikit-learn warns of a prediction that no label has, and of a single class
    predicted_n = np.where(np.isin(other_n, label_n), other_n, label_n)
    expected = balanced_accuracy_score(label_n, predicted_n) if len(set(label_n)) > 1 else 1.0
    assert balanced_accuracy(predicted_n, label_n) == pytest.approx(expected)


def test_balanced_accuracy_gives_a_rare_class_its_say() -> None:
    label_n = np.array([0] * 98 + [1] * 2)
    assert balanced_accuracy(np.zeros(100, dtype=int), label_n) == 0.5


def test_no_tiles_give_no_figure() -> None:
    none_nk, none_n = np.empty((0, 3)), np.empty(0, dtype=int)
    assert np.isnan([ece(none_nk, none_n), brier(none_nk, none_n), nll(none_nk, none_n)]).all()
    assert np.isnan(balanced_accuracy(none_n, none_n))


def test_logits_are_refused() -> None:
    for figure in (ece, brier, nll):
        with pytest.raises(
            ValueError, match=r"^probs_nk rows must sum to 1 \(worst gap 2\); apply softmax to logits f"
        ):
            figure(np.array([[2.0, 1.0]]), np.array([0]))

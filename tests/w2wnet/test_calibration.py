"""A temperature makes probabilities honest and names no other class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.calibration import COOLEST, HOTTEST, apply, calibrate, fit_temperature


def softmax(logit_nk: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logit_nk - logit_nk.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def world(n: int, k: int = 4, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits (n, k), and labels drawn by the very probabilities that they state."""
    rng = np.random.default_rng(seed)
    logit_nk = 2.0 * rng.standard_normal((n, k))
    label_n = (rng.random((n, 1)) > softmax(logit_nk).cumsum(axis=1)).sum(axis=1)
    return logit_nk, np.minimum(label_n, k - 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    logit_nk, label_n = world(20_000)
    probs_nk = softmax(temperature * logit_nk).astype(np.float32)
    assert fit_temperature(probs_nk, label_n) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("temperature", [0.4, 2.5])
def test_what_was_too_sure_or_not_sure_enough_is_calibrated_afterwards(temperature: float) -> None:
    logit_nk, label_n = world(20_000)
    found = calibrate(softmax(temperature * logit_nk), label_n)
    assert found.tiles == 20_000
    assert found.nll_after < found.nll_before
    assert found.ece_after < 0.015 < 0.08 < found.ece_before


def test_a_fixed_temperature_is_not_fitted() -> None:
    logit_nk, label_n = world(500)
    found = calibrate(softmax(3.0 * logit_nk), label_n, fixed=1.0)
    assert (found.temperature, found.nll_after, found.ece_after) == (1.0, found.nll_before, found.ece_before)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10_000), k=st.integers(2, 9), scale=st.floats(0, 50), temperature=st.floats(COOLEST, HOTTEST)
)
def test_the_most_probable_class_stays(seed: int, k: int, scale: float, temperature: float) -> None:
    logit_nk = scale * np.random.default_rng(seed).standard_normal((20, k))
    probs_nk = softmax(logit_nk).astype(np.float32)
    said = apply(probs_nk, temperature)
    assert np.allclose(said.sum(axis=1), 1)
    best = probs_nk.argmax(axis=1)
    assert np.array_equal(said[np.arange(20), best], said.max(axis=1))


def test_at_one_nothing_changes_and_temperatures_multiply() -> None:
    probs_nk = softmax(world(50)[0])
    assert np.array_equal(apply(probs_nk, 1.0), probs_nk)
    assert np.allclose(apply(apply(probs_nk, 2.0), 3.0), apply(probs_nk, 6.0))
    assert np.allclose(apply(probs_nk, 1.0 + 1e-12), probs_nk)


def test_certain_probabilities_stay_finite() -> None:
    assert np.isfinite(apply(np.eye(3), HOTTEST)).all()
    assert np.isfinite(apply(np.eye(3), COOLEST)).all()
    assert COOLEST <= fit_temperature(np.eye(3), np.array([1, 2, 0])) <= HOTTEST


def test_a_network_that_named_every_tile_right_does_not_become_infinitely_sure() -> None:
    probs_nk, label_n = np.full((100, 2), [0.9, 0.1]), np.zeros(100, dtype=int)
    surest = apply(probs_nk, fit_temperature(probs_nk, label_n)).max()
    # one tile in 101 with a label of both classes
    assert surest == pytest.approx(1 - 0.5 / 101, abs=1e-4)


def test_without_tiles_the_temperature_is_one() -> None:
    found = calibrate(np.zeros((0, 3)), np.zeros(0, dtype=int))
    assert (found.temperature, found.tiles) == (1.0, 0)
    assert np.isnan([found.nll_before, found.nll_after, found.ece_before, found.ece_after]).all()


def test_nan_and_what_is_no_probability_are_refused() -> None:
    with pytest.raises(NonFiniteScoreError):
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))
    with pytest.raises(ValueError, match="apply softmax to logits first"):
        fit_temperature(np.array([[3.0, -1.0]]), np.array([0]))

"""The second reader doubts labels that do not fit tiles alike; its features are finite and of fixed number."""

from __future__ import annotations

import numpy as np

from tests.w2wnet.conftest import cut_up, glass, tissue
from w2wpath.w2wnet.second_reader import second_reading
from w2wpath.w2wnet.texture import COUNT, measure, within


def test_flipped_labels_are_doubted_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(120) % 3
    features = np.eye(3)[true] * 4 + rng.normal(size=(120, 3))
    given = true.copy()
    given[:9] = (true[:9] + 1) % 3
    probs = second_reading(features, given, 3, seed=0)
    assert np.allclose(probs.sum(axis=1), 1)
    assert np.array_equal(probs, second_reading(features, given, 3, seed=0))
    of_given = probs[np.arange(120), given]
    # small leaves of noisy labels never say more than some two thirds; what counts is the order
    assert of_given[:9].max() < np.percentile(of_given[9:], 5)
    assert (probs.argmax(axis=1) == true)[9:].mean() > 0.9


def test_a_tile_that_is_the_only_one_of_its_class_is_read_as_another() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    features = np.concatenate([np.zeros((20, 2)), np.ones((20, 2)), [[5.0, 5.0]]])
    assert second_reading(features, labels, 3, seed=1)[-1, 2] == 0.0


def test_tiles_of_any_size_have_the_same_number_of_finite_features() -> None:
    for px in (16, 64, 130):
        images = np.concatenate([cut_up(tissue(px * 2), px), cut_up(glass(px), px)])
        found = measure(images)
        assert (found.shape, found.dtype) == ((5, COUNT), np.float32)
        assert np.isfinite(found).all()
    assert measure(images[:0]).shape == (0, COUNT)


def test_z_is_taken_within_each_group_and_a_constant_has_none() -> None:
    features = np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [100.0, 7.0], [101.0, 7.0], [102.0, 7.0]])
    both = within(features, np.array([0, 0, 0, 1, 1, 1]))
    assert np.array_equal(both[:, :2], features)
    assert np.allclose(both[:, 2], [-1 / 1.4826, 0, 1 / 1.4826] * 2)
    assert (both[:, 3] == 0).all()

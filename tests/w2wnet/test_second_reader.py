"""The second reader doubts labels that do not fit tiles alike; its features are finite and of fixed number."""

from __future__ import annotations

import numpy as np

from tests.w2wnet.conftest import cut_up, glass, tissue
from w2wpath.w2wnet import second_reader
from w2wpath.w2wnet.second_reader import second_reading
from w2wpath.w2wnet.texture import COUNT, measure, within


def test_flipped_labels_are_doubted_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(120) % 3
    features = np.eye(3)[true] * 4 + rng.normal(size=(120, 3))
    given = true.copy()
    given[:9] = (true[:9] + 1) % 3
    one = np.zeros(120, dtype=np.intp)
    probs = second_reading(features, one, given, 3, seed=0)
    assert np.allclose(probs.sum(axis=1), 1)
    assert np.array_equal(probs, second_reading(features, one, given, 3, seed=0))
    of_given = probs[np.arange(120), given]
    # small leaves of noisy labels never say more than some two thirds; what counts is the order
    assert of_given[:9].max() < np.percentile(of_given[9:], 5)
    assert (probs.argmax(axis=1) == true)[9:].mean() > 0.9


def test_a_copy_is_never_read_after_its_original_was_learned() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(120) % 3
    features = (np.eye(3)[true] * 0.5 + rng.normal(size=(120, 3))).astype(np.float32)
    copied = rng.choice(120, 30, replace=False)
    both = np.concatenate([features, features[copied]])
    given = np.concatenate([true, (true[copied] + 1) % 3])
    patient = np.arange(150) % 2  # copies lie in other patients too
    probs = second_reading(both, patient, given, 3, seed=0)
    parts = second_reader._parts(both, given, np.random.default_rng(0))
    assert np.array_equal(parts[120:], parts[copied])
    # with the originals learned, nearly every copy would read as its original: here as often as any other tile
    read = probs.argmax(axis=1)
    alone = second_reading(features, patient[:120], true, 3, seed=0).argmax(axis=1)
    assert abs((read[120:] == true[copied]).mean() - (alone == true).mean()) < 0.2


def test_many_tiles_with_the_same_pixels_are_a_kind_of_their_own_and_are_learned() -> None:
    rng = np.random.default_rng(0)
    blank, tissue_like = np.full((60, 3), 9.0), rng.normal(size=(60, 3))
    given = np.array([0] * 60 + [1] * 60)
    given[:6] = 1
    probs = second_reading(np.concatenate([blank, tissue_like]), np.zeros(120, dtype=np.intp), given, 2, seed=0)
    assert probs[6:60, 0].min() > 0.5
    assert probs[:6, 1].max() < 0.5


def test_parts_are_dealt_alike_where_no_tile_is_a_copy() -> None:
    labels = np.array([0] * 23 + [1] * 20)
    parts = second_reader._parts(np.arange(43.0)[:, None], labels, np.random.default_rng(1))
    for label in (0, 1):
        counts = np.bincount(parts[labels == label], minlength=second_reader.PARTS)
        assert counts.max() - counts.min() <= 1


def test_a_tile_that_is_the_only_one_of_its_class_is_read_as_another() -> None:
    labels = np.array([0] * 20 + [1] * 20 + [2])
    features = np.concatenate([np.zeros((20, 2)), np.ones((20, 2)), [[5.0, 5.0]]])
    assert second_reading(features, np.zeros(41, dtype=np.intp), labels, 3, seed=1)[-1, 2] == 0.0


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

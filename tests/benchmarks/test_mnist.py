"""MNIST with known faults: what is planted, what is told apart from the data, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.benchmarks.mnist import CLASSES, Digits, clean, flipped, spurious_letters
from w2wpath.errors import ConfigError

STORED = 60
"""Digits in the small files; image i holds i in every pixel, letters 100 + i."""


def write_files(folder: Path, letters: int = 20) -> Path:
    def images(first: int, count: int) -> np.ndarray:
        return np.tile(np.arange(first, first + count, dtype=np.uint8)[:, None, None], (1, 28, 28))

    folder.mkdir(parents=True, exist_ok=True)
    digits = {"x_train": images(0, STORED), "y_train": (np.arange(STORED) % 10).astype(np.uint8)}
    np.savez(folder / "mnist.npz", **digits)
    np.savez(folder / "letters_az.npz", x=images(100, letters), y=np.zeros(letters, dtype=np.uint8))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("mnist"))


def test_clean_digits_are_drawn_once_each_with_their_own_labels(folder: Path) -> None:
    data, truth = clean(folder, 50, 0)
    which = data.images[:, 0, 0, 0].astype(int)
    assert len(set(which)) == 50
    assert data.labels.tolist() == (which % 10).tolist() == truth.content.tolist()
    assert (data.images.shape, data.images.dtype, data.classes) == ((50, 28, 28, 3), np.uint8, CLASSES)
    assert (data.images == data.images[..., :1]).all()
    assert (truth.spurious.sum(), set(truth.kind), truth.share_of_set, truth.share_of_originals) == (0, {""}, 0, 0)


def test_letters_are_appended_shuffled_and_known_only_to_the_truth(folder: Path) -> None:
    data, truth = spurious_letters(folder, 50, 0.3, 0)
    which = data.images[:, 0, 0, 0]
    assert len(data.labels) == 65
    assert np.array_equal(truth.spurious, which >= 100)
    assert truth.spurious.sum() == len(set(which[truth.spurious].tolist())) == 15
    assert set(truth.kind[truth.spurious]) == {"letter"}
    assert (truth.content[truth.spurious] == -1).all()
    good = ~truth.spurious
    assert np.array_equal(data.labels[good], which[good] % 10)
    assert not truth.spurious[-15:].all(), "the letters all stand at the end"
    assert truth.originals == 50
    assert truth.share_of_originals == 0.3
    assert truth.share_of_set == pytest.approx(15 / 65)


def test_the_labels_of_letters_are_uniform_digits(tmp_path: Path) -> None:
    letters = 150
    data, truth = spurious_letters(write_files(tmp_path, letters), STORED, 1.0, 0)
    many = [spurious_letters(tmp_path, STORED, 1.0, seed) for seed in range(40)]
    labels = np.concatenate([data.labels[truth.spurious] for data, truth in [(data, truth), *many]])
    expected = len(labels) / 10
    assert np.abs(np.bincount(labels, minlength=10) - expected).max() < 5 * np.sqrt(expected)


def test_flips_give_exactly_the_share_another_label_and_leave_the_images(folder: Path) -> None:
    data, truth = flipped(folder, 50, 0.2, 3)
    plain, _ = clean(folder, 50, 3)
    assert np.array_equal(data.images, plain.images)
    assert np.array_equal(truth.content, plain.labels)
    assert np.array_equal(truth.spurious, data.labels != plain.labels)
    assert truth.spurious.sum() == 10
    assert set(truth.kind[truth.spurious]) == {"flip"}
    assert truth.share_of_set == truth.share_of_originals == 0.2


@given(n=st.integers(1, STORED), share=st.floats(0, 0.3), seed=st.integers(0, 9))
def test_the_number_of_faults_is_the_rounded_share(folder: Path, n: int, share: float, seed: int) -> None:
    for make, size in ((flipped, n), (spurious_letters, n + round(share * n))):
        data, truth = make(folder, n, share, seed)
        assert truth.spurious.sum() == round(share * n)
        assert len(data.labels) == len(truth.spurious) == len(truth.kind) == len(truth.content) == size
        assert truth.share_of_originals == round(share * n) / n


def test_a_seed_gives_the_same_set_and_another_seed_another(folder: Path) -> None:
    for make in (flipped, spurious_letters):
        (one, of_one), (same, of_same), (other, _) = (make(folder, 40, 0.2, seed) for seed in (1, 1, 2))
        assert np.array_equal(one.images, same.images)
        assert np.array_equal(one.labels, same.labels)
        assert np.array_equal(of_one.kind, of_same.kind)
        assert not np.array_equal(one.images, other.images)


def test_what_a_learner_sees_holds_no_truth_and_does_not_change(folder: Path) -> None:
    data, _ = flipped(folder, 20, 0.2, 0)
    assert [field.name for field in dataclasses.fields(data)] == ["images", "labels", "classes"]
    for array in (data.images, data.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, 28, 28), np.uint8),
            np.zeros(2, np.int16),
            "images must be (2, 28, 28, 3) uint8, got uint8 (2, 28, 28)",
        ),
        (np.zeros((2, 28, 28, 3), np.uint8), np.zeros(2, int), "labels must be (2,) int16, got int64 (2,)"),
        (np.zeros((1, 28, 28, 3), np.uint8), np.full(1, 10, np.int16), "labels must be 0 to 9"),
        (np.zeros((1, 28, 28, 3), np.uint8), np.full(1, -1, np.int16), "labels must be 0 to 9"),
    ],
    ids=["no colour", "wide labels", "eleventh class", "no label"],
)
def test_a_set_that_cannot_be_is_refused(images: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        Digits(images, labels)
    assert str(caught.value) == message


def refusal(call: object) -> str:
    with pytest.raises(ConfigError) as caught:
        call()  # type: ignore[operator]
    return str(caught.value)


def test_missing_files_are_named_with_the_cure(tmp_path: Path) -> None:
    cure = "no such file. Give the folder that holds mnist.npz and letters_az.npz."
    assert refusal(lambda: clean(tmp_path, 5, 0)) == f"{tmp_path / 'mnist.npz'}: {cure}"
    (write_files(tmp_path) / "letters_az.npz").unlink()
    assert refusal(lambda: spurious_letters(tmp_path, 5, 0.2, 0)) == f"{tmp_path / 'letters_az.npz'}: {cure}"


def test_files_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"PK not a zip")
    again = "Get the file again."
    assert refusal(lambda: clean(tmp_path, 5, 0)) == f"{path}: not an npz (File is not a zip file). {again}"
    np.savez(path, x_train=np.zeros((3, 14, 14), np.uint8), y_train=np.zeros(3, np.uint8))
    assert refusal(lambda: clean(tmp_path, 2, 0)) == (
        f"{path}: x_train must be one or more images, (n, 28, 28) uint8; got uint8 (3, 14, 14). {again}"
    )
    np.savez(path, x_train=np.zeros((3, 28, 28), np.uint8))
    assert refusal(lambda: clean(tmp_path, 2, 0)) == (
        f"{path}: has no array y_train; it holds x_train. An npz with x_train, y_train is needed."
    )


def test_more_than_there_is_and_shares_that_are_none_are_refused(folder: Path) -> None:
    assert refusal(lambda: clean(folder, 61, 0)) == (
        f"{folder / 'mnist.npz'}: holds 60 training digits, 61 were asked for. Ask for fewer."
    )
    assert refusal(lambda: spurious_letters(folder, 50, 0.5, 0)) == (
        f"{folder / 'letters_az.npz'}: holds 20 letters, 25 were asked for. Ask for fewer."
    )
    assert refusal(lambda: clean(folder, 0, 0)) == "n must be at least 1; got 0."
    for share in (-0.1, 1.5, float("nan")):
        assert refusal(lambda share=share: flipped(folder, 50, share, 0)) == (
            f"share must be between 0 and 1; got {share}."
        )


@pytest.mark.realdata
def test_the_real_letters_and_digits_are_alike_in_ink_and_place(test_data: Path) -> None:
    data, truth = spurious_letters(test_data / "mnist", 1000, 0.3, 0)
    grey = data.images[..., 0].astype(np.float64)
    ink, centre = grey.mean(axis=(1, 2)), (grey @ np.arange(28.0)).sum(axis=1) / grey.sum(axis=(1, 2))
    for value, most in ((ink, 1.5), (centre, 1.2)):
        ratio = value[truth.spurious].mean() / value[~truth.spurious].mean()
        assert 1 / most < ratio < most
    assert np.array_equal(data.labels[~truth.spurious], truth.content[~truth.spurious])

"""Letters: EMNIST stands upright after reading, what stands in for it is split without overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.sources.files import Arrays, refusal, small_set, write_idx
from w2wpath.benchmarks.sources.letters import CLASSES, CURE, IDX, for_test, read_letters
from w2wpath.benchmarks.sources.source import Source

UPRIGHT = small_set((28, 28), 26, train=60)


def as_emnist(arrays: Arrays) -> Arrays:
    """Transposed and counted from 1, as EMNIST is stored."""
    lying = {name: array.transpose(0, 2, 1) for name, array in arrays.items() if name.startswith("x")}
    return lying | {name: array + np.uint8(1) for name, array in arrays.items() if name.startswith("y")}


def same(source: Source, arrays: Arrays) -> None:
    for split in ("train", "test"):
        assert np.array_equal(source.images[split], np.repeat(arrays[f"x_{split}"][..., None], 3, axis=3))
        assert np.array_equal(source.labels[split], arrays[f"y_{split}"])


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
def test_emnist_is_turned_upright_and_counted_from_a(tmp_path: Path, gz: bool) -> None:
    source = read_letters(write_idx(tmp_path, as_emnist(UPRIGHT), IDX, gz=gz))
    same(source, UPRIGHT)
    assert (source.name, source.stands_in_for) == ("EMNIST letters", None)
    assert "".join(source.classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_emnist_goes_before_what_stands_in_for_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "letters_az.npz", x=UPRIGHT["x_test"], y=UPRIGHT["y_test"])
    source = read_letters(write_idx(tmp_path, as_emnist(UPRIGHT), IDX))
    same(source, UPRIGHT)
    assert source.origin.splitlines()[-1] == ("not read, in favour of the idx files, plain or .gz: letters_az.npz")


def test_an_npz_with_a_split_keeps_it_and_stands_in(tmp_path: Path) -> None:
    np.savez(tmp_path / "my_letters.npz", **UPRIGHT)
    source = read_letters(tmp_path)
    same(source, UPRIGHT)
    assert (source.name, source.stands_in_for) == ("letters of my_letters.npz", "EMNIST letters")


def alphabet(each: int) -> tuple[np.ndarray, np.ndarray]:
    """`each` different images of every letter; the first pixels hold letter and number."""
    labels = np.repeat(np.arange(26, dtype=np.uint8), each)
    images = np.zeros((len(labels), 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = labels, np.tile(np.arange(each), 26)
    return images, labels


def test_an_npz_without_a_split_is_split_four_to_one_within_each_letter(tmp_path: Path) -> None:
    images, labels = alphabet(20)
    np.savez(tmp_path / "letters_az.npz", x=images, y=labels)
    source = read_letters(tmp_path)
    assert source.stands_in_for == "EMNIST letters"
    assert np.bincount(source.labels["train"]).tolist() == [16] * 26
    assert np.bincount(source.labels["test"]).tolist() == [4] * 26
    sides = {split: {image.tobytes() for image in source.images[split]} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]
    assert len(sides["train"] | sides["test"]) == len(images)
    for split in ("train", "test"):
        assert np.array_equal(source.images[split][:, 0, 0, 0], source.labels[split])


@given(
    letters=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80),
    seed=st.integers(0, 9),
)
def test_no_image_is_on_both_sides_and_order_changes_nothing(letters: list[tuple[int, int]], seed: int) -> None:
    labels = np.array([letter for letter, _ in letters], dtype=np.int16)
    images = np.array([picture for _, picture in letters], dtype=np.uint8)[:, None, None]
    test = for_test(images, labels)
    assert not set(images[test].ravel()) & set(images[~test].ravel())
    order = np.random.default_rng(seed).permutation(len(letters))
    assert np.array_equal(for_test(images[order], labels[order]), test[order])


@given(each=st.integers(1, 30))
def test_the_share_for_the_test_is_the_nearest_to_a_fifth(each: int) -> None:
    images, labels = alphabet(each)
    assert (
        np.bincount(labels[for_test(images, labels.astype(np.int16))], minlength=26).tolist() == [round(each / 5)] * 26
    )


def test_letters_that_are_none_or_too_few_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "letters_az.npz"
    images, labels = alphabet(2)
    np.savez(path, x=images, y=labels)
    assert refusal(lambda: read_letters(tmp_path)) == (
        f"{path}: no letter has 3 different images, so none can be split into training and test. Give more letters."
    )
    np.savez(path, x=images, y=labels + np.uint8(1))
    assert refusal(lambda: read_letters(tmp_path)) == f"{path}: y must be 0 to 25; got 1 to 26. {CURE}"
    np.savez(path, x=images)
    assert refusal(lambda: read_letters(tmp_path)) == (
        f"{path}: has no array x_train, y_train, x_test, y_test; it holds x. "
        "An npz with x_train, y_train, x_test, y_test is needed."
    )


def test_emnist_labels_out_of_range_are_refused_as_the_file_counts(tmp_path: Path) -> None:
    write_idx(tmp_path, {**as_emnist(UPRIGHT), "y_test": np.arange(10, dtype=np.uint8)}, IDX)
    assert refusal(lambda: read_letters(tmp_path)) == (
        f"{tmp_path / IDX['test'][1]}: its labels must be 1 to 26; got 0 to 9. Get the file again."
    )


def test_what_is_missing_is_named_with_the_cure(tmp_path: Path) -> None:
    assert refusal(lambda: read_letters(tmp_path)) == (
        f"{tmp_path}: EMNIST letters is not in this folder. Looked for the idx files, plain or .gz "
        "(emnist-letters-train-images-idx3-ubyte, emnist-letters-train-labels-idx1-ubyte, "
        "emnist-letters-test-images-idx3-ubyte, emnist-letters-test-labels-idx1-ubyte); or *letters*.npz. Get it from "
        "the EMNIST page of NIST (https://www.nist.gov/itl/products-and-services/emnist-dataset), as gzip.zip, of "
        "which the four files of the letters are needed, and put the files into this folder as they are. Their md5: "
        "gzip.zip 58c8d27c78d21e728a6bc7b3cc06412e."
    )


@pytest.mark.realdata
def test_the_real_letters_are_all_there_and_on_one_side(test_data: Path) -> None:
    source = read_letters(test_data / "mnist")
    counts = {split: np.bincount(labels, minlength=len(CLASSES)) for split, labels in source.labels.items()}
    both = counts["train"] + counts["test"]
    assert both.sum() == 5934
    assert (np.abs(counts["test"] / both - 0.2) < 0.02).all()
    sides = {split: {image.tobytes() for image in source.images[split]} for split in ("train", "test")}
    assert not sides["train"] & sides["test"]

"""Every form of a public set gives the same arrays; what is missing, damaged or hostile is refused in words."""

from __future__ import annotations

import gzip
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.sources.conftest import (
    Arrays,
    batch,
    batches,
    idx,
    write_archive,
    write_idx,
    write_sprites,
)
from w2wpath.benchmarks.sources import cifar10, letters, mnist
from w2wpath.benchmarks.sources.cifar10 import read_cifar10
from w2wpath.benchmarks.sources.letters import read_letters
from w2wpath.benchmarks.sources.mnist import read_mnist
from w2wpath.benchmarks.sources.source import Source
from w2wpath.errors import ConfigError

NO_IDX = "not an idx file of unsigned bytes in 3 dimension(s): it begins with"


def same(source: Source, arrays: Arrays) -> None:
    for split, (x, y) in arrays.items():
        grey = x.ndim == 3
        images, given = source.images[split], source.labels[split]  # type: ignore[index] # "train" or "test"
        assert (images.dtype, given.dtype) == (np.uint8, np.int16)
        np.testing.assert_array_equal(images, np.repeat(x[..., None], 3, axis=3) if grey else x)
        np.testing.assert_array_equal(given, y)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_mnist_as_idx(digits: Arrays, tmp_path: Path, packed: bool, dot: bool) -> None:
    write_idx(tmp_path, dict(mnist.FILES), digits, packed=packed, dot=dot)
    source = read_mnist(tmp_path)
    same(source, digits)
    assert (source.name, source.stands_in_for, len(source.origin.splitlines())) == ("MNIST", None, 4)


def test_mnist_as_npz_is_preferred(digits: Arrays, tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = digits["train"], digits["test"]
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"nonsense")
    source = read_mnist(tmp_path)
    same(source, digits)
    assert source.origin.startswith("mnist.npz sha256 ")


def test_emnist_is_turned_to_stand_as_digits_do(digits: Arrays, tmp_path: Path) -> None:
    stored = {split: (x.transpose(0, 2, 1).copy(), y % 26 + 1) for split, (x, y) in digits.items()}
    write_idx(tmp_path, dict(letters.EMNIST), stored, packed=True, dot=False)
    source = read_letters(tmp_path)
    same(source, {split: (x, y % 26) for split, (x, y) in digits.items()})
    assert (source.name, source.stands_in_for) == ("EMNIST letters", None)


def test_one_list_of_letters_is_parted_within_each_letter(tmp_path: Path) -> None:
    y = np.repeat(np.arange(26), 11)
    x = np.random.default_rng(0).integers(0, 256, (len(y), 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "letters_az.npz", x=x, y=y)
    source = read_letters(tmp_path)
    assert {split: len(one) for split, one in source.labels.items()} == {"train": 26 * 9, "test": 26 * 2}
    both = {split: {one.tobytes() for one in images} for split, images in source.images.items()}
    assert not both["train"] & both["test"]
    assert (source.name, source.stands_in_for) == ("letters_az.npz", "EMNIST letters")


def test_letters_that_are_parted_already_stay_so(digits: Arrays, tmp_path: Path) -> None:
    (x, y), (x_test, y_test) = digits["train"], digits["test"]
    np.savez(tmp_path / "letters.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    same(read_letters(tmp_path), digits)


def as_batches(folder: Path, arrays: Arrays) -> None:
    (folder / cifar10.FOLDER).mkdir()
    for name, data in batches(arrays).items():
        (folder / cifar10.FOLDER / name).write_bytes(data)


def as_archive(folder: Path, arrays: Arrays) -> None:
    write_archive(folder / cifar10.ARCHIVE, batches(arrays))


def as_npz(folder: Path, arrays: Arrays) -> None:
    (x, y), (x_test, y_test) = arrays["train"], arrays["test"]
    np.savez(folder / cifar10.NPZ, x_train=x, y_train=y[:, None], x_test=x_test, y_test=y_test[:, None])


@pytest.mark.parametrize("write", [as_batches, as_archive, as_npz, write_sprites])
def test_every_form_of_cifar10_is_the_same(
    pictures: Arrays, tmp_path: Path, write: Callable[[Path, Arrays], None]
) -> None:
    write(tmp_path, pictures)
    same(read_cifar10(tmp_path), pictures)


# what is missing ----------------------------------------------------------------------------------------------------


def test_a_set_that_is_not_there_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_mnist(tmp_path)
    absent = ", ".join(name for names in mnist.FILES.values() for name in names)
    assert str(caught.value) == f"{tmp_path}: none of mnist.npz; {absent} (.gz or not) is there. {mnist.WHERE}"
    with pytest.raises(ConfigError) as caught:
        read_letters(tmp_path)
    absent = ", ".join(name for names in letters.EMNIST.values() for name in names)
    files = f"{absent} (.gz or not); letters.npz; letters_az.npz"
    assert str(caught.value) == f"{tmp_path}: none of {files} is there. {letters.WHERE}"
    with pytest.raises(ConfigError) as caught:
        read_cifar10(tmp_path)
    forms = "cifar-10-batches-py/; cifar-10-python.tar.gz; cifar10.npz; labels.npz beside train_*.webp"
    assert str(caught.value) == f"{tmp_path}: none of {forms} is there. {cifar10.WHERE}"


def test_a_missing_batch_is_named(pictures: Arrays, tmp_path: Path) -> None:
    made = batches(pictures)
    del made["data_batch_3"]
    write_archive(tmp_path / cifar10.ARCHIVE, made)
    with pytest.raises(ConfigError) as caught:
        read_cifar10(tmp_path)
    assert str(caught.value) == f"{tmp_path / cifar10.ARCHIVE}: data_batch_3 is not in it. {cifar10.WHERE}"


def test_a_missing_sheet_is_told(pictures: Arrays, tmp_path: Path) -> None:
    write_sprites(tmp_path, pictures)
    (tmp_path / "train_01.webp").unlink()
    with pytest.raises(ConfigError) as caught:
        read_cifar10(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: 10 train labels, but 6 images in 1 sheet(s) train_*.webp. Get the missing sheets."
    )


# what is damaged ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", f"{NO_IDX} nothing."),
        (
            b"\0\0\x0d\x03" + bytes(12),
            "not an idx file of unsigned bytes in 3 dimension(s): it begins with 00 00 0d 03.",
        ),
        (
            idx(np.zeros(4, np.uint8)),
            "not an idx file of unsigned bytes in 3 dimension(s): it begins with 00 00 08 01.",
        ),
        (idx(np.zeros((2, 28, 28), np.uint8))[:-1], "says 2 x 28 x 28 = 1568 bytes and holds 1567."),
        (idx(np.zeros((2, 28, 28), np.uint8)) + b"x", "says 2 x 28 x 28 = 1568 bytes and holds 1569."),
    ],
)
def test_a_broken_idx_file_is_refused(digits: Arrays, tmp_path: Path, data: bytes, told: str) -> None:
    write_idx(tmp_path, dict(mnist.FILES), digits, packed=False, dot=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_mnist(tmp_path)
    assert str(caught.value) == f"{path}: {told} Get the file again."


def test_a_torn_gzip_is_refused(digits: Arrays, tmp_path: Path) -> None:
    write_idx(tmp_path, dict(mnist.FILES), digits, packed=True, dot=False)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigError, match=r"ubyte\.gz: cannot be read \(.*\)\. Get the file again\.$"):
        read_mnist(tmp_path)
    path.write_bytes(gzip.compress(b"")[:5])
    with pytest.raises(ConfigError, match=r"cannot be read"):
        read_mnist(tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"x_train": np.zeros((12, 27, 28), np.uint8)}, "images must be (n, 28, 28) uint8; got uint8 (12, 27, 28)."),
        ({"x_train": np.zeros((12, 28, 28))}, "images must be (n, 28, 28) uint8; got float64 (12, 28, 28)."),
        ({"y_train": np.zeros(11, int)}, "12 images need as many whole-number labels; got int64 (11,)."),
        ({"y_train": np.zeros(12)}, "12 images need as many whole-number labels; got float64 (12,)."),
        ({"y_train": np.arange(12)}, "labels must be 0 to 9; got 0 to 11."),
        ({"y_train": np.arange(12) - 3}, "labels must be 0 to 9; got -3 to 8."),
    ],
)
def test_arrays_that_are_not_mnist_are_refused(
    digits: Arrays, tmp_path: Path, changes: dict[str, np.ndarray], told: str
) -> None:
    (x, y), (x_test, y_test) = digits["train"], digits["test"]
    whole = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
    np.savez(tmp_path / "mnist.npz", **(whole | changes))  # type: ignore[arg-type] # numpy's stub has its own keyword
    with pytest.raises(ConfigError) as caught:
        read_mnist(tmp_path)
    assert str(caught.value) == f"{tmp_path / 'mnist.npz'}: {told} Get the file again."


@pytest.mark.parametrize("data", [b"nonsense", b"", b"PK\x03\x04 torn"])
def test_an_npz_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mnist.npz").write_bytes(data)
    (tmp_path / "letters.npz").write_bytes(data)
    with pytest.raises(ConfigError, match=r"mnist\.npz: not an npz with the plain arrays x_train, y_train, x_test"):
        read_mnist(tmp_path)
    with pytest.raises(ConfigError, match=r"letters\.npz: not an npz \("):
        read_letters(tmp_path)


def test_objects_in_an_npz_are_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    np.savez(tmp_path / "mnist.npz", x_train=np.array([Runs(mark)], dtype=object), y_train=0, x_test=0, y_test=0)
    with pytest.raises(ConfigError, match="Object arrays cannot be loaded"):
        read_mnist(tmp_path)
    assert not mark.exists()


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("write", [as_batches, as_archive])
def test_a_hostile_batch_runs_nothing(pictures: Arrays, tmp_path: Path, write: Callable[[Path, Arrays], None]) -> None:
    mark = tmp_path / "ran"
    write(tmp_path, pictures)
    hostile = pickle.dumps({b"data": Runs(mark), b"labels": [0]}, protocol=2)
    if write is as_archive:
        path = tmp_path / cifar10.ARCHIVE / "test_batch"
        write_archive(tmp_path / cifar10.ARCHIVE, batches(pictures) | {"test_batch": hostile})
    else:
        path = tmp_path / cifar10.FOLDER / "test_batch"
        path.write_bytes(hostile)
    with pytest.raises(ConfigError) as caught:
        read_cifar10(tmp_path)
    assert str(caught.value) == (
        f"{path}: not a batch of CIFAR-10 (it asks for {os.system.__module__}.system, which no batch of CIFAR-10 "
        "needs). Get the file again."
    )
    assert not mark.exists()
    pickle.loads(hostile)
    assert mark.exists()  # so the test would have seen it


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (pickle.dumps([1, 2]), "has no data and labels, as a batch of CIFAR-10 has."),
        (pickle.dumps({b"data": 3, b"labels": [0]}), "has no data and labels, as a batch of CIFAR-10 has."),
        (pickle.dumps({b"labels": [0]}), "has no data and labels, as a batch of CIFAR-10 has."),
        (
            batch(np.zeros((2, 32, 31, 3), np.uint8), np.zeros(2, np.uint8)),
            "data must be (2, 3072) uint8; got uint8 (2, 2976).",
        ),
        (
            batch(np.zeros((2, 32, 32, 3), np.uint8), np.array([1, 10])),
            None,
        ),
    ],
)
def test_a_batch_of_something_else_is_refused(pictures: Arrays, tmp_path: Path, data: bytes, told: str | None) -> None:
    as_batches(tmp_path, pictures)
    path = tmp_path / cifar10.FOLDER / "test_batch"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_cifar10(tmp_path)
    whole = f"{tmp_path / cifar10.FOLDER}: labels must be 0 to 9; got 1 to 10." if told is None else f"{path}: {told}"
    assert str(caught.value) == f"{whole} Get the file again."


def test_torn_batches_and_archives_are_refused(pictures: Arrays, tmp_path: Path) -> None:
    as_batches(tmp_path, pictures)
    path = tmp_path / cifar10.FOLDER / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ConfigError, match=r"data_batch_2: not a batch of CIFAR-10 \("):
        read_cifar10(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    as_archive(other, pictures)
    packed = other / cifar10.ARCHIVE
    packed.write_bytes(packed.read_bytes()[:300])
    with pytest.raises(ConfigError, match=r"cifar-10-python\.tar\.gz: cannot be read \("):
        read_cifar10(other)


# the real ones -------------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_real_sets_are_whole(test_data: Path) -> None:
    sizes = {
        source.name: {split: len(one) for split, one in source.labels.items()}
        for source in (
            read_mnist(test_data / "mnist"),
            read_letters(test_data / "mnist"),
            read_cifar10(test_data / "cifar10"),
        )
    }
    assert sizes == {
        "MNIST": {"train": 60_000, "test": 10_000},
        "letters_az.npz": {"train": 4_759, "test": 1_175},
        "CIFAR-10": {"train": 10_000, "test": 1_000},
    }

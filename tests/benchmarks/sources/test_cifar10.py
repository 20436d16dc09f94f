"""CIFAR-10 from every form: equal arrays from each, and what is refused."""

from __future__ import annotations

import gzip
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.sources.files import (
    Arrays,
    batches,
    member,
    refusal,
    small_set,
    write_batches,
    write_sheets,
    write_tar,
)
from w2wpath.benchmarks.sources.cifar10 import CLASSES, MEMBERS, read_cifar10
from w2wpath.benchmarks.sources.source import Source

SMALL = small_set((32, 32, 3), 10)
AGAIN = "Get the file again."
TAR = "cifar-10-python.tar.gz"
LABELS = "labels.npz"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "cifar10.npz", **SMALL)
    return folder


def write_bare(folder: Path) -> Path:
    for name, data in batches(SMALL).items():
        (folder / name).write_bytes(data)
    return folder


def same(source: Source, arrays: Arrays) -> None:
    for split in ("train", "test"):
        assert source.images[split].dtype == np.uint8
        assert source.images[split].flags.c_contiguous
        assert np.array_equal(source.images[split], arrays[f"x_{split}"])
        assert source.labels[split].dtype == np.int16
        assert np.array_equal(source.labels[split], arrays[f"y_{split}"])


@pytest.mark.parametrize(
    "write",
    [
        write_npz,
        lambda folder: write_batches(folder, batches(SMALL)),
        lambda folder: write_batches(folder, batches(SMALL, old=False)),
        write_bare,
        lambda folder: write_tar(folder, batches(SMALL)),
        lambda folder: write_sheets(folder, SMALL),
    ],
    ids=["npz", "batches", "batches of Python 3", "bare batches", "tar.gz", "sheets"],
)
def test_every_form_gives_the_same_arrays(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = read_cifar10(write(tmp_path))
    same(source, SMALL)
    assert (source.name, source.classes) == ("CIFAR-10", CLASSES)
    assert source.stands_in_for == ("the complete CIFAR-10 (here 20 of 50000 train images and 10 of 10000 test images)")


def test_the_forms_go_in_order_and_the_origin_says_so(tmp_path: Path) -> None:
    write_sheets(tmp_path, SMALL)
    write_tar(tmp_path, batches(SMALL))
    title = "the files of cifar-10-batches-py"
    assert read_cifar10(tmp_path).origin.splitlines()[1] == f"not read, in favour of {TAR}: the sheets"
    write_batches(tmp_path, batches(SMALL))
    lines = read_cifar10(tmp_path).origin.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(MEMBERS)
    assert lines[-1] == f"not read, in favour of {title}: {TAR}, the sheets"
    lines = read_cifar10(write_npz(tmp_path)).origin.splitlines()
    assert lines[1:] == [f"not read, in favour of cifar10.npz: {title}, {TAR}, the sheets"]
    (tmp_path / "cifar10.npz").unlink()
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    same(read_cifar10(tmp_path), SMALL)


LOOKED = (
    "Looked for cifar10.npz; or the files of cifar-10-batches-py (batches.meta, data_batch_1, data_batch_2, "
    "data_batch_3, data_batch_4, data_batch_5, test_batch); or cifar-10-python.tar.gz; or the sheets (labels.npz, "
    "{train}, {test}). Get it from the CIFAR page of Alex Krizhevsky (https://www.cs.toronto.edu/~kriz/cifar.html), "
    "python version, and put the files into this folder as they are. Their md5: cifar-10-python.tar.gz "
    "c58f30108f718f92721af3b95e74349a."
)


def test_what_is_missing_is_named_with_the_cure(tmp_path: Path) -> None:
    looked = LOOKED.format(train="train_*.webp", test="test_*.webp")
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{tmp_path}: CIFAR-10 is not in this folder. {looked}"
    (write_batches(tmp_path, batches(SMALL)) / "cifar-10-batches-py" / "test_batch").unlink()
    (write_sheets(tmp_path, SMALL) / "test_00.webp").unlink()
    assert refusal(lambda: read_cifar10(tmp_path)) == (
        f"{tmp_path}: CIFAR-10 is not complete: of the files of cifar-10-batches-py, test_batch not found; of the "
        f"sheets, test_*.webp not found. {LOOKED.format(train='train_00.webp', test='test_*.webp')}"
    )


class Mkdir:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_malicious_batch_runs_nothing_in_a_folder_or_an_archive(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    files = batches(SMALL) | {"data_batch_2": pickle.dumps({b"data": Mkdir(sprung)}, protocol=2)}
    told = (
        f"asks for {os.mkdir.__module__}.mkdir, which no file of CIFAR-10 needs; nothing in it was run. "
        "Get the file from its official page."
    )
    for write, where in (
        (write_tar, tmp_path / f"{TAR}: cifar-10-batches-py" / "data_batch_2"),
        (write_batches, tmp_path / "cifar-10-batches-py" / "data_batch_2"),
    ):
        write(tmp_path, files)
        assert refusal(lambda: read_cifar10(tmp_path)) == f"{where}: {told}"
    assert not sprung.exists()


def pickled(**entries: object) -> bytes:
    return pickle.dumps({key.encode(): value for key, value in entries.items()}, protocol=2)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("test_batch", pickled(labels=[1]), f" is not a batch of CIFAR-10 (no data in it). {AGAIN}"),
        ("test_batch", pickled(data=[1]), f" is not a batch of CIFAR-10 (no data in it). {AGAIN}"),
        (
            "test_batch",
            pickled(data=np.zeros((2, 3072), np.uint8)),
            f" is not a batch of CIFAR-10 (no labels in it). {AGAIN}",
        ),
        (
            "test_batch",
            pickled(data=np.zeros((2, 784), np.uint8), labels=[1, 2]),
            f" data must be one or more images, (n, 3072) uint8; got uint8 (2, 784). {AGAIN}",
        ),
        (
            "test_batch",
            pickled(data=np.zeros((2, 3072), np.uint8), labels=[1]),
            " labels must be one for each of 2 images; got 1. Get the file again.",
        ),
        (
            "test_batch",
            pickled(data=np.zeros((2, 3072), np.uint8), labels=[1, 10]),
            f" labels must be 0 to 9; got 1 to 10. {AGAIN}",
        ),
        (
            "test_batch",
            pickled(data=np.zeros((2, 3072), np.uint8), labels=[1, "2"]),
            f" labels must be whole numbers. {AGAIN}",
        ),
        (
            "test_batch",
            pickled(data=np.zeros((2, 3072), np.uint8), labels=[1, 2**70]),
            f" labels must be whole numbers. {AGAIN}",
        ),
        (
            "batches.meta",
            pickled(label_names=[b"apple", b"pear"]),
            f" names the classes apple, pear; those of CIFAR-10 are {', '.join(CLASSES)}. {AGAIN}",
        ),
        ("batches.meta", pickled(names=[]), f" is not a batch of CIFAR-10 (no label_names in it). {AGAIN}"),
    ],
    ids=["no data", "a list", "no labels", "size", "counts", "range", "text", "huge", "classes", "no classes"],
)
def test_a_batch_of_something_else_is_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    write_batches(tmp_path, batches(SMALL) | {name: data})
    path = tmp_path / "cifar-10-batches-py" / name
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{path}:{said}"


def test_an_archive_is_read_in_memory_and_only_its_batches(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    evil = b"evil"
    write_tar(
        folder,
        batches(SMALL),
        member("../../evil", evil),
        member(str(tmp_path / "evil"), evil),
        member("cifar-10-batches-py/../../data_batch_1", evil),
        member("elsewhere/data_batch_1", evil),
        member("cifar-10-batches-py/data_batch_1", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("cifar-10-batches-py/data_batch_2", type=tarfile.LNKTYPE, linkname="../../evil"),
    )
    same(read_cifar10(folder), SMALL)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [TAR]


def test_an_archive_without_a_batch_is_refused_also_when_a_link_has_its_name(tmp_path: Path) -> None:
    files = batches(SMALL)
    del files["data_batch_4"], files["test_batch"]
    write_tar(tmp_path, files, member("cifar-10-batches-py/test_batch", type=tarfile.SYMTYPE, linkname="data_batch_1"))
    assert refusal(lambda: read_cifar10(tmp_path)) == (
        f"{tmp_path / TAR}: has no data_batch_4, test_batch in cifar-10-batches-py. {AGAIN}"
    )


def test_a_damaged_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path, batches(SMALL)) / TAR
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(lambda: read_cifar10(tmp_path)) == (
        f"{path}: not a whole gzip file (Compressed file ended before the end-of-stream marker was reached). {AGAIN}"
    )
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:30000]))
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{path}: not a whole tar file (unexpected end of data). {AGAIN}"
    path.write_bytes(gzip.compress(b"no tar" * 1000))
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{path}: not a whole tar file (invalid header). {AGAIN}"
    monkeypatch.setattr("w2wpath.benchmarks.sources.cifar10.MOST_UNPACKED", 1000)
    path.write_bytes(whole)
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{path}: unpacks to more than 1000 bytes. {AGAIN}"


def test_sheets_follow_each_other_in_the_order_of_their_names(tmp_path: Path) -> None:
    arrays = {
        "x_train": np.arange(1003, dtype=np.uint16)[:, None, None, None].view(np.uint8).reshape(-1, 2),
        "y_train": np.arange(1003) % 10,
    }
    low_high = np.zeros((1003, 32, 32, 3), np.uint8)
    low_high[..., 0], low_high[..., 1] = (arrays["x_train"][:, i, None, None] for i in (0, 1))
    whole = {**SMALL, "x_train": low_high, "y_train": arrays["y_train"]}
    same(read_cifar10(write_sheets(tmp_path, whole)), whole)


def test_sheets_that_are_too_few_or_too_many_are_refused(tmp_path: Path) -> None:
    write_sheets(tmp_path, SMALL)
    (tmp_path / "train_01.webp").write_bytes((tmp_path / "train_00.webp").read_bytes())
    assert refusal(lambda: read_cifar10(tmp_path)) == (
        f"{tmp_path / LABELS}: train holds 20 labels, so the sheets of 1000 images must number 1; "
        "2 are there (train_00.webp to train_01.webp). Get the folder again."
    )
    np.savez(tmp_path / LABELS, train=np.zeros(2001, int), test=SMALL["y_test"], names=np.array(CLASSES))
    assert refusal(lambda: read_cifar10(tmp_path)) == (
        f"{tmp_path / LABELS}: train holds 2001 labels, so the sheets of 1000 images must number 3; "
        "2 are there (train_00.webp to train_01.webp). Get the folder again."
    )


def test_sheets_that_are_none_are_refused(tmp_path: Path) -> None:
    path = write_sheets(tmp_path, SMALL) / "train_00.webp"
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    said = refusal(lambda: read_cifar10(tmp_path))
    assert said.startswith(f"{path}: cannot be read as WebP (")
    assert said.endswith(f"). {AGAIN}")
    Image.new("RGB", (1280, 800)).save(path, lossless=False)
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{path}: is not a lossless WebP. {AGAIN}"
    Image.new("RGB", (1280, 832)).save(path, lossless=True)
    assert refusal(lambda: read_cifar10(tmp_path)) == (
        f"{path}: is 1280 x 832 px; a sheet has 1280 x 800 px, 40 images of 32 px a row. {AGAIN}"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"names": np.array(["a", "b"])},
            f" names the classes a, b; those of CIFAR-10 are {', '.join(CLASSES)}. {AGAIN}",
        ),
        ({"train": np.full(20, 10)}, f" train must be 0 to 9; got 10 to 10. {AGAIN}"),
        ({"test": np.zeros(0, int)}, f" test must be whole numbers, one for each image; got int64 (0,). {AGAIN}"),
    ],
    ids=["classes", "range", "none"],
)
def test_labels_of_sheets_that_are_none_are_refused(tmp_path: Path, change: Arrays, said: str) -> None:
    write_sheets(tmp_path, SMALL)
    good = {"train": SMALL["y_train"], "test": SMALL["y_test"], "names": np.array(CLASSES)}
    np.savez(tmp_path / LABELS, **{**good, **change})
    assert refusal(lambda: read_cifar10(tmp_path)) == f"{tmp_path / LABELS}:{said}"


@pytest.mark.realdata
def test_the_real_sheets_hold_the_first_images_of_cifar10(test_data: Path) -> None:
    source = read_cifar10(test_data / "cifar10")
    assert source.images["train"].shape == (10000, 32, 32, 3)
    assert source.images["test"].shape == (1000, 32, 32, 3)
    assert [source.classes[label] for label in source.labels["train"][:3]] == ["frog", "truck", "truck"]
    assert source.images["train"][0, 0, 0].tolist() == [59, 62, 63]  # well known: the first pixel of the first frog
    assert source.stands_in_for == (
        "the complete CIFAR-10 (here 10000 of 50000 train images and 1000 of 10000 test images)"
    )

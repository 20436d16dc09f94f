"""MNIST from its npz and its idx files: equal arrays from every form, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.benchmarks.sources.files import Arrays, idx, refusal, small_set, write_idx
from w2wpath.benchmarks.sources.idx import read_idx
from w2wpath.benchmarks.sources.mnist import IDX, read_mnist
from w2wpath.benchmarks.sources.source import Source
from w2wpath.benchmarks.sources.stored import Stored, read_stored

IMAGES, LABELS = IDX["train"]
AGAIN = "Get the file again."


@pytest.fixture(scope="module")
def arrays() -> Arrays:
    return small_set((28, 28), 10)


def same(source: Source, arrays: Arrays) -> None:
    for split in ("train", "test"):
        assert source.images[split].dtype == np.uint8
        assert np.array_equal(source.images[split], np.repeat(arrays[f"x_{split}"][..., None], 3, axis=3))
        assert source.labels[split].dtype == np.int16
        assert np.array_equal(source.labels[split], arrays[f"y_{split}"])


@pytest.mark.parametrize("gz", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("dotted", [False, True], ids=["dash", "dot"])
def test_idx_files_are_read_as_written(tmp_path: Path, arrays: Arrays, gz: bool, dotted: bool) -> None:
    source = read_mnist(write_idx(tmp_path, arrays, IDX, gz=gz, dotted=dotted))
    same(source, arrays)
    assert (source.name, source.classes) == ("MNIST", tuple("0123456789"))


def test_a_download_that_the_browser_unpacked_keeps_its_name_and_is_read(tmp_path: Path, arrays: Arrays) -> None:
    write_idx(tmp_path, arrays, IDX)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(f"{path.name}.gz"))
    same(read_mnist(tmp_path), arrays)


def test_an_npz_is_read_as_written_and_goes_before_idx_files(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    sha256 = hashlib.sha256((tmp_path / "mnist.npz").read_bytes()).hexdigest()
    alone = read_mnist(tmp_path)
    same(alone, arrays)
    assert alone.origin == f"mnist.npz sha256 {sha256}"
    write_idx(tmp_path, {name: array[::-1] for name, array in arrays.items()}, IDX)
    both = read_mnist(tmp_path)
    same(both, arrays)
    passed = "not read, in favour of mnist.npz: the idx files, plain or .gz"
    assert both.origin == f"mnist.npz sha256 {sha256}\n{passed}"


def test_the_origin_names_each_file_with_its_sha256(tmp_path: Path, arrays: Arrays) -> None:
    source = read_mnist(write_idx(tmp_path, arrays, IDX, gz=True))
    names = [f"{name}.gz" for pair in IDX.values() for name in pair]
    sums = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    assert source.origin.splitlines() == [f"{name} sha256 {sum_}" for name, sum_ in zip(names, sums, strict=True)]


def test_a_part_of_mnist_says_so(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert read_mnist(tmp_path).stands_in_for == (
        "the complete MNIST (here 20 of 60000 train images and 10 of 10000 test images)"
    )


LOOKED = (
    "Looked for mnist.npz; or the idx files, plain or .gz (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte). Get it from the MNIST page of Yann LeCun "
    "(http://yann.lecun.com/exdb/mnist/) and put the files into this folder as they are. Their md5: "
    "train-images-idx3-ubyte.gz f68b3c2dcbeaaa9fbdd348bbdeb94873, "
    "train-labels-idx1-ubyte.gz d53e105ee54ea40749a09fcbcd1e9432, "
    "t10k-images-idx3-ubyte.gz 9fb629c4189551a2d022fa330f9573f3, "
    "t10k-labels-idx1-ubyte.gz ec29112dd5afa0611ce80d1b7f02629c."
)


def test_what_is_missing_is_named_with_the_cure(tmp_path: Path, arrays: Arrays) -> None:
    assert refusal(lambda: read_mnist(tmp_path)) == f"{tmp_path}: MNIST is not in this folder. {LOOKED}"
    assert refusal(lambda: read_mnist(tmp_path / "no")) == f"{tmp_path / 'no'}: no such folder. {LOOKED}"
    (write_idx(tmp_path, arrays, IDX) / "t10k-labels-idx1-ubyte").unlink()
    assert refusal(lambda: read_mnist(tmp_path)) == (
        f"{tmp_path}: MNIST is not complete: of the idx files, plain or .gz, t10k-labels-idx1-ubyte not found. {LOOKED}"
    )


def damaged(images: bytes, labels: bytes) -> list[tuple[str, str, bytes, str]]:
    """Name of the case, file, what it holds instead, and what is said of it."""
    zipped = gzip.compress(images, 1)
    follow = "15680 bytes must follow its header"
    return [
        ("empty", IMAGES, b"", "is not an idx file of images: it begins with nothing, not 00000803."),
        ("a page", IMAGES, b"<html>", "is not an idx file of images: it begins with 3c68746d, not 00000803."),
        ("labels", IMAGES, labels, "is not an idx file of images: it begins with 00000801, not 00000803."),
        ("images", LABELS, images, "is not an idx file of labels: it begins with 00000803, not 00000801."),
        ("floats", IMAGES, b"\0\0\x0d\3", "is not an idx file of images: it begins with 00000d03, not 00000803."),
        ("half a header", IMAGES, images[:9], "is cut short within its header."),
        ("cut short", IMAGES, images[:-1], f"is cut short: {follow}, 15679 do."),
        ("trailing", IMAGES, images + b"\0", f"goes on after its end: {follow}, 15681 do."),
        ("trailing in gz", IMAGES, gzip.compress(images + b"\0", 1), f"goes on after its end: {follow}, 15681 do."),
        ("sides", IMAGES, idx(np.zeros((20, 14, 28), np.uint8)), "its images are 14 x 28 px, not 28 x 28."),
        ("none", IMAGES, idx(np.zeros((0, 28, 28), np.uint8)), "says that it holds 0 items; 1 to 1000000 can be."),
        (
            "far too many",
            LABELS,
            b"\0\0\x08\1" + struct.pack(">I", 2**32 - 1),
            "says that it holds 4294967295 items; 1 to 1000000 can be.",
        ),
        (
            "cut gz",
            IMAGES,
            zipped[:-9],
            "not a whole gzip file (Compressed file ended before the end-of-stream marker was reached).",
        ),
        ("after gz", IMAGES, zipped + b"more", "not a whole gzip file (Not a gzipped file (b'mo'))."),
        ("labels out of range", LABELS, idx(np.arange(20, dtype=np.uint8)), "its labels must be 0 to 9; got 0 to 19."),
    ]


SMALL = small_set((28, 28), 10)
DAMAGED = damaged(idx(SMALL["x_train"]), idx(SMALL["y_train"]))


@pytest.mark.parametrize(("name", "data", "said"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def test_a_damaged_idx_file_is_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    write_idx(tmp_path, SMALL, IDX)
    (tmp_path / name).write_bytes(data)
    assert refusal(lambda: read_mnist(tmp_path)) == f"{tmp_path / name}: {said} {AGAIN}"


def test_a_gzip_file_whose_checksum_is_wrong_is_refused(tmp_path: Path, arrays: Arrays) -> None:
    spoilt = bytearray(gzip.compress(idx(arrays["x_train"]), 1))
    spoilt[-8] ^= 1  # in the checksum
    path = write_idx(tmp_path, arrays, IDX) / IMAGES
    path.write_bytes(spoilt)
    said = refusal(lambda: read_mnist(tmp_path))
    assert said.startswith(f"{path}: not a whole gzip file (CRC check failed 0x")
    assert said.endswith(f"). {AGAIN}")


def test_a_gzip_file_that_swells_is_not_unpacked_further_than_needed(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("w2wpath.benchmarks.sources.idx.MOST_ITEMS", 100)
    path = write_idx(tmp_path, arrays, IDX) / LABELS
    path.write_bytes(gzip.compress(idx(arrays["y_train"]) + bytes(10**7)))
    assert refusal(lambda: read_mnist(tmp_path)) == (
        f"{path}: goes on after its end: 20 bytes must follow its header, 101 do. {AGAIN}"
    )


def test_labels_and_images_of_different_number_are_refused(tmp_path: Path, arrays: Arrays) -> None:
    path = write_idx(tmp_path, arrays, IDX) / LABELS
    path.write_bytes(idx(arrays["y_train"][1:]))
    assert refusal(lambda: read_mnist(tmp_path)) == (
        f"{path}: its labels must be one for each of 20 images; got 19. Get the file again."
    )


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(101))
    assert refusal(lambda: read_stored(path, 100)) == (
        f"{path}: is larger than 100 bytes, far more than the official file. {AGAIN}"
    )
    assert refusal(lambda: read_stored(tmp_path / "gone")) == (
        f"{tmp_path / 'gone'}: cannot be read (No such file or directory). Check its permissions and the disk."
    )


@given(items=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)))
def test_any_idx_is_read_as_written_plain_or_gzipped(items: np.ndarray) -> None:
    for data in (idx(items), gzip.compress(idx(items))):
        assert np.array_equal(read_idx(Stored(Path("x"), data), items.shape[1:]), items)


@given(data=st.binary(max_size=60), head=st.sampled_from([b"", b"\x1f\x8b\x08", b"\0\0\x08\1"]))
def test_bytes_of_any_kind_are_labels_or_a_clear_refusal(data: bytes, head: bytes) -> None:
    stored = Stored(Path("x"), head + data)
    try:
        assert read_idx(stored, ()).tobytes() == stored.data[8:]
    except Exception:
        assert refusal(lambda: read_idx(stored, ())).startswith("x: ")


@pytest.mark.realdata
def test_the_real_mnist_is_complete(test_data: Path) -> None:
    source = read_mnist(test_data / "mnist")
    assert {split: images.shape for split, images in source.images.items()} == {
        "train": (60000, 28, 28, 3),
        "test": (10000, 28, 28, 3),
    }
    assert source.labels["train"][:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(source.labels["test"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert source.stands_in_for is None

"""Arrays from an npz, and what is refused: nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.sources.files import Arrays, refusal, small_set
from w2wpath.benchmarks.sources.npz import read_arrays, read_splits
from w2wpath.benchmarks.sources.stored import read_stored

GOOD = small_set((4, 4), 3, train=3, test=2)
AGAIN = "Get the file again."


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_arrays_are_read_as_written_packed_or_not(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **GOOD)
        images, labels = read_splits(read_stored(tmp_path / "a.npz"), (4, 4), 3)
        for split in ("train", "test"):
            assert np.array_equal(images[split], GOOD[f"x_{split}"])
            assert np.array_equal(labels[split], GOOD[f"y_{split}"])


def test_labels_in_a_column_are_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{**GOOD, "y_test": GOOD["y_test"][:, None].astype(np.int64)})
    assert read_splits(read_stored(tmp_path / "a.npz"), (4, 4), 3)[1]["test"].tolist() == GOOD["y_test"].tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"x_train": np.zeros((3, 5, 4), np.uint8)},
            f"x_train must be one or more images, (n, 4, 4) uint8; got uint8 (3, 5, 4). {AGAIN}",
        ),
        (
            {"x_test": np.zeros((2, 4, 4))},
            f"x_test must be one or more images, (n, 4, 4) uint8; got float64 (2, 4, 4). {AGAIN}",
        ),
        (
            {"x_test": np.zeros((0, 4, 4), np.uint8)},
            f"x_test must be one or more images, (n, 4, 4) uint8; got uint8 (0, 4, 4). {AGAIN}",
        ),
        (
            {"y_train": np.zeros(2, np.uint8)},
            "y_train must be one for each of 3 images; got 2. Get the file again.",
        ),
        (
            {"y_train": np.zeros(3)},
            f"y_train must be whole numbers, one for each image; got float64 (3,). {AGAIN}",
        ),
        (
            {"y_train": np.zeros((3, 3), np.uint8)},
            f"y_train must be whole numbers, one for each image; got uint8 (3, 3). {AGAIN}",
        ),
        ({"y_test": np.array(1)}, f"y_test must be whole numbers, one for each image; got int64 (). {AGAIN}"),
        ({"y_test": np.array([0, 3])}, f"y_test must be 0 to 2; got 0 to 3. {AGAIN}"),
        ({"y_test": np.array([-1, 2])}, f"y_test must be 0 to 2; got -1 to 2. {AGAIN}"),
    ],
    ids=["size", "floats", "none", "counts", "real labels", "wide labels", "one number", "too high", "too low"],
)
def test_arrays_that_are_not_images_with_labels_are_refused(tmp_path: Path, change: Arrays, said: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{**GOOD, **change})
    assert refusal(lambda: read_splits(read_stored(path), (4, 4), 3)) == f"{path}: {said}"


def test_pickled_objects_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    np.savez(path, **{**GOOD, "y_test": trap})
    assert refusal(lambda: read_splits(read_stored(path), (4, 4), 3)) == (
        f"{path}: cannot be read as an npz (Object arrays cannot be loaded when allow_pickle=False). {AGAIN}"
    )
    assert not (tmp_path / "sprung").exists()
    np.load(path, allow_pickle=True)["y_test"]
    assert (tmp_path / "sprung").exists(), "the trap is none"


def test_a_lacking_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=GOOD["x_train"], y_test=GOOD["y_test"])
    assert refusal(lambda: read_splits(read_stored(path), (4, 4), 3)) == (
        f"{path}: has no array x_train, y_train, x_test; it holds x, y_test. "
        "An npz with x_train, y_train, x_test, y_test is needed."
    )


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(b"PK no zip")
    assert refusal(lambda: read_arrays(read_stored(path), ["x"])) == (
        f"{path}: not an npz (File is not a zip file). {AGAIN}"
    )
    np.savez(path, x=GOOD["x_train"])
    path.write_bytes(path.read_bytes()[:-30])
    assert refusal(lambda: read_arrays(read_stored(path), ["x"])) == (
        f"{path}: not an npz (File is not a zip file). {AGAIN}"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
    assert refusal(lambda: read_arrays(read_stored(path), ["x"])) == f"{path}: x is not an array. {AGAIN}"


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(1000, np.uint8))
    data = path.read_bytes()
    path.write_bytes(data.replace(bytes(100), b"\1" * 100, 1))
    assert refusal(lambda: read_arrays(read_stored(path), ["x"])) == (
        f"{path}: cannot be read as an npz (Bad CRC-32 for file 'x.npy'). {AGAIN}"
    )


def test_an_npz_that_swells_or_promises_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000000,), }\n"
        archive.writestr("x.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    said = refusal(lambda: read_arrays(read_stored(path), ["x"]))
    assert said.startswith(f"{path}: cannot be read as an npz (")
    monkeypatch.setattr("w2wpath.benchmarks.sources.npz.MOST_BYTES", 10**6)
    np.savez_compressed(path, x=np.zeros(10**6, np.uint8))
    assert refusal(lambda: read_arrays(read_stored(path), ["x"])) == (
        f"{path}: unpacks to more than 1000000 bytes. {AGAIN}"
    )

"""Tiny image sets in every form that the readers know, from the same arrays."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def digits() -> Arrays:
    """Images (n, 28, 28) and labels of both splits."""
    random = np.random.default_rng(0)
    return {
        split: (random.integers(0, 256, (n, 28, 28), dtype=np.uint8), random.integers(0, 10, n).astype(np.uint8))
        for split, n in (("train", 12), ("test", 5))
    }


@pytest.fixture
def pictures() -> Arrays:
    """Images (n, 32, 32, 3) and labels of both splits; ten training images, two a batch."""
    random = np.random.default_rng(1)
    return {
        split: (random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), random.integers(0, 10, n).astype(np.uint8))
        for split, n in (("train", 10), ("test", 4))
    }


def idx(values: np.ndarray) -> bytes:
    """Bytes of an idx file."""
    head = b"\0\0\x08" + bytes([values.ndim]) + b"".join(struct.pack(">I", size) for size in values.shape)
    return head + values.tobytes()


def write_idx(folder: Path, names: dict[str, tuple[str, str]], arrays: Arrays, *, packed: bool, dot: bool) -> None:
    for split, stems in names.items():
        for stem, values in zip(stems, arrays[split], strict=True):
            name = stem.replace("-idx", ".idx") if dot else stem
            data = idx(values)
            (folder / f"{name}{'.gz' * packed}").write_bytes(gzip.compress(data) if packed else data)


def batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    """Bytes of a batch as Python 2 wrote it: names are bytes, protocol 2."""
    rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
    return pickle.dumps({b"batch_label": b"made", b"labels": labels.tolist(), b"data": rows}, protocol=2)


def batches(arrays: Arrays) -> dict[str, bytes]:
    x, y = arrays["train"]
    made = {f"data_batch_{i + 1}": batch(x[2 * i : 2 * i + 2], y[2 * i : 2 * i + 2]) for i in range(5)}
    return made | {"test_batch": batch(*arrays["test"])}


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_sprites(folder: Path, arrays: Arrays, per_sheet: int = 6, columns: int = 3) -> None:
    for split, (images, _) in arrays.items():
        for number, first in enumerate(range(0, len(images), per_sheet)):
            part = images[first : first + per_sheet]
            sheet = np.zeros((per_sheet // columns * 32, columns * 32, 3), np.uint8)
            for i, one in enumerate(part):
                y, x = i // columns * 32, i % columns * 32
                sheet[y : y + 32, x : x + 32] = one
            Image.fromarray(sheet).save(folder / f"{split}_{number:02d}.webp", lossless=True, exact=True)
    np.savez(folder / "labels.npz", train=arrays["train"][1], test=arrays["test"][1])

"""Writers of small image sets in every form that the readers know, and what an error says."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from w2wpath.benchmarks.sources.cifar10 import CLASSES as THINGS
from w2wpath.errors import ConfigError

Arrays = Mapping[str, np.ndarray]
"""x_train, y_train, x_test, y_test, as in an npz."""


def small_set(shape: tuple[int, ...], classes: int, train: int = 20, test: int = 10) -> Arrays:
    """Noise that no transposition, flip or reordering leaves as it is."""
    rng = np.random.default_rng(0)
    counts = {"train": train, "test": test}
    images = {f"x_{split}": rng.integers(0, 256, (n, *shape), dtype=np.uint8) for split, n in counts.items()}
    labels = {f"y_{split}": rng.integers(0, classes, n).astype(np.uint8) for split, n in counts.items()}
    return images | labels


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(
    folder: Path, arrays: Arrays, names: Mapping[str, tuple[str, str]], *, gz: bool = False, dotted: bool = False
) -> Path:
    for split, pair in names.items():
        for array, name in zip((arrays[f"x_{split}"], arrays[f"y_{split}"]), pair, strict=True):
            path = folder / ((name.replace("-idx", ".idx") if dotted else name) + (".gz" if gz else ""))
            path.write_bytes(gzip.compress(idx(array), 1) if gz else idx(array))
    return folder


def batches(arrays: Arrays, *, old: bool = True) -> dict[str, bytes]:
    """The seven files, with keys of bytes (as Python 2 wrote them) and numpy's old name, or of str and its new one."""

    def dump(content: dict[str, Any]) -> bytes:
        keyed = {key.encode() if old else key: value for key, value in content.items()}
        written = pickle.dumps(keyed, protocol=2)
        return written.replace(b"cnumpy._core.", b"cnumpy.core.") if old else written

    def batch(images: np.ndarray, labels: np.ndarray) -> bytes:
        rows = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
        names = [f"{i}.png".encode() for i in range(len(rows))]
        return dump({"data": rows, "labels": labels.tolist(), "batch_label": "one of five", "filenames": names})

    parts = zip(np.split(arrays["x_train"], 5), np.split(arrays["y_train"], 5), strict=True)
    files = {f"data_batch_{i}": batch(*part) for i, part in enumerate(parts, 1)}
    files["test_batch"] = batch(arrays["x_test"], arrays["y_test"])
    names = [name.encode() for name in THINGS] if old else list(THINGS)
    files["batches.meta"] = dump({"label_names": names, "num_vis": 3072})
    return files


def write_batches(folder: Path, files: Mapping[str, bytes]) -> Path:
    place = folder / "cifar-10-batches-py"
    place.mkdir(exist_ok=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    return folder


def member(name: str, data: bytes = b"", **settings: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in settings.items():
        setattr(info, key, value)
    return info, data


def write_tar(folder: Path, files: Mapping[str, bytes], *more: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
        whole = [member(f"cifar-10-batches-py/{name}", data) for name, data in files.items()]
        for info, data in [member("cifar-10-batches-py", type=tarfile.DIRTYPE), *whole, *more]:
            archive.addfile(info, io.BytesIO(data))
    return folder


def write_sheets(folder: Path, arrays: Arrays) -> Path:
    """Sheets of 1000 images, the last filled up with black."""
    for split in ("train", "test"):
        images = arrays[f"x_{split}"]
        for sheet, first in enumerate(range(0, len(images), 1000)):
            cells = np.zeros((1000, 32, 32, 3), np.uint8)
            part = images[first : first + 1000]
            cells[: len(part)] = part
            rows = [np.concatenate(list(cells[first_of : first_of + 40]), axis=1) for first_of in range(0, 1000, 40)]
            pixels = np.concatenate(rows)
            Image.fromarray(pixels).save(folder / f"{split}_{sheet:02}.webp", lossless=True, quality=0, method=0)
    np.savez(folder / "labels.npz", train=arrays["y_train"], test=arrays["y_test"], names=np.array(THINGS))
    return folder

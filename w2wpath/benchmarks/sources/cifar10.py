"""CIFAR-10 (Krizhevsky 2009) from a local folder: python batches, the archive of them, an npz, or sprite sheets."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.batches import Batch, read_batch
from w2wpath.benchmarks.sources.source import SPLITS, Bytes, Source, Split, checked, missing, origin_of, read_npz
from w2wpath.errors import ConfigError

SIDE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER, ARCHIVE, NPZ, SPRITE_LABELS = "cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar10.npz", "labels.npz"
BATCHES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
MOST_BYTES = 1 << 26
"""A batch has 31 MB."""
WHERE = (
    f"Get {ARCHIVE} (md5 c58f30108f718f92721af3b95e74349a) of CIFAR-10 and put it, or the folder {FOLDER} that it "
    "holds, into this folder."
)


def read_cifar10(folder: Path) -> Source:
    """Read both splits, from the first form that is there: batches, archive, npz (x_train, ...), sprites.

    Nothing is unpacked to disk, and a batch, which is a pickle, may build arrays, numbers and text only. Sprite sheets
    (``train_00.webp``, ...; ``labels.npz``) hold images row by row, in the order of their names.

    Raises
    ------
    ConfigError
        Files are missing, damaged, not CIFAR-10, or hold what a batch of it does not.
    """
    if (folder / FOLDER).is_dir():
        return _batches(folder / FOLDER)
    if (folder / ARCHIVE).is_file():
        return _archive(folder / ARCHIVE)
    if (folder / NPZ).is_file():
        return _npz(folder / NPZ)
    if (folder / SPRITE_LABELS).is_file():
        return _sprites(folder)
    raise missing(folder, [f"{FOLDER}/", ARCHIVE, NPZ, f"{SPRITE_LABELS} beside train_*.webp"], WHERE)


def _batches(folder: Path) -> Source:
    paths = {split: [folder / name for name in names] for split, names in BATCHES.items()}
    flat = [path for split in SPLITS for path in paths[split]]
    absent = [path.name for path in flat if not path.is_file()]
    if absent:
        raise missing(folder, [", ".join(absent)], WHERE)
    read = {split: [_read(path, path.read_bytes()) for path in paths[split]] for split in SPLITS}
    return _joined(folder, read, origin_of(flat))


def _archive(path: Path) -> Source:
    held: dict[str, Batch] = {}
    wanted = {name for names in BATCHES.values() for name in names}
    for name, data in _members(path, wanted):
        held[name] = _read(Path(f"{path}/{name}"), data)
    absent = sorted(wanted - held.keys())
    if absent:
        raise ConfigError(f"{path}: {', '.join(absent)} is not in it. {WHERE}")
    read = {split: [held[name] for name in names] for split, names in BATCHES.items()}
    return _joined(path, read, origin_of([path]))


def _members(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files of an archive from memory: no name in it is ever used as a path."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if name in wanted and member.isfile():
                    if member.size > MOST_BYTES:
                        raise ConfigError(f"{path}: {name} is larger than any batch of CIFAR-10. Get the file again.")
                    file = archive.extractfile(member)
                    yield name, b"" if file is None else file.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Get the file again.") from error


def _read(path: Path, data: bytes) -> Batch:
    batch = read_batch(path, data)
    wanted = (len(batch.labels), 3 * SIDE * SIDE)
    if batch.data.shape != wanted or batch.data.dtype != np.uint8:
        raise ConfigError(
            f"{path}: data must be {wanted} uint8; got {batch.data.dtype} {batch.data.shape}. Get the file again."
        )
    return batch


def _joined(path: Path, read: dict[Split, list[Batch]], origin: str) -> Source:
    images, labels = {}, {}
    for split, batches in read.items():
        planes = np.concatenate([batch.data for batch in batches]).reshape(-1, 3, SIDE, SIDE)
        images[split] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
        given = np.concatenate([batch.labels for batch in batches])
        labels[split] = checked(path, images[split], given, SIDE, len(CLASSES))
    return Source("CIFAR-10", CLASSES, images, labels, origin)


def _npz(path: Path) -> Source:
    arrays: list[NDArray[Any]] = read_npz(path, [f"{kind}_{split}" for split in SPLITS for kind in "xy"])
    pairs: dict[Split, tuple[Bytes, NDArray[Any]]] = {"train": (arrays[0], arrays[1]), "test": (arrays[2], arrays[3])}
    images, labels = {}, {}
    for split, (x, y) in pairs.items():
        labels[split] = checked(path, x, y.reshape(-1), SIDE, len(CLASSES))
        images[split] = _coloured(path, x)
    return Source("CIFAR-10", CLASSES, images, labels, origin_of([path]))


def _coloured(path: Path, images: Bytes) -> Bytes:
    if images.ndim != 4 or images.shape[3] != 3:
        raise ConfigError(f"{path}: images must be (n, {SIDE}, {SIDE}, 3); got {images.shape}. Get the file again.")
    return images


def _sprites(folder: Path) -> Source:
    table = folder / SPRITE_LABELS
    given: list[NDArray[Any]] = read_npz(table, list(SPLITS))
    images, labels, paths = {}, {}, [table]
    for split, of_split in zip(SPLITS, given, strict=True):
        sheets = sorted(folder.glob(f"{split}_*.webp"))
        cells = [_cells(sheet) for sheet in sheets]
        found = np.concatenate(cells) if cells else np.empty((0, SIDE, SIDE, 3), np.uint8)
        if len(found) < len(of_split):
            raise ConfigError(
                f"{folder}: {len(of_split)} {split} labels, but {len(found)} images in {len(sheets)} sheet(s) "
                f"{split}_*.webp. Get the missing sheets."
            )
        images[split] = found[: len(of_split)]  # the last sheet may have empty cells
        labels[split] = checked(table, images[split], of_split, SIDE, len(CLASSES))
        paths += sheets
    return Source("CIFAR-10", CLASSES, images, labels, origin_of(paths))


def _cells(sheet: Path) -> Bytes:
    """Cut a sheet into its images (n, 32, 32, 3), row by row."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(sheet) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise ConfigError(f"{sheet}: cannot be read ({error}). Get the file again.") from error
    height, width = pixels.shape[:2]
    if height % SIDE or width % SIDE:
        raise ConfigError(f"{sheet}: {width} x {height} px are not whole images of {SIDE} px. Get the file again.")
    parted = pixels.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3)
    return np.asarray(parted.transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3))

"""CIFAR-10 from an npz, from its python batches (a folder or the tar.gz), or from sheets of a part of it."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.batches import MOST_BYTES, read_batch
from w2wpath.benchmarks.sources.checks import check_images, check_labels
from w2wpath.benchmarks.sources.layout import Advice, Layout, choose_layout, lay, origin
from w2wpath.benchmarks.sources.npz import read_arrays, read_splits
from w2wpath.benchmarks.sources.source import SPLITS, Source, Split, part_of
from w2wpath.benchmarks.sources.sprites import read_sheets
from w2wpath.benchmarks.sources.stored import Stored, gunzip, read_stored
from w2wpath.errors import ConfigError

NAME = "CIFAR-10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
SHAPE = (SIDE, SIDE, 3)
COMPLETE: dict[Split, int] = {"train": 50000, "test": 10000}
NPZ, TAR, FOLDER = "cifar10.npz", "cifar-10-python.tar.gz", "cifar-10-batches-py"
META = "batches.meta"
BATCHES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
MEMBERS = (META, *BATCHES["train"], *BATCHES["test"])
LABELS = "labels.npz"
SHEETS: dict[Split, str] = {"train": "train_*.webp", "test": "test_*.webp"}
MOST_UNPACKED = 400_000_000
"""The official archive unpacks to 186 MB."""
ADVICE = Advice(
    NAME,
    "the CIFAR page of Alex Krizhevsky (https://www.cs.toronto.edu/~kriz/cifar.html), python version,",
    {TAR: "c58f30108f718f92721af3b95e74349a"},
)

Arrays = tuple[Mapping[Split, NDArray[np.uint8]], Mapping[Split, NDArray[np.int16]]]


def read_cifar10(folder: Path) -> Source:
    """Read CIFAR-10 (Krizhevsky 2009), its own split, RGB.

    In this order: ``cifar10.npz`` (x_train, y_train, x_test, y_test; images (n, 32, 32, 3)), the folder
    ``cifar-10-batches-py`` (or its files in `folder` itself), ``cifar-10-python.tar.gz``, of which nothing is written
    to disk, and sheets (``labels.npz`` with train, test and names; ``train_*.webp`` and ``test_*.webp`` in the order of
    their names). Sets that are smaller than the official one say so in ``stands_in_for``.

    Raises
    ------
    ConfigError
        None is whole in `folder`, or a file is damaged, or not CIFAR-10, or a batch asks for code.
    """
    npz, tar = lay(folder, NPZ, [NPZ]), lay(folder, TAR, [TAR])
    batches = lay(folder, f"the files of {FOLDER}", MEMBERS, lambda name: (f"{FOLDER}/{name}", name))
    sheets = _lay_sheets(folder)
    layouts = [npz, batches, tar, sheets]
    chosen = choose_layout(folder, layouts, ADVICE)
    most = MOST_BYTES if chosen is batches else None
    files = {name: read_stored(path, most) if most else read_stored(path) for name, path in chosen.found.items()}
    if chosen is npz:
        images, labels = read_splits(files[NPZ], SHAPE, len(CLASSES))
    elif chosen is batches:
        images, labels = _of_batches({name: (str(file.path), file.data) for name, file in files.items()})
    elif chosen is tar:
        images, labels = _of_batches(_members(files[TAR]))
    else:
        images, labels = _of_sheets(files)
    return Source(
        name=NAME,
        classes=CLASSES,
        images=images,
        labels=labels,
        origin=origin(files.values(), chosen, layouts),
        stands_in_for=part_of(NAME, labels, COMPLETE),
    )


def _lay_sheets(folder: Path) -> Layout:
    found = {LABELS: folder / LABELS} if (folder / LABELS).is_file() else {}
    wanted = [LABELS]
    for pattern in SHEETS.values():
        paths = sorted(path for path in folder.glob(pattern) if path.is_file())
        found |= {path.name: path for path in paths}
        wanted += [path.name for path in paths] or [pattern]
    return Layout("the sheets", tuple(wanted), found)


def _of_sheets(files: Mapping[str, Stored]) -> Arrays:
    where = f"{files[LABELS].path}:"
    arrays = read_arrays(files[LABELS], (*SPLITS, "names"))
    _check_names(where.rstrip(":"), arrays["names"].tolist())
    images, labels = {}, {}
    for split in SPLITS:
        labels[split] = check_labels(f"{where} {split}", arrays[split], arrays[split].size, len(CLASSES))
        sheets = [file for name, file in files.items() if name.startswith(f"{split}_")]
        images[split] = read_sheets(sheets, len(labels[split]), f"{where} {split}")
    return images, labels


def _members(stored: Stored) -> dict[str, tuple[str, bytes]]:
    """Return where each batch of the archive is, in words, and its bytes; only plain files of these names are read."""
    data = gunzip(stored, MOST_UNPACKED)
    if len(data) > MOST_UNPACKED:
        raise ConfigError(f"{stored.path}: unpacks to more than {MOST_UNPACKED} bytes. Get the file again.")
    found = {}
    try:
        with tarfile.open(fileobj=BytesIO(data), mode="r:") as archive:
            for member in archive:
                place, _, name = member.name.removeprefix("./").rpartition("/")
                if place != FOLDER or name not in MEMBERS or not member.isreg() or member.issparse():
                    continue
                file = archive.extractfile(member)
                found[name] = (f"{stored.path}: {member.name}", file.read() if file else b"")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{stored.path}: not a whole tar file ({error}). Get the file again.") from error
    lacking = [name for name in MEMBERS if name not in found]
    if lacking:
        raise ConfigError(f"{stored.path}: has no {', '.join(lacking)} in {FOLDER}. Get the file again.")
    return found


def _of_batches(files: Mapping[str, tuple[str, bytes]]) -> Arrays:
    where, data = files[META]
    names = _field(where, read_batch(data, where), b"label_names", list)
    _check_names(where, [name.decode("latin1") if isinstance(name, bytes) else name for name in names])
    images, labels = {}, {}
    for split, batches in BATCHES.items():
        pairs = [_of_batch(*files[name]) for name in batches]
        images[split] = np.concatenate([pair[0] for pair in pairs])
        labels[split] = np.concatenate([pair[1] for pair in pairs])
    return images, labels


def _of_batch(where: str, data: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    batch = read_batch(data, where)
    planes = check_images(f"{where}: data", _field(where, batch, b"data", np.ndarray), (3 * SIDE * SIDE,))
    numbers = _field(where, batch, b"labels", list)
    if not all(type(number) is int and abs(number) < 1 << 31 for number in numbers):
        raise ConfigError(f"{where}: labels must be whole numbers. Get the file again.")
    labels = check_labels(f"{where}: labels", np.array(numbers, dtype=np.int64), len(planes), len(CLASSES))
    return np.ascontiguousarray(planes.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)), labels


def _field(where: str, batch: Mapping[bytes, Any], key: bytes, kind: type) -> Any:
    """Return an entry of a batch; ``str`` keys are those of files that Python 3 wrote."""
    value = batch.get(key, batch.get(key.decode()))  # type: ignore[call-overload]
    if not isinstance(value, kind):
        raise ConfigError(f"{where}: is not a batch of CIFAR-10 (no {key.decode()} in it). Get the file again.")
    return value


def _check_names(where: str, names: Sequence[Any]) -> None:
    if tuple(names) != CLASSES:
        raise ConfigError(
            f"{where}: names the classes {', '.join(map(str, names))}; those of CIFAR-10 are {', '.join(CLASSES)}. "
            "Get the file again."
        )

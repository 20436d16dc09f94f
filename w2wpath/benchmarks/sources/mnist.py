"""MNIST (LeCun et al. 1998) from a local folder: ``mnist.npz``, or the four idx files."""

from __future__ import annotations

from pathlib import Path

from w2wpath.benchmarks.sources.idx import find_idx, read_idx
from w2wpath.benchmarks.sources.source import SPLITS, Source, Split, checked, missing, origin_of, read_npz, rgb

SIDE = 28
CLASSES = tuple("0123456789")
NPZ = "mnist.npz"
FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
WHERE = (
    "Get train-images-idx3-ubyte.gz (md5 f68b3c2dcbeaaa9fbdd348bbdeb94873), train-labels-idx1-ubyte.gz "
    "(d53e105ee54ea40749a09fcbcd1e9432), t10k-images-idx3-ubyte.gz (9fb629c4189551a2d022fa330f9573f3) and "
    "t10k-labels-idx1-ubyte.gz (ec29112dd5afa0611ce80d1b7f02629c) of MNIST and put them into this folder."
)


def read_mnist(folder: Path) -> Source:
    """Read both splits; ``mnist.npz`` (x_train, y_train, x_test, y_test) is preferred where both forms are there.

    Raises
    ------
    ConfigError
        Files are missing, damaged, or not MNIST.
    """
    npz = folder / NPZ
    if npz.is_file():
        names = [f"{kind}_{split}" for split in SPLITS for kind in "xy"]
        paths, arrays = [npz] * 4, read_npz(npz, names)
    else:
        found = {name: find_idx(folder, name) for names in FILES.values() for name in names}
        absent = [name for name, path in found.items() if path is None]
        if absent:
            raise missing(folder, [NPZ, f"{', '.join(absent)} (.gz or not)"], WHERE)
        paths = [path for path in found.values() if path is not None]
        arrays = [read_idx(path, 3 if "images" in path.name else 1) for path in paths]
    images, labels = {}, {}
    for split, at in zip(SPLITS, (0, 2), strict=True):
        labels[split] = checked(paths[at], arrays[at], arrays[at + 1], SIDE, len(CLASSES))
        images[split] = rgb(arrays[at])
    return Source("MNIST", CLASSES, images, labels, origin_of(sorted(set(paths))))

"""MNIST from ``mnist.npz`` or from the four idx files of its page."""

from __future__ import annotations

from pathlib import Path

from w2wpath.benchmarks.sources.idx import idx_spellings, read_idx_splits
from w2wpath.benchmarks.sources.layout import Advice, choose_layout, lay, origin
from w2wpath.benchmarks.sources.npz import read_splits
from w2wpath.benchmarks.sources.source import SPLITS, Source, Split, as_rgb, part_of
from w2wpath.benchmarks.sources.stored import read_stored

NAME = "MNIST"
CLASSES = tuple("0123456789")
SHAPE = (28, 28)
COMPLETE: dict[Split, int] = {"train": 60000, "test": 10000}
NPZ = "mnist.npz"
IDX: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
ADVICE = Advice(
    NAME,
    "the MNIST page of Yann LeCun (http://yann.lecun.com/exdb/mnist/)",
    {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
)


def read_mnist(folder: Path) -> Source:
    """Read MNIST (LeCun et al. 1998), its own split, grey repeated to RGB.

    ``mnist.npz`` (x_train, y_train, x_test, y_test) goes first, then the four idx files, each plain or gzipped.

    Raises
    ------
    ConfigError
        Neither is whole in `folder`, or a file is damaged or not MNIST.
    """
    npz = lay(folder, NPZ, [NPZ])
    idx = lay(folder, "the idx files, plain or .gz", [name for pair in IDX.values() for name in pair], idx_spellings)
    chosen = choose_layout(folder, [npz, idx], ADVICE)
    files = {name: read_stored(path) for name, path in chosen.found.items()}
    if chosen is npz:
        grey, labels = read_splits(files[NPZ], SHAPE, len(CLASSES))
    else:
        grey, labels = read_idx_splits(files, IDX, SHAPE, len(CLASSES))
    return Source(
        name=NAME,
        classes=CLASSES,
        images={split: as_rgb(grey[split]) for split in SPLITS},
        labels=labels,
        origin=origin(files.values(), chosen, [npz, idx]),
        stands_in_for=part_of(NAME, labels, COMPLETE),
    )

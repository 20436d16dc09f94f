"""MNIST with known faults: letters among the digits (Sp-MNIST), flipped labels, or none.

Each maker returns two objects: what a learner may see (:class:`Digits`), and what only scoring may see
(:class:`DigitTruth`). No function that trains, splits or sets a threshold takes the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.sources.checks import check_images, check_labels
from w2wpath.benchmarks.sources.npz import read_arrays
from w2wpath.benchmarks.sources.stored import read_stored
from w2wpath.errors import ConfigError

SIDE = 28
CLASSES = tuple("0123456789")
DIGITS_FILE, LETTERS_FILE = "mnist.npz", "letters_az.npz"
NAMES = {DIGITS_FILE: 10, LETTERS_FILE: 26}
"""How many names the labels of each file may take."""
NO_CLASS = -1


@dataclass(frozen=True)
class Digits:
    """Images with the labels they are given.

    Attributes
    ----------
    images
        (n, 28, 28, 3) uint8, grey repeated.
    labels
        (n,) int16, index into `classes`.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int16]
    classes: tuple[str, ...] = CLASSES

    def __post_init__(self) -> None:
        """Check shapes, types and labels, and make the arrays read-only."""
        n = len(self.labels)
        if self.images.shape != (n, SIDE, SIDE, 3) or self.images.dtype != np.uint8:
            raise ValueError(
                f"images must be ({n}, {SIDE}, {SIDE}, 3) uint8, got {self.images.dtype} {self.images.shape}"
            )
        if self.labels.shape != (n,) or self.labels.dtype != np.int16:
            raise ValueError(f"labels must be ({n},) int16, got {self.labels.dtype} {self.labels.shape}")
        if n and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise ValueError(f"labels must be 0 to {len(self.classes) - 1}")
        self.images.flags.writeable = self.labels.flags.writeable = False


@dataclass(frozen=True)
class DigitTruth:
    """What is known of the images of :class:`Digits`, in their order; for scoring only.

    Attributes
    ----------
    spurious
        (n,) bool.
    kind
        (n,) str: ``letter``, ``flip``, or "" where nothing is wrong.
    content
        (n,) int16: the digit that the image shows; -1 for a letter.
    originals
        Images before anything was appended.
    """

    spurious: NDArray[np.bool_]
    kind: NDArray[np.str_]
    content: NDArray[np.int16]
    originals: int

    @property
    def share_of_originals(self) -> float:
        """Spurious images per original one: the paper's N % (R30)."""
        return float(self.spurious.sum() / self.originals)

    @property
    def share_of_set(self) -> float:
        """Share of the set that is spurious: its prevalence (R30)."""
        return float(self.spurious.mean())


def clean(folder: Path, n: int, seed: int) -> tuple[Digits, DigitTruth]:
    """Draw `n` training digits of MNIST without replacement, their labels as they are.

    Raises
    ------
    ConfigError
        ``mnist.npz`` is not in `folder` or is not MNIST, or it holds fewer than `n`.
    """
    images, digits = _draw(folder, n, np.random.default_rng(seed))
    return Digits(_rgb(images), digits), _truth(np.full(n, ""), digits, n)


def flipped(folder: Path, n: int, share: float, seed: int) -> tuple[Digits, DigitTruth]:
    """Draw `n` digits and give `share` of them another label, each of the other nine alike (symmetric, in place).

    Raises
    ------
    ConfigError
        As :func:`clean`, or `share` is not between 0 and 1.
    """
    count = _count(n, share)
    rng = np.random.default_rng(seed)
    images, digits = _draw(folder, n, rng)
    labels, kind = digits.copy(), np.full(n, "", dtype="<U6")
    rows = rng.choice(n, count, replace=False)
    labels[rows] = (digits[rows] + rng.integers(1, len(CLASSES), count)) % len(CLASSES)
    kind[rows] = "flip"
    return Digits(_rgb(images), labels), _truth(kind, digits, n)


def spurious_letters(folder: Path, n: int, share: float, seed: int) -> tuple[Digits, DigitTruth]:
    """Draw `n` digits and append ``share * n`` letters with uniform random digits as labels (Sp-MNIST, R28).

    The images are then shuffled, so that their order tells nothing. The letters of ``letters_az.npz`` stand upright
    as the digits do (looked at; EMNIST's own are transposed). Some look like digits: O, I, S, Z and the like.

    Raises
    ------
    ConfigError
        As :func:`flipped`, or ``letters_az.npz`` is missing or holds too few letters.
    """
    count = _count(n, share)
    rng = np.random.default_rng(seed)
    images, digits = _draw(folder, n, rng)
    letters = _read(folder / LETTERS_FILE, "x", "y")[0]
    _suffices(folder / LETTERS_FILE, len(letters), count, "letters")
    added = letters[rng.choice(len(letters), count, replace=False)]
    order = rng.permutation(n + count)
    labels = np.concatenate([digits, rng.integers(len(CLASSES), size=count).astype(np.int16)])
    content = np.concatenate([digits, np.full(count, NO_CLASS, dtype=np.int16)])
    kind = np.repeat(["", "letter"], [n, count])
    shuffled = np.concatenate([images, added])[order]
    return Digits(_rgb(shuffled), labels[order]), _truth(kind[order], content[order], n)


def _truth(kind: NDArray[np.str_], content: NDArray[np.int16], originals: int) -> DigitTruth:
    return DigitTruth(kind != "", kind, content.copy(), originals)


def _draw(folder: Path, n: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    images, digits = _read(folder / DIGITS_FILE, "x_train", "y_train")
    if n < 1:
        raise ConfigError(f"n must be at least 1; got {n}.")
    _suffices(folder / DIGITS_FILE, len(images), n, "training digits")
    rows = rng.choice(len(images), n, replace=False)
    return images[rows], digits[rows]


def _count(n: int, share: float) -> int:
    if not 0 <= share <= 1:  # NaN is none either
        raise ConfigError(f"share must be between 0 and 1; got {share}.")
    return round(share * n)


def _suffices(path: Path, there: int, asked: int, what: str) -> None:
    if asked > there:
        raise ConfigError(f"{path}: holds {there} {what}, {asked} were asked for. Ask for fewer.")


def _rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=3)


def _read(path: Path, images: str, labels: str) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Return images (m, 28, 28) and labels (m,) of an npz."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file. Give the folder that holds {DIGITS_FILE} and {LETTERS_FILE}.")
    arrays = read_arrays(read_stored(path), (images, labels))
    x = check_images(f"{path}: {images}", arrays[images], (SIDE, SIDE))
    return x, check_labels(f"{path}: {labels}", arrays[labels], len(x), NAMES[path.name])

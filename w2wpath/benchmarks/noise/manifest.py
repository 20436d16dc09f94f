"""Which image of a source stands where in a noisy set, with which label, and what is wrong with it.

A manifest holds the truth. It makes a store and its truth table, and nothing that trains ever sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.noise.sets import Recipe
from w2wpath.benchmarks.sources.source import Split
from w2wpath.errors import ConfigError

Mode = Literal["append", "replace"]
LETTER, SYMMETRIC, PAIR, BLUR, CROP, SCALE = "letter", "label symmetric", "label pair", "blur", "crop", "scale"
KINDS = (LETTER, SYMMETRIC, PAIR, BLUR, CROP, SCALE)
OF_LABEL, OF_MEASUREMENT = (SYMMETRIC, PAIR), (BLUR, CROP, SCALE)
CROP_PX = (16, 24)
"""Side of a random crop, both ends included, of 32 px; other sides in proportion."""
CROP_OF_PX = 32
SCALE_BY = (0.25, 0.5)
NOTHING = -1
_SPLIT_CODE: Mapping[Split, int] = {"train": 0, "test": 1}


@dataclass(frozen=True)
class Manifest:
    """The n images of one split, in the order of the set, which is random.

    Attributes
    ----------
    letter
        (n,) bool: the image comes from the letters; else from the base set.
    index
        (n,) int32 row in the split of its source.
    label
        (n,) int16, the label that it is given.
    content
        (n,) int16, the class that it shows; -1 for a letter.
    kind
        (n,) str of KINDS; "" where nothing is wrong.
    twin_of
        (n,) int32 row of the unaltered original in this manifest; -1 where there is none.
    factor
        (n,) float32: scale, or side of the crop over that of the image; 0 for other kinds.
    left, top
        (n,) float32 place of the crop, 0 to 1 of the room that there is.
    originals
        Images before any was added.
    """

    letter: NDArray[np.bool_]
    index: NDArray[np.int32]
    label: NDArray[np.int16]
    content: NDArray[np.int16]
    kind: NDArray[np.str_]
    twin_of: NDArray[np.int32]
    factor: NDArray[np.float32]
    left: NDArray[np.float32]
    top: NDArray[np.float32]
    originals: int

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.index)

    @property
    def spurious(self) -> NDArray[np.bool_]:
        """Which images (n,) are spurious."""
        return np.asarray(self.kind != "")

    @property
    def digest(self) -> str:
        """A sha256 of everything in it."""
        told = hashlib.sha256(str(self.originals).encode())
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                told.update(" ".join(value.tolist()).encode() if one.name == "kind" else _little(value))
        return told.hexdigest()


def make_manifest(
    recipe: Recipe,
    split: Split,
    labels: NDArray[np.integer],
    *,
    n_classes: int,
    letters: int,
    images: int | None,
    mode: Mode,
    seed: int,
) -> Manifest:
    """Deal the images of one split.

    The originals depend on the seed and the split alone, so the sets of one seed share them. A split to which nothing
    is done is the same in all sets of a seed, in its order too, so that its networks need be trained once. Half of
    the faults of CIFAR-10 are wrong labels (symmetric and pair flips alike), half are measurements (blur, crop, scale
    alike); shares that the paper does not state (R29).

    Parameters
    ----------
    labels
        (m,) labels of the source's split.
    letters
        Number of letters that there are.
    images
        Originals to draw; None takes all.
    mode
        ``append`` adds altered copies, and letters, to the originals (the paper); ``replace`` alters in place.

    Raises
    ------
    ConfigError
        There are fewer images or letters than are asked for.
    """
    n = len(labels) if images is None else images
    if not 1 <= n <= len(labels):
        raise ConfigError(
            f"{recipe.name}: {n} {split} images were asked for. Ask for 1 to {len(labels)}, as many as there are."
        )
    code = _SPLIT_CODE[split]
    drawn = np.random.default_rng([seed, code, 0]).permutation(len(labels))[:n]
    count = recipe.spurious(split, n)
    random = np.random.default_rng([seed, code, 1, recipe.percent if count else 0])
    plain = _plain(drawn, labels)
    if recipe.base == "MNIST":
        if count > letters:
            raise ConfigError(
                f"{recipe.name}: {count} {split} letters are needed, and there are {letters}. "
                "Ask for fewer images, or get EMNIST's letters."
            )
        # where none is drawn, the order must not depend on how many there are
        altered, at = _letters(random, count, letters if count else 0, n_classes), random.permutation(n)[:count]
    else:
        at = random.permutation(n)[:count]
        altered = _altered(random, at, plain, n_classes)
    return _shuffled(_joined(plain, altered, at, mode), random, n)


def _plain(index: NDArray[np.integer], labels: NDArray[np.integer]) -> Manifest:
    n, given = len(index), labels[index].astype(np.int16)
    none = np.zeros(n, dtype=np.float32)
    return Manifest(
        letter=np.zeros(n, dtype=np.bool_),
        index=index.astype(np.int32),
        label=given,
        content=given.copy(),
        kind=np.full(n, "", dtype="<U15"),
        twin_of=np.full(n, NOTHING, dtype=np.int32),
        factor=none,
        left=none.copy(),
        top=none.copy(),
        originals=n,
    )


def _letters(random: np.random.Generator, count: int, letters: int, n_classes: int) -> Manifest:
    """Draw letters without replacement, and for each a digit as its label, all alike (R28)."""
    none = np.zeros(count, dtype=np.float32)
    return Manifest(
        letter=np.ones(count, dtype=np.bool_),
        index=random.permutation(letters)[:count].astype(np.int32),
        label=random.integers(n_classes, size=count).astype(np.int16),
        content=np.full(count, NOTHING, dtype=np.int16),
        kind=np.full(count, LETTER, dtype="<U15"),
        twin_of=np.full(count, NOTHING, dtype=np.int32),
        factor=none,
        left=none.copy(),
        top=none.copy(),
        originals=0,
    )


def _altered(random: np.random.Generator, at: NDArray[np.integer], plain: Manifest, n_classes: int) -> Manifest:
    """Alter the originals `at`, which are in random order, each in one way."""
    count = len(at)
    kind = np.concatenate(
        [_dealt(OF_LABEL, count - count // 2), _dealt(OF_MEASUREMENT, count // 2)], dtype="<U15", casting="unsafe"
    )
    label = plain.label[at].copy()
    other = (label + random.integers(1, n_classes, count)) % n_classes
    label = np.where(kind == SYMMETRIC, other, np.where(kind == PAIR, (label + 1) % n_classes, label)).astype(np.int16)
    side = random.integers(CROP_PX[0], CROP_PX[1] + 1, count) / CROP_OF_PX
    scale, place = random.uniform(*SCALE_BY, count), random.random((2, count)).astype(np.float32)
    factor = np.where(kind == CROP, side, np.where(kind == SCALE, scale, 0.0)).astype(np.float32)
    return Manifest(
        letter=np.zeros(count, dtype=np.bool_),
        index=plain.index[at],
        label=label,
        content=plain.content[at],
        kind=kind,
        twin_of=at.astype(np.int32),
        factor=factor,
        left=np.where(kind == CROP, place[0], 0.0).astype(np.float32),
        top=np.where(kind == CROP, place[1], 0.0).astype(np.float32),
        originals=0,
    )


def _dealt(kinds: tuple[str, ...], count: int) -> NDArray[np.str_]:
    """Return `count` kinds, as many of each as can be; the first ones take what is left over."""
    return np.repeat(kinds, [len(part) for part in np.array_split(np.arange(count), len(kinds))])


def _joined(plain: Manifest, altered: Manifest, at: NDArray[np.integer], mode: Mode) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for one in fields(plain):
        if one.name == "originals":
            continue
        first, second = getattr(plain, one.name), getattr(altered, one.name)
        if mode == "append":
            columns[one.name] = np.concatenate([first, second])
        else:
            columns[one.name] = first.copy()
            columns[one.name][at] = NOTHING if one.name == "twin_of" else second
    return columns


def _shuffled(columns: dict[str, NDArray[Any]], random: np.random.Generator, originals: int) -> Manifest:
    """Shuffle, so that the order tells nothing; twins follow."""
    n = len(columns["index"])
    order = random.permutation(n)
    place = np.empty(n, dtype=np.int32)
    place[order] = np.arange(n, dtype=np.int32)
    mixed = {name: values[order] for name, values in columns.items()}
    twin = mixed["twin_of"].astype(np.int32)
    mixed["twin_of"] = np.where(twin >= 0, place[np.maximum(twin, 0)], NOTHING).astype(np.int32)
    return Manifest(**mixed, originals=originals)


def _little(values: NDArray[Any]) -> bytes:
    """Return the bytes of an array, the same on machines of either byte order."""
    return values.astype(values.dtype.newbyteorder("<")).tobytes()

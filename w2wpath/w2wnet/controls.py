"""Planted controls: known faults, made from the user's own tiles, that tell how many of their kind are found.

In each fold a share of the training tiles is replaced by faulted versions of them. Networks and image quality judge
those as they judge any other, the network of the patient's own fold has its veto, and their recall is reported. The
planted images are rows behind the table's: they have no vote, no count and no decision, and the tile that one stands
for has no vote of that fold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.metrics import wilson
from w2wpath.w2wnet.pixels import images_of

KINDS = ("flip", "blur", "background")
"""The same pixels under another class; defocus; glass over most of the tile."""
SIGMA_PX = (1.5, 3.0)
"""Blur, in pixels of the tile: clear to the eye, but mild."""
GLASS_SHARE = (0.8, 1.0)
"""Share of a tile that glass covers."""
GLASS_TILES = 64
"""Training tiles that are looked at for glass."""
BLOCK_PX = 8
BRIGHTEST = 0.002
"""Share of the blocks that are taken for glass."""


@dataclass(frozen=True)
class Planted:
    """The planted images of all folds.

    Attributes
    ----------
    images
        (p, h, w, 3) uint8.
    stands_for
        (p,) row, among the judged tiles, of the tile that an image replaces and is made from.
    label, kind, fold
        (p,): the label it is given, index into KINDS, and the fold in whose training it is.
    """

    images: NDArray[np.uint8]
    stands_for: NDArray[np.intp]
    label: NDArray[np.int16]
    kind: NDArray[np.int8]
    fold: NDArray[np.int16]


@dataclass(frozen=True)
class Glass:
    """What empty glass looks like in some tiles: colour and noise (3,) of their brightest regions."""

    colour: NDArray[np.float64]
    noise: NDArray[np.float64]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Glass:
        """Learn from images (n, h, w, 3)."""
        n, height, width, _ = images.shape
        side = min(BLOCK_PX, height, width)
        down, across = height // side, width // side
        cut = images[:, : down * side, : across * side].astype(np.float64)
        blocks = cut.reshape(n, down, side, across, side, 3).swapaxes(2, 3).reshape(-1, side * side, 3)
        brightest = np.argsort(-blocks.mean(axis=(1, 2)), kind="stable")[: max(1, round(BRIGHTEST * len(blocks)))]
        return cls(np.median(blocks[brightest].mean(axis=1), axis=0), np.median(blocks[brightest].std(axis=1), axis=0))

    def over(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Cover most of an image (h, w, 3) from one of its sides."""
        glass = np.clip(np.rint(rng.normal(self.colour, self.noise, image.shape)), 0, 255).astype(np.uint8)
        left = int((1.0 - rng.uniform(*GLASS_SHARE)) * len(image))
        turn = int(rng.integers(4))
        covered = np.rot90(image, turn).copy()
        covered[left:] = np.rot90(glass, turn)[left:]
        return np.ascontiguousarray(np.rot90(covered, -turn))


def plant(
    store: TileStore, judged: TileTable, fold_n: NDArray[np.int16], *, folds: int, share: float, seed: int
) -> Planted:
    """Make the planted controls of every fold; nothing of a fold's test patients enters them.

    Parameters
    ----------
    judged, fold_n
        The labelled tiles, and their test folds (n,).
    share
        Of a fold's training tiles; at least one of each kind is planted.
    """
    parts = [
        _plant_fold(store, judged, rows, np.flatnonzero(fold_n != k), k, np.random.default_rng([seed, k]))
        for k, rows in enumerate(deal(judged, fold_n, folds=folds, share=share, seed=seed))
    ]
    fields = zip(*(vars(part).values() for part in parts), strict=True)
    return Planted(*(np.concatenate(values) for values in fields))


def deal(
    judged: TileTable, fold_n: NDArray[np.int16], *, folds: int, share: float, seed: int
) -> list[NDArray[np.intp]]:
    """Choose, for every fold, the training tiles (rows of `judged`) that controls replace.

    They are spread over classes and patients, and no tile is chosen by two folds as long as there are enough.
    """
    rng = np.random.default_rng(seed)
    # each tile has one fold, not its own test fold, that may choose it; that depends on no label but through the folds
    turn_n = (fold_n + rng.integers(1, folds, len(fold_n))) % folds
    random_n = rng.random(len(fold_n))
    chosen = []
    for k in range(folds):
        train = np.flatnonzero(fold_n != k)
        wanted = min(max(len(KINDS), round(share * len(train))), len(train))
        pool = train[turn_n[train] == k]
        pool = pool if len(pool) >= wanted else train
        ordered = pool[np.lexsort((random_n[pool], judged.patient[pool], judged.label[pool]))]
        chosen.append(ordered[(np.arange(wanted) * len(ordered)) // wanted])
    return chosen


def _plant_fold(
    store: TileStore,
    judged: TileTable,
    rows: NDArray[np.intp],
    train: NDArray[np.intp],
    k: int,
    rng: np.random.Generator,
) -> Planted:
    kind = rng.permutation(np.arange(len(rows)) % len(KINDS)).astype(np.int8)
    glass = Glass.of(images_of(store, judged, rng.permutation(train)[:GLASS_TILES]))
    images, label = images_of(store, judged, rows), judged.label[rows].copy()
    classes = np.unique(judged.label[train])
    for i in range(len(rows)):
        if KINDS[kind[i]] == "flip":
            label[i] = rng.choice(classes[classes != label[i]])
        elif KINDS[kind[i]] == "blur":
            images[i] = blurred(images[i], float(rng.uniform(*SIGMA_PX)))
        else:
            images[i] = glass.over(images[i], rng)
    return Planted(images, rows, label, kind, np.full(len(rows), k, dtype=np.int16))


def blurred(image: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Defocus an image (h, w, 3)."""
    soft = gaussian_filter(image.astype(np.float64), (sigma_px, sigma_px, 0.0), mode="reflect")
    return np.asarray(np.clip(np.rint(soft), 0, 255).astype(np.uint8))


def recall(kind_p: NDArray[np.integer], found_p: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    """Count planted and found controls by kind, and ``all``, with a 95 % interval of the share (Wilson)."""
    counts = {name: found_p[kind_p == code] for code, name in enumerate(KINDS)} | {"all": found_p}
    table = {}
    for name, hits in counts.items():
        if len(hits):
            interval = wilson(int(hits.sum()), len(hits))
            table[name] = {"planted": len(hits), "found": int(hits.sum()), "low": interval.low, "high": interval.high}
    return table


def says(controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say in sentences what the controls tell, and what they cannot; nothing where none were planted."""
    if not controls:
        return []
    of_kinds = [
        f"{name}: {one['found']} of {one['planted']} found "
        f"({one['found'] / one['planted']:.0%}, 95 % interval {one['low']:.0%} to {one['high']:.0%})"
        for name, one in controls.items()
    ]
    return [
        f"Planted controls, by kind: {'; '.join(of_kinds)}.",
        "This is the share found of faults of these kinds, as they were made here, and of no others.",
        "How many of the excluded tiles are good cannot be known from controls: look at them "
        "(`w2wpath review export --audit 100`).",
    ]

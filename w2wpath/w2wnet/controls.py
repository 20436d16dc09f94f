"""Planted controls: known faults made from the user's own tiles, to tell how many of such faults cleaning finds.

In each fold a share of the training tiles is replaced by faulted versions of them. Network and image quality judge
those as they judge any other tile; then they are dropped, so they have no vote, no count and no decision. The tile that
one stands for has no vote of that fold.

What they tell is the recall of these kinds, as they are made here, and of no others. The share of good tiles that is
lost cannot be known from them. The tiles that they are made from may be faulty themselves, so a flip may restore the
truth, and glass over glass may change nothing. Where no tile shows glass, the palest tissue stands in for it. With two
folds every tile has one vote, so the tiles that are replaced have none and stay undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from w2wpath.config import CleanSettings
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.metrics import wilson
from w2wpath.w2wnet.quality import Quality, Reference, judge

KINDS = ("flip", "blur", "background")
"""The same pixels under another class; defocus; glass over most of the tile."""
FLIP, BLUR, BACKGROUND = range(3)
SIGMA_PX = (1.5, 3.0)
"""Blur in pixels of the tile: clear to the eye, but mild."""
GLASS_SHARE = (0.8, 1.0)
"""Share of the tile that glass covers."""
GLASS_TILES = 64
"""Training tiles that are searched for glass."""
BLOCK_PX = 8
BRIGHTEST = 0.01
"""Share of all blocks of BLOCK_PX that are taken for glass."""
ImagesOf = Callable[[Rows], NDArray[np.uint8]]


@dataclass(frozen=True)
class Planted:
    """The p controls of one fold.

    Attributes
    ----------
    rows
        (p,) as the learner counts: the tile's own row for a flip; else a row behind the table's, from table.n.
    labels, kind
        (p,) int16 the label that is trained with, int8 index into KINDS.
    images
        (b, px, px, 3) uint8: the rows behind the table's.
    original_rows
        (p,) rows of the tiles that are replaced, rising.
    """

    rows: Rows
    labels: NDArray[np.int16]
    images: NDArray[np.uint8]
    kind: NDArray[np.int8]
    original_rows: Rows

    def places(self, rows: Rows) -> NDArray[np.intp]:
        """Return the positions (p,) in training `rows` (rising) that the controls take."""
        return np.searchsorted(rows, self.original_rows)

    def in_place(self, rows: Rows, labels: NDArray[np.int16]) -> tuple[Rows, NDArray[np.int16]]:
        """Return training `rows` and `labels` with the controls in the places of their tiles."""
        at, rows, labels = self.places(rows), rows.copy(), labels.copy()
        rows[at], labels[at] = self.rows, self.labels
        return rows, labels

    def pixels(self, n: int, images_of: ImagesOf) -> NDArray[np.uint8]:
        """Return the pixels (p, px, px, 3) of the controls of a table of `n` tiles."""
        images = images_of(self.original_rows)
        made = self.rows >= n
        images[made] = self.images[self.rows[made] - n]
        return images


def plant(
    table: TileTable, images_of: ImagesOf, fold_n: NDArray[np.integer], k: int, settings: CleanSettings
) -> Planted | None:
    """Make the controls of fold `k`, the same ones whenever it is called; None where the settings want none.

    Parameters
    ----------
    images_of
        Gives the pixels of rows of `table`.
    fold_n
        Test fold of every labelled tile, in the order of ``table.labelled()``.
    """
    if not settings.controls:
        return None
    labelled = table.labelled()
    rng = np.random.default_rng([settings.seed, k])
    rows = labelled[choose(table.patient[labelled], fold_n, k, settings)]
    kind = rng.permutation(np.arange(len(rows)) % len(KINDS)).astype(np.int8)
    train = labelled[fold_n != k]
    labels, classes = table.label[rows].copy(), np.unique(table.label[train])
    for i in np.flatnonzero(kind == FLIP):
        labels[i] = rng.choice(classes[classes != labels[i]])
    glass = Glass.of(images_of(np.sort(rng.permutation(train)[:GLASS_TILES])))
    made = np.flatnonzero(kind != FLIP)
    images = images_of(rows[made])
    for image, which in zip(images, kind[made], strict=True):
        image[:] = blurred(image, float(rng.uniform(*SIGMA_PX))) if which == BLUR else glass.over(image, rng)
    learner_rows = rows.copy()
    learner_rows[made] = table.n + np.arange(len(made))
    return Planted(learner_rows, labels, images, kind, rows)


def choose(
    patient_n: NDArray[np.integer], fold_n: NDArray[np.integer], k: int, settings: CleanSettings
) -> NDArray[np.intp]:
    """Choose which of n labelled tiles the controls of fold `k` replace: rising positions of its training tiles.

    Each patient gives about the same share. No tile is chosen by two folds as long as there are enough.
    """
    rng = np.random.default_rng(settings.seed)
    # every tile belongs to one fold, not its own test fold, which may choose it before any other may
    owner_n = (fold_n + rng.integers(1, settings.folds, len(fold_n))) % settings.folds
    random_n = rng.random(len(fold_n))
    train = np.flatnonzero(fold_n != k)
    wanted = min(len(train), max(len(KINDS), round(settings.controls * len(train))))
    own, others = train[owner_n[train] == k], train[owner_n[train] != k]
    ordered = np.concatenate([_spread(part, patient_n[part], random_n[part]) for part in (own, others)])
    return np.sort(ordered[:wanted])


def _spread(rows: NDArray[np.intp], patient_n: NDArray[np.integer], random_n: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order `rows` so that any beginning holds about the same share of each patient's."""
    turn_n = np.empty(len(rows))
    for patient in np.unique(patient_n):
        here = np.flatnonzero(patient_n == patient)
        here = here[np.argsort(random_n[here])]
        # one offset a patient, else the small ones would all come last
        turn_n[here] = (np.arange(len(here)) + random_n[here[0]] * len(here) % 1.0) / len(here)
    return rows[np.lexsort((random_n, turn_n))]


@dataclass(frozen=True)
class Glass:
    """What empty glass looks like in some tiles: colour and noise (3,) of their brightest blocks."""

    colour: NDArray[np.float64]
    noise: NDArray[np.float64]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Glass:
        """Learn from images (n, h, w, 3)."""
        n, height, width, _ = images.shape
        side = min(BLOCK_PX, height, width)
        down, across = height // side, width // side
        cut = images[:, : down * side, : across * side].reshape(n, down, side, across, side, 3)
        blocks = cut.swapaxes(2, 3).reshape(-1, side * side, 3)
        bright = blocks.mean(axis=(1, 2))
        best = blocks[np.argsort(-bright, kind="stable")[: max(1, round(BRIGHTEST * len(bright)))]]
        return cls(np.median(best.mean(axis=1), axis=0), np.median(best.std(axis=1), axis=0))

    def over(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return an image (h, w, 3) that glass covers from one of its sides, but for GLASS_SHARE."""
        glass = np.clip(np.rint(rng.normal(self.colour, self.noise, image.shape)), 0, 255).astype(np.uint8)
        left = int((1.0 - rng.uniform(*GLASS_SHARE)) * len(image))
        turn = int(rng.integers(4))
        covered = np.rot90(glass, turn).copy()
        covered[:left] = np.rot90(image, turn)[:left]
        return np.ascontiguousarray(np.rot90(covered, -turn))


def blurred(image: NDArray[np.uint8], sigma_px: float) -> NDArray[np.uint8]:
    """Defocus an image (h, w, 3)."""
    soft = gaussian_filter(image.astype(np.float64), (sigma_px, sigma_px, 0.0), mode="reflect")
    return np.asarray(np.clip(np.rint(soft), 0, 255).astype(np.uint8))


def judge_with(
    features_nf: NDArray[np.floating],
    slide_n: NDArray[np.integer],
    reference: Reference,
    at: NDArray[np.intp],
    planted_pf: NDArray[np.floating],
) -> Quality:
    """Judge the image quality of training tiles (n, f), at the places `at` (p,) that of the controls (p, f) there.

    Controls are judged in the company of their slides' tiles, of which none is judged in theirs.
    """
    severity_nr = judge(features_nf, slide_n, reference).severity_nr
    among = np.concatenate([features_nf, planted_pf])
    severity_nr[at] = judge(among, np.concatenate([slide_n, slide_n[at]]), reference).severity_nr[len(features_nf) :]
    return Quality(severity_nr)


def recall(kind_p: NDArray[np.integer], found_p: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    """Count planted and found controls of each kind, and of ``all``, with the 95 % interval of the share (Wilson)."""
    counts = {name: found_p[kind_p == code] for code, name in enumerate(KINDS)}
    return _with_intervals({name: (len(hits), int(hits.sum())) for name, hits in counts.items()})


def pooled(folds: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Join the ``controls`` of the records of all folds; empty where none were planted."""
    said = [fold.get("controls") or {} for fold in folds]
    some = {name: [one[name] for one in said if name in one] for name in KINDS}
    return _with_intervals(
        {name: (sum(x["planted"] for x in ones), sum(x["found"] for x in ones)) for name, ones in some.items()}
    )


def says(about: Mapping[str, Any]) -> list[str]:
    """Say in sentences what a run's record tells of its controls, and what it cannot; nothing where there are none."""
    if not about.get("controls"):
        return []
    kinds = [
        f"{name} {one['found']} of {one['planted']} ({one['low']:.0%} to {one['high']:.0%})"
        for name, one in about["controls"].items()
    ]
    lost = [
        f"Fold {fold['fold'] + 1} learned nothing, so it found none of {fold['controls']['all']['planted']} controls."
        for fold in about["folds"]
        if fold.get("controls") and fold["stop"]["reason"] == "degenerate"
    ]
    return [
        f"Planted controls found, with 95 % intervals: {', '.join(kinds)}.",
        *lost,
        "This is the recall of faults made in these ways, and of no others. How many of the excluded tiles are good, "
        "controls cannot tell.",
    ]


def _with_intervals(counts: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, Any]]:
    planted, found = (sum(values) for values in zip(*counts.values(), strict=True))
    table = {}
    for name, (n, hits) in {**counts, "all": (planted, found)}.items():
        if n:
            interval = wilson(hits, n)
            table[name] = {"planted": n, "found": hits, "low": interval.low, "high": interval.high}
    return table

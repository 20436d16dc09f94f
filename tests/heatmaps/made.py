"""A slide whose colours tell class and doubt, and a reader that is no network: it looks at the mean colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.conftest import save_svs
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN, Maps
from w2wpath.w2wnet.domain import DomainReference
from w2wpath.w2wnet.quality import Reference

PX = 64
CLASSES = ("Stroma", "Tumor")
GLASS = -1
# colour, class and u of what a cell of a made slide may show
PALETTE = np.array([[60, 190, 80], [200, 40, 60], [70, 60, 200], [210, 150, 30]])
CLASS_OF = np.array([0, 1, 0, 1])
U_OF = np.array([0.0, 0.1, 0.3, 0.45])
THRESHOLD = 0.3
SEEN = np.array(
    [
        [0, 1, 2, 3, GLASS, 1],
        [1, 1, GLASS, 0, 3, 2],
        [2, GLASS, 3, 3, 0, 0],
        [GLASS, 0, 1, 2, 2, 3],
    ]
)
"""What each cell of the slide below shows, an index into the palette; no two rows or columns are alike."""


@dataclass
class Draws:
    """What a batch of draws says."""

    mean_nk: NDArray[np.float64]
    u_n: NDArray[np.float64]
    epistemic_n: NDArray[np.float64]
    draws_n: NDArray[np.int64]


@dataclass
class ColourReader:
    """Names the class whose colour is nearest to a tile's mean; u is the colour's own."""

    classes: tuple[str, ...] = CLASSES
    tile_px: int = PX
    mpp: float = 0.5
    threshold: float = THRESHOLD
    draws: int = 25
    identity: str = "colours"
    about: Mapping[str, str] = field(default_factory=lambda: {"networks": "none, it looks at the mean colour"})
    calibrated: bool = False
    quality: Reference | None = None
    domain: DomainReference | None = None
    contrary: int | None = None
    """The colour on which the draws name the other class."""
    hinging: int | None = None
    """The colour whose class changes with its stain."""
    fails_at: int | None = None
    """The batch at which it is interrupted."""
    asked: list[tuple[int, int, int, float | None]] = field(default_factory=list)
    """(tiles, draws, seed, around) of each call."""

    def hinges_on_stain(self, images: NDArray[np.uint8], classes_n: NDArray[np.integer]) -> NDArray[np.bool_]:
        nearest = np.linalg.norm(images.mean(axis=(1, 2))[:, None] - PALETTE, axis=2).argmin(axis=1)
        assert np.array_equal(CLASS_OF[nearest], classes_n)
        return np.asarray(nearest == self.hinging)

    def predict(
        self, images: NDArray[np.uint8], *, draws: int, seed: int, around: float | None
    ) -> tuple[NDArray[np.float32], Draws]:
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append((len(images), draws, seed, around))
        assert images.shape[1:] == (self.tile_px, self.tile_px, 3)
        nearest = np.linalg.norm(images.mean(axis=(1, 2))[:, None] - PALETTE, axis=2).argmin(axis=1)
        probs = np.where(np.arange(len(self.classes)) == CLASS_OF[nearest][:, None], 0.75, 0.25)
        wise = np.where((nearest == self.contrary)[:, None], 1 - probs, probs)
        # when free to, it draws the colours 4, 5, 6 and 7 times
        had = np.full(len(images), draws) if around is None else 4 + nearest
        return probs.astype(np.float32), Draws(wise, U_OF[nearest], U_OF[nearest] / 2, had)


def picture(seen: NDArray[np.int64] = SEEN, side0: int = PX) -> NDArray[np.uint8]:
    """Draw cells of `side0` pixels."""
    colours = np.where(seen[..., None] == GLASS, 244, PALETTE[seen])
    return colours.repeat(side0, axis=0).repeat(side0, axis=1).astype(np.uint8)


def save_slide(
    path: Path, *, seen: NDArray[np.int64] = SEEN, side0: int = PX, mpp: float = 0.5, **options: Any
) -> Path:
    """Write those cells as a slide."""
    return save_svs(path, picture(seen, side0), mpp=mpp, **options)


def state_of(seen: NDArray[np.int64], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """The state that cells should have."""
    return np.where(seen == GLASS, NOT_ANALYSED, np.where(U_OF[seen] > threshold, UNCERTAIN, CONFIDENT))


def made_maps(state: list[int], predicted: list[int], *, columns: int, side0: int = 100, u: float = 0.25) -> Maps:
    """Maps of a grid of `columns`; a confident tile's class has probability 0.75."""
    n = len(state)
    states = np.array(state, dtype=np.uint8)
    analysed = states != NOT_ANALYSED
    probs = np.where(np.arange(2) == np.array(predicted)[:, None], 0.75, 0.25)
    index = np.arange(n, dtype=np.int32)
    return Maps(
        classes=CLASSES,
        x0=index % columns * side0,
        y0=index // columns * side0,
        side0=side0,
        step0=side0,
        width0=columns * side0,
        height0=-(-n // columns) * side0,
        slide_mpp=0.5,
        threshold=THRESHOLD,
        state=states,
        reason=(states == UNCERTAIN).astype(np.uint8),
        probs_nk=np.where(analysed[:, None], probs, np.nan).astype(np.float32),
        u=np.where(analysed, u, np.nan).astype(np.float32),
        aleatoric=np.where(analysed, u / 2, np.nan).astype(np.float32),
        epistemic=np.where(analysed, u / 2, np.nan).astype(np.float32),
        draws=np.where(analysed, 25, 0).astype(np.uint16),
        unread=np.zeros(n, dtype=np.bool_),
    )

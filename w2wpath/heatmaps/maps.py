"""What a model says of a slide: one entry for each whole tile of the grid, and what is known beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.frames import Frame
from w2wpath.w2wnet.domain import Domain
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS

NOT_ANALYSED, CONFIDENT, UNCERTAIN = 0, 1, 2
STATES = ("not analysed", "confident", "uncertain")
REASONS = ("", "uncertain", "disagree", "stain", *QUALITY_REASONS)
"""Why a tile is in state uncertain: its u is above the threshold; Wise and Wiped name different classes; its class
changes where it is stained a little otherwise; or its image quality is bad. Where several hold, the last of these is
named: image quality is what a person can see, and only what u alone says may change with a threshold that a reader
moves."""


@dataclass(frozen=True)
class Maps:
    """What a model says of a slide, one entry for each whole tile of the grid, row by row.

    Attributes
    ----------
    x0, y0
        (n,) int32 corners in level-0 pixels of the slide frame.
    side0, step0, width0, height0
        Side and grid step of tiles, size of the slide, in level-0 pixels. Tiles overlap where step0 < side0.
    slide_mpp
        Um per level-0 pixel.
    threshold
        Uncertainty above which a tile is uncertain.
    state
        (n,) uint8: not analysed, confident, uncertain.
    reason
        (n,) uint8 index into REASONS; 0 where the state is not uncertain.
    probs_nk, u, aleatoric, epistemic
        (n, k), (n,), (n,), (n,) float32; NaN where not analysed.
    draws
        (n,) uint16 MC passes of each tile; 0 where not analysed.
    unread
        (n,) bool: tiles that should have been analysed, and whose pixels cannot be decoded.
    """

    classes: tuple[str, ...]
    x0: NDArray[np.int32]
    y0: NDArray[np.int32]
    side0: int
    step0: int
    width0: int
    height0: int
    slide_mpp: float
    threshold: float
    state: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    probs_nk: NDArray[np.float32]
    u: NDArray[np.float32]
    aleatoric: NDArray[np.float32]
    epistemic: NDArray[np.float32]
    draws: NDArray[np.uint16]
    unread: NDArray[np.bool_]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class (n,) int64; -1 where not analysed."""
        analysed = self.state != NOT_ANALYSED
        best = np.where(analysed[:, None], self.probs_nk, 0.0).argmax(axis=1)
        return np.where(analysed, best, -1)

    @property
    def mean_draws(self) -> float | None:
        """MC passes of an analysed tile, on average; None where nothing was analysed."""
        analysed = self.draws[self.state != NOT_ANALYSED]
        return float(analysed.mean()) if analysed.size else None

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Rows and columns of the grid; tile i lies in row ``i // columns`` and column ``i % columns``."""
        columns = max(0, (self.width0 - self.side0) // self.step0 + 1)
        return (len(self.x0) // columns if columns else 0), columns


@dataclass(frozen=True)
class Facts:
    """What every output says beside the maps.

    Attributes
    ----------
    slide
        File name of the slide.
    fingerprint
        Of the slide's file.
    frame
        Frame of QuPath files and of coordinates that people read.
    model
        Lines about the model for people, by name: which threshold and how it was set, training data, version.
    calibrated
        Whether a temperature was fitted, so that probabilities may be called calibrated.
    domain
        Whether the slide looks like the training data; None where the model cannot tell.
    provenance
        What ran, as :func:`w2wpath.provenance.record` makes it.
    """

    slide: str
    fingerprint: str
    frame: Frame
    model: Mapping[str, str]
    calibrated: bool
    domain: Domain | None
    provenance: Mapping[str, Any] = field(default_factory=dict)

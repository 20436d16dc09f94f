"""Read the tissue of a slide with a model: probabilities, uncertainty and one of three states for every tile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import HeatmapSettings
from w2wpath.errors import ConfigError
from w2wpath.frames import Scale, tile_scale
from w2wpath.progress import Progress
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import require_mpp
from w2wpath.slides.tissue import tissue_mask
from w2wpath.tiles.cut import cut
from w2wpath.tiles.grid import grid
from w2wpath.w2wnet.quality import FEATURES, Reference, judge, measure
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS

NOT_ANALYSED, CONFIDENT, UNCERTAIN = 0, 1, 2
STATES = ("not analysed", "confident", "uncertain")
REASONS = ("", "uncertain", *QUALITY_REASONS)
"""Why a tile is in state uncertain: its u is above the threshold, or its image quality is bad; the latter is named
where both hold, since it is what a person can see."""


class Uncertain(Protocol):
    """Draws of one batch, as far as a map needs them."""

    @property
    def u_n(self) -> NDArray[np.float64]:
        """Predictive uncertainty (n,)."""
        ...

    @property
    def epistemic_n(self) -> NDArray[np.float64]:
        """Part of u by which the draws disagree (n,)."""
        ...

    @property
    def draws_n(self) -> NDArray[np.int64]:
        """Draws that each tile had (n,)."""
        ...


class Reader(Protocol):
    """What reading a slide needs of a model."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of probabilities."""
        ...

    @property
    def tile_px(self) -> int:
        """Side in pixels of the tiles that it was trained on."""
        ...

    @property
    def mpp(self) -> float:
        """Um per pixel of the tiles that it was trained on."""
        ...

    @property
    def threshold(self) -> float:
        """Uncertainty above which a tile is uncertain."""
        ...

    @property
    def draws(self) -> int:
        """MC passes that the threshold was taken with."""
        ...

    @property
    def quality(self) -> Reference | None:
        """Reference of the image-quality score; None where the model has none."""
        ...

    def predict(
        self, images: NDArray[np.uint8], *, draws: int, seed: int, around: float | None
    ) -> tuple[NDArray[np.float32], Uncertain]:
        """Return probabilities (n, k) of tiles (n, h, w, 3), and their draws.

        With a threshold `around`, a tile gets as many draws as its side of it needs, at most `draws`. With None, it
        gets `draws`.
        """
        ...


@dataclass(frozen=True)
class Maps:
    """What a model says of a slide, one entry for each whole tile of the grid.

    Attributes
    ----------
    x0, y0
        (n,) int32 corners in level-0 pixels of the slide frame.
    side0, step0, width0, height0
        Side and grid step of tiles, size of the slide, in level-0 pixels.
    state
        (n,) uint8: not analysed, confident, uncertain.
    reason
        (n,) uint8 index into REASONS.
    probs_nk, u, epistemic
        (n, k), (n,), (n,) float32; NaN where not analysed.
    mean_draws
        MC passes of an analysed tile, on average; None where nothing was analysed.
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
    epistemic: NDArray[np.float32]
    mean_draws: float | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Most probable class (n,) int64; -1 where not analysed."""
        analysed = self.state != NOT_ANALYSED
        best = np.where(analysed[:, None], self.probs_nk, 0.0).argmax(axis=1)
        return np.where(analysed, best, -1)


def read_slide(
    slide: Slide,
    model: Reader,
    *,
    threshold: float,
    draws: int,
    adaptive: bool,
    settings: HeatmapSettings,
    progress: Progress,
) -> Maps:
    """Run a model over the tissue of a slide, on a grid anchored at the slide's (0, 0).

    Parameters
    ----------
    threshold
        A tile with u above it is uncertain (strictly, R22).
    draws
        MC passes behind each u.
    adaptive
        End the passes of a tile when it is clear on which side of `threshold` its u of `draws` passes would lie (S12).

    Raises
    ------
    SlideError
        Pixels cannot be decoded, or the slide has no um/px.
    ConfigError
        The slide is coarser than the model's scale, or its whole pixels miss it.
    """
    slide_mpp = require_mpp(slide)
    scale = _scale(slide, slide_mpp, model)
    x0, y0 = grid(scale, width0=slide.width0, height0=slide.height0)
    tissue = tissue_mask(slide).share(x0, y0, scale.side0) >= settings.tissue_share
    n, k = len(x0), len(model.classes)
    probs = np.full((n, k), np.nan, dtype=np.float32)
    u = np.full(n, np.nan, dtype=np.float32)
    epistemic = np.full(n, np.nan, dtype=np.float32)
    drawn = np.zeros(n, dtype=np.int64)
    reference = model.quality if settings.quality else None
    features = np.zeros((n, len(FEATURES)), dtype=np.float32)
    todo = np.flatnonzero(tissue)
    pixels = cut(slide, x0[todo], y0[todo], scale)
    with progress.track(f"read {slide.path.name}", len(todo)) as step:
        for start in range(0, len(todo), settings.batch_size):
            images = np.stack(list(islice(pixels, settings.batch_size)))
            rows = todo[start : start + len(images)]
            # the masks depend on the place of the batch only, so a run can be repeated
            probs[rows], said = model.predict(images, draws=draws, seed=start, around=threshold if adaptive else None)
            u[rows], epistemic[rows], drawn[rows] = said.u_n, said.epistemic_n, said.draws_n
            if reference is not None:
                features[rows] = measure(images)
            step(len(images), "")
    reason = _reasons(u, threshold, features, tissue, reference)
    state = np.where(tissue, np.where(reason > 0, UNCERTAIN, CONFIDENT), NOT_ANALYSED).astype(np.uint8)
    return Maps(
        classes=model.classes,
        x0=x0,
        y0=y0,
        side0=scale.side0,
        step0=scale.step0,
        width0=slide.width0,
        height0=slide.height0,
        slide_mpp=slide_mpp,
        threshold=threshold,
        state=state,
        reason=reason,
        probs_nk=probs,
        u=u,
        epistemic=epistemic,
        mean_draws=float(drawn[todo].mean()) if len(todo) else None,
    )


def _reasons(
    u: NDArray[np.float32],
    threshold: float,
    features: NDArray[np.float32],
    tissue: NDArray[np.bool_],
    reference: Reference | None,
) -> NDArray[np.uint8]:
    reason = np.where(tissue & (u > threshold), REASONS.index("uncertain"), 0).astype(np.uint8)
    if reference is not None and tissue.any():
        analysed = np.flatnonzero(tissue)
        quality = judge(features[analysed], np.zeros(len(analysed), dtype=np.intp), reference)
        bad = analysed[quality.bad_n]
        reason[bad] = REASONS.index(QUALITY_REASONS[0]) + quality.severity_nr[quality.bad_n].argmax(axis=1)
    return reason


def _scale(slide: Slide, slide_mpp: float, model: Reader) -> Scale:
    try:
        return tile_scale(
            tile_px=model.tile_px,
            stride_px=model.tile_px,
            mpp=model.mpp,
            slide_mpp=slide_mpp,
            allow_upsample=False,
            where=str(slide.path),
        )
    except ConfigError as error:
        # the flags that the error names are those of `tile`; a model's scale is fixed
        coarser = slide_mpp > model.mpp
        why = "the slide is coarser" if coarser else "whole level-0 pixels miss that by more than 0.5 %"
        raise ConfigError(
            f"{slide.path}: the slide has {slide_mpp:g} um/px, and the model reads tiles of {model.tile_px} px "
            f"at {model.mpp:g} um/px: {why}. "
            "Train a model at the slide's scale, or pass --slide-mpp if the header is wrong."
        ) from error

"""Read the tissue of a slide with a model: probabilities, uncertainty and one of three states for every tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.config import HeatmapSettings
from w2wpath.errors import ConfigError, SlideError
from w2wpath.frames import Scale, tile_scale
from w2wpath.heatmaps.maps import CONFIDENT, REASONS, UNCERTAIN, Maps
from w2wpath.heatmaps.notebook import Notebook, Said
from w2wpath.progress import Progress
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import require_mpp
from w2wpath.slides.tissue import tissue_mask
from w2wpath.tiles.cut import cut
from w2wpath.tiles.grid import grid
from w2wpath.tiles.labels import SLACK, area_shares
from w2wpath.w2wnet.domain import Domain, DomainReference
from w2wpath.w2wnet.domain import measure as measure_domain
from w2wpath.w2wnet.quality import EMPTY_SHARE, FEATURES, SMALLEST_PX, Reference, judge, measure
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS

REGION_SHARE = 0.5
"""Share of a tile inside the regions given from which it is analysed, as for labels."""


class Uncertain(Protocol):
    """Draws of one batch, as far as a map needs them."""

    @property
    def mean_nk(self) -> NDArray[np.float64]:
        """Mean probabilities (n, k)."""
        ...

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
    def identity(self) -> str:
        """Tells models apart: equal where every answer is."""
        ...

    @property
    def about(self) -> Mapping[str, str]:
        """Lines for people, by name: what it was trained on, and how its threshold was set."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether a temperature was fitted to its probabilities."""
        ...

    @property
    def quality(self) -> Reference | None:
        """Reference of the image-quality score; None where the model has none."""
        ...

    @property
    def domain(self) -> DomainReference | None:
        """What slides look like that the model was trained on; None where it cannot tell."""
        ...

    def hinges_on_stain(self, images: NDArray[np.uint8], classes_n: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which tiles (n, h, w, 3) get another class than `classes_n` (n,) where stained a little otherwise."""
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
class Reading:
    """What came of reading a slide.

    Attributes
    ----------
    maps
        What the model says.
    domain
        Whether the slide looks like the training slides; None where the model has no reference.
    damaged
        What could not be decoded, in words.
    """

    maps: Maps
    domain: Domain | None
    damaged: tuple[str, ...] = ()


def read_slide(
    slide: Slide,
    model: Reader,
    *,
    threshold: float,
    draws: int,
    adaptive: bool,
    settings: HeatmapSettings,
    progress: Progress,
    regions: Sequence[BaseGeometry] | None = None,
    notebook: Notebook | None = None,
) -> Reading:
    """Run a model over the tissue of a slide, or over regions of it, on a grid anchored at the slide's (0, 0).

    Parameters
    ----------
    threshold
        A tile with u above it is uncertain (strictly, R22).
    draws
        MC passes behind each u.
    adaptive
        End the passes of a tile when it is clear on which side of `threshold` its u of `draws` passes would lie (S12).
    regions
        Areas in level-0 pixels of the slide frame: tiles at least half inside one are analysed, whatever the tissue
        mask says. None analyses tissue.
    notebook
        Keeps what has been read where a run is interrupted, and gives it back to the next; None keeps nothing.

    Raises
    ------
    SlideError
        The slide has no um/px, or none of its tissue can be decoded. Single tiles that cannot are not analysed.
    ConfigError
        The slide is coarser than the model's scale, or its whole pixels miss it.
    """
    slide_mpp = require_mpp(slide)
    scale = _scale(slide, slide_mpp, model, settings.overlap)
    x0, y0 = grid(scale, width0=slide.width0, height0=slide.height0)
    wanted, unsure = _wanted(slide, scale, x0, y0, settings, regions)
    todo = np.flatnonzero(wanted)
    said = Said.empty(len(todo), len(model.classes))
    done = notebook.recall(said) if notebook is not None else 0
    damaged: dict[str, None] = {}
    left = todo[done:]
    # pixels are measured by the threads that cut them, so that the networks do not wait for it
    seen: Iterator[Seen | None] = cut(
        slide, x0[left], y0[left], scale, encode=_seen, damaged=lambda where: damaged.setdefault(where)
    )
    with progress.track(f"read {slide.path.name}", len(todo)) as step:
        step(done, "as an interrupted run left it" if done else "")
        for start in range(done, len(todo), settings.batch_size):
            batch = list(islice(seen, settings.batch_size))
            rows = start + np.flatnonzero([tile is not None for tile in batch])
            if rows.size:
                # the masks depend on the place of the batch only, so a run can be repeated and taken up again
                whole = [tile for tile in batch if tile is not None]
                _read(model, whole, said, rows, draws, start, threshold if adaptive else None)
                if settings.stain:
                    _try_stains(model, whole, said, rows, threshold)
            step(len(batch), "")
            if notebook is not None:
                notebook.keep(said, start + len(batch))
    lost = ~said.read
    _drop_glass(said, unsure[todo], settings)
    if len(todo) and lost.all():
        raise SlideError(
            f"{slide.path}: none of the {len(todo)} tiles that it should give can be decoded "
            f"({min(damaged, default='')}). Copy the slide again."
        )
    return Reading(
        _maps(slide, slide_mpp, scale, (x0, y0), todo, said, todo[lost], threshold, model, settings),
        _domain(said, slide_mpp, model),
        tuple(sorted(damaged)),
    )


def _wanted(
    slide: Slide,
    scale: Scale,
    x0: NDArray[np.int32],
    y0: NDArray[np.int32],
    settings: HeatmapSettings,
    regions: Sequence[BaseGeometry] | None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which tiles (n,) are to be analysed, and which of them only because the thumbnail is damaged there."""
    nowhere = np.zeros(len(x0), dtype=np.bool_)
    if regions is not None:
        shares = area_shares(x0, y0, scale.side0, [(0, area) for area in regions], (), 1)
        return np.asarray(shares.area_share[:, 0] >= REGION_SHARE - SLACK), nowhere
    tissue = tissue_mask(slide).share(x0, y0, scale.side0) >= settings.tissue_share
    unsure = nowhere
    for left, top, width, height in slide.damaged0:
        across = (x0 < left + width) & (x0 + scale.side0 > left)
        unsure = unsure | (across & (y0 < top + height) & (y0 + scale.side0 > top))
    return np.asarray(tissue | unsure), np.asarray(unsure & ~tissue)


def _drop_glass(said: Said, unsure: NDArray[np.bool_], settings: HeatmapSettings) -> None:
    """Forget the tiles that turned out to be glass where the thumbnail could not tell."""
    glass = said.quality_nf[:, FEATURES.index("background")] > 1 - settings.tissue_share
    said.read[unsure & glass] = False


class Seen(NamedTuple):
    """A tile (h, w, 3) with its image-quality features and its stain."""

    pixels: NDArray[np.uint8]
    quality_f: NDArray[np.float32]
    stain_f: NDArray[np.float32]


def _seen(pixels: NDArray[np.uint8]) -> Seen:
    if min(pixels.shape[:2]) < SMALLEST_PX:
        none = Said.empty(1, 1)
        return Seen(pixels, none.quality_nf[0], none.stain_nf[0])
    quality_nf = measure(pixels[None])
    return Seen(pixels, quality_nf[0], measure_domain(pixels[None], quality_nf[:, FEATURES.index("focus")])[0])


def _read(
    model: Reader,
    tiles: Sequence[Seen],
    said: Said,
    rows: NDArray[np.intp],
    draws: int,
    seed: int,
    around: float | None,
) -> None:
    images = np.stack([tile.pixels for tile in tiles])
    said.probs_nk[rows], wise = model.predict(images, draws=draws, seed=seed, around=around)
    said.u[rows], said.epistemic[rows], said.draws[rows] = wise.u_n, wise.epistemic_n, wise.draws_n
    said.wise[rows] = wise.mean_nk.argmax(axis=1)
    said.quality_nf[rows] = np.stack([tile.quality_f for tile in tiles])
    said.stain_nf[rows] = np.stack([tile.stain_f for tile in tiles])
    said.read[rows] = True


def _try_stains(model: Reader, tiles: Sequence[Seen], said: Said, rows: NDArray[np.intp], threshold: float) -> None:
    """Fill in whether classes hinge on the stain, for the tiles that the networks are sure of."""
    classes_n = said.probs_nk[rows].argmax(axis=1)
    sure = np.flatnonzero((said.u[rows] <= threshold) & (classes_n == said.wise[rows]))
    if sure.size:
        said.hinges[rows[sure]] = model.hinges_on_stain(
            np.stack([tiles[i].pixels for i in sure.tolist()]), classes_n[sure]
        )


def _maps(
    slide: Slide,
    slide_mpp: float,
    scale: Scale,
    corners: tuple[NDArray[np.int32], NDArray[np.int32]],
    todo: NDArray[np.intp],
    said: Said,
    lost: NDArray[np.intp],
    threshold: float,
    model: Reader,
    settings: HeatmapSettings,
) -> Maps:
    n, k = len(corners[0]), len(model.classes)
    rows = todo[said.read]

    def spread(values: NDArray[Any], empty: Any, dtype: Any) -> NDArray[Any]:
        whole = np.full((n, *values.shape[1:]), empty, dtype=dtype)
        whole[rows] = values[said.read]
        return whole

    reason = spread(_reasons(said, threshold, model.quality if settings.quality else None), 0, np.uint8)
    state = np.zeros(n, dtype=np.uint8)
    state[rows] = np.where(reason[rows] > 0, UNCERTAIN, CONFIDENT)
    unread = np.zeros(n, dtype=np.bool_)
    unread[lost] = True
    return Maps(
        classes=model.classes,
        x0=corners[0],
        y0=corners[1],
        side0=scale.side0,
        step0=scale.step0,
        width0=slide.width0,
        height0=slide.height0,
        slide_mpp=slide_mpp,
        threshold=threshold,
        state=state,
        reason=reason,
        probs_nk=spread(said.probs_nk, np.nan, np.float32).reshape(n, k),
        u=spread(said.u, np.nan, np.float32),
        aleatoric=spread(said.u - said.epistemic, np.nan, np.float32),
        epistemic=spread(said.epistemic, np.nan, np.float32),
        draws=spread(said.draws, 0, np.uint16),
        unread=unread,
    )


def _reasons(said: Said, threshold: float, reference: Reference | None) -> NDArray[np.uint8]:
    """Return the reason (m,) of each tile that was to be read; the later ones here go before the earlier."""
    reason = np.where(said.u > threshold, REASONS.index("uncertain"), 0).astype(np.uint8)
    reason[said.probs_nk.argmax(axis=1) != said.wise] = REASONS.index("disagree")
    reason[said.hinges] = REASONS.index("stain")
    if reference is not None and said.read.any():
        quality = judge(said.quality_nf[said.read], np.zeros(int(said.read.sum()), dtype=np.intp), reference)
        bad = np.flatnonzero(said.read)[quality.bad_n]
        reason[bad] = REASONS.index(QUALITY_REASONS[0]) + quality.severity_nr[quality.bad_n].argmax(axis=1)
    return reason


def _domain(said: Said, slide_mpp: float, model: Reader) -> Domain | None:
    if model.domain is None:
        return None
    stained = said.read & (said.quality_nf[:, FEATURES.index("background")] < EMPTY_SHARE)
    return model.domain.judge(said.stain_nf[stained], slide_mpp)


def _scale(slide: Slide, slide_mpp: float, model: Reader, overlap: float) -> Scale:
    try:
        return tile_scale(
            tile_px=model.tile_px,
            stride_px=max(1, round(model.tile_px * (1 - overlap))),
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

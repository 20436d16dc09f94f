"""Image quality of tiles: what no uncertainty shows. It needs no label and no network, so slides are read with it too.

A blurred tile of the right class is classified with confidence; predictive uncertainty cannot find it. Four features
are measured on a tile's pixels, and judged twice: within the tile's own slide, and against a reference learned from the
training tiles, without which a wholly defocused slide would look normal to itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from w2wpath.errors import NonFiniteScoreError
from w2wpath.tiles.measures import laplacian

Floats = NDArray[np.float64]

Features = tuple[Literal["focus"], Literal["background"], Literal["saturation"], Literal["density"]]
FEATURES: Features = ("focus", "background", "saturation", "density")
"""``focus``: log2 of the energy of the Laplacian of optical density per pixel over that of 2 x 2 means, plus a quarter
of the same one scale up: content and contrast cancel; the second guards against heavy blur, where only rounding noise
is left per pixel, and against what JPEG does at one pixel. ``background``: share of pixels without stain.
``saturation`` and ``density``: mean HSV saturation and mean optical density of the stained pixels (ink, burnt
exposure, folds)."""
REASONS = ("focus", "background", "colour")
CUT = 3.0
"""Robust z above which a value is an outlier: three standard deviations of a normal law. Blurred and defocused tiles
that were planted in crc27 for the purpose stood further above the others with 3 than with 3.5."""
HIGHEST_CUT = 1.5 * CUT
"""No cohort's own spread excuses a focus that far below the usual."""
CHANCE_SHARE = 0.2
"""Largest share of the tiles called out of focus that may be so by the spread of their tissue alone."""
EMPTY_SHARE = 0.5
"""A tile is background when, besides being unusual, at least this share of it carries no stain."""
STAINED_OD = 0.06
"""Mean optical density of the three channels from which a pixel counts as stained: glass has 0.02 to 0.05, the palest
tissue 0.07 (stroma of an immunostain), mucus 0.1."""
SMALLEST_PX = 16
"""Least side of a tile that can be measured."""
FEW_TILES = 20
"""A slide with fewer tiles than this is judged against the reference only: its median and spread say too little."""
CHUNK_PIXELS = 1 << 20
"""Pixels measured at a time: the planes of one chunk stay in tens of megabytes."""
STAINED_BELOW = 0.95
"""Share of pixels without stain from which there is nothing to be in focus or to have a colour."""
_FOCUS, _BACKGROUND = FEATURES.index("focus"), FEATURES.index("background")
_ENERGY_FLOOR = 1e-5
"""Energy of what rounding to 8 bits leaves of a surface without detail; half of it in the colours of tissue."""


class Reference(BaseModel):
    """What tiles usually look like, learned from training tiles: one value a feature, in the order of `features`.

    Attributes
    ----------
    centre
        Median over slides of the slides' medians, so that single bad slides do not move it.
    within, between
        Spread (1.4826 MAD) of tiles about their slide's median (median over slides), and of slides' medians about
        `centre`.
    focus_cut
        Robust z from which a tile is out of focus, CUT to HIGHEST_CUT.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    features: Features = FEATURES
    centre: tuple[float, float, float, float]
    within: tuple[float, float, float, float]
    between: tuple[float, float, float, float]
    focus_cut: float = Field(CUT, ge=CUT, le=HIGHEST_CUT)
    tiles: int = Field(ge=1)
    slides: int = Field(ge=1)

    @classmethod
    def learn(cls, features_nf: NDArray[np.floating], slide_n: NDArray[np.integer]) -> Reference:
        """Learn from the features (n, f) of training tiles; `slide_n` (n,) tells their slides. Give no others.

        Raises
        ------
        NonFiniteScoreError
            A feature is not finite.
        ValueError
            There is no tile.
        """
        _check(features_nf)
        if not len(features_nf):
            raise ValueError("an image-quality reference needs at least one training tile")
        groups = [features_nf[slide_n == slide] for slide in np.unique(slide_n)]
        medians = np.array([np.median(group, axis=0) for group in groups])
        within = np.median([_spread(group) for group in groups], axis=0)
        made = cls(
            centre=tuple(np.median(medians, axis=0).tolist()),
            within=tuple(within.tolist()),
            between=tuple(_spread(medians).tolist()),
            tiles=len(features_nf),
            slides=len(groups),
        )
        lowest, highest = _farthest(np.asarray(features_nf, dtype=np.float64), slide_n, made)
        stained = features_nf[:, _BACKGROUND] < STAINED_BELOW
        return made.model_copy(update={"focus_cut": _focus_cut(lowest[stained, _FOCUS], highest[stained, _FOCUS])})

    def as_json(self) -> Mapping[str, Any]:
        """Return plain values, for a model's card; ``Reference(**values)`` reads them back."""
        values: Mapping[str, Any] = self.model_dump(mode="json")
        return values


@dataclass(frozen=True)
class Quality:
    """Judged image quality of n tiles.

    Attributes
    ----------
    severity_nr
        (n, 3) for each of REASONS: 0 is usual, above 1 is excluded.
    """

    severity_nr: Floats

    @property
    def severity_n(self) -> Floats:
        """The worst severity of each tile (n,)."""
        return np.asarray(self.severity_nr.max(axis=1))

    @property
    def bad_n(self) -> NDArray[np.bool_]:
        """Which tiles (n,) image quality excludes."""
        return np.asarray(self.severity_n > 1.0)

    def take(self, rows: NDArray[np.intp]) -> Quality:
        """Return the quality of some tiles."""
        return Quality(self.severity_nr[rows])


def measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure FEATURES (n, 4) of tiles (n, h, w, 3) uint8 RGB, sides at least SMALLEST_PX.

    Raises
    ------
    ValueError
        The images have another shape or type, or are smaller.
    """
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or min(images.shape[1:3]) < SMALLEST_PX:
        raise ValueError(
            f"images must be (n, h, w, 3) uint8 of at least {SMALLEST_PX} px, "
            f"got {images.dtype} of shape {images.shape}"
        )
    chunk = max(1, CHUNK_PIXELS // (images.shape[1] * images.shape[2]))
    parts = [_measure(images[i : i + chunk]) for i in range(0, len(images), chunk)]
    return np.concatenate(parts) if parts else np.empty((0, len(FEATURES)), dtype=np.float32)


def judge(features_nf: NDArray[np.floating], slide_n: NDArray[np.integer], reference: Reference) -> Quality:
    """Judge tiles by their features (n, f), within their slides `slide_n` (n,) and against the reference.

    Each z is the larger of the two. Focus counts where it is low, by the cut of the reference; background where it is
    high and EMPTY_SHARE of the tile is empty; saturation and density where they are far off on either side.

    Raises
    ------
    NonFiniteScoreError
        A feature is not finite.
    """
    _check(features_nf)
    features = np.asarray(features_nf, dtype=np.float64)
    lowest, highest = _farthest(features, slide_n, reference)
    saturation, density = FEATURES.index("saturation"), FEATURES.index("density")
    empty = np.minimum(highest[:, _BACKGROUND] / CUT, features[:, _BACKGROUND] / EMPTY_SHARE)
    colour = np.maximum(highest, -lowest)[:, [saturation, density]].max(axis=1) / (2 * CUT)
    # without stain there is nothing to be in focus or to have a colour
    stained = features[:, _BACKGROUND] < STAINED_BELOW
    severity = np.stack([-lowest[:, _FOCUS] / reference.focus_cut * stained, empty, colour * stained], axis=1)
    return Quality(np.maximum(severity, 0.0))


def _farthest(features: Floats, slide_n: NDArray[np.integer], reference: Reference) -> tuple[Floats, Floats]:
    """Return the lower and the higher z (n, f) of two: within the slide, and against the reference."""
    by_slide = _z_within_slides(features, slide_n, reference)
    scale = _floored(np.hypot(reference.within, reference.between))
    by_reference = (features - np.array(reference.centre)) / scale
    return np.minimum(by_slide, by_reference), np.maximum(by_slide, by_reference)


def _focus_cut(lowest_n: Floats, highest_n: Floats) -> float:
    """Return the least z from CUT on at which few enough tiles are called out of focus by chance.

    How many tiles lie that far above the usual tells how many lie that far below it without a fault, as tissue varies:
    nothing makes a tile sharper than it is. So Barber and Candes (Annals of Statistics 2015) estimate false discoveries
    from the other side of a symmetric law.
    """
    soft, sharp = (np.sort(far_n[far_n > CUT]) for far_n in (-lowest_n, highest_n))
    either = np.unique(np.concatenate([soft, sharp]))
    cuts = np.concatenate([[CUT], either[either < HIGHEST_CUT], [HIGHEST_CUT]])
    soft_above, sharp_above = (len(far) - np.searchsorted(far, cuts, side="right") for far in (soft, sharp))
    few = sharp_above <= CHANCE_SHARE * soft_above
    few[-1] = True  # whatever the share there
    return float(cuts[few.argmax()])


def _z_within_slides(features: Floats, slide_n: NDArray[np.integer], reference: Reference) -> Floats:
    z = np.zeros_like(features)
    for slide in np.unique(slide_n):
        here = slide_n == slide
        if here.sum() < FEW_TILES:
            continue
        own = features[here]
        # a slide may vary less than others by chance; its own spread alone would make outliers of usual tiles
        scale = _floored(np.maximum(_spread(own), reference.within))
        z[here] = (own - np.median(own, axis=0)) / scale
    return z


def _measure(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    density = DENSITY[images]
    grey = density.mean(axis=3)
    halved = _halved(grey)
    energy = [_laplacian_energy(plane) for plane in (grey, halved, _halved(halved))]
    focus = _steepness(energy[0], energy[1]) + 0.25 * _steepness(energy[1], energy[2])
    stained = grey > STAINED_OD
    count = stained.sum(axis=(1, 2))
    high, low = images.max(axis=3).astype(np.float32), images.min(axis=3).astype(np.float32)
    saturation = (high - low) / np.maximum(high, 1.0)

    def of_stained(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((values * stained).sum(axis=(1, 2)) / np.maximum(count, 1))

    background = 1.0 - stained.mean(axis=(1, 2))
    return np.stack([focus, background, of_stained(saturation), of_stained(grey)], axis=1).astype(np.float32)


DENSITY = (-np.log10((np.arange(256, dtype=np.float32) + 1.0) / 256.0)).astype(np.float32)
"""Optical density of each 8-bit value against white."""


def _laplacian_energy(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.square(laplacian(grey)).mean(axis=(1, 2)))


def _steepness(fine: NDArray[np.float32], coarse: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log2 of the energy of a scale over that of the next.

    A smooth surface has 1/16. Where blur leaves nothing above the floor, the value is a little less: a floor equal on
    both scales would give 1, and make the heaviest blur the sharpest.
    """
    return np.asarray(np.log2((fine + _ENERGY_FLOOR) / (coarse + 20.0 * _ENERGY_FLOOR)))


def _halved(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = grey.shape[1] // 2 * 2, grey.shape[2] // 2 * 2
    even = grey[:, :height, :width]
    return np.asarray((even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4.0)


def _spread(values_nf: NDArray[np.floating]) -> Floats:
    return np.asarray(1.4826 * np.median(np.abs(values_nf - np.median(values_nf, axis=0)), axis=0), dtype=np.float64)


def _floored(scale_f: Floats) -> Floats:
    """Keep scales above what a feature's own rounding and sampling make of equal tiles."""
    return np.asarray(np.maximum(scale_f, [0.05, 0.02, 0.01, 0.01]))


def _check(features_nf: NDArray[np.floating]) -> None:
    bad = ~np.isfinite(features_nf).all(axis=1)
    if bad.any():
        raise NonFiniteScoreError(f"{int(bad.sum())} of {len(bad)} tiles have no finite image-quality feature.")

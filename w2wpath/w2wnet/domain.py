"""Does a slide look like those that a model was trained on? Stain, sharpness and scale, each against what is usual.

A network is confident on a slide unlike any that it has seen, and its uncertainty need not tell. Each statistic of a
slide is the median over its tiles. A new slide of the same kind lies, for a normal law of slides, within

    centre +- t(m - 1; 1 - alpha / 2p) * spread * sqrt(1 + 1 / m)

of m training slides: the prediction interval of one further value, with alpha shared out over the p statistics
(Bonferroni). No truth, no label and no network is needed for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.quality import CHUNK_PIXELS, DENSITY, STAINED_OD
from w2wpath.w2wnet.quality import measure as measure_quality

Floats = NDArray[np.float64]
Statistics = tuple[
    Literal["density in red"],
    Literal["density in green"],
    Literal["density in blue"],
    Literal["contrast in red"],
    Literal["contrast in blue"],
    Literal["hue, red to green"],
    Literal["hue, blue to green"],
    Literal["sharpness"],
    Literal["um per pixel"],
]
STATISTICS: Statistics = (
    "density in red",
    "density in green",
    "density in blue",
    "contrast in red",
    "contrast in blue",
    "hue, red to green",
    "hue, blue to green",
    "sharpness",
    "um per pixel",
)
"""Over the stained pixels of a tile: mean optical density of each channel, which holds how much there is of each stain;
its standard deviation, which grows with the stain as much and differs less from slide to slide; logarithms of ratios of
the densities, which hold the colour whatever its strength. Then the image-quality feature focus, and log2 of the
slide's own um per level-0 pixel."""
OF_TILE = len(STATISTICS) - 1
"""Statistics that are measured on tiles."""
ALPHA = 0.05
"""Largest share of slides like the training slides that may be called out of domain, for normal laws; since statistics
go together, fewer are."""
FEWEST_SLIDES = 4
"""With fewer training slides their spread says nothing, and a model has no reference."""
_LEAST_SPREAD = (0.02, 0.02, 0.02, 0.02, 0.02, 0.05, 0.05, 0.1, 0.4)
"""Slides of one scanner and one day are no reason to refuse what nobody could tell from them: a spread is at least
this. A factor of 2 in um per pixel is 1 here: scans at 20x and 40x, read at one scale, are no reason."""
_FAINT = 1e-3
"""Optical density below which no ratio is formed."""


@dataclass(frozen=True)
class Domain:
    """What is said of one slide.

    Attributes
    ----------
    inside
        Whether every statistic is usual.
    distance
        The largest distance from the centre, in units of its own limit: above 1 is out of domain.
    unusual
        What is unusual, in words; empty where nothing is.
    """

    inside: bool
    distance: float
    unusual: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """One sentence for people."""
        if self.inside:
            return "The slide looks like the training slides in stain, sharpness and scale."
        return f"Out of domain: {'; '.join(self.unusual)}. What the model says of this slide may be wrong everywhere."


class DomainReference(BaseModel):
    """What slides usually look like, learned from training slides: one value a statistic, in the order of `statistics`.

    Attributes
    ----------
    centre, spread
        Mean and standard deviation (ddof 1) of the slides' statistics.
    slides
        How many slides there were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    statistics: Statistics = STATISTICS
    centre: tuple[float, float, float, float, float, float, float, float, float]
    spread: tuple[float, float, float, float, float, float, float, float, float]
    slides: int = Field(ge=FEWEST_SLIDES)

    @classmethod
    def learn(
        cls, features_nf: NDArray[np.floating], slide_n: NDArray[np.integer], slide_mpp: Mapping[int, float]
    ) -> DomainReference | None:
        """Learn from the features (n, 8) of training tiles on slides `slide_n` (n,); None with too few slides.

        Parameters
        ----------
        slide_mpp
            Um per level-0 pixel of each slide.

        Raises
        ------
        NonFiniteScoreError
            A feature is not finite.
        """
        slides = np.unique(slide_n)
        if len(slides) < FEWEST_SLIDES:
            return None
        values = np.array([_of_slide(features_nf[slide_n == one], slide_mpp[int(one)]) for one in slides])
        spread = values.std(axis=0, ddof=1)
        return cls(centre=tuple(values.mean(axis=0).tolist()), spread=tuple(spread.tolist()), slides=len(slides))

    def judge(self, features_nf: NDArray[np.floating], slide_mpp: float) -> Domain:
        """Judge a slide by the features (n, 8) of its tiles and its um per level-0 pixel; no tile is no evidence.

        Raises
        ------
        NonFiniteScoreError
            A feature is not finite.
        """
        if not len(features_nf):
            return Domain(True, 0.0)
        value = _of_slide(features_nf, slide_mpp)
        spread = np.maximum(self.spread, _LEAST_SPREAD)
        limit = self._quantile() * spread * math.sqrt(1 + 1 / self.slides)
        distance = (value - np.array(self.centre)) / limit
        unusual = [
            f"{name} {self._in_words(index, value[index])}"
            for index, name in enumerate(self.statistics)
            if abs(distance[index]) > 1
        ]
        return Domain(not unusual, float(np.abs(distance).max()), tuple(unusual))

    def _quantile(self) -> float:
        from scipy.stats import t

        return float(t.ppf(1 - ALPHA / (2 * len(self.statistics)), self.slides - 1))

    def _in_words(self, index: int, value: float) -> str:
        usual = self.centre[index]
        if self.statistics[index] == "um per pixel":
            return f"{2**value:.3g}, training slides about {2**usual:.3g}"
        return f"{value:.2f}, training slides {usual:.2f} ± {self.spread[index]:.2f}"


def measure(images: NDArray[np.uint8], focus_n: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
    """Measure the statistics of tiles (n, h, w, 3) uint8 RGB, all but the last: (n, 8), sharpness the last of them.

    Parameters
    ----------
    focus_n
        (n,) the image-quality feature focus, where it has been measured already.

    A tile without stained pixels has no density, contrast or hue; these are 0.
    """
    if focus_n is None:
        focus_n = measure_quality(images)[:, 0]
    chunk = max(1, CHUNK_PIXELS // (images.shape[1] * images.shape[2]))
    parts = [_stains(images[i : i + chunk]) for i in range(0, len(images), chunk)]
    stains = np.concatenate(parts) if parts else np.empty((0, OF_TILE - 1), dtype=np.float32)
    return np.column_stack([stains, focus_n]).astype(np.float32)


def _stains(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    # every second pixel in both directions: a mean over some thousand pixels does not need the rest
    density = DENSITY[images[:, ::2, ::2]]
    stained = (density.mean(axis=3) > STAINED_OD).astype(np.float32)
    count = np.maximum(stained.sum(axis=(1, 2)), 1)[:, None]
    mean = np.einsum("nhwc,nhw->nc", density, stained) / count
    square = np.einsum("nhwc,nhwc,nhw->nc", density, density, stained) / count
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    red, green, blue = np.log(np.maximum(mean, _FAINT)).T
    return np.column_stack([mean, spread[:, [0, 2]], red - green, blue - green]).astype(np.float32)


def _of_slide(features_nf: NDArray[np.floating], slide_mpp: float) -> Floats:
    if not np.isfinite(features_nf).all():
        raise NonFiniteScoreError("a statistic of the slide's domain is not finite: its pixels cannot be trusted.")
    return np.append(np.median(np.asarray(features_nf, dtype=np.float64), axis=0), math.log2(slide_mpp))


def as_json(domain: Domain | None) -> dict[str, Any] | None:
    """Return plain values for ``summary.json``; None stays None."""
    if domain is None:
        return None
    return {"inside": domain.inside, "distance": round(domain.distance, 3), "unusual": list(domain.unusual)}

"""Settings of heatmaps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from w2wpath.config.base import Settings


class HeatmapSettings(Settings):
    """Settings of ``w2wpath heatmap``."""

    draws: int | None = Field(None, ge=1)
    """MC passes; None takes as many as the model's threshold was taken with."""
    classes: tuple[str, ...] | None = None
    """The classes that the model must have; None takes any."""
    tissue_share: float = Field(0.1, ge=0, le=1)
    """A tile is analysed when at least this share of it is tissue."""
    only_rois: bool = False
    """Analyse the tiles that lie at least half in an annotated region, instead of tissue."""
    overlap: float = Field(0.0, ge=0, le=0.9)
    """Share of a tile that the next one covers too; more overlap makes a finer map and takes longer."""
    threshold: float | None = None
    """Uncertainty above which a tile is masked; None takes the model's own."""
    quality: bool = True
    """Mask also by image quality, where the model has a reference for it."""
    stain: bool = True
    """Mask tiles whose class changes where they are stained a little otherwise (w2wnet/nets/stability.py)."""
    opacity: float = Field(0.5, gt=0, le=0.8)
    """Of the colours over the tissue, which must stay visible."""
    colour_map: Literal["inferno", "cividis"] = "inferno"
    """Colours of probabilities: inferno keeps most distance from stained tissue, cividis looks almost the same to
    people who confuse red and green."""
    max_mb: float = Field(10.0, ge=1)
    """Most megabytes of ``report.html``; the picture of the slide gets what the maps leave."""
    batch_size: int = Field(64, ge=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    @model_validator(mode="after")
    def _threshold_is_a_gini_value(self) -> HeatmapSettings:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold:g}")
        return self

"""Settings of a study: a cohort, the rows of its tables, seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from w2wpath.config.base import Settings
from w2wpath.config.nets import checked_changes


class StudySettings(Settings):
    """What ``w2wpath run`` compares, and on what; how networks are built and folds dealt stands under [clean]."""

    cohort: Path
    """Table of slides, as for ``w2wpath tile --cohort``; relative to the TOML or to ``--data``."""
    truth: Path | None = None
    """Known truth (slide, x0, y0, content, spurious, kind). It is read for scoring and for the rows called oracle;
    nothing that trains, decides or sets a threshold sees it."""
    rows: tuple[str, ...] = ("recommended", "all")
    """Rows of the tables, by name: ``w2wpath.benchmarks.study.methods`` lists them."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    """Seeds of the networks; the folds stay those of [clean], so that runs differ in the networks alone."""
    classifier_epochs: int = Field(30, ge=1)
    """Epochs of every deterministic network, whatever list it is trained on."""
    paper_exact_folds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Folds in which row ``paper`` follows exact MC passes; the other folds follow the moving average, which costs a
    tenth on a CPU."""
    paper: Annotated[dict[str, float], AfterValidator(checked_changes)] = Field(default_factory=dict)
    """Settings of rows ``paper`` and ``deterministic`` that the paper has for these data, such as its learning rate;
    else ``paper`` has its preset, whatever [clean] states by name, but for the epochs."""
    cohort_variant: Literal["whole", "good-only", "imbalanced"] = "whole"
    """``good-only`` leaves the spurious tiles out of the cohort (by the truth: scoring data are being built) and
    ``imbalanced`` thins one class to a tenth of the largest; both train the Wise networks only."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> StudySettings:
        if not self.rows or not self.seeds:
            raise ValueError("rows and seeds must name at least one each")
        if len(set(self.rows)) < len(self.rows) or len(set(self.seeds)) < len(self.seeds):
            raise ValueError("rows and seeds must not repeat")
        if self.cohort_variant == "good-only" and self.truth is None:
            raise ValueError("cohort_variant 'good-only' needs truth: it builds the cohort")
        return self

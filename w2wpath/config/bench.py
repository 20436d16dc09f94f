"""Settings of a benchmark: data sets with known faults, rows, seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from w2wpath.config.base import Settings
from w2wpath.config.nets import checked_changes


class BenchSettings(Settings):
    """What ``w2wpath bench run`` makes and compares; how networks are built stands under [clean]."""

    sets: tuple[str, ...]
    """Names of Table 1: ``MNIST``, ``Sp-MNIST-10``, ``Mixed-CIFAR10-30`` and the like."""
    rows: tuple[str, ...] = ("recommended", "all")
    """Rows of the tables, on every seed."""
    rows_once: tuple[str, ...] = ()
    """Rows on the first seed alone."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    """Each seed draws images and faults anew, and networks too."""
    images: Annotated[int, Field(ge=2)] | None = None
    """Training images before faults are added; None takes all."""
    test_images: Annotated[int, Field(ge=2)] | None = None
    """The same of the test side; None takes as large a share of it as `images` is of the training side."""
    mode: Literal["append", "replace"] = "append"
    """``append`` adds altered copies to the originals (the paper), ``replace`` alters in place (the literature)."""
    classifier_epochs: int = Field(100, ge=1)
    """Epochs of every deterministic network (R21)."""
    exact: tuple[str, ...] = ()
    """Sets on which row ``paper`` follows exact MC passes, with the first seed; elsewhere the moving average."""
    paper: Annotated[dict[str, float], AfterValidator(checked_changes)] = Field(default_factory=dict)
    """Settings of rows ``paper`` and ``deterministic`` that the paper has for these data, such as its learning rate."""
    mnist: Path = Path("mnist")
    """Folder of MNIST, relative to --data."""
    letters: Path = Path("mnist")
    """Folder of the letters, relative to --data."""
    cifar10: Path = Path("cifar10")
    """Folder of CIFAR-10, relative to --data."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> BenchSettings:
        if not self.sets or not self.rows or not self.seeds:
            raise ValueError("sets, rows and seeds must name at least one each")
        for name, values in (("sets", self.sets), ("seeds", self.seeds), ("rows", self.rows + self.rows_once)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must not repeat")
        if missing := [name for name in self.exact if name not in self.sets]:
            raise ValueError(f"exact names {missing[0]!r}, which is not among the sets")
        return self

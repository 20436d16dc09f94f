"""The fourteen data sets of the paper's Table 1: MNIST and CIFAR-10, as they are and with 10 to 30 % of faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from w2wpath.benchmarks.sources.source import Split
from w2wpath.errors import ConfigError, did_you_mean

Base = Literal["MNIST", "CIFAR10"]
FULL_SIZE: Mapping[Base, Mapping[Split, int]] = {
    "MNIST": {"train": 60_000, "test": 10_000},
    "CIFAR10": {"train": 50_000, "test": 10_000},
}
SIDE_PX: Mapping[Base, int] = {"MNIST": 28, "CIFAR10": 32}
N_CLASSES = 10
SHARES = (10, 20, 30)


@dataclass(frozen=True)
class Recipe:
    """How a data set is made.

    Attributes
    ----------
    percent
        Spurious images for 100 of the originals (R30); 0 is the set as it is.
    corrupted
        The splits that hold them: both under ``Sp``, the test split alone under ``Mixed`` (R31).
    """

    name: str
    base: Base
    percent: int = 0
    corrupted: frozenset[Split] = frozenset()

    def spurious(self, split: Split, originals: int) -> int:
        """Return how many spurious images go with so many originals."""
        return (self.percent * originals + 50) // 100 if split in self.corrupted else 0


def _recipes() -> list[Recipe]:
    kinds: tuple[tuple[str, frozenset[Split]], ...] = (
        ("Sp", frozenset({"train", "test"})),
        ("Mixed", frozenset({"test"})),
    )
    found = []
    for base in FULL_SIZE:
        found.append(Recipe(base, base))
        found += [Recipe(f"{kind}-{base}-{n}", base, n, splits) for kind, splits in kinds for n in SHARES]
    return found


SETS: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _recipes()}


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a data set by its name in Table 1.

    Raises
    ------
    ConfigError
        There is no such set.
    """
    if name not in SETS:
        raise ConfigError(f"data set {name!r} is not in the paper's Table 1.{did_you_mean(name, tuple(SETS))}")
    return SETS[name]

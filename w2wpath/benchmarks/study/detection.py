"""How well spurious tiles are found, in training and in patients that no network has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.study.resampling import (
    Figure,
    Floats,
    Mask,
    auroc,
    figure,
    mean_of,
    over_folds,
    sensitivity_at,
    share,
)
from w2wpath.w2wnet.truth import Truth

Drawn = dict[str, list[Floats]]
"""Draws (b,) of every fold, by the name of the figure."""


@dataclass(frozen=True)
class Part:
    """Tiles that were judged together, those of one fold: rows of the study's table, scores, and what was excluded."""

    rows: NDArray[np.intp]
    score_n: NDArray[np.floating]
    excluded_n: Mask


@dataclass(frozen=True)
class Known:
    """The truth of the study's n tiles, their given labels, and the weights (b, n) of the bootstrap."""

    truth: Truth
    label: NDArray[np.int16]
    classes: tuple[str, ...]
    weight_bn: Floats

    @property
    def kinds(self) -> list[str]:
        """Kinds of spurious tiles."""
        return sorted(set(self.truth.kind[self.truth.spurious & self.truth.known].tolist()))


def detected(parts: Sequence[Part], known: Known, *, unseen: bool) -> Drawn:
    """Score every part against the truth.

    Where the patients are unseen, only faults of the image count as spurious (F4); the share of wrong labels that was
    flagged stands beside, and should be that of the good tiles.
    """
    found: Drawn = {}
    for part in parts:
        for name, drawn in _of_part(part, known, unseen=unseen).items():
            found.setdefault(name, []).append(drawn)
    return found


def _of_part(part: Part, known: Known, *, unseen: bool) -> dict[str, Floats]:
    truth, rows = known.truth, part.rows
    spurious, kind = truth.spurious[rows] & truth.known[rows], truth.kind[rows]
    good = ~truth.spurious[rows] & truth.known[rows]
    sought = spurious & truth.of_image[rows] if unseen else spurious
    weight = known.weight_bn[:, rows]

    def ranked(positive: Mask) -> tuple[NDArray[np.floating], Mask, Floats]:
        asked = positive | good
        return part.score_n[asked], positive[asked], weight[:, asked]

    found = {
        "AUROC": auroc(*ranked(sought)),
        "sensitivity at 5 %": sensitivity_at(*ranked(sought)),
        "sensitivity": share(part.excluded_n[sought], weight[:, sought]),
        "false removals": share(part.excluded_n[good], weight[:, good]),
        "excluded, all spurious": share(part.excluded_n[spurious], weight[:, spurious]),
        "excluded": share(part.excluded_n, weight),
    }
    for name in known.kinds:
        mine = spurious & (kind == name)
        found[f"AUROC {name}"] = auroc(*ranked(mine))
        found[f"excluded {name}"] = share(part.excluded_n[mine], weight[:, mine])
    return found | _by_class(part, known, spurious, good)


def _by_class(part: Part, known: Known, spurious: Mask, good: Mask) -> dict[str, Floats]:
    """Return the removal rates of each class (by the given label), for the mean and std between classes of Fig. 7."""
    found = {}
    label, weight = known.label[part.rows], known.weight_bn[:, part.rows]
    for index, name in enumerate(known.classes):
        for what, among in (("false removals", good), ("sensitivity", spurious)):
            mine = among & (label == index)
            found[f"{what}, {name}"] = share(part.excluded_n[mine], weight[:, mine])
    return found


def figures(drawn: Drawn, n: int) -> dict[str, Figure]:
    """Sum the draws up: the mean over folds with its interval."""
    return {name: over_folds(per_fold, n) for name, per_fold in drawn.items()}


def margins(ours: Drawn, rival: Drawn, n: int) -> dict[str, Figure]:
    """Return what `ours` has above `rival` on the same tiles of the same draws."""
    names = ("AUROC", "sensitivity at 5 %")
    return {
        f"margin of {name}": over_folds([a - b for a, b in zip(ours[name], rival[name], strict=True)], n)
        for name in names
    }


def ratio_of_classes(drawn: Drawn, minority: str, others: Sequence[str], n: int) -> Mapping[str, Figure]:
    """Return the minority's rate of false removals over that of the largest class."""
    rates = {name: mean_of(drawn[f"false removals, {name}"]) for name in (minority, *others)}
    majority = rates[others[0]]
    ratio = np.divide(rates[minority], majority, out=np.full(len(majority), np.nan), where=majority > 0)
    return {f"false removals, {minority} over {others[0]}": figure(ratio, n)}


def spread_between_classes(found: Mapping[str, Figure], classes: Sequence[str], what: str) -> tuple[float, float]:
    """Return the mean over classes of a rate, and its std between classes; NaN where no class has one."""
    values = [found[f"{what}, {name}"].value for name in classes]
    finite = [value for value in values if not np.isnan(value)]
    if not finite:
        return float("nan"), float("nan")
    return float(np.mean(finite)), float(np.std(finite, ddof=1)) if len(finite) > 1 else float("nan")

"""Does a map agree with a person's annotations of the same slide? Tile by tile, over what the model is confident of.

Tiles of one slide are no independent samples: these are counts of this slide, and no estimate for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from w2wpath.config import TileSettings
from w2wpath.heatmaps.maps import NOT_ANALYSED, UNCERTAIN, Maps
from w2wpath.tiles.labels import SLACK, area_shares, drop_conflict

LABEL_SHARE = float(TileSettings.model_fields["label_share"].default)
CONFLICT_SHARE = float(TileSettings.model_fields["conflict_share"].default)

Counts = NDArray[np.int64]
Region = tuple[str, BaseGeometry]


@dataclass(frozen=True)
class Agreement:
    """Counts of tiles; each row of `confusion` and `unknown` is an annotated class.

    Attributes
    ----------
    classes
        The model's classes, which are the rows of `confusion`.
    confusion
        (k, k + 1) int64: tiles by annotated class, and by what the model is confident of; the last column is uncertain.
    unknown_classes, unknown
        Annotated classes that the model does not know, and the same counts (m, k + 1) of them.
    inside, outside
        (uncertain, analysed) tiles that have a label, and that no annotation touches.
    border, conflict
        Analysed tiles that annotations touch and that have no label: covered too little, or by two classes.
    missed
        Tiles that have a label and were not analysed.
    """

    classes: tuple[str, ...]
    confusion: Counts
    unknown_classes: tuple[str, ...]
    unknown: Counts
    inside: tuple[int, int]
    outside: tuple[int, int]
    border: int
    conflict: int
    missed: int

    @property
    def agreement(self) -> float | None:
        """Share of confident tiles with a class of the model that have it; None where there is no such tile."""
        return _share(int(self.confusion.diagonal().sum()), int(self.confusion[:, :-1].sum()))

    @property
    def by_class(self) -> dict[str, float | None]:
        """The same for the tiles of each annotated class; None where none of them is confident."""
        sums = self.confusion[:, :-1].sum(axis=1)
        hits = self.confusion.diagonal()
        return {name: _share(int(hits[i]), int(sums[i])) for i, name in enumerate(self.classes)}

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each class that was annotated, for a page to show; counts by column, known classes first.

        Keys: ``class``, ``known``, ``tiles``, ``agreement`` (None where unknown or nothing is confident),
        ``uncertain``, ``predicted`` (counts by the model's classes).
        """
        known = [(name, True, counts) for name, counts in zip(self.classes, self.confusion, strict=True)]
        other = [(name, False, counts) for name, counts in zip(self.unknown_classes, self.unknown, strict=True)]
        agreement = self.by_class
        return [
            {
                "class": name,
                "known": is_known,
                "tiles": int(counts.sum()),
                "agreement": agreement[name] if is_known else None,
                "uncertain": int(counts[-1]),
                "predicted": dict(zip(self.classes, counts[:-1].tolist(), strict=True)),
            }
            for name, is_known, counts in (*known, *other)
            if counts.sum() or not is_known
        ]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for ``summary.json``."""
        return {
            "agreement": self.agreement,
            "classes": self.rows(),
            "uncertain_share_inside": _share(*self.inside),
            "uncertain_share_outside": _share(*self.outside),
            "tiles_inside": self.inside[1],
            "tiles_outside": self.outside[1],
            "border": self.border,
            "conflict": self.conflict,
            "not_analysed": self.missed,
        }


def agreement(
    maps: Maps,
    regions: Sequence[Region],
    *,
    ignored: Sequence[BaseGeometry] = (),
    label_share: float = LABEL_SHARE,
    conflict_share: float = CONFLICT_SHARE,
) -> Agreement:
    """Label every tile by the exact share of it that annotations cover, as `tile` does, and count what the model says.

    Parameters
    ----------
    regions
        (class, area) in level-0 pixels of the slide frame.
    ignored
        Areas taken out of every class.
    label_share, conflict_share
        A tile has the class that covers at least `label_share` of it, unless another covers `conflict_share`.
    """
    k = len(maps.classes)
    unknown = tuple(sorted({name for name, _ in regions} - set(maps.classes)))
    names = (*maps.classes, *unknown)
    indexed = [(names.index(name), area) for name, area in regions]
    shares = area_shares(maps.x0, maps.y0, maps.side0, indexed, ignored, len(names)).area_share
    label = drop_conflict(shares, label_share=label_share, conflict_share=conflict_share).label
    analysed = maps.state != NOT_ANALYSED
    touched = shares.sum(axis=1) > 0
    unlabelled = analysed & touched & (label < 0)
    conflict = unlabelled & _contested(shares, conflict_share)
    says = np.where(maps.state == UNCERTAIN, k, maps.predicted)
    counted = analysed & (label >= 0)
    table = np.zeros((len(names), k + 1), dtype=np.int64)
    np.add.at(table, (label[counted], says[counted]), 1)
    doubtful = maps.state == UNCERTAIN
    return Agreement(
        classes=maps.classes,
        confusion=table[:k],
        unknown_classes=unknown,
        unknown=table[k:],
        inside=(int((doubtful & counted).sum()), int(counted.sum())),
        outside=(int((doubtful & ~touched).sum()), int((analysed & ~touched).sum())),
        border=int((unlabelled & ~conflict).sum()),
        conflict=int(conflict.sum()),
        missed=int((~analysed & (label >= 0)).sum()),
    )


def in_words(found: Agreement) -> dict[str, str]:
    """Return the counts as lines for people, by name."""
    lines: dict[str, str] = {}
    for row in found.rows():
        parts = [f"{count} {name}" for name, count in row["predicted"].items() if count]
        parts += [f"{row['uncertain']} uncertain"] if row["uncertain"] else []
        agreed = "" if row["agreement"] is None else f"; {row['agreement']:.0%} of the confident ones agree"
        strange = "" if row["known"] else " (no class of the model)"
        lines[f"annotated {row['class']}{strange}: {row['tiles']} tiles"] = ", ".join(parts) + agreed
    for where, (uncertain, analysed) in (("inside", found.inside), ("outside", found.outside)):
        if analysed:
            name = f"uncertain {where} the annotations"
            lines[name] = f"{uncertain} of {analysed} tiles, {uncertain / analysed:.0%}"
    if found.border or found.conflict:
        lines["not compared"] = f"{found.border} tiles at a border, {found.conflict} covered by two classes"
    return lines


def _contested(shares: NDArray[np.float32], conflict_share: float) -> NDArray[np.bool_]:
    """Tell of which tiles (n,) a second class covers so much that none can claim them."""
    if shares.shape[1] < 2:
        return np.zeros(len(shares), dtype=np.bool_)
    return np.asarray(np.partition(shares, -2, axis=1)[:, -2] >= conflict_share - SLACK)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None

"""Which tiles a study is about: the whole cohort, its good tiles only, or one class thinned.

``good-only`` opens the truth. That builds a cohort to be scored, as if no fault had been put into it: nothing that
trains or decides on what is left learns which tiles were left out, or why.
"""

from __future__ import annotations

import numpy as np

from w2wpath.config import StudySettings
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.truth import read_truth

RATIO = 10
"""Tiles of the largest class for one of the minority."""


def chosen(study: StudySettings, table: TileTable, seed: int) -> Rows:
    """Return the rows of a store's table that the study is about; all of them carry a label."""
    rows = table.labelled()
    if study.cohort_variant == "good-only" and study.truth is not None:
        truth = read_truth(study.truth, table)
        return rows[truth.known[rows] & ~truth.spurious[rows]]
    return imbalanced(table, rows, seed) if study.cohort_variant == "imbalanced" else rows


def imbalanced(table: TileTable, rows: Rows, seed: int) -> Rows:
    """Thin the smallest class to a tenth of the largest, patient by patient, so that it stays in as many of them."""
    minority, wanted = minority_of(table, rows)
    of_class = rows[table.label[rows] == minority]
    order = np.random.default_rng(seed).permutation(of_class)
    turn = np.empty(len(order), dtype=np.intp)
    for patient in np.unique(table.patient[order]):
        mine = np.flatnonzero(table.patient[order] == patient)
        turn[mine] = np.arange(len(mine))
    kept = order[np.argsort(turn, kind="stable")][:wanted]
    return np.sort(np.concatenate([rows[table.label[rows] != minority], kept]))


def minority_of(table: TileTable, rows: Rows) -> tuple[int, int]:
    """Return the smallest class among `rows`, and a tenth of the size of the largest."""
    present, count = np.unique(table.label[rows], return_counts=True)
    return int(present[count.argmin()]), max(1, int(count.max()) // RATIO)

"""How a fold's training side is dealt among the networks that a rival needs. No truth is here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.rival import Piece
from w2wpath.config import CleanSettings
from w2wpath.errors import FoldError
from w2wpath.w2wnet.folds import make_folds


def dealt(
    patients: Sequence[str],
    classes: Sequence[str],
    patient_n: NDArray[np.integer],
    label_n: NDArray[np.integer],
    parts: int,
    seed: int,
) -> NDArray[np.intp]:
    """Return the part (n,) of each tile, dealt by patient, or within each class where patients do not suffice."""
    if parts == 1:
        return np.zeros(len(label_n), dtype=np.intp)
    try:
        folds = make_folds(patients, classes, patient_n, label_n, folds=parts, seed=seed)
        return folds.fold_n(patients, patient_n).astype(np.intp)
    except FoldError:
        random, part_n = np.random.default_rng(seed), np.empty(len(label_n), dtype=np.intp)
        for label in np.unique(label_n):
            mine = random.permutation(np.flatnonzero(label_n == label))
            part_n[mine] = np.arange(len(mine)) % parts
        return part_n


def piece_settings(base: CleanSettings, piece: Piece) -> CleanSettings:
    """Return the settings of a piece's network: the recommended ones, but for what the piece says."""
    return base.model_copy(update=dict(piece.changes))

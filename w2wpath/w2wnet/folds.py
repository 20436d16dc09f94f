"""Folds grouped by patient and stratified by class: no patient is ever on both sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import FoldError
from w2wpath.w2wnet.learner import Rows


@dataclass(frozen=True)
class FoldTable:
    """Which fold tests which patient."""

    folds: int
    seed: int
    fold_of_patient: tuple[tuple[str, int], ...]

    @property
    def digest(self) -> str:
        """sha256 of the table; later stages refuse another."""
        return hashlib.sha256(json.dumps([self.folds, self.seed, self.fold_of_patient]).encode()).hexdigest()

    def fold_n(self, patients: Sequence[str], patient_n: NDArray[np.integer]) -> NDArray[np.int16]:
        """Return the test fold (n,) of each tile; `patient_n` indexes `patients`. -1 for a patient unknown here."""
        known = dict(self.fold_of_patient)
        of_patient = np.array([known.get(name, -1) for name in patients], dtype=np.int16)
        return np.asarray(of_patient[patient_n])


def make_folds(
    patients: Sequence[str],
    classes: Sequence[str],
    patient_n: NDArray[np.integer],
    label_n: NDArray[np.integer],
    *,
    folds: int,
    seed: int,
) -> FoldTable:
    """Deal the patients of labelled tiles into folds.

    Parameters
    ----------
    patients, classes
        Names that `patient_n` and `label_n` (n,) index.

    Raises
    ------
    FoldError
        One class only, fewer patients or tiles of a class than folds, or a class missing from some training side.
    """
    present = np.unique(label_n)
    if len(present) < 2:
        name = classes[int(present[0])] if len(present) else "none"
        raise FoldError(
            f"labelled tiles of one class only ({name}): nothing can be learned. "
            "Annotate a second class, and tile again."
        )
    of_tiles = np.unique(patient_n)
    if len(of_tiles) < folds:
        raise FoldError(
            f"{len(of_tiles)} patients cannot fill {folds} folds. "
            f"Use --folds {max(2, len(of_tiles))} or fewer, or tile slides of more patients."
            if len(of_tiles) > 1
            else f"1 patient cannot fill {folds} folds: every fold needs patients of its own. "
            "Tile slides of more patients (say whose they are with --patient)."
        )
    largest = int(np.unique(label_n, return_counts=True)[1].max())
    if largest < folds:
        raise FoldError(
            f"the largest class has {largest} labelled tiles, too few for {folds} folds. "
            "Tile more of each class, or use fewer --folds."
        )
    _every_class_has_two_patients(patients, classes, patient_n, label_n)
    fold_n = _deal(patient_n, label_n, folds, seed)
    _every_training_side_has_every_class(fold_n, label_n, present, classes, folds)
    table = tuple(sorted((patients[int(p)], int(fold_n[patient_n == p][0])) for p in of_tiles))
    found = FoldTable(folds, seed, table)
    assert_disjoint(patient_n, fold_n)
    return found


def sides(fold_n: NDArray[np.integer], k: int) -> tuple[Rows, Rows]:
    """Return the rows of training and test side of fold `k`; rows of no fold (-1) are on neither."""
    return np.flatnonzero((fold_n != k) & (fold_n >= 0)), np.flatnonzero(fold_n == k)


def assert_disjoint(patient_n: NDArray[np.integer], fold_n: NDArray[np.integer]) -> None:
    """Check that no patient lies in two folds.

    Raises
    ------
    FoldError
        One does.
    """
    pairs = np.unique(np.stack([patient_n, fold_n], axis=1), axis=0)
    if len(pairs) != len(np.unique(patient_n)):
        raise FoldError("a patient lies in two folds; this must never happen. Please report it with the fold table.")


def assert_out_of_fold(votes: NDArray[np.int8], fold_n: NDArray[np.integer]) -> None:
    """Check that no network judged, among its training tiles, a tile of its own test side.

    Parameters
    ----------
    votes
        (n, folds) int8, -1 where the tile was not in the training side of the fold.
    fold_n
        (n,) test fold, -1 where the tile was not judged.

    Raises
    ------
    FoldError
        One did, so out-of-fold values would not be out of fold.
    """
    judged = np.flatnonzero(fold_n >= 0)
    seen = int((votes[judged, fold_n[judged]] != -1).sum())
    if seen:
        raise FoldError(
            f"{seen} of {len(judged)} tiles were trained on by the network of their own test fold; "
            "this must never happen. Please report it with the fold table."
        )


def _deal(patient_n: NDArray[np.integer], label_n: NDArray[np.integer], folds: int, seed: int) -> NDArray[np.int16]:
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    fold_n = np.full(len(label_n), -1, dtype=np.int16)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # a class with fewer tiles than folds is reported by us, in words, after dealing
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for k, (_, test) in enumerate(splitter.split(np.zeros(len(label_n)), label_n, patient_n)):
            fold_n[test] = k
    _fill_empty(fold_n, patient_n, folds)
    return fold_n


def _fill_empty(fold_n: NDArray[np.int16], patient_n: NDArray[np.integer], folds: int) -> None:
    """Give every fold at least one patient: an empty one takes the smallest patient of the fold with the most."""
    for k in range(folds):
        if (fold_n == k).any():
            continue
        sizes = [len(np.unique(patient_n[fold_n == j])) for j in range(folds)]
        donor = int(np.argmax(sizes))
        mine, count = np.unique(patient_n[fold_n == donor], return_counts=True)
        fold_n[patient_n == mine[count.argmin()]] = k


def _every_class_has_two_patients(
    patients: Sequence[str],
    classes: Sequence[str],
    patient_n: NDArray[np.integer],
    label_n: NDArray[np.integer],
) -> None:
    for code in np.unique(label_n):
        own = np.unique(patient_n[label_n == code])
        if len(own) == 1:
            raise FoldError(
                f"class {classes[int(code)]!r} lives in one patient only ({patients[int(own[0])]}), so the Wise of "
                "that patient's fold would never see it. Annotate it in a second patient, or leave it out by a class "
                'map without it (unlisted = "skip"): `w2wpath relabel --rois FILE --class-map MAP.toml`.'
            )


def _every_training_side_has_every_class(
    fold_n: NDArray[np.int16],
    label_n: NDArray[np.integer],
    present: NDArray[np.integer],
    classes: Sequence[str],
    folds: int,
) -> None:
    for k in range(folds):
        lost = np.setdiff1d(present, np.unique(label_n[fold_n != k]))
        if lost.size:
            raise FoldError(
                f"class {classes[int(lost[0])]!r} lives only in the patients of fold {k + 1}, so its Wise would "
                "never see it. Annotate it in more patients, or try another --seed."
            )

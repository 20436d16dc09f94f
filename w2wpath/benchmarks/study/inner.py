"""What rivals must have trained before their list of a fold's training tiles can be made. No truth is here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.confident_learning import PARTS, confident_learning
from w2wpath.benchmarks.rivals.ponzio import ponzio_list
from w2wpath.benchmarks.rivals.traces import area_under_margin
from w2wpath.benchmarks.study.cells import Kind, NetCell, TraceCell, WiseCell
from w2wpath.config import CleanSettings
from w2wpath.errors import FoldError
from w2wpath.w2wnet.folds import make_folds

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
HALVES = 2


@dataclass(frozen=True)
class Piece:
    """A network that a rival needs: trained on `train`, asked about `test`, both (n,) masks of the training side."""

    kind: Kind
    name: str
    train: Mask
    test: Mask
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Rival:
    """A method of others that scores a fold's training tiles.

    Attributes
    ----------
    parts
        In how many parts the training side is dealt, by patient.
    pieces
        What it needs, from the part (n,) of each tile.
    judge
        From the cells of those pieces, given labels (n,) and parts (n,): which tiles it leaves out, None where it has
        no cut of its own, and a score (n,), high where spurious.
    """

    parts: int
    pieces: Callable[[NDArray[np.intp]], list[Piece]]
    judge: Callable[[Sequence[Any], NDArray[np.int16], NDArray[np.intp]], tuple[Mask | None, Floats]]


def _out_of_fold(part_n: NDArray[np.intp]) -> list[Piece]:
    return [Piece("net", f"out-of-fold {p + 1}", part_n != p, part_n == p, {}) for p in range(PARTS)]


def _confident(
    cells: Sequence[NetCell], labels: NDArray[np.int16], part_n: NDArray[np.intp]
) -> tuple[Mask | None, Floats]:
    probs = np.empty((len(labels), cells[0].test_probs_nk.shape[1]))
    for p, cell in enumerate(cells):
        probs[part_n == p] = cell.test_probs_nk
    return confident_learning(labels, probs / probs.sum(axis=1, keepdims=True))


def _trace(part_n: NDArray[np.intp]) -> list[Piece]:
    everything = np.ones(len(part_n), dtype=np.bool_)
    # without dropout a Wise is the deterministic network, and it tells of its training forwards
    return [Piece("trace", "trace", everything, ~everything, {"dropout_rate": 0.0, "tracker": "ema"})]


def _margin(
    cells: Sequence[TraceCell], labels: NDArray[np.int16], part_n: NDArray[np.intp]
) -> tuple[Mask | None, Floats]:
    return None, area_under_margin(cells[0].margin_n)


def _loss(
    cells: Sequence[TraceCell], labels: NDArray[np.int16], part_n: NDArray[np.intp]
) -> tuple[Mask | None, Floats]:
    return None, cells[0].loss_n


def _halves(part_n: NDArray[np.intp]) -> list[Piece]:
    # no stop rule: it is what W2WNet added; a std is never below 0
    fixed = {"std_below": sys.float_info.min}
    return [Piece("wise", f"half {p + 1}", part_n != p, part_n == p, fixed) for p in range(HALVES)]


def _ponzio(
    cells: Sequence[WiseCell], labels: NDArray[np.int16], part_n: NDArray[np.intp]
) -> tuple[Mask | None, Floats]:
    u = np.empty(len(labels))
    for p, cell in enumerate(cells):
        u[part_n == p] = cell.test_u
    return ~ponzio_list(u), u


RIVALS: Mapping[str, Rival] = {
    "cleanlab": Rival(PARTS, _out_of_fold, _confident),
    "aum": Rival(1, _trace, _margin),
    "small-loss": Rival(1, _trace, _loss),
    "ponzio": Rival(HALVES, _halves, _ponzio),
}
"""By the name of their row."""


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

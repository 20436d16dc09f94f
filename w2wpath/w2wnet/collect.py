"""Votes, thresholds and decisions from the folds of a run, and the stop where they exclude too much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.decide import REASONS as EXCLUSIONS
from w2wpath.w2wnet.folds import assert_out_of_fold
from w2wpath.w2wnet.foldwork import FoldResult
from w2wpath.w2wnet.ledger import EXCLUDED, FLAGS, KEPT, REASONS, UNDECIDED, Decisions, vote
from w2wpath.w2wnet.thresholds import out_of_fold_thresholds

STOP_SHARE = 0.5
"""A class or patient of which more is excluded stops the run."""
STOP_TILES = 10
"""Fewest judged tiles of a class or patient for that."""


def decide(run: str, table: TileTable, results: Sequence[FoldResult], about: dict[str, Any]) -> Decisions:
    """Join what the folds say into decisions; thresholds are noted in `about`."""
    n, folds = table.n, len(results)
    votes = np.full((n, folds), -1, dtype=np.int8)
    fold = np.full(n, -1, dtype=np.int16)
    probs = np.full((n, len(table.classes)), np.nan, dtype=np.float32)
    u = np.full(n, np.nan, dtype=np.float32)
    unseen = np.full((n, len(FLAGS) - 1), np.nan, dtype=np.float32)
    severity_nr = np.zeros((n, len(EXCLUSIONS)))
    score = np.zeros(n)
    for k, result in enumerate(results):
        worst = result.severity_nr.max(axis=1)
        votes[result.train_rows, k] = worst > 1.0
        severity_nr[result.train_rows] += result.severity_nr
        score[result.train_rows] += worst
        fold[result.test_rows] = k
        u[result.test_rows] = result.test_u
        probs[result.test_rows] = result.test_mean_nk
        unseen[result.test_rows, 1:] = result.unseen_quality_nr
    judged = table.label >= 0
    count = np.maximum((votes >= 0).sum(axis=1), 1)
    severity_nr /= count[:, None]
    state = np.where(judged, vote(votes), UNDECIDED).astype(np.uint8)
    assert_out_of_fold(votes, fold)
    thresholds = _thresholds(u, fold, votes, about)
    unseen[judged, 0] = u[judged] / np.maximum(thresholds[fold[judged]], 1e-12)
    why = np.where(state == UNDECIDED, "tie", np.array(EXCLUSIONS)[severity_nr.argmax(axis=1)])
    why = np.where(state == KEPT, "", why)
    why = np.where(judged, why, "no label")
    return Decisions(
        run=run,
        state=state,
        reason=np.array([REASONS.index(str(name)) for name in why], dtype=np.uint8),
        votes=votes,
        fold=fold,
        severity=np.where(judged[:, None], severity_nr, np.nan).astype(np.float32),
        score=np.where(judged, score / count, np.nan).astype(np.float32),
        probs=probs,
        u=u,
        unseen=unseen,
        label=table.label,
        area_share=table.area_share,
        about=about,
    )


def stops(table: TileTable, decisions: Decisions) -> list[str]:
    """Say of which classes and patients more than half was excluded, so that a person should look before it counts."""
    return [
        f"{what} {name}: {gone} of {n} tiles excluded, more than half"
        for what, code_n, names in (
            ("class", table.label, table.classes),
            ("patient", table.patient, table.patients),
        )
        for name, n, gone in _excluded_by(decisions, code_n, names)
        if n >= STOP_TILES and gone > STOP_SHARE * n
    ]


def _excluded_by(
    decisions: Decisions, code_n: NDArray[np.integer[Any]], names: Sequence[str]
) -> list[tuple[str, int, int]]:
    """Return name, judged tiles and excluded ones of each class or patient."""
    judged = decisions.judged
    counts = [np.bincount(code_n[rows], minlength=len(names)) for rows in (judged, judged & _excluded(decisions))]
    return [(name, int(n), int(gone)) for name, n, gone in zip(names, *counts, strict=True)]


def _excluded(decisions: Decisions) -> NDArray[np.bool_]:
    return np.asarray(decisions.state == EXCLUDED)


def _thresholds(
    u: NDArray[np.float32],
    fold: NDArray[np.int16],
    votes: NDArray[np.int8],
    about: dict[str, Any],
) -> NDArray[np.float64]:
    """Return the threshold of each fold, by the recipe of the settings; both recipes are noted in `about`."""
    folds, settings = about["folds"], about["settings"]
    judged = fold >= 0
    quantiles = out_of_fold_thresholds(u[judged], fold[judged], votes[judged], settings["flag_share"])
    for one, quantile in zip(folds, quantiles.tolist(), strict=True):
        # a network that learned nothing masks nothing
        degenerate = one["stop"]["reason"] == "degenerate"
        one["thresholds"] = {"centroid": one["threshold"], "quantile": 1.0 if degenerate else quantile}
        one["threshold"] = one["thresholds"][settings["threshold"]]
    return np.array([one["threshold"] for one in folds])

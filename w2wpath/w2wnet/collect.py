"""Votes, thresholds and decisions from the folds of a run, and the stop where they exclude too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.controls import Planted
from w2wpath.w2wnet.decide import NET_REASONS
from w2wpath.w2wnet.decide import REASONS as EXCLUSIONS
from w2wpath.w2wnet.folds import assert_out_of_fold
from w2wpath.w2wnet.foldwork import FoldResult
from w2wpath.w2wnet.ledger import EXCLUDED, FLAGS, KEPT, REASONS, UNDECIDED, Decisions, vote
from w2wpath.w2wnet.thresholds import out_of_fold_thresholds
from w2wpath.w2wnet.uncertainty import as_if_balanced

STOP_SHARE = 0.5
"""A class or patient of which more is excluded stops the run."""
STOP_TILES = 10
"""Fewest judged tiles of a patient for that: of few, most are soon gone. A class has no least number."""


def decide(run: str, table: TileTable, results: Sequence[FoldResult], about: dict[str, Any]) -> Decisions:
    """Join what the folds say into decisions; thresholds are noted in `about`."""
    n, folds = table.n, len(results)
    votes = np.full((n, folds), -1, dtype=np.int8)
    fold = np.full(n, -1, dtype=np.int16)
    probs = np.full((n, len(table.classes)), np.nan, dtype=np.float32)
    u = np.full(n, np.nan, dtype=np.float32)
    unseen = np.full((n, len(FLAGS) - 1), np.nan, dtype=np.float32)
    severity_nr = np.zeros((n, len(EXCLUSIONS)))
    of_quality = np.zeros(n, dtype=np.intp)
    score = np.zeros(n)
    for k, result in enumerate(results):
        worst = result.severity_nr.max(axis=1)
        votes[result.train_rows, k] = worst > 1.0
        severity_nr[result.train_rows] += result.severity_nr
        of_quality[result.train_rows] += by_quality(result.severity_nr)
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
    vetoed = np.zeros(n, dtype=np.bool_)
    count_k = np.bincount(table.label[judged], minlength=len(table.classes))
    vetoed[judged] = veto(table.label[judged], fold[judged], probs[judged], unseen[judged, 0], count_k, about)
    # those that image quality excludes by itself, vote by vote, stay excluded
    vetoed &= (state == EXCLUDED) & (2 * of_quality <= count)
    state[vetoed], why[vetoed] = UNDECIDED, "vetoed"
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


def controls_found(
    planted: Planted, results: Sequence[FoldResult], count_k: NDArray[np.integer[Any]], about: Mapping[str, Any]
) -> NDArray[np.bool_]:
    """Tell which planted controls (p,) are excluded: by the network that learned from them, with the veto of another.

    `count_k` are the judged tiles of each class; `about` is that of the decisions, with the thresholds of the folds.
    """
    count = len(planted.label)
    severity_pr, fold_p = np.zeros((count, len(EXCLUSIONS))), np.zeros(count, dtype=np.intp)
    probs_pk, u_p = np.zeros((count, len(about["classes"]))), np.zeros(count)
    for k, result in enumerate(results):
        severity_pr[result.planted_rows] = result.planted_severity_nr
        theirs = result.unseen_planted_rows
        if theirs.size:  # a fold of few tiles may have none
            fold_p[theirs], probs_pk[theirs], u_p[theirs] = k, result.unseen_planted_nk, result.unseen_planted_u
    threshold_f = np.maximum([one["threshold"] for one in about["folds"]], 1e-12)
    vetoed = veto(planted.label, fold_p, probs_pk, u_p / threshold_f[fold_p], count_k, about)
    return np.asarray((severity_pr.max(axis=1) > 1.0) & ~(vetoed & ~by_quality(severity_pr)))


def veto(
    label_n: NDArray[np.integer[Any]],
    fold_n: NDArray[np.integer[Any]],
    probs_nk: NDArray[np.floating[Any]],
    doubt_n: NDArray[np.floating[Any]],
    count_k: NDArray[np.integer[Any]],
    about: Mapping[str, Any],
) -> NDArray[np.bool_]:
    """Tell whether the network of a tile's own fold (n,) speaks for its label: it names it, and is sure.

    Parameters
    ----------
    probs_nk, doubt_n
        Out-of-fold mean draws (n, k), and their u over the threshold of the fold: above 1 it is not sure.
    count_k
        Judged tiles of each class: with `balanced`, a label is not named because it is frequent.
    about
        Settings, and the folds, of which one that learned nothing speaks for no label.
    """
    if not about["settings"]["out_of_fold_veto"]:
        return np.zeros(len(label_n), dtype=np.bool_)
    learned = np.array([one["stop"]["reason"] != "degenerate" for one in about["folds"]])
    named_n = (as_if_balanced(probs_nk, count_k) if about["settings"]["balanced"] else probs_nk).argmax(axis=1)
    return np.asarray((named_n == label_n) & (doubt_n <= 1.0) & learned[fold_n])


def by_quality(severity_nr: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell which tiles (n,) image quality excludes in a fold, by severities (n, 5) for each of REASONS."""
    return np.asarray(severity_nr[:, len(NET_REASONS) :].max(axis=1) > 1.0)


def stops(table: TileTable, decisions: Decisions) -> list[str]:
    """Say of which classes and patients more than half was excluded, so that a person should look before it counts."""
    return [
        f"{what} {name}: {gone} of {n} tiles excluded, more than half"
        for what, code_n, names in (
            ("class", table.label, table.classes),
            ("patient", table.patient, table.patients),
        )
        for name, n, gone in _excluded_by(decisions, code_n, names)
        if (n >= STOP_TILES or what == "class") and gone > STOP_SHARE * n
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

"""Score a run of cleaning: against known truth, and by what networks trained on its lists do on unseen patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import RunError
from w2wpath.progress import Progress, Silent
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.folds import assert_disjoint, sides
from w2wpath.w2wnet.learner import ClassifierFitter
from w2wpath.w2wnet.ledger import EXCLUDED, Decisions
from w2wpath.w2wnet.metrics import Estimate, auroc, by_patient, rate
from w2wpath.w2wnet.truth import Truth

CURE = "Look at its curve in the report, and clean again with other settings."


@dataclass(frozen=True)
class KindRow:
    """How the spurious tiles of one kind fared: how many there are, how many the run excluded, AUROC of the score."""

    kind: str
    tiles: int
    excluded: int
    auroc: float


@dataclass(frozen=True)
class Detection:
    """A run's decisions against the truth.

    Attributes
    ----------
    sensitivity, false_removal
        Share of spurious and of good tiles that were excluded.
    judged, spurious, good
        Judged tiles, and those of them that the truth calls spurious and good; the rest it does not name.
    auroc_training, auroc_unseen
        Of the in-fold score; and of the out-of-fold u, which sees no label, for the faults of the image (F4).
    """

    judged: int
    spurious: int
    good: int
    sensitivity: Estimate
    false_removal: Estimate
    auroc_training: Estimate
    auroc_unseen: Estimate
    kinds: tuple[KindRow, ...]


def score_detection(table: TileTable, decisions: Decisions, truth: Truth) -> Detection:
    """Score the judged tiles that the truth names; intervals are bootstrapped over patients."""
    judged = decisions.label >= 0
    rows = np.flatnonzero(judged & truth.known)
    spurious, kind = truth.spurious[rows], truth.kind[rows]
    excluded = decisions.state[rows] == EXCLUDED
    score, u, patient = decisions.score[rows], decisions.u[rows], table.patient[rows]

    def interval(values: NDArray[np.bool_], among: NDArray[np.bool_]) -> Estimate:
        return by_patient(lambda i: rate(values[among][i]), patient[among])

    def ranked(scores: NDArray[np.float32], sought: NDArray[np.bool_]) -> Estimate:
        among = sought | ~spurious
        return by_patient(lambda i: auroc(scores[among][i], sought[among][i]), patient[among])

    kinds = []
    for name in sorted(set(kind[spurious].tolist())):
        mine = (kind == name) & spurious
        against_good = mine | ~spurious
        area = auroc(score[against_good], spurious[against_good])
        kinds.append(KindRow(name, int(mine.sum()), int(excluded[mine].sum()), area))
    return Detection(
        judged=int(judged.sum()),
        spurious=int(spurious.sum()),
        good=int((~spurious).sum()),
        sensitivity=interval(excluded, spurious),
        false_removal=interval(excluded, ~spurious),
        auroc_training=ranked(score, spurious),
        auroc_unseen=ranked(u, truth.of_image[rows]),
        kinds=tuple(kinds),
    )


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on the patients that each fold left out.

    Attributes
    ----------
    name
        What the network was trained on.
    given
        Against the given labels of all test tiles.
    good
        Against the labels of the truly good test tiles; None without truth.
    confident, coverage
        On the good (without truth: all) test tiles with out-of-fold u at most the fold's threshold, and their share.
    """

    name: str
    given: Estimate
    good: Estimate | None
    confident: Estimate
    coverage: float


def cross_validate(
    table: TileTable,
    decisions: Decisions,
    fitter: ClassifierFitter,
    truth: Truth | None,
    *,
    epochs: int,
    seed: int,
    progress: Progress | None = None,
) -> list[Accuracy]:
    """Train, for every fold, one network on all its training tiles and one on those that its own Wise kept.

    Fold k uses only the list of Wise k, which never saw the patients it is tested on.

    Raises
    ------
    RunError
        A Wise keeps no tile.
    """
    progress = progress or Silent()
    judged = np.flatnonzero(decisions.label >= 0)
    fold, label = decisions.fold[judged], decisions.label[judged]
    assert_disjoint(table.patient[judged], fold)
    folds = decisions.votes.shape[1]
    thresholds = np.array([about["threshold"] for about in decisions.about["folds"]])
    confident = decisions.u[judged] <= thresholds[fold]
    good = truth.known[judged] & ~truth.spurious[judged] if truth is not None else None
    results = []
    for name, only_kept in (("all training tiles", False), ("tiles kept by Wise (Wiped)", True)):
        right = np.zeros(len(judged), dtype=np.bool_)
        with progress.track(f"train on {name}", folds) as step:
            for k in range(folds):
                train, test = sides(fold, k)
                if only_kept:
                    # a tile that a planted control stood in for has no vote, and was not excluded
                    train = train[decisions.votes[judged[train], k] != 1]
                    if not train.size:
                        raise RunError(f"run {decisions.run}: the Wise of fold {k + 1} keeps no tile. {CURE}")
                network = fitter.fit(judged[train], label[train], seed + k, epochs)
                right[test] = network.predict(judged[test]).argmax(axis=1) == label[test]
                step(1, f"fold {k + 1}: {right[test].mean():.3f} on unseen patients")
        results.append(_accuracy(name, right, confident, good, table.patient[judged]))
    return results


def _accuracy(
    name: str,
    right: NDArray[np.bool_],
    confident: NDArray[np.bool_],
    good: NDArray[np.bool_] | None,
    patient: NDArray[np.int32],
) -> Accuracy:
    def among(mask: NDArray[np.bool_]) -> Estimate:
        return by_patient(lambda i: rate(right[mask][i]), patient[mask])

    base = np.ones_like(right) if good is None else good
    return Accuracy(
        name=name,
        given=among(np.ones_like(right)),
        good=None if good is None else among(good),
        confident=among(base & confident),
        coverage=rate(confident[base]),
    )

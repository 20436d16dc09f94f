"""Score a study: every table's rows and figures. Of what is done here, nothing reaches a cell.

A row is scored on the seeds of which all folds are there, so that a study can be reported while it goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.every import RIVALS
from w2wpath.benchmarks.study.accuracy import GOOD, Answers, answered, coverage_of, curve, gains, leads
from w2wpath.benchmarks.study.cells import is_made, read_about
from w2wpath.benchmarks.study.decided import decisions_of
from w2wpath.benchmarks.study.detection import Drawn, Known, Part, detected, figures, margins, ratio_of_classes
from w2wpath.benchmarks.study.methods import KOEHLER, METHODS, RECOMMENDED, VARIANTS, variant_settings
from w2wpath.benchmarks.study.resampling import Figure, Floats, Mask, figure, mean_of, patient_weights
from w2wpath.benchmarks.study.run import Fold, Study
from w2wpath.benchmarks.study.variants import minority_of
from w2wpath.w2wnet.ledger import EXCLUDED, vote
from w2wpath.w2wnet.thresholds import out_of_fold_thresholds

STATISTICS = "image statistics only"
RECIPES = ("quantile", "centroid")
Rows = dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class Scores:
    """Tables of a study: by name, rows of figures.

    Attributes
    ----------
    curves
        Selective risk of each row at the coverages of :data:`~w2wpath.benchmarks.study.accuracy.GRID`.
    missing
        Rows that have no whole seed yet.
    about
        How each row's networks came about: stops, epochs, seconds, precision.
    accuracies
        Draws (b,) of each row's accuracy on the good test tiles.
    """

    tables: dict[str, Rows]
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)
    accuracies: dict[str, Floats] = field(default_factory=dict)


def score(study: Study) -> Scores:
    """Score what is there of a study.

    Raises
    ------
    TruthError
        The truth table is wrong.
    """
    scoring = _Scoring(study)
    tables: dict[str, Rows] = {}
    if scoring.known is not None:
        tables |= scoring.detection()
    curves: dict[str, list[float | None]] = {}
    if study.study.cohort_variant == "whole":
        tables |= scoring.classification(curves)
    whole = study.study.cohort_variant == "whole"
    missing = tuple(row for row in study.rows if not scoring.seeds_of(row, nets=whole))
    found = {name: rows for name, rows in tables.items() if rows}
    return Scores(found, curves, missing, scoring.about(), scoring.accuracies)


class _Scoring:
    def __init__(self, study: Study) -> None:
        self.study, self.ground = study, study.ground
        table = study.ground.table
        self.weight_bn = patient_weights(table.patient)
        truth = study.truth
        self.known = None if truth is None else Known(truth, table.label, table.classes, self.weight_bn)
        self.accuracies: dict[str, Floats] = {}
        self.good = np.ones(table.n, dtype=np.bool_) if truth is None else truth.known & ~truth.spurious

    # which folds are there ------------------------------------------------------------------------------------------

    def seeds_of(self, row: str, *, nets: bool) -> list[int]:
        """Return the seeds of which all folds of a row are there."""
        there = self.study.net if nets else self._wise_of_row
        return [
            seed for seed in self.study.study.seeds if all(there(row, (k, seed)) is not None for k in self.ground.asked)
        ]

    def _wise_of_row(self, row: str, fold: Fold) -> Any:
        needed = METHODS[row].wise if row in METHODS else None
        return self.study.wise(needed, fold) if needed else True

    def _folds(self, seeds: Sequence[int]) -> list[Fold]:
        return [fold for fold in self.study.folds if fold[1] in seeds]

    # detection ------------------------------------------------------------------------------------------------------

    def detection(self) -> dict[str, Rows]:
        """Score every variant of Wise, in training, by vote, and on unseen patients, each beside its rival."""
        training, voted, unseen, lists = Rows(), Rows(), Rows(), Rows()
        for variant in (row for row in self.study.rows if row in VARIANTS):
            seeds = self.seeds_of(variant, nets=False)
            if not seeds:
                continue
            folds = self._folds(seeds)
            training |= self._beside(variant, self._training(variant, folds), self._rival(folds, side=0), unseen=False)
            voted |= self._voted(variant, seeds)
            tests = {recipe: self._unseen(variant, seeds, recipe) for recipe in RECIPES}
            for recipe, parts in tests.items():
                rival = self._rival(folds, side=1)
                unseen |= self._beside(f"{variant}, threshold {recipe}", parts, rival, unseen=True)
        if self.study.study.cohort_variant == "whole":
            for row in self.study.rows:
                lists |= self._list(row)
            training |= self._rivals()
        return {"training": training, "vote": voted, "unseen": unseen, "lists": lists}

    def _beside(self, name: str, ours: list[Part], rival: list[Part], *, unseen: bool) -> Rows:
        known = self._known()
        mine, other = detected(ours, known, unseen=unseen), detected(rival, known, unseen=unseen)
        n = len(np.unique(np.concatenate([part.rows for part in ours])))
        return {name: figures(mine, n) | margins(mine, other, n), STATISTICS: figures(other, n)}

    def _training(self, variant: str, folds: Sequence[Fold]) -> list[Part]:
        found = []
        for fold in folds:
            judged = self.study.judged(variant, fold)
            found.append(Part(self.ground.sides(fold[0])[0], judged.severity_n, ~judged.kept_n))
        return found

    def _rivals(self) -> Rows:
        """Score the rivals that rank training tiles; what they exclude is their list."""
        found = Rows()
        for row in (row for row in self.study.rows if row in RIVALS):
            folds = self._folds(self.seeds_of(row, nets=True))
            if folds:
                parts = [
                    Part(self.ground.sides(fold[0])[0], self.study.rival(row, fold)[1], ~self.study.kept(row, fold))
                    for fold in folds
                ]
                found |= self._beside(row, parts, self._rival(folds, side=0), unseen=False)
        return found

    def _rival(self, folds: Sequence[Fold], *, side: int) -> list[Part]:
        """Return the statistics on the same tiles; they have no threshold, so what they exclude are the worst 5 %."""
        found = []
        for fold in folds:
            rows = self.ground.sides(fold[0])[side]
            values = self.ground.statistics_n[rows]
            found.append(Part(rows, values, values > np.quantile(values, 0.95)))
        return found

    def _voted(self, variant: str, seeds: Sequence[int]) -> Rows:
        """Score the majority of the votes, and what is left of it after the veto of the unseen folds."""
        majority, decided = [], []
        for seed in seeds:
            votes, severity = self._votes(variant, seed)
            rows = np.flatnonzero((votes >= 0).any(axis=1))  # of one split, the test tiles have none
            majority.append(Part(rows, severity[rows], vote(votes)[rows] == EXCLUDED))
            # one split has no out-of-fold reading of its training tiles, so nothing to veto with
            if len(self.ground.asked) == self.ground.folds.folds:
                state = decisions_of(self.study, seed, variant).state
                decided.append(Part(rows, severity[rows], state[rows] == EXCLUDED))
        found = {variant: self._of_vote(decided or majority)}
        return found | ({f"{variant}, without the veto": self._of_vote(majority)} if decided else {})

    def _of_vote(self, parts: Sequence[Part]) -> dict[str, Figure]:
        drawn = detected(parts, self._known(), unseen=False)
        found = figures(drawn, len(parts[0].rows))
        return found | (self._minority(drawn) if self.study.study.cohort_variant == "imbalanced" else {})

    def _minority(self, drawn: Drawn) -> dict[str, Figure]:
        table = self.ground.table
        everything = np.arange(table.n)
        minority, _ = minority_of(table, everything)
        by_size = np.argsort(-np.bincount(table.label, minlength=len(table.classes)))
        others = [table.classes[i] for i in by_size if i != minority]
        return dict(ratio_of_classes(drawn, table.classes[minority], others, table.n))

    def _votes(self, variant: str, seed: int) -> tuple[NDArray[np.int8], Floats]:
        """Return the votes (n, folds) on the tiles, -1 where a fold did not train on it, and their mean severity."""
        votes = np.full((self.ground.table.n, self.ground.folds.folds), -1, dtype=np.int8)
        total = np.zeros(self.ground.table.n)
        for k in self.ground.asked:
            judged, train = self.study.judged(variant, (k, seed)), self.ground.sides(k)[0]
            votes[train, k] = ~judged.kept_n
            total[train] += judged.severity_n
        return votes, total / np.maximum((votes >= 0).sum(axis=1), 1)

    def _unseen(self, variant: str, seeds: Sequence[int], recipe: str) -> list[Part]:
        """Judge unseen tiles without their labels: u over the fold's threshold, or image quality."""
        found = []
        for seed in seeds:
            thresholds = self._thresholds(variant, seed, recipe)
            for k in self.ground.asked:
                test = self.ground.sides(k)[1]
                by_u = self._u(variant, (k, seed)) / max(float(thresholds[k]), 1e-12)
                quality = self.study.judged(variant, (k, seed)).unseen_quality_nr
                worst = np.maximum(by_u, quality.max(axis=1))
                found.append(Part(test, worst, worst > 1.0))
        return found

    def _thresholds(self, variant: str, seed: int, recipe: str) -> Floats:
        folds = self.ground.asked
        if recipe == "centroid":
            return np.array([self.study.judged(variant, (k, seed)).fit.threshold for k in folds])
        u = np.empty(self.ground.table.n)
        for k in folds:
            train, test = self.ground.sides(k)
            u[test] = self._u(variant, (k, seed))
            if len(folds) < self.ground.folds.folds:
                # one split has no out-of-fold u of its training tiles: their own u, which is lower, flags more
                u[train] = self.study.judged(variant, (k, seed)).fit.u_n
        votes, _ = self._votes(variant, seed)
        found = out_of_fold_thresholds(u, self.ground.fold_n, votes, self.study.settings.flag_share)
        for k in folds:
            # a network that learned nothing masks nothing, as in `clean`
            if self.study.judged(variant, (k, seed)).fit.stop.reason == "degenerate":
                found[k] = 1.0
        return found

    def _u(self, variant: str, fold: Fold) -> Floats:
        cell = self.study.wise(variant, fold)
        return np.zeros(0) if cell is None else cell.test_u

    def _list(self, row: str) -> Rows:
        """Score which training tiles a row leaves out."""
        seeds = self.seeds_of(row, nets=True)
        parts = []
        for fold in self._folds(seeds):
            left_out = ~self.study.kept(row, fold)
            parts.append(Part(self.ground.sides(fold[0])[0], left_out.astype(np.float64), left_out))
        return {row: figures(detected(parts, self._known(), unseen=False), self.ground.table.n)} if parts else {}

    def _known(self) -> Known:
        if self.known is None:
            raise ValueError("there is no truth to score against")
        return self.known

    # classification -------------------------------------------------------------------------------------------------

    def classification(self, curves: dict[str, list[float | None]]) -> dict[str, Rows]:
        """Score every row's networks on the seeds that it has whole, and the gain on those that all rows share."""
        label, n = self.ground.table.label, int(self.good.sum())
        found, drawn, of_seed = Rows(), dict[str, Drawn](), dict[str, list[int]]()
        for row in self.study.rows:
            seeds = self.seeds_of(row, nets=True)
            if not seeds:
                continue
            answers = [self._answers(row, fold) for fold in self._folds(seeds)]
            drawn[row] = answered(answers, label, self.weight_bn, self._coverages(seeds))
            found[row], curves[row] = figures(drawn[row], n), curve(answers, label)
            of_seed[row] = seeds
        found |= self._koehler(drawn, of_seed, n)
        shared = self._shared(drawn, of_seed)
        self.accuracies = {row: mean_of(one[GOOD]) for row, one in drawn.items()}
        return {"accuracy": found, "gain": gains(shared, n), "lead": leads(shared, RECOMMENDED, "all", n)}

    def _answers(self, row: str, fold: Fold) -> Answers:
        cell, test = self.study.net(row, fold), self.ground.sides(fold[0])[1]
        if cell is None:
            raise ValueError(f"{row}: fold {fold[0]} of seed {fold[1]} is not there")
        probs, accepted = cell.test_probs_nk, np.ones(len(test), dtype=np.bool_)
        unsure: NDArray[np.floating] = 1.0 - probs.max(axis=1).astype(np.float64)
        if row in VARIANTS:
            unsure, accepted = self._u(row, fold), ~self._flagged(row, fold)
        return Answers(test, probs, unsure, accepted, self.good[test])

    def _flagged(self, variant: str, fold: Fold) -> Mask:
        recipe = variant_settings(self.study.settings, variant, fold[0], self.study.study).threshold
        return self._unseen(variant, [fold[1]], recipe)[fold[0]].excluded_n

    def _coverages(self, seeds: Sequence[int]) -> list[Floats] | None:
        """Return what ``recommended`` covers in each fold: there all methods are compared."""
        if RECOMMENDED not in self.study.rows or not set(seeds) <= set(self.seeds_of(RECOMMENDED, nets=True)):
            return None
        return [coverage_of(self._answers(RECOMMENDED, fold), self.weight_bn) for fold in self._folds(seeds)]

    def _shared(self, drawn: dict[str, Drawn], of_seed: dict[str, list[int]]) -> dict[str, Drawn]:
        """Return the draws of the folds that every row has."""
        common = [seed for seed in self.study.study.seeds if all(seed in seeds for seeds in of_seed.values())]
        size = len(self.ground.asked)
        return {
            row: {
                name: [one for seed in common for one in per_fold[at(of_seed[row], seed, size)]]
                for name, per_fold in names.items()
            }
            for row, names in drawn.items()
            if common
        }

    def _koehler(self, drawn: dict[str, Drawn], of_seed: dict[str, list[int]], n: int) -> Rows:
        """Return the best and the median of Köhler's thresholds that were run, chosen by the result, in his favour."""
        rows = [row for row in KOEHLER if row in drawn]
        if len(rows) < 2:  # there is nothing to choose from
            return {}
        means = {row: mean_of(drawn[row][GOOD]) for row in rows}
        best = max(rows, key=lambda row: float(means[row][0]))
        median = np.median(np.stack(list(means.values())), axis=0)
        told, nan = f"koehler, best of {len(rows)}", float("nan")
        drawn[told], of_seed[told] = drawn[best], of_seed[best]
        return {
            told: {**figures(drawn[best], n), "quantile": Figure(float(best.split()[-1]), nan, nan, nan, n)},
            f"koehler, median of {len(rows)}": {GOOD: figure(median, n)},
        }

    # how it came about ----------------------------------------------------------------------------------------------

    def about(self) -> dict[str, Any]:
        """Tell of every cell that is there how long it took, and of every Wise how it stopped and what it learned."""
        cells: dict[str, Any] = {}
        for variant in self.study.variants:
            for fold in self.study.folds:
                wise = self.study.wise(variant, fold)
                if wise is not None:
                    stop = self.study.judged(variant, fold).fit.stop
                    given_n = self.study.ground.table.label[self.study.ground.sides(fold[0])[0]]
                    named = float((wise.mean_nk.argmax(axis=1) == given_n).mean())
                    told = {"stop": {"reason": stop.reason, "epoch": stop.epoch}, "labels_named": named}
                    cells[self.study.wise_work(variant, fold).name] = {**wise.about, **told}
        for row in self.study.rows if self.study.study.cohort_variant == "whole" else ():
            for fold in self.study.folds:
                net = self.study.net(row, fold)
                if net is not None:
                    cells[self.study.net_work(row, fold).name] = dict(net.about)
        for work in (work for seed in self.study.study.seeds for work in self.study.inner_cells(seed)):
            about = read_about(work.path) if is_made(work) else None
            if about is not None:
                cells[work.name] = about
        return {"cells": cells, "seconds": round(sum(cell["seconds"] for cell in cells.values()), 1)}


def at(seeds: Sequence[int], seed: int, size: int) -> slice:
    """Return where a seed's folds stand among those of `seeds`."""
    first = list(seeds).index(seed) * size
    return slice(first, first + size)

"""A study as one run of `clean`: the same votes, thresholds and reasons, from the cells that are there."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from w2wpath.benchmarks.study.methods import RECOMMENDED, variant_settings
from w2wpath.benchmarks.study.run import Study
from w2wpath.errors import RunError
from w2wpath.w2wnet.collect import decide
from w2wpath.w2wnet.decisions import Decisions
from w2wpath.w2wnet.foldwork import FoldResult


def decisions_of(study: Study, seed: int, variant: str = RECOMMENDED) -> Decisions:
    """Return what `clean` would decide on the study's tiles, in the order of its table; nothing is written.

    Raises
    ------
    RunError
        A Wise of the variant is not made yet.
    """
    table, folds = study.ground.table, [fold for fold in study.folds if fold[1] == seed]
    settings = variant_settings(study.settings, variant, 0, study.study)
    results = [_of_fold(study, variant, fold) for fold in folds]
    about = {"settings": settings.model_dump(mode="json"), "folds": [result.about for result in results]}
    return decide(f"{variant}, seed {seed}", table, results, about)


def _of_fold(study: Study, variant: str, fold: tuple[int, int]) -> FoldResult:
    cell = study.wise(variant, fold)
    if cell is None:
        raise RunError(f"{study.wise_work(variant, fold).path}: is not there. Run the study first.")
    judged, (train, test) = study.judged(variant, fold), study.ground.sides(fold[0])
    return FoldResult(
        train_rows=train,
        severity_nr=judged.severity_nr.astype(np.float32),
        test_rows=test,
        test_mean_nk=cell.test_mean_nk.astype(np.float32),
        test_u=cell.test_u.astype(np.float32),
        unseen_quality_nr=judged.unseen_quality_nr.astype(np.float32),
        about={"fold": fold[0], "stop": asdict(judged.fit.stop), "threshold": judged.fit.threshold},
    )

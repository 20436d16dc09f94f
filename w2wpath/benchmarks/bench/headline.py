"""The headline: which score finds which kind of spurious training image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.bench.grid import Entry
from w2wpath.benchmarks.bench.seeds import over_seeds
from w2wpath.benchmarks.image_statistics import LOGISTIC, has_enough_of_each, trivial_scores
from w2wpath.benchmarks.noise.manifest import KINDS
from w2wpath.benchmarks.rivals.every import RIVALS
from w2wpath.benchmarks.study.ground import Ground
from w2wpath.benchmarks.study.methods import RECOMMENDED
from w2wpath.benchmarks.study.resampling import (
    Figure,
    auroc,
    average_precision,
    figure,
    patient_weights,
    sensitivity_at,
)
from w2wpath.w2wnet.decide import join
from w2wpath.w2wnet.fit import WiseFit
from w2wpath.w2wnet.quality import Reference
from w2wpath.w2wnet.quality import judge as judge_quality

Floats = NDArray[np.floating]
MIXED = "mixed"
PAPERS, LABEL, READ, JOINED = "u", "label quality", "with the second reader", "with image quality too"
STATISTICS, TRIVIAL = "image statistics only", "logistic regression"


def scores_of(entry: Entry) -> dict[str, Floats]:
    """Return scores (n,) of the training images by name, high where spurious; those whose networks are there.

    Image statistics and a logistic regression on 16 x 16 pixels need none: a network is worth what it finds above them.
    """
    study, fold = entry.study, (0, entry.seed)
    train = study.ground.sides(0)[0]
    found: dict[str, Floats] = {}
    if RECOMMENDED in study.variants and study.wise(RECOMMENDED, fold) is not None:
        mine = study.judged(RECOMMENDED, fold).fit
        found |= {PAPERS: mine.u_n, LABEL: mine.exact_score_n, READ: mine.score_n}
        found[JOINED] = _with_quality(study.ground, mine)
    if "paper" in study.variants and study.wise("paper", fold) is not None:
        found[f"{PAPERS}, preset paper"] = study.judged("paper", fold).fit.u_n
    for row in (row for row in study.rows if row in RIVALS):
        if study.net(row, fold) is not None:
            found[row] = study.rival(row, fold)[1]
    found[STATISTICS] = study.ground.statistics_n[train]
    labels, groups_n = study.ground.table.label[train], study.ground.table.patient[train]
    if has_enough_of_each(labels):
        found[TRIVIAL] = trivial_scores(_images(study.ground, train), labels, groups_n)[LOGISTIC]
    return found


def _images(ground: Ground, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the images of training rows, which are of one slide."""
    table = ground.table
    (slide,) = np.unique(table.slide[rows])
    return ground.store.images(table.slides[int(slide)], table.row[rows])


def _with_quality(ground: Ground, fit: WiseFit) -> Floats:
    """Join label quality and image quality as `clean` does where it excludes; a gate that closes ends no ranking."""
    train = ground.sides(0)[0]
    severity_n = fit.severity_n if fit.severity_n.any() else fit.score_n / max(fit.boundary, np.finfo(float).tiny)
    ungated = replace(fit, severity_n=severity_n, stop=replace(fit.stop, reason="max_epochs"))
    quality = None
    if ground.features_nf is not None:
        features_nf, slide_n = ground.features_nf[train], ground.table.slide[train]
        quality = judge_quality(features_nf, slide_n, Reference.learn(features_nf, slide_n))
    return join(ungated, ground.table.label[train], quality).severity_n


def of_entry(entry: Entry) -> dict[str, dict[str, dict[str, Figure]]]:
    """Return, by kind and score, AUROC, sensitivity at 5 % of the good images removed, and average precision."""
    study = entry.study
    train, truth = study.ground.sides(0)[0], study.truth
    if truth is None:
        return {}
    kind, good = truth.kind[train], ~truth.spurious[train]
    weight_bn = patient_weights(study.ground.table.patient)[:, train]
    scores = scores_of(entry)
    present = [name for name in KINDS if (kind == name).any()]
    found: dict[str, dict[str, dict[str, Figure]]] = {}
    for name in (*present, *([MIXED] if len(present) > 1 else [])):
        sought = ~good if name == MIXED else kind == name
        asked = sought | good
        found[name] = {}
        for score, values in scores.items():
            ranked = (values[asked], sought[asked], weight_bn[:, asked])
            n = int(sought.sum())
            found[name][score] = {
                "AUROC": figure(auroc(*ranked), n),
                "sensitivity at 5 %": figure(sensitivity_at(*ranked), n),
                "AP": figure(average_precision(*ranked), n),
            }
    return found


def joined(
    parts: Sequence[Mapping[str, Mapping[str, Mapping[str, Figure]]]],
) -> dict[str, dict[str, dict[str, Figure]]]:
    """Join headline tables of several seeds of one set, figure by figure over the seeds that have it."""
    found: dict[str, dict[str, dict[str, list[Figure]]]] = {}
    for part in parts:
        for kind, scores in part.items():
            for score, figures in scores.items():
                for name, one in figures.items():
                    found.setdefault(kind, {}).setdefault(score, {}).setdefault(name, []).append(one)
    return {
        kind: {score: {name: over_seeds(many) for name, many in named.items()} for score, named in scores.items()}
        for kind, scores in found.items()
    }

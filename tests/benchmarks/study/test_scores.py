"""Scores of hand-made studies: what counts as found, and which share of the gain is captured (K17)."""

from __future__ import annotations

import numpy as np
import pytest

from w2wpath.benchmarks.study.accuracy import Answers, answered, coverage_of, curve, gains
from w2wpath.benchmarks.study.detection import (
    Known,
    Part,
    detected,
    figures,
    margins,
    ratio_of_classes,
    spread_between_classes,
)
from w2wpath.benchmarks.study.resampling import patient_weights
from w2wpath.benchmarks.study.score import at
from w2wpath.w2wnet.truth import Truth

KIND = np.array(["", "", "", "", "blur", "blur", "label", "label"])
PATIENT = np.array([0, 1, 2, 3, 0, 1, 2, 3])
LABEL = np.array([0, 0, 1, 1, 0, 1, 0, 1], dtype=np.int16)
ROWS = np.arange(8)


def known(**changes: np.ndarray) -> Known:
    spurious = KIND != ""
    given = {"known": np.ones(8, dtype=bool), "spurious": spurious, "kind": KIND, "content": KIND} | changes
    return Known(Truth(**given), LABEL, ("a", "b"), patient_weights(PATIENT, resamples=20))


def values(parts: list[Part], truth: Known, *, unseen: bool) -> dict[str, float]:
    return {name: one.value for name, one in figures(detected(parts, truth, unseen=unseen), 8).items()}


def test_detection_counts_tiles_by_kind_and_class() -> None:
    excluded = np.array([1, 0, 0, 0, 1, 1, 1, 0], dtype=bool)
    score = np.array([0.5, 0.1, 0.2, 0.3, 0.9, 0.8, 0.7, 0.4])
    found = values([Part(ROWS, score, excluded)], known(), unseen=False)
    assert found["AUROC"] == pytest.approx(15 / 16)
    assert found["sensitivity at 5 %"] == 0.75
    assert (found["sensitivity"], found["false removals"], found["excluded"]) == (0.75, 0.25, 0.5)
    assert (found["AUROC blur"], found["AUROC label"]) == (1.0, pytest.approx(7 / 8))
    assert (found["excluded blur"], found["excluded label"]) == (1.0, 0.5)
    assert (found["false removals, a"], found["false removals, b"]) == (0.5, 0.0)
    assert (found["sensitivity, a"], found["sensitivity, b"]) == (1.0, 0.5)


def test_unseen_a_wrong_label_is_neither_good_nor_sought() -> None:
    excluded = np.array([1, 0, 0, 0, 1, 0, 1, 1], dtype=bool)
    found = values([Part(ROWS, excluded.astype(float), excluded)], known(), unseen=True)
    assert (found["sensitivity"], found["false removals"]) == (0.5, 0.25)
    assert found["excluded label"] == 1.0
    assert found["excluded, all spurious"] == 0.75
    assert found["AUROC"] == pytest.approx(5 / 8)


def test_a_tile_that_the_truth_does_not_name_counts_nowhere() -> None:
    named = np.array([1, 1, 1, 0, 1, 1, 1, 0], dtype=bool)
    excluded = np.array([0, 0, 0, 1, 1, 1, 1, 0], dtype=bool)
    found = values([Part(ROWS, excluded.astype(float), excluded)], known(known=named), unseen=False)
    assert (found["sensitivity"], found["false removals"], found["AUROC"]) == (1.0, 0.0, 1.0)


def test_a_margin_is_taken_fold_by_fold_and_draw_by_draw() -> None:
    rng = np.random.default_rng(0)
    ours = [Part(ROWS, rng.random(8), np.zeros(8, dtype=bool)) for _ in range(2)]
    mine, same = detected(ours, known(), unseen=False), detected(ours, known(), unseen=False)
    assert {one.value for one in margins(mine, same, 8).values()} == {0.0}
    perfect = [Part(ROWS, (KIND != "").astype(float), KIND != "") for _ in range(2)]
    found = margins(detected(perfect, known(), unseen=False), mine, 8)["margin of AUROC"]
    area = figures(mine, 8)["AUROC"]
    assert found.value == pytest.approx(1.0 - area.value)
    assert found.folds == pytest.approx(tuple(1.0 - fold for fold in area.folds))


def test_classes_are_compared() -> None:
    excluded = np.array([1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
    drawn = detected([Part(ROWS, excluded.astype(float), excluded)], known(), unseen=False)
    found = figures(drawn, 8)
    assert spread_between_classes(found, ("a", "b"), "false removals") == (0.75, pytest.approx(np.sqrt(0.125)))
    assert ratio_of_classes(drawn, "a", ["b"], 8)["false removals, a over b"].value == 2.0


# accuracy -----------------------------------------------------------------------------------------------------------


def answers(right: np.ndarray, rows: np.ndarray, label: np.ndarray, sure: float = 0.8) -> Answers:
    """Answers that are right where `right`, all with the same confidence."""
    named = np.where(right, label[rows], (label[rows] + 1) % 3)
    probs = np.full((len(rows), 3), (1 - sure) / 2, dtype=np.float32)
    probs[np.arange(len(rows)), named] = sure
    everything = np.ones(len(rows), dtype=bool)
    return Answers(rows, probs, 1.0 - probs.max(axis=1), everything, everything)


def test_answers_are_scored_on_the_tiles_that_count() -> None:
    label, rows = np.array([0, 1, 2, 0], dtype=np.int16), np.arange(4)
    one = answers(np.array([1, 1, 0, 0], dtype=bool), rows, label)
    good, accepted = np.array([1, 1, 1, 0], dtype=bool), np.array([1, 0, 1, 1], dtype=bool)
    unsure = np.array([0.1, 0.5, 0.2, 0.0])
    one = Answers(rows, one.probs_nk, unsure, accepted, good)
    weight = patient_weights(rows, resamples=5)
    coverage = coverage_of(one, weight)
    assert coverage[0] == pytest.approx(2 / 3)
    drawn = answered([one], label, weight, [coverage])
    found = {name: per_fold[0][0] for name, per_fold in drawn.items()}
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["accuracy, given labels"] == 0.5
    assert found["balanced accuracy"] == pytest.approx(2 / 3)
    assert found["selective accuracy"] == 0.5
    assert found["accuracy at equal coverage"] == 0.5
    assert found["accuracy at equal coverage, by softmax"] == pytest.approx(2 / 3)
    assert found["ECE"] == pytest.approx(0.8 - 2 / 3)
    assert found["NLL"] == pytest.approx(-(2 * np.log(0.8) + np.log(0.1)) / 3)
    assert found["Brier"] == pytest.approx((2 * 0.06 + 0.8**2 + 0.9**2 + 0.1**2) / 3, rel=1e-5)
    assert found["AURC"] == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    assert len(curve([one], label)) == 101
    assert curve([one], label)[100] == pytest.approx(1 / 3)
    assert curve([one], label)[0] is None


def bracket(rates: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return the gains of rows whose networks are right at these rates, on 2 folds of 600 tiles of 12 patients each."""
    rng = np.random.default_rng(0)
    label, patient = rng.integers(0, 3, 1200).astype(np.int16), np.arange(1200) % 24
    weight, luck = patient_weights(patient, resamples=200), rng.random(1200)
    drawn = {}
    for name, rate in rates.items():
        folds = [answers(luck[rows] < rate, rows, label) for rows in (np.arange(0, 1200, 2), np.arange(1, 1200, 2))]
        drawn[name] = answered(folds, label, weight, None)
    return {
        name: {"value": row["gain captured"].value, "low": row["gain captured"].low, "high": row["gain captured"].high}
        for name, row in gains(drawn, 1200).items()
    }


def test_the_gain_lies_between_random_and_oracle() -> None:
    found = bracket({"all": 0.75, "random": 0.75, "recommended": 0.87, "oracle": 0.93})
    assert set(found) == {"random", "recommended", "oracle"}
    assert found["oracle"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["random"]["value"] == 0.0
    ours = found["recommended"]
    assert found["random"]["high"] < ours["low"] < ours["value"] < ours["high"] < found["oracle"]["low"]
    assert ours["value"] == pytest.approx(2 / 3, abs=0.06)


def test_there_is_no_share_of_a_gain_that_is_not_there() -> None:
    same = bracket({"all": 0.8, "recommended": 0.9, "oracle": 0.8})
    assert np.isnan(list(same["recommended"].values())).all()
    drawn = {"all": np.full(101, 0.8), "recommended": np.full(101, 0.9), "oracle": np.full(101, 0.85)}
    drawn["oracle"][[7, 8, 9]] = 0.79  # in 3 % of the draws
    barely = gains({name: {"accuracy": [values]} for name, values in drawn.items()}, 9)["recommended"]["gain captured"]
    assert barely.value == pytest.approx(2.0)
    assert np.isnan([barely.low, barely.high]).all()
    assert bracket({"all": 0.8, "recommended": 0.9}) == {}


def test_a_seeds_folds_are_found_among_those_of_its_row() -> None:
    assert [list(range(6))[at([3, 5], seed, 3)] for seed in (3, 5)] == [[0, 1, 2], [3, 4, 5]]

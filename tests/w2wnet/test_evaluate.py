"""Scores of a run: detection on an example counted by hand, accuracies with the list of each fold's own Wise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.decided import decided
from tests.w2wnet.conftest import NOISE, QUICK, fake_learner, planted, shown
from w2wpath.errors import FoldError, RunError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.evaluate import KindRow, cross_validate, score_detection
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.ledger import Decisions
from w2wpath.w2wnet.truth import Truth


def example() -> tuple[TileTable, Decisions, Truth]:
    """Ten tiles of three patients. The last has no label, the one before is unknown to the truth.

    Spurious are 0, 1 (blur), 2 (label); excluded are 0, 2 and the good 3.
    """
    n = 10
    i = np.arange(n)
    table = TileTable(
        slides=("s",),
        classes=("a", "b"),
        patients=("p0", "p1", "p2"),
        slide=np.zeros(n, dtype=np.int32),
        row=i.astype(np.int32),
        x0=i.astype(np.int32),
        y0=np.zeros(n, dtype=np.int32),
        side0=np.ones(n, dtype=np.int32),
        label=np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, -1], dtype=np.int16),
        patient=(i % 3).astype(np.int32),
        tile_id=np.zeros((n, 16), dtype=np.uint8),
        area_share=np.zeros((n, 2), dtype=np.float32),
    )
    fold = (i % 3).astype(np.int16)
    out = np.isin(i, [0, 2, 3, 8])
    decisions = decided(
        table,
        {"folds": [{"threshold": 0.4}, {"threshold": 0.7}, {"threshold": 0.4}]},
        state=out,
        votes=np.where(fold[:, None] == np.arange(3), -1, out[:, None]),
        fold=np.where(i == 9, -1, fold),
        u=np.array([0.5, 0.1, 0.1, 0.1, 0.6, 0.1, 0.1, 0.1, 0.1, np.nan]),
        score=np.array([0.9, 0.3, 0.8, 0.7, 0.1, 0.2, 0.3, 0.1, 0.1, np.nan]),
        predicted=np.zeros(n, dtype=int),
    )
    truth = Truth(
        known=i != 8,
        spurious=np.isin(i, [0, 1, 2, 9]),
        kind=np.array(["blur", "blur", "label", "", "", "", "", "", "", "blur"]),
        content=np.full(n, "a"),
    )
    return table, decisions, truth


def test_detection_counts_judged_tiles_that_the_truth_names() -> None:
    found = score_detection(*example())
    assert (found.judged, found.spurious, found.good) == (9, 3, 5)
    assert found.sensitivity.value == pytest.approx(2 / 3)
    assert found.false_removal.value == pytest.approx(1 / 5)


def test_areas_are_counted_in_pairs_and_ties_count_half() -> None:
    found = score_detection(*example())
    # spurious 0.9 beats 5 good; 0.8 beats 5; 0.3 beats 0.1, 0.2, 0.1, ties with 0.3, loses to 0.7
    assert found.auroc_training.value == pytest.approx((5 + 5 + 3.5) / 15)
    # u of the blurred: 0.5 beats 4; 0.1 ties with 4; a wrong label leaves no trace that u could see
    assert found.auroc_unseen.value == pytest.approx((4 + 2) / 10)


def test_each_kind_is_ranked_against_the_good_tiles() -> None:
    blur, label = score_detection(*example()).kinds
    assert (blur.kind, blur.tiles, blur.excluded) == ("blur", 2, 1)
    assert blur.auroc == pytest.approx((5 + 3.5) / 10)
    assert label == KindRow("label", 1, 1, 1.0)


def test_intervals_hold_their_values_and_count_their_tiles() -> None:
    found = score_detection(*example())
    assert (found.sensitivity.n, found.false_removal.n, found.auroc_training.n) == (3, 5, 8)
    for estimate in (found.sensitivity, found.false_removal, found.auroc_training):
        assert estimate.low <= estimate.value <= estimate.high


def test_a_truth_without_spurious_tiles_has_no_sensitivity() -> None:
    table, decisions, truth = example()
    found = score_detection(table, decisions, replace(truth, spurious=np.zeros(10, dtype=np.bool_)))
    assert found.kinds == ()
    assert np.isnan([found.sensitivity.value, found.auroc_training.value]).all()
    assert found.false_removal.value == pytest.approx(3 / 8)


@dataclass
class MajorityFitter:
    """Fits networks that always name the class `says`, and remembers on what they were trained."""

    says: int = 0
    fitted: list[tuple[list[int], list[int], int, int]] = field(default_factory=list)

    def fit(self, rows: Rows, labels: NDArray[np.int16], seed: int, epochs: int) -> MajorityFitter:
        self.fitted.append((rows.tolist(), labels.tolist(), seed, epochs))
        return self

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        return np.tile(np.eye(2, dtype=np.float32)[self.says], (len(rows), 1))


def test_each_fold_trains_on_its_training_side_and_then_on_what_its_own_wise_kept() -> None:
    table, decisions, truth = example()
    votes = decisions.votes.copy()
    votes[4] = [0, -1, 1]  # Wise 2 excludes tile 4, Wise 0 keeps it: its state says nothing here
    fitter = MajorityFitter()
    cross_validate(table, replace(decisions, votes=votes), fitter, truth, epochs=7, seed=100)
    assert [rows for rows, *_ in fitter.fitted] == [
        [1, 2, 4, 5, 7, 8],
        [0, 2, 3, 5, 6, 8],
        [0, 1, 3, 4, 6, 7],
        [1, 4, 5, 7],
        [5, 6],
        [1, 6, 7],
    ]
    assert all(labels == table.label[rows].tolist() for rows, labels, *_ in fitter.fitted)
    assert [(seed, epochs) for *_, seed, epochs in fitter.fitted] == [(100, 7), (101, 7), (102, 7)] * 2


def test_tiles_that_controls_stood_in_for_are_kept_and_nothing_at_all_is_an_error() -> None:
    table, decisions, _ = example()
    votes = decisions.votes.copy()
    votes[5, 0] = -1  # of the training side of fold 0, but not voted on
    fitter = MajorityFitter()
    cross_validate(table, replace(decisions, votes=votes), fitter, None, epochs=1, seed=0)
    assert fitter.fitted[3][0] == [1, 4, 5, 7]
    votes[:, 1] = np.where(votes[:, 1] == 0, 1, votes[:, 1])
    with pytest.raises(RunError) as caught:
        cross_validate(table, replace(decisions, votes=votes), fitter, None, epochs=1, seed=0)
    assert str(caught.value) == (
        f"run {decisions.run}: the Wise of fold 2 keeps no tile. "
        "Look at its curve in the report, and clean again with other settings."
    )


def test_what_is_trained_does_not_depend_on_the_truth() -> None:
    table, decisions, truth = example()
    with_truth, without = MajorityFitter(), MajorityFitter()
    cross_validate(table, decisions, with_truth, truth, epochs=1, seed=0)
    cross_validate(table, decisions, without, None, epochs=1, seed=0)
    assert with_truth.fitted == without.fitted


def test_accuracies_are_those_counted_by_hand() -> None:
    table, decisions, truth = example()
    one, other = cross_validate(table, decisions, MajorityFitter(), truth, epochs=1, seed=0)
    assert (one.name, other.name) == ("all training tiles", "tiles kept by Wise (Wiped)")
    # labels of tiles 0..8 are 0 1 0 1 0 1 0 1 0; good are 3..7; u is above its fold's threshold in tile 0 only
    assert one.given.value == pytest.approx(5 / 9)
    assert one.good is not None
    assert one.good.value == pytest.approx(2 / 5)
    assert (one.confident.value, one.coverage) == (pytest.approx(2 / 5), 1.0)


def test_without_truth_all_judged_tiles_are_the_base() -> None:
    table, decisions, _ = example()
    one, _ = cross_validate(table, decisions, MajorityFitter(), None, epochs=1, seed=0)
    assert one.good is None
    assert (one.confident.value, one.coverage) == (pytest.approx(4 / 8), pytest.approx(8 / 9))


def test_a_tile_at_the_threshold_is_confident() -> None:
    table, decisions, _ = example()
    at = {"folds": [{"threshold": float(np.float32(0.5))}, {"threshold": 0.7}, {"threshold": 0.4}]}
    one, _ = cross_validate(table, replace(decisions, about=at), MajorityFitter(), None, epochs=1, seed=0)
    assert one.coverage == 1.0


def test_folds_that_mix_patients_are_stopped_before_training() -> None:
    table, decisions, _ = example()
    fitter = MajorityFitter()
    with pytest.raises(FoldError) as caught:
        cross_validate(
            table, replace(decisions, fold=np.arange(10, dtype=np.int16) % 2), fitter, None, epochs=1, seed=0
        )
    assert str(caught.value) == (
        "a patient lies in two folds; this must never happen. Please report it with the fold table."
    )
    assert fitter.fitted == []


def test_a_cleaned_store_scores_as_it_was_made(store: TileStore) -> None:
    table, decisions = clean(store, fake_learner(store), QUICK, store.path.parent / "clean")
    spurious, is_noise = planted(store, table), shown(store, table) == NOISE
    kind = np.where(spurious, np.where(is_noise, "noise", "label"), "")
    truth = Truth(np.ones(table.n, dtype=np.bool_), spurious, kind, np.full(table.n, ""))
    found = score_detection(table, decisions, truth)
    assert (found.sensitivity.value, found.false_removal.value) == (1.0, 0.0)
    assert found.auroc_training.value == 1.0
    assert [(row.kind, row.tiles, row.excluded) for row in found.kinds] == [("label", 6, 6), ("noise", 6, 6)]

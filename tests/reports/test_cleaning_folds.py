"""What the report says of folds, planted controls, duplicates and provenance."""

from __future__ import annotations

from typing import Any

import pytest

from w2wpath.reports.cleaning_folds import (
    controls_table,
    duplicates_table,
    fold_patients_table,
    provenance,
    score_table,
    stop_table,
    u_table,
    unlearned,
)
from w2wpath.reports.cleaning_tables import Table

FOLD: dict[str, Any] = {
    "fold": 1,
    "stop": {"reason": "max_epochs", "epoch": 40},
    "threshold": 0.3,
    "test_accuracy": 0.875,
}
FULL = {
    **FOLD,
    "fold": 2,
    "stop": {"reason": "stable", "epoch": 55},
    **{"low": 0.0, "boundary": 0.5, "high": 1.0, "separation": 0.25, "u_low": 0.1, "u_boundary": 0.2},
    **{"thresholds": {"centroid": 0.4, "quantile": 0.3}, "train_tiles": 1700, "test_tiles": 420, "excluded": 0},
}


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    assert {len(row) for row in table.rows} == {len(table.head)}
    return [[cell.text for cell in row] for row in table.rows]


def test_a_stop_is_told_in_words_and_what_was_not_recorded_is_a_dash() -> None:
    assert texts(stop_table([FOLD, FULL])) == [
        [
            "2",
            "40",
            "max_epochs: the groups still changed when the epochs were used up; the steadiest epoch was taken",
            *("–", "–", "–", "87.5%"),
        ],
        ["3", "55", "stable: the two groups no longer changed", "1,700", "420", "0", "87.5%"],
    ]


def test_centres_and_boundaries_are_those_of_the_fold() -> None:
    assert texts(score_table([FOLD, FULL], {})) == [
        ["2", "–", "–", "–", "–"],
        ["3", "0.000", "0.500", "1.000", "0.250"],
    ]
    titles = {weight: score_table([FULL], {"label_weight": weight}).caption for weight in (0.0, 0.5, 1.0)}
    assert titles == {
        0.0: "Score of each network (u)",
        0.5: "Score of each network (u + 0.5 × Brier)",
        1.0: "Score of each network (u + Brier)",
    }
    assert texts(u_table([FOLD, FULL])) == [
        ["2", "–", "–", "–", "–", "0.300"],
        ["3", "0.100", "0.200", "0.400", "0.300", "0.300"],
    ]


def test_networks_that_learned_nothing_are_a_warning() -> None:
    nothing = {**FULL, "fold": 0, "stop": {"reason": "degenerate", "epoch": 55}}
    assert unlearned([FOLD, FULL]) == []
    assert unlearned([nothing, FOLD, FULL]) == [
        "the network of fold 1 learned nothing, so it votes against no tile, and others may be outvoted. "
        "Look at its curve in the report; more --max-epochs or another --lr may help."
    ]
    assert unlearned([nothing, {**nothing, "fold": 1}]) == [
        "no network learned anything, so nothing was judged: that no tile is set aside says nothing about them. "
        "Clean again with more --max-epochs, another --lr or another --backbone."
    ]


def test_the_recall_of_controls_is_by_kind_with_its_interval() -> None:
    controls = {
        "all": {"planted": 30, "found": 24, "low": 0.627, "high": 0.905},
        "blur": {"planted": 0, "found": 0, "low": 0.0, "high": 1.0},
        "flip": {"planted": 30, "found": 24, "low": 0.627, "high": 0.905},
    }
    assert texts(controls_table(controls)) == [
        ["a wrong label, given on purpose", "30", "24", "80.0%", "62.7% to 90.5%"],
        ["blurred on purpose", "0", "0", "–", "–"],
        ["all of these together", "30", "24", "80.0%", "62.7% to 90.5%"],
    ]
    assert controls_table({}) is None


def test_every_tile_of_a_group_of_duplicates_is_named() -> None:
    groups = [
        {"hash": "aa", "tiles": [["s1", 0, 64, "p1"], ["s2", 128, 0, "p2"]]},
        {"hash": "bb", "tiles": [["s1", 5000, 0, "p1"], ["s3", 0, 0, "p3"]]},
    ]
    assert texts(duplicates_table(groups)) == [
        ["1", "s1", "0", "64", "p1"],
        ["1", "s2", "128", "0", "p2"],
        ["2", "s1", "5,000", "0", "p1"],
        ["2", "s3", "0", "0", "p3"],
    ]
    assert duplicates_table([]) is None


def test_patients_are_listed_by_fold() -> None:
    assert texts(fold_patients_table([["b", 1], ["a", 0], ["c", 1]])) == [["1", "1", "a"], ["2", "2", "b, c"]]


def test_provenance_tells_all_that_was_recorded() -> None:
    about: dict[str, Any] = {
        "settings": {"seed": 7},
        "time": "now",
        "argv": ["clean", "a.zarr"],
        "store_hash": "ab",
        "fold_hash": "cd",
        "classes": ["x", "y"],
        "versions": {"numpy": "2", "torch": "3"},
        "folds": [FOLD, FULL],
    }
    assert provenance("run", about) == [
        ("Run", "run"),
        ("Time", "now"),
        ("Command", "w2wpath clean a.zarr"),
        ("Hash of the tiles and labels", "ab"),
        ("Hash of the fold table", "cd"),
        ("Classes", "x, y"),
        ("Seeds", "7 for the folds, 8, 9 for their networks"),
        ("Versions", "numpy 2, torch 3"),
    ]


@pytest.mark.parametrize("seed", [0, None])
def test_a_seed_of_0_is_a_seed(seed: int | None) -> None:
    found = dict(provenance("run", {"settings": {} if seed is None else {"seed": seed}, "folds": [FOLD]}))
    assert found == (
        {"Run": "run"} if seed is None else {"Run": "run", "Seeds": "0 for the folds, 1 for their networks"}
    )

"""K14: what is said to be out of fold is refused where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, fake_learner
from w2wpath.errors import FoldError, RunError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.folds import FoldTable, assert_out_of_fold
from w2wpath.w2wnet.ledger import Decisions
from w2wpath.w2wnet.outoffold import RECIPE, require_own_folds, require_own_recipe

LEAK = (
    "{} of {} tiles were trained on by the network of their own test fold; "
    "this must never happen. Please report it with the fold table."
)


@pytest.fixture
def cleaned(store: TileStore) -> tuple[TileTable, Decisions]:
    return clean(store, fake_learner(store), QUICK, store.path.parent / "clean")


def test_k14_a_vote_of_the_own_test_fold_is_refused() -> None:
    votes = np.array([[-1, 0, 1], [0, -1, 0], [-1, -1, -1], [1, 1, -1]], dtype=np.int8)
    fold_n = np.array([0, 1, -1, 2])
    assert_out_of_fold(votes, fold_n)
    for vote in (0, 1):
        leaky = votes.copy()
        leaky[[0, 3], [0, 2]] = vote
        with pytest.raises(FoldError) as caught:
            assert_out_of_fold(leaky, fold_n)
        assert str(caught.value) == LEAK.format(2, 3)


def test_a_run_is_given_its_own_fold_table(cleaned: tuple[TileTable, Decisions]) -> None:
    table, decisions = cleaned
    folds = require_own_folds(table, decisions)
    assert folds.digest == decisions.about["fold_hash"]
    assert np.array_equal(folds.fold_n(table.patients, table.patient), decisions.fold)


def swapped(about: dict[str, Any]) -> None:
    (first, fold), *rest = about["fold_table"]
    about["fold_table"] = [(first, (fold + 1) % 3), *rest]


def reseeded(about: dict[str, Any]) -> None:
    about["settings"] = {**about["settings"], "seed": 1}


@pytest.mark.parametrize("change", [swapped, reseeded])
def test_another_fold_table_than_that_of_the_run_is_refused(
    cleaned: tuple[TileTable, Decisions], change: Callable[[dict[str, Any]], None]
) -> None:
    table, decisions = cleaned
    about = dict(decisions.about)
    change(about)
    digest = FoldTable(3, about["settings"]["seed"], tuple(about["fold_table"])).digest
    with pytest.raises(RunError) as caught:
        require_own_folds(table, replace(decisions, about=about))
    assert str(caught.value) == (
        f"run {decisions.run}: its fold table has the hash {digest[:12]}, but it was cleaned with the one of hash "
        f"{decisions.about['fold_hash'][:12]}. Run `w2wpath clean` again."
    )


def test_tiles_that_were_given_to_another_patient_since_are_refused(cleaned: tuple[TileTable, Decisions]) -> None:
    table, decisions = cleaned
    of_patient = dict(decisions.about["fold_table"])
    other = next(i for i, name in enumerate(table.patients) if of_patient[name] != decisions.fold[4])
    patient = table.patient.copy()
    patient[4] = other
    with pytest.raises(RunError) as caught:
        require_own_folds(replace(table, patient=patient), decisions)
    assert str(caught.value) == (
        f"run {decisions.run}: 1 tiles (the first is of patient {table.patients[other]!r}) were tested in another fold "
        "than the one of their patient: the patients have changed since. Run `w2wpath clean` again."
    )


def test_a_leak_in_the_votes_of_a_run_is_refused(cleaned: tuple[TileTable, Decisions]) -> None:
    table, decisions = cleaned
    votes = decisions.votes.copy()
    votes[0, decisions.fold[0]] = 0
    with pytest.raises(FoldError) as caught:
        require_own_folds(table, replace(decisions, votes=votes))
    assert str(caught.value) == LEAK.format(1, table.n)


def test_settings_that_draw_otherwise_than_the_run_are_refused_by_name(cleaned: tuple[TileTable, Decisions]) -> None:
    _, decisions = cleaned
    require_own_recipe(decisions, QUICK.model_copy(update={"max_epochs": 99, "seed": 4, "wiped_epochs": 1}))
    with pytest.raises(RunError) as caught:
        require_own_recipe(decisions, QUICK.model_copy(update={"draws": 9, "dropout_kind": "channel"}))
    assert str(caught.value) == (
        f"run {decisions.run}: cleaned with other settings (draws 8, now 9; dropout_kind element, now channel), so its "
        "out-of-fold uncertainty holds for another network. "
        "Train with the settings of the run, or run `w2wpath clean` with these."
    )
    assert set(RECIPE) <= set(decisions.about["settings"])

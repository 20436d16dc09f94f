"""Folds: no patient on both sides, nothing empty, no class lost, and words where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.errors import FoldError
from w2wpath.w2wnet.folds import FoldTable, assert_disjoint, make_folds, sides

NAMES = tuple(f"p{i}" for i in range(12))
CLASSES = ("AC", "AD", "H")

tiles = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 2)), min_size=2, max_size=60)


def fold_table(tiles_n: list[tuple[int, int]], folds: int, seed: int) -> tuple[FoldTable, NDArray[np.int64]]:
    """Deal (patient, class) pairs, one a tile."""
    pairs = np.array(tiles_n)
    return make_folds(NAMES, CLASSES, pairs[:, 0], pairs[:, 1], folds=folds, seed=seed), pairs


@given(tiles, st.integers(2, 5), st.integers(0, 3))
def test_folds_keep_every_promise_or_say_why_not(tiles_n: list[tuple[int, int]], folds: int, seed: int) -> None:
    try:
        table, pairs = fold_table(tiles_n, folds, seed)
    except FoldError:
        return
    fold_n = table.fold_n(NAMES, pairs[:, 0])
    assert set(fold_n.tolist()) == set(range(folds))
    for k in range(folds):
        train, test = sides(fold_n, k)
        assert sorted([*train, *test]) == list(range(len(pairs)))
        assert not set(pairs[train, 0]) & set(pairs[test, 0])
        assert set(pairs[train, 1]) == set(pairs[:, 1])


@given(st.lists(st.integers(0, 2), min_size=12, max_size=12), st.integers(2, 5), st.integers(0, 3))
def test_patients_with_every_class_are_never_refused(sizes: list[int], folds: int, seed: int) -> None:
    tiles_n = [(p, c) for p, size in enumerate(sizes) for c in range(3) for _ in range(size + 1)]
    table, _ = fold_table(tiles_n, folds, seed)
    assert len(table.fold_of_patient) == 12


@given(st.integers(0, 50))
def test_the_same_seed_deals_the_same_folds(seed: int) -> None:
    tiles_n = [(p, c) for p in range(12) for c in range(3)]
    assert fold_table(tiles_n, 4, seed)[0] == fold_table(tiles_n, 4, seed)[0]
    assert fold_table(tiles_n, 4, seed)[0].digest == fold_table(tiles_n, 4, seed)[0].digest


def test_other_seeds_deal_other_folds() -> None:
    tiles_n = [(p, c) for p in range(12) for c in range(3)]
    assert len({fold_table(tiles_n, 4, seed)[0].fold_of_patient for seed in range(5)}) > 1


def test_classes_are_spread_over_the_folds() -> None:
    table, pairs = fold_table([(p, p % 3) for p in range(12) for _ in range(10)], 2, 0)
    fold_n = table.fold_n(NAMES, pairs[:, 0])
    assert [np.bincount(pairs[fold_n == k, 1]).tolist() for k in range(2)] == [[20, 20, 20], [20, 20, 20]]


def test_the_digest_tells_tables_apart() -> None:
    tables = [
        FoldTable(2, 0, (("a", 0), ("b", 1))),
        FoldTable(2, 0, (("a", 1), ("b", 0))),
        FoldTable(2, 1, (("a", 0), ("b", 1))),
        FoldTable(3, 0, (("a", 0), ("b", 1))),
    ]
    assert len({table.digest for table in tables}) == 4


def test_a_patient_without_a_fold_is_on_no_side() -> None:
    fold_n = FoldTable(2, 0, (("a", 0), ("b", 1))).fold_n(["a", "b", "new"], np.array([0, 1, 2, 1]))
    assert fold_n.tolist() == [0, 1, -1, 1]
    assert [side.tolist() for side in sides(fold_n, 1)] == [[0], [1, 3]]


@pytest.mark.parametrize(
    ("tiles_n", "folds", "message"),
    [
        pytest.param(
            [(p, 1) for p in range(6)],
            2,
            "labelled tiles of one class only (AD): nothing can be learned. Annotate a second class, and tile again.",
            id="one class",
        ),
        pytest.param(
            [(p, c) for p in range(3) for c in range(3)],
            5,
            "3 patients cannot fill 5 folds. Use --folds 3 or fewer, or tile slides of more patients.",
            id="three patients",
        ),
        pytest.param(
            [(0, 0), (0, 1)],
            2,
            "1 patient cannot fill 2 folds: every fold needs patients of its own. "
            "Tile slides of more patients (say whose they are with --patient).",
            id="one patient",
        ),
        pytest.param(
            [(p, c) for p in range(6) for c in range(2)] + [(0, 2)] * 6,
            2,
            "class 'H' lives in one patient only (p0), so the Wise of that patient's fold would never see it. "
            "Annotate it in a second patient, or leave it out by a class map without it "
            '(unlisted = "skip"): `w2wpath relabel --rois FILE --class-map MAP.toml`.',
            id="class in one patient",
        ),
        pytest.param(
            [(p, p % 2) for p in range(5)],
            5,
            "the largest class has 3 labelled tiles, too few for 5 folds. "
            "Tile more of each class, or use fewer --folds.",
            id="fewer tiles than folds",
        ),
    ],
)
def test_what_cannot_be_dealt_is_said_in_words(tiles_n: list[tuple[int, int]], folds: int, message: str) -> None:
    with pytest.raises(FoldError) as caught:
        fold_table(tiles_n, folds, 0)
    assert str(caught.value) == message


def test_no_tile_at_all_is_said_in_words() -> None:
    nothing = np.empty(0, dtype=np.int64)
    with pytest.raises(FoldError) as caught:
        make_folds((), (), nothing, nothing, folds=2, seed=0)
    assert str(caught.value) == (
        "labelled tiles of one class only (none): nothing can be learned. Annotate a second class, and tile again."
    )


def test_a_class_whose_patients_share_a_fold_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("w2wpath.w2wnet.folds._deal", lambda patient_n, *_: patient_n // 3)
    with pytest.raises(FoldError) as caught:
        fold_table([(p, c) for p in range(6) for c in range(2)] + [(3, 2), (4, 2)], 2, 0)
    assert str(caught.value) == (
        "class 'H' lives only in the patients of fold 2, so its Wise would never see it. "
        "Annotate it in more patients, or try another --seed."
    )


def test_a_patient_in_two_folds_is_never_let_through() -> None:
    assert_disjoint(np.array([0, 0, 1]), np.array([1, 1, 0]))
    with pytest.raises(FoldError) as caught:
        assert_disjoint(np.array([0, 0, 1]), np.array([1, 0, 0]))
    assert str(caught.value) == (
        "a patient lies in two folds; this must never happen. Please report it with the fold table."
    )

"""Rows: which tiles they keep, and by which settings they differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from w2wpath.benchmarks.study.cells import JUDGEMENT
from w2wpath.benchmarks.study.methods import (
    CHANGES,
    KOEHLER,
    METHODS,
    VARIANTS,
    FoldContext,
    expanded,
    network_settings,
    variant_settings,
    wise_of,
)
from w2wpath.benchmarks.study.oracle import ORACLES
from w2wpath.benchmarks.study.variants import imbalanced
from w2wpath.config import PAPER, CleanSettings, StudySettings
from w2wpath.errors import ConfigError
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.truth import Truth

N = 40
BASE = CleanSettings(backbone="conv5", max_epochs=50, weights=Path("w.safetensors"))
STUDY = StudySettings(cohort=Path("cohort.csv"), paper_exact_folds=(1,))


def context(excluded: int = 10, k: int = 0, seed: int = 0) -> FoldContext:
    """A fold whose Wise excludes the first tiles, whose statistics rise, and whose u falls."""
    kept = np.arange(N) >= excluded
    return FoldContext(
        k=k,
        seed=seed,
        train=np.arange(N) + 100,
        statistics_n=np.arange(N) / N,
        kept_by=lambda variant: kept,
        u_of=lambda variant: 1.0 - np.arange(N) / N,
        rival=lambda name: (None if name in {"aum", "small-loss"} else np.arange(N) < 3, np.arange(N) / N),
    )


def truth(spurious: np.ndarray) -> Truth:
    """The truth of 140 tiles, of which the last 40 are trained on."""
    every = np.concatenate([np.zeros(100, dtype=bool), spurious])
    names = np.where(every, "blur", "")
    return Truth(known=np.ones(140, dtype=bool), spurious=every, kind=names, content=names)


def test_rivals_remove_as_many_as_recommended() -> None:
    assert METHODS["recommended"].kept(context()).sum() == N - 10
    assert METHODS["all"].kept(context()).all()
    np.testing.assert_array_equal(METHODS["image statistics"].kept(context()), np.arange(N) < N - 10)
    drawn = [METHODS["random"].kept(context(k=k, seed=seed)) for k in (0, 1) for seed in (0, 1)]
    assert {int(kept.sum()) for kept in drawn} == {N - 10}
    assert len({kept.tobytes() for kept in drawn}) == 4
    np.testing.assert_array_equal(drawn[0], METHODS["random"].kept(context()))
    assert METHODS["random"].kept(context(excluded=0)).all()


def test_koehler_cuts_u_at_quantiles() -> None:
    assert {name: int(METHODS[name].kept(context()).sum()) for name in KOEHLER} == {
        "koehler 0.5": 20,
        "koehler 0.6": 24,
        "koehler 0.7": 28,
        "koehler 0.8": 32,
        "koehler 0.9": 36,
        "koehler 0.95": 38,
    }
    assert METHODS["koehler 0.5"].kept(context())[-1]


@pytest.mark.parametrize(("excluded", "left"), [(3, 5), (8, 0), (12, 0)])
def test_an_oracle_of_the_same_size_removes_spurious_tiles_first(excluded: int, left: int) -> None:
    spurious = np.arange(N) % 5 == 0
    known = truth(spurious)
    np.testing.assert_array_equal(ORACLES["oracle"](context(), known), ~spurious)
    kept = ORACLES["oracle-same-size"](context(excluded), known)
    assert (int((~kept).sum()), int((kept & spurious).sum())) == (excluded, left)


def test_a_row_of_the_paper_differs_in_what_it_is_called_by() -> None:
    recommended = variant_settings(BASE, "recommended", 0, STUDY)
    for variant, names in CHANGES.items():
        changed = variant_settings(BASE, variant, 0, STUDY)
        differ = {name for name in CleanSettings.model_fields if getattr(changed, name) != getattr(recommended, name)}
        assert differ == set(names)
        assert all(getattr(changed, name) == PAPER[name] for name in names)
        assert wise_of(variant) == ("recommended" if set(names) <= JUDGEMENT else variant)
    assert wise_of("recommended") == "recommended"
    assert wise_of("paper") == "paper"
    assert set(VARIANTS) <= set(METHODS)


def test_paper_is_the_preset_but_for_what_is_named_and_the_tracker() -> None:
    settings = [variant_settings(BASE, "paper", k, STUDY) for k in (0, 1)]
    assert [one.tracker for one in settings] == ["ema", "exact"]
    for name, value in PAPER.items():
        if name not in ("tracker", "max_epochs"):
            assert getattr(settings[0], name) == value
    assert settings[0].max_epochs == 50


def test_how_paper_trains_is_not_what_clean_names() -> None:
    base = BASE.model_copy(update={"augment": "flips", "lr": 0.02, "dropout_scope": "head", "max_epochs": 7})
    base.model_fields_set.update({"augment", "lr", "dropout_scope", "max_epochs"})
    of_wise, of_wiped = variant_settings(base, "paper", 0, STUDY), network_settings(base, METHODS["paper"], STUDY)
    for settings in (of_wise, of_wiped):
        assert (settings.augment, settings.lr) == (PAPER["augment"], PAPER["lr"]) == ("none", 0.0001)
    assert (of_wise.dropout_scope, of_wise.max_epochs) == ("all", 7)
    ours = variant_settings(base, "recommended", 0, STUDY)
    assert (ours.augment, ours.dropout_scope) == ("flips", "head")


def test_only_the_row_pretrained_begins_with_weights() -> None:
    assert {name for name, row in METHODS.items() if network_settings(BASE, row, STUDY).weights is not None} == {
        "pretrained"
    }
    assert all(variant_settings(BASE, variant, 0, STUDY).weights is None for variant in VARIANTS)
    assert network_settings(BASE, METHODS["roy"], STUDY).low_pass_sigma == 1.0
    assert network_settings(BASE, METHODS["deterministic"], STUDY).lr == PAPER["lr"]
    assert network_settings(BASE, METHODS["all"], STUDY).lr == CleanSettings().lr


def test_what_the_paper_has_for_these_data_goes_to_its_rows_alone() -> None:
    study = STUDY.model_copy(update={"paper": {"lr": 0.1, "batch_size": 32}})
    for settings in (
        variant_settings(BASE, "paper", 0, study),
        network_settings(BASE, METHODS["paper"], study),
        network_settings(BASE, METHODS["deterministic"], study),
    ):
        assert (settings.lr, settings.batch_size) == (0.1, 32)
    for row in ("recommended", "all", "roy"):
        assert network_settings(BASE, METHODS[row], study) == network_settings(BASE, METHODS[row], STUDY)
    assert variant_settings(BASE, "recommended", 0, study) == variant_settings(BASE, "recommended", 0, STUDY)


def test_groups_are_taken_apart_once() -> None:
    rows = expanded(["koehler", "all", "koehler 0.5"], ["oracle"])
    assert rows == (*KOEHLER, "all")
    assert expanded(["one change at a time"], []) == tuple(CHANGES)
    with pytest.raises(ConfigError) as caught:
        expanded(["randon"], ["oracle"])
    known = ", ".join([*METHODS, "koehler", "one change at a time", "oracle"])
    assert str(caught.value) == f"[study] rows must be of {known}; got 'randon'. Did you mean 'random'?"


def test_the_minority_is_a_tenth_of_the_largest_and_stays_in_its_patients() -> None:
    label = np.repeat([0, 1, 2], [200, 120, 100]).astype(np.int16)
    patient = (np.arange(420) % 10).astype(np.int32)
    none = np.zeros(420, dtype=np.int32)
    table = TileTable(
        slides=("s",),
        classes=("a", "b", "c"),
        patients=tuple("abcdefghij"),
        slide=none,
        row=none,
        x0=none,
        y0=none,
        side0=none,
        label=label,
        patient=patient,
        tile_id=np.zeros((420, 16), dtype=np.uint8),
        area_share=np.zeros((420, 3), dtype=np.float32),
    )
    rows = imbalanced(table, np.arange(420), 0)
    assert np.bincount(label[rows]).tolist() == [200, 120, 20]
    kept = rows[label[rows] == 2]
    assert np.bincount(patient[kept]).tolist() == [2] * 10
    np.testing.assert_array_equal(rows, imbalanced(table, np.arange(420), 0))
    assert set(kept) != set(imbalanced(table, np.arange(420), 1)[-20:])


def test_a_rival_with_a_cut_of_its_own_leaves_out_what_it_says() -> None:
    for name in ("cleanlab", "ponzio"):
        np.testing.assert_array_equal(METHODS[name].kept(context()), np.arange(N) >= 3)


@pytest.mark.parametrize("name", ["aum", "small-loss"])
def test_a_rival_without_a_cut_is_told_the_number_of_spurious_tiles_alone(name: str) -> None:
    spurious = np.arange(N) < 2
    kept = ORACLES[name](context(), truth(spurious))
    np.testing.assert_array_equal(np.flatnonzero(~kept), [N - 2, N - 1])

"""Planted controls: known faults of the user's own tiles, spread over classes and patients, that reach no decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from tests.w2wnet.conftest import (
    CLASSES,
    NOISE,
    QUICK,
    Believing,
    FakeLearner,
    add_slide,
    blurred,
    cut_up,
    glass,
    new_store,
    tissue,
)
from w2wpath.config import CleanSettings
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.controls import KINDS, Glass, Planted, deal, plant, recall, says
from w2wpath.w2wnet.folds import make_folds
from w2wpath.w2wnet.ledger import read_decisions
from w2wpath.w2wnet.metrics import wilson
from w2wpath.w2wnet.quality import FEATURES, Reference, judge, measure

PX = 64
WITH_CONTROLS = QUICK.model_copy(update={"quality": True, "controls": 0.1, "folds": 3})


@pytest.fixture(scope="module")
def tissues(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """Three slides of tissue with some glass, 48 tiles and two patients each, with right labels."""
    store = new_store(tmp_path_factory.mktemp("controls") / "tiles.zarr", PX)
    for slide in range(3):
        field = tissue(7 * PX, seed=slide)
        field[100:140, 100:140] = glass(40, seed=slide)
        content = np.arange(48) // 2 % len(CLASSES)
        add_slide(store, f"s{slide}", content, content, [f"p{2 * slide}", f"p{2 * slide + 1}"], cut_up(field, PX)[:48])
    return store


def folded(table: TileTable, folds: int = 3) -> NDArray[np.int16]:
    made = make_folds(table.patients, table.classes, table.patient, table.label, folds=folds, seed=0)
    return made.fold_n(table.patients, table.patient)


@pytest.fixture(scope="module")
def planted(tissues: TileStore) -> Planted:
    table = tissues.table()
    return plant(tissues, table, folded(table), folds=3, share=0.1, seed=0)


# which tiles --------------------------------------------------------------------------------------------------------


def test_tiles_are_of_the_training_side_disjoint_between_folds_and_spread(tissues: TileStore) -> None:
    table = tissues.table()
    fold_n = folded(table)
    chosen = deal(table, fold_n, folds=3, share=0.1, seed=0)
    assert [len(rows) for rows in chosen] == [round(0.1 * (fold_n != k).sum()) for k in range(3)]
    assert max(Counter(np.concatenate(chosen).tolist()).values()) == 1
    for k, rows in enumerate(chosen):
        assert (fold_n[rows] != k).all()
        assert set(table.label[rows]) == {0, 1, 2}
        assert len(set(table.patient[rows])) >= len(set(table.patient[fold_n != k])) - 1
        counts = np.bincount(table.label[rows])
        assert counts.max() - counts.min() <= 1  # as even as the classes are


def test_where_tiles_do_not_suffice_folds_share_them(tissues: TileStore) -> None:
    table = tissues.table()
    fold_n = folded(table, folds=6)
    chosen = deal(table, fold_n, folds=6, share=0.2, seed=0)
    assert [len(rows) for rows in chosen] == [round(0.2 * (fold_n != k).sum()) for k in range(6)]
    assert all((fold_n[rows] != k).all() and len(set(rows)) == len(rows) for k, rows in enumerate(chosen))


def test_at_least_one_of_each_kind_is_planted(tissues: TileStore) -> None:
    table = tissues.table()
    few = plant(tissues, table, folded(table), folds=3, share=0.001, seed=0)
    assert [sorted(few.kind[few.fold == k]) for k in range(3)] == [[0, 1, 2]] * 3


def test_a_seed_gives_the_same_and_another_seed_others(tissues: TileStore, planted: Planted) -> None:
    table = tissues.table()
    again, other = (plant(tissues, table, folded(table), folds=3, share=0.1, seed=seed) for seed in (0, 1))
    assert all(np.array_equal(value, vars(again)[name]) for name, value in vars(planted).items())
    assert not np.array_equal(planted.stands_for, other.stands_for)


def test_nothing_of_test_patients_enters_the_controls_of_their_fold(tissues: TileStore, tmp_path: Path) -> None:
    table = tissues.table()
    fold_n = folded(table)
    mine = fold_n == 0
    store = new_store(tmp_path / "tiles.zarr", PX)
    for index, slide in enumerate(table.slides):
        here = np.flatnonzero(table.slide == index)
        pixels = np.where(mine[here, None, None, None], 255 - tissues.images(slide), tissues.images(slide))
        label = np.where(mine[here], (table.label[here] + 1) % 3, table.label[here])
        add_slide(store, slide, label, label, [f"p{2 * index}", f"p{2 * index + 1}"], pixels)
    altered = store.table()
    assert np.array_equal(altered.label != table.label, mine)
    before, after = (plant(s, t, fold_n, folds=3, share=0.1, seed=0) for s, t in ((tissues, table), (store, altered)))
    of_fold = before.fold == 0
    assert all(np.array_equal(value[of_fold], vars(after)[name][of_fold]) for name, value in vars(before).items())


# what is planted ----------------------------------------------------------------------------------------------------


def originals(store: TileStore, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    return np.concatenate([store.images(slide) for slide in store.slides()])[rows]


def of_kind(planted: Planted, kind: str) -> NDArray[np.intp]:
    return np.flatnonzero(planted.kind == KINDS.index(kind))


def test_a_flip_is_the_same_pixels_under_another_class(tissues: TileStore, planted: Planted) -> None:
    rows = of_kind(planted, "flip")
    assert np.array_equal(planted.images[rows], originals(tissues, planted.stands_for[rows]))
    assert (planted.label[rows] != tissues.table().label[planted.stands_for[rows]]).all()
    assert set(planted.label[rows]) == {0, 1, 2}


@pytest.mark.parametrize("kind", ["blur", "background"])
def test_other_controls_keep_the_label(tissues: TileStore, planted: Planted, kind: str) -> None:
    rows = of_kind(planted, kind)
    assert np.array_equal(planted.label[rows], tissues.table().label[planted.stands_for[rows]])


def test_a_blur_is_the_tile_out_of_focus(tissues: TileStore, planted: Planted) -> None:
    for i in of_kind(planted, "blur"):
        (sharp,) = originals(tissues, planted.stands_for[[i]])
        image = planted.images[i].astype(float)
        softest, mildest = (blurred(sharp.astype(float), sigma) for sigma in (3.0, 1.5))
        assert np.abs(image - softest).mean() <= np.abs(mildest - softest).mean() + 1
        assert softest.std() - 1 <= image.std() <= mildest.std() + 1


def test_background_is_four_fifths_glass_or_more_and_the_rest_is_the_tile(tissues: TileStore, planted: Planted) -> None:
    sides = set()
    for i in of_kind(planted, "background"):
        (tile,) = originals(tissues, planted.stands_for[[i]])
        kept = (planted.images[i] == tile).all(axis=2)
        whole_lines = kept.all(axis=0).sum() + kept.all(axis=1).sum()
        assert whole_lines <= 0.2 * PX
        new = planted.images[i][~kept]
        assert abs(new.mean() - 243) < 3
        sides.add((bool(kept.all(axis=0)[:2].all()), bool(kept.all(axis=1)[:2].all())))
    background = measure(planted.images[of_kind(planted, "background")])[:, FEATURES.index("background")]
    assert (background >= 0.8).all()
    assert len(sides) > 1


def test_glass_is_learned_from_the_brightest_region() -> None:
    field = tissue(4 * PX)
    field[:16, :16] = np.random.default_rng(0).normal((250, 245, 240), 2.0, (16, 16, 3))
    found = Glass.of(cut_up(field, PX))
    assert found.colour == pytest.approx([250, 245, 240], abs=2)
    assert found.noise == pytest.approx([2, 2, 2], abs=0.7)


def test_image_quality_sees_what_is_planted(tissues: TileStore, planted: Planted) -> None:
    table = tissues.table()
    features = measure(originals(tissues, np.arange(table.n)))
    reference = Reference.learn(features, table.slide)
    seen = judge(measure(planted.images), table.slide[planted.stands_for], reference).severity_n > 1.0
    assert seen[of_kind(planted, "blur")].all()
    assert seen[of_kind(planted, "background")].all()
    assert not seen[of_kind(planted, "flip")].any()


# what they tell -----------------------------------------------------------------------------------------------------


def test_recall_has_wilsons_interval() -> None:
    found = recall(np.array([0, 0, 1, 1, 1, 2]), np.array([True, False, True, True, True, False]))
    assert {kind: (one["planted"], one["found"]) for kind, one in found.items()} == {
        "flip": (2, 1),
        "blur": (3, 3),
        "background": (1, 0),
        "all": (6, 4),
    }
    expected = wilson(3, 3)
    assert (found["blur"]["low"], found["blur"]["high"]) == (expected.low, expected.high)


def test_it_is_said_what_controls_tell_and_what_not() -> None:
    assert says({}) == []
    assert says(recall(np.array([0, 0, 1]), np.array([True, False, True]))) == [
        "Planted controls, by kind: flip: 1 of 2 found (50%, 95 % interval 9% to 91%); "
        "blur: 1 of 1 found (100%, 95 % interval 21% to 100%); all: 2 of 3 found (67%, 95 % interval 21% to 94%).",
        "This is the share found of faults of these kinds, as they were made here, and of no others.",
        "How many of the excluded tiles are good cannot be known from controls: look at them "
        "(`w2wpath review export --audit 100`).",
    ]


# in a run -----------------------------------------------------------------------------------------------------------


def reading(store: TileStore) -> Callable[..., FakeLearner]:
    """A learner that knows the class of every tile it has seen before, flipped or not, and takes the rest for noise."""
    table = store.table()
    known = {originals(store, np.array([i]))[0].tobytes(): table.label[i] for i in range(table.n)}

    def learner_for(_: TileTable, planted: NDArray[np.uint8] | None = None) -> FakeLearner:
        more = [] if planted is None else [known.get(image.tobytes(), NOISE) for image in planted]
        return FakeLearner(np.concatenate([table.label, np.array(more, dtype=np.int64)]))

    return learner_for


def test_controls_are_found_and_reach_nothing_else(tissues: TileStore, planted: Planted, tmp_path: Path) -> None:
    table, decisions = clean(tissues, reading(tissues), WITH_CONTROLS, tmp_path / "clean")
    about = decisions.about
    for k in range(3):
        replaced = planted.stands_for[planted.fold == k]
        none = (decisions.fold == k) | np.isin(np.arange(table.n), replaced)
        assert np.array_equal(decisions.votes[:, k] == -1, none)
        mine = about["folds"][k]
        assert mine["train_tiles"] == int((~none).sum())
        assert mine["excluded"] == int((decisions.votes[:, k] == 1).sum())
        # the reference knows only tiles that are as they are
        features = measure(originals(tissues, np.flatnonzero(~none)))
        assert Reference(**mine["quality"]) == Reference.learn(features, table.slide[~none])
    assert {kind: one["found"] for kind, one in about["controls"].items()} == {
        kind: one["planted"] for kind, one in about["controls"].items()
    }
    assert about["controls"]["all"]["planted"] == len(planted.kind)
    assert sum(decisions.counts().values()) == table.n
    assert (decisions.state == 1).mean() < 0.03
    assert len(decisions.for_training()) + int((decisions.state == 1).sum()) == table.n
    assert read_decisions(tissues, table).about["controls"] == about["controls"]


def test_a_flip_that_the_network_of_its_patients_fold_speaks_for_is_not_found(
    tissues: TileStore, planted: Planted, tmp_path: Path
) -> None:
    table = tissues.table()
    known = {originals(tissues, np.array([i]))[0].tobytes(): table.label[i] for i in range(table.n)}
    flips = np.flatnonzero(planted.kind == KINDS.index("flip"))

    def learner_for(_: TileTable, images: NDArray[np.uint8] | None = None) -> FakeLearner:
        assert images is not None
        shown = np.array([known.get(image.tobytes(), NOISE) for image in images])
        believed = {table.n + int(flips[0]): int(planted.label[flips[0]])}
        return Believing(np.concatenate([table.label, shown]), believed=believed)

    _, decisions = clean(tissues, learner_for, WITH_CONTROLS, tmp_path / "clean")
    found = decisions.about["controls"]
    assert (found["flip"]["planted"], found["flip"]["found"]) == (len(flips), len(flips) - 1)
    # without the veto it counts: the network that learned from it doubts it
    settings = WITH_CONTROLS.model_copy(update={"out_of_fold_veto": False})
    _, decisions = clean(tissues, learner_for, settings, tmp_path / "without")
    assert decisions.about["controls"]["flip"]["found"] == len(flips)


def test_a_fold_whose_patients_have_no_control_is_collected(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr", PX)
    field = tissue(8 * PX, seed=0)
    for patient in range(6):
        n = 2 if patient == 5 else 60
        content = np.arange(n) % len(CLASSES)
        add_slide(store, f"s{patient}", content, content, [f"p{patient}"], cut_up(field, PX)[:n])
    settings = WITH_CONTROLS.model_copy(update={"folds": 6, "controls": 0.02})
    table = store.table()
    planted = plant(store, table, folded(table, 6), folds=6, share=0.02, seed=0)
    assert len(set(folded(table, 6)[planted.stands_for].tolist())) < 6  # else this tests nothing
    _, decisions = clean(store, reading(store), settings, tmp_path / "clean")
    assert decisions.about["controls"]["all"]["planted"] == len(planted.kind)


def test_with_two_folds_controls_are_refused() -> None:
    with pytest.raises(ValidationError, match="controls need 3 folds: with 2, no network would judge the tiles that"):
        CleanSettings(folds=2, controls=0.02)


def test_without_controls_nothing_is_told_of_them(tissues: TileStore, tmp_path: Path) -> None:
    settings = WITH_CONTROLS.model_copy(update={"controls": 0.0})
    _, decisions = clean(tissues, reading(tissues), settings, tmp_path / "clean")
    assert decisions.about["controls"] == {}

"""Planted controls: what is made, what is found of them, and that they leave no trace in decisions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2wnet.conftest import (
    NOISE,
    PX,
    QUICK,
    FakeLearner,
    Interrupted,
    MortalLearner,
    add_slide,
    cut_up,
    glass,
    looks,
    new_store,
    shown,
    tissue,
)
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.controls import BACKGROUND, BLUR, FLIP, Glass, Planted, blurred, choose, plant, pooled, recall, says
from w2wpath.w2wnet.folds import make_folds
from w2wpath.w2wnet.ledger import COLUMNS, UNDECIDED, Decisions
from w2wpath.w2wnet.pixels import images_of
from w2wpath.w2wnet.quality import SMALLEST_PX, Reference, judge, measure

PLANTS = QUICK.model_copy(update={"controls": 0.15})
HOME = "clean"


@dataclass
class Knows:
    """Makes fake learners that see the planted images too; the one made as number `dies_on` dies in its epochs."""

    store: TileStore
    dies_on: int | None = None
    planted: list[NDArray[np.uint8] | None] = field(default_factory=list)
    made: list[FakeLearner] = field(default_factory=list)

    def __call__(self, table: TileTable, planted: NDArray[np.uint8] | None = None, /) -> MortalLearner:
        content = shown(self.store, table)
        if planted is not None:
            content = np.concatenate([content, looks(planted)])
        self.made.append(FakeLearner(content))
        self.planted.append(planted)
        return MortalLearner(self.made[-1], 3 if self.dies_on == len(self.made) - 1 else None)


def fold_n_of(table: TileTable, settings: object = PLANTS) -> NDArray[np.int16]:
    judged = table.take(table.labelled())
    folds = make_folds(judged.patients, judged.classes, judged.patient, judged.label, folds=PLANTS.folds, seed=0)
    return folds.fold_n(judged.patients, judged.patient)


def planted_in(store: TileStore) -> tuple[TileTable, list[Planted]]:
    table = store.table()
    pixels = partial(images_of, store, table)
    made = [plant(table, pixels, fold_n_of(table), k, PLANTS) for k in range(PLANTS.folds)]
    return table, [one for one in made if one is not None]


@pytest.fixture(scope="module")
def pair(_store_once: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Decisions, Decisions, Knows]:
    """The same store cleaned without controls, and with them."""
    import shutil

    home = tmp_path_factory.mktemp("pair")
    store = TileStore.open(shutil.copytree(_store_once, home / "tiles.zarr"))
    without = clean(store, Knows(store), QUICK, home / HOME)[1]
    knows = Knows(store)
    return without, clean(store, knows, PLANTS, home / HOME)[1], knows


def test_a_fold_plants_a_third_of_each_kind_among_its_training_tiles(store: TileStore) -> None:
    table, made = planted_in(store)
    fold_n = fold_n_of(table)
    for k, one in enumerate(made):
        assert len(one.rows) == round(0.15 * (fold_n != k).sum())
        assert np.ptp(np.bincount(one.kind, minlength=3)) <= 1
        assert (fold_n[one.original_rows] != k).all()
        assert np.array_equal(one.rows == one.original_rows, one.kind == FLIP)
        assert np.array_equal(one.labels != table.label[one.original_rows], one.kind == FLIP)
        assert one.rows[one.kind != FLIP].tolist() == list(range(table.n, table.n + len(one.images)))


def test_no_tile_is_replaced_in_two_folds_and_every_patient_gives_some(store: TileStore) -> None:
    table, made = planted_in(store)
    rows = np.concatenate([one.original_rows for one in made])
    assert len(set(rows.tolist())) == len(rows)
    assert set(table.patient[rows].tolist()) == set(range(len(table.patients)))


def test_the_same_seed_plants_the_same_and_another_seed_does_not(store: TileStore) -> None:
    table, made = planted_in(store)
    pixels = partial(images_of, store, table)
    again = plant(table, pixels, fold_n_of(table), 1, PLANTS)
    other = plant(table, pixels, fold_n_of(table), 1, PLANTS.model_copy(update={"seed": 7}))
    assert again is not None
    assert other is not None
    assert all(np.array_equal(vars(again)[name], vars(made[1])[name]) for name in vars(again))
    assert not np.array_equal(other.original_rows, made[1].original_rows)


def test_a_share_of_less_than_three_tiles_plants_one_of_each_kind(store: TileStore) -> None:
    table = store.table()
    few = PLANTS.model_copy(update={"controls": 0.001})
    one = plant(table, partial(images_of, store, table), fold_n_of(table), 0, few)
    assert one is not None
    assert sorted(one.kind.tolist()) == [FLIP, BLUR, BACKGROUND]


def test_no_share_plants_nothing(store: TileStore) -> None:
    table = store.table()
    assert plant(table, partial(images_of, store, table), fold_n_of(table), 0, QUICK) is None


def test_where_tiles_run_short_folds_share_them() -> None:
    many = PLANTS.model_copy(update={"controls": 0.2, "folds": 10})
    fold_n = np.repeat(np.arange(10), 3)
    for k in range(10):
        chosen = choose(fold_n, fold_n, k, many)
        assert len(set(chosen.tolist())) == len(chosen) == round(0.2 * 27)
        assert (fold_n[chosen] != k).all()


def test_patients_give_shares_of_their_size() -> None:
    patient_n = np.repeat(np.arange(4), [400, 200, 200, 100])
    fold_n = np.where(patient_n == 0, 0, 1)
    chosen = choose(patient_n, fold_n, 1, PLANTS.model_copy(update={"folds": 2, "controls": 0.1}))
    assert np.bincount(patient_n[chosen]).tolist() == [40]
    chosen = choose(patient_n, fold_n, 0, PLANTS.model_copy(update={"folds": 2, "controls": 0.1}))
    assert np.abs(np.bincount(patient_n[chosen], minlength=4) - [0, 20, 20, 10]).max() <= 1


def test_made_images_are_the_tile_blurred_or_mostly_glass() -> None:
    tile = np.clip(np.rint(tissue(64)), 0, 255).astype(np.uint8)
    seen = Glass.of(np.stack([tile, np.clip(np.rint(glass(64)), 0, 255).astype(np.uint8)]))
    assert np.abs(seen.colour - 243.0).max() < 1.0
    assert np.abs(seen.noise - 1.5).max() < 0.3
    rng = np.random.default_rng(0)
    for _ in range(8):
        covered = seen.over(tile, rng)
        same = (covered == tile).all(axis=2)
        assert same.mean() <= 0.2 + 0.01
        assert np.abs(covered[~same].mean(axis=0) - 243.0).max() < 1.0
    soft = blurred(tile, 1.5)
    assert np.abs(soft.mean(axis=(0, 1)) - tile.mean(axis=(0, 1))).max() < 1.0
    focus = measure(np.stack([tile, soft]))[:, 0]
    assert focus[1] < focus[0] - 1.0


def test_controls_take_the_places_of_their_tiles() -> None:
    one = Planted(
        rows=np.array([20, 6]),
        labels=np.array([1, 2], dtype=np.int16),
        images=np.zeros((1, 4, 4, 3), dtype=np.uint8),
        kind=np.array([BLUR, FLIP], dtype=np.int8),
        original_rows=np.array([3, 6]),
    )
    rows, labels = np.array([1, 3, 5, 6]), np.array([0, 1, 0, 1], dtype=np.int16)
    placed, trained = one.in_place(rows, labels)
    assert (placed.tolist(), trained.tolist()) == ([1, 20, 5, 6], [0, 1, 0, 2])
    assert (rows.tolist(), labels.tolist()) == ([1, 3, 5, 6], [0, 1, 0, 1])
    own = one.pixels(20, lambda wanted: np.ones((len(wanted), 4, 4, 3), dtype=np.uint8) * 9)
    assert own[:, 0, 0, 0].tolist() == [0, 9]


def test_replaced_tiles_have_no_vote_of_that_fold_and_all_others_have(
    pair: tuple[Decisions, Decisions, Knows], store: TileStore
) -> None:
    without, with_controls, _ = pair
    table, made = planted_in(store)
    expected = without.votes >= 0
    for k, one in enumerate(made):
        expected[one.original_rows, k] = False
    assert np.array_equal(with_controls.votes >= 0, expected)
    assert len(with_controls.state) == table.n
    assert np.array_equal(with_controls.fold, without.fold)
    assert np.array_equal(with_controls.label, without.label)


def test_decisions_and_counts_are_those_of_the_tiles(pair: tuple[Decisions, Decisions, Knows]) -> None:
    without, with_controls, _ = pair
    voted = (with_controls.votes >= 0).any(axis=1)
    assert voted.all()
    assert np.array_equal(with_controls.state, without.state)
    assert with_controls.counts() == without.counts()
    for k, fold in enumerate(with_controls.about["folds"]):
        votes = with_controls.votes[:, k]
        assert (fold["train_tiles"], fold["excluded"]) == ((votes >= 0).sum(), (votes == 1).sum())
        assert fold["excluded_by_exact_passes"] <= fold["train_tiles"]


def test_flips_are_found_and_pooled_over_folds(pair: tuple[Decisions, Decisions, Knows], store: TileStore) -> None:
    _, decisions, _ = pair
    _, made = planted_in(store)
    controls = decisions.about["controls"]
    flips = sum(int((one.kind == FLIP).sum()) for one in made)
    assert (controls["flip"]["planted"], list(controls)) == (flips, ["flip", "blur", "background", "all"])
    # a flip of a tile whose label was wrong may restore the truth, and noise has no truth
    assert controls["flip"]["found"] >= flips - 2
    assert controls["all"]["planted"] == sum(len(one.rows) for one in made)
    assert 0.0 <= controls["flip"]["low"] < controls["flip"]["found"] / flips <= controls["flip"]["high"] <= 1.0
    assert controls == pooled(decisions.about["folds"])


def test_every_fold_has_a_learner_with_its_own_images(
    pair: tuple[Decisions, Decisions, Knows], store: TileStore
) -> None:
    _, _, knows = pair
    table, made = planted_in(store)
    for learner, images, one in zip(knows.made, knows.planted, made, strict=True):
        assert images is not None
        assert np.array_equal(images, one.images)
        rows, labels, _ = learner.started[0]
        assert not set(one.original_rows[one.kind != FLIP].tolist()) & set(rows.tolist())
        assert set(one.rows.tolist()) <= set(rows.tolist())
        assert (rows < table.n + len(images)).all()
        assert len(rows) == len(labels)


def test_without_controls_one_learner_does_and_nothing_is_reported(pair: tuple[Decisions, Decisions, Knows]) -> None:
    without, _, _ = pair
    assert without.about["controls"] == {}
    assert [fold["controls"] for fold in without.about["folds"]] == [{}] * 3
    assert says(without.about) == []


def test_an_interrupted_run_with_controls_ends_in_the_same_bits(
    pair: tuple[Decisions, Decisions, Knows], store: TileStore, tmp_path: Path
) -> None:
    _, whole, _ = pair
    with pytest.raises(Interrupted):
        clean(store, Knows(store, dies_on=1), PLANTS, tmp_path / HOME)
    knows = Knows(store)
    _, decisions = clean(store, knows, PLANTS, tmp_path / HOME)
    assert len(knows.made) == 2
    assert all(getattr(decisions, c).tobytes() == getattr(whole, c).tobytes() for c in COLUMNS)
    for about in ("folds", "controls"):
        assert json.dumps(decisions.about[about]) == json.dumps(whole.about[about])


def test_blur_and_background_are_found_on_tissue_by_image_quality(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr", 64)
    content = np.tile(np.arange(2), 60)
    for slide, patients in (("s1", ["a", "c"]), ("s2", ["b", "d"])):
        pixels = cut_up(tissue(704, seed=len(patients) + ord(slide[1])), 64)[:120]
        pixels[:3] = cut_up(glass(192), 64)[:3]
        add_slide(store, slide, content, content, patients, pixels)
    settings = PLANTS.model_copy(update={"folds": 2, "quality": True})
    _, decisions = clean(
        store,
        # a network that believes every label, whatever the pixels
        lambda table, planted: FakeLearner(_believes(store, table, planted, settings)),
        settings,
        tmp_path / HOME,
    )
    controls = decisions.about["controls"]
    assert {name: controls[name]["found"] / controls[name]["planted"] for name in ("blur", "background")} == {
        "blur": pytest.approx(1.0, abs=0.1),
        "background": pytest.approx(1.0, abs=0.1),
    }
    # with two folds a tile has one vote; one that was replaced has none
    none = (decisions.votes < 0).all(axis=1)
    assert none.sum() == controls["all"]["planted"]
    assert (decisions.state[none] == UNDECIDED).all()


def _believes(
    store: TileStore, table: TileTable, planted: NDArray[np.uint8] | None, settings: object
) -> NDArray[np.int64]:
    assert planted is not None
    return np.concatenate([table.label, np.zeros(len(planted))]).astype(np.int64)


def test_image_quality_of_the_tiles_does_not_see_what_is_planted() -> None:
    from w2wpath.w2wnet.controls import judge_with

    tiles = cut_up(tissue(512), 32)
    features, slide_n = measure(tiles), np.repeat([0, 1], len(tiles) // 2)
    reference = Reference.learn(features, slide_n)
    alone = judge(features, slide_n, reference).severity_nr
    at = np.arange(0, 40, 2)
    planted = measure(np.stack([blurred(tile, 2.0) for tile in tiles[at]]))
    both = judge_with(features, slide_n, reference, at, planted).severity_nr
    rest = np.setdiff1d(np.arange(len(tiles)), at)
    assert PX >= SMALLEST_PX
    assert np.array_equal(both[rest], alone[rest])
    assert (both[at, 0] > 1.0).all()
    assert (alone[at, 0] <= 1.0).all()


def test_a_degenerate_fold_finds_none_and_says_so(store: TileStore, tmp_path: Path) -> None:
    def knows_nothing(table: TileTable, planted: NDArray[np.uint8] | None = None, /) -> FakeLearner:
        assert planted is not None
        return FakeLearner(np.full(table.n + len(planted), NOISE))

    _, decisions = clean(store, knows_nothing, PLANTS, tmp_path / HOME)
    assert decisions.about["controls"]["all"]["found"] == 0
    assert "Fold 1 learned nothing, so it found none of 9 controls." in says(decisions.about)


def test_recall_is_said_with_intervals_and_with_what_it_cannot_tell() -> None:
    kind, found = np.array([0, 0, 1, 1, 1, 2]), np.array([1, 0, 1, 1, 1, 0], dtype=np.bool_)
    fold = {"fold": 0, "stop": {"reason": "stable"}, "controls": recall(kind, found)}
    assert {name: (one["planted"], one["found"]) for name, one in fold["controls"].items()} == {
        "flip": (2, 1),
        "blur": (3, 3),
        "background": (1, 0),
        "all": (6, 4),
    }
    assert pooled([fold, {"fold": 1}, {"fold": 2, "controls": {}}]) == fold["controls"]
    assert says({"controls": pooled([fold, fold]), "folds": [fold, fold]}) == [
        "Planted controls found, with 95 % intervals: flip 2 of 4 (15% to 85%), blur 6 of 6 (61% to 100%), "
        "background 0 of 2 (0% to 66%), all 8 of 12 (39% to 86%).",
        "This is the recall of faults made in these ways, and of no others. How many of the excluded tiles are good, "
        "controls cannot tell.",
    ]

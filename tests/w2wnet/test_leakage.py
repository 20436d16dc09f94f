"""Checks that catch a leak between patients, and cleaning that does not pay: K13 to K17.

Networks are small and real, on tiles of stripes, or of noise with a faint mark of the patient.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.w2wnet.conftest import CLASSES as COLOUR_NAMES
from tests.w2wnet.conftest import QUICK, FakeLearner, add_slide, fake_learner, new_store, pixels_of
from tests.w2wnet.stripes import CLASSES, SMALL, World, learner, make_world, three_se
from w2wpath.config import CleanSettings, NetSettings
from w2wpath.errors import FoldError
from w2wpath.progress import Silent
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet import folds as folds_module
from w2wpath.w2wnet import foldwork
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.fit import fit_wise
from w2wpath.w2wnet.folds import FoldTable, assert_out_of_fold, make_folds, sides
from w2wpath.w2wnet.metrics import auroc
from w2wpath.w2wnet.nets.data import Normalisation, Tiles
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.training import WipedFitter, WiseLearner
from w2wpath.w2wnet.thresholds import out_of_fold_thresholds
from w2wpath.w2wnet.uncertainty import MCStats

pytestmark = pytest.mark.usefixtures("one_thread")

TWO_FOLDS = "a patient lies in two folds; this must never happen. Please report it with the fold table."
OWN_FOLD = (
    "{} of {} tiles were trained on by the network of their own test fold; "
    "this must never happen. Please report it with the fold table."
)


def wiped(images: np.ndarray, classes: int, **changed: Any) -> WipedFitter:
    settings = NetSettings(**{**SMALL.model_dump(), **changed})
    return WipedFitter(Tiles(images, classes, settings, choose_compute("cpu", "fp32")))


# K13 ----------------------------------------------------------------------------------------------------------------

PATIENTS, PER_PATIENT, SIDE, FOLDS = 20, 9, 8, 3


def marked(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tiles of noise with a wave of its own for each patient, their patients, and a label drawn for each patient."""
    patient_n = np.repeat(np.arange(PATIENTS), PER_PATIENT)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    turn, often = rng.uniform(0, np.pi, (PATIENTS, 1, 1)), rng.uniform(1, 3, (PATIENTS, 1, 1))
    waves = np.cos(often * (np.cos(turn) * x + np.sin(turn) * y))
    grey = rng.normal(128, 15, (len(patient_n), SIDE, SIDE)) + 20 * waves[patient_n]
    images = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)
    return images, patient_n, rng.permutation(np.arange(PATIENTS) % 2)[patient_n].astype(np.int16)


def cross_validated(images: np.ndarray, label_n: np.ndarray, fold_n: np.ndarray) -> np.ndarray:
    fitter, right_n = wiped(images, 2, lr=0.1, batch_size=20), np.zeros(len(label_n), dtype=np.bool_)
    for k in range(FOLDS):
        train, test = sides(fold_n, k)
        right_n[test] = fitter.fit(train, label_n[train], k, 14).predict(test).argmax(axis=1) == label_n[test]
    return right_n


def by_patient(right_n: np.ndarray) -> tuple[float, float]:
    """Accuracy, and its standard error over patients."""
    share_p = right_n.reshape(PATIENTS, PER_PATIENT).mean(axis=1)
    return float(share_p.mean()), float(share_p.std(ddof=1) / np.sqrt(PATIENTS))


def test_k13_a_mark_of_the_patient_tells_nothing_of_others_but_all_where_patients_are_parted() -> None:
    images, patient_n, label_n = marked(np.random.default_rng(0))
    names = [f"p{i}" for i in range(PATIENTS)]
    table = make_folds(names, ("a", "b"), patient_n, label_n, folds=FOLDS, seed=0)
    grouped, error = by_patient(cross_validated(images, label_n, table.fold_n(names, patient_n)))
    assert abs(grouped - 0.5) <= 3 * error
    # the same tiles and networks, with tiles of every patient on both sides: what the check would see of a leak
    parted, error = by_patient(cross_validated(images, label_n, np.arange(len(label_n)) % FOLDS))
    assert parted > 0.8
    assert parted - 0.5 > 6 * error


# K14 ----------------------------------------------------------------------------------------------------------------


def small_store(home: Path, label: np.ndarray | None = None, *, pixels: Callable[..., Any] | None = None) -> TileStore:
    """One slide of four patients with 12 tiles each, who take turns; every sixth tile of a patient is flipped."""
    store = new_store(home / "tiles.zarr")
    turn = np.arange(48) // 4
    content = turn % len(COLOUR_NAMES)
    given = np.where(turn % 6 == 5, (content + 1) % len(COLOUR_NAMES), content) if label is None else label
    images = pixels_of(content, 0)
    add_slide(store, "s", content, given, [f"p{i}" for i in range(4)], images if pixels is None else pixels(images))
    return store


def refused(action: Callable[[], Any]) -> str:
    with pytest.raises(FoldError) as caught:
        action()
    return str(caught.value)


def test_k14_folds_that_part_a_patient_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds_module, "_deal", lambda patient_n, *_: np.arange(len(patient_n)) % 2)
    patient_n, label_n = np.repeat(np.arange(4), 4), np.tile([0, 0, 1, 1], 4)
    assert refused(lambda: make_folds("abcd", "xy", patient_n, label_n, folds=2, seed=0)) == TWO_FOLDS


def test_k14_no_network_starts_where_a_patient_is_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FoldTable, "fold_n", lambda self, patients, patient_n: np.arange(len(patient_n)) % 3)
    store, made = small_store(tmp_path), []

    def learner_for(table: TileTable) -> FakeLearner:
        made.append(fake_learner(store)(table))
        return made[-1]

    settings = QUICK.model_copy(update={"folds": 2})
    assert refused(lambda: clean(store, learner_for, settings, tmp_path / "runs")) == TWO_FOLDS
    assert [one.started for one in made] == [[]]


def test_k14_no_u_counts_as_out_of_fold_where_the_network_was_trained_on_the_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(fold_n: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        train, test = sides(fold_n, k)
        return np.concatenate([train, test[:5]]), test

    monkeypatch.setattr(foldwork, "sides", leaking)
    store, settings = small_store(tmp_path), QUICK.model_copy(update={"folds": 2})
    said = refused(lambda: clean(store, fake_learner(store), settings, tmp_path / "runs"))
    assert said == OWN_FOLD.format(10, 48)


def test_k14_no_threshold_is_set_with_a_u_of_the_tiles_own_training() -> None:
    votes_nf = np.array([[-1, 0, 1], [0, -1, 0], [-1, -1, -1], [1, 1, -1]], dtype=np.int8)
    fold_n = np.array([0, 1, -1, 2])
    assert_out_of_fold(votes_nf, fold_n)
    for vote in (0, 1):
        leaky = votes_nf.copy()
        leaky[3, 2] = vote
        assert refused(lambda leaky=leaky: assert_out_of_fold(leaky, fold_n)) == OWN_FOLD.format(1, 3)
        assert refused(lambda leaky=leaky: out_of_fold_thresholds(np.zeros(4), fold_n, leaky, 0.05)) == (
            OWN_FOLD.format(1, 3)
        )


def test_k14_the_threshold_of_a_fold_is_of_what_its_own_wise_keeps_of_the_others() -> None:
    rng = np.random.default_rng(0)
    fold_n, u_n = np.arange(300) % 3, rng.random(300)
    votes_nf = np.where(fold_n[:, None] == np.arange(3), -1, rng.random((300, 3)) < 0.2).astype(np.int8)
    found = out_of_fold_thresholds(u_n, fold_n, votes_nf, 0.1)
    for k in range(3):
        kept = (fold_n != k) & (votes_nf[:, k] == 0)
        assert found[k] == np.quantile(u_n[kept], 0.9)
        altered_n = np.where(kept, u_n, 1 - u_n)
        other_nf = np.where((np.arange(3) == k) | (votes_nf == -1), votes_nf, 1 - votes_nf)
        assert out_of_fold_thresholds(altered_n, fold_n, other_nf, 0.1)[k] == found[k]


def test_k14_the_images_are_normalised_by_training_tiles_alone() -> None:
    world, _ = make_world(60, 0, 0)
    train, test = np.arange(0, 60, 2), np.arange(1, 60, 2)
    altered = world.images.copy()
    altered[test] //= 4
    whole = [wiped(images, CLASSES).fit(train, world.labels[train], 0, 1) for images in (world.images, altered)]
    assert whole[0].normalisation == whole[1].normalisation == Normalisation.of(world.images, train)
    assert whole[0].normalisation != Normalisation.of(world.images, np.arange(60))
    assert whole[0].state() == whole[1].state()


# K15 ----------------------------------------------------------------------------------------------------------------

REAL = CleanSettings(
    **{**SMALL.model_dump(), "batch_size": 8, "max_epochs": 6, "draws": 4, "quality": True, "folds": 2}
)
OF_THE_TEST_SIDE = {"test_mean_nk", "test_u", "unseen_quality_nr"}


@dataclass(frozen=True)
class Written:
    """What a fold wrote: arrays byte by byte, and what is told of them."""

    arrays: dict[str, bytes]
    about: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> Written:
        with np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name].tobytes() for name in found.files}
        about = json.loads(arrays.pop("about"))
        return cls(arrays, {name: value for name, value in about.items() if name not in ("test_accuracy", "seconds")})

    def differs(self, other: Written) -> set[str]:
        """Names of the arrays that are not the same bytes."""
        assert set(self.arrays) == set(other.arrays)
        return {name for name, value in self.arrays.items() if other.arrays[name] != value}


def both_folds(store: TileStore) -> tuple[Written, Written]:
    """Clean `store` with real networks; return what its two folds wrote."""
    home = store.path.parent / "runs"
    clean(store, lambda table: WiseLearner(Tiles.of(store, table, REAL)), REAL, home)
    first, second = sorted(home.glob("*/fold-?.npz"))
    return Written.read(first), Written.read(second)


def test_k15_labels_and_pixels_of_the_test_side_change_nothing_that_its_wise_learned(tmp_path: Path) -> None:
    store = small_store(tmp_path / "as it is")
    table = store.table()
    folds = make_folds(table.patients, table.classes, table.patient, table.label, folds=2, seed=REAL.seed)
    mine = folds.fold_n(table.patients, table.patient) == 0
    label, rng = table.label.copy(), np.random.default_rng(0)
    for patient in np.unique(table.patient[mine]):
        # within a patient, so that the folds are dealt alike
        label[table.patient == patient] = rng.permutation(label[table.patient == patient])
    assert (label != table.label).sum() > 10

    def darkened(images: np.ndarray) -> np.ndarray:
        return np.where(mine[:, None, None, None], images // 3, images)

    own, others = both_folds(store)
    assert own.about["stop"]["reason"] != "degenerate"
    assert np.frombuffer(own.arrays["severity_nr"], dtype=np.float32).any()
    altered = {
        "labels": (small_store(tmp_path / "labels", label), set()),
        "pixels": (small_store(tmp_path / "pixels", pixels=darkened), OF_THE_TEST_SIDE),
    }
    for changed, of_test_side in altered.values():
        own_now, others_now = both_folds(changed)
        assert own.differs(own_now) == of_test_side
        assert own.about == own_now.about
        # the other fold is trained on these tiles: what the check would see of a leak
        assert {"severity_nr", "test_mean_nk", "test_u"} <= others.differs(others_now)
        assert others.about != others_now.about


# K16 ----------------------------------------------------------------------------------------------------------------


def test_k16_u_does_not_tell_a_flipped_copy_from_its_twin_but_the_label_aware_score_does() -> None:
    # as the paper appends spurious images to the clean ones: the copy has the same pixels, and u reads nothing else.
    # So pruning by u removes a clean twin with every flip; it finds none that it does not pay for.
    world, _ = make_world(240, 0, 0)
    twin = np.random.default_rng(0).choice(240, 60, replace=False)
    flip, rows = np.arange(240, 300), np.arange(300)
    images = np.concatenate([world.images, world.images[twin]])
    labels = np.concatenate([world.labels, (world.labels[twin] + 1) % CLASSES]).astype(np.int16)
    # a mask for every tile, so that the draws of two tiles are independent
    settings = NetSettings(**{**SMALL.model_dump(), "mask_batch": 1})
    run, fit = fit_wise(
        learner(World(images, labels), settings=settings), rows, labels, CLASSES, 0, settings, Silent(), "Wise"
    )
    stats = MCStats(300, CLASSES, covariance=True)
    for _ in range(40):
        stats.add(run.draw(rows))
    error = np.hypot(stats.standard_error_n[flip], stats.standard_error_n[twin])
    gap = (stats.u_n[flip] - stats.u_n[twin]) / error
    assert np.abs(gap).max() < 5
    assert abs(gap.mean()) < 3 / np.sqrt(60)
    assert 0.5 < gap.std() < 1.5
    # the errors are small beside what u says, or any two tiles would look alike
    assert error.mean() < stats.u_n.std() / 3
    pair, is_flip = np.concatenate([flip, twin]), np.arange(120) < 60
    assert auroc(stats.u_n[pair], is_flip) == pytest.approx(0.5, abs=three_se(is_flip))
    # by any cut on u, as many twins as flips are removed
    for cut in (fit.u_boundary, *np.quantile(stats.u_n, [0.3, 0.6, 0.9])):
        removed, lost = stats.u_n[flip] > cut, stats.u_n[twin] > cut
        assert abs(int((removed & ~lost).sum()) - int((lost & ~removed).sum())) <= 3 * np.sqrt((removed != lost).sum())
    assert auroc(fit.score_n[pair], is_flip) > 0.95
    assert fit.excluded_n[flip].mean() > 0.9
    assert fit.excluded_n[twin].mean() < 0.05


# K17 ----------------------------------------------------------------------------------------------------------------


def test_k17_the_gain_of_cleaning_lies_between_random_and_oracle_pruning() -> None:
    rng = np.random.default_rng(1)
    world, _ = make_world(300, 0, 1)
    flip = rng.random(300) < 0.3
    given = np.where(flip, (world.labels + 1) % CLASSES, world.labels).astype(np.int16)
    # so few epochs leave every label in some doubt: the default would wait for more
    settings = SMALL.model_copy(update={"doubt_below": 0.7})
    _, fit = fit_wise(
        learner(World(world.images, given)), np.arange(300), given, CLASSES, 0, settings, Silent(), "Wise"
    )
    unseen, _ = make_world(400, 0, 101)
    fitter = wiped(np.concatenate([world.images, unseen.images]), CLASSES)

    def right(pruned: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(~pruned)
        network = fitter.fit(rows, given[rows], 0, 8)
        return np.equal(network.predict(np.arange(300, 700)).argmax(axis=1), unseen.labels)

    cleaned, oracle = right(fit.excluded_n), right(flip)
    chance = right(rng.permutation(fit.excluded_n))

    def gain(better: np.ndarray, worse: np.ndarray) -> tuple[float, float]:
        """Gain in accuracy and three standard errors, paired by tile."""
        paired = better.astype(float) - worse
        return float(paired.mean()), 3 * float(paired.std(ddof=1) / np.sqrt(len(paired)))

    # there is something to gain, and cleaning gains it
    for better, worse in ((oracle, chance), (cleaned, chance)):
        mean, error = gain(better, worse)
        assert mean > error
    mean, error = gain(oracle, cleaned)
    assert mean > -error
    assert (cleaned.mean() - chance.mean()) / (oracle.mean() - chance.mean()) > 0.5

"""The final model: from decisions to a folder that reads tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, Heard, add_slide, fake_learner, make_store, shown
from tests.w2wnet.nets.conftest import TINY
from w2wpath.errors import ConfigError, FoldError, RunError
from w2wpath.tiles.store import SlideTiles, TileStore, TileTable
from w2wpath.w2wnet.calibration import calibrate
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.ledger import EXCLUDED, STATES, Decisions, read_decisions
from w2wpath.w2wnet.nets.bundle import Model
from w2wpath.w2wnet.nets.card import KERNEL
from w2wpath.w2wnet.nets.train import Trained, source_of, train
from w2wpath.w2wnet.nets.training import WipedFitter
from w2wpath.w2wnet.outoffold import RECIPE
from w2wpath.w2wnet.quality import Reference, measure
from w2wpath.w2wnet.verdicts import Verdict, append_verdicts

SMALL = TINY.model_copy(update={"backbone": "conv5", "wiped_epochs": 8, "quality": True})
BRIEF = SMALL.model_copy(update={"max_epochs": 1, "wiped_epochs": 1})


def cleaned_with(store: TileStore, settings: Any) -> tuple[TileTable, Decisions]:
    """What the learner that is no network says, as if it had drawn with `settings`."""
    drawn = {name: getattr(settings, name) for name in RECIPE}
    return clean(store, fake_learner(store), QUICK.model_copy(update=drawn), store.path.parent / "clean")


@pytest.fixture
def cleaned(store: TileStore) -> tuple[TileTable, Decisions]:
    return cleaned_with(store, SMALL)


@dataclass(frozen=True)
class Made:
    """One model, its store and decisions: read it, never write it."""

    store: TileStore
    table: TileTable
    decisions: Decisions
    path: Path
    trained: Trained


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = tmp_path_factory.mktemp("train")
    store = make_store(home / "tiles.zarr")
    table, decisions = cleaned_with(store, SMALL)
    trained = train(store, table, decisions, SMALL, home / "model", calibrate_with="oof")
    return Made(store, table, decisions, home / "model", trained)


def unseen(decisions: Decisions) -> np.ndarray:
    return np.flatnonzero((decisions.state != EXCLUDED) & (decisions.fold >= 0))


def test_a_trained_model_reads_the_tiles_of_its_store(made: Made) -> None:
    table, summary = made.table, made.trained.summary
    model = Model.load(made.path, device="cpu", precision="fp32")
    assert model.card == made.trained.card
    assert (model.classes, model.tile_px, model.mpp) == (table.classes, 32, 0.5)
    assert model.card.provenance["store_hash"] == made.store.content_hash()
    assert model.card.provenance["patients"] == list(table.patients)
    assert summary["kept"] == int((made.decisions.state != EXCLUDED).sum())
    assert summary["wiped_epochs"] == 8
    images = np.concatenate([made.store.images(slide) for slide in table.slides])
    probs, stats = model.predict(images, draws=3, seed=0)
    content = shown(made.store, table)
    assert (probs.argmax(axis=1) == content)[content >= 0].mean() > 0.9
    assert stats.u_n.shape == (table.n,)


def test_a_rivals_network_is_not_kept_as_a_model(store: TileStore, tmp_path: Path) -> None:
    settings = BRIEF.model_copy(update={"low_pass_sigma": 1.0})
    with pytest.raises(ConfigError) as caught:
        train(store, *cleaned_with(store, settings), settings, tmp_path / "model")
    assert str(caught.value) == (
        "low_pass_sigma is for the rival of Roy et al. in the study; no model is kept. Leave it out."
    )
    assert not (tmp_path / "model").exists()


def test_all_that_is_for_unseen_patients_comes_from_the_folds(made: Made) -> None:
    table, decisions, card, said = made.table, made.decisions, made.trained.card, made.trained.summary
    kept = unseen(decisions)
    assert card.threshold == said["threshold_name"] == "quantile"
    assert card.chosen.value == said["threshold"] == pytest.approx(np.quantile(decisions.u[kept], 0.95))
    assert said["transfer"]["flagged_out_of_fold"]["quantile"] == pytest.approx(0.05, abs=1 / len(kept))
    assert said["out_of_fold_above_threshold"] == float((decisions.u > card.chosen.value).mean())
    found = calibrate(decisions.probs[kept], table.label[kept])
    assert card.temperature == said["calibration"]["temperature"] == found.temperature != 1.0
    assert said["calibration"]["nll_after"] == found.nll_after < found.nll_before
    right = decisions.predicted[kept] == table.label[kept]
    assert said["out_of_fold"] == {
        "tiles": len(kept),
        "accuracy": right.mean(),
        "balanced_accuracy": pytest.approx(np.mean([right[table.label[kept] == k].mean() for k in range(3)])),
    }


def test_the_card_says_what_was_learned_from(made: Made) -> None:
    table, decisions, said = made.table, made.decisions, made.trained.card.metrics
    assert (said["run"], said["tiles"], said["slides"], said["patients"]) == (decisions.run, table.n, 2, 6)
    assert {name: sum(row[name] for row in said["by_class"].values()) for name in STATES} == decisions.counts()
    assert list(said["by_class"]) == list(table.classes)
    assert said["controls"] == {}
    kept = decisions.for_training()
    images = np.concatenate([made.store.images(slide) for slide in table.slides])
    assert made.trained.card.quality == Reference.learn(measure(images[kept]), table.slide[kept])


def test_the_page_for_people_tells_the_figures_of_the_card(made: Made) -> None:
    page, card = (made.path / "README.md").read_text("utf-8"), made.trained.card
    for told in (
        f"{card.metrics['tiles']} labelled tiles of 2 slides and 6 patients",
        f"Wiped on the {card.metrics['kept']} that cleaning did not exclude",
        f"run of clean `{card.metrics['run']}`",
        f"It is {card.temperature:.3f}",
        f"| **quantile** (used) | {card.chosen.value:.4f} |",
        f"| centroid | {card.thresholds['centroid'].value:.4f} |",
        f"| accuracy, Wises of the folds | {card.metrics['out_of_fold']['accuracy']:.3f} |",
        "It knows 3 classes: blue, green, red.",
        "Research use only",
    ):
        assert told in page


def test_k21_the_thresholds_know_what_they_were_taken_with(store: TileStore, tmp_path: Path) -> None:
    settings = BRIEF.model_copy(
        update={"dropout_kind": "channel", "dropout_scope": "no-conv", "dropout_rate": 0.2, "threshold": "centroid"}
    )
    card = train(store, *cleaned_with(store, settings), settings, tmp_path / "model").card
    recipe = card.recipe
    assert recipe.store_hash == store.content_hash()
    assert (recipe.draws, recipe.dropout_rate, recipe.dropout_kind, recipe.dropout_scope) == (
        4,
        0.2,
        "channel",
        "no-conv",
    )
    assert (recipe.dropout_logits, recipe.mask_batch, recipe.precision) == (False, 4, "fp32")
    assert recipe.kernel == KERNEL
    assert (card.preset, card.backbone, card.stem) == ("recommended", "conv5", "imagenet")
    assert card.provenance["weights_sha256"] is None
    assert set(card.thresholds) == {"boundary", "centroid", "quantile"}
    assert card.threshold == "centroid"
    assert card.thresholds["boundary"].value <= card.thresholds["centroid"].value


def test_a_final_wise_that_learned_nothing_is_said(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    heard = Heard()
    said = train(store, *cleaned, BRIEF.model_copy(update={"lr": 1e-6}), tmp_path / "model", heard).summary
    assert said["stop_reason"] == "degenerate"
    assert said["warnings"][0] == (
        "the final Wise learned nothing, so its uncertainty says nothing. Look at labels and settings."
    )
    assert len(said["warnings"]) > 1  # its u is far from that of the folds, too
    assert [line for line in heard.lines if line.startswith("warning: ")] == [f"warning: {x}" for x in said["warnings"]]
    page = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert all(f"> **Warning:** {warning}" in page for warning in said["warnings"])


def test_the_temperature_of_wiped_is_fitted_without_the_patients_of_one_fold(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, decisions = cleaned
    trained_on, fit = [], WipedFitter.fit

    def noted(self: WipedFitter, rows: Any, *others: Any) -> Any:
        trained_on.append(rows)
        return fit(self, rows, *others)

    monkeypatch.setattr(WipedFitter, "fit", noted)
    said = train(store, *cleaned, BRIEF, tmp_path / "model", calibrate_with="wiped").summary["calibration"]
    kept, fold = unseen(decisions), said["fold"]
    assert said["source"] == "wiped"
    assert said["tiles"] == (decisions.fold[kept] == fold).sum() == np.bincount(decisions.fold[kept]).max()
    assert said["nll_at_oof"] >= 0
    final, held_out = trained_on
    assert np.array_equal(final, decisions.for_training())
    assert np.array_equal(held_out, kept[decisions.fold[kept] != fold])
    fold_of = dict(decisions.about["fold_table"])
    assert fold not in {fold_of[table.patients[i]] for i in table.patient[held_out]}
    page = (tmp_path / "model" / "README.md").read_text("utf-8")
    assert f"| accuracy, Wiped of the held-out fold | {said['accuracy']:.3f} |" in page


def test_tiles_that_came_after_the_run_do_not_cross_the_fold_of_their_patients(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on, fit = [], WipedFitter.fit

    def noted(self: WipedFitter, rows: Any, *others: Any) -> Any:
        trained_on.append(rows)
        return fit(self, rows, *others)

    add_slide(store, "s9", np.arange(36) % 3, np.arange(36) % 3, [f"p{i}" for i in range(6)])
    table = store.table()
    decisions = read_decisions(store, table)
    monkeypatch.setattr(WipedFitter, "fit", noted)
    said = train(store, table, decisions, BRIEF, tmp_path / "model", calibrate_with="wiped").summary["calibration"]
    final, held_out = trained_on
    new = np.flatnonzero(table.slide == table.slides.index("s9"))
    assert np.isin(new, final).all()
    calibrated = np.flatnonzero(decisions.fold == said["fold"])
    assert not set(table.patient[held_out].tolist()) & set(table.patient[calibrated].tolist())
    assert np.isin(new, held_out).any()  # those of other patients take part


def test_a_class_of_which_no_tile_is_kept_is_told(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    table, decisions = cleaned
    state = np.where(table.label == 1, EXCLUDED, decisions.state).astype(np.uint8)
    said = train(store, table, replace(decisions, state=state), BRIEF, tmp_path / "model", calibrate_with="none")
    assert said.summary["warnings"][0] == f"no tile of class {table.classes[1]} is kept, so the model never names it."


def test_without_calibration_the_temperature_is_one(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    made = train(store, *cleaned, BRIEF, tmp_path / "model", calibrate_with="none")
    assert made.card.temperature == made.summary["calibration"]["temperature"] == 1.0
    assert "no temperature was fitted" in (tmp_path / "model" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["wiped", "oof", "none"])
def test_a_source_of_temperature_is_known_by_its_name(name: str) -> None:
    assert source_of(name) == name
    with pytest.raises(ConfigError) as caught:
        source_of("wipe")
    assert str(caught.value) == ("train: calibrate must be one of wiped, oof, none; got 'wipe'. Did you mean 'wiped'?")


def test_networks_learn_the_labels_of_now_and_of_reviewers(store: TileStore, tmp_path: Path) -> None:
    was, _ = cleaned_with(store, BRIEF)
    had = store.read("s1")
    label = had.columns["label"].copy()
    label[0] = (label[0] + 1) % 3
    store.replace_labels("s1", SlideTiles({**had.columns, "label": label}, {**had.attributes, "labels_hash": "new"}))
    table = store.table()
    other = table.classes[(table.label[1] + 1) % 3]
    seen = Verdict(table.tile_id[1].tobytes(), "relabel", other, table.classes[table.label[1]])
    append_verdicts(store, [seen], who="ana", source="review.csv")
    decisions = read_decisions(store, table)
    with pytest.raises(RunError, match=r"1 tiles have other labels now.*--allow-stale"):
        train(store, table, decisions, BRIEF, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    trained = train(store, table, decisions, BRIEF, tmp_path / "model", allow_stale=True)
    learned = was.label.copy()
    learned[:2] = label[0], table.classes.index(other)
    by_class = trained.summary["by_class"]
    assert [sum(by_class[name].values()) for name in table.classes] == np.bincount(learned, minlength=3).tolist()
    assert trained.card.recipe.store_hash == trained.card.provenance["store_hash"] == store.content_hash()
    assert decisions.about["store_hash"] != store.content_hash()


# refusals: nothing is written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1])
def test_cleaning_that_left_less_than_two_classes_is_refused(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path, left: int
) -> None:
    table, decisions = cleaned
    state = np.where(table.label < left, 0, EXCLUDED).astype(np.uint8)
    with pytest.raises(RunError) as caught:
        train(store, table, replace(decisions, state=state), TINY, tmp_path / "model")
    assert str(caught.value) == (
        f"run {decisions.run}: after cleaning, tiles of {left} class are left; nothing can be learned. "
        "Look at the report of `w2wpath clean`, and tile more slides."
    )
    assert not (tmp_path / "model").exists()


def test_decisions_that_judged_none_of_the_kept_tiles_are_refused(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    table, decisions = cleaned
    nowhere = replace(decisions, fold=np.full(table.n, -1, dtype=np.int16))
    with pytest.raises(RunError) as caught:
        train(store, table, nowhere, SMALL, tmp_path / "model")
    assert str(caught.value) == (
        f"run {decisions.run}: judged none of the tiles that are kept. Run `w2wpath clean` again."
    )


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda it: {"votes": np.zeros_like(it.votes)}, FoldError, "this must never happen"),
        (lambda it: {"about": {**it.about, "fold_hash": "0" * 64}}, RunError, "with the one of hash 000000000000"),
        (
            lambda it: {"about": {**it.about, "settings": {**it.about["settings"], "draws": 7}}},
            RunError,
            "draws 7, now 4",
        ),
    ],
    ids=["votes of the own fold", "another fold table", "other draws"],
)
def test_decisions_that_are_not_out_of_fold_train_nothing(
    store: TileStore,
    cleaned: tuple[TileTable, Decisions],
    tmp_path: Path,
    change: Any,
    error: type[Exception],
    told: str,
) -> None:
    table, decisions = cleaned
    with pytest.raises(error, match=told):
        train(store, table, replace(decisions, **change(decisions)), SMALL, tmp_path / "model")
    assert not (tmp_path / "model").exists()

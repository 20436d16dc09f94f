"""The final model: from decisions to a folder that reads tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, fake_learner, shown
from tests.w2wnet.nets.conftest import TINY
from w2wpath.errors import ConfigError, RunError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.ledger import EXCLUDED, Decisions
from w2wpath.w2wnet.nets.bundle import Model
from w2wpath.w2wnet.nets.card import KERNEL
from w2wpath.w2wnet.nets.train import train

SMALL = TINY.model_copy(update={"backbone": "conv5", "wiped_epochs": 8})


@pytest.fixture
def cleaned(store: TileStore) -> tuple[TileTable, Decisions]:
    return clean(store, fake_learner(store), QUICK, store.path.parent / "clean")


def test_a_trained_model_reads_the_tiles_of_its_store(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    table, decisions = cleaned
    trained = train(store, table, decisions, SMALL, tmp_path / "model")
    model = Model.load(tmp_path / "model", device="cpu", precision="fp32")
    assert model.card == trained.card
    assert (model.classes, model.tile_px, model.mpp) == (table.classes, 32, 0.5)
    assert model.card.provenance["store_hash"] == store.content_hash()
    assert model.card.provenance["patients"] == list(table.patients)
    assert trained.summary["kept"] == int((decisions.state != EXCLUDED).sum())
    assert trained.summary["wiped_epochs"] == 8
    images = np.concatenate([store.images(slide) for slide in table.slides])
    probs, stats = model.predict(images, draws=3, seed=0)
    content = shown(store, table)
    assert (probs.argmax(axis=1) == content)[content >= 0].mean() > 0.9
    assert stats.u_n.shape == (table.n,)


def test_a_rivals_network_is_not_kept_as_a_model(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        train(store, *cleaned, SMALL.model_copy(update={"low_pass_sigma": 1.0}), tmp_path / "model")
    assert str(caught.value) == (
        "low_pass_sigma is for the rival of Roy et al. in the study; no model is kept. Leave it out."
    )
    assert not (tmp_path / "model").exists()


def test_k21_the_thresholds_know_what_they_were_taken_with(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    settings = SMALL.model_copy(
        update={
            "max_epochs": 1,
            "wiped_epochs": 1,
            "dropout_kind": "channel",
            "dropout_scope": "no-conv",
            "dropout_rate": 0.2,
        }
    )
    card = train(store, *cleaned, settings, tmp_path / "model").card
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
    assert set(card.thresholds) == {"boundary", "centroid"}
    assert card.threshold == "centroid"
    assert card.thresholds["boundary"].value <= card.thresholds["centroid"].value


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

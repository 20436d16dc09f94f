"""The final model: from decisions to a folder that reads tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, fake_learner, shown
from tests.w2wnet.nets.conftest import TINY
from w2wpath.errors import RunError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.ledger import EXCLUDED, Decisions
from w2wpath.w2wnet.nets.bundle import Model
from w2wpath.w2wnet.nets.train import train


@pytest.fixture
def cleaned(store: TileStore) -> tuple[TileTable, Decisions]:
    return clean(store, fake_learner(store), QUICK, store.path.parent / "clean")


def test_a_trained_model_reads_the_tiles_of_its_store(
    store: TileStore, cleaned: tuple[TileTable, Decisions], tmp_path: Path
) -> None:
    table, decisions = cleaned
    trained = train(store, table, decisions, TINY.model_copy(update={"wiped_epochs": 8}), tmp_path / "model")
    model = Model.load(tmp_path / "model", device="cpu", precision="fp32")
    assert model.card == trained.card
    assert (model.classes, model.tile_px, model.mpp) == (table.classes, 32, 0.5)
    assert model.card.provenance["store_hash"] == store.content_hash()
    assert model.card.provenance["patients"] == list(table.patients)
    assert trained.summary["kept"] == int((decisions.state != EXCLUDED).sum()) == 78
    images = np.concatenate([store.images(slide) for slide in table.slides])
    probs, stats = model.predict(images, draws=3, seed=0)
    content = shown(store, table)
    assert (probs.argmax(axis=1) == content)[content >= 0].mean() > 0.9
    assert stats.u_n.shape == (table.n,)


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

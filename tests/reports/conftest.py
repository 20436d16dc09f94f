"""A small store and decisions, made by hand, in which every name tries to break out of the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.decided import decided
from w2wpath.tiles.layout import tile_ids
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions

PX = 16
CLASSES = ('<b>"A" & B</b>', "Tumor, 'solid'")
PATIENTS = ("<script>alert(1)</script>", 'P"2')
SLIDES = ("<img src=x onerror=alert(1)>", "slide ä 2")
RUN = "20260101T000000Z-abcdef"


def flat_tiles(n: int, start: int) -> NDArray[np.uint8]:
    """Tiles (n, PX, PX, 3) of one grey-violet shade each; no two of the store are alike."""
    shade = (np.arange(n) + start) * 9 % 256
    colours = np.stack([shade, 255 - shade, shade // 2], axis=1)
    return np.broadcast_to(colours[:, None, None].astype(np.uint8), (n, PX, PX, 3))


def add(store: TileStore, index: int, n: int, start: int) -> None:
    x0, y0 = (np.arange(n) * PX).astype(np.int32), np.full(n, 100 * index, dtype=np.int32)
    label = (np.arange(n) % 3 - 1).astype(np.int16)  # every third tile has no label
    columns = {
        "x0": x0,
        "y0": y0,
        "side0": np.full(n, PX, dtype=np.int32),
        "label": label,
        "roi": np.zeros(n, dtype=np.int32),
        "patient": np.zeros(n, dtype=np.int32),
        "core": np.full(n, -1, dtype=np.int32),
        "valid_share": np.ones(n, dtype=np.float32),
        "area_share": np.eye(2, dtype=np.float32)[np.maximum(label, 0)],
        "tile_id": tile_ids(SLIDES[index], x0, y0, PX),
    }
    attributes = {
        "classes": list(CLASSES),
        "patients": [PATIENTS[index]],
        "patient_from": "given",
        "pixels_hash": f"pixels {index}",
        "labels_hash": f"labels {index}",
    }
    store.add(SLIDES[index], SlideTiles(columns, attributes), flat_tiles(n, start))


def made_store(path: Path) -> TileStore:
    """Make a store of two slides of a patient each, with 15 and 24 tiles; the tile's shade tells which it is."""
    made = TileStore.create_or_open(path, StoreSpec(PX, 0.5, PX, "lanczos3"))
    add(made, 0, 15, 0)
    add(made, 1, 24, 15)
    return made


def made_decisions(store: TileStore) -> Decisions:
    """Decide by hand. All states and reasons; the score falls with the row, so that the order of a gallery is known."""
    table = store.table()
    n, i = table.n, np.arange(table.n)
    judged = table.label >= 0
    state = np.where(judged, np.array([KEPT, EXCLUDED, UNDECIDED])[i // 3 % 3], UNDECIDED)
    other = judged & (i % 2 == 0)
    predicted = np.where(judged, np.where(other, 1 - table.label, table.label), -1)
    why = np.where(state == KEPT, "", np.array(["label", "uncertain", "focus", "background", "colour"])[i % 5])
    why = np.where(judged, np.where(state == UNDECIDED, np.where(i % 4, "tie", "vetoed"), why), "no label")
    stop = {"reason": "stable", "epoch": 2, "deltas": [0.5, 0.4], "medians": [None, 0.4], "stds": [None, 0.01]}
    fold = {"stop": stop, "boundary": 0.5, "threshold": 0.25, "test_accuracy": 0.875}
    about = {
        "folds": [{"fold": 0, **fold}, {"fold": 1, **fold, "stop": {**stop, "reason": "<i>odd</i>"}}],
        "settings": {"std_below": 0.01, "track_every": 1, "backbone": "<u>net</u>"},
        "versions": {"numpy": "<s>2</s>"},
        "time": "2026-01-01T00:00:00+00:00",
    }
    return decided(
        table,
        about,
        run=RUN,
        state=state,
        reason=np.array([REASONS.index(str(name)) for name in why]),
        fold=np.where(judged, i % 2, -1),
        u=np.where(judged, 0.5 * i / n, np.nan),
        score=np.where(judged, 1 - i / n, np.nan),
        predicted=predicted,
    )


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    """A store of its own."""
    return made_store(tmp_path / "tiles.zarr")


@pytest.fixture
def decisions(store: TileStore) -> Decisions:
    """Decisions on it."""
    return made_decisions(store)


def with_states(decisions: Decisions, state: NDArray[np.integer]) -> Decisions:
    """Return the decisions with other states."""
    return replace(decisions, state=state.astype(np.uint8))

"""A store whose truth is known, and a learner that is no network: its draws follow a known law."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from w2wpath.config import CleanSettings
from w2wpath.tiles.layout import tile_ids
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore, TileTable
from w2wpath.w2wnet.learner import Rows

PX = 32
CLASSES = ("blue", "green", "red")
COLOURS = np.array([[40, 60, 200], [40, 190, 60], [200, 50, 60]])
NOISE = -1
QUICK = CleanSettings(
    folds=3, draws=8, max_epochs=12, median_window=3, std_window=4, std_below=0.05, device="cpu", precision="fp32"
)
"""Settings with which the learner below is stable after a few epochs."""


def pixels_of(content: NDArray[np.integer], seed: int) -> NDArray[np.uint8]:
    """Tiles (n, PX, PX, 3) of their class's colour with a little noise; pure noise where there is no content."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (len(content), PX, PX, 3))
    coloured = COLOURS[content][:, None, None] + noise // 8 - 16
    return np.where((content == NOISE)[:, None, None, None], noise, coloured).clip(0, 255).astype(np.uint8)


def looks(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Tell from pixels alone which class a tile shows; NOISE where it shows none."""
    nearest = np.linalg.norm(pixels.mean(axis=(1, 2))[:, None] - COLOURS, axis=2).argmin(axis=1)
    return np.where(pixels.std(axis=(1, 2)).max(axis=1) > 40, NOISE, nearest)


def add_slide(
    store: TileStore, slide: str, content: NDArray[np.integer], label: NDArray[np.integer], patients: list[str]
) -> None:
    """Write one slide; its patients take turns, a tile each. `label` -1 means none."""
    n, seed = len(content), sum(slide.encode())
    x0, y0 = (np.arange(n) * PX).astype(np.int32), np.zeros(n, dtype=np.int32)
    columns = {
        "x0": x0,
        "y0": y0,
        "side0": np.full(n, PX, dtype=np.int32),
        "label": np.asarray(label, dtype=np.int16),
        "roi": np.zeros(n, dtype=np.int32),
        "patient": (np.arange(n) % len(patients)).astype(np.int32),
        "core": np.full(n, -1, dtype=np.int32),
        "valid_share": np.ones(n, dtype=np.float32),
        "area_share": np.eye(len(CLASSES), dtype=np.float32)[np.maximum(label, 0)],
        "tile_id": tile_ids(slide, x0, y0, PX),
    }
    attributes = {
        "classes": list(CLASSES),
        "patients": patients,
        "patient_from": "given",
        "pixels_hash": f"{slide} {content.tolist()}",
        "labels_hash": f"{label.tolist()} {patients}",
    }
    store.add(slide, SlideTiles(columns, attributes), pixels_of(content, seed))


def new_store(path: Path) -> TileStore:
    """Make an empty store."""
    return TileStore.create_or_open(path, StoreSpec(PX, 0.5, PX, "lanczos"))


def make_store(path: Path, *, patients: int = 6, per_patient: int = 15, noise: int = 1, flipped: int = 1) -> TileStore:
    """Make a store of two slides. Each patient has so many tiles of noise, and so many with the next class's label."""
    store = new_store(path)
    names = [f"p{i}" for i in range(patients)]
    for slide, own in (("s1", names[::2]), ("s2", names[1::2])):
        turn = np.arange(per_patient * len(own)) // len(own)
        label = turn % len(CLASSES)
        content = np.where(turn < noise, NOISE, label)
        is_flipped = (turn >= noise) & (turn < noise + flipped)
        add_slide(store, slide, content, np.where(is_flipped, (label + 1) % len(CLASSES), label), own)
    return store


def shown(store: TileStore, table: TileTable) -> NDArray[np.int64]:
    """What the pixels of every tile of `table` show."""
    return np.concatenate([looks(store.images(slide)) for slide in table.slides])


def planted(store: TileStore, table: TileTable) -> NDArray[np.bool_]:
    """Which tiles of `table` are spurious: noise, or another class's label."""
    return shown(store, table) != table.label


def write_truth(path: Path, store: TileStore) -> Path:
    """Write the truth table of a store."""
    table = store.table()
    content, spurious = shown(store, table), planted(store, table)
    lines = ["slide,x0,y0,content,spurious,kind"]
    for i in range(table.n):
        kind = "" if not spurious[i] else "noise" if content[i] == NOISE else "label"
        name = "" if content[i] == NOISE else CLASSES[content[i]]
        lines.append(f"{table.slides[table.slide[i]]},{table.x0[i]},{table.y0[i]},{name},{int(spurious[i])},{kind}")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@dataclass
class FakeRun:
    """Says Dirichlet(30 for the class that the pixels show, 1 else); Dirichlet(3, 3, ...) of noise."""

    content_n: NDArray[np.int64]
    rows: Rows
    random: np.random.Generator
    epochs: int = 0

    def epoch(self) -> NDArray[np.float32] | None:
        self.epochs += 1
        return self.draw(self.rows)

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        content = self.content_n[rows]
        other = np.where(content == NOISE, 3.0, 1.0)[:, None]
        alpha = np.where(content[:, None] == np.arange(len(CLASSES)), 30.0, other)
        gamma = self.random.gamma(alpha)
        return (gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32)

    def state(self) -> bytes:
        return json.dumps([self.epochs, self.random.bit_generator.state]).encode()

    def load(self, state: bytes) -> None:
        self.epochs, self.random.bit_generator.state = json.loads(state)


@dataclass
class FakeLearner:
    """Starts fake runs and remembers with what."""

    content_n: NDArray[np.int64]
    started: list[tuple[Rows, NDArray[np.int16], int]] = field(default_factory=list)

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> FakeRun:
        self.started.append((rows, labels, seed))
        return FakeRun(self.content_n, rows, np.random.default_rng(seed))


def fake_learner(store: TileStore) -> Callable[[TileTable], FakeLearner]:
    """What `clean` takes: makes the learner for a table. It sees pixels, and no label but those it is given."""
    return lambda table: FakeLearner(shown(store, table))


@pytest.fixture(scope="session")
def _store_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "tiles.zarr").path


@pytest.fixture
def store(_store_once: Path, tmp_path: Path) -> TileStore:
    """A store of 6 patients with 15 tiles each, of which one is noise and one has another class's label."""
    return TileStore.open(shutil.copytree(_store_once, tmp_path / "tiles.zarr"))

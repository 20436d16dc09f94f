"""A store whose truth is known, and a learner that is no network: its draws follow a known law."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from w2wpath.config import CleanSettings
from w2wpath.progress import Silent
from w2wpath.tiles.layout import tile_ids
from w2wpath.tiles.store import SlideTiles, StoreSpec, TileStore, TileTable
from w2wpath.w2wnet.learner import Rows

PX = 32
CLASSES = ("blue", "green", "red")
COLOURS = np.array([[40, 60, 200], [40, 190, 60], [200, 50, 60]])
NOISE = -1
QUICK = CleanSettings(
    folds=3,
    draws=8,
    max_epochs=12,
    median_window=3,
    std_window=4,
    std_below=0.05,
    quality=False,
    second_reader="none",
    # of the noise below, whose labels are read at a third and seldom at a half, every tile is doubted
    doubt_below=0.6,
    device="cpu",
    precision="fp32",
)
"""Settings with which the learner below is stable after a few epochs. Flat colours have no image quality to judge."""
HE = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
"""Optical density of haematoxylin and eosin in red, green and blue (Ruifrok and Johnston 2001)."""


def pixels_of(content: NDArray[np.integer], seed: int) -> NDArray[np.uint8]:
    """Tiles (n, PX, PX, 3) of their class's colour with a little noise; pure noise where there is no content."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (len(content), PX, PX, 3))
    coloured = COLOURS[content][:, None, None] + noise // 8 - 16
    return np.where((content == NOISE)[:, None, None, None], noise, coloured).clip(0, 255).astype(np.uint8)


def tissue(side: int, seed: int = 0, stains: NDArray[np.float64] = HE) -> NDArray[np.float64]:
    """Draw a field (side, side, 3) of stained tissue: nuclei with a texture, on fibres, with a camera's noise."""
    rng = np.random.default_rng(seed)

    def cloud(sigma: float) -> NDArray[np.float64]:
        values = gaussian_filter(rng.standard_normal((side, side)), sigma, mode="wrap")
        return np.asarray(values / values.std())

    nuclei = gaussian_filter((cloud(2.5) > 1.0).astype(float), 0.6, mode="wrap")
    haematoxylin = 0.06 + nuclei * (0.5 + 0.1 * cloud(0.7))
    eosin = 0.25 + 0.04 * cloud(0.8) + 0.06 * cloud(4.0)
    density = np.maximum(haematoxylin, 0)[..., None] * stains[0] + np.maximum(eosin, 0)[..., None] * stains[1]
    return np.asarray(255.0 * 10.0**-density + rng.normal(0.0, 1.0, density.shape))


def blurred(field: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Defocus a field (h, w, 3) by `sigma` pixels."""
    return np.asarray(gaussian_filter(field, (sigma, sigma, 0.0)))


def glass(side: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw a field (side, side, 3) without tissue, with a camera's noise."""
    return np.random.default_rng(seed).normal(243.0, 1.5, (side, side, 3))


def cut_up(field: NDArray[np.float64], px: int) -> NDArray[np.uint8]:
    """Cut a field (h, w, 3) into its whole tiles (n, px, px, 3), row by row."""
    rows, columns = field.shape[0] // px, field.shape[1] // px
    whole = np.clip(np.rint(field[: rows * px, : columns * px]), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(whole.reshape(rows, px, columns, px, 3).swapaxes(1, 2).reshape(-1, px, px, 3))


def looks(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Tell from pixels alone which class a tile shows; NOISE where it shows none."""
    nearest = np.linalg.norm(pixels.mean(axis=(1, 2))[:, None] - COLOURS, axis=2).argmin(axis=1)
    return np.where(pixels.std(axis=(1, 2)).max(axis=1) > 40, NOISE, nearest)


def add_slide(
    store: TileStore,
    slide: str,
    content: NDArray[np.integer],
    label: NDArray[np.integer],
    patients: list[str],
    pixels: NDArray[np.uint8] | None = None,
) -> None:
    """Write one slide; its patients take turns, a tile each. `label` -1 means none. None paints the `content`."""
    n, px, seed = len(content), store.spec.tile_px, sum(slide.encode())
    images = pixels_of(content, seed) if pixels is None else pixels
    x0, y0 = (np.arange(n) * px).astype(np.int32), np.zeros(n, dtype=np.int32)
    columns = {
        "x0": x0,
        "y0": y0,
        "side0": np.full(n, px, dtype=np.int32),
        "label": np.asarray(label, dtype=np.int16),
        "roi": np.zeros(n, dtype=np.int32),
        "patient": (np.arange(n) % len(patients)).astype(np.int32),
        "core": np.full(n, -1, dtype=np.int32),
        "valid_share": np.ones(n, dtype=np.float32),
        "area_share": np.eye(len(CLASSES), dtype=np.float32)[np.maximum(label, 0)],
        "tile_id": tile_ids(slide, x0, y0, px),
    }
    attributes = {
        "classes": list(CLASSES),
        "patients": patients,
        "patient_from": "given",
        "pixels_hash": f"{slide} {content.tolist()} {hashlib.sha256(images.tobytes()).hexdigest()}",
        "labels_hash": f"{label.tolist()} {patients}",
    }
    store.add(slide, SlideTiles(columns, attributes), images)


def new_store(path: Path, px: int = PX) -> TileStore:
    """Make an empty store."""
    return TileStore.create_or_open(path, StoreSpec(px, 0.5, px, "lanczos"))


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
    """Says Dirichlet(`sure` for the class that the pixels show, 1 else); Dirichlet(3, 3, ...) of noise."""

    content_n: NDArray[np.int64]
    rows: Rows
    random: np.random.Generator
    sure: float = 30.0
    epochs: int = 0

    def epoch(self) -> NDArray[np.float32] | None:
        self.epochs += 1
        return self.draw(self.rows)

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        content = self.content_n[rows]
        other = np.where(content == NOISE, 3.0, 1.0)[:, None]
        alpha = np.where(content[:, None] == np.arange(len(CLASSES)), self.sure, other)
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
    sure: float = 30.0

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> FakeRun:
        self.started.append((rows, labels, seed))
        return FakeRun(self.content_n, rows, np.random.default_rng(seed), self.sure)


@dataclass
class Believing(FakeLearner):
    """Starts runs that see `believed` (row to class) in tiles that they were not trained on, and `content_n` else."""

    believed: Mapping[int, int] = field(default_factory=dict)

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> FakeRun:
        content = self.content_n.copy()
        for row in set(self.believed) - set(rows.tolist()):
            content[row] = self.believed[row]
        self.started.append((rows, labels, seed))
        return FakeRun(content, rows, np.random.default_rng(seed), self.sure)


class Interrupted(BaseException):
    """What stops a mortal run; nothing in the project may swallow it."""


@dataclass
class MortalRun:
    """A run that stops before its call number `dies_at` (epochs and draws, counted from 0); None never does."""

    run: FakeRun
    dies_at: int | None = None
    called: list[str] = field(default_factory=list)

    def _call(self, name: str) -> None:
        if len(self.called) == self.dies_at:
            raise Interrupted
        self.called.append(name)

    def epoch(self) -> NDArray[np.float32] | None:
        self._call("epoch")
        return self.run.epoch()

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        self._call("draw")
        return self.run.draw(rows)

    def state(self) -> bytes:
        return self.run.state()

    def load(self, state: bytes) -> None:
        self.run.load(state)


@dataclass
class MortalLearner:
    """Starts mortal runs of a fake learner, and keeps the last."""

    learner: FakeLearner
    dies_at: int | None = None
    last: MortalRun | None = None

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> MortalRun:
        self.last = MortalRun(self.learner.start(rows, labels, seed), self.dies_at)
        return self.last

    @property
    def called(self) -> list[str]:
        """What the last run was asked for."""
        return [] if self.last is None else self.last.called


def epochs_in(checkpoint: Path) -> int:
    """Epochs after which a checkpoint was written: behind its sha256 lies an npz."""
    with np.load(io.BytesIO(checkpoint.read_bytes()[32:]), allow_pickle=False) as found:
        return int(json.loads(found["facts"].tobytes())["epoch"])


class Heard(Silent):
    """A progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def fake_learner(store: TileStore) -> Callable[[TileTable], FakeLearner]:
    """What `clean` takes: makes the learner for a table. It sees pixels, and no label but those it is given."""
    return lambda table: FakeLearner(shown(store, table))


@dataclass(frozen=True)
class StoreLearner:
    """Makes fake learners for a store; other processes can be sent it. Planted images are what they look like."""

    path: Path

    def __call__(self, table: TileTable, planted: NDArray[np.uint8] | None = None) -> FakeLearner:
        content = shown(TileStore.open(self.path), table)
        return FakeLearner(content if planted is None else np.concatenate([content, looks(planted)]))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch work on one thread: bit-equal runs, and no quarrel over cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _store_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store") / "tiles.zarr").path


@pytest.fixture
def store(_store_once: Path, tmp_path: Path) -> TileStore:
    """A store of 6 patients with 15 tiles each, of which one is noise and one has another class's label."""
    return TileStore.open(shutil.copytree(_store_once, tmp_path / "tiles.zarr"))

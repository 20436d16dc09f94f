"""Tiles in memory and normalised batches of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.w2wnet.nets.conftest import TINY
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.nets import data
from w2wpath.w2wnet.nets.data import Batches, Normalisation, Tiles, load_images
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.training import WiseLearner

CPU = choose_compute("cpu", "fp32")
IMAGES = (np.random.default_rng(0).normal((120, 60, 200), (10, 20, 30), (50, 16, 16, 3)).clip(0, 255)).astype(np.uint8)
EVERY = np.arange(50)


def test_images_are_loaded_in_table_order(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = store.table()
    shuffled = everything.take(np.random.default_rng(0).permutation(everything.n))
    expected = np.stack(
        [store.images(shuffled.slides[s])[r] for s, r in zip(shuffled.slide, shuffled.row, strict=True)]
    )
    assert np.array_equal(load_images(store, shuffled), expected)
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 0)
    on_disk = load_images(store, shuffled)
    assert isinstance(on_disk, np.memmap)
    assert np.array_equal(on_disk, expected)
    assert sorted(path.name for path in Path(store.path).parent.iterdir()) == ["tiles.zarr"]


def test_planted_images_are_rows_behind_the_tables(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    table, px = store.table(), store.spec.tile_px
    planted = np.random.default_rng(0).integers(0, 256, (4, px, px, 3), dtype=np.uint8)
    tiles = Tiles.of(store, table, TINY, planted)
    assert np.array_equal(tiles.images[: table.n], load_images(store, table))
    assert np.array_equal(tiles.images[table.n :], planted)
    monkeypatch.setattr(data, "IN_MEMORY_BYTES", 0)
    on_disk = Tiles.of(store, table, TINY, planted).images
    assert isinstance(on_disk, np.memmap)
    assert np.array_equal(on_disk, tiles.images)


def test_a_network_trains_on_planted_rows_and_draws_over_them(store: TileStore) -> None:
    table = store.table()
    planted = np.zeros((4, store.spec.tile_px, store.spec.tile_px, 3), dtype=np.uint8)
    rows = np.concatenate([np.arange(30), table.n + np.arange(4)])
    labels = np.concatenate([table.label[:30], np.zeros(4, dtype=np.int16)])
    network = WiseLearner(Tiles.of(store, table, TINY, planted)).start(rows, labels, 0)
    network.epoch()
    said = network.draw(rows)
    assert said.shape == (34, len(table.classes))
    assert np.isfinite(said).all()


def test_batches_are_normalised_per_channel() -> None:
    batch = Batches(IMAGES, Normalisation.of(IMAGES, EVERY), CPU)(EVERY)
    assert batch.shape == (50, 3, 16, 16)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    sample = batch[:, :, ::4, ::4]
    assert torch.allclose(sample.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(sample.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-2)


def test_without_standardising_only_the_mean_is_subtracted() -> None:
    centred = Normalisation.of(IMAGES, EVERY, standardise=False)
    assert centred.mean == Normalisation.of(IMAGES, EVERY).mean
    assert centred.std == (1.0, 1.0, 1.0)
    batch = Batches(IMAGES, centred, CPU)(np.array([3]))
    expected = IMAGES[3].transpose(2, 0, 1) / 255.0 - np.array(centred.mean)[:, None, None]
    assert np.allclose(batch[0], expected, atol=1e-6)


@pytest.mark.parametrize("chunk", [7, 1024])
def test_statistics_are_those_of_the_rows_alone(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(data, "CHUNK", chunk)
    rows = np.arange(0, 50, 2)
    measured = Normalisation.of(IMAGES, rows)
    sample = IMAGES[rows][:, ::4, ::4].reshape(-1, 3) / 255.0
    assert measured.mean == pytest.approx(sample.mean(axis=0), abs=1e-12)
    assert measured.std == pytest.approx(sample.std(axis=0), abs=1e-12)
    others_changed = IMAGES.copy()
    others_changed[1::2] = 0
    assert Normalisation.of(others_changed, rows) == measured
    assert Normalisation.of(others_changed, EVERY) != Normalisation.of(IMAGES, EVERY)


def test_a_channel_without_variance_does_not_divide_by_zero() -> None:
    flat = Normalisation.of(np.full((2, 8, 8, 3), 51, dtype=np.uint8), np.arange(2))
    assert flat.mean == pytest.approx((0.2, 0.2, 0.2))
    assert flat.std == (1e-3, 1e-3, 1e-3)


def test_normalising_leaves_the_tiles_as_they_were() -> None:
    tiles = torch.from_numpy(IMAGES[:4]).float()
    before = tiles.clone()
    Batches(IMAGES, Normalisation.of(IMAGES, EVERY), CPU).normalised(tiles)
    assert torch.equal(tiles, before)

"""Training tiny networks: reproducible, resumable, blind to test tiles, and able to learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.w2wnet.conftest import make_store, planted
from tests.w2wnet.nets.conftest import TINY
from w2wpath.config import NetSettings
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.nets import data
from w2wpath.w2wnet.nets.data import Batches, Normalisation, load_images
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.training import Network, Tiles, WipedFitter, WiseLearner, _split

TRAIN, TEST = np.arange(0, 60), np.arange(60, 90)


@pytest.fixture(scope="module")
def clean_store(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """90 tiles of three colours, all labels right."""
    return make_store(tmp_path_factory.mktemp("clean") / "tiles.zarr", noise=0, flipped=0)


@pytest.fixture(scope="module")
def table(clean_store: TileStore) -> TileTable:
    return clean_store.table()


@pytest.fixture(scope="module")
def tiles(clean_store: TileStore, table: TileTable) -> Tiles:
    assert not planted(clean_store, table).any()
    return Tiles.of(clean_store, table, TINY)


def wise(tiles: Tiles, table: TileTable, seed: int = 0, **changed: object) -> Network:
    settings = NetSettings(**{**TINY.model_dump(), **changed})
    return WiseLearner(replace(tiles, settings=settings)).start(TRAIN, table.label[TRAIN], seed)


@pytest.mark.parametrize("kind", ["element", "channel"])
def test_the_same_seed_gives_the_same_probabilities_bit_for_bit(tiles: Tiles, table: TileTable, kind: str) -> None:
    one, other = (wise(tiles, table, dropout_kind=kind) for _ in range(2))
    for _ in range(2):
        assert np.array_equal(one.epoch(), other.epoch())
    assert np.array_equal(one.draw(TEST), other.draw(TEST))


def test_another_seed_gives_other_weights_and_masks(tiles: Tiles, table: TileTable) -> None:
    one, other = wise(tiles, table, 0), wise(tiles, table, 1)
    assert not np.array_equal(one.predict(TEST), other.predict(TEST))
    assert not np.array_equal(one.epoch(), other.epoch())


def test_the_seed_leaves_the_global_generators_alone(tiles: Tiles, table: TileTable) -> None:
    before = torch.get_rng_state()
    wise(tiles, table).epoch()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_going_on_from_a_state_is_as_if_never_interrupted(tiles: Tiles, table: TileTable, momentum: float) -> None:
    whole = wise(tiles, table, momentum=momentum)
    whole.epoch()
    whole.draw(TEST)
    state = whole.state()
    expected = [whole.epoch(), whole.draw(TEST), whole.epoch()]
    resumed = wise(tiles, table, seed=99, momentum=momentum)
    resumed.epoch()
    resumed.load(state)
    assert resumed.state() == state
    for said, again in zip(expected, [resumed.epoch(), resumed.draw(TEST), resumed.epoch()], strict=True):
        assert np.array_equal(said, again)
    assert resumed.state() == whole.state()


def test_a_state_from_before_the_first_epoch_is_a_state(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table)
    state = network.state()
    first = network.epoch()
    network.load(state)
    assert np.array_equal(network.epoch(), first)


def test_drawing_changes_neither_weights_nor_statistics(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table)
    network.epoch()
    before = {name: value.clone() for name, value in network.net.state_dict().items()}
    one, other = network.draw(TEST), network.draw(TEST)
    assert not np.array_equal(one, other)
    after = network.net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert network.dropout is not None
    assert not network.dropout.active


def test_training_goes_on_in_training_mode_after_a_draw(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table)
    network.draw(TEST)
    before = network.net.bn1.running_mean.clone()  # type: ignore[union-attr, operator]  # a module of resnet10t
    network.epoch()
    assert network.net.training
    assert not torch.equal(network.net.bn1.running_mean, before)  # type: ignore[union-attr, arg-type]


def test_a_deterministic_network_says_the_same_twice(tiles: Tiles, table: TileTable) -> None:
    network = WipedFitter(tiles).fit(TRAIN, table.label[TRAIN], 0, 1)
    assert network.dropout is None
    assert np.array_equal(network.predict(TEST), network.predict(TEST))


def test_tiles_are_read_in_the_order_of_the_rows(tiles: Tiles, table: TileTable) -> None:
    network = WipedFitter(tiles).fit(TRAIN, table.label[TRAIN], 0, 1)
    order = np.random.default_rng(0).permutation(TEST)
    assert np.allclose(network.predict(order), network.predict(TEST)[order - TEST[0]], atol=1e-5)
    assert network.predict(TEST[:0]).shape == (0, 3)


def test_what_the_forwards_said_belongs_to_its_row(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table, max_epochs=8, dropout_rate=0.0)
    for _ in range(8):
        said = network.epoch()
    assert said.shape == (len(TRAIN), 3)
    assert np.allclose(said.sum(axis=1), 1, atol=1e-5)
    assert (said.argmax(axis=1) == table.label[TRAIN]).mean() > 0.9


def test_test_tiles_are_nowhere_in_what_is_learned(tiles: Tiles, table: TileTable) -> None:
    altered = tiles.images.copy()
    altered[TEST] = 255 - altered[TEST]
    one, other = wise(tiles, table), wise(replace(tiles, images=altered), table)
    assert one.normalisation == other.normalisation == Normalisation.of(tiles.images[TRAIN])
    assert np.array_equal(one.epoch(), other.epoch())
    assert np.array_equal(one.draw(TRAIN), other.draw(TRAIN))
    assert one.state() == other.state()


def test_colours_are_learned_by_wiped_and_by_wise(tiles: Tiles, table: TileTable) -> None:
    wiped = WipedFitter(tiles).fit(TRAIN, table.label[TRAIN], 0, 6)
    assert (wiped.predict(TEST).argmax(axis=1) == table.label[TEST]).mean() > 0.9
    network = wise(tiles, table, max_epochs=12, dropout_rate=0.1)
    for _ in range(12):
        network.epoch()
    mean = np.mean([network.draw(TEST) for _ in range(8)], axis=0)
    assert (mean.argmax(axis=1) == table.label[TEST]).mean() > 0.9


@given(st.integers(2, 400), st.integers(2, 70))
def test_no_batch_holds_a_single_tile_and_no_tile_is_lost(n: int, size: int) -> None:
    batches = _split(np.arange(n), size)
    assert np.concatenate(batches).tolist() == list(range(n))
    lengths = [len(batch) for batch in batches]
    assert min(lengths) >= 2
    assert max(lengths) <= max(size, 3)
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n", [3, 17])
def test_an_odd_number_of_tiles_trains_in_batches_of_two(tiles: Tiles, table: TileTable, n: int) -> None:
    settings = TINY.model_copy(update={"batch_size": 2})
    rows = np.arange(n)
    said = WiseLearner(replace(tiles, settings=settings)).start(rows, table.label[rows], 0).epoch()
    assert np.isfinite(said).all()


def test_the_learning_rate_falls_as_a_cosine_or_stays(tiles: Tiles, table: TileTable) -> None:
    for schedule, expected in (("cosine", [0.05, 0.025, 0.0]), ("constant", [0.05, 0.05, 0.05])):
        network = wise(tiles, table, schedule=schedule)
        rates = []
        for epoch in (0, 2, 4):
            network._set_rate(epoch)
            rates.append(network._optimiser.param_groups[0]["lr"])
        assert rates == pytest.approx(expected)


# data ---------------------------------------------------------------------------------------------------------------


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


def test_batches_are_normalised_per_channel(tiles: Tiles) -> None:
    images = tiles.images[TRAIN]
    normalisation = Normalisation.of(images)
    batch = Batches(images, normalisation, choose_compute("cpu", "fp32"))(np.arange(len(images)))
    assert batch.shape == (60, 3, 32, 32)
    sample = batch[:, :, ::4, ::4]
    assert torch.allclose(sample.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(sample.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-2)


def test_a_channel_without_variance_does_not_divide_by_zero() -> None:
    flat = Normalisation.of(np.full((2, 8, 8, 3), 51, dtype=np.uint8))
    assert flat.mean == pytest.approx((0.2, 0.2, 0.2))
    assert flat.std == (1e-3, 1e-3, 1e-3)


def test_the_eight_turns_of_a_square_are_eight() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    batches = Batches(image, Normalisation((0.0,) * 3, (1.0,) * 3), choose_compute("cpu", "fp32"))
    turned = batches(np.zeros(8, dtype=np.intp), np.arange(8))
    assert len({tile.numpy().tobytes() for tile in turned}) == 8
    assert torch.equal(turned[0], batches(np.zeros(1, dtype=np.intp))[0])
    assert all(torch.equal(tile.flatten().sort().values, turned[0].flatten().sort().values) for tile in turned)


def test_without_augmentation_tiles_are_never_turned(
    tiles: Tiles, table: TileTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a tile was turned")

    monkeypatch.setattr(data, "_turned", refuse)
    network = wise(tiles, table, augment="none")
    network.epoch()
    network.draw(TEST)
    with pytest.raises(AssertionError, match="a tile was turned"):
        wise(tiles, table).epoch()


def test_the_default_network_trains_and_draws_at_the_default_tile_size() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    settings = NetSettings(device="cpu")
    shared = Tiles(images, 2, settings, choose_compute("cpu", settings.precision))
    run = WiseLearner(shared).start(np.arange(4), np.array([0, 1, 0, 1], dtype=np.int16), 0)
    for probs in (run.epoch(), run.draw(np.arange(4))):
        assert probs.shape == (4, 2)
        assert np.allclose(probs.sum(axis=1), 1, atol=1e-3)

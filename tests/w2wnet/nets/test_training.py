"""Training tiny networks: reproducible, resumable, blind to test tiles, and able to learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from tests.w2wnet.conftest import make_store, planted
from tests.w2wnet.nets.conftest import TINY
from w2wpath.config import PAPER, NetSettings
from w2wpath.errors import NonFiniteScoreError, RunError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.nets.data import Normalisation
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.network import _inference_batch
from w2wpath.w2wnet.nets.training import Network, Tiles, WipedFitter, WiseLearner

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


RESUMED: dict[str, dict[str, object]] = {
    "recommended": {},
    "paper": {"preset": "paper", **PAPER, "lr": 0.01},
    "parts": {"micro_batch": 5},
    "stain": {"augment": "flips+stain"},
}


@pytest.mark.parametrize("changed", RESUMED.values(), ids=RESUMED)
def test_k18_going_on_from_a_state_is_as_if_never_interrupted(
    tiles: Tiles, table: TileTable, changed: dict[str, object]
) -> None:
    whole = wise(tiles, table, **changed)
    whole.epoch()
    whole.draw(TEST)
    state = whole.state()
    expected = [whole.epoch(), whole.draw(TEST), whole.epoch(), whole.draw(TRAIN)]
    resumed = wise(tiles, table, seed=99, **changed)
    resumed.epoch()
    resumed.load(state)
    assert resumed.state() == state
    again = [resumed.epoch(), resumed.draw(TEST), resumed.epoch(), resumed.draw(TRAIN)]
    for said, said_again in zip(expected, again, strict=True):
        assert said is not None
        assert said_again is not None
        assert np.array_equal(said, said_again)
    assert not np.array_equal(expected[0], expected[2])  # type: ignore[arg-type]  # not None, as said above
    assert resumed.state() == whole.state()


def test_k18_a_state_of_another_device_or_precision_is_refused(tiles: Tiles, table: TileTable, tmp_path: Path) -> None:
    state = wise(tiles, table).state()
    there = load_tensors(state)["compute"].numpy().tobytes().decode()
    other = replace(tiles, compute=replace(tiles.compute, bf16=not tiles.compute.bf16))
    with pytest.raises(RunError) as caught:
        wise(other, table).load(state)
    assert str(caught.value) == (
        f"was trained on {there} so far and cannot go on, to the same bits, on {other.compute}. Go on there (--device, "
        "--precision), or remove this file: then that training begins anew."
    )


def test_a_state_from_before_the_first_epoch_is_a_state(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table)
    state = network.state()
    first = network.epoch()
    network.load(state)
    assert np.array_equal(network.epoch(), first)


def test_k8_drawing_changes_neither_weights_nor_statistics(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table)
    network.epoch()
    before = {name: value.clone() for name, value in network.net.state_dict().items()}
    one, other = network.draw(TEST), network.draw(TEST)
    assert not np.array_equal(one, other)
    after = network.net.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert network.dropout is not None
    assert not network.dropout.active
    assert network.net.training


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
    assert one.normalisation == other.normalisation == Normalisation.of(tiles.images, TRAIN)
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


def test_stains_and_turns_are_for_training_alone(tiles: Tiles, table: TileTable) -> None:
    plain, jittered = (wise(tiles, table, augment=kind) for kind in ("none", "flips+stain"))
    assert np.array_equal(plain.predict(TEST), jittered.predict(TEST))
    assert np.array_equal(plain.draw(TEST), jittered.draw(TEST))
    said = [wise(tiles, table, augment=kind).epoch() for kind in ("none", "flips", "flips+stain")]
    assert not np.array_equal(said[0], said[1])
    assert not np.array_equal(said[1], said[2])


def test_the_loss_that_is_not_finite_is_an_error_in_words(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table, lr=1e12)
    with pytest.raises(NonFiniteScoreError) as caught:
        network.epoch()
    assert str(caught.value) == "Wise: the loss of epoch 1 is not finite, the training diverged. Lower --lr (1e+12)."


def test_wiped_too_says_that_it_diverged_and_names_the_precision(tiles: Tiles, table: TileTable) -> None:
    shared = replace(tiles, settings=TINY.model_copy(update={"lr": 1e12}), compute=choose_compute("cpu", "bf16"))
    with pytest.raises(NonFiniteScoreError) as caught:
        WipedFitter(shared).fit(TRAIN, table.label[TRAIN], 0, 4, "fold 2/5: Wiped")
    assert str(caught.value) == (
        "fold 2/5: Wiped: the loss of epoch 1 is not finite, the training diverged. "
        "Lower --lr (1e+12), or use --precision fp32."
    )


def test_probabilities_that_are_not_finite_are_an_error_in_words(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table)
    network.epoch()
    with torch.no_grad():
        network.net.get_submodule("fc").weight[0] = float("inf")  # type: ignore[operator, union-attr]  # a Linear
    for ask in (network.draw, network.predict):
        with pytest.raises(NonFiniteScoreError) as caught:
            ask(TEST)
        assert str(caught.value) == (
            "Wise: no finite probabilities for 30 of 30 tiles after epoch 1, the training diverged. Lower --lr (0.05)."
        )


def test_the_tracker_can_be_switched_off_and_changes_no_weight(tiles: Tiles, table: TileTable) -> None:
    tracked, silent = wise(tiles, table), wise(tiles, table)
    silent.tracking = False
    for _ in range(2):
        assert tracked.epoch() is not None
        assert silent.epoch() is None
    assert tracked.state() == silent.state()


@pytest.mark.parametrize("workers", [0, 1])
def test_who_prepares_the_batches_changes_nothing(tiles: Tiles, table: TileTable, workers: int) -> None:
    one, other = wise(tiles, table), wise(tiles, table, loader_workers=workers)
    assert np.array_equal(one.epoch(), other.epoch())
    assert np.array_equal(one.draw(TEST), other.draw(TEST))
    assert one.state() == other.state()
    assert other.waited_s > 0


def test_without_standardising_the_network_sees_tiles_less_their_mean(tiles: Tiles, table: TileTable) -> None:
    network = wise(tiles, table, standardise=False)
    assert network.normalisation == Normalisation.of(tiles.images, TRAIN, standardise=False)
    assert network.normalisation.std == (1.0, 1.0, 1.0)
    assert not np.array_equal(network.predict(TEST), wise(tiles, table).predict(TEST))


def test_weights_are_drawn_alike_for_wise_and_wiped_but_anew_for_each_seed(tiles: Tiles, table: TileTable) -> None:
    one = wise(tiles, table, 3).net.state_dict()
    same, other = (WipedFitter(tiles).fit(TRAIN, table.label[TRAIN], seed, 0).net.state_dict() for seed in (3, 4))
    assert list(one) == list(same)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["conv1.0.weight"], other["conv1.0.weight"])


def test_large_tiles_are_drawn_in_smaller_batches_of_whole_groups() -> None:
    assert [_inference_batch(px, 16) for px in (28, 96, 224, 1024)] == [256, 256, 32, 2]
    assert _inference_batch(224, 1) == 47
    assert _inference_batch(4096, 16) == 1


def test_the_default_network_trains_and_draws_at_the_default_tile_size() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    settings = NetSettings(device="cpu")
    shared = Tiles(images, 2, settings, choose_compute("cpu", settings.precision))
    run = WiseLearner(shared).start(np.arange(4), np.array([0, 1, 0, 1], dtype=np.int16), 0)
    for probs in (run.epoch(), run.draw(np.arange(4))):
        assert probs.shape == (4, 2)
        assert np.allclose(probs.sum(axis=1), 1, atol=1e-3)

"""Batches in parts: the same gradient, and what happens when memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.w2wnet.nets.conftest import TINY
from w2wpath.config import NetSettings
from w2wpath.errors import DeviceError
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.network import Network
from w2wpath.w2wnet.nets.parts import cut

N = 30
ROWS = np.arange(N)
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3), dtype=np.uint8)
LABELS = (np.arange(N) % 3).astype(np.int16)
WHO = "Wise (resnet10t, 32 px, cpu, fp32)"


def network(said: list[str] | None = None, *, bayesian: bool = True, **changed: object) -> Network:
    settings = NetSettings(**{**TINY.model_dump(), **changed})
    tiles = Tiles(IMAGES, 3, settings, choose_compute("cpu", "fp32"))
    say: Callable[[str], None] = [].append if said is None else said.append
    return Network(tiles, ROWS, LABELS, 0, bayesian=bayesian, epochs=4, name="Wise", say=say)


def memory_for(most: int, network: Network, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
    """Let the last block, when BatchNorm and masks before it have done their work, refuse more than `most` tiles."""

    def refuse(module: nn.Module, args: tuple[Any, ...]) -> None:
        if len(args[0]) > most:
            raise error("no room")

    network.net.get_submodule("layer4").register_forward_pre_hook(refuse)


@given(st.integers(2, 400), st.integers(2, 70))
def test_no_part_holds_a_single_tile_and_no_tile_is_lost(n: int, size: int) -> None:
    parts = cut(n, size)
    assert np.concatenate([np.arange(n)[part] for part in parts]).tolist() == list(range(n))
    lengths = [part.stop - part.start for part in parts]
    assert min(lengths) >= 2
    assert max(lengths) <= max(size, 3)
    assert max(lengths) - min(lengths) <= 1


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    # LayerNorm, unlike BatchNorm, does not see the other tiles; batches of 15 are cut into parts of 3 and 4
    same = {"backbone": "convnext_atto", "augment": "none", "momentum": 0.0, "weight_decay": 0.0}
    whole, parts = (network(bayesian=False, micro_batch=micro, **same) for micro in (None, 4))
    before = {name: value.clone() for name, value in whole.net.state_dict().items()}
    assert np.allclose(whole.epoch(), parts.epoch(), atol=1e-5)  # type: ignore[arg-type]  # tracking is on
    after = parts.net.state_dict()
    for name, value in whole.net.state_dict().items():
        assert torch.allclose(value, after[name], rtol=0, atol=1e-5), name
    assert max(float((after[name] - value).abs().max()) for name, value in before.items()) > 1e-3
    for one, other in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_a_short_memory_halves_the_parts_repeats_the_batch_and_says_so_once() -> None:
    said: list[str] = []
    short, set_so = network(said), network(micro_batch=7)
    memory_for(8, short)
    for _ in range(2):
        assert np.array_equal(short.epoch(), set_so.epoch())  # type: ignore[arg-type]  # tracking is on
    assert short.state() == set_so.state()
    assert said == [f"{WHO}, training: memory does not suffice for 15 tiles at a time; 7 are taken now."]


def test_memory_that_runs_short_within_a_batch_counts_no_part_of_it_twice() -> None:
    short, set_so = network(), network(micro_batch=3)
    short._training.size = 7
    calls = iter(range(1000))

    def refuse_the_second(module: nn.Module, args: tuple[Any, ...]) -> None:
        if next(calls) == 1:
            raise torch.OutOfMemoryError("no room")

    short.net.get_submodule("layer4").register_forward_pre_hook(refuse_the_second)
    assert np.array_equal(short.epoch(), set_so.epoch())  # type: ignore[arg-type]  # tracking is on
    assert short.state() == set_so.state()


def test_a_run_that_goes_on_cuts_its_batches_as_before() -> None:
    short = network()
    memory_for(8, short)
    short.epoch()
    state = short.state()
    resumed = network()
    resumed.load(state)
    assert np.array_equal(short.epoch(), resumed.epoch())  # type: ignore[arg-type]  # tracking is on
    assert short.state() == resumed.state()


def test_memory_for_less_than_two_tiles_is_an_error_in_words() -> None:
    run = network()
    memory_for(1, run)
    with pytest.raises(DeviceError) as caught:
        run.epoch()
    assert str(caught.value) == (
        f"{WHO}, training: memory does not suffice for 3 tiles at a time, the fewest possible. "
        "Use smaller tiles, a smaller --backbone, or --device cpu."
    )


def test_a_number_that_the_user_has_set_is_not_changed() -> None:
    run = network(micro_batch=8)
    memory_for(6, run)
    with pytest.raises(DeviceError) as caught:
        run.epoch()
    assert str(caught.value) == (
        f"{WHO}, training: memory does not suffice for 8 tiles at a time. "
        "Lower --micro-batch, or leave it out to have the number found."
    )


def test_another_error_is_not_taken_for_a_short_memory() -> None:
    run = network()
    memory_for(8, run, RuntimeError)
    with pytest.raises(RuntimeError, match=r"^no room$"):
        run.epoch()


def test_a_short_memory_halves_the_parts_of_a_draw_from_the_same_masks() -> None:
    said: list[str] = []
    short, set_so = network(said), network()
    memory_for(15, short)
    set_so._inference.size = 15
    for _ in range(2):
        assert np.array_equal(short.draw(ROWS), set_so.draw(ROWS))
    assert np.array_equal(short.predict(ROWS), set_so.predict(ROWS))
    assert said == [f"{WHO}, inference: memory does not suffice for 30 tiles at a time; 15 are taken now."]


def test_memory_for_no_tile_at_all_ends_a_draw_in_words() -> None:
    run = network()
    memory_for(0, run)
    run.net.train()
    with pytest.raises(DeviceError) as caught:
        run.draw(ROWS)
    assert str(caught.value) == (
        f"{WHO}, inference: memory does not suffice for 1 tile at a time, the fewest possible. "
        "Use smaller tiles, a smaller --backbone, or --device cpu."
    )
    assert run.net.training

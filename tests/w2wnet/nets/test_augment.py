"""Flips, quarter turns and the jitter of stains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from w2wpath.errors import ConfigError
from w2wpath.w2wnet.nets.augment import (
    SCALE_SIGMA,
    SHIFT_SIGMA,
    STAINS,
    Augmentation,
    _turned_at_once,
    stained,
    turned,
)

CPU = torch.device("cpu")
FACTORS = st.lists(st.floats(0.5, 1.5, width=32), min_size=3, max_size=3)
SHIFTS = st.lists(st.floats(-0.25, 0.25, width=32), min_size=3, max_size=3)


def some_tiles(n: int, px: int = 8, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, px, px, 3), dtype=np.uint8))


def density(tiles: Tensor) -> Tensor:
    return -(tiles.double() / 255.0).log()


def test_the_eight_turns_of_a_square_are_eight_and_lose_no_pixel() -> None:
    tile = some_tiles(1)
    all_turns = turned(tile.expand(8, -1, -1, -1), torch.arange(8))
    assert len({one.numpy().tobytes() for one in all_turns}) == 8
    assert torch.equal(all_turns[0], tile[0])
    pixels = {tuple(sorted(map(tuple, one.reshape(-1, 3).tolist()))) for one in all_turns}
    assert len(pixels) == 1
    expected = {np.rot90(tile[0].numpy(), k).tobytes() for k in range(4)}
    assert expected <= {one.numpy().tobytes() for one in all_turns}


@given(st.lists(st.integers(0, 7), min_size=1, max_size=9))
def test_tile_by_tile_and_all_at_once_turn_alike(turns: list[int]) -> None:
    tiles = some_tiles(len(turns))
    assert torch.equal(turned(tiles, torch.tensor(turns)), _turned_at_once(tiles, torch.tensor(turns)))


def test_a_mirror_changes_left_and_right_alone() -> None:
    tiles = some_tiles(64)
    made = Augmentation.draw("mirror", 64, np.random.default_rng(0), CPU)(tiles, slice(0, 64))
    mirrored = torch.tensor([not torch.equal(one, tile) for one, tile in zip(made, tiles, strict=True)])
    assert 16 < int(mirrored.sum()) < 48
    assert torch.equal(made[mirrored], tiles[mirrored].flip(2))


@given(FACTORS, SHIFTS)
def test_white_stays_white_whatever_the_jitter(scale: list[float], shift: list[float]) -> None:
    white = torch.full((1, 4, 4, 3), 255, dtype=torch.uint8)
    assert torch.equal(stained(white, torch.tensor([scale]), torch.tensor([shift])), white.float())


def test_without_jitter_every_colour_stays_bit_for_bit() -> None:
    tiles = some_tiles(4, px=64)
    tiles[0, 0, 0] = 0
    assert torch.equal(stained(tiles, torch.ones(4, 3), torch.zeros(4, 3)), tiles.float())


@settings(deadline=None)
@given(st.integers(0, 2), st.floats(0.2, 0.8), FACTORS)
def test_a_pure_stain_becomes_more_or_less_of_itself(stain: int, amount: float, scale: list[float]) -> None:
    one_stain = torch.tensor(STAINS[stain]) * amount
    tile = (255.0 * (-one_stain).exp()).expand(1, 2, 2, 3)
    changed = stained(tile, torch.tensor([scale]), torch.zeros(1, 3))
    assert torch.allclose(density(changed), (one_stain * scale[stain]).double().expand(1, 2, 2, 3), atol=1e-4)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 0.25, width=32), min_size=3, max_size=3))
def test_a_shift_adds_the_stains_own_colours_and_fades_in_pale_pixels(shift: list[float]) -> None:
    # a pixel of tissue, and one of a third of the density from which the whole shift counts
    tile = torch.tensor([[120.0, 80.0, 140.0], [255.0 * np.exp(-0.05)] * 3]).view(1, 2, 1, 3)
    moved = density(stained(tile, torch.ones(1, 3), torch.tensor([shift]))) - density(tile)
    whole = torch.tensor(shift).double() @ torch.tensor(STAINS).double()
    assert torch.allclose(moved[0, 0, 0], whole, atol=1e-5)
    assert torch.allclose(moved[0, 1, 0], whole / 3, atol=1e-5)


def test_no_colour_leaves_the_range_of_light() -> None:
    tiles = some_tiles(2, px=32)
    for scale, shift in ((0.2, -1.0), (3.0, 1.0)):
        changed = stained(tiles, torch.full((2, 3), scale), torch.full((2, 3), shift))
        assert torch.isfinite(changed).all()
        assert changed.min() >= 0
        assert changed.max() <= 255


def test_jitter_has_the_stated_spread_and_is_drawn_for_each_tile_and_stain() -> None:
    drawn = Augmentation.draw("flips+stain", 5000, np.random.default_rng(0), CPU)
    assert drawn.stains is not None
    mean, sd = drawn.stains.mean(dim=0), drawn.stains.std(dim=0)
    assert torch.allclose(mean, torch.tensor([[1.0], [0.0]]).expand(2, 3), atol=4 * SCALE_SIGMA / 5000**0.5)
    assert torch.allclose(sd, torch.tensor([[SCALE_SIGMA], [SHIFT_SIGMA]]).expand(2, 3), rtol=0.05)
    assert torch.corrcoef(drawn.stains.flatten(1).T).fill_diagonal_(0.0).abs().max() < 0.06
    assert drawn.turns is not None
    assert torch.bincount(drawn.turns).min() > 500


@pytest.mark.parametrize("kind", ["none", "flips", "flips+stain"])
def test_a_batch_in_parts_is_changed_as_the_whole_and_the_same_again(kind: str) -> None:
    tiles = some_tiles(10)
    one, again = (Augmentation.draw(kind, 10, np.random.default_rng(7), CPU) for _ in range(2))
    whole = one(tiles, slice(0, 10))
    parts = [again(tiles[a:b], slice(a, b)) for a, b in ((0, 3), (3, 4), (4, 10))]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(whole, tiles) is (kind == "none")


def test_a_kind_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Augmentation.draw("flip", 1, np.random.default_rng(0), CPU)
    assert str(caught.value) == "augment must be one of none, mirror, flips, flips+stain; got 'flip'."

"""Tiles are stained otherwise as training jitters them, only further; a class that changes by that is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.w2wnet.nets.made import load, write
from w2wpath.w2wnet.nets.augment import SCALE_SIGMA, SHIFT_SIGMA, STAINS
from w2wpath.w2wnet.nets.stability import DIRECTIONS, REACH, restained


def tissue(n: int = 6, px: int = 32) -> np.ndarray:
    random = np.random.default_rng(0)
    density = random.uniform(0.3, 0.6, (n, px, px, 1)) * np.array([0.65, 0.95, 0.4])
    return (255 * 10**-density).astype(np.uint8)


def amounts(tiles: np.ndarray) -> np.ndarray:
    """Decadic amounts of haematoxylin, eosin and residue (n, 3), for tiles that are tissue all over."""
    density = -np.log10(np.maximum(tiles, 1) / 255.0).mean(axis=(1, 2))
    return np.asarray(density @ np.linalg.inv(np.array(STAINS)))


def test_each_direction_moves_its_stains_as_far_as_it_says() -> None:
    tiles = tissue()
    before = amounts(tiles)
    natural = np.log(10)  # the jitter is in natural optical density, the measure in decadic
    for direction, changed in zip(DIRECTIONS, restained(torch.from_numpy(tiles)), strict=True):
        assert (changed.dtype, changed.shape) == (torch.uint8, tiles.shape)
        moved = amounts(changed.numpy()) - before
        sign = np.array(direction)
        expected = sign * REACH * (SCALE_SIGMA * before + SHIFT_SIGMA / natural)
        assert moved == pytest.approx(expected, abs=0.01)


def test_every_direction_has_its_opposite() -> None:
    assert {tuple(-sign for sign in one) for one in DIRECTIONS} == set(DIRECTIONS)


def test_white_stays_white() -> None:
    white = torch.full((2, 16, 16, 3), 255, dtype=torch.uint8)
    assert all(torch.equal(changed, white) for changed in restained(white))


def test_a_model_tells_what_hinges_by_its_own_classes(tmp_path: Path) -> None:
    write(tmp_path / "model", quality=None)
    model = load(tmp_path / "model")
    tiles = tissue(40)
    probs, _ = model.predict(tiles, draws=2, seed=0)
    classes = probs.argmax(axis=1)
    told = model.hinges_on_stain(tiles, classes)
    again = np.zeros(len(tiles), dtype=bool)
    for changed in restained(torch.from_numpy(tiles)):
        again |= model.predict(changed.numpy(), draws=2, seed=0)[0].argmax(axis=1) != classes
    assert np.array_equal(told, again)
    # classes that it does not name hinge on everything
    assert model.hinges_on_stain(tiles, (classes + 1) % 3).all() or again.any()
    assert model.hinges_on_stain(tiles[:0], classes[:0]).shape == (0,)

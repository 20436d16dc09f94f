"""The tissue mask: what is stained, and how much of a tile is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import save_svs
from w2wpath.slides.reader import open_slide
from w2wpath.slides.tissue import TissueMask, tissue_mask

PINK = (200, 120, 160)


def white(width: int = 640, height: int = 512) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 244, dtype=np.uint8)


def mask_of(path: Path, image: NDArray[np.uint8]) -> TissueMask:
    with open_slide(save_svs(path, image)) as slide:
        return tissue_mask(slide, max_px=160)


def test_a_stained_rectangle_is_found_where_it_lies(tmp_path: Path) -> None:
    image = white()
    image[128:384, 160:480] = PINK
    found = mask_of(tmp_path / "a.svs", image)
    assert found.mask.shape == (128, 160)
    assert found.scale0 == (4.0, 4.0)
    rows, columns = np.nonzero(found.mask)
    assert abs(rows.min() - 32) <= 2
    assert abs(rows.max() - 95) <= 2
    assert abs(columns.min() - 40) <= 2
    assert abs(columns.max() - 119) <= 2


def test_an_empty_slide_has_no_tissue(tmp_path: Path) -> None:
    assert not mask_of(tmp_path / "a.svs", white()).mask.any()


def test_dust_and_noise_on_glass_are_no_tissue(tmp_path: Path) -> None:
    image = white() + np.random.default_rng(0).integers(-3, 4, (512, 640, 3))
    assert not mask_of(tmp_path / "a.svs", image.astype(np.uint8)).mask.any()


def test_a_slide_full_of_tissue_is_tissue_everywhere(tmp_path: Path) -> None:
    image = np.empty((512, 640, 3), dtype=np.uint8)
    image[:, :320], image[:, 320:] = PINK, (150, 60, 120)
    assert mask_of(tmp_path / "a.svs", image).mask.all()


def test_shares_are_counted_in_level_0_pixels() -> None:
    tissue = TissueMask(np.array([[True, False], [True, True]]), (100.0, 100.0))
    x0, y0 = np.array([0, 100, 0], dtype=np.int32), np.array([0, 0, 0], dtype=np.int32)
    assert tissue.share(x0, y0, 100).tolist() == [1.0, 0.0, 1.0]
    assert tissue.share(x0, y0, 200).tolist() == [0.75, 0.5, 0.75]


@given(seed=st.integers(0, 99), x0=st.integers(0, 300), y0=st.integers(0, 200), side0=st.integers(1, 250))
def test_a_share_is_the_mean_of_the_mask_below_the_tile(seed: int, x0: int, y0: int, side0: int) -> None:
    mask = np.random.default_rng(seed).random((24, 33)) < 0.5
    tissue = TissueMask(mask, (10.0, 9.0))
    left, top = min(x0 // 10, 32), min(y0 // 9, 23)
    below = mask[top : max(-(-(y0 + side0) // 9), top + 1), left : max(-(-(x0 + side0) // 10), left + 1)]
    share = tissue.share(np.array([x0], dtype=np.int32), np.array([y0], dtype=np.int32), side0)
    assert np.allclose(share, below.mean())

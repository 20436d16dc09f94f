"""Every tile is read where it lies, and gets one of three states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.conftest import save_svs
from tests.heatmaps.made import CLASS_OF, GLASS, PX, SEEN, U_OF, ColourReader, picture, save_slide, state_of
from w2wpath.config import HeatmapSettings
from w2wpath.errors import ConfigError, MissingMppError
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Maps
from w2wpath.heatmaps.predict import read_slide
from w2wpath.progress import Silent
from w2wpath.slides.reader import open_slide
from w2wpath.w2wnet.quality import Reference, measure

SETTINGS = HeatmapSettings(batch_size=5)


def read(
    path: Path, reader: ColourReader | None = None, *, threshold: float | None = None, adaptive: bool = True
) -> Maps:
    reader = reader or ColourReader()
    with open_slide(path) as slide:
        return read_slide(
            slide,
            reader,
            threshold=reader.threshold if threshold is None else threshold,
            draws=reader.draws,
            adaptive=adaptive,
            settings=SETTINGS,
            progress=Silent(),
        ).maps


# a slide at the model's scale, and one twice as fine, read from its own levels
@pytest.mark.parametrize(("side0", "mpp"), [(PX, 0.5), (2 * PX, 0.25), (4 * PX, 0.125)])
def test_each_tile_says_what_lies_at_its_corner(tmp_path: Path, side0: int, mpp: float) -> None:
    maps = read(save_slide(tmp_path / "a.svs", side0=side0, mpp=mpp))
    row, column = maps.y0 // side0, maps.x0 // side0
    assert (maps.side0, maps.step0, maps.width0, maps.height0) == (side0, side0, 6 * side0, 4 * side0)
    assert [(int(x), int(y)) for x, y in zip(maps.x0, maps.y0, strict=True)] == [
        (c * side0, r * side0) for r in range(4) for c in range(6)
    ]
    seen = SEEN[row, column]
    assert np.array_equal(maps.predicted, np.where(seen == GLASS, -1, CLASS_OF[seen]))
    assert np.array_equal(maps.state, state_of(seen))


def test_pixels_beyond_the_last_whole_tile_make_no_tile(tmp_path: Path) -> None:
    image = np.pad(picture(), ((0, PX - 1), (0, PX // 2), (0, 0)), mode="edge")
    maps = read(save_svs(tmp_path / "a.svs", image))
    assert (len(maps.x0), int(maps.x0.max()), int(maps.y0.max())) == (24, 5 * PX, 3 * PX)
    assert np.array_equal(maps.state, state_of(SEEN.ravel()))


def test_glass_is_not_analysed_and_has_no_number(tmp_path: Path) -> None:
    maps = read(save_slide(tmp_path / "a.svs"))
    glass = SEEN.ravel() == GLASS
    assert np.array_equal(maps.state == NOT_ANALYSED, glass)
    for values in (maps.u, maps.epistemic, maps.probs_nk[:, 0], maps.probs_nk[:, 1]):
        assert np.array_equal(np.isnan(values), glass)
    assert np.allclose(maps.u[~glass], U_OF[SEEN.ravel()[~glass]])


def test_only_u_above_the_threshold_is_uncertain(tmp_path: Path) -> None:
    at_threshold = SEEN.ravel() == 2
    maps = read(save_slide(tmp_path / "a.svs"), threshold=float(U_OF[2]))
    assert set(maps.state[at_threshold]) == {CONFIDENT}
    maps = read(tmp_path / "a.svs", threshold=float(np.nextafter(np.float32(U_OF[2]), np.float32(0))))
    assert set(maps.state[at_threshold]) == {UNCERTAIN}


def test_a_threshold_of_zero_masks_everything_that_is_not_surely_known(tmp_path: Path) -> None:
    maps = read(save_slide(tmp_path / "a.svs"), threshold=0.0)
    assert np.array_equal(maps.state, state_of(SEEN.ravel(), 0.0))
    assert maps.threshold == 0.0


def test_the_reader_gets_whole_batches_and_a_seed_of_their_place(tmp_path: Path) -> None:
    reader = ColourReader()
    read(save_slide(tmp_path / "a.svs"), reader, adaptive=False)
    assert reader.asked == [(5, 25, 0, None), (5, 25, 5, None), (5, 25, 10, None), (5, 25, 15, None)]


def test_adaptive_draws_go_around_the_threshold_that_masks(tmp_path: Path) -> None:
    reader = ColourReader()
    maps = read(save_slide(tmp_path / "a.svs"), reader, threshold=0.2)
    assert {(draws, around) for _, draws, _, around in reader.asked} == {(25, 0.2)}
    assert maps.mean_draws == pytest.approx((4 + SEEN[SEEN != GLASS]).mean())
    assert read(tmp_path / "a.svs", adaptive=False).mean_draws == 25.0


def test_where_nothing_is_analysed_there_is_no_mean_number_of_draws(tmp_path: Path) -> None:
    assert read(save_slide(tmp_path / "a.svs", seen=np.full((4, 6), GLASS))).mean_draws is None


def test_a_slide_without_tissue_is_not_analysed_at_all(tmp_path: Path) -> None:
    reader = ColourReader()
    maps = read(save_slide(tmp_path / "a.svs", seen=np.full((4, 6), GLASS)), reader)
    assert reader.asked == []
    assert set(maps.state) == {NOT_ANALYSED}
    assert set(maps.predicted) == {-1}
    assert np.isnan(maps.probs_nk).all()
    assert np.isnan(maps.u).all()


def test_a_slide_smaller_than_a_tile_has_no_tile(tmp_path: Path) -> None:
    maps = read(save_slide(tmp_path / "a.svs", seen=np.array([[1]])), ColourReader(tile_px=2 * PX))
    assert (len(maps.x0), maps.predicted.shape, maps.probs_nk.shape) == (0, (0,), (0, 2))


def test_a_coarser_slide_is_refused_with_a_cure_that_exists(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs", mpp=1.0)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the slide has 1 um/px, and the model reads tiles of 64 px at 0.5 um/px: the slide is coarser. "
        "Train a model at the slide's scale, or pass --slide-mpp if the header is wrong."
    )


def test_a_scale_that_whole_pixels_miss_is_refused_with_a_cure_that_exists(tmp_path: Path) -> None:
    path = save_slide(tmp_path / "a.svs", mpp=0.497)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the slide has 0.497 um/px, and the model reads tiles of 64 px at 0.5 um/px: "
        "whole level-0 pixels miss that by more than 0.5 %. "
        "Train a model at the slide's scale, or pass --slide-mpp if the header is wrong."
    )


def test_a_slide_without_scale_names_the_flag(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "a.svs", picture(), mpp=None)
    with pytest.raises(MissingMppError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
    )


def textured(blurred: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture of 5 x 6 tiles that look like stained tissue; some of them out of focus."""
    random = np.random.default_rng(5)
    tiles = []
    for soft in blurred.ravel():
        density = gaussian_filter(random.random((PX, PX)), 0.7) * 0.8 + 0.2
        stain = np.exp(-density[..., None] * np.array([0.6, 1.4, 0.7])) * 255
        tiles.append(gaussian_filter(stain, (2, 2, 0)) if soft else stain)
    rows = [np.concatenate(tiles[i : i + 6], axis=1) for i in range(0, 30, 6)]
    return np.concatenate(rows).clip(0, 255).astype(np.uint8)


def test_blurred_tiles_of_a_slide_are_uncertain_for_their_focus_and_a_wholly_blurred_slide_too(tmp_path: Path) -> None:
    some = np.zeros((5, 6), dtype=bool)
    some[1, 2] = some[3, 4] = True
    sharp = measure(
        textured(np.zeros((5, 6), dtype=bool)).reshape(5, PX, 6, PX, 3).swapaxes(1, 2).reshape(-1, PX, PX, 3)
    )
    reader = ColourReader(threshold=0.9, quality=Reference.learn(sharp, np.arange(30) // 10))
    for name, blurred in (("some", some), ("all", np.ones((5, 6), dtype=bool))):
        maps = read(save_svs(tmp_path / f"{name}.svs", textured(blurred), mpp=0.5), reader)
        found = maps.reason == REASONS.index("focus")
        assert found[blurred.ravel()].all()
        # three standard deviations: one in thirty may lie beyond by chance, hardly two
        assert found[~blurred.ravel()].sum() <= 1
        assert np.array_equal(maps.state, np.where(found, UNCERTAIN, CONFIDENT))


def test_image_quality_is_left_out_when_the_settings_say_so(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "a.svs", textured(np.ones((5, 6), dtype=bool)), mpp=0.5)
    odd = Reference(centre=(90.0, 0.0, 0.3, 0.3), within=(0.1,) * 4, between=(0.1,) * 4, tiles=9, slides=3)
    reader = ColourReader(threshold=0.9, quality=odd)
    with open_slide(path) as slide:
        settings = SETTINGS.model_copy(update={"quality": False})
        maps = read_slide(slide, reader, threshold=0.9, draws=25, adaptive=True, settings=settings, progress=Silent())
    assert (maps.state == CONFIDENT).all()
    assert (read(path, reader).reason == REASONS.index("focus")).all()


def test_a_tile_with_two_reasons_names_the_one_that_can_be_seen(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "a.svs", textured(np.ones((5, 6), dtype=bool)), mpp=0.5)
    odd = Reference(centre=(90.0, 0.0, 0.3, 0.3), within=(0.1,) * 4, between=(0.1,) * 4, tiles=9, slides=3)
    maps = read(path, ColourReader(threshold=-1.0, quality=odd))
    assert (maps.reason == REASONS.index("focus")).all()
    assert (read(path, ColourReader(threshold=-1.0)).reason == REASONS.index("uncertain")).all()

"""Every tile is read where it lies, and gets one of three states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.conftest import save_svs, tear
from tests.heatmaps.made import CLASS_OF, GLASS, PX, SEEN, U_OF, ColourReader, picture, save_slide, state_of
from w2wpath.config import HeatmapSettings
from w2wpath.errors import ConfigError, MissingMppError, SlideError
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Maps
from w2wpath.heatmaps.notebook import Notebook
from w2wpath.heatmaps.predict import Reading, read_slide
from w2wpath.progress import Silent
from w2wpath.slides.reader import open_slide
from w2wpath.w2wnet.domain import DomainReference
from w2wpath.w2wnet.domain import measure as measure_domain
from w2wpath.w2wnet.quality import Reference, measure

SETTINGS = HeatmapSettings(batch_size=5)


def read(path: Path, reader: ColourReader | None = None, **options: Any) -> Maps:
    return reading(path, reader, **options).maps


def reading(
    path: Path,
    reader: ColourReader | None = None,
    *,
    threshold: float | None = None,
    adaptive: bool = True,
    settings: HeatmapSettings = SETTINGS,
    **options: Any,
) -> Reading:
    reader = reader or ColourReader()
    with open_slide(path) as slide:
        return read_slide(
            slide,
            reader,
            threshold=reader.threshold if threshold is None else threshold,
            draws=reader.draws,
            adaptive=adaptive,
            settings=settings,
            progress=Silent(),
            **options,
        )


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
    settings = SETTINGS.model_copy(update={"quality": False})
    maps = read(path, reader, threshold=0.9, settings=settings)
    assert (maps.state == CONFIDENT).all()
    assert (read(path, reader).reason == REASONS.index("focus")).all()


def test_a_tile_with_two_reasons_names_the_one_that_can_be_seen(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "a.svs", textured(np.ones((5, 6), dtype=bool)), mpp=0.5)
    odd = Reference(centre=(90.0, 0.0, 0.3, 0.3), within=(0.1,) * 4, between=(0.1,) * 4, tiles=9, slides=3)
    maps = read(path, ColourReader(threshold=-1.0, quality=odd))
    assert (maps.reason == REASONS.index("focus")).all()
    assert (read(path, ColourReader(threshold=-1.0)).reason == REASONS.index("uncertain")).all()


def test_tiles_that_overlap_lie_on_a_finer_grid_and_say_what_lies_at_their_corner(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"overlap": 0.5})
    maps = read(save_slide(tmp_path / "a.svs"), settings=settings)
    assert (maps.step0, maps.grid_shape, len(maps.x0)) == (PX // 2, (7, 11), 77)
    on_cells = (maps.x0 % PX == 0) & (maps.y0 % PX == 0)
    assert np.array_equal(maps.predicted[on_cells], np.where(SEEN == GLASS, -1, CLASS_OF[SEEN]).ravel())


def test_regions_are_read_instead_of_tissue_where_they_cover_half_a_tile(tmp_path: Path) -> None:
    # two cells, half a third, less than half a fourth, and glass
    regions = [
        shapely.box(0, 0, 2.5 * PX, PX),
        shapely.box(3 * PX, 0, 3.49 * PX, PX),
        shapely.box(4 * PX, 0, 5 * PX, PX),
    ]
    maps = read(save_slide(tmp_path / "a.svs"), regions=regions)
    assert np.flatnonzero(maps.state != NOT_ANALYSED).tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize("seen_px", [PX, 4 * PX])
def test_tiles_that_cannot_be_decoded_are_not_analysed_and_the_others_are_as_they_would_be(
    tmp_path: Path, seen_px: int
) -> None:
    # with 4 cells a block the thumbnail is made of what is damaged; with larger ones it comes from another level
    seen = np.tile(SEEN, (3, 2)) if seen_px == PX else SEEN
    path = save_slide(tmp_path / "a.svs", seen=seen, side0=seen_px)
    whole = read(path)
    tear(path, {(1, 0)})
    found = reading(path)
    assert found.damaged == (
        f"{path}: level 0, block (1, 0) cannot be decoded (it has 9 of 49152 bytes). "
        "The file is damaged there; scan or copy it again.",
    )
    maps = found.maps
    torn = (maps.x0 >= 128) & (maps.x0 < 256) & (maps.y0 < 128)
    assert torn.any()
    assert np.array_equal(maps.unread[whole.state != NOT_ANALYSED], torn[whole.state != NOT_ANALYSED])
    assert not maps.unread[~torn].any()
    assert np.array_equal(maps.state, np.where(torn, NOT_ANALYSED, whole.state))
    assert np.array_equal(maps.probs_nk, np.where(torn[:, None], np.nan, whole.probs_nk), equal_nan=True)
    assert (maps.reason[torn] == 0).all()


def test_a_slide_none_of_whose_tiles_can_be_decoded_is_an_error(tmp_path: Path) -> None:
    # the thumbnail comes from level 1, which is whole
    path = save_slide(tmp_path / "a.svs", side0=8 * PX)
    tear(path, {(column, row) for column in range(24) for row in range(16)})
    with pytest.raises(SlideError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: none of the 1291 tiles that it should give can be decoded ({path}: level 0, block (0, 0) cannot be "
        "decoded (it has 9 of 49152 bytes). The file is damaged there; scan or copy it again.). Copy the slide again."
    )


def test_where_wise_and_wiped_disagree_a_sure_tile_is_uncertain(tmp_path: Path) -> None:
    reader = ColourReader(threshold=0.9, contrary=1)
    maps = read(save_slide(tmp_path / "a.svs"), reader)
    disagree = SEEN.ravel() == 1
    assert np.array_equal(maps.reason == REASONS.index("disagree"), disagree)
    assert np.array_equal(maps.state == UNCERTAIN, disagree)
    doubtful = read(tmp_path / "a.svs", ColourReader(threshold=0.05, contrary=1))
    assert (doubtful.reason[disagree] == REASONS.index("disagree")).all()


def test_a_tile_whose_class_hinges_on_its_stain_is_uncertain_unless_that_is_not_asked(tmp_path: Path) -> None:
    path, reader = save_slide(tmp_path / "a.svs"), ColourReader(threshold=0.35, hinging=1)
    maps = read(path, reader)
    hinging = SEEN.ravel() == 1
    assert np.array_equal(maps.reason == REASONS.index("stain"), hinging)
    assert np.array_equal(maps.state == UNCERTAIN, hinging | (SEEN.ravel() == 3))
    without = read(path, reader, settings=SETTINGS.model_copy(update={"stain": False}))
    assert np.array_equal(without.state == UNCERTAIN, SEEN.ravel() == 3)
    # what is uncertain anyway is not asked
    assert (read(path, ColourReader(threshold=0.05, hinging=1)).reason[hinging] == REASONS.index("uncertain")).all()


def test_the_parts_of_u_add_up_and_draws_are_counted(tmp_path: Path) -> None:
    maps = read(save_slide(tmp_path / "a.svs"))
    analysed = maps.state != NOT_ANALYSED
    assert np.allclose((maps.aleatoric + maps.epistemic)[analysed], maps.u[analysed])
    assert np.array_equal(maps.draws, np.where(SEEN == GLASS, 0, 4 + SEEN).ravel())


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_an_interrupted_reading_goes_on_and_ends_the_same(tmp_path: Path, batches: int) -> None:
    path = save_slide(tmp_path / "a.svs")
    whole = ColourReader()
    expected = read(path, whole)
    interrupted = ColourReader(fails_at=batches)
    with pytest.raises(KeyboardInterrupt):
        read(path, interrupted, notebook=Notebook(tmp_path / "n.npz", "key", every_s=0))
    later = ColourReader()
    maps = read(path, later, notebook=Notebook(tmp_path / "n.npz", "key", every_s=0))
    assert interrupted.asked + later.asked == whole.asked
    for name in ("state", "reason", "probs_nk", "u", "aleatoric", "epistemic", "draws", "unread"):
        assert np.array_equal(getattr(maps, name), getattr(expected, name), equal_nan=name not in ("state", "reason"))


def test_a_slide_is_compared_with_the_training_slides_by_its_tissue(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "a.svs", textured(np.zeros((5, 6), dtype=bool)), mpp=0.5)
    assert reading(path).domain is None
    tiles = textured(np.zeros((5, 6), dtype=bool)).reshape(5, PX, 6, PX, 3).swapaxes(1, 2).reshape(-1, PX, PX, 3)
    slide = np.arange(30) // 2
    reference = DomainReference.learn(measure_domain(tiles), slide, dict.fromkeys(range(15), 0.5))
    inside = reading(path, ColourReader(domain=reference)).domain
    assert inside is not None
    assert inside.inside
    pale = save_svs(tmp_path / "pale.svs", 255 - (255 - textured(np.zeros((5, 6), dtype=bool))) // 2, mpp=0.5)
    outside = reading(pale, ColourReader(domain=reference)).domain
    assert outside is not None
    assert {" ".join(words.split()[:3]) for words in outside.unusual} >= {
        f"density in {name}" for name in ("red", "green", "blue")
    }

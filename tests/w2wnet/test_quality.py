"""Image quality on pictures whose blur, glass and stain are known."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from scipy.stats import norm
from skimage.data import immunohistochemistry

from tests.w2wnet.conftest import HE, blurred, cut_up, glass, tissue
from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.quality import (
    FEATURES,
    FEW_TILES,
    HIGHEST_CUT,
    REASONS,
    SMALLEST_PX,
    Quality,
    Reference,
    judge,
    measure,
)

FOCUS, BACKGROUND, COLOUR = (REASONS.index(name) for name in ("focus", "background", "colour"))
PX = 64
PICTURES = {
    "drawn": tissue(512),
    # real tissue that scikit-image ships: colon, haematoxylin and DAB
    "real": np.asarray(immunohistochemistry(), dtype=np.float64),
}
BLURS = (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0)
PURPLE = np.array([[0.80, 0.55, 0.20], [0.20, 0.90, 0.35]])
"""Another laboratory's haematoxylin and eosin."""

on_pictures = pytest.mark.parametrize("field", [pytest.param(field, id=name) for name, field in PICTURES.items()])
on_sizes = pytest.mark.parametrize("px", [32, 64])


def feature(name: str, field: NDArray[np.float64], px: int = PX) -> NDArray[np.float32]:
    """One feature (n,) of the tiles of a field."""
    return np.asarray(measure(cut_up(field, px))[:, FEATURES.index(name)])


def compressed(field: NDArray[np.float64], quality: int) -> NDArray[np.float64]:
    """The field after a round through JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.clip(np.rint(field), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), dtype=np.float64)


@pytest.fixture(scope="module")
def slides() -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Features of six slides of 25 good tiles each, and whose they are."""
    features = [measure(cut_up(tissue(5 * PX, seed), PX)) for seed in range(6)]
    return np.concatenate(features), np.repeat(np.arange(6), 25)


@pytest.fixture(scope="module")
def reference(slides: tuple[NDArray[np.float32], NDArray[np.intp]]) -> Reference:
    return Reference.learn(*slides)


# what is measured ---------------------------------------------------------------------------------------------------


@on_pictures
@on_sizes
def test_the_more_blur_the_less_focus(field: NDArray[np.float64], px: int) -> None:
    # up to the heaviest blur, of which 8 bits leave nothing but rounding: that must not look sharp
    focus = [float(np.median(feature("focus", blurred(field, sigma), px))) for sigma in BLURS]
    strong = BLURS.index(4.0)
    assert (np.diff(focus[: strong + 1]) < 0).all()
    assert (np.diff(focus[strong:]) < 0.01).all()
    assert focus[0] <= float(np.median(feature("focus", field, px))) + 0.01


@on_pictures
def test_every_single_tile_loses_focus_by_a_blur_of_1_px(field: NDArray[np.float64]) -> None:
    assert (feature("focus", blurred(field, 1.0)) < feature("focus", field) - 0.5).all()


@on_pictures
def test_contrast_and_brightness_hardly_change_focus(field: NDArray[np.float64]) -> None:
    before = feature("focus", field)
    by_blur = np.median(before - feature("focus", blurred(field, 1.0)))
    # optical density times a factor is contrast; light times a factor is brightness
    for other in (
        255 * (np.clip(field, 1, 255) / 255) ** 0.7,
        255 * (np.clip(field, 1, 255) / 255) ** 1.2,
        field * 0.8,
    ):
        moved = np.abs(feature("focus", other) - before)
        assert np.median(moved) < 0.05 * by_blur
        assert moved.max() < 0.25 * by_blur


@on_pictures
@on_sizes
@pytest.mark.parametrize("quality", [95, 90, 80, 70, 50])
def test_jpeg_moves_focus_far_less_than_a_blur_of_1_px(field: NDArray[np.float64], px: int, quality: int) -> None:
    before = feature("focus", field, px)
    by_jpeg = np.median(np.abs(feature("focus", compressed(field, quality), px) - before))
    by_blur = np.median(before - feature("focus", blurred(field, 1.0), px))
    assert by_jpeg < by_blur / 4


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.8, 1.0])
def test_the_share_of_glass_is_measured_within_2_percent(share: float) -> None:
    # tissue without holes of its own
    full = np.minimum(tissue(200), 200.0)
    full[: round(200 * share)] = glass(200)[: round(200 * share)]
    (measured,) = feature("background", full, 200)
    assert measured == pytest.approx(share, abs=0.02)


def test_glass_has_neither_saturation_nor_density() -> None:
    features = measure(cut_up(glass(PX), PX))[0]
    assert features[FEATURES.index("background")] == 1.0
    assert features[FEATURES.index("saturation")] == features[FEATURES.index("density")] == 0.0


def test_saturation_and_density_are_those_of_the_stained_pixels_alone() -> None:
    whole = np.minimum(tissue(128), 200.0)
    half = whole.copy()
    half[:, 64:] = glass(128)[:, 64:]
    stained, mixed = measure(cut_up(whole[:, :64], PX)).mean(axis=0), measure(cut_up(half, 128))[0]
    for name in ("saturation", "density"):
        assert mixed[FEATURES.index(name)] == pytest.approx(stained[FEATURES.index(name)], rel=0.03)


def test_flips_and_quarter_turns_change_nothing() -> None:
    tiles = cut_up(PICTURES["real"], PX)
    before = measure(tiles)
    for turned in (tiles[:, ::-1], tiles[:, :, ::-1], np.rot90(tiles, 1, (1, 2)), np.rot90(tiles, 2, (1, 2))):
        assert np.abs(measure(turned) - before).max() < 1e-5


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257])
def test_a_tile_is_measured_alone_as_among_others(n: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    found = measure(tiles)
    assert (found.shape, found.dtype) == ((n, len(FEATURES)), np.float32)
    assert all(np.allclose(found[i], measure(tiles[i : i + 1])[0], atol=1e-6) for i in (*range(min(n, 2)), n - 1) if n)


@pytest.mark.parametrize("side", [SMALLEST_PX, SMALLEST_PX + 1, 27, 28, 51])
def test_odd_sides_can_be_measured(side: int) -> None:
    features = measure(cut_up(tissue(side), side))
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (np.zeros((4, 32, 32), dtype=np.uint8), "uint8 of shape (4, 32, 32)"),
        (np.zeros((4, 32, 32, 4), dtype=np.uint8), "uint8 of shape (4, 32, 32, 4)"),
        (np.zeros((4, 3, 32, 32), dtype=np.uint8), "uint8 of shape (4, 3, 32, 32)"),
        (np.zeros((4, 32, 32, 3), dtype=np.float32), "float32 of shape (4, 32, 32, 3)"),
        (np.zeros((4, 32, 15, 3), dtype=np.uint8), "uint8 of shape (4, 32, 15, 3)"),
        (np.zeros((0, 8, 8, 3), dtype=np.uint8), "uint8 of shape (0, 8, 8, 3)"),
    ],
)
def test_pictures_of_another_form_are_refused(images: NDArray[np.generic], got: str) -> None:
    with pytest.raises(ValueError, match="images must be") as caught:
        measure(images)  # type: ignore[arg-type]  # that is the test
    assert str(caught.value) == f"images must be (n, h, w, 3) uint8 of at least 16 px, got {got}"


# how it is judged ---------------------------------------------------------------------------------------------------


def test_good_tiles_stay(slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference) -> None:
    assert judge(*slides, reference).bad_n.mean() < 0.03


def with_one_slide_more(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], field: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.bool_]]:
    """The six slides and a seventh; which tiles are the seventh's."""
    own = measure(cut_up(field, PX))
    slide_n = np.append(slides[1], np.full(len(own), 6))
    return np.concatenate([slides[0], own]), slide_n, slide_n == 6


def test_single_blurred_tiles_are_found_within_their_slide(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference
) -> None:
    field = tissue(5 * PX, 9)
    field[:PX] = blurred(field, 2.0)[:PX]
    features, slide_n, mine = with_one_slide_more(slides, field)
    severity_n = judge(features, slide_n, reference).severity_nr[mine][:, FOCUS]
    assert (severity_n[:5] > 1).all()
    assert (severity_n[5:] > 1).mean() < 0.1


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0, 6.0])
def test_a_slide_that_is_defocused_all_over_is_found_though_normal_to_itself(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference, sigma: float
) -> None:
    features, slide_n, mine = with_one_slide_more(slides, blurred(tissue(5 * PX, 9), sigma))
    assert (judge(features, slide_n, reference).severity_nr[mine, FOCUS] > 1).all()
    # its own tiles alone, as reference, say nothing
    to_itself = Reference.learn(features[mine], slide_n[mine])
    assert judge(features[mine], slide_n[mine], to_itself).bad_n.mean() < 0.1


def test_one_defocused_slide_of_seven_does_not_move_the_reference(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference
) -> None:
    features, slide_n, mine = with_one_slide_more(slides, blurred(tissue(5 * PX, 9), 2.0))
    learned = Reference.learn(features, slide_n)
    assert (judge(features, slide_n, learned).severity_nr[mine, FOCUS] > 1).all()
    assert learned.centre[0] == pytest.approx(reference.centre[0], abs=0.1)


def varying(soft: int = 0, sharp: int = 0, at: tuple[float, float] = (-3.6, 4.0)) -> NDArray[np.float32]:
    """Features of 1,000 tiles of a slide whose focus has a normal law cut off at 2.9, and of some farther away."""
    tail = norm.cdf(2.9)
    focus = norm.ppf(np.linspace(1 - tail, tail, 1000))
    focus = np.concatenate([focus, np.full(soft, at[0]), np.full(sharp, at[1])])
    return np.column_stack([focus, *np.tile([[0.1], [0.4], [0.3]], len(focus))]).astype(np.float32)


@pytest.mark.parametrize(
    ("soft", "sharp", "rises"),
    [
        pytest.param(0, 0, False, id="nothing far away"),
        pytest.param(10, 0, False, id="soft tiles alone"),
        pytest.param(10, 2, False, id="a fifth as many sharp ones"),
        pytest.param(10, 3, True, id="more sharp ones, farther away"),
        pytest.param(0, 5, True, id="sharp tiles alone"),
    ],
)
def test_the_cut_of_focus_rises_where_tiles_are_as_often_sharper_than_usual(soft: int, sharp: int, rises: bool) -> None:
    features = varying(soft, sharp)
    learned = Reference.learn(features, np.zeros(len(features), dtype=np.intp))
    assert learned.focus_cut == pytest.approx(4.0 if rises else 3.0, abs=0.15 if rises else 0)
    found = judge(features, np.zeros(len(features), dtype=np.intp), learned).severity_nr[:, FOCUS] > 1
    assert np.flatnonzero(found).tolist() == ([] if rises else list(range(1000, 1000 + soft)))


def test_the_cut_of_focus_is_the_least_that_parts_soft_tiles_from_the_spread() -> None:
    # three tiles are as far above as three below; ten more are softer than any is sharp
    features = np.concatenate([varying(3, 3, at=(-3.3, 3.3)), varying(10, 0, at=(-4.2, 0.0))[1000:]])
    slide_n = np.zeros(len(features), dtype=np.intp)
    learned = Reference.learn(features, slide_n)
    assert 3.0 < learned.focus_cut < 4.2
    found = judge(features, slide_n, learned).severity_nr[:, FOCUS] > 1
    assert np.flatnonzero(found).tolist() == list(range(1006, 1016))


def test_whatever_the_spread_a_tile_that_is_far_out_of_focus_is_found() -> None:
    features = varying(1, 40, at=(-5.0, 5.0))
    slide_n = np.zeros(len(features), dtype=np.intp)
    learned = Reference.learn(features, slide_n)
    assert learned.focus_cut == HIGHEST_CUT == 4.5
    assert np.flatnonzero(judge(features, slide_n, learned).severity_nr[:, FOCUS] > 1).tolist() == [1000]


def test_a_slide_of_another_stain_is_not_flagged_where_stains_vary() -> None:
    fields = [tissue(5 * PX, i, (1 - w) * HE + w * PURPLE) for i, w in enumerate(np.linspace(0, 1, 6))]
    features = np.concatenate([measure(cut_up(field, PX)) for field in fields])
    slide_n = np.repeat(np.arange(6), 25)
    learned = Reference.learn(features, slide_n)
    other = measure(cut_up(tissue(5 * PX, 9, 0.9 * PURPLE + 0.1 * HE), PX))
    found = judge(other, np.zeros(25, dtype=np.intp), learned)
    assert (found.severity_nr[:, COLOUR] <= 1).all()


@pytest.mark.parametrize("strength", [0.85, 1.15])
def test_a_somewhat_stronger_or_weaker_stain_is_not_flagged_where_stains_hardly_vary(
    reference: Reference, strength: float
) -> None:
    other = measure(cut_up(tissue(5 * PX, 9, strength * HE), PX))
    assert not judge(other, np.zeros(25, dtype=np.intp), reference).bad_n.any()


def test_empty_tiles_are_background_and_neither_blurred_nor_miscoloured(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference
) -> None:
    field = tissue(5 * PX, 9)
    field[:PX] = glass(5 * PX)[:PX]
    features, slide_n, mine = with_one_slide_more(slides, field)
    severity_nr = judge(features, slide_n, reference).severity_nr[mine]
    assert (severity_nr[:5, BACKGROUND] > 1).all()
    assert (severity_nr[:5, [FOCUS, COLOUR]] == 0).all()
    assert (severity_nr[5:, BACKGROUND] <= 1).all()


def test_a_tile_of_which_less_than_half_is_empty_is_never_background(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference
) -> None:
    field = np.minimum(tissue(PX, 9), 200.0)
    field[: round(PX * 0.45)] = glass(PX)[: round(PX * 0.45)]
    features, slide_n, mine = with_one_slide_more(slides, field)
    assert (judge(features, slide_n, reference).severity_nr[mine, BACKGROUND] <= 1).all()


def test_ink_is_a_matter_of_colour(slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference) -> None:
    field = tissue(5 * PX, 9)
    field[:PX] *= np.array([0.05, 0.1, 0.6])
    features, slide_n, mine = with_one_slide_more(slides, field)
    severity_nr = judge(features, slide_n, reference).severity_nr[mine]
    assert (severity_nr[:5].argmax(axis=1) == COLOUR).all()
    assert (severity_nr[:5, COLOUR] > 1).all()


def test_a_slide_of_few_tiles_is_judged_by_the_reference_alone(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference
) -> None:
    few = slides[0][: FEW_TILES - 1]
    together = judge(few, np.zeros(len(few), dtype=np.intp), reference).severity_nr
    alone = np.concatenate([judge(few[i : i + 1], np.array([0]), reference).severity_nr for i in range(len(few))])
    assert np.array_equal(together, alone)
    # one tile more, and the slide counts too
    enough = slides[0][:FEW_TILES].copy()
    enough[:, FEATURES.index("focus")] += 3.0
    enough[0, FEATURES.index("focus")] -= 3.0
    by_slide = judge(enough, np.zeros(FEW_TILES, dtype=np.intp), reference).severity_nr
    assert by_slide[0, FOCUS] > 1
    assert judge(enough[:-1], np.zeros(FEW_TILES - 1, dtype=np.intp), reference).severity_nr[0, FOCUS] < 1


@pytest.mark.parametrize("level", [0, 128, 254, 255])
def test_constant_tiles_have_finite_severities(level: int) -> None:
    features = measure(np.full((30, PX, PX, 3), level, dtype=np.uint8))
    slide_n = np.zeros(30, dtype=np.intp)
    assert np.isfinite(features).all()
    severity_nr = judge(features, slide_n, Reference.learn(features, slide_n)).severity_nr
    assert np.isfinite(severity_nr).all()
    # all the same: nothing is worse than the rest
    assert (severity_nr <= 1).all()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_constant_tiles_among_tissue_are_bad_and_finite(
    slides: tuple[NDArray[np.float32], NDArray[np.intp]], reference: Reference, level: int
) -> None:
    features = np.concatenate([slides[0], measure(np.full((3, PX, PX, 3), level, dtype=np.uint8))])
    found = judge(features, np.append(slides[1], [0, 0, 0]), reference)
    assert np.isfinite(found.severity_nr).all()
    assert found.bad_n[-3:].all()


@given(st.permutations(range(60)), st.lists(st.integers(0, 2), min_size=60, max_size=60))
def test_the_order_of_tiles_does_not_matter(order: list[int], slide: list[int]) -> None:
    features = np.random.default_rng(0).normal(size=(60, len(FEATURES)))
    slide_n, at = np.array(slide), np.array(order)
    learned = Reference.learn(features, slide_n)
    again = Reference.learn(features[at], slide_n[at])
    assert again == learned
    assert np.array_equal(
        judge(features[at], slide_n[at], again).severity_nr, judge(features, slide_n, learned).severity_nr[at]
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_severities_are_finite_and_never_negative(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.choice([-9.0, 0.0, 0.5, 1.0, 1e3], (n, len(FEATURES))) * rng.integers(0, 2, len(FEATURES))
    slide_n = rng.integers(0, 3, n)
    severity_nr = judge(features, slide_n, Reference.learn(features, slide_n)).severity_nr
    assert severity_nr.shape == (n, len(REASONS))
    assert np.isfinite(severity_nr).all()
    assert (severity_nr >= 0).all()


def test_the_worst_reason_is_the_severity_and_above_1_is_bad() -> None:
    quality = Quality(np.array([[0.0, 0.2, 1.0], [1.1, 0.0, 0.4], [0.0, 0.0, 0.0]]))
    assert quality.severity_n.tolist() == [1.0, 1.1, 0.0]
    assert quality.bad_n.tolist() == [False, True, False]
    assert quality.take(np.array([1])).severity_nr.tolist() == [[1.1, 0.0, 0.4]]


# the reference ------------------------------------------------------------------------------------------------------


def test_a_reference_is_read_back_from_json_as_it_was(reference: Reference) -> None:
    read = Reference(**json.loads(json.dumps(reference.as_json())))
    assert read == reference
    assert (read.tiles, read.slides, read.features) == (150, 6, FEATURES)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"cut": 3.5}, "extra_forbidden"),
        ({"centre": (0.0, 1.0, 2.0)}, "missing"),
        ({"within": (0.0, 0.0, 0.0, float("nan"))}, "finite_number"),
        ({"between": (0.0, 0.0, 0.0, float("inf"))}, "finite_number"),
        ({"features": ("focus", "sharpness", "saturation", "density")}, "literal_error"),
        ({"tiles": 0}, "greater_than_equal"),
    ],
)
def test_a_reference_that_cannot_be_is_refused(reference: Reference, change: dict[str, object], kind: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Reference(**{**reference.as_json(), **change})
    assert [error["type"] for error in caught.value.errors()] == [kind]


def test_features_that_are_not_finite_are_counted_and_refused(reference: Reference) -> None:
    features = np.zeros((4, len(FEATURES)))
    features[1, 0], features[3] = np.nan, np.inf
    for judged in (
        lambda: judge(features, np.zeros(4, dtype=int), reference),
        lambda: Reference.learn(features, np.zeros(4, dtype=int)),
    ):
        with pytest.raises(NonFiniteScoreError) as caught:
            judged()
        assert str(caught.value) == "2 of 4 tiles have no finite image-quality feature."


def test_a_reference_needs_a_tile() -> None:
    with pytest.raises(ValueError, match="at least one") as caught:
        Reference.learn(np.empty((0, len(FEATURES))), np.empty(0, dtype=int))
    assert str(caught.value) == "an image-quality reference needs at least one training tile"

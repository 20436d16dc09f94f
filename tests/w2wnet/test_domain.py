"""A slide unlike the training slides is told; one like them is not, as often as was promised."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from skimage.color import hed2rgb

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.domain import ALPHA, FEWEST_SLIDES, OF_TILE, STATISTICS, Domain, DomainReference, as_json, measure
from w2wpath.w2wnet.quality import measure as measure_quality

CENTRE = np.array([0.2, 0.4, 0.3, 0.1, 0.1, -0.7, -0.5, 0.5])
SPREAD = np.array([0.1, 0.1, 0.1, 0.05, 0.05, 0.2, 0.2, 0.4])


def features(slides: int, tiles: int = 30, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Slides that differ by a normal law, of tiles that differ by another."""
    random = np.random.default_rng(seed)
    slide = np.repeat(np.arange(slides), tiles)
    of_slide = CENTRE + random.normal(0, SPREAD, (slides, OF_TILE))
    return of_slide[slide] + random.normal(0, 0.01, (len(slide), OF_TILE)), slide


def learned(slides: int, seed: int = 0, mpp: float = 0.5) -> DomainReference:
    values, slide = features(slides, seed=seed)
    found = DomainReference.learn(values, slide, dict.fromkeys(range(slides), mpp))
    assert found is not None
    return found


def test_slides_of_the_same_law_are_called_out_of_domain_as_often_as_said() -> None:
    outside = 0
    for seed in range(300):
        values, slide = features(11, seed=seed)
        train = slide < 10
        reference = DomainReference.learn(values[train], slide[train], dict.fromkeys(range(10), 0.5))
        assert reference is not None
        outside += not reference.judge(values[~train], 0.5).inside
    # the share of a binomial of 300 with ALPHA exceeds this in one of ten thousand runs
    assert outside <= 300 * ALPHA + 4 * np.sqrt(300 * ALPHA)


@pytest.mark.parametrize(("statistic", "name"), list(enumerate(STATISTICS[:OF_TILE])))
def test_what_is_far_off_is_named_with_what_is_usual(statistic: int, name: str) -> None:
    reference = learned(20)
    values, slide = features(1, seed=5)
    values[:, statistic] += 6.0
    said = reference.judge(values[slide == 0], 0.5)
    assert not said.inside
    assert said.distance > 1
    value = float(np.median(values[:, statistic]))
    usual, spread = reference.centre[statistic], reference.spread[statistic]
    assert said.unusual == (f"{name} {value:.2f}, training slides {usual:.2f} ± {spread:.2f}",)
    assert said.words == (
        f"Out of domain: {said.unusual[0]}. What the model says of this slide may be wrong everywhere."
    )


def test_a_slide_of_another_scale_is_out_of_domain() -> None:
    reference = learned(20, mpp=0.5)
    values, _ = features(1, seed=5)
    assert reference.judge(values, 0.5).inside
    assert reference.judge(values, 0.55).inside
    said = reference.judge(values, 0.125)
    assert said.unusual == ("um per pixel 0.125, training slides about 0.5",)


def test_a_few_odd_tiles_do_not_move_a_slide() -> None:
    reference = learned(20)
    values, _ = features(1, seed=5)
    odd = values.copy()
    odd[:10] += 50.0
    assert reference.judge(odd, 0.5).inside
    assert not reference.judge(values + 50.0, 0.5).inside


def test_the_limits_are_those_of_a_prediction_interval() -> None:
    from scipy.stats import t

    reference = learned(12)
    half = t.ppf(1 - ALPHA / 18, 11) * reference.spread[0] * np.sqrt(1 + 1 / 12)
    row = np.array([reference.centre[:OF_TILE]])
    for factor, inside in ((0.999, True), (1.001, False)):
        moved = row.copy()
        moved[0, 0] += factor * half
        said = reference.judge(moved, 0.5)
        assert (said.inside, said.distance) == (inside, pytest.approx(factor))


def test_slides_that_are_all_alike_do_not_refuse_what_nobody_could_tell_from_them() -> None:
    values = np.tile(CENTRE, (40, 1))
    reference = DomainReference.learn(values, np.repeat(np.arange(8), 5), dict.fromkeys(range(8), 0.5))
    assert reference is not None
    assert reference.judge(values[:5] + 0.01, 0.5).inside


def test_too_few_slides_have_no_reference() -> None:
    values, slide = features(FEWEST_SLIDES - 1)
    assert DomainReference.learn(values, slide, dict.fromkeys(range(3), 0.5)) is None


def test_no_tile_is_no_evidence() -> None:
    assert learned(5).judge(np.empty((0, OF_TILE)), 0.5) == Domain(True, 0.0)


def test_a_reference_comes_back_from_json_and_takes_no_strange_value() -> None:
    reference = learned(6)
    assert DomainReference.model_validate_json(reference.model_dump_json()) == reference
    with pytest.raises(ValidationError):
        DomainReference.model_validate({**reference.model_dump(), "spread": (0.1, float("nan"), *[0.1] * 7)})
    with pytest.raises(ValidationError):
        DomainReference.model_validate({**reference.model_dump(), "stains": 3})


def test_a_feature_that_is_no_number_is_refused() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        learned(5).judge(np.array([[0.1, np.nan, *[0.1] * 6]]), 0.5)
    assert str(caught.value) == ("a statistic of the slide's domain is not finite: its pixels cannot be trusted.")


def test_json_of_a_verdict() -> None:
    assert as_json(None) is None
    assert as_json(Domain(False, 1.23456, ("eosin 1, training slides 0",))) == {
        "inside": False,
        "distance": 1.235,
        "unusual": ["eosin 1, training slides 0"],
    }


def stained_tiles(amount: float, ratio: float = 1.0) -> NDArray[np.uint8]:
    """Tissue of some haematoxylin and `ratio` times as much eosin, made by scikit-image."""
    random = np.random.default_rng(0)
    hed = np.zeros((3, 32, 32, 3))
    hed[..., 0] = amount * random.uniform(0.5, 1.5, (3, 32, 32))
    hed[..., 1] = amount * ratio * random.uniform(0.5, 1.5, (3, 32, 32))
    return (255 * hed2rgb(hed)).clip(0, 255).round().astype(np.uint8)


def test_density_and_contrast_grow_with_the_stain_and_the_hue_does_not() -> None:
    usual, strong = measure(stained_tiles(0.04)).mean(axis=0), measure(stained_tiles(0.08)).mean(axis=0)
    assert strong[:5] / usual[:5] == pytest.approx(2.0, rel=0.06)
    assert strong[5:7] == pytest.approx(usual[5:7], abs=0.06)


def test_the_hue_follows_the_ratio_of_the_stains() -> None:
    pink = measure(stained_tiles(0.04, ratio=2.0)).mean(axis=0)
    assert (pink - measure(stained_tiles(0.04)).mean(axis=0))[5] < -0.1


def test_densities_are_those_of_the_pixels() -> None:
    tile = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    tile[..., 0], tile[..., 1], tile[:, ::4, :, 1], tile[..., 2] = 200, 60, 90, 120
    density = -np.log10((tile[0, ::2, ::2].astype(float) + 1) / 256)
    red, green, blue = density.mean(axis=(0, 1))
    expected = [red, green, blue, *density.std(axis=(0, 1))[[0, 2]], np.log(red / green), np.log(blue / green)]
    assert measure(tile)[0, :-1] == pytest.approx(expected, abs=1e-3)


def test_focus_is_taken_over_or_measured() -> None:
    tiles = np.random.default_rng(1).integers(0, 255, (4, 40, 40, 3), dtype=np.uint8)
    focus = measure_quality(tiles)[:, 0]
    assert np.array_equal(measure(tiles), measure(tiles, focus))
    assert np.array_equal(measure(tiles)[:, -1], focus)


def test_glass_has_no_stain() -> None:
    assert np.array_equal(measure(np.full((2, 32, 32, 3), 250, dtype=np.uint8))[:, :-1], np.zeros((2, OF_TILE - 1)))
    assert measure(np.empty((0, 32, 32, 3), dtype=np.uint8)).shape == (0, OF_TILE)

"""Conversions between frames, scales and pyramid levels."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from w2wpath.errors import ConfigError, FrameError
from w2wpath.frames import MPP_TOLERANCE, Scale, source_level, tile_scale, um


@pytest.mark.parametrize("bounds", [None, (0, 0)])
def test_without_an_offset_the_two_frames_are_one(bounds: tuple[int, int] | None) -> None:
    assert resolve_origin("auto", bounds, "a.svs") == Origin("qupath", 0, 0)
    assert resolve_origin("qupath", bounds, "a.svs") == Origin("qupath", 0, 0)
    assert resolve_origin("slide", bounds, "a.svs") == Origin("slide", 0, 0)


def test_a_named_frame_is_taken() -> None:
    assert resolve_origin("qupath", (256, -3), "a.mrxs") == Origin("qupath", 256, -3)
    assert resolve_origin("slide", (256, -3), "a.mrxs") == Origin("slide", 0, 0)


@pytest.mark.parametrize("bounds", [(256, 128), (0, 1), (-4, 0)])
def test_frames_that_differ_are_never_guessed(bounds: tuple[int, int]) -> None:
    with pytest.raises(FrameError) as caught:
        resolve_origin("auto", bounds, "a.mrxs")
    assert str(caught.value) == (
        f"a.mrxs: the slide's bounds begin at ({bounds[0]}, {bounds[1]}), so QuPath's frame and the slide's differ "
        "and the annotations do not say which they use. Pass --origin qupath (drawn in QuPath with its default "
        "settings) or --origin slide (level-0 pixels of the whole scan)."
    )


def scale(
    tile_px: int, mpp: float, slide_mpp: float, *, stride_px: int | None = None, allow_upsample: bool = False
) -> Scale:
    return tile_scale(
        tile_px=tile_px,
        stride_px=stride_px or tile_px,
        mpp=mpp,
        slide_mpp=slide_mpp,
        allow_upsample=allow_upsample,
        where="a.svs",
    )


def test_a_tile_covers_whole_level_0_pixels_and_says_its_real_scale() -> None:
    assert scale(224, 0.5, 0.25) == Scale(224, 448, 448, 0.5)
    assert scale(64, 1.75, 0.5, stride_px=32) == Scale(64, 224, 112, 1.75)
    assert scale(224, 0.5, 0.499) == Scale(224, 224, 224, 0.499)


def test_a_scale_that_whole_pixels_miss_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        scale(10, 0.3, 0.2345)
    assert str(caught.value) == (
        "a.svs: 10 px at 0.3 um/px would be 12.79 level-0 pixels; whole pixels give 0.3048 um/px, "
        "more than 0.5 % off. Choose another --tile-px or --mpp."
    )


def test_a_slide_coarser_than_asked_needs_leave_to_upsample() -> None:
    with pytest.raises(ConfigError) as caught:
        scale(224, 0.25, 0.5)
    assert str(caught.value) == (
        "a.svs: the slide has 0.5 um/px, coarser than the 0.25 um/px asked for. "
        "Choose a larger --mpp, or pass --allow-upsample to enlarge its pixels."
    )
    assert scale(224, 0.25, 0.5, allow_upsample=True) == Scale(224, 112, 112, 0.25)


@given(tile_px=st.integers(8, 512), mpp=st.floats(0.1, 10), slide_mpp=st.floats(0.1, 10))
def test_an_accepted_scale_is_within_its_tolerance(tile_px: int, mpp: float, slide_mpp: float) -> None:
    try:
        found = scale(tile_px, mpp, slide_mpp, allow_upsample=True)
    except ConfigError:
        nearest = max(1, round(tile_px * mpp / slide_mpp)) * slide_mpp / tile_px
        assert abs(nearest - mpp) > MPP_TOLERANCE * mpp
    else:
        assert abs(found.mpp - mpp) <= MPP_TOLERANCE * mpp
        assert found.mpp == pytest.approx(found.side0 * slide_mpp / tile_px)
        assert found.step0 == found.side0


@pytest.mark.parametrize(
    ("side0", "level"),
    [(64, 0), (255, 0), (256, 1), (257, 1), (1022, 1), (1024, 2), (8192, 2), (32, 0)],
)
def test_a_tile_is_read_from_the_coarsest_level_that_is_fine_enough(side0: int, level: int) -> None:
    assert source_level((1.0, 4.0, 16.0), side0, 64) == level


def test_a_level_that_rounding_made_a_hair_too_coarse_still_serves() -> None:
    assert source_level((1.0, 4.0003), 256, 64) == 1
    assert source_level((1.0, math.nextafter(4 * 1.001, 5)), 256, 64) == 0


@given(
    downsamples=st.lists(st.floats(1, 64), min_size=1, max_size=6, unique=True).map(sorted),
    side0=st.integers(8, 4096),
)
def test_no_other_level_would_fit_better(downsamples: list[float], side0: int) -> None:
    assume(downsamples[0] <= side0 / 64)
    chosen = downsamples[source_level(tuple(downsamples), side0, 64)]
    fine_enough = [factor for factor in downsamples if factor <= side0 / 64 * 1.001]
    assert chosen == max(fine_enough)


def test_a_length_in_um_is_pixels_times_scale() -> None:
    assert um(448, 0.25) == 112.0

"""Conversions between frames, scales and pyramid levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from w2wpath.errors import ConfigError, FrameError
from w2wpath.frames import (
    FRAMES,
    MPP_TOLERANCE,
    Box0,
    Frame,
    Scale,
    candidate_frames,
    named_frame,
    source_level,
    stated_frame,
    tile_scale,
    um,
)

SIDES = st.integers(1, 200_000)
BOUNDS = st.tuples(st.integers(-5000, 100_000), st.integers(-5000, 100_000), SIDES, SIDES)
SLIDE_FRAMES = st.builds(named_frame, st.sampled_from(FRAMES), SIDES, SIDES, st.none() | BOUNDS)
# quarters of a pixel: QuPath writes fractions, and these are exact in binary
COORDINATES = st.integers(-(2**33), 2**33).map(lambda n: n / 4)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=9).map(np.array)


@given(frame=SLIDE_FRAMES, points=POINTS)
def test_into_a_frame_and_back_is_the_same_point(frame: Frame, points: np.ndarray) -> None:
    assert np.array_equal(frame.from_slide(frame.to_slide(points)), points)
    assert np.array_equal(frame.to_slide(frame.from_slide(points)), points)


@given(frame=SLIDE_FRAMES)
def test_the_area_of_a_frame_is_what_its_user_sees(frame: Frame) -> None:
    area0 = np.array([(frame.x0, frame.y0), (frame.x0 + frame.width0, frame.y0 + frame.height0)])
    seen = frame.from_slide(area0)
    assert seen.min(axis=0).tolist() == [0, 0]
    assert tuple(seen.max(axis=0).tolist()) == frame.size


@given(frame=SLIDE_FRAMES, x0=st.integers(-9000, 200_000), y0=st.integers(-9000, 200_000), side0=st.integers(1, 9000))
def test_a_square_keeps_its_top_left_corner_in_every_frame(frame: Frame, x0: int, y0: int, side0: int) -> None:
    corners0 = np.array([(x0 + dx, y0 + dy) for dx in (0, side0) for dy in (0, side0)])
    corners = {tuple(point) for point in frame.from_slide(corners0).tolist()}
    left, top = frame.corner_from_slide(x0, y0, side0)
    assert corners == {(left + dx, top + dy) for dx in (0, side0) for dy in (0, side0)}


@pytest.mark.parametrize(
    ("name", "size", "top_left", "bottom_right"),
    [
        ("qupath", (400, 300), (0, 0), (399, 299)),
        ("qupath-rot90", (300, 400), (299, 0), (0, 399)),
        ("qupath-rot180", (400, 300), (399, 299), (0, 0)),
        ("qupath-rot270", (300, 400), (0, 399), (299, 0)),
    ],
)
def test_turns_are_clockwise_as_a_picture_is_turned(
    name: str, size: tuple[int, int], top_left: tuple[int, int], bottom_right: tuple[int, int]
) -> None:
    frame = named_frame(name, 1000, 800, (50, 70, 400, 300))
    assert frame.size == size
    assert frame.corner_from_slide(50, 70, 1) == top_left
    assert frame.corner_from_slide(449, 369, 1) == bottom_right
    # numpy turns pictures too, counting anticlockwise
    picture = np.arange(400 * 300).reshape(300, 400)
    column, row = frame.corner_from_slide(50 + 123, 70 + 45, 1)
    assert np.rot90(picture, -frame.turns)[row, column] == picture[45, 123]


@pytest.mark.parametrize("bounds", [None, (0, 0, 640, 512), (0, 0, 600, 500)])
def test_without_an_offset_the_two_plain_frames_are_one(bounds: Box0 | None) -> None:
    names = [frame.name for frame in candidate_frames(640, 512, bounds)]
    assert names == ["qupath", "qupath-rot90", "qupath-rot180", "qupath-rot270"]


def test_with_an_offset_the_whole_scan_is_a_candidate_too() -> None:
    assert candidate_frames(1024, 768, (256, -3, 512, 384)) == (
        Frame("qupath", 256, -3, 512, 384),
        Frame("slide", 0, 0, 1024, 768),
        Frame("qupath-rot90", 256, -3, 512, 384, 1),
        Frame("qupath-rot180", 256, -3, 512, 384, 2),
        Frame("qupath-rot270", 256, -3, 512, 384, 3),
    )


@pytest.mark.parametrize("name", FRAMES)
def test_a_named_frame_is_the_candidate_of_that_name(name: str) -> None:
    bounds = (256, -3, 512, 384)
    assert [named_frame(name, 1024, 768, bounds)] == [
        frame for frame in candidate_frames(1024, 768, bounds) if frame.name == name
    ]
    assert stated_frame(name, 1024, 768, bounds, "a.mrxs") == named_frame(name, 1024, 768, bounds)


def test_without_an_offset_auto_is_qupath_and_slide_may_still_be_named() -> None:
    assert stated_frame("auto", 640, 512, None, "a.svs") == Frame("qupath", 0, 0, 640, 512)
    assert stated_frame("auto", 640, 512, (0, 0, 600, 500), "a.svs") == Frame("qupath", 0, 0, 600, 500)
    assert stated_frame("slide", 640, 512, (0, 0, 600, 500), "a.svs") == Frame("slide", 0, 0, 640, 512)


def test_a_frame_of_no_known_name_is_a_key_error() -> None:
    with pytest.raises(KeyError) as caught:
        named_frame("qupath-rot45", 640, 512, None)
    assert caught.value.args == ("qupath-rot45",)


@pytest.mark.parametrize("bounds", [(256, 128, 512, 384), (0, 1, 9, 9), (-4, 0, 9, 9)])
def test_frames_that_differ_are_never_guessed(bounds: Box0) -> None:
    with pytest.raises(FrameError) as caught:
        stated_frame("auto", 1024, 768, bounds, "a.mrxs")
    assert str(caught.value) == (
        f"a.mrxs: the slide's bounds begin at ({bounds[0]}, {bounds[1]}), so QuPath's frame and the slide's differ. "
        "Pass --origin qupath (QuPath with its default settings) or --origin slide (level-0 pixels of the whole scan, "
        "QuPath with --no-crop)."
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

"""What a slide promises: exact pixels in the level-0 frame, white outside, faults in words."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MakeSlide, coordinate_image, save_svs
from w2wpath.errors import ConfigError, MissingMppError, SlideError
from w2wpath.slides.reader import open_slide, require_mpp

IMAGE = coordinate_image(640, 512)


def test_a_slide_says_its_size_levels_and_scale(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs) as slide:
        assert (slide.width0, slide.height0, slide.downsamples) == (640, 512, (1.0, 4.0))
        assert (slide.mpp, slide.mpp_from, slide.bounds0) == (0.5, "header", None)


@given(x0=st.integers(0, 600), y0=st.integers(0, 470))
def test_level_0_is_read_to_the_pixel(coordinate_svs: Path, x0: int, y0: int) -> None:
    with open_slide(coordinate_svs) as slide:
        rgb = slide.read_rgb(x0, y0, 0, 40, 42)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, IMAGE[y0 : y0 + 42, x0 : x0 + 40])


def test_level_1_is_read_to_the_pixel_from_level_0_corners(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs) as slide:
        rgb = slide.read_rgb(200, 120, 1, 64, 48)
    assert np.array_equal(rgb, IMAGE[::4, ::4][30:78, 50:114])


def test_outside_the_scan_is_white(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs) as slide:
        corner = slide.read_rgb(-8, -8, 0, 16, 16)
        beyond = slide.read_rgb(640, 0, 0, 16, 16)
    assert (beyond == 255).all()
    assert (corner[:8] == 255).all()
    assert np.array_equal(corner[8:, 8:], IMAGE[:8, :8])


def test_what_was_never_scanned_is_white_and_the_bounds_say_where_the_scan_begins(bounded_slide: Path) -> None:
    with open_slide(bounded_slide) as slide:
        assert slide.bounds0 == (256, 128, 512, 384)
        assert slide.mpp == 0.5
        assert (slide.read_rgb(0, 0, 0, 64, 64) == 255).all()
        inside = slide.read_rgb(256, 128, 0, 512, 384)
    assert np.array_equal(inside, coordinate_image(1024, 768)[128:512, 256:768])


def test_threads_may_read_one_slide_at_once(coordinate_svs: Path) -> None:
    corners = [(x, y) for y in range(0, 480, 32) for x in range(0, 600, 40)]
    with open_slide(coordinate_svs) as slide, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda corner: slide.read_rgb(*corner, 0, 40, 32), corners))
    assert all(np.array_equal(rgb, IMAGE[y : y + 32, x : x + 40]) for rgb, (x, y) in zip(found, corners, strict=True))


def test_a_level_that_is_not_there_is_named(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs) as slide, pytest.raises(SlideError) as caught:
        slide.read_rgb(0, 0, 2, 8, 8)
    assert str(caught.value) == f"{coordinate_svs}: has no level 2; its levels are 0 to 1."


def test_a_thumbnail_shows_the_whole_slide(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs) as slide:
        small, whole = slide.thumbnail(64), slide.thumbnail(5000)
    assert small.shape == (51, 64, 3)
    # 10 px a pixel and 8 px a grey level: red rises by 1.25 a pixel
    assert np.abs(small[25, :, 0] - (np.arange(64) * 10 + 5) / 8).max() <= 1.5
    assert np.array_equal(whole, IMAGE)


def test_a_thumbnail_is_a_coarser_level_itself_where_a_finer_one_would_cost_more(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs) as slide:
        as_it_is, finer = slide.thumbnail(272), slide.thumbnail(280)
    assert np.array_equal(as_it_is, IMAGE[::4, ::4])  # asked for a factor of 2.35; level 1 has 4, 1.7 times that
    assert finer.shape == (224, 280, 3)


def test_a_missing_slide_is_named(tmp_path: Path) -> None:
    with pytest.raises(SlideError) as caught:
        open_slide(tmp_path / "no.svs")
    assert str(caught.value) == f"{tmp_path / 'no.svs'}: no such slide. Check the path."


def test_a_file_that_is_no_slide_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.svs"
    path.write_text("not a slide")
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    assert str(caught.value) == (
        f"{path}: not a readable slide (Unsupported or missing image file). Check that the file is whole."
    )


def test_pixels_that_cannot_be_decoded_are_placed(tmp_path: Path) -> None:
    path = save_svs(tmp_path / "torn.svs", IMAGE)
    with tifffile.TiffFile(path) as file:
        start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + length] = b"\xff" * length
    path.write_bytes(content)
    with open_slide(path) as slide, pytest.raises(SlideError) as caught:
        slide.read_rgb(16, 8, 0, 8, 8)
    assert str(caught.value) == (
        f"{path}: pixels at x0=16, y0=8 cannot be decoded ({caught.value.__cause__}). "
        "The file is damaged there; scan or copy it again."
    )


def test_a_slide_without_mpp_names_the_flag(make_svs: MakeSlide) -> None:
    path = make_svs(mpp=None)
    with open_slide(path) as slide:
        assert (slide.mpp, slide.mpp_from) == (None, "unknown")
        with pytest.raises(MissingMppError) as caught:
            require_mpp(slide)
    assert str(caught.value) == (
        f"{path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
    )


@pytest.mark.parametrize("wrong", ["0", "-0.5", "nan", "inf", "1e-30", "1e30", "half"])
def test_a_header_with_an_impossible_scale_counts_as_without(make_svs: MakeSlide, wrong: str) -> None:
    with open_slide(make_svs(mpp=wrong)) as slide:
        assert (slide.mpp, slide.mpp_from) == (None, "unknown")


def test_the_flag_wins_over_the_header(coordinate_svs: Path) -> None:
    with open_slide(coordinate_svs, slide_mpp=0.25) as slide:
        assert (require_mpp(slide), slide.mpp_from) == (0.25, "flag")


@pytest.mark.parametrize(("wrong", "text"), [(0.0, "0"), (-1.0, "-1"), (float("nan"), "nan"), (1e-9, "1e-09")])
def test_an_impossible_flag_is_refused(coordinate_svs: Path, wrong: float, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_slide(coordinate_svs, slide_mpp=wrong)
    assert str(caught.value) == f"{coordinate_svs}: slide_mpp is {text}. Give um per pixel, like 0.25."


def test_pixels_that_are_not_square_are_refused_unless_the_user_knows_better(tmp_path: Path) -> None:
    path = tmp_path / "flat.tiff"
    oblong = {"resolution": (20000, 10000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, IMAGE, tile=(128, 128), compression="zlib", photometric="rgb", metadata=None, **oblong)
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    assert str(caught.value) == (
        f"{path}: pixels are not square (0.5 x 1 um). Pass --slide-mpp if the header is wrong."
    )
    with open_slide(path, slide_mpp=0.5) as slide:
        assert slide.mpp == 0.5


def test_a_thumbnail_read_in_blocks_equals_one_read_whole(
    coordinate_svs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_slide(coordinate_svs) as slide:
        whole = slide.thumbnail(100)
        monkeypatch.setattr("w2wpath.slides.base.THUMBNAIL_BLOCK_PX", 64)
        in_blocks = slide.thumbnail(100)
    assert np.array_equal(whole, in_blocks)

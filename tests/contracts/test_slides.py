"""The contract of slides, kept by each reader on every slide that is made for it, and across processes."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import coordinate_image, run_python
from tests.contracts.made import FLAT, ONLY_TIFFSLIDE, TILED, flat_tiff, jpeg_svs
from tests.contracts.slide_contract import SlideContract, assembled
from w2wpath.errors import ConfigError, SlideError
from w2wpath.slides.flat import FlatReader
from w2wpath.slides.openslide_reader import OpenSlideReader
from w2wpath.slides.reader import Reader, open_slide
from w2wpath.slides.tiffslide_reader import _first_at

READERS: tuple[Reader, ...] = get_args(Reader)


class TestAuto(SlideContract):
    open = partial(open_slide)
    slides = ("420-tables.tiff", "jpeg2000.tiff", "flat.png", "flat.jpg", "flat.tif")


class TestOpenSlide(SlideContract):
    open = partial(open_slide, reader="openslide")
    slides = tuple(TILED)


class TestSourceTiles(SlideContract):
    open = partial(open_slide, reader="source")
    slides = tuple(TILED)


class TestTiffSlide(SlideContract):
    open = partial(open_slide, reader="tiffslide")
    slides = ("deflate.svs", "bounded.tiff", "rgb-tables.svs", "420-tables.tiff", "420-bounded.tiff", *ONLY_TIFFSLIDE)


class TestFlat(SlideContract):
    open = partial(open_slide, reader="flat")
    slides = tuple(FLAT)


def test_auto_takes_openslide_first_and_flat_images_as_what_they_are(tmp_path: Path) -> None:
    with open_slide(jpeg_svs(tmp_path / "a.svs").path) as slide:
        assert type(slide) is OpenSlideReader
    with open_slide(flat_tiff(tmp_path / "a.tif").path) as slide:
        assert type(slide) is FlatReader


def test_a_reader_that_is_not_there_is_refused(coordinate_svs: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_slide(coordinate_svs, reader="tifslide")  # type: ignore[arg-type] # a misspelt name is the test
    assert str(caught.value) == (
        f"{coordinate_svs}: reader must be one of auto, openslide, tiffslide, source, flat; got 'tifslide'. "
        "Did you mean 'tiffslide'?"
    )


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_slide_is_named_by_every_reader(tmp_path: Path, reader: Reader) -> None:
    with pytest.raises(SlideError) as caught:
        open_slide(tmp_path / "no.svs", reader=reader)
    assert str(caught.value) == f"{tmp_path / 'no.svs'}: no such slide. Check the path."


@pytest.mark.parametrize("reader", READERS)
def test_a_mirax_slide_without_its_folder_says_so(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "Slide-1.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SlideError) as caught:
        open_slide(path, reader=reader)
    assert str(caught.value) == (f"{path}: its folder Slide-1/ with the pixels is not there. Copy it beside the file.")


@pytest.mark.parametrize("reader", ["source", "tiffslide"])
def test_levels_that_are_no_whole_fraction_are_read_to_the_pixel(tmp_path: Path, reader: Reader) -> None:
    image = coordinate_image(1003, 701)
    coarse = np.ascontiguousarray(image[::4, ::4][:175, :250])
    how: dict[str, Any] = {"tile": (128, 128), "compression": "zlib", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tiff") as file:
        file.write(image, **how)
        file.write(coarse, subfiletype=1, **how)
    with open_slide(tmp_path / "a.tiff", reader=reader) as slide, open_slide(tmp_path / "a.tiff") as auto:
        factor = slide.downsamples[1]
        assert factor == pytest.approx((1003 / 250 + 701 / 175) / 2, rel=1e-12)
        assert auto.downsamples == slide.downsamples
        for x, y in ((0, 0), (1, 1), (63, 77), (129, 150)):
            seen = slide.read_rgb(round(x * factor), round(y * factor), 1, 60, 20)
            assert np.array_equal(seen, coarse[y : y + 20, x : x + 60])
        # OpenSlide shifts such levels by fractions of a pixel; the blocks of the source do not
        assert np.array_equal(assembled(auto.blocks(1)), coarse)


def test_levels_of_the_same_size_are_told_apart(tmp_path: Path) -> None:
    image = coordinate_image(512, 384)
    how: dict[str, Any] = {"tile": (128, 128), "compression": "zlib", "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tiff") as file:
        file.write(image, **how)
        for grey in (50, 150):
            file.write(np.full((192, 256, 3), grey, dtype=np.uint8), subfiletype=1, **how)
    with open_slide(tmp_path / "a.tiff") as slide:
        assert len(slide.level_sizes) == 3
        for level in range(3):
            assert np.array_equal(
                assembled(slide.blocks(level)), slide.read_rgb(0, 0, level, *slide.level_sizes[level])
            )


@given(place=st.integers(0, 10**6), size=st.integers(1, 4000), coarse=st.integers(1, 4000))
def test_tiffslide_is_sent_to_the_pixel_that_is_meant(place: int, size: int, coarse: int) -> None:
    factor = max(1.0, size / coarse)
    x0 = _first_at(place, factor)
    assert int(x0 / factor) == place
    assert abs(x0 - place * factor) <= 1.01


# processes -----------------------------------------------------------------------------------------------------------

FORKED = """
import os, sys
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from w2wpath.slides.reader import open_slide
slide = open_slide(Path(sys.argv[1]), reader=sys.argv[2])
def pixels(_=0): return slide.read_rgb(300, 200, 0, 150, 140).tobytes() + slide.blocks(0).decode(2, 1).tobytes()
before = pixels()
for _ in range(3):
    if child := os.fork():
        assert all(pixels() == before for _ in range(20))
        assert os.waitpid(child, 0)[1] == 0
    else:
        with ThreadPoolExecutor(2) as pool: same = set(pool.map(pixels, range(20))) == {before}
        os._exit(0 if same else 1)
assert pixels() == before
"""
SPAWNED = """
import multiprocessing, sys
from pathlib import Path
from w2wpath.slides.reader import open_slide
if __name__ == "__main__":
    slide = open_slide(Path(sys.argv[1]), reader=sys.argv[2], slide_mpp=0.3)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(slide.__class__.read_rgb, (slide, 300, 200, 0, 150, 140))
    assert (found == slide.read_rgb(300, 200, 0, 150, 140)).all()
"""


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jpeg_svs(tmp_path_factory.mktemp("processes") / "a.svs").path


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("reader", READERS[1:4])
def test_forked_processes_read_what_their_parent_reads(slide_file: Path, reader: Reader) -> None:
    done = run_python(FORKED, slide_file, reader)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_slide_travels_to_a_spawned_process(slide_file: Path, tmp_path: Path) -> None:
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    done = run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')", slide_file, "auto")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
@pytest.mark.parametrize("reader", READERS[1:4])
def test_a_closed_slide_keeps_no_file_open(slide_file: Path, reader: Reader) -> None:
    def held() -> list[str]:
        links = (Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd"))
        return [os.readlink(link) for link in links if link.is_symlink() and os.readlink(link) == str(slide_file)]

    with open_slide(slide_file, reader=reader) as slide:
        slide.blocks(0).decode(0, 0)
        slide.read_rgb(0, 0, 0, 64, 64)
        assert held()
    assert held() == []

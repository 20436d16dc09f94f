"""The contract on real slides: readers agree, and what is broken is named."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.contracts.slide_contract import far, grid
from w2wpath.errors import SlideError
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import Reader, open_slide

pytestmark = pytest.mark.realdata

LEVELS: dict[str, tuple[tuple[tuple[int, int], ...], float | None, str]] = {
    # slide: its levels, um/px, and the packing of its tiles
    "CMU-1-Small-Region.svs": (((2220, 2967),), 0.499, "JPEG"),
    "TCGA-CR-7395-01A-01-TS1.svs": (((4443, 3567), (2221, 1783)), None, "JPEG 2000"),
    "colon_polyp_40x.tif": (((11264, 16384), (2816, 4096), (704, 1024)), 0.25, "JPEG"),
    "small.svs": (((16, 16),), 0.499, "JPEG"),
    "boxes.tiff": (((300, 250), (150, 125), (75, 62), (37, 31)), 352.7777798337701, "deflate"),
    "test3-TRITC-2.ndpi": (
        tuple((3968 >> level, 4864 >> level) for level in range(7)),
        0.2281750559028887,
        "reached through OpenSlide only (hamamatsu)",
    ),
    "camelyon_multiframe_jp2k.dcm": (((1696, 812),), 28.9685, "reached through OpenSlide only (dicom)"),
}
OTHERS: dict[str, tuple[Reader, ...]] = {
    "CMU-1-Small-Region.svs": ("source", "tiffslide"),
    "TCGA-CR-7395-01A-01-TS1.svs": ("tiffslide",),
    "colon_polyp_40x.tif": ("source", "tiffslide"),
    "small.svs": ("source", "tiffslide"),
    "boxes.tiff": ("source", "tiffslide"),
    "test3-TRITC-2.ndpi": ("tiffslide",),
}


@pytest.fixture
def folder(test_data: Path) -> Path:
    return test_data / "slides"


def corners(slide: Slide, level: int, side: int) -> list[tuple[int, int]]:
    """Level-0 corners spread over a level, on the grid that OpenSlide reads without shifting, some of them outside."""
    factor = slide.downsamples[level]
    if factor != int(factor):
        return [(0, 0)]
    step, (width, height) = int(factor), slide.level_sizes[level]
    places = itertools.product(
        (-side // 2, width // 3, width - side // 2), (-side // 2, height // 2, height - side // 2)
    )
    return [(x * step, y * step) for x, y in places]


@pytest.mark.parametrize("name", LEVELS)
def test_a_real_slide_says_its_levels_and_scale(folder: Path, name: str) -> None:
    levels, mpp, _ = LEVELS[name]
    with open_slide(folder / name) as slide:
        assert slide.level_sizes == levels
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp, rel=1e-9))
        assert slide.mpp_from == ("unknown" if mpp is None else "header")
        assert slide.downsamples == pytest.approx([(levels[0][0] / w + levels[0][1] / h) / 2 for w, h in levels])
        assert (slide.bounds0, slide.background) == (None, (255, 255, 255))


@pytest.mark.parametrize(("name", "reader"), [(name, reader) for name in OTHERS for reader in OTHERS[name]])
def test_readers_agree_on_real_slides(folder: Path, name: str, reader: Reader) -> None:
    with open_slide(folder / name, reader="openslide") as slide, open_slide(folder / name, reader=reader) as other:
        common = min(len(slide.level_sizes), len(other.level_sizes))
        assert other.level_sizes[:common] == slide.level_sizes[:common]
        assert other.downsamples[:common] == slide.downsamples[:common]
        assert other.mpp == (None if slide.mpp is None else pytest.approx(slide.mpp, rel=1e-6))
        assert (other.mpp_from, other.bounds0) == (slide.mpp_from, slide.bounds0)
        for level in range(common):
            for x0, y0 in corners(slide, level, 300):
                assert far(other.read_rgb(x0, y0, level, 300, 300), slide.read_rgb(x0, y0, level, 300, 300)) <= 1


@pytest.mark.parametrize("name", LEVELS)
def test_blocks_of_real_slides_are_what_is_read(folder: Path, name: str) -> None:
    with open_slide(folder / name) as slide:
        for level, factor in enumerate(slide.downsamples):
            blocks = slide.blocks(level)
            places = grid(blocks)
            for column, row in {places[0], places[len(places) // 2], places[-1]}:
                block = blocks.decode(column, row)
                x, y = column * blocks.block_width, row * blocks.block_height
                if factor == int(factor) or not (x or y):
                    read = slide.read_rgb(int(x * factor), int(y * factor), level, block.shape[1], block.shape[0])
                    assert far(block, read) <= 1


@pytest.mark.parametrize("name", LEVELS)
def test_the_codec_source_copies_jpeg_tiles_or_says_why_not(folder: Path, name: str) -> None:
    packing = LEVELS[name][2]
    with open_slide(folder / name) as slide:
        for level in range(len(slide.level_sizes)):
            blocks = slide.blocks(level)
            if packing == "JPEG":
                place = grid(blocks)[len(grid(blocks)) // 2]
                block = blocks.decode(*place)
                seen = np.asarray(Image.open(io.BytesIO(blocks.jpeg(*place))))
                assert far(seen[: block.shape[0], : block.shape[1]], block) <= 1
                continue
            with pytest.raises(SlideError) as caught:
                blocks.jpeg(0, 0)
            assert str(caught.value) == (
                f"{folder / name}: its tiles are {packing}; the codec `source` needs JPEG tiles. "
                "Take --codec jpeg or zstd."
            )


@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_a_slide_of_an_unknown_packing_is_named(folder: Path, reader: Reader) -> None:
    path = folder / "broken" / "unopenable.tiff"
    with pytest.raises(SlideError) as caught:
        open_slide(path, reader=reader)
    assert str(caught.value) == (
        f"{path}: not a readable slide (Unsupported TIFF compression: 52479). Check that the file is whole."
    )


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        ("tiffslide", "its tiles are of TIFF compression 52479, which nothing here decodes."),
        ("source", "its tiles are of TIFF compression 52479, which are not decoded directly. Take another reader."),
    ],
)
def test_other_readers_refuse_it_too(folder: Path, reader: Reader, text: str) -> None:
    path = folder / "broken" / "unopenable.tiff"
    with pytest.raises(SlideError) as caught:
        open_slide(path, reader=reader)
    assert str(caught.value) == f"{path}: {text}"


@pytest.mark.parametrize("reader", ["auto", "openslide", "source"])
def test_a_slide_that_opens_but_cannot_be_read_says_so(folder: Path, reader: Reader) -> None:
    path = folder / "broken" / "unreadable.svs"
    with open_slide(path, reader=reader) as slide:
        for _ in range(2):
            with pytest.raises(SlideError) as caught:
                slide.blocks(0).decode(0, 0)
            assert str(caught.value) == (
                f"{path}: level 0, block (0, 0) cannot be decoded ({caught.value.__cause__}). "
                "The file is damaged there; scan or copy it again."
            )
            with pytest.raises(SlideError) as caught:
                slide.read_rgb(0, 0, 0, 16, 16)
            where = "level 0, block (0, 0)" if reader == "source" else "pixels at x0=0, y0=0"
            assert str(caught.value) == (
                f"{path}: {where} cannot be decoded ({caught.value.__cause__}). "
                "The file is damaged there; scan or copy it again."
            )
        with pytest.raises(SlideError):
            slide.thumbnail(64)

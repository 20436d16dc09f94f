"""What `w2wpath.slides` promises, whichever library reads the file: a class of tests that every reader inherits."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.contracts.made import Made
from w2wpath.errors import SlideError
from w2wpath.slides.contract import Blocks, Slide


def far(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> int:
    """Largest difference in grey levels; shapes must agree."""
    assert found.shape == truth.shape
    assert found.dtype == np.uint8
    return int(np.abs(found.astype(int) - truth).max(initial=0))


def whole(slide: Slide, level: int) -> NDArray[np.uint8]:
    """A level read in one go."""
    return slide.read_rgb(0, 0, level, *slide.level_sizes[level])


def grid(blocks: Blocks) -> list[tuple[int, int]]:
    """Column and row of every block."""
    columns, rows = -(-blocks.width // blocks.block_width), -(-blocks.height // blocks.block_height)
    return [(column, row) for row in range(rows) for column in range(columns)]


def assembled(blocks: Blocks) -> NDArray[np.uint8]:
    """A level put together from its blocks."""
    out = np.zeros((blocks.height, blocks.width, 3), dtype=np.uint8)
    for column, row in grid(blocks):
        block = blocks.decode(column, row)
        top, left = row * blocks.block_height, column * blocks.block_width
        out[top : top + block.shape[0], left : left + block.shape[1]] = block
    return out


class SlideContract:
    """Subclasses say how to open a slide, and name the slides (of `made`) that they must read."""

    slides: ClassVar[tuple[str, ...]]
    open: ClassVar[Callable[..., Slide]]

    def opened(self, made: Made, **options: Any) -> Slide:
        return type(self).open(made.path, **options)

    def test_it_says_size_levels_scale_and_bounds(self, made: Made) -> None:
        with self.opened(made) as slide:
            sizes = tuple((level.shape[1], level.shape[0]) for level in made.levels)
            assert (slide.width0, slide.height0, slide.level_sizes) == (*sizes[0], sizes)
            assert slide.downsamples == (1.0, 4.0)[: len(sizes)]
            assert slide.mpp == (None if made.mpp is None else pytest.approx(made.mpp, rel=1e-9))
            assert (slide.mpp_from, slide.bounds0, slide.background) == (made.mpp_from, made.bounds0, (255, 255, 255))

    def test_the_flag_wins(self, made: Made) -> None:
        with self.opened(made, slide_mpp=0.25) as slide:
            assert (slide.mpp, slide.mpp_from) == (0.25, "flag")

    def test_every_level_is_read_to_the_pixel(self, made: Made) -> None:
        with self.opened(made) as slide:
            for level, truth in enumerate(made.levels):
                assert far(whole(slide, level), truth) <= made.tolerance
                step = round(slide.downsamples[level])
                part = slide.read_rgb(77 * step, 55 * step, level, 101, 99)
                assert far(part, truth[55:154, 77:178]) <= made.tolerance

    def test_outside_the_scan_is_background(self, made: Made) -> None:
        with self.opened(made) as slide:
            for level, truth in enumerate(made.levels):
                height, width = truth.shape[:2]
                step = round(slide.downsamples[level])
                seen = slide.read_rgb(-16 * step, -8 * step, level, width + 40, height + 30)
                inside = seen[8 : 8 + height, 16 : 16 + width]
                assert far(inside, truth) <= made.tolerance
                inside = np.full_like(inside, 255)
                seen = seen.copy()
                seen[8 : 8 + height, 16 : 16 + width] = 255
                assert (seen == 255).all()
                for x, y in ((width, 0), (0, height), (-40, 0), (0, -40), (10 * width, 10 * height)):
                    assert (slide.read_rgb(x * step, y * step, level, 16, 16) == 255).all()

    def test_blocks_put_together_are_what_is_read(self, made: Made) -> None:
        with self.opened(made) as slide:
            for level in range(len(made.levels)):
                blocks = slide.blocks(level)
                assert (blocks.width, blocks.height) == slide.level_sizes[level]
                assert far(assembled(blocks), whole(slide, level)) == 0

    def test_the_jpeg_of_a_block_is_the_block(self, made: Made) -> None:
        with self.opened(made) as slide:
            for level in range(len(made.levels)):
                blocks = slide.blocks(level)
                for place in grid(blocks) if made.jpeg and made.bounds0 is None else []:
                    file, block = blocks.jpeg(*place), blocks.decode(*place)
                    for pixels in (np.asarray(Image.open(io.BytesIO(file))), imagecodecs.jpeg8_decode(file)):
                        assert pixels.shape == (blocks.block_height, blocks.block_width, 3)
                        assert far(pixels[: block.shape[0], : block.shape[1]], block) <= 1

    def test_without_jpeg_tiles_the_codec_source_is_refused_with_the_cure(self, made: Made) -> None:
        with self.opened(made) as slide:
            if made.jpeg and made.bounds0 is None:
                return
            with pytest.raises(SlideError) as caught:
                slide.blocks(0).jpeg(0, 0)
        assert str(caught.value) == (
            f"{made.path}: level 0, block (0, 0) has no JPEG to copy (it was never scanned). "
            "Take --codec jpeg or zstd, or leave it out."
            if made.jpeg
            else f"{made.path}: its tiles are {made.packing}; the codec `source` needs JPEG tiles. "
            "Take --codec jpeg or zstd."
        )

    def test_a_level_that_is_not_there_is_named(self, made: Made) -> None:
        last = len(made.levels) - 1
        with self.opened(made) as slide:
            for level in (last + 1, -1):
                for ask in (lambda: slide.read_rgb(0, 0, level, 8, 8), lambda: slide.blocks(level)):  # noqa: B023 - called at once
                    with pytest.raises(SlideError) as caught:
                        ask()
                    assert str(caught.value) == f"{made.path}: has no level {level}; its levels are 0 to {last}."

    def test_a_block_that_is_not_there_is_named(self, made: Made) -> None:
        with self.opened(made) as slide:
            blocks = slide.blocks(0)
            column, row = grid(blocks)[-1]
            for ask in (blocks.decode, lambda c, r: slide.blocks(0).decode(c, r)):
                with pytest.raises(SlideError) as caught:
                    ask(column + 1, row)
                assert str(caught.value) == (
                    f"{made.path}: level 0 has no block ({column + 1}, {row}); "
                    f"it has {column + 1} columns and {row + 1} rows."
                )

    def test_many_threads_may_read_at_once(self, made: Made) -> None:
        corners = [(x, y) for y in range(0, 640, 80) for x in range(0, 960, 120)]
        with self.opened(made) as slide, ThreadPoolExecutor(8) as pool:
            blocks = slide.blocks(0)
            truth = made.levels[0]
            read = list(pool.map(lambda corner: slide.read_rgb(*corner, 0, 40, 60), corners))
            decoded = list(pool.map(lambda place: blocks.decode(*place), grid(blocks) * 3))
        for rgb, (x, y) in zip(read, corners, strict=True):
            assert far(rgb, truth[y : y + 60, x : x + 40]) <= made.tolerance
        for block, (column, row) in zip(decoded, grid(blocks) * 3, strict=True):
            x, y = column * blocks.block_width, row * blocks.block_height
            assert far(block, truth[y : y + block.shape[0], x : x + block.shape[1]]) <= made.tolerance

    def test_a_thumbnail_shows_the_whole_slide_and_no_more_than_asked(self, made: Made) -> None:
        with self.opened(made) as slide:
            for most in (64, 150, 251, 400, 2000):
                small = slide.thumbnail(most)
                assert max(small.shape[:2]) <= most
                assert max(small.shape[:2]) >= min(most / 1.7 - 1, 1004)
                assert small.shape[1] / small.shape[0] == pytest.approx(1004 / 700, rel=0.03)
            assert far(slide.thumbnail(2000), made.levels[0]) <= made.tolerance

    def test_a_copy_for_another_process_is_opened_there(self, made: Made) -> None:
        with self.opened(made, slide_mpp=0.3) as slide, pickle.loads(pickle.dumps(slide)) as other:
            assert (type(other), other.mpp, other.mpp_from) == (type(slide), 0.3, "flag")
            assert far(other.read_rgb(300, 200, 0, 64, 64), slide.read_rgb(300, 200, 0, 64, 64)) == 0

    def test_a_closed_slide_says_so(self, made: Made) -> None:
        slide = self.opened(made)
        slide.close()
        slide.close()
        for ask in (lambda: slide.read_rgb(0, 0, 0, 8, 8), lambda: slide.blocks(0)):
            with pytest.raises(SlideError) as caught:
                ask()
            assert str(caught.value) == f"{made.path}: is closed. Open it again to read it."

"""Cutting: to the pixel where no resize is needed, centred where one is; every block decoded once."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import coordinate_image, noise_image, save_bounded_tiff, save_svs, tear
from tests.contracts.made import bounded_jpeg, jpeg_svs
from w2wpath.errors import ConfigError, SlideError
from w2wpath.frames import Scale, source_level
from w2wpath.slides.contract import Blocks, Slide
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.cut import cut, refuse_source

IMAGE = coordinate_image(640, 512)
SCALES = {
    "native": Scale(64, 64, 64, 0.5),
    "a half": Scale(64, 128, 128, 1.0),
    "0.43": Scale(64, 149, 149, 0.58),
    "a little smaller": Scale(40, 43, 43, 0.54),
    "enlarged": Scale(64, 50, 50, 0.39),
    "level 1 as it is": Scale(64, 256, 256, 2.0),
    "level 1 resized": Scale(24, 301, 301, 6.27),
}


def corners_of(corners: list[tuple[int, int]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    x0, y0 = np.array(corners, dtype=np.int32).reshape(-1, 2).T
    return x0, y0


def tiles_at(
    path: Path, corners: list[tuple[int, int]], scale: Scale, threads: int | None = None
) -> list[NDArray[np.uint8]]:
    with open_slide(path) as slide:
        return list(cut(slide, *corners_of(corners), scale, threads=threads))


def plain(slide: Slide, corners: list[tuple[int, int]], scale: Scale) -> list[NDArray[np.uint8]]:
    """The same tiles without any art: read the level as a whole, crop, let Pillow resize."""
    level = source_level(slide.downsamples, scale.side0, scale.tile_px)
    width, height = slide.level_sizes[level]
    image = slide.read_rgb(0, 0, level, width, height)
    factor = (Fraction(slide.width0, width) + Fraction(slide.height0, height)) / 2
    side, tiles = scale.side0 / factor, []
    for x0, y0 in corners:
        left, top = x0 / factor, y0 / factor
        column, row = math.floor(left), math.floor(top)
        right, bottom = math.ceil(left + side), math.ceil(top + side)
        crop = np.full((bottom - row, right - column, 3), slide.background, dtype=np.uint8)
        from_x, from_y, to_x, to_y = max(column, 0), max(row, 0), min(right, width), min(bottom, height)
        if from_x < to_x and from_y < to_y:
            crop[from_y - row : to_y - row, from_x - column : to_x - column] = image[from_y:to_y, from_x:to_x]
        if crop.shape[:2] != (scale.tile_px, scale.tile_px) or side != scale.tile_px:
            box = tuple(float(edge) for edge in (left - column, top - row, left + side - column, top + side - row))
            size = (scale.tile_px, scale.tile_px)
            crop = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.LANCZOS, box=box))  # type: ignore[arg-type]
        tiles.append(crop)
    return tiles


def equal(found: list[NDArray[np.uint8]], truth: list[NDArray[np.uint8]]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(found, truth, strict=True))


class Counting:
    """A slide whose blocks count how often each of them is decoded."""

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self.decoded: Counter[tuple[int, int]] = Counter()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slide, name)

    def blocks(self, level: int) -> Blocks:
        return CountingBlocks(self._slide.blocks(level), self._count)

    def _count(self, place: tuple[int, int]) -> None:
        with self._lock:
            self.decoded[place] += 1


class CountingBlocks:
    """Blocks that tell of every one that is decoded, and then decode it."""

    def __init__(self, blocks: Blocks, count: Callable[[tuple[int, int]], None]) -> None:
        self._blocks, self._count = blocks, count
        self.width, self.height = blocks.width, blocks.height
        self.block_width, self.block_height = blocks.block_width, blocks.block_height

    def decode(self, column: int, row: int) -> NDArray[np.uint8]:
        self._count((column, row))
        return self._blocks.decode(column, row)

    def jpeg(self, column: int, row: int) -> bytes:
        return self._blocks.jpeg(column, row)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of 1004 x 700 px, neither a whole number of blocks; level 1 at a quarter."""
    return save_svs(tmp_path_factory.mktemp("noisy") / "noisy.svs", noise_image(1004, 700))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise whose level 1 is smaller by 1.1, so that hardly a corner falls on a whole pixel of it."""
    image = noise_image(660, 550)
    return save_svs(tmp_path_factory.mktemp("uneven") / "uneven.svs", image, quarter=image[:500, :600].copy())


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 256 x 256 px whose red is x and whose green is y, at level 1 as a camera would see it."""
    y, x = np.mgrid[0:256, 0:256]
    image = np.stack([x, y, np.zeros_like(x)], axis=-1)
    quarter = image.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    path = tmp_path_factory.mktemp("ramp") / "ramp.svs"
    return save_svs(path, image.astype(np.uint8), quarter=np.round(quarter).astype(np.uint8))


@given(x0=st.integers(0, 576), y0=st.integers(0, 448))
def test_at_scale_1_a_tile_is_exact_at_any_offset(coordinate_svs: Path, x0: int, y0: int) -> None:
    (tile,) = tiles_at(coordinate_svs, [(x0, y0)], Scale(64, 64, 64, 0.5))
    assert tile.dtype == np.uint8
    assert np.array_equal(tile, IMAGE[y0 : y0 + 64, x0 : x0 + 64])


@given(column=st.integers(0, 96), row=st.integers(0, 64))
def test_at_a_quarter_a_tile_is_exact_from_level_1(coordinate_svs: Path, column: int, row: int) -> None:
    (tile,) = tiles_at(coordinate_svs, [(column * 4, row * 4)], Scale(64, 256, 256, 2.0))
    assert np.array_equal(tile, IMAGE[::4, ::4][row : row + 64, column : column + 64])


@given(
    x0=st.integers(0, 255),
    y0=st.integers(0, 255),
    side0=st.sampled_from([40, 64, 65, 100, 127, 128, 149, 200, 250, 256]),
)
def test_a_resized_tile_shows_what_lies_below_each_of_its_pixels(ramp: Path, x0: int, y0: int, side0: int) -> None:
    x0, y0 = min(x0, 256 - side0), min(y0, 256 - side0)
    (tile,) = tiles_at(ramp, [(x0, y0)], Scale(64, side0, side0, 0.5))
    centres = (np.arange(64) + 0.5) * side0 / 64 - 0.5
    inner = slice(6, -6)  # at the rim the filter has no neighbours on one side
    assert tile.shape == (64, 64, 3)
    assert np.abs(tile[inner, inner, 0] - (x0 + centres[inner])).max() <= 1.01
    assert np.abs(tile[inner, inner, 1] - (y0 + centres[inner])[:, None]).max() <= 1.01
    assert np.abs(tile[..., 0] - (x0 + centres)).max() <= 1 + side0 / 64


def test_tiles_come_in_order_however_many_threads_read(coordinate_svs: Path) -> None:
    corners = [(x, y) for y in range(0, 512, 16) for x in range(0, 640, 16)]
    tiles = tiles_at(coordinate_svs, corners, Scale(16, 16, 16, 0.5), threads=3)
    assert len(tiles) == 1280 > 64 * 3
    assert all(np.array_equal(tile, IMAGE[y : y + 16, x : x + 16]) for tile, (x, y) in zip(tiles, corners, strict=True))


def test_the_last_tile_of_a_slide_brings_no_white_in(coordinate_svs: Path) -> None:
    for side0 in (64, 100, 256):
        (tile,) = tiles_at(coordinate_svs, [(640 - side0, 512 - side0)], Scale(64, side0, side0, 0.5))
        assert tile[..., 2].max() <= 1  # blue is 0 everywhere on the slide


# against the plain way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("step", [1.0, 0.5, 0.3], ids=["side by side", "half overlapping", "much overlapping"])
def test_a_grid_over_every_edge_is_what_the_plain_way_gives(noisy: Path, name: str, step: float) -> None:
    scale = SCALES[name]
    stride = max(1, int(scale.side0 * step))
    corners = [(x, y) for y in range(-37, 700, stride) for x in range(-21, 1004, stride)][:900]
    with open_slide(noisy) as slide:
        assert equal(list(cut(slide, *corners_of(corners), scale, threads=3)), plain(slide, corners, scale))


@pytest.mark.parametrize("side0", [64, 128, 149])
def test_coordinates_are_found_where_they_lie_at_every_scale(coordinate_svs: Path, side0: int) -> None:
    stride = side0 // 2 - 1
    corners = [(x, y) for y in range(3, 512 - side0, stride) for x in range(5, 640 - side0, stride)]
    centres = (np.arange(64) + 0.5) * side0 / 64
    inner = slice(4, -4)
    for tile, (x0, y0) in zip(tiles_at(coordinate_svs, corners, Scale(64, side0, stride, 0.5)), corners, strict=True):
        assert np.abs(tile[inner, inner, 0] - (x0 + centres[inner]) / 8 + 0.5).max() <= 1.1
        assert np.abs(tile[inner, inner, 1] - (y0 + centres[inner])[:, None] / 8 + 0.5).max() <= 1.1


places = st.tuples(st.integers(-160, 1100), st.integers(-160, 800))


@given(
    corners=st.lists(places, min_size=1, max_size=40),
    name=st.sampled_from(sorted(SCALES)),
    window=st.sampled_from([1, 3, 64]),
    per_task=st.sampled_from([1, 4]),
    cache_bytes=st.sampled_from([0, 3 * 128 * 128 * 5, 1 << 30]),
)
def test_any_corners_in_any_order_are_what_the_plain_way_gives(
    noisy: Path, corners: list[tuple[int, int]], name: str, window: int, per_task: int, cache_bytes: int
) -> None:
    scale = SCALES[name]
    with pytest.MonkeyPatch.context() as patch, open_slide(noisy) as slide:
        patch.setattr("w2wpath.tiles.cut.WINDOW", window)
        patch.setattr("w2wpath.tiles.cut.PER_TASK", per_task)
        patch.setattr("w2wpath.tiles.cut.CACHE_BYTES", cache_bytes)
        assert equal(list(cut(slide, *corners_of(corners), scale, threads=3)), plain(slide, corners, scale))


def test_a_level_whose_factor_is_not_whole_is_cut_from_any_corner(uneven: Path) -> None:
    # 33 / 1.1 is a last bit less than 30, and a box may not begin before its pixels
    corners = [(x, x * 3 // 4) for x in range(600)]
    scale = Scale(64, 100, 100, 0.78)
    with open_slide(uneven) as slide:
        assert slide.downsamples == (1.0, 1.1)
        for found, truth in zip(cut(slide, *corners_of(corners), scale), plain(slide, corners, scale), strict=True):
            assert np.abs(found.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("side0", [64, 100])
def test_what_was_never_scanned_is_background(tmp_path: Path, side0: int) -> None:
    image, bounds = noise_image(1024, 768), (256, 128, 512, 384)
    path = save_bounded_tiff(tmp_path / "bounded.tiff", image, bounds)
    scale = Scale(64, side0, side0, 0.5)
    corners = [(x, y) for y in range(-50, 768, 50) for x in range(-50, 1024, 50)]
    with open_slide(path) as slide:
        assert slide.bounds0 == bounds
        found = list(cut(slide, *corners_of(corners), scale))
        assert equal(found, plain(slide, corners, scale))
    blank = [x0 + side0 <= 256 or x0 >= 768 or y0 + side0 <= 128 or y0 >= 512 for x0, y0 in corners]
    assert [bool((tile == 255).all()) for tile in found] == blank
    assert 0 < sum(blank) < len(blank)


def test_a_tile_wholly_off_the_slide_is_background(noisy: Path) -> None:
    corners = [(-64, 0), (0, -64), (1004, 0), (0, 700), (-500, -500), (5000, 5000), (1010, 300), (300, 720)]
    for tile in tiles_at(noisy, corners, SCALES["native"]):
        assert (tile == 255).all()


def test_no_tiles_are_no_tiles(noisy: Path) -> None:
    assert tiles_at(noisy, [], SCALES["native"]) == []


# blocks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_block_is_decoded_exactly_once(noisy: Path, name: str, shuffled: bool) -> None:
    scale = SCALES[name]
    corners = [(x, y) for y in range(0, 700, 32) for x in range(0, 1004, 32)]
    if shuffled:
        corners = [corners[i] for i in np.random.default_rng(0).permutation(len(corners))]
    with open_slide(noisy) as slide:
        counting = Counting(slide)
        for _ in cut(counting, *corners_of(corners), scale, threads=3):
            pass
        level = slide.blocks(source_level(slide.downsamples, scale.side0, scale.tile_px))
    columns, rows = -(-level.width // 128), -(-level.height // 128)
    assert counting.decoded == {(column, row): 1 for row in range(rows) for column in range(columns)}


def test_only_blocks_that_a_tile_meets_are_decoded(noisy: Path) -> None:
    with open_slide(noisy) as slide:
        counting = Counting(slide)
        list(cut(counting, *corners_of([(128, 128), (300, 140)]), SCALES["native"]))
    assert counting.decoded == {(1, 1): 1, (2, 1): 1}


def test_a_cache_without_room_decodes_again_and_gives_the_same(noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("w2wpath.tiles.cut.CACHE_BYTES", 0)
    monkeypatch.setattr("w2wpath.tiles.cut.WINDOW", 5)
    corners = [(x, y) for y in range(0, 640, 50) for x in range(0, 900, 50)]
    with open_slide(noisy) as slide:
        counting = Counting(slide)
        assert equal(
            list(cut(counting, *corners_of(corners), SCALES["native"])), plain(slide, corners, SCALES["native"])
        )
    assert max(counting.decoded.values()) > 1


# threads --------------------------------------------------------------------------------------------------------------


def test_what_encode_makes_of_tiles_comes_in_order(noisy: Path) -> None:
    corners = [(x, y) for y in range(0, 600, 64) for x in range(0, 900, 64)]
    seen: set[int] = set()

    def slowly(tile: NDArray[np.uint8]) -> bytes:
        seen.add(threading.get_ident())
        time.sleep(int(tile[0, 0, 0]) % 4 / 1000)
        return tile.tobytes()

    with open_slide(noisy) as slide:
        found = list(cut(slide, *corners_of(corners), SCALES["native"], encode=slowly, threads=3))
        assert found == [tile.tobytes() for tile in plain(slide, corners, SCALES["native"])]
    assert len(seen) > 1
    assert threading.get_ident() not in seen


@pytest.fixture
def workers() -> Callable[[], set[threading.Thread]]:
    """Threads of pools that the test has begun and that are still there; a pool of another test may live on."""

    def pooled() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")}

    before = pooled()
    return lambda: pooled() - before


def test_a_fault_of_encode_comes_through(noisy: Path, workers: Callable[[], set[threading.Thread]]) -> None:
    def refuse(tile: NDArray[np.uint8]) -> bytes:
        raise KeyError("no codec")

    with open_slide(noisy) as slide, pytest.raises(KeyError, match="no codec"):
        list(cut(slide, *corners_of([(0, 0), (64, 0)]), SCALES["native"], encode=refuse))
    assert not workers()


@pytest.mark.parametrize("taken", [0, 1, 70])
def test_a_consumer_that_stops_early_leaves_no_threads(
    noisy: Path, taken: int, workers: Callable[[], set[threading.Thread]]
) -> None:
    corners = [(x, y) for y in range(0, 600, 16) for x in range(0, 900, 16)]
    with open_slide(noisy) as slide:
        tiles = cut(slide, *corners_of(corners), SCALES["native"], threads=3)
        for _ in range(taken):
            next(tiles)
        assert bool(workers()) == bool(taken)
        tiles.close()  # type: ignore[attr-defined] # it is a generator
        assert not workers()


def test_two_cuts_of_one_slide_at_once_do_not_meet(noisy: Path) -> None:
    corners = [(x, y) for y in range(0, 600, 48) for x in range(0, 900, 48)]
    with open_slide(noisy) as slide:
        pairs = zip(
            cut(slide, *corners_of(corners), SCALES["native"], threads=2),
            cut(slide, *corners_of(corners), SCALES["0.43"], threads=2),
            strict=True,
        )
        one, other = map(list, zip(*pairs, strict=True))
        assert equal(one, plain(slide, corners, SCALES["native"]))
        assert equal(other, plain(slide, corners, SCALES["0.43"]))


# damage ---------------------------------------------------------------------------------------------------------------

TORN = {(1, 0), (4, 3), (5, 3)}


def torn_words(path: Path, place: tuple[int, int]) -> str:
    return (
        f"{path}: level 0, block {place} cannot be decoded (it has 9 of 49152 bytes). "
        "The file is damaged there; scan or copy it again."
    )


@pytest.mark.parametrize("name", ["native", "a half", "0.43"])
def test_a_torn_block_takes_exactly_its_tiles(tmp_path: Path, noisy: Path, name: str) -> None:
    scale = SCALES[name]
    path = save_svs(tmp_path / "torn.svs", noise_image(1004, 700))
    tear(path, TORN)
    corners = [(x, y) for y in range(-20, 700, 61) for x in range(-20, 1004, 61)]
    told: list[str] = []
    with open_slide(path) as slide, open_slide(noisy) as unhurt:
        found = list(cut(slide, *corners_of(corners), scale, damaged=told.append, encode=np.copy, threads=3))
        truth = plain(unhurt, corners, scale)

    def meets(x0: int, y0: int) -> bool:
        side = scale.side0
        return any(
            x0 < 128 * c + 128 and 128 * c < x0 + side and y0 < 128 * r + 128 and 128 * r < y0 + side for c, r in TORN
        )

    assert [tile is None for tile in found] == [meets(*corner) for corner in corners]
    assert equal(
        [tile for tile in found if tile is not None], [t for t, c in zip(truth, corners, strict=True) if not meets(*c)]
    )
    assert set(told) == {torn_words(path, place) for place in TORN}


def test_every_torn_block_of_a_tile_is_told(tmp_path: Path) -> None:
    path = tear(save_svs(tmp_path / "torn.svs", noise_image(1004, 700)), TORN)
    told: list[str] = []
    with open_slide(path) as slide:
        assert list(cut(slide, *corners_of([(600, 400)]), SCALES["native"], damaged=told.append)) == [None]
    assert told == [torn_words(path, (4, 3)), torn_words(path, (5, 3))]


def test_a_tile_that_cannot_be_decoded_is_placed(tmp_path: Path, workers: Callable[[], set[threading.Thread]]) -> None:
    path = tear(save_svs(tmp_path / "torn.svs", IMAGE), {(1, 0)})
    with open_slide(path) as slide:
        tiles = cut(slide, *corners_of([(0, 0), (128, 0)]), SCALES["native"], threads=1)
        with pytest.raises(SlideError) as caught:
            list(tiles)
    assert str(caught.value) == torn_words(path, (1, 0))
    assert not workers()


# the scanner's own tiles ----------------------------------------------------------------------------------------------

OWN = Scale(128, 128, 128, 0.5)


def test_source_gives_the_scanners_own_jpegs(tmp_path: Path) -> None:
    made = jpeg_svs(tmp_path / "a.svs")
    corners = [(x, y) for y in range(0, 700, 128) for x in range(0, 1004, 128)]
    with open_slide(made.path) as slide:
        for level, factor in ((0, 1), (1, 4)):
            inside = [(x * factor, y * factor) for x, y in corners if x * factor < 1004 and y * factor < 700]
            scale = Scale(128, 128 * factor, 128 * factor, 0.5 * factor)
            refuse_source(slide, *corners_of(inside), scale)
            blocks = slide.blocks(level)
            truth = [blocks.jpeg(x // 128 // factor, y // 128 // factor) for x, y in inside]
            assert list(cut(slide, *corners_of(inside), scale, source=True)) == truth
            assert len(set(truth)) > 1


def test_source_tells_of_tiles_that_are_not_there(tmp_path: Path) -> None:
    made = bounded_jpeg(tmp_path / "a.tiff")  # columns 2 to 5 and rows 1 to 3 were scanned
    corners = corners_of([(128, 128), (256, 128), (384, 512)])
    words = [
        f"{made.path}: level 0, block {place} has no JPEG to copy (it was never scanned). "
        "Take --codec jpeg or zstd, or leave it out."
        for place in ((1, 1), (3, 4))
    ]
    told: list[str] = []
    with open_slide(made.path) as slide:
        assert list(cut(slide, *corners, OWN, source=True, damaged=told.append)) == [
            None,
            slide.blocks(0).jpeg(2, 1),
            None,
        ]
        assert told == words
        with pytest.raises(SlideError) as caught:
            list(cut(slide, *corners, OWN, source=True))
    assert str(caught.value) == words[0]


@pytest.mark.parametrize(
    ("corner", "scale", "tiles", "mpp"),
    [
        ((0, 0), Scale(64, 64, 64, 0.5), "64 px of 64", "0.5"),
        ((0, 0), Scale(128, 256, 256, 1.0), "128 px of 256", "0.5"),
        ((0, 0), Scale(64, 512, 512, 4.0), "64 px of 512", "2"),
        ((128, 64), Scale(128, 128, 128, 0.5), "128 px of 128", "0.5"),
        ((256, 0), Scale(128, 512, 512, 2.0), "128 px of 512", "2"),
    ],
    ids=["size", "scale", "size of level 1", "grid", "grid of level 1"],
)
def test_source_is_refused_where_tiles_are_not_blocks(
    tmp_path: Path, corner: tuple[int, int], scale: Scale, tiles: str, mpp: str
) -> None:
    made = jpeg_svs(tmp_path / "a.svs")
    with open_slide(made.path) as slide, pytest.raises(ConfigError) as caught:
        refuse_source(slide, *corners_of([(0, 0), corner]), scale)
    assert str(caught.value) == (
        f"{made.path}: --codec source keeps the scanner's own tiles of 128 x 128 px, and tiles of {tiles} level-0 "
        f"pixels are not these. Take --tile-px 128, --mpp {mpp}, --anchor slide and no --stride, "
        "or --codec jpeg or zstd."
    )

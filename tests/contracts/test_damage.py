"""Damaged slides: what is broken fails alone and in words, and the rest reads as ever."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.conftest import noise_image
from tests.contracts.made import (
    CENTIMETRE,
    HEIGHT,
    IMAGE,
    TILE,
    WIDTH,
    Made,
    jpeg_svs,
    jpeg_tiff,
    lose,
    lossless_tiff,
    write_jpeg_page,
)
from tests.contracts.slide_contract import far, grid, whole
from w2wpath.errors import SlideError
from w2wpath.slides.reader import Reader, open_slide
from w2wpath.slides.source_tiles import tiled_tiff

BAD = (3, 2)
"""Column and row of the tile that is damaged."""
TILE_READERS: tuple[Reader, ...] = ("openslide", "source", "tiffslide")
CURE = "The file is damaged there; scan or copy it again."


def damage(path: Path, change: Callable[[bytes], bytes], place: tuple[int, int] = BAD) -> None:
    """Change the bytes of one tile of level 0; their number stays."""
    page = tiled_tiff(path).levels[0]
    index = place[1] * page.scanned().shape[1] + place[0]
    offset, count = int(page.offsets[index]), int(page.counts[index])
    data = path.read_bytes()
    new = change(data[offset : offset + count])
    assert len(new) == count
    path.write_bytes(data[:offset] + new + data[offset + count :])


def noisy_jpeg(path: Path) -> Made:
    """A TIFF whose tiles have many bytes, so that there is a middle to damage."""
    image = noise_image(WIDTH, HEIGHT) // 4 + 96
    with tifffile.TiffWriter(path) as file:
        level = write_jpeg_page(file, image, "YCBCR", "420", **CENTIMETRE)
    return Made(path, (level,), "JPEG", tolerance=1)


def middle(new: bytes) -> Callable[[bytes], bytes]:
    """Write `new` over the middle of a tile."""
    return lambda data: data[: len(data) // 2] + new + data[len(data) // 2 + len(new) :]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "zeroed": (lambda data: bytes(len(data)), "it does not begin as a JPEG"),
    "cut": (lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2), "its JPEG data break off"),
    "ends early": (middle(b"\xff\xd9\x12"), "its JPEG data break off"),
    "stray marker": (middle(b"\xff\xd3\x12"), "its JPEG data break off"),
    "overwritten": (middle(np.random.default_rng(0).bytes(2000)), "its JPEG data break off"),
    "header overwritten": (lambda data: data[:2] + bytes(200) + data[202:], "its JPEG header is damaged"),
    "header cut": (lambda data: data[:20] + b"\xff\xfe\xff\xff" + data[24:], "its JPEG header ends early"),
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("reader", ["openslide", "source"])
def test_a_corrupt_source_tile_fails_alone(tmp_path: Path, how: str, reader: Reader) -> None:
    made = noisy_jpeg(tmp_path / "a.tiff")
    change, why = DAMAGES[how]
    damage(made.path, change)
    truth = made.levels[0]
    with open_slide(made.path, reader=reader) as slide:
        blocks = slide.blocks(0)
        for _ in range(2):
            for column, row in grid(blocks):
                x, y = column * TILE, row * TILE
                if (column, row) != BAD:
                    inside = truth[y : y + TILE, x : x + TILE]
                    assert far(blocks.decode(column, row), inside) <= 1
                    assert far(slide.read_rgb(x, y, 0, inside.shape[1], inside.shape[0]), inside) <= 1
                    continue
                with pytest.raises(SlideError) as caught:
                    blocks.decode(column, row)
                assert str(caught.value) == (f"{made.path}: level 0, block (3, 2) cannot be decoded ({why}). {CURE}")
                with pytest.raises(SlideError) as caught:
                    blocks.jpeg(column, row)
                assert str(caught.value) == (
                    f"{made.path}: level 0, block (3, 2) has no JPEG to copy ({why}). "
                    "Take --codec jpeg or zstd, or leave it out."
                )
                if (reader, how) == ("openslide", "cut"):
                    continue  # zeros happen to decode to something, which OpenSlide takes for pixels
                with pytest.raises(SlideError) as caught:
                    slide.read_rgb(x + 8, y + 8, 0, 8, 8)
                where, cause = "pixels at x0=392, y0=264", caught.value.__cause__
                where, cause = (where, cause) if reader == "openslide" else ("level 0, block (3, 2)", why)
                assert str(caught.value) == f"{made.path}: {where} cannot be decoded ({cause}). {CURE}"


def test_tiffslide_survives_a_corrupt_source_tile_too(tmp_path: Path) -> None:
    made = lossless_tiff(tmp_path / "a.tiff", "JPEG 2000", "jpeg2000")
    with tifffile.TiffFile(made.path) as file:
        page = file.pages[0].aspage()
        offset, count = page.dataoffsets[19], page.databytecounts[19]
    data = made.path.read_bytes()
    made.path.write_bytes(data[:offset] + bytes(count) + data[offset + count :])
    with open_slide(made.path) as slide:
        with pytest.raises(SlideError) as caught:
            slide.read_rgb(3 * TILE, 2 * TILE, 0, 8, 8)
        assert str(caught.value) == (
            f"{made.path}: pixels at x0=384, y0=256 cannot be decoded ({caught.value.__cause__}). {CURE}"
        )
        assert far(slide.read_rgb(0, 0, 0, 384, 700), IMAGE[:, :384]) == 0
        with pytest.raises(SlideError) as caught:
            slide.blocks(0).decode(0, 0)
        assert str(caught.value) == (
            f"{made.path}: level 0, block (0, 0) cannot be decoded ({caught.value.__cause__.__cause__}). {CURE}"  # type: ignore[union-attr]
        )


def test_threads_are_not_hurt_by_the_fault_that_one_of_them_meets(tmp_path: Path) -> None:
    made = noisy_jpeg(tmp_path / "a.tiff")
    damage(made.path, DAMAGES["zeroed"][0])
    with open_slide(made.path, reader="openslide") as slide, ThreadPoolExecutor(6) as pool:

        def right(place: tuple[int, int]) -> bool:
            x, y = place[0] * TILE, place[1] * TILE
            truth = made.levels[0][y : y + 64, x : x + 64]
            try:
                return far(slide.read_rgb(x, y, 0, truth.shape[1], truth.shape[0]), truth) <= 1
            except SlideError:
                return place == BAD

        places = grid(slide.blocks(0)) * 4
        assert all(pool.map(right, places))


def test_a_thumbnail_leaves_out_what_is_damaged(tmp_path: Path) -> None:
    made = noisy_jpeg(tmp_path / "a.tiff")
    damage(made.path, DAMAGES["zeroed"][0], (0, 0))
    with open_slide(made.path, reader="source") as slide:
        seen = slide.thumbnail(2000)
    assert (seen[:512, :512] == 255).all()
    assert far(seen[512:], made.levels[0][512:]) == 0
    assert far(seen[:, 512:], made.levels[0][:, 512:]) == 0


def truncated(made: Made) -> bytes:
    """Cut a file within tile 30 of 48, and return what it was; the directory lies before the pixels."""
    data = made.path.read_bytes()
    made.path.write_bytes(data[: int(tiled_tiff(made.path).levels[0].offsets[30]) + 100])
    return data


@pytest.mark.parametrize("reader", ["source", "tiffslide"])
def test_a_truncated_file_reads_as_far_as_it_goes(tmp_path: Path, reader: Reader) -> None:
    made = noisy_jpeg(tmp_path / "a.tiff")
    truncated(made)
    with open_slide(made.path, reader=reader) as slide:
        blocks = slide.blocks(0)
        assert far(blocks.decode(5, 3), made.levels[0][384:512, 640:768]) <= 1
        for place in ((6, 3), (7, 3), (0, 5)):
            with pytest.raises(SlideError) as caught:
                blocks.decode(*place)
            assert str(caught.value) == (
                f"{made.path}: level 0, block {place} cannot be decoded (the file ends before it). {CURE}"
            )
            with pytest.raises(SlideError):
                slide.read_rgb(place[0] * TILE, place[1] * TILE, 0, 8, 8)


@pytest.mark.parametrize("reader", ["auto", "openslide"])
def test_a_truncated_file_is_refused_where_openslide_sees_it(tmp_path: Path, reader: Reader) -> None:
    made = noisy_jpeg(tmp_path / "a.tiff")
    truncated(made)
    with pytest.raises(SlideError) as caught:
        open_slide(made.path, reader=reader)
    assert str(caught.value) == (
        f"{made.path}: not a readable slide (Cannot hash TIFF tiles: Short read of file {made.path}: 100 < 4096). "
        "Check that the file is whole."
    )


@pytest.mark.parametrize("reader", ["auto", *TILE_READERS])
def test_a_file_that_is_cut_within_its_directory_is_refused(tmp_path: Path, reader: Reader) -> None:
    made = noisy_jpeg(tmp_path / "a.tiff")
    made.path.write_bytes(made.path.read_bytes()[:100])
    with pytest.raises(SlideError) as caught:
        open_slide(made.path, reader=reader)
    kind = "tiled TIFF" if reader == "source" else "slide"
    assert str(caught.value) == (
        f"{made.path}: not a readable {kind} ({caught.value.__cause__}). Check that the file is whole."
    )


@pytest.mark.parametrize("reader", ["openslide", "source"])
def test_tiles_whose_tables_are_nowhere_say_so(tmp_path: Path, reader: Reader) -> None:
    made = jpeg_tiff(tmp_path / "a.tiff", "YCBCR", "420", lost=True)
    with open_slide(made.path, reader=reader) as slide:
        for call, words in (
            (slide.blocks(0).decode, "cannot be decoded"),
            (slide.blocks(0).jpeg, "has no JPEG to copy"),
        ):
            with pytest.raises(SlideError) as caught:
                call(0, 0)
            cure = CURE if "decoded" in words else "Take --codec jpeg or zstd, or leave it out."
            assert str(caught.value) == (
                f"{made.path}: level 0, block (0, 0) {words} (its JPEG tables are missing). {cure}"
            )


def test_a_tile_of_another_size_takes_no_memory(tmp_path: Path) -> None:
    made = jpeg_tiff(tmp_path / "a.tiff", "YCBCR", "420")

    def huge(data: bytes) -> bytes:
        at = data.index(b"\xff\xc0")
        return data[: at + 5] + b"\xff\xff\xff\xff" + data[at + 9 :]

    damage(made.path, huge)
    with open_slide(made.path, reader="source") as slide, pytest.raises(SlideError) as caught:
        slide.blocks(0).decode(*BAD)
    assert str(caught.value) == (
        f"{made.path}: level 0, block (3, 2) cannot be decoded (its JPEG is 65535 x 65535 px, not 128 x 128). {CURE}"
    )


def test_a_tile_that_claims_too_many_bytes_takes_no_memory(tmp_path: Path) -> None:
    made = jpeg_tiff(tmp_path / "a.tiff", "YCBCR", "420")
    with tifffile.TiffFile(made.path, mode="r+") as file:
        tag = file.pages[0].aspage().tags["TileByteCounts"]
        tag.overwrite([1_000_000 if i == 19 else count for i, count in enumerate(tag.value)])
    with made.path.open("ab") as file:
        file.write(bytes(1_000_000))
    with open_slide(made.path, reader="source") as slide, pytest.raises(SlideError) as caught:
        slide.blocks(0).decode(*BAD)
    assert str(caught.value) == (
        f"{made.path}: level 0, block (3, 2) cannot be decoded (it claims 1000000 bytes). {CURE}"
    )


@pytest.mark.parametrize(
    ("compression", "why"),
    [
        ("zlib", "uncompress returned Z_DATA_ERROR"),
        ("short zlib", "it has 9 of 49152 bytes"),
        ("lzw", "{cause}"),
        ("zstd", "{cause}"),
        (None, "the file ends before it"),
    ],
)
def test_lossless_tiles_that_are_damaged_say_so(tmp_path: Path, compression: str | None, why: str) -> None:
    made = lossless_tiff(tmp_path / "a.tiff", "", compression and compression.split()[-1])
    if compression == "short zlib":
        damage(made.path, lambda tile: zlib.compress(b"too short").ljust(len(tile), b"\x00"))
    elif compression is None:
        cut = int(tiled_tiff(made.path).levels[0].offsets[19]) + 5
        made.path.write_bytes(made.path.read_bytes()[:cut])
    else:
        damage(made.path, lambda tile: tile[:8] + bytes(len(tile) - 8))
    with open_slide(made.path, reader="source") as slide, pytest.raises(SlideError) as caught:
        slide.blocks(0).decode(*BAD)
    why = why.format(cause=caught.value.__cause__)
    assert str(caught.value) == f"{made.path}: level 0, block (3, 2) cannot be decoded ({why}). {CURE}"


def test_holes_of_a_coarser_aperio_level_are_filled_as_openslide_fills_them(tmp_path: Path) -> None:
    made = jpeg_svs(tmp_path / "a.svs")
    lose(made.path, 2, lambda column, row: (column, row) == (0, 0))
    with open_slide(made.path) as slide:
        seen = slide.blocks(1).decode(0, 0)
        assert far(seen, slide.read_rgb(0, 0, 1, TILE, TILE)) == 0
        assert far(seen, made.levels[1][:TILE, :TILE]) < 40  # shrunk from level 0: no hole
        assert far(slide.blocks(1).decode(1, 0), made.levels[1][:TILE, TILE:]) <= 1


# flat images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_flat_image_that_is_cut_says_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(noise_image(300, 200)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with open_slide(path) as slide, pytest.raises(SlideError) as caught:
        slide.read_rgb(0, 0, 0, 8, 8)
    assert str(caught.value) == f"{path}: its pixels cannot be decoded ({caught.value.__cause__}). {CURE}"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_flat_image_without_a_header_says_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(noise_image(300, 200)).save(path)
    path.write_bytes(path.read_bytes()[:12])
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    kind = "slide" if name == "a.tif" else "image"
    assert (
        str(caught.value) == f"{path}: not a readable {kind} ({caught.value.__cause__}). Check that the file is whole."
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_flat_images_of_every_mode_become_rgb_on_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png")
    if mode == "I;16":
        Image.fromarray(IMAGE[..., 0].astype(np.uint16) * 256 + 255).save(path)
        expected = np.repeat(IMAGE[..., :1], 3, axis=2)
    else:
        image = (
            Image.fromarray(IMAGE).convert("L").convert(mode) if mode == "LA" else Image.fromarray(IMAGE).convert(mode)
        )
        image.save(path)
        expected = np.asarray(image.convert("RGB"))
    with open_slide(path) as slide:
        assert far(whole(slide, 0), expected) == 0


def test_a_palette_with_a_clear_colour_is_white_there(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat([[0, 1]], 8, axis=0).astype(np.uint8), mode="P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "a.png", transparency=0)
    with open_slide(tmp_path / "a.png") as slide:
        assert whole(slide, 0)[0].tolist() == [[255, 255, 255], [0, 200, 0]]


def test_a_flat_image_too_large_for_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (20000, 20000)).save(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(SlideError) as caught:
        open_slide(path)
    assert str(caught.value) == (
        f"{path}: 20000 x 20000 px are more than a flat image may have (268,435,456), since it lies in memory as a "
        "whole. Save it as a tiled TIFF (QuPath: File > Export images > OME TIFF)."
    )


def test_measurements_are_no_colours(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((8, 8), dtype=np.float32)).save(path)
    with open_slide(path) as slide, pytest.raises(SlideError) as caught:
        slide.read_rgb(0, 0, 0, 8, 8)
    assert str(caught.value) == (
        f"{path}: its pixels cannot be decoded (F pixels are measurements, not colours). {CURE}"
    )

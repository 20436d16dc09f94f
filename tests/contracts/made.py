"""Slides made for the contract: every packing of tiles, with the pixels that a plain JPEG decoder finds in them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import coordinate_image, save_bounded_tiff, save_svs

WIDTH, HEIGHT, TILE = 1004, 700, 128
"""Neither is a whole number of tiles; level 1 (a quarter) has 251 x 175 px."""
IMAGE = coordinate_image(WIDTH, HEIGHT)
BOUNDS = (256, 128, 512, 384)
QUARTER = np.ascontiguousarray(IMAGE[::4, ::4])
CENTIMETRE: dict[str, Any] = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
ABOUT = f"Aperio Image Library v12.0.0\n{WIDTH}x{HEIGHT} [0,0 {WIDTH}x{HEIGHT}] (128x128) JPEG/RGB Q=90|MPP = 0.5"


@dataclass(frozen=True)
class Made:
    """A slide, its levels as arrays, and what it should say of itself."""

    path: Path
    levels: tuple[NDArray[np.uint8], ...]
    packing: str
    mpp: float | None = 0.5
    mpp_from: str = "header"
    bounds0: tuple[int, int, int, int] | None = None
    tolerance: int = 0
    """Grey levels by which decoders may differ in rounding."""

    @property
    def jpeg(self) -> bool:
        """Whether its tiles are JPEG."""
        return self.packing == "JPEG"


def encoded(tile: NDArray[np.uint8], colours: str, subsampling: str) -> bytes:
    """Return a tile as a complete JPEG: `colours` is RGB or YCBCR."""
    return bytes(imagecodecs.jpeg8_encode(tile, level=90, outcolorspace=colours, subsampling=subsampling))


def split(jpeg: bytes, *, ids: bytes = b"") -> tuple[bytes, bytes]:
    """Return the tables of a JPEG, and the rest without them and without any marker that states its colours.

    `ids` renames the components, as scanners do that leave all to the TIFF tag.
    """
    tables, rest, at = [], [], 2
    while jpeg[at + 1] != 0xDA:
        stop = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        marker, segment = jpeg[at + 1], bytearray(jpeg[at:stop])
        if marker in (0xDB, 0xC4):
            tables.append(bytes(segment))
        elif marker not in (0xE0, 0xEE):
            for i, name in enumerate(ids):
                segment[10 + 3 * i] = name
            rest.append(bytes(segment))
        at = stop
    scan = bytearray(jpeg[at:])
    for i, name in enumerate(ids):
        scan[5 + 2 * i] = name
    return b"\xff\xd8" + b"".join(tables) + b"\xff\xd9", b"\xff\xd8" + b"".join(rest) + bytes(scan)


def tiles_of(image: NDArray[np.uint8], tile: int = TILE) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """Yield column, row and pixels of whole tiles, the image's edge drawn out."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % tile), (0, -width % tile), (0, 0)), mode="edge")
    for row in range(padded.shape[0] // tile):
        for column in range(padded.shape[1] // tile):
            box = padded[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
            yield column, row, np.ascontiguousarray(box)


def write_jpeg_page(
    file: tifffile.TiffWriter,
    image: NDArray[np.uint8],
    colours: str,
    subsampling: str = "444",
    *,
    tables: bool = False,
    bare: bool = False,
    lost: bool = False,
    **options: Any,
) -> NDArray[np.uint8]:
    """Write a page of JPEG tiles and return its pixels as Pillow decodes the complete files.

    `tables`: they go to tag 347; `bare`: no marker, component ids 0, 1, 2; `lost`: the tables are thrown away.
    """
    height, width = image.shape[:2]
    seen = np.empty((height + TILE, width + TILE, 3), dtype=np.uint8)
    streams, shared = [], b""
    for column, row, tile in tiles_of(image):
        whole = encoded(tile, colours, subsampling)
        box = seen[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        box[:] = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))[: box.shape[0], : box.shape[1]]
        if tables or bare or lost:
            shared, rest = split(whole, ids=b"\x00\x01\x02" if bare else b"")
            whole = rest
        streams.append(whole)
    file.write(
        iter(streams),
        shape=image.shape,
        dtype="uint8",
        tile=(TILE, TILE),
        compression="jpeg",
        **colour_tags(colours, subsampling),
        jpegtables=shared if tables else None,
        metadata=None,
        **options,
    )
    return np.ascontiguousarray(seen[:height, :width])


def colour_tags(colours: str, subsampling: str) -> dict[str, Any]:
    """Return what makes tifffile write the tags of such JPEG; it says YCbCr unless it is told of RGB twice."""
    if colours == "RGB":
        return {"photometric": "rgb", "compressionargs": {"outcolorspace": "RGB"}}
    return {"photometric": "ycbcr", "subsampling": {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[subsampling]}


def jpeg_tiff(path: Path, colours: str, subsampling: str = "444", **how: Any) -> Made:
    """Write a generic TIFF of JPEG tiles, levels 1 and 4."""
    with tifffile.TiffWriter(path) as file:
        levels = (
            write_jpeg_page(file, IMAGE, colours, subsampling, **how, **CENTIMETRE),
            write_jpeg_page(file, QUARTER, colours, subsampling, **how, subfiletype=1),
        )
    return Made(path, levels, "JPEG", tolerance=1)


def jpeg_svs(path: Path) -> Made:
    """Write an SVS as Aperio does: RGB components that nothing but the TIFF calls RGB, tables in tag 347."""
    how: dict[str, Any] = {"tables": True, "bare": True, "description": ABOUT}
    with tifffile.TiffWriter(path) as file:
        finest = write_jpeg_page(file, IMAGE, "RGB", **how)
        about = "Aperio Image Library v12.0.0\nthumbnail"
        file.write(QUARTER, photometric="rgb", metadata=None, description=about)  # as large as level 1, but no level
        levels = (finest, write_jpeg_page(file, QUARTER, "RGB", **how))
        about = "Aperio Image Library v12.0.0\nlabel 60x50"
        file.write(QUARTER[:50, :60], photometric="rgb", metadata=None, description=about, subfiletype=1)
    return Made(path, levels, "JPEG", tolerance=1)


def lossless_tiff(path: Path, packing: str, compression: str | None, *, predictor: bool = False) -> Made:
    """Write a generic TIFF of lossless tiles, levels 1 and 4."""
    how: dict[str, Any] = {"tile": (TILE, TILE), "compression": compression, "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(IMAGE, predictor=predictor, **how, **CENTIMETRE)
        file.write(QUARTER, predictor=predictor, subfiletype=1, **how)
    return Made(path, (IMAGE, QUARTER), packing)


def svs(path: Path) -> Made:
    """Write the SVS of the fixtures: deflate, an untiled thumbnail between its levels."""
    return Made(save_svs(path, IMAGE), (IMAGE, QUARTER), "deflate")


def on_white(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what is left of an image where only BOUNDS was scanned."""
    left, top, width, height = BOUNDS
    seen = np.full_like(image, 255)
    seen[top : top + height, left : left + width] = image[top : top + height, left : left + width]
    return seen


def bounded(path: Path) -> Made:
    """Write a TIFF whose tiles outside BOUNDS were never scanned."""
    return Made(save_bounded_tiff(path, IMAGE, BOUNDS), (on_white(IMAGE),), "deflate", bounds0=BOUNDS)


def bounded_jpeg(path: Path) -> Made:
    """Write the same of JPEG tiles."""
    with tifffile.TiffWriter(path) as file:
        finest = write_jpeg_page(file, IMAGE, "YCBCR", "420", **CENTIMETRE)
    left, top, width, height = BOUNDS

    def outside(column: int, row: int) -> bool:
        return not (left <= column * TILE < left + width and top <= row * TILE < top + height)

    lose(path, 0, outside)
    return Made(path, (on_white(finest),), "JPEG", bounds0=BOUNDS, tolerance=1)


def lose(path: Path, page: int, lost: Callable[[int, int], bool]) -> None:
    """Turn tiles into ones that were never scanned."""
    with tifffile.TiffFile(path, mode="r+") as file:
        found = file.pages[page].aspage()
        columns = -(-found.imagewidth // found.tilewidth)
        for name in ("TileOffsets", "TileByteCounts"):
            values = [0 if lost(i % columns, i // columns) else value for i, value in enumerate(found.tags[name].value)]
            found.tags[name].overwrite(values)


def flat(path: Path) -> Made:
    """Write an image as PNG, TIFF or JPEG, as the name says."""
    Image.fromarray(IMAGE).save(path)
    seen = np.asarray(Image.open(path).convert("RGB"))
    return Made(path, (seen,), "in one piece (a flat image)", mpp=None, mpp_from="unknown")


def flat_tiff(path: Path) -> Made:
    """Write a plain TIFF of strips that states its resolution."""
    tifffile.imwrite(path, IMAGE, photometric="rgb", compression="zlib", metadata=None, **CENTIMETRE)
    return Made(path, (IMAGE,), "in one piece (a flat image)", mpp=0.5, mpp_from="tiff resolution")


def clear_png(path: Path) -> Made:
    """Write a PNG whose left half is transparent."""
    alpha = np.where(np.arange(WIDTH) < WIDTH // 2, 0, 255).astype(np.uint8)
    rgba = np.dstack([IMAGE, np.broadcast_to(alpha, (HEIGHT, WIDTH))])
    Image.fromarray(rgba).save(path)
    seen = IMAGE.copy()
    seen[:, : WIDTH // 2] = 255
    return Made(path, (seen,), "in one piece (a flat image)", mpp=None, mpp_from="unknown")


TILED: dict[str, Callable[[Path], Made]] = {
    "deflate.svs": svs,
    "bounded.tiff": bounded,
    "lzw.tiff": lambda path: lossless_tiff(path, "LZW", "lzw"),
    "differences.tiff": lambda path: lossless_tiff(path, "deflate", "zlib", predictor=True),
    "bare.tiff": lambda path: lossless_tiff(path, "not compressed", None),
    "zstd.tiff": lambda path: lossless_tiff(path, "zstd", "zstd"),
    "rgb.tiff": lambda path: jpeg_tiff(path, "RGB"),
    "rgb-tables.svs": jpeg_svs,
    "444.tiff": lambda path: jpeg_tiff(path, "YCBCR", "444"),
    "422-tables.tiff": lambda path: jpeg_tiff(path, "YCBCR", "422", tables=True),
    "420.tiff": lambda path: jpeg_tiff(path, "YCBCR", "420"),
    "420-tables.tiff": lambda path: jpeg_tiff(path, "YCBCR", "420", tables=True),
    "420-bounded.tiff": bounded_jpeg,
}
ONLY_TIFFSLIDE: dict[str, Callable[[Path], Made]] = {
    "jpeg2000.tiff": lambda path: lossless_tiff(path, "JPEG 2000", "jpeg2000"),
    "jpegxl.tiff": lambda path: lossless_tiff(path, "JPEGXL", "jpegxl"),
}
FLAT: dict[str, Callable[[Path], Made]] = {
    "flat.png": flat,
    "flat.jpg": flat,
    "flat.tif": flat_tiff,
    "clear.png": clear_png,
}
EVERY = {**TILED, **ONLY_TIFFSLIDE, **FLAT}

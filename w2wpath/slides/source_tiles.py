"""The tiles of a TIFF as they lie in the file: found once with tifffile, then read and decoded by any thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from w2wpath.errors import SlideError
from w2wpath.slides.base import Grid, no_jpeg
from w2wpath.slides.jpeg_tiles import RGB, YCBCR, JpegTiles

MOST_TILE_PX = 1 << 24
"""Tiles larger than this (4096 x 4096) are left to the library: each is decoded whole."""
SLACK_BYTES = 1 << 16
_JPEG = 7
_RAW: dict[int, tuple[str, Callable[..., Any] | None]] = {
    1: ("not compressed", None),
    5: ("LZW", imagecodecs.lzw_decode),
    8: ("deflate", imagecodecs.zlib_decode),
    32946: ("deflate", imagecodecs.zlib_decode),
    50000: ("zstd", imagecodecs.zstd_decode),
}
_OWN_WAYS = ("ndpi", "bif", "scn", "philips")
_JPEG_2000 = (33003, 33004, 33005, 34712)


class RawTiles:
    """Tiles of 8-bit RGB samples under a lossless packing."""

    def __init__(self, compression: int, size: tuple[int, int], *, differences: bool) -> None:
        self.name, self._unpack = _RAW[compression]
        self._shape = (size[1], size[0], 3)
        self._differences = differences

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Return ``(h, w, 3)`` RGB of a tile's bytes; the length of the output is bounded by the tile's size."""
        length = int(np.prod(self._shape))
        flat = data if self._unpack is None else self._unpack(data, out=length)
        if len(flat) < length:
            raise ValueError(f"it has {len(flat)} of {length} bytes")
        rgb: NDArray[np.uint8] = np.frombuffer(flat, np.uint8, length).reshape(self._shape)
        if self._differences:
            rgb = imagecodecs.delta_decode(rgb, axis=-2)
        return rgb


Packing = JpegTiles | RawTiles


@dataclass(frozen=True, slots=True, eq=False)
class TiledPage:
    """One tiled directory of a TIFF. `packing` is None, and `packing_name` says why, where tiles are not for us."""

    size: tuple[int, int]
    tile: tuple[int, int]
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    packing: Packing | None
    packing_name: str

    def scanned(self) -> NDArray[np.bool_]:
        """Return which tiles are in the file, (rows, columns)."""
        columns = -(-self.size[0] // self.tile[0])
        return ((self.offsets > 0) & (self.counts > 0)).reshape(-1, columns)


@dataclass(frozen=True, slots=True, eq=False)
class TiledTiff:
    """What a tiled TIFF says: its levels, finest first, and of its first page description, resolution and its unit."""

    levels: tuple[TiledPage, ...]
    description: str
    resolution: tuple[object, object]
    unit: int


def has_tiles(path: Path) -> bool:
    """Return whether the first page of a TIFF is tiled, or too damaged to tell."""
    try:
        with tifffile.TiffFile(path) as file:
            return bool(file.pages[0].aspage().is_tiled)
    except Exception:
        return True


def tiled_tiff(path: Path) -> TiledTiff:
    """Read the directories of a tiled TIFF, Aperio's or a generic one.

    Raises
    ------
    Exception
        It is no tiled TIFF; the text says why.
    """
    with tifffile.TiffFile(path) as file:
        pages = [page.aspage() for page in file.pages]
        first = pages[0]
        if not first.is_tiled:
            raise ValueError("it has no tiles")
        for kind in _OWN_WAYS:
            if getattr(first, f"is_{kind}", False):
                raise ValueError(f"{kind.upper()} lays its tiles out in its own way")
        aperio = str(first.description).startswith("Aperio")
        # Aperio: all that is tiled is a level. Elsewhere further levels call themselves reduced (tag 254, bit 0)
        chosen = [first, *(page for page in pages[1:] if page.is_tiled and (aperio or page.subfiletype & 1))]
        levels = [level for level in map(tiled_page, chosen) if level is not None]
        if not levels or levels[0].size != (first.imagewidth, first.imagelength):
            raise ValueError("its tiles are not laid out as one image")
        levels.sort(key=lambda level: -level.size[0])
        tags = [first.tags.get(code) for code in (282, 283, 296)]
        ratios = [None if tag is None else _ratio(tag.value) for tag in tags[:2]]
        unit = 2 if tags[2] is None else int(tags[2].value)
        return TiledTiff(tuple(levels), str(first.description), (ratios[0], ratios[1]), unit)


def tiled_page(page: Any) -> TiledPage | None:
    """Return a tifffile page as tiles; None where its tiles do not cover it once (planes, volumes)."""
    size, tile = (page.imagewidth, page.imagelength), (page.tilewidth, page.tilelength)
    if not page.is_tiled or min(*size, *tile) < 1:
        return None
    number = -(-size[0] // tile[0]) * -(-size[1] // tile[1])
    if not len(page.dataoffsets) == len(page.databytecounts) == number:
        return None
    packing, name = _packing(page, tile)
    offsets, counts = (np.asarray(part, dtype=np.int64) for part in (page.dataoffsets, page.databytecounts))
    return TiledPage(size, tile, offsets, counts, packing, name)


def _packing(page: Any, tile: tuple[int, int]) -> tuple[Packing | None, str]:
    kind = int(page.compression)
    rgb8 = (page.samplesperpixel, page.bitspersample, page.planarconfig, page.sampleformat) == (3, 8, 1, 1)
    ours = rgb8 and page.fillorder == 1 and tile[0] * tile[1] <= MOST_TILE_PX
    if kind == _JPEG:
        if ours and page.photometric in (RGB, YCBCR):
            return JpegTiles(tile, int(page.photometric), page.jpegtables or b""), JpegTiles.name
        return None, "JPEG, but not 8-bit RGB or YCbCr"
    if kind in _RAW:
        name = _RAW[kind][0]
        if ours and page.photometric == RGB and page.predictor in (1, 2):
            return RawTiles(kind, tile, differences=page.predictor == 2), name
        return None, name
    if kind in _JPEG_2000:
        return None, "JPEG 2000"
    return None, getattr(page.compression, "name", f"of TIFF compression {kind}")


class SourceFile:
    """A file read at any offset by any thread, in forked processes too; it closes when nothing refers to it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.size = os.fstat(self._descriptor).st_size
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes from `offset`."""
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, count, offset)
        with self._lock:  # Windows has no pread
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, count)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class SourceBlocks(Grid):
    """A level as the tiles of the file.

    `unscanned` gives the pixels (h, w, 3) of tiles that are not in the file; the background where it is None.
    """

    def __init__(
        self,
        path: Path,
        level: int,
        page: TiledPage,
        file: SourceFile,
        background: tuple[int, int, int],
        unscanned: Callable[[int, int, int, int], NDArray[np.uint8]] | None = None,
    ) -> None:
        super().__init__(path, level, page.size, page.tile)
        if page.packing is None:
            raise SlideError(
                f"{path}: its tiles are {page.packing_name}, which are not decoded directly. Take another reader."
            )
        self._packing: Packing = page.packing
        self._page, self._file = page, file
        self._background, self._unscanned = background, unscanned
        self._most = page.tile[0] * page.tile[1] * 6 + SLACK_BYTES

    def decode(self, column: int, row: int) -> NDArray[np.uint8]:
        """Return a block ``(h, w, 3)`` RGB, cut at the level's edges; safe to call from several threads."""
        box = self._box(column, row)
        try:
            data = self._bytes(column, row)
            if data is not None:
                return self._packing.decode(data)[: box[3], : box[2]]
        except Exception as error:
            raise self._fault(column, row, error) from error
        if self._unscanned is not None:
            return self._unscanned(*box)
        blank = np.empty((box[3], box[2], 3), dtype=np.uint8)
        blank[:] = self._background
        return blank

    def jpeg(self, column: int, row: int) -> bytes:
        """Return the scanner's own JPEG of a block as a complete file, as large as a block even at the edges.

        What shows in the stream's structure counts as damage here; only decoding can find the rest.
        """
        self._box(column, row)
        if not isinstance(self._packing, JpegTiles):
            raise no_jpeg(self.path, self._packing.name)
        try:
            data = self._bytes(column, row)
            if data is None:
                raise ValueError("it was never scanned")
            return self._packing.file(data)
        except Exception as error:
            raise SlideError(
                f"{self.path}: level {self.level}, block ({column}, {row}) has no JPEG to copy ({error}). "
                "Take --codec jpeg or zstd, or leave it out."
            ) from error

    def _bytes(self, column: int, row: int) -> bytes | None:
        """Return the packed bytes of a tile; None where it was never scanned."""
        tile = row * self.columns + column
        offset, count = int(self._page.offsets[tile]), int(self._page.counts[tile])
        if offset <= 0 or count <= 0:
            return None
        if count > self._most:
            raise ValueError(f"it claims {count} bytes")
        data = self._file.read(offset, count)
        if len(data) < count:
            raise ValueError("the file ends before it")
        return data


def _ratio(value: Any) -> float:
    """Return a rational of TIFF as a number; NaN where it is none."""
    try:
        return float(value[0]) / float(value[1])
    except (TypeError, IndexError, ValueError, ZeroDivisionError):
        return float("nan")

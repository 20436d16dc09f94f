"""Pixels of one slide's tiles: encoded, stored in shards, and read back at random, whichever codec a store has.

``zstd``: lossless; ``images`` (N, px, px, 3), one tile a chunk. ``jpeg`` (quality 90) and ``source`` (the scanner's own
bytes): each record of ``data`` is a complete JPEG file, found by ``offset`` and ``length``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, get_args

import imagecodecs
import numpy as np
import zarr
from numcodecs.zstd import Zstd  # type: ignore[import-untyped] # it ships no types
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from w2wpath.errors import StoreError
from w2wpath.tiles.shards import Opener, keep_open, read_record, shard_path, write_records, write_shards

Codec = Literal["zstd", "jpeg", "source"]
CODECS: tuple[Codec, ...] = get_args(Codec)
SHARD_TILES = 256
EVERY_CHUNK: Any = {"write_empty_chunks": True}  # zeros too, so that a chunk that is not there was lost
JPEG_QUALITY = 90
JPEG_CHROMA = "444"
"""Full colour: half resolution (420) saves a third of the bytes, but triples the mean error on H&E, mostly in hue."""
_ZSTD = Zstd(level=1, checksum=True)  # without a checksum most flipped bits would pass for pixels
_MANY = 32
"""From so many tiles on, a read is worth its threads."""


def encoder(codec: Codec) -> Callable[[NDArray[np.uint8]], bytes]:
    """Return the function that encodes one tile (h, w, 3) uint8 RGB; threads may share it, and it releases the GIL.

    Raises
    ------
    StoreError
        The codec is ``source``, which keeps the scanner's bytes and encodes nothing.
    """
    if codec == "source":
        raise StoreError("codec 'source' keeps the scanner's own JPEG tiles, it encodes no pixels. Use jpeg or zstd.")
    return _to_zstd if codec == "zstd" else _to_jpeg


def decoder(codec: Codec) -> Callable[[bytes, NDArray[np.uint8]], None]:
    """Return the function that decodes one tile into an array (h, w, 3) uint8 RGB of the right size; as `encoder`.

    It raises ValueError or the codec's own error where the bytes are damaged or of another size.
    """
    return _from_zstd if codec == "zstd" else _from_jpeg


def _to_zstd(tile: NDArray[np.uint8]) -> bytes:
    return bytes(_ZSTD.encode(np.ascontiguousarray(tile)))


def _to_jpeg(tile: NDArray[np.uint8]) -> bytes:
    contiguous = np.ascontiguousarray(tile)
    return bytes(imagecodecs.jpeg8_encode(contiguous, level=JPEG_QUALITY, subsampling=JPEG_CHROMA))


def _from_zstd(data: bytes, out: NDArray[np.uint8]) -> None:
    # writes no further than `out`, whatever size the frame claims
    if len(imagecodecs.zstd_decode(data, out=out.reshape(-1).data)) != out.size:
        raise ValueError("a tile is of another size")


def _from_jpeg(data: bytes, out: NDArray[np.uint8]) -> None:
    imagecodecs.jpeg8_decode(data, out=out)


def pixel_arrays(codec: Codec) -> tuple[str, ...]:
    """Return the names of the arrays that hold a slide's pixels."""
    return ("images",) if codec == "zstd" else ("data", "offset", "length")


def write_pixels(group: Path, codec: Codec, px: int, encoded: Iterable[bytes]) -> None:
    """Write encoded tiles as they come into a slide's group; nothing is kept in memory but what is being written."""
    if codec == "zstd":
        n = write_shards(group / "images", encoded, SHARD_TILES, 4)
        if n:
            zarr.create_array(
                group / "images",
                shape=(n, px, px, 3),
                chunks=(1, px, px, 3),
                shards=(SHARD_TILES, px, px, 3),
                dtype="uint8",
                compressors=ZstdCodec(level=1, checksum=True),
            )
        return
    offset, length = write_records(group / "data", encoded)
    if len(length):
        write_column(group / "offset", offset)
        write_column(group / "length", length)


def write_column(array: Path, values: NDArray[Any]) -> None:
    """Write a small array as one chunk with a crc32c."""
    zarr.create_array(
        array,
        data=np.ascontiguousarray(values),
        chunks=values.shape,
        compressors=(ZstdCodec(level=1), Crc32cCodec()),
        config=EVERY_CHUNK,
    )


def read_column(array: Path) -> NDArray[Any]:
    """Read an array of :func:`write_column`.

    Raises
    ------
    FileNotFoundError
        Its chunk is lost (zarr would read zeros).
    """
    found = zarr.open_array(array, mode="r")
    if not shard_path(array, 0, found.ndim).is_file():
        raise FileNotFoundError(f"a file of {array.name} is missing")
    return np.asarray(found[...])


def refuse_lost_shards(group: Path, codec: Codec) -> None:
    """Raise FileNotFoundError where a whole shard of a slide's pixels is gone."""
    name = pixel_arrays(codec)[0]
    about = json.loads((group / name / "zarr.json").read_bytes())
    shape, per_shard = about["shape"], about["chunk_grid"]["configuration"]["chunk_shape"][0]
    for number in range(-(-shape[0] // per_shard)):
        if not shard_path(group / name, number, len(shape)).is_file():
            raise FileNotFoundError(f"a file of {name} is missing")


def link_pixels(group: Path, fresh: Path, codec: Codec) -> None:
    """Give a new group the pixels of another one, as hard links to the same files."""
    for name in pixel_arrays(codec):
        for file in sorted(path for path in (group / name).rglob("*") if path.is_file()):
            to = fresh / file.relative_to(group)
            to.parent.mkdir(parents=True, exist_ok=True)
            _link(file, to)


def _link(file: Path, to: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    try:
        os.link(file, to)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(file, to)


class Pixels:
    """The tiles of one slide, decoded when asked for. Threads and forked processes may share it."""

    def __init__(self, group: Path, codec: Codec, px: int, opened: Opener | None = None) -> None:
        self._px = px
        self._decode = decoder(codec)
        self._opened = opened or keep_open()
        self._array = group / pixel_arrays(codec)[0]
        self._records: list[tuple[int, int]] | None = None
        if codec == "zstd":
            shape = json.loads((self._array / "zarr.json").read_bytes())["shape"]
            if shape[1:] != [px, px, 3]:
                raise ValueError(f"its tiles are {shape[1:]}")
            self.n = int(shape[0])
        else:
            offset, length = (read_column(group / name).tolist() for name in ("offset", "length"))
            self._records = list(zip(offset, length, strict=True))
            self.n = len(self._records)

    def encoded(self, row: int) -> bytes:
        """Return a tile as it is stored: a zstd frame of its RGB bytes, or a complete JPEG file."""
        if self._records is not None:
            return read_record(self._opened, self._array, *self._records[row])
        shard = self._opened(shard_path(self._array, row // SHARD_TILES, 4), SHARD_TILES)
        return shard.chunk(row % SHARD_TILES)

    def decode(self, row: int, out: NDArray[np.uint8]) -> None:
        """Decode one tile into `out` (px, px, 3), contiguous."""
        self._decode(self.encoded(row), out)

    def read(self, rows: NDArray[np.integer[Any]], threads: int | None = None) -> NDArray[np.uint8]:
        """Return tiles (len(rows), px, px, 3); rows from 0 to n - 1 in any order, repeated or not.

        Parameters
        ----------
        threads
            None takes what the machine has, up to 4, when there are many rows.
        """
        wanted = rows.tolist()
        out: NDArray[np.uint8] = np.empty((len(wanted), self._px, self._px, 3), dtype=np.uint8)
        if threads is None:
            threads = min(4, _cores()) if len(wanted) >= _MANY else 1

        def part(start: int) -> None:
            for at in range(start, len(wanted), threads):
                self.decode(wanted[at], out[at])

        if threads == 1:
            part(0)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, range(threads)))
        return out


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

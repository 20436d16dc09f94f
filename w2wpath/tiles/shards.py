"""Shards to the zarr v3 specification, written and read by ourselves: zarr 3.1 spends a millisecond on each chunk.

A shard is one file: the bytes of its chunks one after another, then the index (offset and length of every chunk as
little-endian u64, both ``2**64 - 1`` where there is no chunk), then the crc32c of the index. What an array looks like
(``zarr.json``) is still written by zarr, and zarr reads the same from these files.

Records of any length (whole JPEG files) lie one after another in an array of bytes. Its chunks hold `BLOCK` bytes and
a crc32c each, so that a reader of one record fetches and verifies a few blocks and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, count, islice
from pathlib import Path

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec

MISSING = 2**64 - 1
BLOCK = 1 << 15
SHARD_BLOCKS = 1 << 11
HANDLES = 128
"""Files that one process keeps open for random access; a fraction of what systems allow (1024 as a rule)."""


def write_shard(path: Path, chunks: Iterable[bytes | None], slots: int) -> int:
    """Write one shard as its chunks come (None leaves the chunk out), the index at the end; return how many came.

    Parameters
    ----------
    path
        The new file; its folder is made.
    slots
        Chunks that a whole shard holds. The rest is marked missing when fewer come.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    index = np.full((slots, 2), MISSING, dtype="<u8")
    at = came = 0
    with path.open("xb") as file:
        for slot, data in enumerate(chunks):
            came += 1
            if data is not None:
                index[slot] = at, len(data)
                at += file.write(data)
        file.write(_sealed(index.tobytes()))
    return came


def write_shards(array: Path, chunks: Iterable[bytes], slots: int, dims: int) -> int:
    """Write the shards of an array that is cut along its first axis only; return the number of chunks."""
    left, total = iter(chunks), 0
    for number in count():
        first = next(left, None)
        if first is None:
            break
        total += write_shard(shard_path(array, number, dims), chain([first], islice(left, slots - 1)), slots)
    return total


def shard_path(array: Path, number: int, dims: int) -> Path:
    """Return the file of shard (or chunk) `number` along the first of `dims` axes: ``c/<number>/0/0``."""
    return array.joinpath("c", str(number), *["0"] * (dims - 1))


def read_index(fd: int, slots: int) -> Sequence[Sequence[int]]:
    """Return (offset, length) of every chunk of an open shard.

    Raises
    ------
    ValueError
        The file is cut short, or its index is damaged.
    """
    size, tail = os.fstat(fd).st_size, 16 * slots + 4
    if size < tail:
        raise ValueError(f"a shard is cut short: {size} bytes")
    index = _unsealed(os.pread(fd, tail, size - tail), "the index of a shard")
    pairs: Sequence[Sequence[int]] = np.frombuffer(index, dtype="<u8").reshape(slots, 2).tolist()
    return pairs


class Shard:
    """One open shard: its index is in memory, chunks are read where they lie. Threads and forks may share it."""

    def __init__(self, path: Path, slots: int) -> None:
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY)
        about = os.fstat(self._fd)
        self.identity = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
        self._end = about.st_size - 16 * slots - 4
        self._index = read_index(self._fd, slots)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def chunk(self, slot: int) -> bytes:
        """Return the bytes of a chunk.

        Raises
        ------
        ValueError
            There is none, or it would lie outside the file.
        """
        offset, length = self._index[slot]
        if offset + length > self._end:
            raise ValueError(f"chunk {slot} of a shard is missing")
        return os.pread(self._fd, length, offset)


def read_chunk(path: Path, slot: int, slots: int) -> bytes:
    """Return the bytes of one chunk of the shard at `path`, which holds up to `slots`."""
    return Shard(path, slots).chunk(slot)


Opener = Callable[[Path, int], Shard]


def keep_open(most: int = HANDLES) -> Opener:
    """Return a function that opens shards and keeps the `most` recently used open.

    A file that is another one when it is opened again (the slide was replaced meanwhile) is an error: rows known from
    before would meet other pixels.
    """
    seen: dict[Path, tuple[int, ...]] = {}

    @lru_cache(maxsize=most)
    def opened(path: Path, slots: int) -> Shard:
        shard = Shard(path, slots)
        if seen.setdefault(path, shard.identity) != shard.identity:
            raise ValueError("it was replaced while it was read; open the store again")
        return shard

    return opened


def write_records(array: Path, records: Iterable[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Write records one after another as a zarr array of bytes; return the offset and length of each."""
    lengths: list[int] = []
    blocks = write_shards(array, (_sealed(block) for block in _blocks(records, lengths)), SHARD_BLOCKS, 1)
    length = np.array(lengths, dtype=np.uint32)
    ends = np.cumsum(length, dtype=np.uint64)
    if blocks:
        zarr.create_array(
            array,
            shape=(int(ends[-1]),),
            chunks=(BLOCK,),
            shards=(BLOCK * SHARD_BLOCKS,),
            dtype="uint8",
            compressors=Crc32cCodec(),
        )
    return ends - length, length


def read_record(opened: Opener, array: Path, offset: int, length: int) -> bytes:
    """Return the record at `offset`.

    Raises
    ------
    ValueError
        One of its blocks is missing or damaged.
    """
    first, last = offset // BLOCK, (offset + length - 1) // BLOCK
    blocks = []
    for block in range(first, last + 1):
        shard = opened(shard_path(array, block // SHARD_BLOCKS, 1), SHARD_BLOCKS)
        blocks.append(_unsealed(shard.chunk(block % SHARD_BLOCKS), "a block of JPEG tiles"))
    start = offset - first * BLOCK
    return b"".join(blocks)[start : start + length]


def crc(data: bytes) -> int:
    """Return the crc32c of `data`."""
    return int(google_crc32c.value(data))


def _sealed(data: bytes) -> bytes:
    return data + crc(data).to_bytes(4, "little")


def _unsealed(sealed: bytes, what: str) -> bytes:
    data = sealed[:-4]
    if sealed[-4:] != crc(data).to_bytes(4, "little"):
        raise ValueError(f"{what} is damaged (crc32c)")
    return data


def _blocks(records: Iterable[bytes], lengths: list[int]) -> Iterator[bytes]:
    """Cut records into blocks of `BLOCK` bytes, the last one filled with zeros; note their lengths."""
    waiting = bytearray()
    for record in records:
        lengths.append(len(record))
        waiting += record
        whole = len(waiting) // BLOCK * BLOCK
        for at in range(0, whole, BLOCK):
            yield bytes(waiting[at : at + BLOCK])
        del waiting[:whole]
    if waiting:
        yield bytes(waiting.ljust(BLOCK, b"\0"))

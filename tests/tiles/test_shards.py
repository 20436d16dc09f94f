"""Our shards are those of the specification: zarr reads what we write, we read what zarr writes; damage is refused."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from w2wpath.tiles.codecs import decoder, encoder
from w2wpath.tiles.shards import (
    BLOCK,
    SHARD_BLOCKS,
    Shard,
    keep_open,
    read_chunk,
    read_record,
    shard_path,
    write_records,
    write_shard,
    write_shards,
)

encode, decode = encoder("zstd"), decoder("zstd")


def tiles_of(n: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Half of the tiles compress, half do not; one is black."""
    tiles = np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    tiles[::2] //= 64
    tiles[n // 2] = 0
    return tiles


def described(folder: Path, n: int, side: int, slots: int) -> zarr.Array:
    """The array as zarr itself describes it."""
    return zarr.create_array(
        folder,
        shape=(n, side, side, 3),
        chunks=(1, side, side, 3),
        shards=(slots, side, side, 3),
        dtype="uint8",
        compressors=ZstdCodec(level=1, checksum=True),
        config={"write_empty_chunks": True},
    )


sizes = {"n": st.integers(1, 40), "side": st.integers(1, 9), "slots": st.integers(1, 17)}


@settings(max_examples=25)
@given(**sizes)
def test_zarr_reads_what_we_write(n: int, side: int, slots: int) -> None:
    tiles = tiles_of(n, side)
    with TemporaryDirectory() as folder:
        assert write_shards(Path(folder), map(encode, tiles), slots, 4) == n
        described(Path(folder), n, side, slots)
        opened = zarr.open_array(folder, mode="r")
        assert np.array_equal(opened[...], tiles)
        assert np.array_equal(opened[n - 1], tiles[n - 1])


@settings(max_examples=25)
@given(**sizes)
def test_we_read_what_zarr_writes(n: int, side: int, slots: int) -> None:
    tiles = tiles_of(n, side)
    with TemporaryDirectory() as folder:
        described(Path(folder), n, side, slots)[...] = tiles
        for row in range(n):
            out = np.empty((side, side, 3), dtype=np.uint8)
            decode(read_chunk(shard_path(Path(folder), row // slots, 4), row % slots, slots), out)
            assert np.array_equal(out, tiles[row])


def test_a_chunk_left_out_is_missing_and_the_others_stay_where_they_are(tmp_path: Path) -> None:
    tiles = tiles_of(3, 4)
    path = shard_path(tmp_path, 0, 4)
    assert write_shard(path, [encode(tiles[0]), None, encode(tiles[2])], 5) == 3
    described(tmp_path, 3, 4, 5)
    assert np.array_equal(
        zarr.open_array(tmp_path, mode="r")[...], tiles * np.array([1, 0, 1], np.uint8)[:, None, None, None]
    )
    assert read_chunk(path, 2, 5) == encode(tiles[2])
    for slot in (1, 3, 4):
        with pytest.raises(ValueError, match=rf"^chunk {slot} of a shard is missing$"):
            read_chunk(path, slot, 5)


def test_no_tile_makes_no_file(tmp_path: Path) -> None:
    assert write_shards(tmp_path, iter([]), 4, 4) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    write_shard(tmp_path / "0", [b"first"], 1)
    with pytest.raises(FileExistsError):
        write_shard(tmp_path / "0", [b"second"], 1)
    assert read_chunk(tmp_path / "0", 0, 1) == b"first"


def test_shards_are_written_as_their_chunks_come(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        for i in range(400):
            if i == 300:
                assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["0", "1", "2"]
            yield os.urandom(50_000)

    tracemalloc.start()
    write_shards(tmp_path, chunks(), 128, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_every_flipped_bit_of_a_shard_is_refused_or_changes_no_pixel(tmp_path: Path) -> None:
    tiles, slots = tiles_of(3, 4), 4
    path = tmp_path / "shard"
    write_shard(path, map(encode, tiles), slots)
    whole, index_at = path.read_bytes(), sum(len(encode(tile)) for tile in tiles)
    unnoticed = 0
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            out = np.empty_like(tiles)
            try:
                shard = Shard(path, slots)
                for row in range(3):
                    decode(shard.chunk(row), out[row])
            except Exception:
                continue
            assert place < index_at
            assert np.array_equal(out, tiles)
            unnoticed += 1
    assert unnoticed < 0.02 * 8 * len(whole)  # zstd ignores a bit of each header


def test_a_shard_cut_short_at_any_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    write_shard(path, [b"abc", b"de"], 2)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=r"^(a shard is cut short: \d+ bytes|the index of a shard is damaged \(crc32c\))$"
        ):
            Shard(path, 2)


def test_an_index_that_points_outside_its_file_is_refused(tmp_path: Path) -> None:
    # a valid checksum over a hostile index: nothing may be allocated for it
    path = tmp_path / "shard"
    write_shard(path, [b"abc"], 1)
    other = tmp_path / "other"
    write_shard(other, [b"a" * 100], 1)
    path.write_bytes(other.read_bytes()[-20:])
    with pytest.raises(ValueError, match=r"^chunk 0 of a shard is missing$"):
        Shard(path, 1).chunk(0)


# records ------------------------------------------------------------------------------------------------------------

lengths = st.lists(st.one_of(st.integers(1, 300), st.integers(BLOCK - 2, BLOCK + 2), st.just(2 * BLOCK)), max_size=12)


@settings(max_examples=25)
@given(lengths)
def test_records_of_any_length_come_back_and_zarr_reads_them_as_bytes(sizes_of: list[int]) -> None:
    records = [np.random.default_rng(i).bytes(size) for i, size in enumerate(sizes_of)]
    with TemporaryDirectory() as folder:
        array, opened = Path(folder) / "data", keep_open()
        offset, length = write_records(array, records)
        assert (offset.dtype, length.dtype) == (np.uint64, np.uint32)
        assert length.tolist() == sizes_of
        for at, size, record in zip(offset.tolist(), length.tolist(), records, strict=True):
            assert read_record(opened, array, at, size) == record
        if records:
            assert zarr.open_array(array, mode="r")[...].tobytes() == b"".join(records)


def test_records_go_on_in_the_next_shard(tmp_path: Path) -> None:
    size = BLOCK * SHARD_BLOCKS // 3 + 1
    records = [bytes([i]) * size for i in range(4)]
    offset, _ = write_records(tmp_path / "data", records)
    assert sorted(path.name for path in (tmp_path / "data" / "c").iterdir()) == ["0", "1"]
    for at, record in zip(offset.tolist(), records, strict=True):
        assert read_record(keep_open(), tmp_path / "data", at, size) == record
    assert np.array_equal(zarr.open_array(tmp_path / "data", mode="r")[3 * size :], np.full(size, 3, np.uint8))


def test_a_flipped_byte_of_a_record_is_refused(tmp_path: Path) -> None:
    offset, length = write_records(tmp_path / "data", [b"a" * 100, b"b" * 100])
    path = shard_path(tmp_path / "data", 0, 1)
    content = bytearray(path.read_bytes())
    content[150] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^a block of JPEG tiles is damaged \(crc32c\)$"):
        read_record(keep_open(), tmp_path / "data", int(offset[1]), int(length[1]))


# open files ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files in /proc")
def test_so_many_files_are_open_and_no_more(tmp_path: Path) -> None:
    for number in range(9):
        write_shard(tmp_path / str(number), [bytes([number])], 1)
    before, opened = len(os.listdir("/proc/self/fd")), keep_open(3)
    for number in [*range(9), *range(9)]:
        assert opened(tmp_path / str(number), 1).chunk(0) == bytes([number])
        assert len(os.listdir("/proc/self/fd")) <= before + 3
    del opened
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_was_replaced_between_two_looks_is_refused(tmp_path: Path) -> None:
    for name in "ab":
        write_shard(tmp_path / name, [name.encode()], 1)
    opened = keep_open(1)
    assert opened(tmp_path / "a", 1).chunk(0) == b"a"
    assert opened(tmp_path / "b", 1).chunk(0) == b"b"
    (tmp_path / "b").rename(tmp_path / "a")
    with pytest.raises(ValueError, match=r"^it was replaced while it was read; open the store again$"):
        opened(tmp_path / "a", 1)

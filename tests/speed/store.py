"""How fast tiles are written and read at random, against zarr's own path on the same chunks and shards, in one run.

Run: ``python tests/speed/store.py [--slide SLIDE.svs] [--tiles 2000] [--rounds 3]``. Ways take turns; medians are
printed. Tiles are 224 px, cut from the slide (shifted until there are enough), or pale noise without one. The limit
is the codec alone, in memory. Threads share one process; "loader" is a running DataLoader with so many workers.
zarr is read one tile at a time, since a batch of scattered rows (``oindex``) is ten times slower still.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from zarr.codecs import Crc32cCodec, ZstdCodec

from w2wpath.tiles.codecs import SHARD_TILES, decoder, encoder
from w2wpath.tiles.shards import BLOCK, SHARD_BLOCKS
from w2wpath.tiles.store import COLUMNS, SlideTiles, StoreSpec, TileStore
from w2wpath.w2wnet.nets.dataset import TileDataset

PX = 224
BATCH = 64


def tiles_of(slide: Path | None, n: int) -> NDArray[np.uint8]:
    """Tiles (n, PX, PX, 3), no two of them alike."""
    if slide is None:
        smooth = np.random.default_rng(0).integers(0, 8, (n, PX, PX, 3), dtype=np.uint8)
        return smooth + np.uint8(200)
    import tifffile

    image = tifffile.imread(slide)
    grid = [(y, x) for y in range(0, image.shape[0] - PX, PX) for x in range(0, image.shape[1] - PX, PX)]
    return np.stack([np.roll(image[y : y + PX, x : x + PX], i, axis=1) for i, (y, x) in zip(range(n), grid * n)])  # noqa: B905


def on_threads(threads: int, function: Callable[[Any], Any], parts: list[Any]) -> None:
    """Call `function` for every part, spread over threads; one thread is this one."""
    if threads == 1:
        for part in parts:
            function(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, parts))


class Bench:
    """The same tiles in our store and in arrays that zarr writes itself."""

    def __init__(self, folder: Path, codec: str, tiles: NDArray[np.uint8]) -> None:
        self.folder, self.codec, self.tiles, self.n = folder, codec, tiles, len(tiles)
        self.encode, self.decode = encoder(codec), decoder(codec)
        self.encoded = [self.encode(tile) for tile in tiles]
        self.order = np.random.default_rng(1).permutation(self.n)
        self.batches = [self.order[i : i + BATCH] for i in range(0, self.n, BATCH)]
        self.store = TileStore.create_or_open(folder / f"{codec}.zarr", StoreSpec(PX, 0.5, PX, "lanczos3", codec))
        self.lengths = np.array([len(data) for data in self.encoded])
        self.offsets = np.cumsum(self.lengths) - self.lengths
        self.written = 0
        self.loaders: dict[int, Any] = {}
        self.write(1)
        self.zarr_write(1)
        self.loader(1)
        self.loader(2)

    def write(self, threads: int) -> None:
        columns = {name: np.zeros(self.n, dtype=np.int32) for name in COLUMNS}
        columns |= {"area_share": np.ones((self.n, 1), np.float32), "tile_id": np.zeros((self.n, 16), np.uint8)}
        tiles = SlideTiles(columns, {"classes": ["a"], "patients": ["p"]})
        if threads == 1:
            self.store.add("s", tiles, self.tiles)
            return
        with ThreadPoolExecutor(threads) as pool:
            self.store.add("s", tiles, pool.map(self.store.encode, self.tiles))

    def zarr_write(self, threads: int) -> None:
        zarr.config.set({"threading.max_workers": threads})
        self.written += 1
        if self.codec == "zstd":
            self.array = zarr.create_array(
                self.folder / f"plain{self.codec}{self.written}",
                shape=self.tiles.shape,
                chunks=(1, PX, PX, 3),
                shards=(SHARD_TILES, PX, PX, 3),
                dtype="uint8",
                compressors=ZstdCodec(level=1, checksum=True),
            )
            for i in range(0, self.n, SHARD_TILES):
                self.array[i : i + SHARD_TILES] = self.tiles[i : i + SHARD_TILES]
            return
        encoded = [self.encode(tile) for tile in self.tiles]
        self.array = zarr.create_array(
            self.folder / f"plain{self.codec}{self.written}",
            shape=(int(self.lengths.sum()),),
            chunks=(BLOCK,),
            shards=(BLOCK * SHARD_BLOCKS,),
            dtype="uint8",
            compressors=Crc32cCodec(),
        )
        self.array[:] = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def one(self, encoded: bytes) -> None:
        self.decode(encoded, np.empty((PX, PX, 3), dtype=np.uint8))

    def read(self, threads: int) -> None:
        pixels = self.store.pixels("s")
        for rows in self.batches:
            pixels.read(rows, threads)

    def items(self, threads: int) -> None:
        dataset = TileDataset(self.store, self.store.table())
        on_threads(threads, dataset.__getitem__, self.order.tolist())

    def loader(self, workers: int) -> None:
        if workers not in self.loaders:
            dataset = TileDataset(self.store, self.store.table())
            options: dict[str, Any] = {"num_workers": workers, "persistent_workers": True}
            self.loaders[workers] = DataLoader(dataset, batch_size=BATCH, shuffle=True, **options)
        for _ in self.loaders[workers]:
            pass

    def zarr_read(self, threads: int) -> None:
        array = zarr.open_array(self.array.store_path.store.root, mode="r")

        def one(i: int) -> None:
            if self.codec == "zstd":
                array[i]
            else:
                self.one(array[self.offsets[i] : self.offsets[i] + self.lengths[i]].tobytes())

        on_threads(threads, one, self.order.tolist())

    def ways(self) -> Iterator[tuple[str, Callable[[int], None], str]]:
        """Every way: its name, what to time with 1 and 2 threads, and the way it is compared with."""
        yield "write: zarr", self.zarr_write, ""
        yield "write: store", self.write, "write: zarr"
        yield "write: encoding alone", lambda threads: on_threads(threads, self.encode, list(self.tiles)), ""
        yield "read: zarr, one by one", self.zarr_read, ""
        yield f"read: store, batches of {BATCH}", self.read, "read: zarr, one by one"
        yield "read: TileDataset, one by one", self.items, "read: zarr, one by one"
        yield "read: TileDataset, loader", self.loader, "read: zarr, one by one"
        yield "read: decoding alone", lambda threads: on_threads(threads, self.one, self.encoded), ""


def main() -> None:
    """Let every way take its turn in every round; print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    tiles = tiles_of(given.slide, given.tiles)
    with tempfile.TemporaryDirectory() as folder:
        for codec in ("zstd", "jpeg"):
            bench = Bench(Path(folder), codec, tiles)
            seen: dict[tuple[str, int], list[float]] = {}
            for _ in range(given.rounds):
                for name, way, _ in bench.ways():
                    for threads in (1, 2):
                        began = time.perf_counter()
                        way(threads)
                        seen.setdefault((name, threads), []).append(len(tiles) / (time.perf_counter() - began))
            rate = {key: statistics.median(values) for key, values in seen.items()}
            kb = bench.lengths.mean() / 1000
            print(f"{codec}: {len(tiles)} tiles of {PX} px, {kb:.1f} kB each; tiles/s with 1 and 2 threads")  # noqa: T201
            for name, _, other in bench.ways():
                line = f"  {name:34s}" + "".join(f"{rate[name, threads]:9.0f}" for threads in (1, 2))
                if other:
                    ratios = " and ".join(f"{rate[name, threads] / rate[other, threads]:.1f}" for threads in (1, 2))
                    line += f"   {ratios} times {other}"
                print(line)  # noqa: T201


if __name__ == "__main__":
    main()

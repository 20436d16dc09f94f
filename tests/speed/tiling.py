"""How fast a whole slide is tiled, against a plain loop (openslide, Pillow, zarr) in the same run, and the limit.

Run: ``python tests/speed/tiling.py SLIDE [--rounds 5]``, SLIDE a tiled JPEG TIFF of about 0.25 um/px. Every way cuts
the same grid; ways take turns, and medians are printed. The limit is imagecodecs decoding each source tile once.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import tifffile
import zarr
from PIL import Image

from w2wpath.frames import Scale
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.cut import RESAMPLE, cut
from w2wpath.tiles.grid import grid
from w2wpath.tiles.store import COLUMNS, SlideTiles, StoreSpec, TileStore

THREADS = 2
PLAIN_TILES = 400
"""The plain loop is timed on so many tiles from the middle of the slide: its speed does not depend on their number."""


def scale_of(px: int, side0: int) -> Scale:
    return Scale(px, side0, side0, 0.25 * side0 / px)


def corners(path: Path, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    with open_slide(path, slide_mpp=0.25) as slide:
        return grid(scale, width0=slide.width0, height0=slide.height0)


def plain(path: Path, folder: Path, scale: Scale) -> float:
    """Tiles a second of: read_region, RGB, resize with the same filter, one zarr chunk a tile."""
    x0, y0 = corners(path, scale)
    middle = slice(max(0, len(x0) // 2 - PLAIN_TILES // 2), len(x0) // 2 + PLAIN_TILES // 2)
    x0, y0 = x0[middle], y0[middle]
    px = scale.tile_px
    slide = openslide.OpenSlide(path)
    began = time.perf_counter()
    images = zarr.create_array(folder / "plain.zarr", shape=(len(x0), px, px, 3), chunks=(1, px, px, 3), dtype="uint8")
    for i, (x, y) in enumerate(zip(x0.tolist(), y0.tolist(), strict=True)):
        tile = slide.read_region((x, y), 0, (scale.side0, scale.side0)).convert("RGB")
        if scale.side0 != px:
            tile = tile.resize((px, px), Image.Resampling.LANCZOS)
        images[i] = np.asarray(tile)
    return len(x0) / (time.perf_counter() - began)


def reading(path: Path, folder: Path, scale: Scale) -> float:
    """Tiles a second of cutting alone."""
    x0, y0 = corners(path, scale)
    with open_slide(path, slide_mpp=0.25) as slide:
        began = time.perf_counter()
        count = sum(1 for _ in cut(slide, x0, y0, scale, threads=THREADS))
        return count / (time.perf_counter() - began)


def storing(path: Path, folder: Path, scale: Scale, codec: str = "zstd") -> float:
    """Tiles a second from slide to store."""
    x0, y0 = corners(path, scale)
    n = len(x0)
    columns = {name: np.zeros(n, dtype=np.int32) for name in COLUMNS}
    columns |= {"x0": x0, "y0": y0, "area_share": np.ones((n, 1), np.float32), "tile_id": np.zeros((n, 16), np.uint8)}
    tiles = SlideTiles(columns, {"classes": ["a"], "patients": ["p"], "counts": {"tiles": n, "by_class": {"a": n}}})
    store = TileStore.create_or_open(
        folder / "own.zarr", StoreSpec(scale.tile_px, scale.mpp, scale.tile_px, RESAMPLE, codec=codec)
    )
    with open_slide(path, slide_mpp=0.25) as slide:
        began = time.perf_counter()
        encode = store.encode if codec != "source" else None
        store.add("slide", tiles, cut(slide, x0, y0, scale, encode=encode, source=codec == "source", threads=THREADS))
        return n / (time.perf_counter() - began)


def decoding(path: Path, folder: Path, scale: Scale) -> float:
    """Source tiles a second of imagecodecs on as many threads, in tiles of `scale` by their area at level 0."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        tables, wide, high = page.jpegtables, page.tilewidth, page.tilelength
        rgb = page.photometric == tifffile.PHOTOMETRIC.RGB
        parts = [(offset, size) for offset, size in zip(page.dataoffsets, page.databytecounts, strict=True) if size]
    with path.open("rb") as raw, ThreadPoolExecutor(THREADS) as pool:

        def one(part: tuple[int, int]) -> None:
            data = os.pread(raw.fileno(), part[1], part[0])
            imagecodecs.jpeg8_decode(data, tables=tables, colorspace=2 if rgb else None, outcolorspace=2)

        began = time.perf_counter()
        list(pool.map(one, parts))
        took = time.perf_counter() - began
    return len(parts) * wide * high / scale.side0**2 / took


def main() -> None:
    """Measure every way in turns and print medians, ratios and shares of the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    native, half, source = scale_of(224, 224), scale_of(224, 448), scale_of(256, 256)
    ways: dict[str, tuple[Callable[..., float], Scale, tuple[str, ...]]] = {
        "224 px native: plain loop": (plain, native, ()),
        "224 px native: reading alone": (reading, native, ()),
        "224 px native: to zstd": (storing, native, ()),
        "224 px native: to jpeg": (storing, native, ("jpeg",)),
        "224 px native: decode limit": (decoding, native, ()),
        "224 px at 0.5 um/px: plain loop": (plain, half, ()),
        "224 px at 0.5 um/px: to zstd": (storing, half, ()),
        "224 px at 0.5 um/px: decode limit": (decoding, half, ()),
        "256 px native: plain loop": (plain, source, ()),
        "256 px native: source tiles as they are": (storing, source, ("source",)),
    }
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, (way, scale, more) in ways.items():
            folder = Path(tempfile.mkdtemp())
            try:
                seen[name].append(way(given.slide, folder, scale, *more))
            finally:
                shutil.rmtree(folder)
    middle = {name: statistics.median(values) for name, values in seen.items()}
    for name, speed in middle.items():
        kind = name.partition(":")[0]
        ratio = speed / middle[f"{kind}: plain loop"]
        limit = middle.get(f"{kind}: decode limit")
        share = f", {speed / limit:.0%} of the limit" if limit else ""
        say(f"{name}: {speed:.0f} tiles/s, {ratio:.1f} x the plain loop{share}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    say(f"peak memory of all this: {peak:.0f} MB")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()

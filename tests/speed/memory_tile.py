"""What tiling a whole slide takes of memory: it must not grow with the slide's area.

Run: ``python tests/speed/memory_tile.py``. Builds slides of one JPEG tile, repeated: one of a gigapixel, one of a tenth
of that and as wide, one of a tenth and square. Cuts 224 px native tiles of the whole into a zstd store, each in a
process of its own, and prints the peaks (VmHWM) and their ratios. A row of source tiles waits for the tiles below it,
so memory does grow with the width, until CACHE_BYTES ends that; the square slide shows by how much.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SOURCE_PX = 256
LARGE, AS_WIDE, SQUARE = (32768, 32768), (32768, 3072), (10240, 10240)
"""Width and height of the slides: 1,074, 101 and 105 megapixels."""
MOST_MB, MOST_RATIO = 600, 1.25
WORK = """
import sys
from pathlib import Path
import numpy as np
from w2wpath.frames import Scale
from w2wpath.slides.reader import open_slide
from w2wpath.tiles.cut import RESAMPLE, cut
from w2wpath.tiles.grid import grid
from w2wpath.tiles.store import COLUMNS, SlideTiles, StoreSpec, TileStore

scale = Scale(224, 224, 224, 0.5)
store = TileStore.create_or_open(Path(sys.argv[2]), StoreSpec(224, 0.5, 224, RESAMPLE))
with open_slide(sys.argv[1]) as slide:
    x0, y0 = grid(scale, width0=slide.width0, height0=slide.height0)
    n = len(x0)
    columns = {name: np.zeros(n, dtype=np.int32) for name in COLUMNS}
    columns |= {"x0": x0, "y0": y0, "area_share": np.ones((n, 1), np.float32), "tile_id": np.zeros((n, 16), np.uint8)}
    tiles = SlideTiles(columns, {"classes": ["a"], "patients": ["p"], "counts": {"tiles": n, "by_class": {"a": n}}})
    stored = store.add("slide", tiles, cut(slide, x0, y0, scale, encode=store.encode))
status = Path("/proc/self/status").read_text()
print(stored, int(status.partition("VmHWM:")[2].split()[0]) / 1024)
"""


def jpeg_of_tissue() -> bytes:
    """One tile of smooth blobs, which compress about as tissue does."""
    blobs = np.random.default_rng(0).integers(90, 250, (24, 24, 3), dtype=np.uint8)
    tile = np.asarray(Image.fromarray(blobs).resize((SOURCE_PX, SOURCE_PX), Image.Resampling.BICUBIC))
    return bytes(imagecodecs.jpeg8_encode(tile, level=85, outcolorspace="YCBCR", subsampling="420"))


def save_slide(path: Path, width: int, height: int) -> Path:
    """Write a tiled JPEG TIFF of so many px at 0.5 um/px whose tiles all hold the same bytes."""
    jpeg = jpeg_of_tissue()

    def streams() -> Iterator[bytes]:
        for _ in range(width // SOURCE_PX * (height // SOURCE_PX)):
            yield jpeg

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            streams(),
            shape=(height, width, 3),
            dtype="uint8",
            tile=(SOURCE_PX, SOURCE_PX),
            compression="jpeg",
            photometric="ycbcr",
            subsampling=(2, 2),
            metadata=None,
            resolution=(20000, 20000),
            resolutionunit="CENTIMETER",
        )
    return path


def peak_mb(folder: Path, width: int, height: int) -> tuple[int, float]:
    """Tile a whole slide in a process of its own; return how many tiles that were and its peak in MB."""
    slide = save_slide(folder / f"{width}x{height}.tiff", width, height)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", WORK, str(slide), str(slide.with_suffix(".zarr"))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    tiles, peak = ran.stdout.split()
    return int(tiles), float(peak)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc, which is Linux's")
def test_memory_does_not_grow_with_the_area_of_a_slide(tmp_path: Path) -> None:
    small_tiles, small = peak_mb(tmp_path, *AS_WIDE)
    large_tiles, large = peak_mb(tmp_path, *LARGE)
    assert (small_tiles, large_tiles) == (146 * 13, 146 * 146)
    assert large < MOST_MB
    assert large <= MOST_RATIO * small


def main() -> None:
    """Print the peaks and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        found = {size: peak_mb(Path(folder), *size) for size in (LARGE, AS_WIDE, SQUARE)}
    for (width, height), (tiles, peak) in found.items():
        ratio = found[LARGE][1] / peak
        print(f"{width} x {height} px: {tiles} tiles, peak {peak:.0f} MB; the large one {ratio:.2f} x")  # noqa: T201 - a script


if __name__ == "__main__":
    main()

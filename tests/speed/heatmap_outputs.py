"""How long the files of a heatmap take: 100,000 tiles, 4 classes, a thumbnail of 1600 px, every format in one process.

Run: ``python tests/speed/heatmap_outputs.py``. Prints seconds of each format, the sum and the peak of resident memory;
ends with exit code 1 beyond 60 s or 1.5 GB.
"""

from __future__ import annotations

import importlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from w2wpath.frames import Frame
from w2wpath.heatmaps.geojson import qupath_regions, qupath_tiles
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Facts, Maps
from w2wpath.heatmaps.ometiff import write_ometiff
from w2wpath.heatmaps.png import overlay_png
from w2wpath.heatmaps.store import read_maps, write_maps
from w2wpath.heatmaps.table import tiles_csv
from w2wpath.qupath.write import write_regions, write_tiles
from w2wpath.w2wnet.domain import Domain

ROWS, COLUMNS, SIDE0 = 250, 400, 448
CLASSES = ("Tumor", "Stroma", "Necrosis", "Immune cells")
MOST_S, MOST_GB = 60.0, 1.5
FRAME = Frame("qupath", 0, 0, COLUMNS * SIDE0, ROWS * SIDE0)


def made_up() -> tuple[Maps, Facts]:
    """Smooth fields with noise: areas of tissue, classes that hang together, doubt at their borders and elsewhere."""
    rng = np.random.default_rng(0)
    n, k = ROWS * COLUMNS, len(CLASSES)
    field = np.stack([ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS)), 8) for _ in range(k)], axis=-1)
    logits = 4 * field.reshape(n, k) / field.std() + rng.normal(0, 0.5, (n, k))
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    u = 1 - (probs**2).sum(axis=1)
    state = np.where(u > 0.4, UNCERTAIN, CONFIDENT).astype(np.uint8)
    tissue = ndimage.gaussian_filter(rng.normal(size=(ROWS, COLUMNS)), 20).ravel()
    state[tissue < np.quantile(tissue, 0.05)] = NOT_ANALYSED  # nearly all of the slide: the most that there can be
    empty = state == NOT_ANALYSED
    down, across = np.mgrid[0:ROWS, 0:COLUMNS].reshape(2, -1)
    u = np.where(empty, np.nan, u).astype(np.float32)
    maps = Maps(
        classes=CLASSES,
        x0=(across * SIDE0).astype(np.int32),
        y0=(down * SIDE0).astype(np.int32),
        side0=SIDE0,
        step0=SIDE0,
        width0=COLUMNS * SIDE0,
        height0=ROWS * SIDE0,
        slide_mpp=0.25,
        threshold=0.4,
        state=state,
        reason=np.where(state == UNCERTAIN, REASONS.index("uncertain"), 0).astype(np.uint8),
        probs_nk=np.where(empty[:, None], np.nan, probs).astype(np.float32),
        u=u,
        aleatoric=u / 2,
        epistemic=u / 2,
        draws=np.where(empty, 0, 25).astype(np.uint16),
        unread=np.zeros(n, dtype=np.bool_),
    )
    domain = Domain(False, 2.0, ("eosin 0.90, training slides 0.40 +- 0.02",))
    return maps, Facts("made.svs", "ab" * 32, FRAME, {"threshold": "0.4"}, True, domain)


def formats(maps: Maps, facts: Facts, home: Path) -> dict[str, Callable[[], object]]:
    """Return how each format is written; the page too, where ``w2wpath.heatmaps.page`` is there."""
    rng = np.random.default_rng(1)
    thumbnail = rng.integers(150, 255, (1000, 1600, 3), dtype=np.uint8)
    about = {"frame": FRAME.name}

    def png() -> None:
        picture = overlay_png(maps, thumbnail, facts.slide, opacity=0.5, domain=facts.domain)
        (home / "a.overlay.png").write_bytes(picture)

    found: dict[str, Callable[[], object]] = {
        "maps.zarr": lambda: write_maps(home / "a.maps.zarr", maps, facts),
        "maps.zarr, read": lambda: read_maps(home / "a.maps.zarr"),
        "overlay.png": png,
        "heatmap.ome.tif": lambda: write_ometiff(home / "a.heatmap.ome.tif", maps, facts),
        "geojson.gz": lambda: write_tiles(home / "a.geojson.gz", qupath_tiles(maps, FRAME, "ab"), about),
        "regions.geojson": lambda: write_regions(home / "a.regions.geojson", qupath_regions(maps, FRAME, "ab"), about),
        "tiles.csv": lambda: (home / "a.tiles.csv").write_text(tiles_csv(maps), "utf-8"),
    }
    try:
        page = importlib.import_module("w2wpath.heatmaps.page")
    except ModuleNotFoundError:  # there is no page yet
        return found
    found["report.html"] = lambda: page.write_page(home / "a.report.html", Texture(), maps, facts)
    return found


class Texture:
    """Stands for a slide of that size: smooth patches with some noise, the same everywhere; reading costs nothing."""

    path = Path("made.svs")
    width0, height0 = COLUMNS * SIDE0, ROWS * SIDE0
    downsamples = (1.0, 4.0, 16.0, 64.0)
    level_sizes = tuple((COLUMNS * SIDE0 // down, ROWS * SIDE0 // down) for down in (1, 4, 16, 64))
    background = (255, 255, 255)
    mpp, mpp_from, bounds0 = 0.25, "header", None

    def __init__(self) -> None:
        rng = np.random.default_rng(2)
        patch = ndimage.gaussian_filter(rng.normal(size=(1024, 1024)), 6, mode="wrap") * 300
        noisy = patch[..., None] * [1, 1.5, 0.7] + [200, 150, 190] + rng.normal(0, 4, (1024, 1024, 1))
        self._pixels = np.tile(noisy.clip(0, 255).astype(np.uint8), (4, 4, 1))

    def read_rgb(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a part of the texture, whatever the place."""
        return self._pixels[:height, :width]


def main() -> int:
    """Write every format once."""
    maps, facts = made_up()
    _say(f"{len(maps.x0):,} tiles, {int((maps.state != NOT_ANALYSED).sum()):,} analysed, {len(CLASSES)} classes")
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name, write in formats(maps, facts, home).items():
            began = time.perf_counter()
            write()
            took = time.perf_counter() - began
            total += took
            file = home / f"a.{name}"
            size = f"{file.stat().st_size / 1e6:8.1f} MB" if file.is_file() else ""
            _say(f"{name:16} {took:6.2f} s {size}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    _say(f"{'total':16} {total:6.2f} s (the limit is {MOST_S:g}); peak {peak:.2f} GB (the limit is {MOST_GB:g})")
    return int(total > MOST_S or peak > MOST_GB)


def _say(line: str) -> None:
    print(line)  # noqa: T201 - a script


if __name__ == "__main__":
    sys.exit(main())

"""Shared fixtures: slides that tell where a pixel lies, GeoJSON as QuPath writes it, the real data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import settings
from numpy.typing import NDArray
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from w2wpath.slides.source_tiles import tiled_tiff

ROOT = Path(__file__).resolve().parent.parent
MakeSlide = Callable[..., Path]

# the same examples in every run; no file is left behind
settings.register_profile("w2wpath", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("w2wpath")


def coordinate_image(width: int, height: int) -> NDArray[np.uint8]:
    """Pixel (x, y) holds (x // 8, y // 8, block): a tile tells where it was cut."""
    y, x = np.mgrid[0:height, 0:width]
    block = (x // 2048) * 16 + y // 2048
    return np.stack([x // 8 % 256, y // 8 % 256, block], axis=-1).astype(np.uint8)


def noise_image(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Pixels that no codec can shrink, the same for a seed."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def speck_of_noise(seed: int = 0) -> NDArray[np.uint8]:
    """White, 2048 x 2048 px, with 384 x 384 px of noise in a corner: its tiles are large, its thumbnail is small."""
    image = np.full((2048, 2048, 3), 255, dtype=np.uint8)
    image[:384, :384] = noise_image(384, 384, seed)
    return image


def save_svs(
    path: Path,
    image: NDArray[np.uint8],
    *,
    mpp: float | str | None = 0.5,
    quarter: NDArray[np.uint8] | None = None,
    tile: int = 128,
) -> Path:
    """Write an Aperio-style SVS: level 0, an untiled thumbnail, level 1 at a quarter; lossless and tiled."""
    height, width = image.shape[:2]
    about = f"Aperio Image Library v12.0.0\n{width}x{height} [0,0 {width}x{height}] ({tile}x{tile})"
    about += "" if mpp is None else f"|AppMag = 20|MPP = {mpp}"
    tiled: dict[str, Any] = {
        "tile": (tile, tile),
        "compression": "zlib",
        "photometric": "rgb",
        "metadata": None,
        "description": about,
    }
    thumbnail = np.ascontiguousarray(image[::16, ::16])
    with tifffile.TiffWriter(path) as file:
        file.write(image, **tiled)
        file.write(thumbnail, photometric="rgb", metadata=None, description="Aperio Image Library v12.0.0\nthumbnail")
        file.write(np.ascontiguousarray(image[::4, ::4]) if quarter is None else quarter, **tiled)
    return path


def save_bounded_tiff(path: Path, image: NDArray[np.uint8], bounds: tuple[int, int, int, int], tile: int = 128) -> Path:
    """Write a generic TIFF whose tiles outside `bounds` (x, y, width, height; whole tiles) were never scanned.

    OpenSlide gives such a file ``openslide.bounds-*``, as it does MIRAX and SCN slides.
    """
    left, top, width, height = bounds
    centimetre = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        file.write(image, tile=(tile, tile), compression="zlib", photometric="rgb", metadata=None, **centimetre)
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages[0].tags
        offsets, counts = list(tags["TileOffsets"].value), list(tags["TileByteCounts"].value)
        across = -(-image.shape[1] // tile)
        for i in range(len(offsets)):
            x, y = i % across * tile, i // across * tile
            if not (left <= x < left + width and top <= y < top + height):
                offsets[i] = counts[i] = 0
        tags["TileOffsets"].overwrite(offsets)
        tags["TileByteCounts"].overwrite(counts)
    return path


def feature(class_name: str | None, geometry: BaseGeometry, **properties: Any) -> dict[str, Any]:
    """One annotation as QuPath 0.5 writes it; unclassified where the class is None."""
    classified = {} if class_name is None else {"classification": {"name": class_name, "color": [200, 0, 0]}}
    return {
        "type": "Feature",
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{class_name} {geometry.wkt}")),
        "geometry": mapping(geometry),
        "properties": {"objectType": "annotation", **classified, **properties},
    }


def write_geojson(path: Path, regions: Iterable[tuple[str | None, BaseGeometry]]) -> Path:
    """Write (class, area) pairs as a QuPath FeatureCollection."""
    features = [feature(name, area) for name, area in regions]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    return path


def tear(path: Path, places: set[tuple[int, int]]) -> Path:
    """Leave nine bytes of blocks of level 0."""
    page = tiled_tiff(path).levels[0]
    content = bytearray(path.read_bytes())
    for column, row in places:
        tile = row * page.scanned().shape[1] + column
        start, length = int(page.offsets[tile]), int(page.counts[tile])
        content[start : start + length] = zlib.compress(b"too short").ljust(length, b"\x00")
    path.write_bytes(content)
    return path


def run_python(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that sees the project; its output is text."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def file_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: the operating system then fails as on a full disk."""
    resource = pytest.importorskip("resource", reason="this system has no file-size limit to set")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="session")
def coordinate_svs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinate SVS of 640 x 512 px at 0.5 um/px, levels 1 and 4; read it, never write it."""
    return save_svs(tmp_path_factory.mktemp("svs") / "coordinates.svs", coordinate_image(640, 512))


@pytest.fixture
def make_svs(tmp_path: Path) -> MakeSlide:
    """Make coordinate SVS slides: ``make_svs("a.svs", width=640, height=512, mpp=0.5)``."""

    def make(name: str = "slide.svs", *, width: int = 640, height: int = 512, mpp: float | str | None = 0.5) -> Path:
        return save_svs(tmp_path / name, coordinate_image(width, height), mpp=mpp)

    return make


@pytest.fixture
def bounded_slide(tmp_path: Path) -> Path:
    """A slide of 1024 x 768 px whose scanned area (bounds) is 512 x 384 px from (256, 128)."""
    return save_bounded_tiff(tmp_path / "bounded.tiff", coordinate_image(1024, 768), (256, 128, 512, 384))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The real data: $W2WPATH_TEST_DATA, or ../shared/data beside the project."""
    place = Path(os.environ.get("W2WPATH_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not place.is_dir():
        pytest.skip(f"the real test data is not there: {place} (set W2WPATH_TEST_DATA to its folder)")
    return place

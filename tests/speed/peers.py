"""How fast a whole slide is tiled, against dlup and hs2p in the same run on the same machine.

Run: ``python tests/speed/peers.py SLIDE --dlup PYTHON --hs2p PYTHON [--rounds 3]``, SLIDE a tiled TIFF of about
0.25 um/px, PYTHON the interpreter of an environment with ``dlup[openslide]``, or with ``hs2p[openslide]`` and, for
its fastest reader, ``cucim-cu12`` (which needs no GPU); either peer may be left out. Every way cuts all the tiles of
224 px native that lie wholly on the slide; each measurement is a process of its own, which cuts them again for the
clock where the first time took less than SHORT seconds; ways take turns, and medians are printed. Laying
the grid is not timed.

dlup reads: one `SlideDataset`, in a plain loop and shared by two threads, each tile made an array. Its default filter
changes pixels and costs time even at the native scale, so the nearest pixel is measured too: through OpenSlide that
gives our tiles to the bit. hs2p writes its tar of JPEG 90 from a full tissue mask with two workers, which only its
cuCIM reader makes use of. Ours reads, and writes stores of zstd and JPEG 90, on two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PX = 224
MPP = 0.25
WORKERS = 2
SHORT = 3.0
"""Seconds below which what a process does only once would count."""

PACKAGES = {
    "dlup": ("dlup", "fastslide", "openslide-python"),
    "hs2p": ("hs2p", "openslide-python", "cucim-cu12"),
    "ours": ("w2wpath", "imagecodecs", "zarr"),
}
WAYS = {
    "dlup reading, as it comes (Lanczos), openslide, plain loop": ("dlup", "OPENSLIDE", "LANCZOS", "1"),
    "dlup reading, as it comes (Lanczos), openslide, 2 threads": ("dlup", "OPENSLIDE", "LANCZOS", "2"),
    "dlup reading, nearest, openslide, plain loop": ("dlup", "OPENSLIDE", "NEAREST", "1"),
    "dlup reading, nearest, openslide, 2 threads": ("dlup", "OPENSLIDE", "NEAREST", "2"),
    "dlup reading, nearest, fastslide, plain loop": ("dlup", "FASTSLIDE", "NEAREST", "1"),
    "dlup reading, nearest, fastslide, 2 threads": ("dlup", "FASTSLIDE", "NEAREST", "2"),
    "hs2p to a JPEG tar, openslide": ("hs2p", "openslide"),
    "hs2p to a JPEG tar, cucim": ("hs2p", "cucim"),
    "ours reading": ("ours", ""),
    "ours to zstd": ("ours", "zstd"),
    "ours to jpeg": ("ours", "jpeg"),
}
"""Name: who, and what the function of that name is told."""
RATIOS = {"dlup": ("ours reading",), "hs2p": ("ours to jpeg", "ours to zstd")}
"""The ways of ours that do what a peer's do."""


def dlup(path: Path, folder: Path, backend: str, filter_: str, threads: str) -> tuple[int, float]:
    """Tiles of dlup and the seconds it took to read them."""
    from dlup import ImageConfig, Resampling, SlideDataset, TilingConfig
    from dlup.tiling import TilingMode
    from dlup.utils.backends import ImageBackend

    tiling = TilingConfig(mpp=MPP, tile_size=(PX, PX), tile_mode=TilingMode.skip)
    reader = ImageConfig(backend=ImageBackend[backend])
    given = {"overwrite_mpp": (MPP, MPP), "interpolator": Resampling[filter_]}
    with SlideDataset.from_standard_tiling(path, tiling_config=tiling, image_config=reader, **given) as tiles:

        def one(index: int) -> bool:
            return tiles[index].image.to_numpy().shape[0] == PX

        began = time.perf_counter()
        if threads == "1":
            count = sum(map(one, range(len(tiles))))
        else:
            with ThreadPoolExecutor(int(threads)) as pool:
                count = sum(pool.map(one, range(len(tiles))))
        return count, time.perf_counter() - began


def hs2p(path: Path, folder: Path, backend: str) -> tuple[int, float]:
    """Tiles of hs2p and the seconds it took to write them, its search for coordinates not counted."""
    import tarfile
    from dataclasses import replace

    import numpy as np
    from hs2p import DEFAULT_MASK_SAMPLING, SegmentationConfig, SlideSpec, TilingConfig, tile_slide
    from hs2p.api import extract_tiles_to_tar
    from hs2p.wsi.reader import open_slide
    from PIL import Image

    with open_slide(path, backend=backend, spacing_override=MPP) as slide:
        width, height = slide.dimensions
    mask = folder / "mask.png"
    Image.fromarray(np.ones((height // 16, width // 16), np.uint8)).save(mask)
    result = tile_slide(
        SlideSpec(sample_id="slide", image_path=path, mask_path=mask, spacing_at_level_0=MPP),
        tiling=TilingConfig(
            requested_spacing_um=MPP, requested_tile_size_px=PX, tolerance=0.05, overlap=0.0, backend=backend
        ),
        segmentation=SegmentationConfig(method="hsv"),
        masks=replace(DEFAULT_MASK_SAMPLING, min_coverage={"tissue": 0.995}),  # all but tiles over the edge
    )
    began = time.perf_counter()
    tar, _ = extract_tiles_to_tar(result, output_dir=folder, num_workers=WORKERS)
    took = time.perf_counter() - began
    with tarfile.open(tar) as file:
        return len(file.getnames()), took


def ours(path: Path, folder: Path, codec: str) -> tuple[int, float]:
    """Tiles of ours and the seconds it took to read them, or to store them with a codec."""
    import tiling

    assert tiling.THREADS == WORKERS
    scale = tiling.scale_of(PX, PX)
    count = len(tiling.corners(path, scale)[0])
    speed = tiling.storing(path, folder, scale, codec) if codec else tiling.reading(path, folder, scale)
    return count, count / speed


def child(who: str, path: Path, told: list[str]) -> None:
    """Measure one way in this process and print what came of it."""
    way: Callable[..., tuple[int, float]] = {"dlup": dlup, "hs2p": hs2p, "ours": ours}[who]
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            count, took = way(path, Path(folder), *told)
        if took > SHORT:
            break
    say(json.dumps({"count": count, "speed": count / took, "versions": versions(who)}))


def versions(who: str) -> str:
    found = []
    for name in PACKAGES[who]:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def measure(python: str, who: str, path: Path, told: tuple[str, ...]) -> dict[str, object] | str:
    """What a child found, or the last line of its complaint."""
    command = [python, __file__, str(path), "--child", who, *told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure every way in turns and print versions, medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--dlup", metavar="PYTHON")
    parser.add_argument("--hs2p", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], given.slide, given.child[1:])
        return
    pythons = {"dlup": given.dlup, "hs2p": given.hs2p, "ours": sys.executable}
    ways = {name: way for name, way in WAYS.items() if pythons[way[0]]}
    seen: dict[str, list[float]] = {name: [] for name in ways}
    counts: dict[str, object] = {}
    used: dict[str, object] = {}
    failed: dict[str, str] = {}
    say(f"load average before: {load()}")
    for _ in range(given.rounds):
        for name, (who, *told) in ways.items():
            if name in failed:
                continue
            found = measure(pythons[who], who, given.slide, tuple(told))
            if isinstance(found, str):
                failed[name] = found
                continue
            seen[name].append(float(str(found["speed"])))
            counts[name], used[who] = found["count"], found["versions"]
    say(f"load average after: {load()}")
    for who, names in used.items():
        say(f"{who}: {names}")
    middle = {name: statistics.median(values) for name, values in seen.items() if name not in failed}
    for name, speed in middle.items():
        low, high = min(seen[name]), max(seen[name])
        ratios = [f"{mine} is {middle[mine] / speed:.2f} x" for mine in RATIOS.get(WAYS[name][0], ()) if mine in middle]
        say(f"{name}: {speed:.0f} tiles/s ({low:.0f} to {high:.0f}, {counts[name]} tiles)", *ratios)
    for name, complaint in failed.items():
        say(f"{name}: failed: {complaint}")


def load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg()) + f" on {os.cpu_count()} cores"


def say(*parts: str) -> None:
    print(*parts, sep="; ", flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()

"""How near the reader of source tiles comes to the decoder itself: ``python tests/speed/decode.py SLIDE [BLOCKS]``.

Blocks of level 0, taken from the middle of the slide: through ``blocks(0).decode`` on one and two threads, against
imagecodecs decoding the same bytes from memory, and against OpenSlide reading the same squares. Rounds alternate and
the best counts, since other work on the machine only ever slows things down. imagecodecs alone is fast or slow by the
luck of its array's address (multiples of 32 are slow); into one kept buffer off that line it shows its limit.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from w2wpath.slides.base import Grid
from w2wpath.slides.jpeg_tiles import _off_the_line
from w2wpath.slides.reader import open_slide

ROUNDS = 5


def rate(work: Callable[[int], object], number: int, threads: int) -> float:
    """Blocks a second; each thread takes every so-many-th block, so that no queue is measured."""

    def share(first: int) -> None:
        for index in range(first, number, threads):
            work(index)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: None, range(threads)))
        began = time.perf_counter()
        list(pool.map(share, range(threads)))
        return number / (time.perf_counter() - began)


def main() -> None:
    """Print one line for each way of reading."""
    path = Path(sys.argv[1])
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    with open_slide(path) as slide:
        blocks = slide.blocks(0)
        assert isinstance(blocks, Grid)
        places = [(column, row) for row in range(blocks.rows) for column in range(blocks.columns)]
        skip = max(0, len(places) - wanted) // 2
        places = places[skip : skip + wanted]
        packed = [blocks.jpeg(*place) for place in places]
        space = "RGB" if b"Adobe\x00\x64\x00\x00\x00\x00\x00" in packed[0][:64] else "YCBCR"
        library = openslide.OpenSlide(path)
        width, height = blocks.block_width, blocks.block_height
        local = threading.local()

        def kept() -> NDArray[np.uint8]:
            if not hasattr(local, "buffer"):
                local.buffer = _off_the_line(height, width)
            buffer: NDArray[np.uint8] = local.buffer
            return buffer

        ways: dict[str, tuple[Callable[[int], object], int]] = {
            "imagecodecs alone": (
                lambda i: imagecodecs.jpeg8_decode(packed[i], colorspace=space, outcolorspace="RGB"),
                len(places),
            ),
            "  into a kept buffer": (
                lambda i: imagecodecs.jpeg8_decode(packed[i], colorspace=space, outcolorspace="RGB", out=kept()),
                len(places),
            ),
            "blocks(0).decode": (lambda i: blocks.decode(*places[i]), len(places)),
            "blocks(0).jpeg": (lambda i: blocks.jpeg(*places[i]), len(places)),
            "openslide read_region": (
                lambda i: library.read_region((places[i][0] * width, places[i][1] * height), 0, (width, height)),
                min(300, len(places)),
            ),
        }
        best: dict[tuple[str, int], float] = {}
        for _ in range(ROUNDS):
            for name, (work, number) in ways.items():
                for threads in (1, 2):
                    best[name, threads] = max(best.get((name, threads), 0.0), rate(work, number, threads))
        size = sum(map(len, packed)) / len(packed) / 1024
        print(f"{path.name}: {len(places):,} blocks of {width} x {height} px, {size:.1f} KiB each")  # noqa: T201
        for (name, threads), found in best.items():
            share = found / best["imagecodecs alone", threads]
            print(f"{name:22} {threads} thread(s) {found:>9,.0f} blocks/s {share:7.2f} x imagecodecs")  # noqa: T201


if __name__ == "__main__":
    main()

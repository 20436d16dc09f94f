"""How fluent the page of a heatmap is: 100,000 tiles in headless Chromium, from a file, without a graphics card.

Run: ``python tests/speed/page.py``. Writes the page of a slide of 320 x 320 tiles of 224 px (71,680 px a side) with a
picture, opens it, and prints the file's size, the seconds from opening to the first whole view, and the median
milliseconds of a step of panning (all that the page does for it, layout and the drawing of new tiles among it), of a
zoom, and of a move of the threshold. Beside each stands its limit.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from scipy.ndimage import gaussian_filter, zoom

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from w2wpath.frames import named_frame  # noqa: E402
from w2wpath.heatmaps.maps import Facts, Maps  # noqa: E402
from w2wpath.heatmaps.page import write_page  # noqa: E402

COLUMNS, SIDE0 = 320, 224
OPEN_S, PAN_MS = 3.0, 33.0
REPEATS = 5


class MadeSlide(SimpleNamespace):
    """A slide with one coarse level of smooth stain: what the picture costs, without a file of gigabytes."""

    def __init__(self) -> None:
        side = COLUMNS * SIDE0
        rng = np.random.default_rng(0)
        small = gaussian_filter(rng.normal(size=(280, 280, 3)), (4, 4, 0)) * 400
        self.image = np.clip(zoom(small, (16, 16, 1), order=1) + np.array([200, 150, 190]), 0, 255).astype(np.uint8)
        self.image += rng.integers(0, 12, self.image.shape, dtype=np.uint8)
        self.factor = side // len(self.image)
        super().__init__(
            path=Path("made.svs"), width0=side, height0=side, downsamples=(float(self.factor),), background=(255,) * 3
        )

    def read_rgb(self, x0: int, y0: int, level: int, width: int, height: int) -> Any:
        """Return pixels of the level."""
        found = np.full((height, width, 3), 255, dtype=np.uint8)
        left, top = x0 // self.factor, y0 // self.factor
        part = self.image[top : top + height, left : left + width]
        found[: part.shape[0], : part.shape[1]] = part
        return found


def made_maps() -> Maps:
    """Maps of patches of three classes, a third of the tiles without tissue."""
    n = COLUMNS * COLUMNS
    rng = np.random.default_rng(1)
    fields = np.stack([gaussian_filter(rng.normal(size=(COLUMNS, COLUMNS)), 6).ravel() * 60 for _ in range(4)], -1)
    probs = np.exp(fields[:, :3])
    probs /= probs.sum(axis=1, keepdims=True)
    u = 1 - (probs**2).sum(axis=1)
    analysed = fields[:, 3] > -1
    state = np.where(analysed, np.where(u > 0.5, 2, 1), 0).astype(np.uint8)
    index = np.arange(n, dtype=np.int32)
    nan = np.float32(np.nan)
    u = np.where(analysed, u, nan).astype(np.float32)
    return Maps(
        classes=("Tumor", "Stroma", "Mucosa"),
        x0=index % COLUMNS * SIDE0,
        y0=index // COLUMNS * SIDE0,
        side0=SIDE0,
        step0=SIDE0,
        width0=COLUMNS * SIDE0,
        height0=COLUMNS * SIDE0,
        slide_mpp=0.5,
        threshold=0.5,
        state=state,
        reason=(state == 2).astype(np.uint8),
        probs_nk=np.where(analysed[:, None], probs, nan).astype(np.float32),
        u=u,
        aleatoric=u / 2,
        epistemic=u / 2,
        draws=np.where(analysed, 25, 0).astype(np.uint16),
        unread=np.zeros(n, dtype=np.bool_),
    )


def milliseconds(page: Page, act: str, times: int) -> list[float]:
    """Return what each round of `act` took, sorted; it is an expression of the page's script that knows its round i."""
    script = f"""() => {{
        const took = [];
        for (let i = 0; i < {times}; i++) {{
            const begun = performance.now();
            {act};
            document.body.getBoundingClientRect();
            took.push(performance.now() - begun);
        }}
        return took.sort((a, b) => a - b);
    }}"""
    found: list[float] = page.evaluate(script)
    return found


def frames_of_a_drag(page: Page) -> list[float]:
    """Return the milliseconds between frames while the mouse drags the slide, sorted."""
    page.evaluate(
        """() => { window.frames_ = []; let last = performance.now();
        const step = (now) => { window.frames_.push(now - last); last = now; requestAnimationFrame(step); };
        requestAnimationFrame(step); }"""
    )
    page.mouse.move(800, 700)
    page.mouse.down()
    page.evaluate("window.frames_.length = 0")
    page.mouse.move(200, 250, steps=90)
    found: list[float] = page.evaluate("window.frames_.slice().sort((a, b) => a - b)")
    page.mouse.up()
    return found


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "report.html"
        slide: Any = MadeSlide()
        facts = Facts("made.svs", "0", named_frame("qupath", slide.width0, slide.height0, None), {}, False, None)
        begun = time.perf_counter()
        write_page(path, slide, made_maps(), facts)
        print(f"written in {time.perf_counter() - begun:.1f} s, {path.stat().st_size / 1e6:.1f} MB")  # noqa: T201
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        opened = []
        for _ in range(REPEATS):
            page = browser.new_context(offline=True, viewport={"width": 1400, "height": 900}).new_page()
            begun = time.perf_counter()
            page.goto(path.as_uri())
            page.wait_for_function(
                "window.w2w && [...document.querySelectorAll('.slide-tile img')].every(one => one.complete)"
            )
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            opened.append(time.perf_counter() - begun)
        print(f"opened in {np.median(opened):.2f} s (limit {OPEN_S:g} s)")  # noqa: T201
        walk = "w2w.map.panBy([i < 60 ? 41 : -41, i < 60 ? 23 : -23], { animate: false })"
        for level in (-7, -5, -3, 0):
            page.evaluate("zoom => w2w.map.setView([-25000, 25000], zoom, { animate: false })", level)
            took = milliseconds(page, walk, 120)
            frames = frames_of_a_drag(page)
            print(  # noqa: T201
                f"pan at zoom {level}: median {np.median(took):.1f} ms, worst {took[-1]:.1f} ms (limit {PAN_MS:g} ms); "
                f"frames of a drag: median {np.median(frames):.1f} ms, 95 % {np.quantile(frames, 0.95):.1f} ms"
            )
        took = milliseconds(page, "w2w.map.setZoom(i % 2 ? -7 : -5, { animate: false })", 40)
        print(f"zoom: median {np.median(took):.1f} ms")  # noqa: T201
        page.evaluate("w2w.map.setZoom(-7, { animate: false })")
        move = (
            "const at = document.getElementById('threshold'); at.value = 50 + i; at.dispatchEvent(new Event('input'))"
        )
        print(f"threshold: median {np.median(milliseconds(page, move, 40)):.1f} ms")  # noqa: T201
        browser.close()


if __name__ == "__main__":
    main()

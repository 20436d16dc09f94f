"""Pages of the coloured slide, and facts to say beside them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.heatmaps.made import ColourReader, save_slide
from w2wpath.config import HeatmapSettings
from w2wpath.frames import Frame, named_frame
from w2wpath.heatmaps.maps import Facts, Maps
from w2wpath.heatmaps.page import write_page
from w2wpath.heatmaps.predict import read_slide
from w2wpath.heatmaps.server import Viewer
from w2wpath.progress import Silent
from w2wpath.slides.contract import Slide
from w2wpath.slides.reader import open_slide
from w2wpath.w2wnet.domain import Domain

EVIL = "</script><script>alert(1)</script>\"'<img src=x onerror=alert(2)> é漢"


def maps_of(slide: Slide, **reader: Any) -> Maps:
    """What the colour reader says of a slide."""
    model = ColourReader(**reader)
    return read_slide(
        slide,
        model,
        threshold=model.threshold,
        draws=5,
        adaptive=False,
        settings=HeatmapSettings(),
        progress=Silent(),
    ).maps


def facts(frame: Frame, slide: str = "slide.svs", domain: Domain | None = None, calibrated: bool = False) -> Facts:
    """Facts of a slide."""
    return Facts(slide, "f1" * 8, frame, {"version": "1"}, calibrated, domain, {"command": "heatmap", "seeds": [1, 2]})


def write(path: Path, slide_path: Path | None = None, **options: Any) -> tuple[Path, Maps]:
    """Write the page of a made slide; `maps`, `facts` and `frame` may replace the usual ones."""
    path.parent.mkdir(exist_ok=True)
    with open_slide(slide_path or save_slide(path.parent / "slide.svs")) as slide:
        maps = options.pop("maps", None) or maps_of(slide)
        frame = named_frame(options.pop("frame", "qupath"), slide.width0, slide.height0, slide.bounds0)
        about = replace(options.pop("facts", None) or facts(frame), frame=frame)
        return write_page(path, slide, maps, about, **options), maps


@contextmanager
def serving(viewer: Viewer) -> Iterator[Viewer]:
    """Let a viewer answer while the block runs."""
    thread = threading.Thread(target=viewer.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield viewer
    finally:
        viewer.shutdown()
        thread.join()
        viewer.server_close()

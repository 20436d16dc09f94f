"""w2wpath: QuPath regions become labelled tiles, W2WNet cleans them, slides come back as masked heatmaps.

The names below are imported when first used (PEP 562), so that ``import w2wpath`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_LAZY = {
    "Model": "w2wpath.w2wnet.nets.bundle",
    "TileStore": "w2wpath.tiles.store",
    "clean": "w2wpath.w2wnet.clean",
    "heatmap": "w2wpath.heatmaps.run",
    "open_slide": "w2wpath.slides.reader",
    "read_rois": "w2wpath.qupath.read",
    "tile": "w2wpath.tiles.cohort",
    "train": "w2wpath.w2wnet.nets.train",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'w2wpath' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List the lazy names beside the module's own."""
    return sorted(set(globals()) | set(_LAZY))

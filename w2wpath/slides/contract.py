"""What every slide promises, whichever library reads the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Blocks(Protocol):
    """One level of a slide as a grid of blocks, each decoded in one go.

    A block is a source tile of the file or, where those are out of reach, a region that the library reads.
    """

    width: int
    height: int
    """Size of the level in its own pixels."""
    block_width: int
    block_height: int

    def decode(self, column: int, row: int) -> NDArray[np.uint8]:
        """Return a block ``(h, w, 3)`` RGB, cut at the level's edges; safe to call from several threads.

        Raises
        ------
        SlideError
            The block cannot be decoded; others still can.
        """
        ...

    def jpeg(self, column: int, row: int) -> bytes:
        """Return the scanner's own JPEG of a block as a complete file.

        Raises
        ------
        SlideError
            The blocks of this level are no JPEGs of their own, or this one is damaged or not there.
        """
        ...


class Slide(Protocol):
    """An open whole-slide image. Coordinates ending in ``0`` are level-0 pixels, origin top left."""

    path: Path
    width0: int
    height0: int
    downsamples: tuple[float, ...]
    """Level-0 pixels per pixel of each level, finest first."""
    level_sizes: tuple[tuple[int, int], ...]
    """Width and height of each level in its own pixels."""
    background: tuple[int, int, int]
    """RGB of what was never scanned; white where the file states nothing."""
    mpp: float | None
    """um per level-0 pixel; None where neither the header nor the user said."""
    mpp_from: str
    """Where `mpp` comes from: ``header``, ``tiff resolution``, ``flag`` or ``unknown``."""
    bounds0: tuple[int, int, int, int] | None
    """Scanned area that QuPath crops to (x0, y0, width, height); None where the slide states none."""

    damaged0: set[tuple[int, int, int, int]]
    """Boxes (x0, y0, width, height) that the thumbnails made so far could not show: what lies there is not known."""

    def read_rgb(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return ``(height, width, 3)`` RGB of `level` from level-0 corner (x0, y0); white outside the scan.

        Raises
        ------
        SlideError
            The pixels cannot be decoded, or `level` does not exist.
        """
        ...

    def blocks(self, level: int) -> Blocks:
        """Return a level as a grid of blocks.

        Raises
        ------
        SlideError
            `level` does not exist.
        """
        ...

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """Return the whole slide as ``(h, w, 3)`` RGB whose longer side is at most `max_px`."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...

    def __enter__(self) -> Slide:
        """Return itself."""
        ...

    def __exit__(self, *exc: Any) -> None:
        """Close the slide."""
        ...

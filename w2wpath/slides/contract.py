"""What every slide promises, whichever library reads the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Slide(Protocol):
    """An open whole-slide image. Coordinates ending in ``0`` are level-0 pixels, origin top left."""

    path: Path
    width0: int
    height0: int
    downsamples: tuple[float, ...]
    """Level-0 pixels per pixel of each level, finest first."""
    mpp: float | None
    """um per level-0 pixel; None where neither the header nor the user said."""
    mpp_from: str
    """Where `mpp` comes from: ``header``, ``flag`` or ``unknown``."""
    bounds0: tuple[int, int, int, int] | None
    """Scanned area that QuPath crops to (x0, y0, width, height); None where the slide states none."""

    def read_rgb(self, x0: int, y0: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return ``(height, width, 3)`` RGB of `level` from level-0 corner (x0, y0); white outside the scan.

        Raises
        ------
        SlideError
            The pixels cannot be decoded, or `level` does not exist.
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

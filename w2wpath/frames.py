"""The only place that converts between level-0 pixels, level-L pixels, micrometres and the frames of annotations.

Frames
------
slide (level 0)
    Pixels of the finest level as the reader sees them, origin top left. Names end in ``0``.
qupath
    Level-0 pixels counted from the corner of the slide's bounds (``openslide.bounds-x/y``), which QuPath
    crops to. Equal to the slide frame where a slide has no bounds. Source: QuPath's OpenSlide reader.
qupath-rot90, qupath-rot180, qupath-rot270
    The QuPath frame of an image that was turned clockwise by so many degrees when it was imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ConfigError, FrameError

_TURNS = {"qupath": 0, "slide": 0, "qupath-rot90": 1, "qupath-rot180": 2, "qupath-rot270": 3}
FRAMES = tuple(_TURNS)
"""Every frame that annotations may use."""
ORIGINS = ("auto", *FRAMES)
"""What a user may say of the frame of annotations."""
MPP_TOLERANCE = 0.005
"""Largest relative distance between the um/px asked for and what whole level-0 pixels can give."""

Box0 = tuple[int, int, int, int]
"""Corner x0, y0, width and height in level-0 pixels of the slide frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What annotations are counted from: an area of the slide, turned clockwise by quarter turns.

    Attributes
    ----------
    name
        One of :data:`FRAMES`.
    x0, y0, width0, height0
        The area that the frame shows, in level-0 pixels of the slide frame, before turning.
    turns
        Clockwise quarter turns, 0 to 3.
    """

    name: str
    x0: int
    y0: int
    width0: int
    height0: int
    turns: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frame as its user sees it."""
        return (self.height0, self.width0) if self.turns % 2 else (self.width0, self.height0)

    def to_slide(self, xy: NDArray[Any]) -> NDArray[np.float64]:
        """Turn points (n, 2) of this frame into level-0 points (n, 2) of the slide frame."""
        u, v = np.asarray(xy, dtype=np.float64).T
        width, height = self.width0, self.height0
        x, y = [(u, v), (v, height - u), (width - u, height - v), (width - v, u)][self.turns]
        return np.stack([x + self.x0, y + self.y0], axis=-1)

    def from_slide(self, xy0: NDArray[Any]) -> NDArray[np.float64]:
        """Turn level-0 points (n, 2) of the slide frame into points (n, 2) of this frame."""
        x, y = np.asarray(xy0, dtype=np.float64).T
        x, y, width, height = x - self.x0, y - self.y0, self.width0, self.height0
        u, v = [(x, y), (height - y, x), (width - x, height - y), (y, width - x)][self.turns]
        return np.stack([u, v], axis=-1)

    def corner_from_slide(self, x0: int, y0: int, side0: int) -> tuple[int, int]:
        """Return the top left corner in this frame of the level-0 square with corner (x0, y0)."""
        left, top = self.from_slide(np.array([[x0, y0], [x0 + side0, y0 + side0]])).min(axis=0)
        return int(left), int(top)


def candidate_frames(width0: int, height0: int, bounds0: Box0 | None) -> tuple[Frame, ...]:
    """Return every frame that annotations of a slide may use; two that are the same are named ``qupath``.

    Parameters
    ----------
    width0, height0
        Size of the slide in level-0 pixels.
    bounds0
        The slide's bounds; None where it states none.
    """
    whole = (0, 0, width0, height0)
    area = bounds0 or whole
    names = [name for name in FRAMES if name != "slide" or area[:2] != (0, 0)]
    return tuple(Frame(name, *(whole if name == "slide" else area), _TURNS[name]) for name in names)


def named_frame(name: str, width0: int, height0: int, bounds0: Box0 | None) -> Frame:
    """Return the frame called `name` of a slide; see :func:`candidate_frames` for the rest.

    Raises
    ------
    KeyError
        `name` is not one of :data:`FRAMES`.
    """
    whole = (0, 0, width0, height0)
    return Frame(name, *(whole if name == "slide" else bounds0 or whole), _TURNS[name])


def stated_frame(wanted: str, width0: int, height0: int, bounds0: Box0 | None, where: str) -> Frame:
    """Return the frame that a user stated, or the only one there is.

    Parameters
    ----------
    wanted
        One of :data:`ORIGINS`.
    where
        What to name in an error.

    Raises
    ------
    FrameError
        ``auto``, and the QuPath frame and the slide's differ.
    """
    if wanted != "auto":
        return named_frame(wanted, width0, height0, bounds0)
    if bounds0 is not None and bounds0[:2] != (0, 0):
        raise FrameError(
            f"{where}: the slide's bounds begin at ({bounds0[0]}, {bounds0[1]}), so QuPath's frame and the slide's "
            "differ. Pass --origin qupath (QuPath with its default settings) or --origin slide (level-0 pixels of "
            "the whole scan, QuPath with --no-crop)."
        )
    return named_frame("qupath", width0, height0, bounds0)


@dataclass(frozen=True, slots=True)
class Scale:
    """How tiles of `tile_px` at a wanted um/px lie on one slide.

    Attributes
    ----------
    side0, step0
        Side and grid step of a tile in level-0 pixels.
    mpp
        The um/px that tiles really have: ``side0 * slide_mpp / tile_px``.
    """

    tile_px: int
    side0: int
    step0: int
    mpp: float


def tile_scale(
    *, tile_px: int, stride_px: int, mpp: float, slide_mpp: float, allow_upsample: bool, where: str
) -> Scale:
    """Fit a grid of `tile_px` at `mpp` um/px to whole level-0 pixels of a slide of `slide_mpp` um/px.

    Raises
    ------
    ConfigError
        Whole pixels miss `mpp` by more than 0.5 %, or the slide is coarser than `mpp` and `allow_upsample` is off.
    """
    side0 = max(1, round(tile_px * mpp / slide_mpp))
    step0 = max(1, round(stride_px * mpp / slide_mpp))
    actual = side0 * slide_mpp / tile_px
    if abs(actual - mpp) > MPP_TOLERANCE * mpp:
        raise ConfigError(
            f"{where}: {tile_px} px at {mpp:g} um/px would be {tile_px * mpp / slide_mpp:.2f} level-0 pixels; "
            f"whole pixels give {actual:.4g} um/px, more than 0.5 % off. Choose another --tile-px or --mpp."
        )
    if side0 < tile_px and not allow_upsample:
        raise ConfigError(
            f"{where}: the slide has {slide_mpp:g} um/px, coarser than the {mpp:g} um/px asked for. "
            "Choose a larger --mpp, or pass --allow-upsample to enlarge its pixels."
        )
    return Scale(tile_px, side0, step0, actual)


def source_level(downsamples: tuple[float, ...], side0: int, tile_px: int) -> int:
    """Return the coarsest level that is still at least as fine as the tile needs; level 0 when none is."""
    wanted = side0 / tile_px
    fit = [level for level, factor in enumerate(downsamples) if factor <= wanted * (1 + 1e-3)]
    return max(fit, key=lambda level: downsamples[level], default=0)


def um(pixels0: float, slide_mpp: float) -> float:
    """Return the length of `pixels0` level-0 pixels in micrometres."""
    return pixels0 * slide_mpp


def pixels0(length_um: float, slide_mpp: float) -> float:
    """Return `length_um` micrometres in level-0 pixels."""
    return length_um / slide_mpp

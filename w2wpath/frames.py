"""The only place that converts between level-0 pixels, level-L pixels, micrometres and the QuPath frame.

Frames
------
slide (level 0)
    Pixels of the finest level as the reader sees them, origin top left. Names end in ``0``.
QuPath
    Level-0 pixels counted from the corner of the slide's bounds (``openslide.bounds-x/y``), which QuPath
    crops to. Equal to the slide frame where a slide has no bounds. Source: QuPath's OpenSlide reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from w2wpath.errors import ConfigError, FrameError

ORIGINS = ("auto", "qupath", "slide")
"""What a user may say of the frame of annotations."""
MPP_TOLERANCE = 0.005
"""Largest relative distance between the um/px asked for and what whole level-0 pixels can give."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the annotations' (0, 0) lies, in level-0 pixels of the slide frame, and what it is called."""

    name: str
    dx0: int
    dy0: int


def resolve_origin(wanted: str, bounds_xy0: tuple[int, int] | None, where: str) -> Origin:
    """Choose the frame of a slide's annotations.

    Parameters
    ----------
    wanted
        ``auto``, ``qupath`` or ``slide``.
    bounds_xy0
        Corner of the slide's bounds in level-0 pixels; None where the slide has none.
    where
        What to name in an error.

    Raises
    ------
    FrameError
        ``auto`` and the two frames differ: the file does not record which one was used, so it is never guessed.
    """
    dx0, dy0 = bounds_xy0 or (0, 0)
    if wanted == "auto":
        if (dx0, dy0) != (0, 0):
            raise FrameError(
                f"{where}: the slide's bounds begin at ({dx0}, {dy0}), so QuPath's frame and the slide's differ "
                "and the annotations do not say which they use. Pass --origin qupath (drawn in QuPath with its "
                "default settings) or --origin slide (level-0 pixels of the whole scan)."
            )
        return Origin("qupath", 0, 0)
    return Origin("qupath", dx0, dy0) if wanted == "qupath" else Origin("slide", 0, 0)


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

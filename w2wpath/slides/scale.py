"""um per pixel: from the header, from the resolution of a TIFF, or from the user."""

from __future__ import annotations

import math
from pathlib import Path

from w2wpath.errors import ConfigError, SlideError

SQUARE_TOLERANCE = 0.01
"""Largest relative difference between um/px in x and in y that still counts as square pixels."""
PLAUSIBLE_MPP = (1e-3, 1e3)
"""um/px outside these is a fault of the header, not a scale. Whether a scale suits the work is for `tile` to say."""
_UM_PER_UNIT = {"inch": 25400.0, "centimeter": 10000.0}

Pair = tuple[object, object]
"""A value in x and in y, as a library hands it out: a number, a text, or None."""


def check_flag(path: Path, slide_mpp: float | None) -> None:
    """Refuse what is no scale.

    Raises
    ------
    ConfigError
        `slide_mpp` is not a scale.
    """
    if slide_mpp is not None and not plausible(slide_mpp):
        raise ConfigError(f"{path}: slide_mpp is {slide_mpp:g}. Give um per pixel, like 0.25.")


def scale(
    path: Path, flag: float | None, *, header: Pair = (None, None), tiff: Pair = (None, None), unit: str = "none"
) -> tuple[float | None, str]:
    """Return um/px and where it comes from: the flag, else the header, else the TIFF's pixels per `unit`.

    Raises
    ------
    SlideError
        The header says that pixels are not square, and there is no flag.
    """
    if flag is not None:
        return flag, "flag"
    mpp_x, mpp_y = _number(header[0]), _number(header[1])
    if plausible(mpp_x) and plausible(mpp_y):
        if not _square(mpp_x, mpp_y):
            raise SlideError(
                f"{path}: pixels are not square ({mpp_x:g} x {mpp_y:g} um). Pass --slide-mpp if the header is wrong."
            )
        return (mpp_x + mpp_y) / 2, "header"
    mpp_x, mpp_y = in_um(tiff, unit)
    if plausible(mpp_x) and plausible(mpp_y) and _square(mpp_x, mpp_y):
        return (mpp_x + mpp_y) / 2, "tiff resolution"
    return None, "unknown"


def in_um(tiff: Pair, unit: str) -> tuple[float, float]:
    """Return um/px in x and y of a TIFF with so many pixels per `unit`; NaN where that says nothing."""
    um = _UM_PER_UNIT.get(unit, math.nan)
    per_x, per_y = (_number(per) for per in tiff)
    return um / per_x if per_x > 0 else math.nan, um / per_y if per_y > 0 else math.nan


def unit_name(resolution_unit: int) -> str:
    """Return what TIFF tag 296 says; a missing tag is 2, inch, by the standard."""
    return {2: "inch", 3: "centimeter"}.get(resolution_unit, "none")


def plausible(mpp: float) -> bool:
    """Return whether a number can be a scale at all; NaN cannot."""
    return PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]


def _square(mpp_x: float, mpp_y: float) -> bool:
    return abs(mpp_x - mpp_y) <= SQUARE_TOLERANCE * mpp_x


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number becomes NaN
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan

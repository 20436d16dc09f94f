"""Class colours: QuPath's own where it has one, otherwise a colour-blind-safe cycle (Okabe and Ito)."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
UNCERTAIN: Colour = (120, 120, 120)
_QUPATH: dict[str, Colour] = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Immune cells": (160, 90, 160),
    "Necrosis": (50, 50, 50),
    "Other": (255, 200, 0),
    "Positive": (200, 50, 50),
    "Negative": (90, 90, 180),
}
_CYCLE: tuple[Colour, ...] = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
)


def class_colours(classes: tuple[str, ...]) -> dict[str, Colour]:
    """Return one colour per class, stable for a given tuple of classes."""
    free = iter(_CYCLE * (1 + len(classes) // len(_CYCLE)))
    return {name: _QUPATH.get(name) or next(free) for name in classes}

"""Annotations on the slide as a picture: how they lie in the settled frame, or in each frame that is possible."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from w2wpath.frames import Frame
from w2wpath.qupath.align import Alignment, FrameScore
from w2wpath.qupath.colours import Colour, class_colours
from w2wpath.qupath.read import Rois

MOST_WIDTH, MOST_HEIGHT, LEAST_WIDTH = 2400, 1000, 640
"""Width of the whole picture at most and at least, and height of a panel at most, in px."""
GAP = 24
TITLE, TEXT = 22, 16
"""Heights of letters in px."""
INK, PAPER, IGNORED = (25, 25, 25), (255, 255, 255), (90, 90, 90)
DASH = 7.0
MANY = 3000
"""From so many outlines on they are thin and without a light rim, or they would cover each other."""
ENLARGE = 4.0
"""A thumbnail is enlarged by no more than this."""

Mark = tuple[str, Colour, bool]
"""A name in the legend, its colour, and whether its outline is dashed."""


def plausible(alignment: Alignment) -> tuple[FrameScore, ...]:
    """Return the settled frame; where there is none, the plain frames and the turned ones that fit."""
    if alignment.frame is not None:
        return tuple(score for score in alignment.scores if score.frame == alignment.frame)
    return tuple(score for score in alignment.scores if score.frame.turns == 0 or score.fits)


def alignment_png(
    rois: Rois, slide_thumbnail: NDArray[np.uint8], slide_size0: tuple[int, int], alignment: Alignment, title: str
) -> bytes:
    """Draw one panel for each plausible frame side by side, with names and scores above and a legend below.

    Parameters
    ----------
    slide_thumbnail
        (h, w, 3) uint8 RGB of the whole slide.
    slide_size0
        Width and height of the slide in level-0 pixels.

    Returns
    -------
    bytes
        A PNG, at most 2400 px wide.
    """
    shown = plausible(alignment)
    classes = tuple(sorted({roi.class_name for roi in rois.regions}))
    colours = {**class_colours(classes), **rois.colours}
    marks: list[Mark] = [(name, colours[name], False) for name in classes]
    marks += [("ignored, subtracted", IGNORED, True)] if rois.ignored else []

    height, width = slide_thumbnail.shape[:2]
    room = (MOST_WIDTH - GAP) // len(shown) - GAP
    scale = min(room / width, MOST_HEIGHT / height, ENLARGE)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    thumbnail = Image.fromarray(slide_thumbnail).resize(size, Image.Resampling.LANCZOS)
    captions = [(score.frame.name, score.text()) for score in shown]
    column = min(room, max(size[0], *(_width(line, TEXT) for caption in captions for line in caption)))
    total = max(LEAST_WIDTH, GAP + len(shown) * (column + GAP))

    head = [(title, TITLE)]
    if alignment.frame is None:
        head.append(("The file does not record its frame. Which panel is right? Pass its name with --origin.", TEXT))
    above = GAP + sum(_line(text) for _, text in head) + GAP // 2
    below = above + 2 * _line(TEXT) + size[1] + GAP
    places, legend_height = _places(marks, total)
    canvas = Image.new("RGB", (total, below + legend_height + GAP // 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    y = GAP
    for text, letters in head:
        _write(draw, (GAP, y), text, letters, total - 2 * GAP)
        y += _line(letters)
    for index, (score, caption) in enumerate(zip(shown, captions, strict=True)):
        x = GAP + index * (column + GAP)
        for number, line in enumerate(caption):
            _write(draw, (x, above + number * _line(TEXT)), line, TEXT, column, bold=number == 0)
        panel = _panel(thumbnail, rois, score.frame, slide_size0, colours)
        canvas.paste(panel, (x, above + 2 * _line(TEXT)))
        corner = (x - 1, above + 2 * _line(TEXT) - 1)
        draw.rectangle((*corner, corner[0] + size[0] + 1, corner[1] + size[1] + 1), outline=(200, 200, 200))
    for (name, colour, dashed), (x, y) in zip(marks, places, strict=True):
        middle = y + below + TEXT // 2
        _outline(draw, np.array([(x, middle), (x + 28, middle)]), colour, 4, DASH if dashed else None)
        _write(draw, (x + 36, y + below), name, TEXT, total - x - 36 - GAP)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _panel(
    thumbnail: Image.Image, rois: Rois, frame: Frame, size0: tuple[int, int], colours: dict[str, Colour]
) -> Image.Image:
    """Return the slide with the outlines of all areas that lie on it, seen from `frame`."""
    # drawn twice as large and halved: smooth edges, which Pillow's lines have not
    above = Image.new("RGBA", (2 * thumbnail.width, 2 * thumbnail.height))
    draw = ImageDraw.Draw(above)
    to_px = np.array(above.size) / np.array(size0)
    areas = np.array([*(roi.geometry for roi in rois.regions), *rois.ignored], dtype=object)
    lines, owner = _lines(shapely.transform(areas, lambda xy: frame.to_slide(xy) * to_px), above.size)
    for line, area in zip(lines, owner.tolist(), strict=True):
        ignored = area >= len(rois.regions)
        colour = IGNORED if ignored else colours[rois.regions[area].class_name]
        if len(lines) < MANY:
            _outline(draw, line, PAPER, 10)  # a light rim: dark outlines are seen on dark tissue too
            _outline(draw, line, colour, 6, dash=2 * DASH if ignored else None)
        else:
            _outline(draw, line, colour, 2)
    panel, outlines = thumbnail.copy(), above.reduce(2)
    panel.paste(outlines, mask=outlines)
    return panel


def _lines(areas: NDArray[Any], size: tuple[int, int]) -> tuple[list[NDArray[np.float64]], NDArray[np.intp]]:
    """Return the outlines (m, 2) of `areas` inside a panel, and the area of each."""
    parts, of_part = shapely.get_parts(areas, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    # far-off coordinates would overflow Pillow's integers; detail below half a pixel cannot be seen
    rings = shapely.simplify(rings, 0.5, preserve_topology=False)
    cut, of_cut = shapely.get_parts(shapely.clip_by_rect(rings, -9, -9, size[0] + 9, size[1] + 9), return_index=True)
    points, of_point = shapely.get_coordinates(cut, return_index=True)
    starts = np.searchsorted(of_point, np.arange(1, len(cut)))
    return np.split(points, starts)[: len(cut)], of_part[of_ring[of_cut]]


def _outline(
    draw: ImageDraw.ImageDraw, line: NDArray[np.float64], colour: Colour, width: int, dash: float | None = None
) -> None:
    """Draw a line (m, 2); with gaps as long as its dashes where `dash` says how long they are."""
    pieces = [line]
    if dash is not None:
        path = shapely.linestrings(line)
        points = shapely.get_coordinates(shapely.line_interpolate_point(path, np.arange(0, path.length + dash, dash)))
        pieces = [points[begin : begin + 2] for begin in range(0, len(points) - 1, 2)]
    for piece in pieces:
        flat: Any = piece.astype(np.float32)  # Pillow reads arrays of float32 directly, though its types do not say so
        draw.line(flat, colour, width)


def _places(marks: Sequence[Mark], total: int) -> tuple[list[tuple[int, int]], int]:
    """Return where each entry of the legend begins, in rows as wide as the picture, and the height of all."""
    places, x, y = [], GAP, 0
    for name, *_ in marks:
        wide = 36 + _width(name, TEXT) + GAP
        if x > GAP and x + wide > total:
            x, y = GAP, y + _line(TEXT)
        places.append((x, y))
        x += wide
    return places, y + _line(TEXT)


def _line(letters: int) -> int:
    return round(letters * 1.5)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _width(text: str, letters: int) -> int:
    return int(ImageFont.load_default(letters).getlength(_plain(text))) + 1


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, letters: int, room: int, *, bold: bool = False
) -> None:
    """Write one line of at most `room` px; what is longer ends in an ellipsis."""
    text = _plain(text)
    if _width(text, letters) > room:
        while text and _width(f"{text}...", letters) > room:
            text = text[:-1]
        text += "..."
    draw.text(at, text, INK, ImageFont.load_default(letters), stroke_width=0.4 if bold else 0)

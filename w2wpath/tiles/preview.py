"""Pictures to check tiles by: where they lie on a slide and what became of each, and a sheet of tiles of one class."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from shapely.geometry.base import BaseGeometry

from w2wpath.errors import ConfigError, did_you_mean
from w2wpath.qupath.colours import Colour, class_colours
from w2wpath.tiles.labels import NO_LABEL, SLACK
from w2wpath.tiles.store import TileStore, TileTable

MOST_WIDTH, MOST_HEIGHT, LEAST_WIDTH = 2400, 1200, 640
"""Width of a picture at most and at least, and height of the slide in it at most, in px."""
ENLARGE = 4.0
"""A thumbnail is enlarged by no more than this."""
GAP = 24
TITLE, TEXT = 22, 16
CAPTION = 14
"""Heights of letters in px."""
INK, PAPER, GREY = (25, 25, 25), (255, 255, 255), (90, 90, 90)
FILL, EDGE = 80, 190
"""Opacity of a labelled tile's area and of its edge, of 255."""
FINE_PX = 8
"""A tile of fewer pixels in the picture is a plain spot: a dashed edge or a cross could not be seen."""
MANY = 3000
"""From so many outlines on they are thin and without a light rim, or they would cover each other."""
SHOWN_PX, COLUMNS = 128, 8
"""Side of a tile on a contact sheet at most, in px, and tiles in a row."""
BORDER, CONFLICT = -1, -2

Stamp = NDArray[np.uint8]
"""What is drawn for a tile: (h, w, 4) RGBA."""


def kinds(
    label: NDArray[Any], area_share: NDArray[Any], *, label_share: float, conflict_share: float | None
) -> NDArray[np.int16]:
    """Return what became of each tile (n,): its label, CONFLICT (a second class claims it too), or BORDER.

    Parameters
    ----------
    label, area_share
        Columns (n,) and (n, C) of a slide.
    label_share, conflict_share
        As in the settings that labelled them. None where the policy is another than ``drop-conflict``: then a conflict
        is a tile that two classes claim by the same share.
    """
    shares = np.zeros((len(label), max(2, area_share.shape[1])), dtype=np.float64)
    shares[:, : area_share.shape[1]] = area_share
    *_, second, first = np.sort(shares, axis=1).T
    tied = (first >= label_share - SLACK) & (first - second <= SLACK)
    contested = tied if conflict_share is None else second >= conflict_share - SLACK
    return np.where(label != NO_LABEL, label, np.where(contested, CONFLICT, BORDER)).astype(np.int16)


def preview_png(
    thumbnail: NDArray[np.uint8],
    size0: tuple[int, int],
    tiles: Mapping[str, NDArray[Any]],
    classes: Sequence[str],
    colours: Mapping[str, Sequence[int]],
    regions0: Sequence[tuple[str, BaseGeometry]],
    title: str,
    *,
    label_share: float,
    conflict_share: float | None,
) -> bytes:
    """Draw a slide with its regions and every stored tile, and a legend with counts below.

    A labelled tile is a translucent square in the colour of its class, a border tile a dashed hollow one, a conflict
    tile a cross.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8 RGB of the whole slide.
    size0
        Width and height of the slide in level-0 pixels.
    tiles
        Columns ``x0, y0, side0, label, area_share`` in the order of `classes`.
    colours
        RGB of classes; a class without one gets its usual colour.
    regions0
        (class, area) in level-0 pixels of the slide frame.
    label_share, conflict_share
        See :func:`kinds`.

    Returns
    -------
    bytes
        A PNG, at most 2400 px wide.
    """
    kind = kinds(tiles["label"], tiles["area_share"], label_share=label_share, conflict_share=conflict_share)
    names = tuple(dict.fromkeys([*classes, *(name for name, _ in regions0)]))
    given = {name: (int(rgb[0]), int(rgb[1]), int(rgb[2])) for name, rgb in colours.items()}
    of_class = {**class_colours(names), **given}
    marks: list[tuple[str, int]] = [
        *((f"{name} {int((kind == index).sum())}", index) for index, name in enumerate(classes)),
        (f"border {int((kind == BORDER).sum())}", BORDER),
        (f"conflict {int((kind == CONFLICT).sum())}", CONFLICT),
    ]
    of_kind = {index: of_class[name] for index, name in enumerate(classes)}

    height, width = thumbnail.shape[:2]
    scale = min((MOST_WIDTH - 2 * GAP) / width, MOST_HEIGHT / height, ENLARGE)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    panel = Image.fromarray(thumbnail).resize(size, Image.Resampling.LANCZOS)
    squares = Image.fromarray(_squares(tiles, kind, of_kind, size, size0))
    panel.paste(squares, mask=squares)
    outlines = _outlines(regions0, of_class, size, size0)
    panel.paste(outlines, mask=outlines)

    total = max(LEAST_WIDTH, size[0] + 2 * GAP)
    places, legend_height = _places([name for name, _ in marks], total)
    above = GAP + _line(TITLE) + GAP // 2
    below = above + size[1] + GAP
    canvas = Image.new("RGB", (total, below + legend_height + GAP // 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (GAP, GAP), title, TITLE, total - 2 * GAP)
    canvas.paste(panel, (GAP, above))
    draw.rectangle((GAP - 1, above - 1, GAP + size[0], above + size[1]), outline=(200, 200, 200))
    fine = bool((tiles["side0"][:1] * (size[0] / size0[0]) >= FINE_PX).all())
    for (name, index), (x, y) in zip(marks, places, strict=True):
        stamp = Image.fromarray(_stamp(index, 28, TEXT + 4, of_kind, fine))
        canvas.paste(stamp, (x, y + below), mask=stamp)
        _write(draw, (x + 36, y + below), name, TEXT, total - x - 36 - GAP)
    return _png(canvas)


def contact_sheet_png(
    store: TileStore, class_name: str, *, most: int = 64, seed: int = 0, table: TileTable | None = None
) -> bytes:
    """Draw tiles of one class, as evenly over the patients as can be, each above its slide and its level-0 corner.

    Parameters
    ----------
    most
        Tiles at most; the same ones for the same store and `seed`.
    table
        The store's table, where it has been read already.

    Raises
    ------
    ConfigError
        The store has no such class.
    """
    table = table or store.table()
    if class_name not in table.classes:
        hint = did_you_mean(class_name, table.classes)
        raise ConfigError(f"{store.path}: class must be one of {', '.join(table.classes)}; got {class_name!r}.{hint}")
    of_class = np.flatnonzero(table.label == table.classes.index(class_name))
    chosen = of_class[_evenly(table.patient[of_class], most, seed)]
    chosen = chosen[np.lexsort((chosen, table.patient[chosen]))]
    patients, all_patients = len(set(table.patient[chosen])), len(set(table.patient[of_class]))
    title = f"{class_name}: {len(chosen)} of {len(of_class)} tiles, {patients} of {all_patients} patients"

    side = store.spec.tile_px
    factor = max(1, SHOWN_PX // side)  # whole steps: each pixel of a small tile becomes a square
    shown = (factor * side, factor * side) if side <= SHOWN_PX else (SHOWN_PX, SHOWN_PX)
    cell = SHOWN_PX + GAP // 2, SHOWN_PX + 2 * _line(CAPTION) + GAP // 2
    rows = -(-len(chosen) // COLUMNS)
    total = GAP + COLUMNS * cell[0] + GAP // 2
    top = GAP + _line(TITLE) + GAP // 2
    canvas = Image.new("RGB", (total, top + rows * cell[1] + GAP // 2), PAPER)
    draw = ImageDraw.Draw(canvas)
    _write(draw, (GAP, GAP), title, TITLE, total - 2 * GAP)
    for number, (row, pixels) in enumerate(zip(chosen.tolist(), _pixels(store, table, chosen), strict=True)):
        x, y = GAP + number % COLUMNS * cell[0], top + number // COLUMNS * cell[1]
        filter_ = Image.Resampling.NEAREST if side <= SHOWN_PX else Image.Resampling.LANCZOS
        canvas.paste(Image.fromarray(pixels).resize(shown, filter_), (x, y))
        _write(draw, (x, y + SHOWN_PX + 2), table.slides[table.slide[row]], CAPTION, SHOWN_PX)
        where = f"{table.x0[row]}, {table.y0[row]}"
        _write(draw, (x, y + SHOWN_PX + 2 + _line(CAPTION)), where, CAPTION, SHOWN_PX)
    return _png(canvas)


def _evenly(patient: NDArray[np.int32], most: int, seed: int) -> NDArray[np.intp]:
    """Return at most `most` places of `patient` (n,), drawn so that counts of two patients differ only by need."""
    drawn = np.random.default_rng(seed).permutation(len(patient))
    by_patient = np.argsort(patient[drawn], kind="stable")
    _, start, count = np.unique(patient[drawn][by_patient], return_index=True, return_counts=True)
    turn = np.empty(len(patient), dtype=np.int64)
    turn[by_patient] = np.arange(len(patient)) - np.repeat(start, count)
    # a patient's first tile before any second one; within a turn as drawn
    return np.asarray(drawn[np.argsort(turn, kind="stable")[:most]])


def _pixels(store: TileStore, table: TileTable, chosen: NDArray[np.intp]) -> list[NDArray[np.uint8]]:
    found: dict[int, NDArray[np.uint8]] = {}
    for slide in sorted(set(table.slide[chosen].tolist())):
        mine = np.sort(chosen[table.slide[chosen] == slide])
        images = store.images(table.slides[slide], table.row[mine].astype(np.int64))
        found.update(zip(mine.tolist(), images, strict=True))
    return [found[row] for row in chosen.tolist()]


def _squares(
    tiles: Mapping[str, NDArray[Any]],
    kind: NDArray[np.int16],
    colours: Mapping[int, Colour],
    size: tuple[int, int],
    size0: tuple[int, int],
) -> Stamp:
    """Return a layer (h, w, 4) RGBA with a stamp for every tile; those without a label lie above the others."""
    layer = np.zeros((size[1], size[0], 4), dtype=np.uint8)
    edges = []
    for corner, to_px, limit in (("x0", size[0] / size0[0], size[0]), ("y0", size[1] / size0[1], size[1])):
        first = tiles[corner].astype(np.float64)
        # a tile may reach over the slide's edge, and one that is less than a pixel must still be seen
        begin = np.clip(np.rint(first * to_px), 0, limit - 1).astype(np.int64)
        end = np.clip(np.rint((first + tiles["side0"]) * to_px), begin + 1, limit).astype(np.int64)
        edges += [begin, end]
    stamps: dict[tuple[int, int, int], Stamp] = {}
    order = np.argsort(kind < 0, kind="stable")
    lists = [column[order].tolist() for column in (kind, *edges)]
    for index, left, right, top, bottom in zip(*lists, strict=True):
        key = (index, right - left, bottom - top)
        if key not in stamps:
            stamps[key] = _stamp(*key, colours, min(right - left, bottom - top) >= FINE_PX)
        stamp, place = stamps[key], layer[top:bottom, left:right]
        if index >= 0:
            place[...] = stamp
        else:  # tiles overlap where the step is shorter than their side
            np.copyto(place, stamp, where=stamp[..., 3:] > 0)
    return layer


def _stamp(index: int, width: int, height: int, colours: Mapping[int, Colour], fine: bool) -> Stamp:
    stamp = np.zeros((height, width, 4), dtype=np.uint8)
    if index >= 0:
        stamp[...] = (*colours[index], FILL)
        if fine:
            stamp[[0, -1]] = stamp[:, [0, -1]] = (*colours[index], EDGE)
    elif not fine:
        stamp[...] = (*GREY, 130) if index == BORDER else (*INK, 220)
    elif index == BORDER:
        dash = np.add.outer(np.arange(height), np.arange(width)) % 8 < 4
        ring = np.zeros((height, width), dtype=np.bool_)
        ring[[1, -2], 1:-1] = ring[1:-1, [1, -2]] = True
        stamp[ring & dash] = (*GREY, 255)
        stamp[ring & ~dash] = (*PAPER, 150)  # so that it is seen on dark tissue too
    else:
        large = Image.new("RGBA", (4 * width, 4 * height))
        draw = ImageDraw.Draw(large)
        inset = min(width, height) * 0.8
        box = inset, inset, 4 * width - inset, 4 * height - inset
        ink = max(7, round(0.12 * min(width, height)))
        for colour, wide in ((PAPER, 2 * ink), (INK, ink)):
            draw.line((box[0], box[1], box[2], box[3]), colour, wide)
            draw.line((box[0], box[3], box[2], box[1]), colour, wide)
        stamp[...] = np.asarray(large.reduce(4))
    return stamp


def _outlines(
    regions0: Sequence[tuple[str, BaseGeometry]],
    colours: Mapping[str, Colour],
    size: tuple[int, int],
    size0: tuple[int, int],
) -> Image.Image:
    """Return a layer with the outlines of regions, in the colours of their classes."""
    above = Image.new("RGBA", (2 * size[0], 2 * size[1]))  # twice as large and halved: smooth edges
    draw = ImageDraw.Draw(above)
    areas = np.empty(len(regions0), dtype=object)
    areas[:] = [area for _, area in regions0]
    areas = shapely.transform(areas, lambda xy: xy * (np.array(above.size) / np.array(size0)))
    parts, of_part = shapely.get_parts(areas, return_index=True)
    rings, of_ring = shapely.get_rings(parts, return_index=True)
    # far-off coordinates would overflow Pillow's integers; detail below half a pixel cannot be seen
    rings = shapely.simplify(rings, 0.5, preserve_topology=False)
    inside = shapely.clip_by_rect(rings, -9, -9, above.width + 9, above.height + 9)
    lines, of_line = shapely.get_parts(inside, return_index=True)
    rims = [(PAPER, 10), (None, 6)] if len(lines) < MANY else [(None, 2)]
    for line, area in zip(lines, of_part[of_ring[of_line]].tolist(), strict=True):
        points: Any = shapely.get_coordinates(line).astype(np.float32)  # read as they are; Pillow's types do not say so
        for rim, wide in rims:
            draw.line(points, rim or colours[regions0[area][0]], wide)
    return above.reduce(2)


def _places(names: Sequence[str], total: int) -> tuple[list[tuple[int, int]], int]:
    """Return where each entry of the legend begins, in rows as wide as the picture, and the height of all."""
    places, x, y = [], GAP, 0
    for name in names:
        wide = 36 + _width(name, TEXT) + GAP
        if x > GAP and x + wide > total:
            x, y = GAP, y + _line(TEXT) + 4
        places.append((x, y))
        x += wide
    return places, y + _line(TEXT) + 4


def _line(letters: int) -> int:
    return round(letters * 1.5)


def _width(text: str, letters: int) -> int:
    return int(ImageFont.load_default(letters).getlength(_plain(text))) + 1


def _plain(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, letters: int, room: int) -> None:
    """Write one line of at most `room` px; of what is longer, the middle is left out."""
    text = _plain(text)
    keep = min(len(text), room)
    shown = text
    while _width(shown, letters) > room and keep > 1:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
    draw.text(at, shown, INK, ImageFont.load_default(letters))


def _png(canvas: Image.Image) -> bytes:
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()

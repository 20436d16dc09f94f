"""The heatmap as a picture: class colours where the model is confident, a hatch where it is not."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from w2wpath.frames import um
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Maps
from w2wpath.qupath.colours import class_colours
from w2wpath.w2wnet.domain import Domain
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS

COLUMN_IN, PANEL_WIDTH_IN, PANEL_HEIGHT_IN = 5.0, 4.7, 8.0
ABOVE_IN, BELOW_IN, LEGEND_LINE_IN, WARNING_LINE_IN = 0.75, 1.1, 0.24, 0.2
WARNING_CHARS, WARNING_COLOUR = 150, "#b00000"
DPI = 100
HATCH, HATCH_COLOUR = "////", (0.25, 0.25, 0.25, 1.0)

RGBA = tuple[float, float, float, float]


def overlay_png(
    maps: Maps, thumbnail: NDArray[np.uint8], title: str, *, opacity: float, domain: Domain | None = None
) -> bytes:
    """Draw three panels (slide, class, uncertainty) with legends and a scale bar; return PNG bytes.

    A tile is drawn as one grid step around its middle, so that tiles that overlap do not cover each other.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8 RGB of the whole slide.
    domain
        Whether the slide looks like the training slides: if not, that is said in red below the title.
    """
    panel_width, panel_height, below = _panel_in(maps, thumbnail.shape[0] / thumbnail.shape[1])
    warned = _warning(domain)
    total = panel_height + ABOVE_IN + WARNING_LINE_IN * len(warned) + below
    figure = Figure(figsize=(3 * COLUMN_IN, total))

    def place(column: int, width: float, bottom: float, height: float) -> Any:
        left = column * COLUMN_IN + (COLUMN_IN - width) / 2
        return figure.add_axes((left / (3 * COLUMN_IN), bottom / total, width / (3 * COLUMN_IN), height / total))

    axes = [place(column, panel_width, below, panel_height) for column in range(3)]
    # (left, right, bottom, top) in level-0 pixels, y downwards
    extent0 = (0.0, float(maps.width0), float(maps.height0), 0.0)
    figure.suptitle(title, y=1 - 0.12 / total, va="top", parse_math=False)  # file and class names may hold a $
    if warned:
        look: dict[str, Any] = {
            "color": WARNING_COLOUR,
            "weight": "bold",
            "size": 10,
            "ha": "center",
            "va": "top",
            "parse_math": False,
        }
        figure.text(0.5, 1 - 0.4 / total, "\n".join(warned), **look)
    for axis in axes:
        axis.imshow(thumbnail, extent=extent0, interpolation="none")
        axis.set_axis_off()
    axes[0].set_title("Slide")
    scale_bar(axes[0], extent0, maps.slide_mpp)
    _class_panel(axes[1], maps, opacity)
    _uncertainty_panel(axes[2], place(2, 3.2, below - 0.4, 0.14), maps, opacity)
    for axis in axes:
        axis.set_xlim(extent0[0], extent0[1])
        axis.set_ylim(extent0[2], extent0[3])
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a script that the font lacks is drawn as boxes; every other file has the name as it is
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def slide_picture(overlay: NDArray[np.uint8], maps: Maps, domain: Domain | None = None) -> NDArray[np.uint8] | None:
    """Cut the slide (h, w, 3) out of a decoded picture of :func:`overlay_png`; None where it is no such picture."""
    if not maps.width0 or overlay.shape[1] != round(3 * COLUMN_IN * DPI):
        return None
    panel_width, panel_height, below = _panel_in(maps, maps.height0 / maps.width0)
    for lines in {len(_warning(domain)), 0}:
        above = ABOVE_IN + WARNING_LINE_IN * lines
        if abs(overlay.shape[0] - (panel_height + above + below) * DPI) <= 2:
            left, top = round((COLUMN_IN - panel_width) / 2 * DPI), round(above * DPI)
            # one pixel within, since edges are mixed with the paper
            bottom, right = overlay.shape[0] - round(below * DPI), left + round(panel_width * DPI)
            return overlay[top + 1 : bottom - 1, left + 1 : right - 1]
    return None


def _panel_in(maps: Maps, aspect: float) -> tuple[float, float, float]:
    """Return width and height of a panel of the slide's shape, and of the room below for legends, in inches."""
    width = min(PANEL_WIDTH_IN, PANEL_HEIGHT_IN / aspect)
    return width, width * aspect, max(BELOW_IN, 0.4 + LEGEND_LINE_IN * math.ceil((len(maps.classes) + 1) / 2))


def _warning(domain: Domain | None) -> list[str]:
    return [] if domain is None or domain.inside else textwrap.wrap(domain.words, WARNING_CHARS)


def paint(axis: Any, maps: Maps, faces: NDArray[np.floating]) -> None:
    """Paint the cells of the grid with colours (n, 4) RGBA from 0 to 1; alpha 0 leaves the slide as it is."""
    rows, columns = maps.grid_shape
    if rows * columns:
        left, top = _corner(maps)
        extent0 = (left, left + columns * maps.step0, top + rows * maps.step0, top)
        axis.imshow(faces.reshape(rows, columns, 4), extent=extent0, interpolation="nearest")


def hatch(axis: Any, maps: Maps) -> None:
    """Hatch the uncertain tiles, with a thin line around those that lie together."""
    rows, columns = maps.grid_shape
    doubtful = np.pad((maps.state == UNCERTAIN).reshape(rows, columns), 1)
    if not doubtful.any():
        return
    corner = np.array(_corner(maps))
    # each row's runs of tiles as one box
    row, first = np.nonzero(doubtful[:, 1:] & ~doubtful[:, :-1])
    _, last = np.nonzero(doubtful[:, :-1] & ~doubtful[:, 1:])
    left, right, top, bottom = first, last, row - 1, row
    boxes = np.stack([left, top, right, top, right, bottom, left, bottom, left, top], axis=-1).reshape(-1, 2)
    codes = np.tile([Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY], len(row))
    look = {"facecolor": "none", "edgecolor": HATCH_COLOUR, "hatch": HATCH, "linewidth": 0}
    axis.add_patch(PathPatch(Outline(boxes * maps.step0 + corner, codes), **look))
    y, x = np.nonzero(doubtful[:, 1:] != doubtful[:, :-1])
    upright = np.stack([x, y - 1, x, y], axis=-1)
    y, x = np.nonzero(doubtful[1:] != doubtful[:-1])
    level = np.stack([x - 1, y, x, y], axis=-1)
    edges = np.concatenate([upright, level]).reshape(-1, 2, 2) * maps.step0 + corner
    axis.add_collection(LineCollection(list(edges), colors=[HATCH_COLOUR], linewidths=0.4))


def class_faces(maps: Maps, opacity: float) -> NDArray[np.float64]:
    """Return (n, 4) RGBA: the class colour where confident, alpha 0 elsewhere."""
    colours = class_colours(maps.classes)
    table = np.array([_rgba(colours[name], opacity) for name in maps.classes])
    return np.where((maps.state == CONFIDENT)[:, None], table[maps.predicted], 0.0)


def uncertainty_scale(maps: Maps) -> ScalarMappable:
    """Return the colour scale of u: to the largest possible one, so that two slides can be compared."""
    return ScalarMappable(Normalize(0.0, 1.0 - 1.0 / len(maps.classes)), "cividis")


def uncertainty_faces(maps: Maps, opacity: float) -> NDArray[np.float64]:
    """Return (n, 4) RGBA: the colour of u where analysed, alpha 0 elsewhere."""
    analysed = maps.state != NOT_ANALYSED
    faces = np.asarray(uncertainty_scale(maps).to_rgba(np.where(analysed, maps.u, 0.0)), dtype=np.float64)
    faces[:, 3] = np.where(analysed, min(1.0, opacity + 0.25), 0.0)
    return faces


def _corner(maps: Maps) -> tuple[float, float]:
    """Return the level-0 corner (x, y) of the first cell."""
    margin0 = (maps.side0 - maps.step0) / 2
    return float(maps.x0[0]) + margin0, float(maps.y0[0]) + margin0


def _class_panel(axis: Any, maps: Maps, opacity: float) -> None:
    paint(axis, maps, class_faces(maps, opacity))
    hatch(axis, maps)
    axis.set_title("Class, where confident")
    class_legend(axis, maps, opacity)


def class_legend(axis: Any, maps: Maps, opacity: float) -> None:
    """Put below a panel what its colours and its hatch mean, with the share of analysed tiles of each."""
    colours = class_colours(maps.classes)
    predicted = maps.predicted[maps.state == CONFIDENT]
    analysed = max(1, int((maps.state != NOT_ANALYSED).sum()))
    shares = [(predicted == index).sum() / analysed for index in range(len(maps.classes))]
    doubtful = (maps.state == UNCERTAIN).sum() / analysed
    handles = [Patch(facecolor=_rgba(colours[name], opacity)) for name in maps.classes]
    handles.append(Patch(facecolor="white", edgecolor=HATCH_COLOUR, hatch=HATCH))
    labels = [f"{name} {share:.0%}" for name, share in zip(maps.classes, shares, strict=True)]
    also = {"disagree": "networks disagree", "stain": "stain", **dict.fromkeys(QUALITY_REASONS, "image quality")}
    found = dict.fromkeys(also[name] for name in REASONS[2:] if (maps.reason == REASONS.index(name)).any())
    seen = "".join(f", {words}" for words in found)
    labels.append(f"uncertain (u > {maps.threshold:.2f}{seen}) {doubtful:.0%}")
    legend = axis.legend(
        handles,
        ["-"] * len(handles),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncols=2,
        frameon=False,
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        # set afterwards: a legend leaves out labels that begin with _, and reads a $ as mathematics
        text.set_parse_math(False)
        text.set_text(label)


def _uncertainty_panel(axis: Any, bar: Any, maps: Maps, opacity: float) -> None:
    paint(axis, maps, uncertainty_faces(maps, opacity))
    axis.set_title("Uncertainty u of every analysed tile")
    legend = axis.figure.colorbar(uncertainty_scale(maps), cax=bar, orientation="horizontal")
    legend.set_label("u: 0 sure, right end all classes alike")


def _rgba(colour: tuple[int, int, int], opacity: float) -> RGBA:
    return (colour[0] / 255, colour[1] / 255, colour[2] / 255, opacity)


def scale_bar(axis: Any, extent0: tuple[float, float, float, float], slide_mpp: float) -> None:
    """Draw a bar of 1, 2 or 5 times a power of ten um, about a fifth of the slide wide."""
    wanted_um = um(extent0[1] - extent0[0], slide_mpp) / 5
    power = 10 ** math.floor(math.log10(wanted_um))
    length_um = max(step * power for step in (1, 2, 5) if step * power <= wanted_um)
    length0 = length_um / slide_mpp
    left, base = extent0[1] * 0.03, extent0[2] * 0.97
    axis.plot([left, left + length0], [base, base], color="black", linewidth=4, solid_capstyle="butt")
    label = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5}
    axis.text(left, base - extent0[2] * 0.02, label, va="bottom", bbox=box)

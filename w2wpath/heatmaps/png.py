"""The heatmap as a picture: class colours where the model is confident, a hatch where it is not."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from w2wpath.frames import um
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, REASONS, UNCERTAIN, Maps
from w2wpath.qupath.colours import class_colours

COLUMN_IN, PANEL_WIDTH_IN, PANEL_HEIGHT_IN = 5.0, 4.7, 8.0
ABOVE_IN, BELOW_IN, LEGEND_LINE_IN = 0.75, 1.1, 0.24

RGBA = tuple[float, float, float, float]


def overlay_png(maps: Maps, thumbnail: NDArray[np.uint8], title: str, *, opacity: float) -> bytes:
    """Draw three panels (slide, class, uncertainty) with legends and a scale bar; return PNG bytes.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8 RGB of the whole slide.
    """
    # laid out in inches by hand: three panels of the slide's shape, room above for the title, below for the legends
    aspect = thumbnail.shape[0] / thumbnail.shape[1]
    panel_width = min(PANEL_WIDTH_IN, PANEL_HEIGHT_IN / aspect)
    panel_height = panel_width * aspect
    below = max(BELOW_IN, 0.4 + LEGEND_LINE_IN * math.ceil((len(maps.classes) + 1) / 2))
    total = panel_height + ABOVE_IN + below
    figure = Figure(figsize=(3 * COLUMN_IN, total))

    def place(column: int, width: float, bottom: float, height: float) -> Any:
        left = column * COLUMN_IN + (COLUMN_IN - width) / 2
        return figure.add_axes((left / (3 * COLUMN_IN), bottom / total, width / (3 * COLUMN_IN), height / total))

    axes = [place(column, panel_width, below, panel_height) for column in range(3)]
    # (left, right, bottom, top) in level-0 pixels, y downwards
    extent0 = (0.0, float(maps.width0), float(maps.height0), 0.0)
    figure.suptitle(title, y=1 - 0.12 / total, va="top", parse_math=False)  # file and class names may hold a $
    for axis in axes:
        axis.imshow(thumbnail, extent=extent0, interpolation="none")
        axis.set_axis_off()
    axes[0].set_title("Slide")
    _scale_bar(axes[0], extent0, maps.slide_mpp)
    _class_panel(axes[1], maps, opacity)
    _uncertainty_panel(axes[2], place(2, 3.2, below - 0.4, 0.14), maps, opacity)
    for axis in axes:
        axis.set_xlim(extent0[0], extent0[1])
        axis.set_ylim(extent0[2], extent0[3])
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a script that the font lacks is drawn as boxes; every other file has the name as it is
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _squares(axis: Any, maps: Maps, rows: NDArray[np.intp], faces: list[RGBA], **look: Any) -> None:
    if rows.size:
        boxes = [Rectangle((maps.x0[i], maps.y0[i]), maps.side0, maps.side0) for i in rows]
        axis.add_collection(PatchCollection(boxes, facecolors=faces, **look))


def _hatch(axis: Any, maps: Maps) -> None:
    rows = np.flatnonzero(maps.state == UNCERTAIN)
    look = {"hatch": "////", "edgecolors": [(0.25, 0.25, 0.25, 1.0)], "linewidths": 0.4}
    _squares(axis, maps, rows, [(1.0, 1.0, 1.0, 0.0)], **look)


def _class_panel(axis: Any, maps: Maps, opacity: float) -> None:
    colours = class_colours(maps.classes)
    rows = np.flatnonzero(maps.state == CONFIDENT)
    predicted = maps.predicted[rows]
    faces = [_rgba(colours[maps.classes[best]], opacity) for best in predicted]
    _squares(axis, maps, rows, faces, linewidths=0)
    _hatch(axis, maps)
    axis.set_title("Class, where confident")
    analysed = max(1, int((maps.state != NOT_ANALYSED).sum()))
    shares = [(predicted == index).sum() / analysed for index in range(len(maps.classes))]
    doubtful = (maps.state == UNCERTAIN).sum() / analysed
    handles = [Patch(facecolor=_rgba(colours[name], opacity)) for name in maps.classes]
    handles.append(Patch(facecolor="white", edgecolor="0.25", hatch="////"))
    labels = [f"{name} {share:.0%}" for name, share in zip(maps.classes, shares, strict=True)]
    seen = " or image quality" if (maps.reason > REASONS.index("uncertain")).any() else ""
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
    # the largest possible u, not the slide's own: pictures of two slides stay comparable
    scale = ScalarMappable(Normalize(0.0, 1.0 - 1.0 / len(maps.classes)), "cividis")
    rows = np.flatnonzero(maps.state != NOT_ANALYSED)
    faces = [(*colour[:3], min(1.0, opacity + 0.25)) for colour in scale.to_rgba(maps.u[rows]).tolist()]
    _squares(axis, maps, rows, faces, linewidths=0)
    axis.set_title("Uncertainty u of every analysed tile")
    legend = axis.figure.colorbar(scale, cax=bar, orientation="horizontal")
    legend.set_label("u: 0 sure, right end all classes alike")


def _rgba(colour: tuple[int, int, int], opacity: float) -> RGBA:
    return (colour[0] / 255, colour[1] / 255, colour[2] / 255, opacity)


def _scale_bar(axis: Any, extent0: tuple[float, float, float, float], slide_mpp: float) -> None:
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

"""A heatmap on two pages for a file or a printer: slide and classes; uncertainty, areas and how it was made."""

from __future__ import annotations

import io
import json
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from w2wpath.frames import um
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, UNCERTAIN, Facts, Maps
from w2wpath.heatmaps.png import (
    WARNING_COLOUR,
    class_faces,
    class_legend,
    hatch,
    paint,
    scale_bar,
    uncertainty_faces,
    uncertainty_scale,
)

WIDTH_IN, HEIGHT_IN = 11.69, 8.27
PANEL_WIDTH_IN, PANEL_HEIGHT_IN, MARGIN_IN = 5.1, 4.6, 0.5
OPACITY = 0.5
LINE_CHARS, MOST_LINES = 84, 30
FOOTER = "Research use only: not for diagnosis. Made with w2wpath."

Picture = NDArray[np.uint8]


def pages_pdf(maps: Maps, facts: Facts, picture: Picture | None) -> bytes:
    """Return a PDF of two pages, A4 landscape; the same maps give the same bytes.

    Page 1 has the slide, its class map with legend and scale bar, and the numbers; page 2 the uncertainty, the area of
    each class, threshold and provenance. A slide out of the model's domain is said in red on both. What is shown of
    `facts` is shown as it is: leave out of them what nobody is to see.

    Parameters
    ----------
    picture
        (h, w, 3) uint8 RGB of the whole slide; None draws the maps on white.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        title = f"w2wpath heatmap of {facts.slide}"
        with PdfPages(buffer, metadata={"Title": title, "CreationDate": None}) as pdf:
            for page in (_first(maps, facts, picture), _second(maps, facts, picture)):
                FigureCanvasAgg(page)
                pdf.savefig(page)
    return buffer.getvalue()


def _first(maps: Maps, facts: Facts, picture: Picture | None) -> Figure:
    page = _page(facts, f"Heatmap of {facts.slide}", 1)
    slide, classes = _panel(page, maps, picture, 0), _panel(page, maps, picture, 1)
    slide.set_title("Slide")
    paint(classes, maps, class_faces(maps, OPACITY))
    hatch(classes, maps)
    classes.set_title("Class, where confident")
    class_legend(classes, maps, OPACITY)
    for axis in (slide, classes):
        _whole(axis, maps)
    width_mm, height_mm = (um(side, maps.slide_mpp) / 1000 for side in (maps.width0, maps.height0))
    lines = [
        f"{width_mm:.2f} x {height_mm:.2f} mm, {maps.slide_mpp:.4g} um/px",
        f"{_count(maps, CONFIDENT)} tiles confident, {_count(maps, UNCERTAIN)} uncertain, "
        f"{_count(maps, NOT_ANALYSED)} not analysed ({int(maps.unread.sum())} of them could not be read)",
        f"a tile is uncertain where u is above {maps.threshold:.4g},",
        "the two networks disagree, its class changes with the stain, or its image quality is bad",
    ]
    _text(page, MARGIN_IN, 1.3, lines)
    return page


def _second(maps: Maps, facts: Facts, picture: Picture | None) -> Figure:
    page = _page(facts, f"Uncertainty, areas, and how it was made: {facts.slide}", 2)
    panel = _panel(page, maps, picture, 0)
    paint(panel, maps, uncertainty_faces(maps, OPACITY))
    panel.set_title("Uncertainty u of every analysed tile")
    _whole(panel, maps)
    bar = page.add_axes(_place(MARGIN_IN + 0.9, HEIGHT_IN - 1.35 - _panel_in(maps)[1] - 0.35, 3.3, 0.14))
    page.colorbar(uncertainty_scale(maps), cax=bar, orientation="horizontal").set_label(
        "u: 0 sure, right end all classes alike"
    )
    left = WIDTH_IN / 2 + 0.3
    top = HEIGHT_IN - 1.35
    rows = _areas(maps)
    height = 0.24 * (len(rows) + 1)
    axis = page.add_axes(_place(left, top - height, PANEL_WIDTH_IN, height))
    axis.set_axis_off()
    header = ["class", "confident tiles", "area mm2", "share of analysed"]
    table = axis.table(rows, colLabels=header, bbox=Bbox.unit(), cellLoc="right", colWidths=[0.34, 0.22, 0.2, 0.24])
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for cell in table.get_celld().values():
        cell.set_linewidth(0.3)
        cell.get_text().set_parse_math(False)
    calibrated = "calibrated by a temperature" if facts.calibrated else "as the network gives them, not calibrated"
    said = [
        *facts.model.items(),
        ("threshold", f"u above {maps.threshold:.4g} is masked"),
        ("probabilities", calibrated),
        ("fingerprint", facts.fingerprint),
        *((key, _words(value)) for key, value in facts.provenance.items()),
    ]
    lines = [line for key, value in said for line in textwrap.wrap(f"{key}: {value}", LINE_CHARS)]
    room = max(1, min(MOST_LINES, int((top - height - 0.8) / 0.15)))
    if len(lines) > room:
        lines = [*lines[: room - 1], "... the rest is in the report"]
    _text(page, left, top - height - 0.2, lines, size=7)
    return page


def _page(facts: Facts, title: str, number: int) -> Figure:
    page = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
    look: Mapping[str, Any] = {"parse_math": False, "va": "top"}
    page.text(MARGIN_IN / WIDTH_IN, 1 - 0.35 / HEIGHT_IN, title, size=14, weight="bold", **look)
    if facts.domain is not None and not facts.domain.inside:
        words = textwrap.fill(facts.domain.words, 140)
        page.text(
            MARGIN_IN / WIDTH_IN, 1 - 0.68 / HEIGHT_IN, words, size=9, color=WARNING_COLOUR, weight="bold", **look
        )
    page.text(MARGIN_IN / WIDTH_IN, 0.4 / HEIGHT_IN, f"{FOOTER} Page {number} of 2.", size=8, **look)
    return page


def _panel(page: Figure, maps: Maps, picture: Picture | None, column: int) -> Any:
    width, height = _panel_in(maps)
    left = column * WIDTH_IN / 2 + (WIDTH_IN / 2 - width) / 2
    axis: Any = page.add_axes(_place(left, HEIGHT_IN - 1.35 - height, width, height))
    if picture is not None:
        axis.imshow(picture, extent=(0.0, maps.width0, maps.height0, 0.0), interpolation="none")
    return axis


def _panel_in(maps: Maps) -> tuple[float, float]:
    aspect = maps.height0 / maps.width0
    width = min(PANEL_WIDTH_IN, PANEL_HEIGHT_IN / aspect)
    return width, width * aspect


def _whole(axis: Any, maps: Maps) -> None:
    """Show the whole slide with a scale bar, in a thin frame: a panel without a picture would have no edge."""
    # a picture cut out of overlay.png has a bar, which this one covers
    scale_bar(axis, (0.0, float(maps.width0), float(maps.height0), 0.0), maps.slide_mpp)
    axis.set_xlim(0, maps.width0)
    axis.set_ylim(maps.height0, 0)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_linewidth(0.3)


def _place(left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    return left / WIDTH_IN, bottom / HEIGHT_IN, width / WIDTH_IN, height / HEIGHT_IN


def _text(page: Figure, left: float, top: float, lines: list[str], size: float = 9) -> None:
    page.text(
        left / WIDTH_IN, top / HEIGHT_IN, "\n".join(lines), size=size, va="top", linespacing=1.4, parse_math=False
    )


def _count(maps: Maps, code: int) -> str:
    return f"{int((maps.state == code).sum()):,}"


def _areas(maps: Maps) -> list[list[str]]:
    """Return name, tiles, mm2 and share of each class, then of uncertain tiles."""
    # a tile's own area is its grid step, since tiles may overlap
    mm2 = (um(maps.step0, maps.slide_mpp) / 1000) ** 2
    analysed = int((maps.state != NOT_ANALYSED).sum())
    confident, predicted = maps.state == CONFIDENT, maps.predicted
    found = [(name, int((confident & (predicted == index)).sum())) for index, name in enumerate(maps.classes)]
    rows = [*found, ("uncertain, any class", int((maps.state == UNCERTAIN).sum()))]
    return [[name, f"{n:,}", f"{n * mm2:.3f}", f"{n / analysed:.1%}" if analysed else ""] for name, n in rows]


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)

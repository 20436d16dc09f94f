"""The heatmap as a page for a pathologist: one file that works offline, or the same page over a server's tiles."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import writing
from w2wpath.heatmaps.annotations import Region
from w2wpath.heatmaps.cells import Cells, cells_of
from w2wpath.heatmaps.leaflet import LICENCE, assets
from w2wpath.heatmaps.maps import Facts, Maps
from w2wpath.heatmaps.page_data import counts, packed
from w2wpath.heatmaps.pyramid import Pyramid, embed, min_zoom
from w2wpath.provenance import write_whole
from w2wpath.qupath.colours import Colour, class_colours
from w2wpath.reports.page import render
from w2wpath.slides.contract import Slide

MOST_LISTED = 200
"""Tiles that cannot be read which the page names; the others it counts."""
MASK_PX = 480
OPACITY, MAX_MB = 0.5, 10.0


@dataclass(frozen=True)
class Content:
    """All that a page shows but the slide's pixels.

    Attributes
    ----------
    cells
        What is drawn.
    width0, height0, slide_mpp, threshold
        As in :class:`~w2wpath.heatmaps.maps.Maps`.
    rois
        Regions that the user drew, in level-0 pixels of the slide frame.
    tissue
        (h, w) bool over the whole slide; None where it is not to be shown.
    downloads
        Links relative to the page.
    truth
        What a check against a truth found, in words by name; None where there was none.
    of_labels
        The cells hold labels that people gave, not what a model says.
    colours
        Of classes that do not have their usual ones.
    warnings
        What a person should look at first.
    """

    cells: Cells
    facts: Facts
    width0: int
    height0: int
    slide_mpp: float
    threshold: float
    rois: Sequence[Region] = ()
    tissue: NDArray[np.bool_] | None = None
    downloads: Sequence[str] = ()
    truth: Mapping[str, str] | None = None
    colour_map: str = "inferno"
    opacity: float = OPACITY
    of_labels: bool = False
    colours: Mapping[str, Colour] = field(default_factory=dict)
    warnings: Sequence[str] = field(default_factory=tuple)


def content_of(maps: Maps, facts: Facts, **rest: Any) -> Content:
    """Return what a page shows of maps; `rest` are the other fields of :class:`Content`."""
    return Content(cells_of(maps), facts, maps.width0, maps.height0, maps.slide_mpp, maps.threshold, **rest)


def write_page(
    path: Path,
    slide: Slide,
    maps: Maps,
    facts: Facts,
    *,
    rois: Sequence[Region] = (),
    tissue: NDArray[np.bool_] | None = None,
    downloads: Sequence[str] = (),
    truth: Mapping[str, str] | None = None,
    colour_map: str = "inferno",
    opacity: float = OPACITY,
    max_mb: float = MAX_MB,
) -> Path:
    """Write the page as one file that fetches nothing, of at most `max_mb` MB unless its numbers alone need more.

    The label and macro images of the slide are never part of it.

    Parameters
    ----------
    rois, tissue, downloads, truth
        As in :class:`Content`.
    colour_map
        ``inferno`` or ``cividis``; the reader can change it.
    opacity
        Of the colours to begin with, 0 to 0.8.

    Raises
    ------
    ConfigError
        `colour_map` or `opacity` is none of those, or there are too many classes.
    SlideError
        Nothing of the slide can be decoded.
    DiskError
        There is no room.
    """
    content = content_of(
        maps,
        facts,
        rois=rois,
        tissue=tissue,
        downloads=downloads,
        truth=truth,
        colour_map=colour_map,
        opacity=opacity,
    )
    bare = page_html(content, _source({}, 0, 0))
    # base64 makes four bytes of three; a key, quotes and a comma stand around each tile
    budget = int((max_mb * 1e6 - len(bare.encode())) * 3 / 4 * 0.99)
    pyramid = embed(slide, budget)
    page = page_html(content, embedded(pyramid))
    with writing(path):
        write_whole(path, page)
    return path


def embedded(pyramid: Pyramid) -> dict[str, Any]:
    """Return a tile source that the page carries along."""
    tiles = {f"{z}/{x}/{y}": base64.b64encode(data).decode() for (z, x, y), data in pyramid.tiles.items()}
    return _source(tiles, pyramid.min_zoom, pyramid.max_zoom)


def served(width0: int, height0: int) -> dict[str, Any]:
    """Return a tile source that a server answers below ``tiles/``, beside the page."""
    return _source(None, min_zoom(width0, height0), 0)


def page_html(content: Content, source: Mapping[str, Any]) -> str:
    """Return the page over a tile source."""
    cells = content.cells
    colours = {**class_colours(cells.classes), **content.colours}
    by_class, uncertain, analysed = counts(cells, colours, content.slide_mpp)
    data = packed(
        cells,
        content.facts.frame,
        content.rois,
        colours,
        width0=content.width0,
        height0=content.height0,
        slide_mpp=content.slide_mpp,
        threshold=content.threshold,
        colour_map=content.colour_map,
        opacity=content.opacity,
        calibrated=content.facts.calibrated,
        of_labels=content.of_labels,
    )
    unread = np.flatnonzero(cells.unread)
    leaflet = assets()
    values = {
        "facts": content.facts,
        "data": data,
        "source": source,
        "leaflet_script": Markup(leaflet.script),
        "leaflet_style": Markup(leaflet.style),
        "leaflet_licence": Markup(LICENCE),
        "by_class": by_class,
        "uncertain": uncertain,
        "analysed": analysed,
        "total": len(cells.state),
        "averaged": cells.averaged,
        "unread": [_place(content, int(index)) for index in unread[:MOST_LISTED]],
        "unread_count": len(unread),
        "rois": content.rois,
        "tissue": None if content.tissue is None else _mask_uri(content.tissue),
        "downloads": [(quote(name), Path(name).name) for name in content.downloads],
        "truth": content.truth,
        "warnings": list(content.warnings),
        "of_labels": content.of_labels,
        "provenance": _lines(content.facts.provenance),
        "carried": source["tiles"] is not None,
        "size_mm": tuple(side * content.slide_mpp / 1000 for side in (content.width0, content.height0)),
        "mpp": content.slide_mpp,
        "width0": content.width0,
        "height0": content.height0,
    }
    return render("heatmap.html.j2", values)


def _source(tiles: Mapping[str, str] | None, least: int, most: int) -> dict[str, Any]:
    return {"min_zoom": least, "max_zoom": most, "tiles": tiles}


def _place(content: Content, index: int) -> tuple[int, int]:
    cells = content.cells
    x0, y0 = index % cells.columns * cells.step0, index // cells.columns * cells.step0
    return content.facts.frame.corner_from_slide(x0, y0, cells.step0)


def _lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return facts as names and words, what is nested as JSON, but not where on whose disk the slide lies."""
    return [
        (key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
        for key, value in facts.items()
        if key != "slide_path"
    ]


def _mask_uri(mask: NDArray[np.bool_]) -> str:
    image = Image.fromarray(np.where(mask, 70, 235).astype(np.uint8))
    image.thumbnail((MASK_PX, MASK_PX), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"

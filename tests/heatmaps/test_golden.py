"""One run, every output: a slide whose colours give its classes, with and without bounds, agrees to the tile.

What the browser shows of the same page is compared in test_page_browser.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Point, shape

from tests.conftest import save_bounded_tiff
from tests.heatmaps.made import CLASS_OF, CLASSES, GLASS, PX, SEEN, ColourReader, picture, save_slide, state_of
from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED, STATES, UNCERTAIN
from w2wpath.heatmaps.png import ABOVE_IN, COLUMN_IN, PANEL_WIDTH_IN
from w2wpath.heatmaps.run import heatmap
from w2wpath.heatmaps.store import read_maps
from w2wpath.qupath.check import check_geojson
from w2wpath.qupath.colours import class_colours

BOUNDS = (2 * PX, PX, 4 * PX, 3 * PX)
"""Two columns and a row of cells were never scanned."""


@pytest.mark.parametrize(("bounds", "origin"), [(None, "auto"), (BOUNDS, "qupath"), (BOUNDS, "slide")])
def test_every_output_says_of_each_tile_what_its_colour_says(
    tmp_path: Path, bounds: tuple[int, int, int, int] | None, origin: str
) -> None:
    seen = SEEN.copy()
    if bounds is None:
        path = save_slide(tmp_path / "a.svs")
    else:
        path = save_bounded_tiff(tmp_path / "a.tiff", picture(), bounds, tile=PX)
        seen[0], seen[:, :2] = GLASS, GLASS
    out = tmp_path / "out"
    heatmap(path, ColourReader(), out, slide_mpp=0.5, origin=origin)
    state, klass = state_of(seen), np.where(seen == GLASS, -1, CLASS_OF[seen])
    left, top = (BOUNDS[0], BOUNDS[1]) if bounds and origin == "qupath" else (0, 0)
    cells = [(row, column) for row in range(4) for column in range(6)]

    maps, facts = read_maps(out / "a.maps.zarr")
    assert np.array_equal(maps.state.reshape(4, 6), state)
    assert np.array_equal(maps.predicted.reshape(4, 6), klass)
    assert [(int(x), int(y)) for x, y in zip(maps.x0, maps.y0, strict=True)] == [(c * PX, r * PX) for r, c in cells]
    assert (facts.frame.x0, facts.frame.y0) == (left, top)

    rows = list(csv.DictReader(io.StringIO((out / "a.tiles.csv").read_text("utf-8"))))
    for line, (r, c) in zip(rows, cells, strict=True):
        assert (line["x0"], line["y0"], line["state"]) == (str(c * PX), str(r * PX), STATES[state[r, c]])
        assert line["class"] == ("" if klass[r, c] < 0 else CLASSES[klass[r, c]])

    with tifffile.TiffFile(out / "a.heatmap.ome.tif") as file:
        channels = file.series[0].asarray()
    assert np.array_equal(channels[-1].astype(int), state)
    assert np.array_equal(channels[:2].argmax(axis=0)[klass >= 0], klass[klass >= 0])

    tiles = json.loads(gzip.decompress((out / "a.geojson.gz").read_bytes()))["features"]
    analysed = [(r, c) for r, c in cells if state[r, c] != NOT_ANALYSED]
    for feature, (r, c) in zip(tiles, analysed, strict=True):
        x, y = c * PX - left, r * PX - top
        assert shape(feature["geometry"]).bounds == (x, y, x + PX, y + PX)
        sure = state[r, c] == CONFIDENT
        name = CLASSES[klass[r, c]]
        assert feature["properties"]["classification"]["name"] == (name if sure else "Uncertain*")
        assert (f"w2w P({name}) confident" in feature["properties"]["measurements"]) == sure

    outlines = json.loads((out / "a.regions.geojson").read_bytes())["features"]
    for r, c in cells:
        middle = Point((c + 0.5) * PX - left, (r + 0.5) * PX - top)
        around = {
            one["properties"]["classification"]["name"] for one in outlines if shape(one["geometry"]).covers(middle)
        }
        expected = {NOT_ANALYSED: set(), UNCERTAIN: {"Uncertain*"}, CONFIDENT: {CLASSES[max(klass[r, c], 0)]}}
        assert around == expected[int(state[r, c])]
    for name in ("a.geojson.gz", "a.regions.geojson"):
        assert check_geojson(out / name).faults == ()

    _picture_agrees(out / "a.overlay.png", state, klass)


def _picture_agrees(path: Path, state: NDArray[np.int64], klass: NDArray[np.int64]) -> None:
    """Compare the middle panel with the first, which shows the slide alone, at the middle of every tile."""
    with Image.open(path) as image:
        drawn = np.asarray(image.convert("RGB")).astype(int)
    left, top = round((COLUMN_IN - PANEL_WIDTH_IN) / 2 * 100), round(ABOVE_IN * 100)
    side = PANEL_WIDTH_IN * 100 / 6
    colours = class_colours(CLASSES)
    for r in range(4):
        for c in range(6):
            y, x = top + int((r + 0.5) * side), left + int((c + 0.5) * side)
            slide, panel = drawn[y, x], drawn[y, x + round(COLUMN_IN * 100)]
            if state[r, c] == NOT_ANALYSED:
                assert np.array_equal(panel, slide)
            elif state[r, c] == CONFIDENT:
                assert np.abs(panel - (slide + np.array(colours[CLASSES[klass[r, c]]])) / 2).max() < 2

"""Small slides with known truth, made from the one real tissue picture that scikit-image carries.

``skimage.data.immunohistochemistry``: colon, 512 x 512, DAB (brown) on epithelium, haematoxylin counterstain. Its eight
disjoint parts become eight patients: each is turned or mirrored, its stains are varied, and it is laid on glass. QuPath
regions of two classes are drawn from the colour deconvolution. Known faults are planted: glass inside a region, blur,
and a region of the wrong class. The um/px is nominal: the picture does not state its own.
"""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

TILE_PX = 32
MPP = 0.5
CLASSES = ("Epithelium", "Stroma")
COLOURS = {"Epithelium": [150, 75, 0], "Stroma": [0, 114, 178], "Ignore*": [180, 180, 180]}
PART_WIDTH, PART_HEIGHT = 128, 256
ZOOM = 1.25
PATIENTS = 8
NAMESPACE = uuid.UUID("3d0fb0a8-9b0a-5b51-8b0d-0d3f0f8a3c11")
CELL = TILE_PX
GLASS = np.array([243, 243, 240], dtype=np.float64)


@dataclass(frozen=True)
class DemoSlide:
    """One made slide: its files and its patient."""

    slide: Path
    rois: Path
    patient: str


def make_demo_slides(folder: Path, *, seed: int = 0) -> tuple[list[DemoSlide], Path]:
    """Write eight slides with their GeoJSON into `folder`, and ``truth.csv``; return both.

    The truth names every grid cell of 32 px (level 0) by slide, x0 and y0, with the class its pixels show
    (`content`), whether it is `spurious` where it is labelled, and the `kind` of its fault.
    """
    from skimage.data import immunohistochemistry

    folder.mkdir(parents=True, exist_ok=True)
    picture = immunohistochemistry()
    epithelium = _epithelium(picture)
    rng = np.random.default_rng(seed)
    slides, truth = [], []
    for index in range(PATIENTS):
        row, column = divmod(index, 4)
        part = (
            slice(row * PART_HEIGHT, (row + 1) * PART_HEIGHT),
            slice(column * PART_WIDTH, (column + 1) * PART_WIDTH),
        )
        name = f"demo-{index + 1}"
        rgb, is_epithelium, is_tissue = _augmented(picture[part], epithelium[part], rng)
        faults = _plant(is_epithelium, is_tissue, rng)
        rgb = _blurred(rgb, faults["blur"])
        _write_slide(folder / f"{name}.tif", rgb)
        regions = _regions(is_epithelium, is_tissue, faults)
        _write_geojson(folder / f"{name}.geojson", name, regions)
        slides.append(DemoSlide(folder / f"{name}.tif", folder / f"{name}.geojson", f"patient-{index + 1}"))
        truth += [[name, *line] for line in _truth(is_epithelium, is_tissue, faults)]
    path = folder / "truth.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["slide", "x0", "y0", "side0", "content", "spurious", "kind"])
        lines.writerows(truth)
    return slides, path


def _epithelium(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where DAB prevails: Otsu's threshold on the smoothed DAB channel (Ruifrok and Johnston 2001)."""
    from skimage.color import rgb2hed
    from skimage.filters import gaussian, threshold_otsu

    dab = gaussian(rgb2hed(picture)[..., 2], sigma=5)
    return np.asarray(dab > threshold_otsu(dab))


def _augmented(
    part: NDArray[np.uint8], epithelium: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Vary stains, mirror, enlarge, and lay the part on glass with a margin of one cell."""
    from skimage.color import hed2rgb, rgb2hed

    stains = rgb2hed(part) * rng.uniform(0.85, 1.15, size=3)
    varied = np.clip(hed2rgb(stains) * 255, 0, 255).astype(np.uint8)
    tissue = varied.min(axis=-1) < 215
    if rng.random() < 0.5:
        varied, epithelium, tissue = varied[::-1], epithelium[::-1], tissue[::-1]
    if rng.random() < 0.5:
        varied, epithelium, tissue = varied[:, ::-1], epithelium[:, ::-1], tissue[:, ::-1]
    size = (round(PART_WIDTH * ZOOM), round(PART_HEIGHT * ZOOM))
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(varied)).resize(size, Image.Resampling.BICUBIC))
    height, width = size[1] + 2 * CELL, size[0] + 2 * CELL
    canvas = np.clip(GLASS + rng.normal(0, 2.0, size=(height, width, 1)), 0, 255).astype(np.uint8)
    inner = (slice(CELL, CELL + size[1]), slice(CELL, CELL + size[0]))
    canvas[inner] = pixels
    return canvas, _on_canvas(epithelium, size, canvas.shape), _on_canvas(_smooth(tissue), size, canvas.shape)


def _smooth(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from skimage.filters import gaussian

    return np.asarray(gaussian(mask.astype(float), sigma=4) > 0.5)


def _on_canvas(mask: NDArray[np.bool_], size: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    large = np.asarray(Image.fromarray(np.ascontiguousarray(mask)).resize(size, Image.Resampling.NEAREST))
    canvas = np.zeros(shape[:2], dtype=np.bool_)
    canvas[CELL : CELL + size[1], CELL : CELL + size[0]] = large
    return canvas


Cells = list[tuple[int, int]]


def _plant(epithelium: NDArray[np.bool_], tissue: NDArray[np.bool_], rng: np.random.Generator) -> Mapping[str, Cells]:
    """Choose cells (row, column) for each fault: wrong class, blur, and glass at the margin."""
    content = _content(epithelium, tissue)
    pure = [(r, c) for r in range(content.shape[0]) for c in range(content.shape[1]) if content[r, c]]
    chosen = [pure[i] for i in rng.permutation(len(pure))[:7]]
    glass = [(r, c) for r in range(content.shape[0]) for c in (0, content.shape[1] - 1)]
    return {
        "label": chosen[:4],
        "blur": chosen[4:],
        "background": [glass[i] for i in rng.permutation(len(glass))[:3]],
    }


def _content(epithelium: NDArray[np.bool_], tissue: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Return the class that fills at least 80 % of each cell, "" where none does."""

    def share(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        rows, columns = mask.shape[0] // CELL, mask.shape[1] // CELL
        cut = mask[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
        return np.asarray(cut.mean(axis=(1, 3)))

    first, second = share(tissue & epithelium), share(tissue & ~epithelium)
    return np.where(first >= 0.8, CLASSES[0], np.where(second >= 0.8, CLASSES[1], ""))


def _blurred(rgb: NDArray[np.uint8], cells: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
    from skimage.filters import gaussian

    soft = (gaussian(rgb, sigma=4, channel_axis=-1, preserve_range=True)).astype(np.uint8)
    out = rgb.copy()
    for row, column in cells:
        box = (slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL))
        out[box] = soft[box]
    return out


def _regions(
    epithelium: NDArray[np.bool_], tissue: NDArray[np.bool_], faults: Mapping[str, Cells]
) -> list[tuple[str, BaseGeometry]]:
    """Draw the regions as an annotator would: smooth outlines, with the planted faults in them."""
    content = _content(epithelium, tissue)
    areas = [_outline(tissue & epithelium), _outline(tissue & ~epithelium)]
    for row, column in faults["label"]:
        box = _box(row, column)
        wrong = 1 - CLASSES.index(str(content[row, column]))
        areas[wrong] = areas[wrong].union(box)
        areas[1 - wrong] = areas[1 - wrong].difference(box)
    for i, (row, column) in enumerate(faults["background"]):
        areas[i % 2] = areas[i % 2].union(_box(row, column))
    return [
        (name, polygon)
        for name, area in zip(CLASSES, areas, strict=True)
        for polygon in shapely.get_parts(area)
        if polygon.geom_type == "Polygon" and polygon.area >= CELL**2 / 2
    ]


def _box(row: int, column: int) -> BaseGeometry:
    return shapely.box(column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL)


def _outline(mask: NDArray[np.bool_]) -> BaseGeometry:
    """Return the area of a mask with its staircase smoothed by a pixel."""
    runs = []
    for y, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        runs += [shapely.box(left, y, right, y + 1) for left, right in edges.reshape(-1, 2)]
    return shapely.union_all(runs).simplify(1.0).buffer(0)


def _truth(epithelium: NDArray[np.bool_], tissue: NDArray[np.bool_], faults: Mapping[str, Cells]) -> list[list[Any]]:
    content = _content(epithelium, tissue)
    kinds = {cell: kind for kind, cells in faults.items() for cell in cells}
    return [
        [
            column * CELL,
            row * CELL,
            CELL,
            content[row, column],
            int((row, column) in kinds),
            kinds.get((row, column), ""),
        ]
        for row in range(content.shape[0])
        for column in range(content.shape[1])
        # a cell of mixed tissue has no one truth; it is neither good nor spurious, and is left out of the table
        if content[row, column] or (row, column) in kinds
    ]


def _write_slide(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a tiled, pyramidal JPEG TIFF (levels 1 and 2) that says its um/px."""
    half = np.asarray(Image.fromarray(rgb).reduce(2))
    pixels_per_cm = (1e4 / MPP, 1e4 / MPP)
    options: dict[str, Any] = {
        "tile": (64, 64),
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": 92},
        "resolutionunit": "CENTIMETER",
        "metadata": None,
    }
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, resolution=pixels_per_cm, **options)
        tiff.write(half, resolution=(pixels_per_cm[0] / 2, pixels_per_cm[1] / 2), subfiletype=1, **options)


def _write_geojson(path: Path, slide: str, regions: Sequence[tuple[str, BaseGeometry]]) -> None:
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(NAMESPACE, f"{slide} {i}")),
            "geometry": mapping(area),
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": COLOURS[name]},
            },
        }
        for i, (name, area) in enumerate(regions)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}) + "\n", "utf-8")

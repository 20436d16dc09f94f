"""Real slides and annotations: the development cohort's labels, and faults in words."""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from tests.conftest import write_geojson
from w2wpath.config import TileSettings
from w2wpath.errors import AnnotationError, MissingMppError, SlideError
from w2wpath.qupath.read import read_rois
from w2wpath.slides.reader import open_slide, require_mpp
from w2wpath.tiles.cohort import Entry, read_cohort, tile
from w2wpath.tiles.store import TileStore

pytestmark = pytest.mark.realdata


def failure(folder: Path, slide: Path, side: int) -> str:
    """What ``tile`` says of a slide whose corner is annotated."""
    rois = write_geojson(folder / "r.geojson", [("Tumor", box(0, 0, side, side))])
    settings = TileSettings(tile_px=8)
    (outcome,) = tile(folder / "tiles.zarr", [Entry(slide, rois, "P1", slide_mpp=0.5)], settings)
    assert outcome.status == "failed"
    assert TileStore.open(folder / "tiles.zarr").slides() == []
    return outcome.error


def test_the_cohort_gives_exactly_the_tiles_and_labels_of_the_truth(test_data: Path, tmp_path: Path) -> None:
    entries = read_cohort(test_data / "crc27" / "cohort.csv")
    outcomes = tile(tmp_path / "tiles.zarr", entries, TileSettings(tile_px=64, mpp=1.75), workers=2)
    assert {outcome.status for outcome in outcomes} == {"tiled"}
    table = TileStore.open(tmp_path / "tiles.zarr").table()
    found = {
        (table.slides[table.slide[i]], int(table.x0[i]), int(table.y0[i])): (
            table.classes[table.label[i]],
            table.patients[table.patient[i]],
        )
        for i in table.labelled()
    }
    with (test_data / "crc27" / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = {
            (row["slide"], int(row["x0"]), int(row["y0"])): (row["label"], row["patient"])
            for row in csv.DictReader(file)
        }
    assert len(truth) == 2132
    assert found == truth
    assert set(table.side0.tolist()) == {224}
    assert (len(table.slides), len(table.patients)) == (27, 24)


def test_a_slide_of_an_unknown_compression_is_listed(test_data: Path, tmp_path: Path) -> None:
    slide = test_data / "slides" / "broken" / "unopenable.tiff"
    assert failure(tmp_path, slide, 16) == (
        f"{slide}: not a readable slide (Unsupported TIFF compression: 52479). Check that the file is whole."
    )


def test_a_slide_whose_pixels_cannot_be_decoded_is_listed(test_data: Path, tmp_path: Path) -> None:
    slide = test_data / "slides" / "broken" / "unreadable.svs"
    with open_slide(slide) as opened, pytest.raises(SlideError) as caught:
        opened.read_rgb(0, 0, 0, 8, 8)
    assert str(caught.value) == (
        f"{slide}: pixels at x0=0, y0=0 cannot be decoded ({caught.value.__cause__}). "
        "The file is damaged there; scan or copy it again."
    )
    assert failure(tmp_path, slide, 8) == str(caught.value)


def test_a_real_slide_without_mpp_names_the_flag(test_data: Path) -> None:
    path = test_data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    with open_slide(path) as slide, pytest.raises(MissingMppError) as caught:
        require_mpp(slide)
    assert str(caught.value) == (
        f"{path}: no um/px in the header. Pass --slide-mpp (20x is about 0.5, 40x about 0.25)."
    )


def test_real_slides_are_tiled_from_the_level_that_is_fine_enough(test_data: Path, tmp_path: Path) -> None:
    rois = write_geojson(tmp_path / "r.geojson", [("Tissue", box(1024, 1024, 2048, 2048))])
    slides = {"CMU-1-Small-Region.svs": None, "colon_polyp_40x.tif": 0.25, "test3-TRITC-2.ndpi": None}
    entries = [Entry(test_data / "slides" / name, rois, name, slide_mpp=mpp) for name, mpp in slides.items()]
    outcomes = tile(tmp_path / "tiles.zarr", entries, TileSettings(tile_px=64, mpp=2.0))
    assert [outcome.error for outcome in outcomes] == ["", "", ""]
    store = TileStore.open(tmp_path / "tiles.zarr")
    assert [store.attributes(name)["source_level"] for name in store.slides()] == [0, 1, 3]
    for entry in entries:
        tiles, pixels = store.read(entry.name), store.images(entry.name)
        x0, y0, side0 = (int(tiles.columns[name][0]) for name in ("x0", "y0", "side0"))
        with open_slide(entry.slide) as slide:
            finest = slide.read_rgb(x0, y0, 0, side0, side0)
        assert np.abs(pixels[0].mean(axis=(0, 1)) - finest.mean(axis=(0, 1))).max() < 2


def test_every_real_annotation_is_read_or_refused_in_words(test_data: Path) -> None:
    paths = [path for path in sorted((test_data / "annotations").rglob("*")) if path.is_file()]
    readable = {}
    for path in paths:
        with suppress(AnnotationError):
            readable[path.name] = read_rois(path).classes
    assert len(paths) > 20
    assert readable == {
        "colon_polyp_40x.geojson": ("Tissue",),
        "qupath_geojson_advanced_qupath-polygon-cell-classified.json": ("Cell", "Nucleus"),
    }


def test_a_bare_geometry_is_refused_with_the_cure(test_data: Path) -> None:
    path = test_data / "annotations" / "qupath_core_polygon.geojson"
    with pytest.raises(AnnotationError) as caught:
        read_rois(path)
    assert str(caught.value) == (
        f"{path}: valid JSON, but not GeoJSON of QuPath (expected a FeatureCollection, an array of Features or a "
        "Feature). Export it from QuPath: File > Export objects as GeoJSON."
    )

"""Real slides and annotations: the development cohort's labels, and faults in words."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from tests.conftest import write_geojson
from w2wpath.config import ClassMap, RoiSettings, TileSettings
from w2wpath.errors import AnnotationError, MissingMppError, SlideError
from w2wpath.qupath.read import read_rois
from w2wpath.slides.reader import open_slide, require_mpp
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import Entry, read_cohort
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


ASAP, QUPATH, POINTS = "wsidicom/asap_asap-", "wsidicom/qupath_geojson_qupath-", "geometry {} has no area"
REAL_ANNOTATIONS: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    # regions by class, ignored objects by reason, repaired objects
    "asap_camelyon16_tumor_021.xml": ({"tissue": 4, "negative": 5}, {}, 0),
    "colon_polyp_40x.geojson": ({"Tissue": 2}, {}, 0),
    "dlup_qupath05.geojson": ({}, {"no class": 3}, 0),
    "histoqc_holed.geojson": ({}, {"no class": 1}, 0),
    "histoqc_imagescope_TCGA-EJ-5518.xml": ({"Layer 1": 2, "Layer 3": 1, "Layer 4": 1}, {}, 3),
    "large_image_sample.geojson": ({}, {"no class": 10}, 0),
    "luna_123_CMU-1-Small-Region.annotation.geojson": ({"Other": 1, "Tumor": 1}, {}, 0),
    "luna_region_annotation_results.geojson": ({}, {"object type cell": 1}, 0),
    "qupath_core_polygon.geojson": ({}, {"no class": 1}, 0),
    "spatialdata_multipolygon.json": ({}, {"no class": 1}, 0),
    f"{ASAP}dot.xml": ({}, {POINTS.format("Point"): 1}, 0),
    f"{ASAP}pointset.xml": ({}, {POINTS.format("MultiPoint"): 1}, 0),
    f"{ASAP}polygon.xml": ({}, {"no class": 1}, 0),
    "wsidicom/qupath_geojson_advanced_qupath-polygon-cell-classified.json": ({"Cell": 2, "Nucleus": 2}, {}, 0),
    f"{QUPATH}line.json": ({}, {POINTS.format("LineString"): 1}, 0),
    f"{QUPATH}polyline.json": ({}, {POINTS.format("LineString"): 1}, 0),
    f"{QUPATH}multipoint.json": ({}, {POINTS.format("MultiPoint"): 1}, 0),
    f"{QUPATH}point.json": ({}, {POINTS.format("Point"): 1}, 0),
    **{
        f"{QUPATH}{shape}.json": ({}, {"no class": 1}, 0)
        for shape in ("brush", "ellipse", "polygon", "rectangle", "wand")
    },
}


def test_every_real_annotation_is_read_as_it_is_known_to_be(test_data: Path) -> None:
    home = test_data / "annotations"
    foreign = ("cytomine", "sectra")  # neither GeoJSON nor one of the XML formats
    paths = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    assert {path for path in paths if not Path(path).name.startswith(foreign)} == set(REAL_ANNOTATIONS)
    for name, (by_class, ignored, repaired) in REAL_ANNOTATIONS.items():
        rois = read_rois(home / name)
        assert Counter(roi.class_name for roi in rois.regions) == by_class, name
        assert (rois.skipped(), len(rois.repaired())) == (ignored, repaired), name
        assert len(rois.report) == sum(by_class.values()) + sum(ignored.values()), name
        assert all(roi.geometry.is_valid and roi.geometry.area > 0 for roi in rois.regions), name


def test_labels_in_the_name_are_read_where_the_class_map_says_so(test_data: Path) -> None:
    by_name = RoiSettings(class_map=ClassMap(class_from="name"))
    assert read_rois(test_data / "annotations" / "dlup_qupath05.geojson", by_name).classes == ("I", "UT")


def test_a_hole_of_a_real_annotation_stays_a_hole(test_data: Path) -> None:
    settings = RoiSettings(class_map=ClassMap(unclassified="exclude"))
    (area,) = read_rois(test_data / "annotations" / "histoqc_holed.geojson", settings).ignored
    assert len(area.interiors) == 1
    assert area.area < area.envelope.area


@pytest.mark.parametrize("kind", ["cytomine_cytomine-polygon.txt", "sectra_pathologycore-area.json"])
def test_annotations_of_other_programs_are_refused_with_the_cure(test_data: Path, kind: str) -> None:
    path = test_data / "annotations" / "wsidicom" / kind
    with pytest.raises(AnnotationError) as caught:
        read_rois(path)
    assert str(caught.value) == (
        f"{path}: valid JSON, but not GeoJSON of QuPath (expected a FeatureCollection, an array of Features, a Feature "
        "or a geometry). Export it from QuPath: File > Export objects as GeoJSON."
    )


def test_a_real_file_is_not_read_onto_another_slide(test_data: Path, tmp_path: Path) -> None:
    polyp = test_data / "annotations" / "colon_polyp_40x.geojson"
    slide = test_data / "slides" / "CMU-1-Small-Region.svs"
    (outcome,) = tile(tmp_path / "tiles.zarr", [Entry(slide, polyp, "P1")], TileSettings())
    assert outcome.status == "failed"
    assert "so they may be another slide's" in outcome.error
    assert (tmp_path / "tiles.zarr.imports" / "CMU-1-Small-Region.alignment.png").is_file()

"""Reading QuPath's exports: every version's dialect, every object reported, faults in words."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box

from tests.conftest import feature
from w2wpath.errors import AnnotationError
from w2wpath.qupath.read import Rois, read_rois

SQUARE = box(0, 0, 10, 10)
RING = [[100, 200], [100, 240], [150, 240], [150, 200], [100, 200]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}
DRAW = "Draw areas in QuPath, give each a class, and export them as GeoJSON."
EXPORT = "Export it from QuPath: File > Export objects as GeoJSON."


def read(folder: Path, document: Any) -> Rois:
    path = folder / "rois.geojson"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return read_rois(path)


def refusal(folder: Path, document: Any) -> str:
    with pytest.raises(AnnotationError) as caught:
        read(folder, document)
    return str(caught.value).removeprefix(f"{folder / 'rois.geojson'}: ")


def region(classification: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": POLYGON, "properties": {"classification": classification, **properties}}


VERSIONS = {
    "0.2": {
        "type": "Feature",
        "id": "PathAnnotationObject",
        "geometry": POLYGON,
        "properties": {
            "classification": {"name": "Tumor", "colorRGB": -3670016},
            "isLocked": False,
            "measurements": [{"name": "nan", "value": float("nan")}],
        },
    },
    "0.3": region({"name": "Tumor", "colorRGB": -3670016}, object_type="annotation", isLocked=True),
    "0.4": {**region({"name": "Tumor", "color": [200, 0, 0]}, objectType="annotation"), "id": "8e0831cc"},
    "0.5": region({"names": ["Tumor"], "color": [200, 0, 0]}, objectType="annotation", measurements={"bad": "NaN"}),
    "0.7": region({"name": "Tumor", "color": [200, 0, 0]}, objectType="annotation", metadata={"author": "XY"}),
    "a plain string": region("Tumor"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_gives_the_same_region(tmp_path: Path, version: str) -> None:
    rois = read(tmp_path, VERSIONS[version])
    assert [(roi.class_name, roi.geometry.bounds, roi.entry) for roi in rois.regions] == [
        ("Tumor", (100.0, 200.0, 150.0, 240.0), 0)
    ]
    assert (rois.classes, rois.skipped()) == (("Tumor",), {})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: [one],
        lambda one: {"type": "FeatureCollection", "features": [one]},
        lambda one: [[{"type": "FeatureCollection", "features": [one]}]],
    ],
    ids=["one feature", "bare array", "collection", "nested arrays"],
)
def test_every_top_level_form_is_read(tmp_path: Path, wrap: Any) -> None:
    assert read(tmp_path, wrap(region("Tumor"))).classes == ("Tumor",)


@pytest.mark.parametrize(
    ("classification", "name"),
    [
        ({"names": ["Tumor", "Positive"], "color": [200, 50, 50]}, "Tumor: Positive"),
        ({"name": "Positive", "parentClass": {"name": "Tumor", "colorRGB": -1}}, "Tumor: Positive"),
        ({"name": "c", "parentClass": {"name": "b", "parentClass": {"name": "a"}}}, "a: b: c"),
        ("Tumor: Positive", "Tumor: Positive"),
        ({"name": " Tumor "}, "Tumor"),
    ],
)
def test_a_derived_class_reads_as_qupath_shows_it(tmp_path: Path, classification: Any, name: str) -> None:
    assert read(tmp_path, region(classification)).classes == (name,)


def test_bytes_may_be_gzip_or_begin_with_a_mark(tmp_path: Path) -> None:
    text = json.dumps(region("Tumör"), ensure_ascii=False).encode()
    assert read(tmp_path, gzip.compress(text)).classes == ("Tumör",)
    assert read(tmp_path, b"\xef\xbb\xbf" + text).classes == ("Tumör",)


def test_holes_are_holes_and_parts_stay_together(tmp_path: Path) -> None:
    holed = Polygon(box(0, 0, 100, 100).exterior, [box(20, 20, 30, 30).exterior])
    both = holed.union(box(200, 0, 210, 10))
    rois = read(tmp_path, [feature("Tumor", holed), feature("Tumor", both)])
    assert [roi.geometry.area for roi in rois.regions] == [9900.0, 10000.0]


def test_a_bow_tie_keeps_both_of_its_wings(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    rois = read(tmp_path, {**region("Tumor"), "geometry": bow})
    assert rois.regions[0].geometry.area == 50.0
    assert rois.report[0]["reason"] == "repaired, area 0 to 50 px"


def test_ignored_areas_are_set_apart_and_starred_classes_are_no_labels(tmp_path: Path) -> None:
    rois = read(
        tmp_path,
        [
            feature("Tumor", SQUARE),
            feature("Ignore*", box(2, 2, 4, 4)),
            feature("Region*", box(0, 0, 99, 99)),
            feature("Ignore*: Positive", box(5, 5, 6, 6)),
        ],
    )
    assert rois.classes == ("Ignore*: Positive", "Tumor")
    assert [area.area for area in rois.ignored] == [4.0]
    assert [(line["class"], line["kept"], line["reason"]) for line in rois.report] == [
        ("Tumor", True, ""),
        ("Ignore*", True, "subtracted (Ignore*)"),
        ("Region*", False, "class Region* is not a label"),
        ("Ignore*: Positive", True, ""),
    ]


def test_every_object_that_gives_no_region_is_counted_with_its_reason(tmp_path: Path) -> None:
    far = {"type": "Polygon", "coordinates": [[[0, 0], [1e300, 9], [9, 1e300], [0, 0]]]}
    odd = [
        ({}, {"geometry": {**POLYGON, "plane": {"c": -1, "z": 2, "t": 1}}}),
        ({"objectType": "tile"}, {}),
        ({"object_type": "tma_core"}, {}),
        ({}, {"id": "PathCellObject"}),
        ({}, {"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}),
        ({}, {"geometry": None}),
        ({}, {"geometry": {"type": "Polygon"}}),
        ({}, {"geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}),
        ({}, {"geometry": {"type": "Polygon", "coordinates": [[]]}}),
        ({}, {"geometry": far}),
        ({}, {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [10**400, 9], [9, 9], [0, 0]]]}}),
    ]
    features = [{**region("Tumor", **properties), **own} for properties, own in odd]
    rois = read(tmp_path, [region("Tumor"), feature(None, SQUARE), *features])
    assert len(rois.report) == 13
    assert rois.skipped() == {
        "no class": 1,
        "on plane z=2, t=1": 1,
        "object type tile": 1,
        "object type tma_core": 1,
        "object type cell": 1,
        "geometry LineString has no area": 1,
        "geometry None has no area": 1,
        "broken geometry (KeyError)": 1,
        "broken geometry (ValueError)": 1,
        "empty area": 1,
        "coordinates that lie on no slide": 1,
        "broken geometry (OverflowError)": 1,
    }


def test_coordinates_may_have_a_third_value(tmp_path: Path) -> None:
    solid = {"type": "Polygon", "coordinates": [[[*corner, 5] for corner in RING]]}
    geometry = read(tmp_path, {**region("Tumor"), "geometry": solid}).regions[0].geometry
    assert (geometry.has_z, geometry.area) == (False, 2000.0)


def test_a_file_without_objects_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, []) == f"no usable ROI (the file holds no object). {DRAW}"


def test_a_file_without_usable_regions_says_what_it_holds(tmp_path: Path) -> None:
    document = [feature(None, SQUARE), feature(None, SQUARE), feature("Ignore*", SQUARE)]
    document.append({**region("Tumor"), "geometry": {"type": "Point", "coordinates": [5, 6]}})
    assert refusal(tmp_path, document) == (
        f"no usable ROI (1 x geometry Point has no area, 2 x no class, 1 x subtracted (Ignore*)). {DRAW}"
    )


@pytest.mark.parametrize(
    "document", [POLYGON, {"a": 1}, 3, None, [region("Tumor"), "x"], {"type": "FeatureCollection", "features": None}]
)
def test_json_that_is_not_of_qupath_is_refused(tmp_path: Path, document: Any) -> None:
    assert refusal(tmp_path, document) == (
        "valid JSON, but not GeoJSON of QuPath (expected a FeatureCollection, an array of Features or a Feature). "
        + EXPORT
    )


@pytest.mark.parametrize("classification", [7, ["Tumor"], {"name": ""}, {"name": " "}, {"colorRGB": 3}, {"name": 3}])
def test_a_class_of_unknown_form_names_the_object(tmp_path: Path, classification: Any) -> None:
    assert refusal(tmp_path, {**region(classification), "id": "a-1"}) == (
        f"object a-1 has a class of unknown form ({classification!r}). Export it again from QuPath."
    )


@pytest.mark.parametrize("nothing", [None, {}, "", "  "])
def test_an_empty_class_is_no_class(tmp_path: Path, nothing: Any) -> None:
    assert refusal(tmp_path, region(nothing)) == f"no usable ROI (1 x no class). {DRAW}"


@pytest.mark.parametrize("properties", [None, [], [1], "x", 5])
def test_properties_of_another_form_are_none(tmp_path: Path, properties: Any) -> None:
    assert refusal(tmp_path, {**region("Tumor"), "properties": properties}) == (f"no usable ROI (1 x no class). {DRAW}")


def test_text_that_is_not_json_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"<xml/>") == f"not GeoJSON (Expecting value: line 1 column 1 (char 0)). {EXPORT}"


def test_a_torn_download_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps([region("Tumor")] * 50).encode(), mtime=0)
    assert refusal(tmp_path, whole[:-20]) == (
        f"not GeoJSON (Compressed file ended before the end-of-stream marker was reached). {EXPORT}"
    )
    torn = whole[:20] + b"\xff" * 40 + whole[60:]
    with pytest.raises(zlib.error) as zipped:
        gzip.decompress(torn)
    assert refusal(tmp_path, torn) == f"cannot be read ({zipped.value}). Export it again."


def test_arrays_nested_without_end_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, b"[" * 100_000)
    assert message.startswith("not GeoJSON (")
    assert message.endswith(f"). {EXPORT}")
    assert refusal(tmp_path, b"[" * 400 + b"]" * 400) == f"no usable ROI (the file holds no object). {DRAW}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_rois(tmp_path / "no.geojson")
    assert str(caught.value) == f"{tmp_path / 'no.geojson'}: no such annotation file. Check the path."


def test_a_folder_is_no_annotation_file(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError) as caught:
        read_rois(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: cannot be read ([Errno 21] Is a directory: '{tmp_path}'). Export it again."
    )


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ANY_CLASS = ANY_JSON | st.fixed_dictionaries({}, optional={key: ANY_JSON for key in ("name", "names", "parentClass")})
ANY_GEOMETRY = ANY_JSON | st.fixed_dictionaries(
    {"type": st.sampled_from(["Polygon", "MultiPolygon", "Point"])},
    optional={
        "coordinates": ANY_JSON | st.lists(st.lists(st.lists(st.floats(), min_size=2, max_size=3), max_size=6)),
        "plane": ANY_JSON,
    },
)
ANY_FEATURE = st.fixed_dictionaries(
    {"type": st.just("Feature")},
    optional={
        "id": ANY_JSON,
        "geometry": ANY_GEOMETRY,
        "properties": ANY_JSON
        | st.fixed_dictionaries({}, optional={"classification": ANY_CLASS, "objectType": ANY_JSON}),
    },
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(document=ANY_JSON | ANY_FEATURE | st.lists(ANY_FEATURE, max_size=3))
def test_whatever_a_file_holds_it_is_read_or_refused_in_words(tmp_path: Path, document: Any) -> None:
    with suppress(AnnotationError):
        rois = read(tmp_path, document)
        assert all(roi.class_name and roi.geometry.is_valid and roi.geometry.area > 0 for roi in rois.regions)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ring=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=9))
@example(ring=[(0, 1), (1, 0), (0, 0), (0, 1), (1, 0), (0, 2)])  # GEOS 3.14 leaves two parts that share an edge
def test_any_ring_becomes_a_valid_area_within_its_box(tmp_path: Path, ring: list[tuple[int, int]]) -> None:
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    rois = read(tmp_path, [feature("Other", box(50, 50, 51, 51)), {**region("Tumor"), "geometry": geometry}])
    for roi in rois.regions[1:]:
        assert roi.geometry.is_valid
        assert roi.geometry.geom_type in ("Polygon", "MultiPolygon")
        assert roi.geometry.within(box(0, 0, 20, 20))
    assert len(rois.report) == 2


def test_the_report_keeps_ids_in_file_order(tmp_path: Path) -> None:
    document = [feature("Tumor", SQUARE), feature(None, Point(5, 5).buffer(2)), feature("Stroma", SQUARE)]
    rois = read(tmp_path, document)
    assert [line["id"] for line in rois.report] == [one["id"] for one in document]
    assert [roi.entry for roi in rois.regions] == [0, 2]

"""Every row of what QuPath refuses (run with 0.5.1 and 0.7.0) is seen, and no row that it takes is called refused."""

from __future__ import annotations

import gzip
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.errors import AnnotationError
from w2wpath.qupath.check import BOTH, Fault, Problem, check_geojson, inspect

ID = "8e0831cc-5975-42da-9e38-f6c098fda195"
RING = [[0, 0], [100, 0], [100, 100], [0, 100], [0, 0]]
FAR = [[200, 0], [300, 0], [300, 100], [200, 100], [200, 0]]
SQUARE = {"type": "Polygon", "coordinates": [RING]}
RED = [200, 0, 0]
NAN, INF = math.nan, math.inf


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def multi(*parts: Any) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": list(parts)}


def one(geometry: Any = SQUARE, /, **properties: Any) -> dict[str, Any]:
    """A Feature as QuPath writes it, with these properties too."""
    return {"type": "Feature", "id": ID, "geometry": geometry, "properties": {"objectType": "annotation", **properties}}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in one().items() if name != key}


def classed(**classification: Any) -> dict[str, Any]:
    return one(classification=classification)


def invalid(reason: str, key: str = "geometry") -> tuple[str, str, tuple[str, ...]]:
    what = f"{key} is not valid ({reason}); QuPath 0.5 takes it, but its area may be wrong"
    return what, "Draw it without crossings, spikes and overlaps.", ("0.7",)


REDRAW = "Draw it again, or leave it out."
RGB = "Write [red, green, blue], each from 0 to 255."
UUID = "Leave the id out, or write a UUID."
NUMBER = "Leave it out: a missing measurement reads as NaN."
NO_NAME = ("the class has an empty name", "Leave the classification out.", BOTH)
NO_FORM = 'Write {"name": ..., "color": [red, green, blue]}.'
BOW_TIE = polygon([[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]])
HOLE_OUTSIDE = polygon(RING, [[200, 200], [210, 200], [210, 210], [200, 200]])
COLLECTION = {"type": "GeometryCollection", "geometries": [SQUARE, {"type": "Point", "coordinates": [1, 2]}]}
TYPES = "annotation, detection, tile, cell, tmaCore, root"

# the rows of the table, by name; those after the lone '#' follow from how QuPath reads
REFUSED: dict[str, tuple[dict[str, Any], list[tuple[str, str, tuple[str, ...]]]]] = {
    "class without color": (classed(name="Tumor"), [("the class has no color", RGB, BOTH)]),
    "color as #rrggbb": (classed(name="A", color="#ff0000"), [('color of the class is "#ff0000"', RGB, BOTH)]),
    "color as int": (classed(name="A", color=-3670016), [("color of the class is -3670016", RGB, BOTH)]),
    "empty class name": (classed(name="", color=RED), [NO_NAME]),
    "newline in class name": (
        classed(name="Tu\nmor", color=RED),
        [("the class has a line break in its name", "Take the line break out.", BOTH)],
    ),
    "colon in names": (
        classed(names=["Tumor: Positive"], color=RED),
        [("the class has a ':' in one of its names", "Write the parts as names of their own.", BOTH)],
    ),
    "properties null": (
        without("properties") | {"properties": None},
        [("properties is null", "Write {} instead.", BOTH)],
    ),
    "geometry null": (one(None), [("no geometry", REDRAW, BOTH)]),
    "geometry missing": (without("geometry"), [("no geometry", REDRAW, BOTH)]),
    "geometry empty": (one({}), [("no geometry", REDRAW, BOTH)]),
    "id null": (one() | {"id": None}, [("id is null", UUID, BOTH)]),
    "name null": (one(name=None), [("name is null", "Leave the name out, or write a text.", BOTH)]),
    "measurement no number": (
        one(measurements={"a": 1, "b": "high", "c": True}),
        [('measurement "b": "high" is no number (and 1 more)', NUMBER, BOTH)],
    ),
    "bow-tie": (one(BOW_TIE), [invalid("self-intersection")]),
    "spike": (
        one(polygon([[0, 0], [10, 0], [10, 10], [10, 20], [10, 10], [0, 10], [0, 0]])),
        [invalid("ring self-intersection")],
    ),
    "overlapping parts": (
        one(multi([RING], [[[50, 50], [150, 50], [150, 150], [50, 150], [50, 50]]])),
        [invalid("self-intersection")],
    ),
    "hole outside": (one(HOLE_OUTSIDE), [invalid("hole lies outside shell")]),
    "hole crossing the shell": (
        one(polygon(RING, [[90, 10], [110, 10], [110, 20], [90, 20], [90, 10]])),
        [invalid("self-intersection")],
    ),
    "multipolygon of one part": (
        one(multi([RING])),
        [("geometry is a MultiPolygon of 1 part(s)", "Write a Polygon.", ("0.5",))],
    ),
    "geometry collection": (
        one(COLLECTION),
        [("geometry is a GeometryCollection", "Write its polygons as one MultiPolygon.", ("0.7",))],
    ),
    "unclosed ring": (
        one(polygon(RING[:-1])),
        [("geometry: a ring is not closed", "Repeat its first point at its end.", BOTH)],
    ),
    "nucleus bow-tie": (one() | {"nucleusGeometry": BOW_TIE}, [invalid("self-intersection", "nucleusGeometry")]),
    "nucleus null": (one() | {"nucleusGeometry": None}, [("no nucleusGeometry", REDRAW, BOTH)]),
    #
    "id of no text": (one() | {"id": [1]}, [("id is an array", UUID, BOTH)]),
    "id NaN": (one() | {"id": NAN}, [("id is NaN", UUID, BOTH)]),
    "properties a list": (
        without("properties") | {"properties": []},
        [("properties is an array", "Write {} instead.", BOTH)],
    ),
    "blank class": (one(classification=" "), [NO_NAME]),
    "class a number": (one(classification=3), [("classification is 3 without a name", NO_FORM, BOTH)]),
    "class with a color only": (classed(color=RED), [("classification is an object without a name", NO_FORM, BOTH)]),
    "class of shares": (classed(name="A", color=[0.5, 0, 1]), [("color of the class is an array", RGB, BOTH)]),
    "parent without color": (
        classed(name="Positive", colorRGB=-1, parentClass={"name": "Tumor"}),
        [("the class has no color", RGB, BOTH)],
    ),
    "object color as #rrggbb": (one(color="#ff0000"), [('color of the object is "#ff0000"', RGB, BOTH)]),
    "object type null": (one(objectType=None), [("objectType is null", f"Write one of {TYPES}.", BOTH)]),
    "measurement array": (
        one(measurements=[{"name": "a", "value": 1}, {"name": "b", "value": None}, {"value": 2}]),
        [
            ('measurement "b": null is no number', NUMBER, BOTH),
            ("measurement null: 2 has no name", "Leave it out, or give it a name.", BOTH),
        ],
    ),
    "figure 8 that crosses in a vertex": (
        one(polygon([[0, 0], [10, 0], [5, 5], [0, 10], [10, 10], [5, 5], [0, 0]])),
        [invalid("ring self-intersection")],
    ),
    "unknown geometry": (
        one({"type": "Circle", "coordinates": [1, 2], "radius": 3}),
        [('geometry: type is "Circle"', REDRAW, BOTH)],
    ),
    "geometry a text": (one("POINT (1 2)"), [('geometry is "POINT (1 2)"', REDRAW, BOTH)]),
    "coordinates null": (
        one({"type": "Polygon", "coordinates": None}),
        [("geometry: coordinates are not lists of points", REDRAW, BOTH)],
    ),
    "coordinates no numbers": (
        one(polygon([[0, 0], [1, None], [1, 1], [0, 0]])),
        [("geometry: coordinates are not rows of numbers x, y", REDRAW, BOTH)],
    ),
    "coordinates NaN": (
        one({"type": "Point", "coordinates": [1, NAN]}),
        [("geometry: coordinates are not rows of numbers x, y", REDRAW, BOTH)],
    ),
    "ring of three points": (
        one(polygon([[0, 0], [1, 1], [0, 0]])),
        [("geometry: a ring of fewer than four points", REDRAW, BOTH)],
    ),
    "hole without an outline": (one(polygon([], RING)), [("geometry: a hole without an outline", REDRAW, BOTH)]),
    "line of one point": (
        one({"type": "LineString", "coordinates": [[1, 2]]}),
        [("geometry: a line of one point", REDRAW, BOTH)],
    ),
    "plane null": (
        one({**SQUARE, "plane": None}),
        [("geometry: its plane is not of whole numbers c, z, t", "Leave the plane out.", BOTH)],
    ),
    "collection without geometries": (
        one({"type": "GeometryCollection"}),
        [
            ("geometry is a GeometryCollection", "Write its polygons as one MultiPolygon.", ("0.7",)),
            ("geometry: a collection without geometries", REDRAW, BOTH),
        ],
    ),
}

TAKEN = {
    "as QuPath writes it": one(classification={"name": "Tumor", "color": RED}, isLocked=True, name="my ROI", color=RED),
    "foreign data": one(group="x", type="tumor") | {"bbox": [0, 0, 1, 1], "style": None},
    "class as text": one(classification="Tumor: Positive"),
    "class null": one(classification=None),
    "class empty": one(classification={}),
    "class name": classed(name="Tumor", color=RED),
    "class names": classed(names=["Tumor", "Positive"], color=[200, 0, 0, 255]),
    "class colorRGB": classed(name="Tumor", colorRGB=-3670016),
    "class with a parent": classed(name="Positive", colorRGB=-1, parentClass={"name": "Tumor", "colorRGB": -2}),
    "measurements": one(measurements={"a": 1, "b": 0.25, "c": -1e-9}),
    "measurements of 0.2": one(measurements=[{"name": "a", "value": 1}]) | {"id": "PathAnnotationObject"},
    "no id": without("id"),
    "no properties": without("properties"),
    "figure 8 that touches itself": one(polygon([[0, 0], [10, 0], [5, 5], [10, 10], [0, 10], [5, 5], [0, 0]])),
    "duplicate vertices": one(polygon([[0, 0], [0, 0], [9, 0], [9, 9], [9, 9], [0, 0]])),
    "negative coordinates": one(polygon([[-9, -9], [0, -9], [0, 0], [-9, -9]])),
    "hole": one(polygon(RING, [[10, 10], [20, 10], [20, 20], [10, 10]])),
    "two parts": one(multi([RING], [FAR])),
    "third coordinate": one({"type": "Polygon", "coordinates": [[[0, 0, 7], [9, 0, 7], [9, 9], [0, 0, 7]]]}),
    "points": one({"type": "MultiPoint", "coordinates": [[1, 2], [3.46, 4]]}),
    "point": one({"type": "Point", "coordinates": [5, 6]}),
    "line": one({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}),
    "ellipse on a plane": one({**SQUARE, "plane": {"c": -1, "z": 2, "t": 1}, "isEllipse": True}),
    "cell": one(objectType="cell") | {"nucleusGeometry": SQUARE},
    "core": one(objectType="tmaCore", isMissing=True),
    "type of 0.3": {**without("properties"), "properties": {"object_type": "tma_core"}},
}

WARNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "id no UUID": (one() | {"id": "tile_1"}, 'id "tile_1" is no UUID: the object gets a new one', "Write a UUID."),
    "id a number": (one() | {"id": 12}, "id 12 is no UUID: the object gets a new one", "Write a UUID."),
    "type in wrong case": (
        one(objectType="Tile"),
        'objectType "Tile" is unknown: it becomes an annotation',
        "Write tile.",
    ),
    "type unknown": (
        one(objectType="patch"),
        'objectType "patch" is unknown: it becomes an annotation',
        f"Write one of {TYPES}.",
    ),
    "type beside properties": (
        without("properties") | {"objectType": "tile"},
        "objectType stands beside the properties, not in them: it becomes an annotation",
        "Move it into the properties.",
    ),
    "children beside properties": (
        one() | {"children": [one()]},
        "objects below it stand beside its properties, not in them, and are not imported",
        "Move them into properties.childObjects.",
    ),
    "measurement null": (one(measurements={"a": None}), 'measurement "a": null is dropped', NUMBER),
    "measurement NaN as text": (
        one(measurements={"a": "NaN", "b": "Infinity", "c": "-Infinity"}),
        'measurement "a": "NaN" is refused by QuPath 0.4 (and 2 more)',
        NUMBER,
    ),
    "measurement number as text": (
        one(measurements={"a": "0.5"}),
        'measurement "a": "0.5" is refused by QuPath 0.4',
        "Write the number without quotes.",
    ),
    "measurement bare NaN": (
        one(measurements=[{"name": "a", "value": NAN}, {"name": "b", "value": INF}]),
        'measurement "a": NaN cannot be read by other programs (and 1 more)',
        NUMBER,
    ),
    "coordinates as text": (
        one({"type": "Point", "coordinates": ["5", "6.5"]}),
        "geometry: numbers are written as text",
        "Write them without quotes.",
    ),
    "no width": (one(polygon([[5, 5], [5, 5], [5, 15], [5, 15], [5, 5]])), "geometry has no area", REDRAW),
    "empty of 0.5": (one(polygon([])), "geometry has no area", REDRAW),
    "empty of 0.7": (one(polygon([[0, 0]] * 5)), "geometry has no area", REDRAW),
    "finer than 0.01 px": (
        one(polygon([[0, 0], [0.004, 0], [0.004, 0.004], [0, 0]])),
        "geometry is finer than 0.01 px: QuPath 0.7 makes it empty",
        REDRAW,
    ),
    "beyond any slide": (
        one(polygon([[0, 0], [1e300, 0], [1e300, 1e300], [0, 0]])),
        "geometry lies on no slide",
        "Write pixels of level 0.",
    ),
}


@pytest.mark.parametrize(("feature", "problems"), REFUSED.values(), ids=REFUSED)
def test_what_qupath_refuses_is_said_with_the_cure(
    feature: dict[str, Any], problems: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    assert [tuple(problem) for problem in inspect(feature)] == problems


@pytest.mark.parametrize("feature", TAKEN.values(), ids=TAKEN)
def test_what_qupath_takes_is_no_fault(feature: dict[str, Any]) -> None:
    assert inspect(feature) == []


@pytest.mark.parametrize(("feature", "what", "cure"), WARNED.values(), ids=WARNED)
def test_what_qupath_takes_otherwise_than_meant_is_a_warning(feature: dict[str, Any], what: str, cure: str) -> None:
    assert inspect(feature) == [Problem(what, cure, ())]


def test_long_and_strange_texts_are_shown_short() -> None:
    assert inspect(one() | {"id": "\x1b[31m" + 50 * "x"})[0].what == (
        'id "\\u001b[31mxxxxxxxxxxxxxxxxxxxxxxxxx... is no UUID: the object gets a new one'
    )


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([10**400, "1", "#0a0b0c"])
)
KEYS = st.sampled_from(["name", "names", "color", "colorRGB", "parentClass", "value", "type", "coordinates", "c", "x"])
JSON = st.recursive(
    SCALAR | st.sampled_from(["Polygon", "GeometryCollection", "tile", "Tile", "NaN"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
PARTS = ["objectType", "object_type", "name", "color", "classification", "measurements", "childObjects", "children"]
COORDINATE = st.integers(-9, 9) | st.floats(-9, 9) | st.sampled_from(["1", 3e9, None])
ROWS = st.lists(st.lists(COORDINATE, min_size=2, max_size=3), max_size=7).map(lambda rows: rows + rows[:1])
POLYGONS = st.lists(ROWS, max_size=3)
GEOMETRY = (
    st.builds(lambda rows: {"type": "Polygon", "coordinates": rows}, POLYGONS | JSON)
    | st.builds(lambda rows: {"type": "MultiPolygon", "coordinates": rows}, st.lists(POLYGONS, max_size=2) | JSON)
    | st.builds(lambda kind, rows: {"type": kind, "coordinates": rows}, st.sampled_from(["Point", "LineString"]), ROWS)
)
GEOMETRIES = GEOMETRY | st.builds(
    lambda parts, plane: {"type": "GeometryCollection", "geometries": parts, "plane": plane},
    st.lists(GEOMETRY, max_size=2) | JSON,
    JSON,
)
FEATURES = st.fixed_dictionaries(
    {"type": st.just("Feature"), "geometry": st.just(SQUARE) | GEOMETRIES | JSON},
    optional={
        "id": JSON,
        "nucleusGeometry": GEOMETRIES | JSON,
        "properties": st.dictionaries(st.sampled_from(PARTS), JSON, max_size=5) | JSON,
        "objectType": JSON,
        "children": JSON,
    },
)
"""Odd Features: any JSON value in any place that QuPath looks at."""


@given(FEATURES)
def test_any_json_value_is_inspected_without_an_error(feature: dict[str, Any]) -> None:
    for problem in inspect(feature):
        assert problem.what.isprintable()
        assert set(problem.refused_by) <= set(BOTH)


# files ---------------------------------------------------------------------------------------------------------------


def saved(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), "utf-8")
    return path


BAD = one(classification={"name": "Tumor"}) | {"id": None}
TWO_FAULTS = (
    Fault(1, "", "Tumor", "id is null", UUID, BOTH),
    Fault(1, "", "Tumor", "the class has no color", RGB, BOTH),
)


@pytest.mark.parametrize("document", [{"type": "FeatureCollection", "features": [one(), BAD]}, [[one()], [BAD]]])
def test_faults_of_a_file_are_told_by_object(tmp_path: Path, document: Any) -> None:
    checked = check_geojson(saved(tmp_path / "a.geojson", document))
    assert (checked.objects, checked.faults, checked.refused_by) == (2, TWO_FAULTS, BOTH)


def test_children_are_checked_and_counted_below_their_parents(tmp_path: Path) -> None:
    parent = one(childObjects=[one(), BAD, None]) | {"id": ID}
    checked = check_geojson(saved(tmp_path / "a.geojson", [parent, one(multi([RING]))]))
    assert checked.objects == 5
    assert [(fault.index, fault.what) for fault in checked.faults] == [
        (2, "id is null"),
        (2, "the class has no color"),
        (3, "no geometry"),
        (4, "geometry is a MultiPolygon of 1 part(s)"),
    ]


def test_a_version_that_refuses_nothing_is_not_named(tmp_path: Path) -> None:
    assert check_geojson(saved(tmp_path / "a.geojson", [one(BOW_TIE)])).refused_by == ("0.7",)
    assert check_geojson(saved(tmp_path / "b.geojson", one(multi([RING])))).refused_by == ("0.5",)
    assert check_geojson(saved(tmp_path / "c.geojson", SQUARE)).refused_by == ()


def test_gzip_and_zip_are_read(tmp_path: Path) -> None:
    text = json.dumps([one(), BAD]).encode()
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(text))
    assert check_geojson(tmp_path / "a.geojson.gz").faults == TWO_FAULTS
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.geojson", json.dumps([one()]))
        archive.writestr("2.geojson", json.dumps([BAD]))
    assert check_geojson(tmp_path / "a.zip").faults == TWO_FAULTS


@pytest.mark.parametrize(
    ("encoding", "what", "cure", "versions"),
    [
        ("utf-8-sig", "begins with a byte-order mark", "Write it without one.", ()),
        ("utf-16", "UTF-16 or UTF-32, but QuPath reads UTF-8", "Write it as UTF-8.", BOTH),
        ("cp1252", "not UTF-8, read as Windows-1252; QuPath will show other letters", "Write it as UTF-8.", ()),
    ],
)
def test_an_encoding_that_is_not_plain_utf_8_is_told(
    tmp_path: Path, encoding: str, what: str, cure: str, versions: tuple[str, ...]
) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(json.dumps(one(name="Müller"), ensure_ascii=False).encode(encoding))
    assert check_geojson(path).faults == (Fault(None, "", "", f"a.geojson: {what}", cure, versions),)


def test_very_many_objects_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("w2wpath.qupath.check.MOST_OBJECTS", 2)
    assert check_geojson(saved(tmp_path / "a.geojson", [one()] * 2)).faults == ()
    what = "3 objects: QuPath needs a minute or more, and may run out of memory"
    fault = Fault(None, "", "", what, "Write at most 2 objects to a file.", ())
    assert check_geojson(saved(tmp_path / "a.geojson", [one()] * 3)).faults == (fault,)


def test_what_is_no_geojson_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<ASAP_Annotations/>")
    with pytest.raises(AnnotationError) as caught:
        check_geojson(tmp_path / "a.xml")
    assert str(caught.value) == f"{tmp_path}/a.xml: XML, which QuPath does not import. Give a GeoJSON."
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(AnnotationError) as caught:
        check_geojson(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path}/a.json: not GeoJSON (")

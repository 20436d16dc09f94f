"""ASAP and ImageScope XML become the Features that QuPath would write; hostile files are refused in words."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import run_python
from w2wpath.errors import AnnotationError
from w2wpath.qupath.geometry import read_area
from w2wpath.qupath.source import Document, read_documents
from w2wpath.qupath.xml import xml_features

AGAIN = "Export it again from ASAP or ImageScope."
SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
CLOSED = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0], [0.0, 0.0]]
POLYGON = {"type": "Polygon", "coordinates": [CLOSED]}
BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;">
<!ENTITY lol3 "&lol2;&lol2;&lol2;&lol2;&lol2;&lol2;">]><ASAP_Annotations>&lol3;</ASAP_Annotations>"""
THIEF = b'<!DOCTYPE a [<!ENTITY file SYSTEM "file:///etc/passwd">]><ASAP_Annotations>&file;</ASAP_Annotations>'


def read(text: str | bytes) -> list[dict[str, Any]]:
    return list(xml_features(Document("r.xml", text if isinstance(text, bytes) else text.encode())))


def refusal(text: str | bytes) -> str:
    with pytest.raises(AnnotationError) as caught:
        read(text)
    return str(caught.value)


def attributes(**values: object) -> str:
    return "".join(f' {key}="{value}"' for key, value in values.items())


def annotation(points: Any = SQUARE, **values: object) -> str:
    """One annotation of ASAP; its points are (x, y), in order."""
    rows = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(points))
    return f"<Annotation{attributes(**values)}><Coordinates>{rows}</Coordinates></Annotation>"


def asap(*annotations: str, groups: str = "<AnnotationGroups/>") -> str:
    return f"<ASAP_Annotations><Annotations>{''.join(annotations)}</Annotations>{groups}</ASAP_Annotations>"


def region(points: Any = SQUARE, **values: object) -> str:
    """One region of ImageScope."""
    rows = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f"<Region{attributes(**values)}><Attributes/><Vertices>{rows}</Vertices></Region>"


def layer(*regions: str, about: str = "", **values: object) -> str:
    """One layer of ImageScope; `about` is the value of its "Description"."""
    described = f'<Attributes><Attribute Name="Description" Id="0" Value="{about}"/></Attributes>'
    return f"<Annotation{attributes(**values)}>{described}<Regions>{''.join(regions)}</Regions><Plots/></Annotation>"


def imagescope(*layers: str) -> str:
    return f'<Annotations MicronsPerPixel="0.25">{"".join(layers)}</Annotations>'


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def classes(features: list[dict[str, Any]]) -> list[str | None]:
    return [(one["properties"].get("classification") or {}).get("name") for one in features]


def geometry_of(text: str) -> dict[str, Any]:
    (one,) = read(text)
    return dict(one["geometry"])


def shape_of(feature: dict[str, Any]) -> Any:
    found = read_area(feature["geometry"]).area
    assert found is not None
    return found


class TestAsap:
    def test_an_annotation_is_a_feature_as_qupath_writes_it(self) -> None:
        assert read(asap(annotation(Name="Annotation 0", Type="Polygon", PartOfGroup="Tumor", Color="#F4FA58"))) == [
            {
                "type": "Feature",
                "id": "Annotation 0",
                "geometry": POLYGON,
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": "Tumor"},
                    "name": "Annotation 0",
                },
            }
        ]

    @pytest.mark.parametrize("group", [{"PartOfGroup": "None"}, {"PartOfGroup": ""}, {"PartOfGroup": " "}, {}])
    def test_without_a_group_it_is_unclassified(self, group: dict[str, str]) -> None:
        assert read(asap(annotation(Name="a", Type="Polygon", **group))) == [
            {
                "type": "Feature",
                "id": "a",
                "geometry": POLYGON,
                "properties": {"objectType": "annotation", "name": "a"},
            }
        ]

    def test_a_group_within_a_group_keeps_its_name(self) -> None:
        groups = (
            '<AnnotationGroups><Group Name="DCIS" PartOfGroup="Tumor" Color="#64FE2E"><Attributes/></Group>'
            '<Group Name="Tumor" PartOfGroup="None" Color="#64FE2E"><Attributes/></Group></AnnotationGroups>'
        )
        assert classes(read(asap(annotation(Type="Polygon", PartOfGroup="DCIS"), groups=groups))) == ["DCIS"]

    def test_a_name_that_is_missing_is_made_of_the_place(self) -> None:
        found = read(asap(annotation(Name="mine", Type="Polygon"), annotation(Type="Polygon", Name="")))
        assert [one["id"] for one in found] == ["mine", "Annotation 1"]
        assert "name" not in found[1]["properties"]

    @pytest.mark.parametrize("kind", ["Polygon", "Rectangle", "polygon"])
    def test_areas_are_closed_polygons(self, kind: str) -> None:
        assert geometry_of(asap(annotation(Type=kind))) == POLYGON

    def test_a_closed_ring_is_not_closed_twice(self) -> None:
        assert geometry_of(asap(annotation([*SQUARE, SQUARE[0]], Type="Polygon"))) == POLYGON

    def test_a_spline_is_read_with_a_note(self) -> None:
        (one,) = read(asap(annotation(Type="Spline", Name="s")))
        assert one["geometry"] == POLYGON
        assert one["properties"]["w2wpath_note"] == "spline read as straight lines between its points"

    def test_coordinates_go_by_their_order(self) -> None:
        rows = (
            '<Coordinate Order="10" X="3" Y="9"/><Coordinate Order="9" X="5" Y="5"/><Coordinate Order="2" X="1" Y="1"/>'
        )
        found = geometry_of(asap(f'<Annotation Type="Polygon"><Coordinates>{rows}</Coordinates></Annotation>'))
        assert found["coordinates"] == [[[1.0, 1.0], [5.0, 5.0], [3.0, 9.0], [1.0, 1.0]]]

    @pytest.mark.parametrize("order", ['Order="x"', 'Order="1.5"', ""])
    def test_without_a_whole_order_they_go_as_they_stand(self, order: str) -> None:
        rows = (
            f'<Coordinate Order="7" X="3" Y="9"/><Coordinate {order} X="5" Y="5"/><Coordinate Order="2" X="1" Y="1"/>'
        )
        found = geometry_of(asap(f'<Annotation Type="Polygon"><Coordinates>{rows}</Coordinates></Annotation>'))
        assert found["coordinates"] == [[[3.0, 9.0], [5.0, 5.0], [1.0, 1.0], [3.0, 9.0]]]

    def test_what_has_no_area_says_so(self) -> None:
        drawn = [
            annotation([(1, 2)], Type="Dot"),
            annotation([(1, 2), (3, 4)], Type="PointSet"),
            annotation([(1, 2), (3, 4)], Type="Measurement"),
            annotation(Type="Cloud"),
            annotation(),
        ]
        found = read(asap(*drawn))
        assert [one["geometry"] for one in found[:3]] == [
            {"type": "Point", "coordinates": [1.0, 2.0]},
            {"type": "MultiPoint", "coordinates": [[1.0, 2.0], [3.0, 4.0]]},
            {"type": "LineString", "coordinates": [[1.0, 2.0], [3.0, 4.0]]},
        ]
        assert [read_area(one["geometry"]).note for one in found] == [
            "geometry Point has no area",
            "geometry MultiPoint has no area",
            "geometry LineString has no area",
            "geometry Cloud has no area",
            "geometry without a type has no area",
        ]

    def test_one_broken_annotation_does_not_hide_the_others(self) -> None:
        found = read(
            asap(
                annotation([(0, 0), ("1,5", 3), (4, 4)], Type="Polygon"),
                '<Annotation Type="Polygon"><Coordinates><Coordinate X="1"/></Coordinates></Annotation>',
                '<Annotation Type="Polygon"/>',
                annotation([(0, 0), ("nan", 3), (4, 4)], Type="Polygon"),
                annotation(Type="Polygon"),
            )
        )
        assert found[0]["geometry"]["coordinates"] == [[[0.0, 0.0], ["1,5", 3.0], [4.0, 4.0], [0.0, 0.0]]]
        assert found[1]["geometry"]["coordinates"] == [[[1.0, ""]]]
        assert [read_area(one["geometry"]).note for one in found] == [
            "coordinates that are no numbers",
            "coordinates that are no numbers",
            "empty area",
            "coordinates that lie on no slide",
            "",
        ]

    def test_namespaces_are_left_out(self) -> None:
        text = asap(annotation(Type="Polygon", PartOfGroup="Tumor"))
        assert classes(read(text.replace("<ASAP_Annotations>", '<ASAP_Annotations xmlns="urn:asap">', 1))) == ["Tumor"]


class TestImageScope:
    def test_a_region_is_a_feature_as_qupath_writes_it(self) -> None:
        assert read(imagescope(layer(region(Id="7", Type="0", Text="Tumor", NegativeROA="0"), Id="2", Name="x"))) == [
            {
                "type": "Feature",
                "id": "2.7",
                "geometry": POLYGON,
                "properties": {"objectType": "annotation", "name": "Tumor", "classification": {"name": "Tumor"}},
            }
        ]

    def test_the_class_is_the_text_else_the_layer_else_its_description_else_its_number(self) -> None:
        found = read(
            imagescope(
                layer(region(Text="Text"), region(Text=" "), region(), about="Described", Id="1", Name="Named"),
                layer(region(Text=""), about="Described", Id="2", Name=""),
                layer(region(Text=""), Id="3", Name=""),
                layer(region()),
            )
        )
        assert classes(found) == ["Text", "Named", "Named", "Described", "Layer 3", "Layer 4"]
        assert [one["id"] for one in found] == ["1.1", "1.2", "1.3", "2.1", "3.1", "4.1"]

    def test_the_description_of_a_region_or_another_attribute_names_no_layer(self) -> None:
        inner = '<Attributes><Attribute Name="Description" Value="inner"/></Attributes>'
        other = '<Attributes><Attribute Name="CaP" Value="other"/></Attributes>'
        text = imagescope(f'<Annotation Id="1">{other}<Regions><Region>{inner}</Region></Regions></Annotation>')
        assert classes(read(text)) == ["Layer 1"]

    def test_null_is_a_class_like_any_other(self) -> None:
        assert classes(read(imagescope(layer(region(Text="null"))))) == ["null"]

    def test_a_description_after_the_regions_counts_too(self) -> None:
        about = '<Attributes><Attribute Name="Description" Value="late"/></Attributes>'
        text = imagescope(f'<Annotation Id="1"><Regions>{region()}</Regions>{about}</Annotation>')
        assert classes(read(text)) == ["late"]

    @pytest.mark.parametrize("kind", [{"Type": "0"}, {"Type": "1"}, {"Type": " 0 "}, {}])
    def test_areas_are_closed_polygons(self, kind: dict[str, str]) -> None:
        assert geometry_of(imagescope(layer(region(**kind)))) == POLYGON

    @pytest.mark.parametrize("corners", [[(0, 0), (10, 10)], [(0, 10), (10, 0)], [(10, 10), (0, 0)]])
    def test_a_rectangle_of_two_points_is_two_corners(self, corners: Any) -> None:
        (one,) = read(imagescope(layer(region(corners, Type="1"))))
        assert shape_of(one).equals(shapely.box(0, 0, 10, 10))

    @pytest.mark.parametrize("given_by", [[(0, 0), (20, 10)], [(20, 0), (0, 10)], box(0, 0, 20, 10)])
    def test_an_ellipse_fills_its_box(self, given_by: Any) -> None:
        (one,) = read(imagescope(layer(region(given_by, Type="2"))))
        ellipse = shape_of(one)
        assert len(one["geometry"]["coordinates"][0]) == 65
        assert ellipse.bounds == pytest.approx((0, 0, 20, 10))
        assert ellipse.area == pytest.approx(3.14159 * 10 * 5, rel=0.002)

    def test_an_ellipse_of_other_points_is_a_polygon_of_them(self) -> None:
        points = [(0, 5), (5, 0), (10, 5), (9, 9), (5, 10), (1, 9)]
        (one,) = read(imagescope(layer(region(points, Type="2"))))
        assert shape_of(one).equals(shapely.Polygon(points))

    @pytest.mark.parametrize(
        ("code", "points"), [("1", [(0, "x"), (1, 1)]), ("2", [(0, "x"), (1, 1)]), ("0", [(0, "x")])]
    )
    def test_broken_coordinates_are_passed_on(self, code: str, points: Any) -> None:
        found = read_area(geometry_of(imagescope(layer(region(points, Type=code)))))
        assert (found.area, found.note) == (None, "coordinates that are no numbers")

    def test_a_region_without_points_is_an_empty_area(self) -> None:
        for code in "012":
            assert read_area(geometry_of(imagescope(layer(f'<Region Type="{code}"/>')))).note == "empty area"

    def test_what_has_no_area_says_so(self) -> None:
        line = [(1, 2), (3, 4)]
        found = read(
            imagescope(
                layer(
                    region(line, Type="3"),
                    region(line, Type="4"),
                    region(line, Type="99", NegativeROA="1"),
                    region([(1, 2)], Type="5"),
                )
            )
        )
        arrow = {"type": "LineString", "coordinates": [[1.0, 2.0], [3.0, 4.0]]}
        assert [one["geometry"] for one in found] == [arrow, arrow, arrow, {"type": "Point", "coordinates": [1.0, 2.0]}]

    def test_a_geoshape_is_believed_before_the_type(self) -> None:
        found = read(
            imagescope(
                layer(
                    region(Type="3", GeoShape="Polygon", Text="Tumor"),
                    region(Type="3", GeoShape="Area", Text="null"),
                    region([(5, 0), (10, 5), (5, 10), (0, 5)], Type="0", GeoShape="Ellipse", Text="Tumor"),
                    region(Type="0", GeoShape="Points", Text="Tumor"),
                    region(Type="0", GeoShape="Polyline", Text="Tumor"),
                    Name="layer",
                )
            )
        )
        assert classes(found) == ["Tumor", None, "Tumor", "Tumor", "Tumor"]
        assert [one["geometry"]["type"] for one in found] == ["Polygon", "Polygon", "Polygon", "MultiPoint", "Polyline"]
        assert shape_of(found[2]).area == pytest.approx(3.14159 * 25, rel=0.002)


class TestNegativeRegions:
    def test_they_are_holes_of_every_region_of_their_layer_that_they_meet(self) -> None:
        found = read(
            imagescope(
                layer(
                    region(box(4, 4, 6, 6), Id="1", Type="0", NegativeROA="1"),  # stands before its region
                    region(box(0, 0, 10, 10), Id="2", Type="0", NegativeROA="0"),
                    region(box(5, 5, 20, 20), Id="3", Type="0"),
                    region([(5, 5), (30, 5)], Id="4", Type="4"),
                    region([(9, 9), (11, 11)], Id="5", Type="1", NegativeROA="1"),
                    region(box(50, 50, 60, 60), Id="6", Type="0"),
                    Id="1",
                    Name="Tumor",
                ),
                layer(region(box(0, 0, 10, 10), Id="1", Type="0"), Id="2"),
            )
        )
        assert [one["id"] for one in found] == ["1.2", "1.3", "1.4", "1.6", "2.1"]
        holes = [shapely.box(4, 4, 6, 6), shapely.box(9, 9, 11, 11)]
        for one, drawn in ((found[0], shapely.box(0, 0, 10, 10)), (found[1], shapely.box(5, 5, 20, 20))):
            assert shape_of(one).equals(drawn - holes[0] - holes[1])
        assert [shape_of(one).area for one in (found[3], found[4])] == [100, 100]

    @pytest.mark.parametrize(
        "aside", [box(10, 0, 12, 4), [(9.9, 9), (12, 0), (12, 12), (9.9, 9.1)]], ids=["touches", "near"]
    )
    def test_one_whose_box_alone_meets_a_region_cuts_nothing(self, aside: Any) -> None:
        triangle = [(0, 0), (10, 0), (10, 1), (0, 10)]
        found = read(imagescope(layer(region(triangle, Id="1", Type="0"), region(aside, Id="2", NegativeROA="1"))))
        assert [one["geometry"]["type"] for one in found] == ["Polygon", "negative region"]
        assert shape_of(found[0]).equals(shapely.Polygon(triangle))

    def test_one_that_meets_none_is_reported(self) -> None:
        away = region(box(50, 50, 60, 60), Id="2", Type="0", NegativeROA="1", Text="out")
        found = read(imagescope(layer(away, region(Id="1"), Id="1", Name="Tumor")))
        assert found[1] == {
            "type": "Feature",
            "id": "1.2",
            "geometry": {"type": "negative region"},
            "properties": {
                "objectType": "annotation",
                "name": "out",
                "classification": {"name": "out"},
                "w2wpath_note": "negative region that meets no positive region of its layer",
            },
        }
        assert read_area(found[1]["geometry"]).note == "geometry negative region has no area"
        assert shape_of(found[0]).area == 100

    @pytest.mark.parametrize(
        "points", [[], [(1, "x"), (2, 2), (2, 1)], [("nan", 1), (2, 2), (2, 1)], [("inf", 1), (2, 2), (2, 1)]]
    )
    def test_a_broken_one_meets_none(self, points: Any) -> None:
        found = read(imagescope(layer(region(), region(points, NegativeROA="1"))))
        assert [one["geometry"]["type"] for one in found] == ["Polygon", "negative region"]

    def test_a_broken_region_meets_none(self) -> None:
        found = read(imagescope(layer(region([(0, 0), ("x", 1), (9, 9)]), region(NegativeROA="1"))))
        assert read_area(found[0]["geometry"]).note == "coordinates that are no numbers"
        assert found[1]["geometry"] == {"type": "negative region"}


REFUSED = {
    "cut short": (
        "<ASAP_Annotations>\n  <Annotations>",
        f"r.xml: not well-formed XML (no element found, line 2 column 16). {AGAIN}",
    ),
    "crossed tags": (
        "<Annotations><Annotation></Annotations>",
        f"r.xml: not well-formed XML (mismatched tag, line 1 column 28). {AGAIN}",
    ),
    "empty": ("", f"r.xml: not well-formed XML (no element found, line 1 column 1). {AGAIN}"),
    "an entity nobody declared": (
        "<Annotations>&a;</Annotations>",
        f"r.xml: not well-formed XML (undefined entity, line 1 column 14). {AGAIN}",
    ),
    "not in its encoding": (
        '<Annotations><Annotation Name="Tum\xf6r"/></Annotations>'.encode("cp1252"),
        f"r.xml: not well-formed XML (not well-formed (invalid token), line 1 column 35). {AGAIN}",
    ),
    "an unknown encoding": (
        '<?xml version="1.0" encoding="klingon"?><Annotations/>',
        "r.xml: its text encoding cannot be read (unknown encoding: klingon). Save it as UTF-8.",
    ),
    "an encoding of many bytes": (
        '<?xml version="1.0" encoding="shift_jis"?><Annotations/>',
        "r.xml: its text encoding cannot be read (multi-byte encodings are not supported). Save it as UTF-8.",
    ),
    "a bomb": (
        BOMB,
        "r.xml: refused, since its DOCTYPE declares the entity 'lol': entities can fill the memory or read other "
        "files, and no annotation needs them. Remove the DOCTYPE.",
    ),
    "a thief": (
        THIEF,
        "r.xml: refused, since its DOCTYPE declares the entity 'file': entities can fill the memory or read other "
        "files, and no annotation needs them. Remove the DOCTYPE.",
    ),
    "something else": (
        '<svg xmlns="http://www.w3.org/2000/svg"><path/></svg>',
        "r.xml: XML of root element <svg>, but neither ASAP's (<ASAP_Annotations>) nor ImageScope's (<Annotations>). "
        "Export the regions from QuPath: File > Export objects as GeoJSON.",
    ),
    "HALO": (
        '<Annotations><Annotation Name="Tumor"><Regions><Region Type="Polygon" HasEndcaps="0" NegativeROA="0">'
        '<Vertices><V X="1" Y="2"/></Vertices></Region></Regions></Annotation></Annotations>',
        "r.xml: XML of HALO, whose origin differs. Export its regions as GeoJSON.",
    ),
}


class TestTheWholeFile:
    @pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
    def test_what_cannot_be_read_is_refused_in_words(self, text: str | bytes, message: str) -> None:
        assert refusal(text) == message

    @pytest.mark.parametrize("root", ["ASAP_Annotations", "Annotations"])
    def test_a_doctype_without_entities_passes(self, root: str) -> None:
        assert read(f'<!DOCTYPE {root} SYSTEM "a.dtd"><{root}/>') == []

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
    def test_the_encoding_it_names_is_believed(self, encoding: str) -> None:
        declared = "" if encoding != "iso-8859-1" else '<?xml version="1.0" encoding="iso-8859-1"?>'
        text = declared + imagescope(layer(region(Text="Tumör")))
        assert classes(read(text.encode(encoding))) == ["Tumör"]

    def test_a_hundred_deep_is_read_and_more_is_refused(self) -> None:
        assert read("<Annotations>" + "<a>" * 99 + "</a>" * 99 + "</Annotations>") == []
        text = "<Annotations>" + "<a>" * 100 + "</a>" * 100 + "</Annotations>"
        assert refusal(text) == f"r.xml: XML nested more than 100 deep. {AGAIN}"

    def test_a_hundred_thousand_deep_does_not_end_the_interpreter(self) -> None:
        done = run_python(
            "from w2wpath.qupath.source import Document\n"
            "from w2wpath.qupath.xml import xml_features\n"
            "for end in (b'', b'</a>' * 100_000):\n"
            "    try: list(xml_features(Document('r.xml', b'<Annotations>' + b'<a>' * 100_000 + end)))\n"
            "    except ValueError as error: print(error)\n"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"r.xml: XML nested more than 100 deep. {AGAIN}\n" * 2

    def test_features_come_before_the_fault_is_met(self) -> None:
        found = xml_features(Document("r.xml", (asap(annotation(Type="Polygon")) + "\n" * 40_000 + "<").encode()))
        assert next(found)["geometry"] == POLYGON
        with pytest.raises(AnnotationError, match=r"^r\.xml: not well-formed XML \(.+, line 40001 column 1\)\. "):
            list(found)

    @pytest.mark.parametrize("kind", ["asap", "imagescope"])
    def test_memory_does_not_grow_with_the_annotations(self, kind: str) -> None:
        def peak(count: int) -> int:
            one = annotation(SQUARE * 5, Type="Polygon") if kind == "asap" else layer(region(SQUARE * 5))
            document = Document("r.xml", (asap if kind == "asap" else imagescope)(*[one] * count).encode())
            tracemalloc.start()
            try:
                assert sum(1 for _ in xml_features(document)) == count
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()

        few, many = peak(100), peak(1000)
        assert many < few + 100_000  # 900 annotations of 20 points would take about 2 MB


VALID = {
    "asap": asap(annotation(Name="a", Type="Polygon", PartOfGroup="Tumor"), annotation([(1, 2)], Type="Dot", Name="b")),
    "imagescope": imagescope(
        layer(
            region(Id="1", Type="1", Text="Tumor"),
            region(box(1, 1, 3, 3), Id="2", Type="2", NegativeROA="1"),
            region([(1, 2), (3, 4)], Id="3", Type="4"),
            about="d",
            Id="1",
        )
    ),
}


def mutations() -> st.SearchStrategy[bytes]:
    def change(data: bytes, at: list[tuple[int, int, bytes]]) -> bytes:
        for start, length, new in at:
            start %= len(data) + 1
            data = data[:start] + new + data[start + length :]
        return data

    pieces = st.binary(max_size=3) | st.sampled_from([b"<", b'"', b"&", b"</", b"<![CDATA[", b"nan", b"1e999", b"-"])
    edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), pieces), min_size=1, max_size=4)
    return st.builds(change, st.sampled_from([text.encode() for text in VALID.values()]), edits)


@given(data=mutations())
def test_whatever_the_bytes_only_an_annotation_error_is_raised(data: bytes) -> None:
    with suppress(AnnotationError):
        for one in read(data):
            assert one["type"] == "Feature"
            read_area(one["geometry"])


@pytest.mark.realdata
class TestRealFiles:
    def features(self, path: Path) -> Iterator[dict[str, Any]]:
        (document,) = read_documents(path)
        assert document.is_xml
        return xml_features(document)

    def test_camelyon16_gives_its_nine_polygons(self, test_data: Path) -> None:
        found = list(self.features(test_data / "annotations" / "asap_camelyon16_tumor_021.xml"))
        assert Counter(classes(found)) == {"tissue": 4, "negative": 5}
        assert [one["id"] for one in found] == [f"Annotation {i}" for i in range(9)]
        assert [read_area(one["geometry"]).note for one in found] == [""] * 9
        assert len(found[0]["geometry"]["coordinates"][0]) == 660  # 659 points, closed

    def test_the_areas_are_those_that_imagescope_measured(self, test_data: Path) -> None:
        path = test_data / "annotations" / "histoqc_imagescope_TCGA-EJ-5518.xml"
        found = list(self.features(path))
        measured = [float(one.get("Area", "")) for one in parse(path).iter("Region")]
        assert [one["id"] for one in found] == ["1.2", "1.3", "3.1", "4.1"]
        assert classes(found) == ["Layer 1", "Layer 1", "Layer 3", "Layer 4"]
        assert [shape_of(one).area for one in found] == pytest.approx(measured, rel=0.01)

    @pytest.mark.parametrize(
        ("name", "kind", "points"), [("dot", "Point", 1), ("pointset", "MultiPoint", 5), ("polygon", "Polygon", 7)]
    )
    def test_asap_shapes(self, test_data: Path, name: str, kind: str, points: int) -> None:
        (one,) = self.features(test_data / "annotations" / "wsidicom" / f"asap_asap-{name}.xml")
        assert one["geometry"]["type"] == kind
        assert shapely.get_coordinates(shapely.from_geojson(json.dumps(one["geometry"]))).shape == (points, 2)

"""One small file for each thing that QuPath 0.2 to 0.7 and its neighbours write: the same areas, classes and report."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from w2wpath.config import RoiSettings
from w2wpath.errors import AnnotationError, ConfigError
from w2wpath.qupath.read import Rois, read_rois

RING = "[[100,200],[100,240],[150,240],[150,200],[100,200]]"
RECTANGLE = f'{{"type":"Polygon","coordinates":[{RING}]}}'
"""50 x 40 px, as QuPath 0.2 to 0.5 write it."""
NORMED = '{"type":"Polygon","coordinates":[[[100,240],[150,240],[150,200],[100,200],[100,240]]]}'
"""The same as 0.6 and later write it: another start, another order."""
UUID = "8e0831cc-5975-42da-9e38-f6c098fda195"
TUMOR = '{"name":"Tumor","color":[200,0,0]}'
EXPORT = "Export it from QuPath: File > Export objects as GeoJSON."


def of(properties: str, geometry: str = RECTANGLE, head: str = f'"id":"{UUID}",') -> str:
    """One Feature as text; `properties` is the inside of its braces."""
    return f'{{"type":"Feature",{head}"geometry":{geometry},"properties":{{{properties}}}}}'


def collection(*features: str) -> str:
    return f'{{"type":"FeatureCollection","features":[{",".join(features)}]}}'


def region(geometry: str = RECTANGLE, name: str = "Tumor", more: str = "") -> str:
    """An annotation of 0.5 with a class."""
    return of(f'"objectType":"annotation","classification":{{"name":"{name}","color":[200,0,0]}}{more}', geometry)


def read(folder: Path, data: str | bytes, *, slide_mpp: float | None = None, **settings: Any) -> Rois:
    path = folder / "rois.geojson"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_rois(path, RoiSettings(**settings), slide_mpp=slide_mpp)


def refusal(folder: Path, data: str | bytes, **settings: Any) -> str:
    with pytest.raises(AnnotationError) as caught:
        read(folder, data, **settings)
    return str(caught.value).removeprefix(f"{folder / 'rois.geojson'}: ")


def areas(rois: Rois) -> list[tuple[str, float]]:
    return [(roi.class_name, roi.geometry.area) for roi in rois.regions]


def lines(rois: Rois) -> list[tuple[str, str | None, str | None, str]]:
    return [(line.status, line.class_name, line.use, line.reason) for line in rois.report]


KEPT = ("kept", "Tumor", "label", "")


@dataclass(frozen=True)
class Case:
    """A file and what is true of it."""

    text: str
    areas: list[tuple[str, float]]
    lines: list[tuple[str, str | None, str | None, str]]
    ids: tuple[str, ...] = (UUID,)


ONE = ([("Tumor", 2000.0)], [KEPT])
LEGACY = '"id":"PathAnnotationObject",'
PACKED = '"classification":{"name":"Tumor","colorRGB":-3670016}'
CASES = {
    "0.2 array": Case(
        f'[{of(f"""{PACKED},"isLocked":false,"measurements":[]""", RECTANGLE, LEGACY)}]', *ONE, ids=("",)
    ),
    "0.2 bare NaN": Case(
        of(f'{PACKED},"isLocked":false,"measurements":[{{"name":"nan","value":NaN}}]', RECTANGLE, LEGACY),
        *ONE,
        ids=("",),
    ),
    "0.2 derived": Case(
        of(
            '"classification":{"parentClass":{"name":"Tumor","colorRGB":-3670016},"name":"Positive","colorRGB":-3657166}'
            ',"isLocked":false,"measurements":[]',
            RECTANGLE,
            LEGACY,
        ),
        [("Tumor: Positive", 2000.0)],
        [("kept", "Tumor: Positive", "label", "")],
        ids=("",),
    ),
    "0.2 detection": Case(
        of(PACKED, RECTANGLE, '"id":"PathDetectionObject",'),
        [],
        [("ignored", "Tumor", None, "object type detection")],
        ids=("",),
    ),
    "0.3 annotation": Case(of(f'"object_type":"annotation",{PACKED},"isLocked":true', head=""), *ONE, ids=("",)),
    "0.3 ignored": Case(
        of(
            '"object_type":"annotation","name":"my ROI","color":[255,0,0],'
            '"classification":{"name":"Ignore*","colorRGB":-2502345},"isLocked":true',
            head="",
        ),
        [],
        [("kept", "Ignore*", "exclude", "")],
        ids=("",),
    ),
    "0.3 core": Case(of('"object_type":"tma_core","name":"A-1"', head=""), [], [("kept", None, "core", "")], ids=("",)),
    "0.4 annotation": Case(
        of(f'"objectType":"annotation","classification":{TUMOR},"measurements":{{"a":0.25,"nan":NaN}}'), *ONE
    ),
    "0.4 names": Case(of('"objectType":"annotation","classification":{"names":["Tumor"],"color":[200,0,0,128]}'), *ONE),
    "0.4 tile": Case(
        of('"objectType":"tile","measurements":{"P(Tumor)":0.25,"nan":NaN}'),
        [],
        [("ignored", None, None, "object type tile")],
    ),
    "0.5 annotation": Case(
        of(f'"objectType":"annotation","classification":{TUMOR},"isLocked":true,"measurements":{{"bad":"NaN"}}'), *ONE
    ),
    "0.5 ignored": Case(
        of(
            '"objectType":"annotation","name":"my ROI","color":[255,0,0],'
            '"classification":{"name":"Ignore*","color":[180,180,180]},"isLocked":true'
        ),
        [],
        [("kept", "Ignore*", "exclude", "")],
    ),
    "0.5 unclassified": Case(of('"objectType":"annotation"'), [], [("ignored", None, None, "no class")]),
    "0.5 derived": Case(
        of('"objectType":"annotation","classification":{"names":["Tumor","Positive"],"color":[200,50,50]}'),
        [("Tumor: Positive", 2000.0)],
        [("kept", "Tumor: Positive", "label", "")],
    ),
    "0.7 metadata twice": Case(
        of(
            f'"objectType":"annotation","classification":{TUMOR},"metadata":{{"author":"XY"}},'
            '"metadata":{"author":"XY"}',
            NORMED,
        ),
        *ONE,
    ),
    "hole": Case(
        region(
            '{"type":"Polygon","coordinates":[[[0,100],[100,100],[100,0],[0,0],[0,100]],'
            "[[30,20],[30,30],[20,30],[20,20],[30,20]]]}"
        ),
        [("Tumor", 9900.0)],
        [KEPT],
    ),
    "two parts, one with a hole": Case(
        region(
            '{"type":"MultiPolygon","coordinates":[[[[0,100],[100,100],[100,0],[0,0],[0,100]],'
            "[[30,20],[30,30],[20,30],[20,20],[30,20]]],[[[200,0],[210,0],[210,10],[200,10],[200,0]]]]}"
        ),
        [("Tumor", 10000.0)],
        [KEPT],
    ),
    "one part": Case(region(f'{{"type":"MultiPolygon","coordinates":[[{RING}]]}}'), *ONE),
    "touching itself at a point": Case(
        region(
            '{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[20,10],[20,20],[10,20],[10,10],[0,10],[0,0]]]}'
        ),
        [("Tumor", 200.0)],
        [("repaired", "Tumor", "label", "ring self-intersection repaired, area 200 to 200 px")],
    ),
    "bow-tie of another tool": Case(
        region('{"type":"Polygon","coordinates":[[[0,0],[10,10],[10,0],[0,10],[0,0]]]}'),
        [("Tumor", 50.0)],
        [("repaired", "Tumor", "label", "self-intersection repaired, area 0 to 50 px, more than 1 %")],
    ),
    "bow-tie as QuPath writes it": Case(
        region('{"type":"MultiPolygon","coordinates":[[[[0,0],[5,5],[0,10],[0,0]]],[[[5,5],[10,0],[10,10],[5,5]]]]}'),
        [("Tumor", 50.0)],
        [KEPT],
    ),
    "empty in 0.5": Case(
        region('{"type":"Polygon","coordinates":[[]]}'), [], [("ignored", "Tumor", None, "empty area")]
    ),
    "empty in 0.7": Case(
        region('{"type":"Polygon","coordinates":[[[0,0],[0,0],[0,0],[0,0],[0,0]]]}'),
        [],
        [("ignored", "Tumor", None, "empty area")],
    ),
    "no width in 0.7": Case(
        region('{"type":"Polygon","coordinates":[[[5,5],[5,5],[5,15],[5,15],[5,5]]]}'),
        [],
        [("ignored", "Tumor", None, "empty area")],
    ),
    "points": Case(
        region('{"type":"MultiPoint","coordinates":[[1,2],[3.46,4]]}'),
        [],
        [("ignored", "Tumor", None, "geometry MultiPoint has no area")],
    ),
    "point": Case(
        region('{"type":"Point","coordinates":[5,6]}'),
        [],
        [("ignored", "Tumor", None, "geometry Point has no area")],
    ),
    "line": Case(
        region('{"type":"LineString","coordinates":[[0,0],[10,0]]}'),
        [],
        [("ignored", "Tumor", None, "geometry LineString has no area")],
    ),
    "collection of an area and a line": Case(
        region(
            f'{{"type":"GeometryCollection","geometries":[{RECTANGLE},{{"type":"LineString","coordinates":[[0,0],[1,1]]}}]}}'
        ),
        [("Tumor", 2000.0)],
        [("repaired", "Tumor", "label", "1 part(s) of a collection without area left out")],
    ),
    "numbers as text, three of them": Case(
        region('{"type":"Polygon","coordinates":[[["0","0","1"],["10","0","1"],["10","10","1"],["0","0","1"]]]}'),
        [("Tumor", 50.0)],
        [("repaired", "Tumor", "label", "numbers were written as text")],
    ),
    "class as text": Case(of('"classification":"Tumor"'), *ONE),
    "null class": Case(of('"classification":null'), [], [("ignored", None, None, "no class")]),
    "empty class": Case(of('"classification":{}'), [], [("ignored", None, None, "no class")]),
    "null properties": Case(
        f'{{"type":"Feature","geometry":{RECTANGLE},"properties":null}}',
        [],
        [("ignored", None, None, "no class")],
        ids=("",),
    ),
    "null geometry": Case(region("null"), [], [("ignored", "Tumor", None, "no geometry")]),
    "no geometry": Case(region("{}"), [], [("ignored", "Tumor", None, "no geometry")]),
    "null id and name": Case(of(f'"name":null,"classification":{TUMOR}', head='"id":null,'), *ONE, ids=("",)),
    "id that is a number": Case(of(f'"classification":{TUMOR}', head='"id":12,'), *ONE, ids=("12",)),
    "type in the wrong place, as tiatoolbox writes it": Case(
        of(f'"classification":{TUMOR}', head='"objectType":"tile","name":"t","id":"tile_1",'),
        [],
        [("ignored", "Tumor", None, "object type tile")],
        ids=("tile_1",),
    ),
    "Digital Slide Archive, label": Case(of('"label":"Tumor","lineColor":"rgb(0,0,0)"', head=""), *ONE, ids=("",)),
    "Digital Slide Archive, label with a value": Case(
        of('"label":{"value":"Tumor"},"element_girder_id":"e","group":"other"', head=""), *ONE, ids=("",)
    ),
    "Digital Slide Archive, group": Case(of('"group":"Tumor","annotation":{"name":"a"}', head=""), *ONE, ids=("",)),
    "Digital Slide Archive, neither": Case(
        of('"annotation_girder_id":"a"', head=""), [], [("ignored", None, None, "no class")], ids=("",)
    ),
    "nothing, as an array": Case("[]", [], [], ids=()),
    "nothing, as a collection": Case('{"type":"FeatureCollection","features":[]}', [], [], ids=()),
    "bare geometry": Case(RECTANGLE, [], [("ignored", None, None, "no class")], ids=("",)),
    "sub-pixel": Case(
        region('{"type":"Polygon","coordinates":[[[0,0],[0.01,0],[0.01,0.01],[0,0.01],[0,0]]]}'),
        [("Tumor", 0.0001)],
        [KEPT],
    ),
    "outside the image": Case(
        region('{"type":"Polygon","coordinates":[[[-10,-10],[0,-10],[0,0],[-10,0],[-10,-10]]]}'),
        [("Tumor", 100.0)],
        [KEPT],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_thing_that_is_written_is_read_as_it_is_meant(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    rois = read(tmp_path, case.text)
    assert areas(rois) == [(kind, pytest.approx(area, rel=1e-9)) for kind, area in case.areas]
    assert lines(rois) == case.lines
    assert tuple(line.id for line in rois.report) == case.ids
    assert rois.warnings == ()


WRAPS = {
    "one feature": "{0}",
    "bare array": "[{0}]",
    "collection": '{{"type":"FeatureCollection","features":[{0}]}}',
    "collection, features first": '{{"features":[{0}],"type":"FeatureCollection","crs":{{"type":"name"}}}}',
    "nested arrays of collections": '[[],[[{{"type":"FeatureCollection","features":[{0}],"bbox":[0,0,1,1]}}]]]',
    "foreign keys first": '{{"w2wpath":{{"features":[1]}},"type":"FeatureCollection","features":[{0}]}}',
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("space", ["", " \r\n\t"])
def test_every_top_level_form_gives_the_same(tmp_path: Path, wrap: str, space: str) -> None:
    text = WRAPS[wrap].format(region()).replace(",", f",{space}").replace("[", f"[{space}")
    rois = read(tmp_path, f"{space}{text}{space}")
    assert (areas(rois), lines(rois)) == ONE


def packed(entries: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name), data, how)
    return file.getvalue()


TEXT = collection(region(name="Tumör")).encode()
CODES = {
    "UTF-8": TEXT,
    "UTF-8 with a mark": b"\xef\xbb\xbf" + TEXT,
    "UTF-16": TEXT.decode().encode("utf-16"),
    "UTF-16 without a mark": TEXT.decode().encode("utf-16-be"),
    "UTF-32": TEXT.decode().encode("utf-32"),
    "gzip": gzip.compress(TEXT),
    "gzip in two members": gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:]),
    "zip": packed({"rois.geojson": TEXT}),
    "zip of json, not packed": packed({"folder/ROIS.JSON": TEXT}, zipfile.ZIP_STORED),
    "zip of gzip": packed({"rois.geojson.gz": gzip.compress(TEXT)}),
    "zip by macOS": packed({"r.geojson": TEXT, "__MACOSX/._r.geojson": b"\x00\x05\x16\x07", "x/.r.json": b"no"}),
}


@pytest.mark.parametrize("code", CODES)
def test_bytes_are_recognised_by_what_they_are(tmp_path: Path, code: str) -> None:
    rois = read(tmp_path, CODES[code])
    assert (areas(rois), rois.warnings) == ([("Tumör", 2000.0)], ())


def test_what_is_not_utf_8_is_read_as_windows_writes_it_and_said(tmp_path: Path) -> None:
    rois = read(tmp_path, TEXT.decode().encode("cp1252"))
    assert areas(rois) == [("Tumör", 2000.0)]
    assert rois.warnings == (
        f"{tmp_path / 'rois.geojson'}: not UTF-8, read as Windows-1252; look at class names with accents",
    )


def test_a_zip_of_several_files_is_one_list_of_objects(tmp_path: Path) -> None:
    stroma = collection(region(name="Stroma"), of('"objectType":"annotation"'))
    entries = {"a.geojson": TEXT, "notes.txt": b"no", "b.json": stroma.encode(), "c.geojson.gz": gzip.compress(TEXT)}
    rois = read(tmp_path, packed(entries))
    assert [(line.index, line.class_name) for line in rois.report] == [
        (0, "Tumör"),
        (1, "Stroma"),
        (2, None),
        (3, "Tumör"),
    ]
    assert [roi.entry for roi in rois.regions] == [0, 1, 3]


def test_a_fault_in_a_zip_names_the_entry(tmp_path: Path) -> None:
    assert refusal(tmp_path, packed({"a.geojson": TEXT, "b.json": b"[\n[,"})) == (
        f"b.json: not GeoJSON (expecting value, line 2 column 2). {EXPORT}"
    )


@pytest.mark.parametrize("entries", [{}, {"readme.txt": b"x"}, {"a.geojson/": b""}, {"__MACOSX/._a.json": b"x"}])
def test_a_zip_without_annotations_is_refused(tmp_path: Path, entries: dict[str, bytes]) -> None:
    assert refusal(tmp_path, packed(entries)) == (
        "this zip holds no .geojson, .json or .xml. Export the regions again."
    )


def locked(data: bytes) -> bytes:
    """Set the bit that says an entry is encrypted, before the entry and in the directory."""
    directory = data.index(b"PK\x01\x02")
    out = bytearray(data)
    out[6] |= 1
    out[directory + 8] |= 1
    return bytes(out)


WHOLE = packed({"a.geojson": TEXT})
UNICODE_NAME = packed({"é.geojson": TEXT})
TORN = {
    "encrypted": (locked(WHOLE), "a.geojson is encrypted"),
    "cut": (WHOLE[:-30], "File is not a zip file"),
    "other bytes": (
        packed({"a.geojson": TEXT}, zipfile.ZIP_STORED).replace(b"Tum", b"tum"),
        "Bad CRC-32 for file 'a.geojson'",
    ),
    "lzma": (
        packed({"a.geojson": TEXT}, zipfile.ZIP_LZMA),
        "a.geojson is packed by another method than deflate",
    ),
    "name that is no text": (
        UNICODE_NAME.replace("é".encode(), b"\xff\xff"),
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "gz entry that is none": (packed({"a.geojson.gz": TEXT}), "Not a gzipped file (b'{\"')"),
    "gzip cut": (gzip.compress(TEXT)[:-20], "Compressed file ended before the end-of-stream marker was reached"),
}


@pytest.mark.parametrize("name", TORN)
def test_damaged_packages_are_refused_in_words(tmp_path: Path, name: str) -> None:
    data, why = TORN[name]
    assert refusal(tmp_path, data) == f"cannot be read ({why}). Export it again."


def ellipse(plane: str = '"plane":{"c":-1,"z":2,"t":1},') -> str:
    points = json.dumps([[10, 0], [7.07, 7.07], [0, 10], [-7.07, 7.07], [-10, 0], [0, -10], [10, 0]])
    return f'{{"type":"Polygon","coordinates":[{points}],{plane}"isEllipse":true}}'


ELLIPSE_PX = 241.4
"""By the shoelace formula: two quarters of the hexagon's lower half (100), its upper half (2 x 70.7)."""


def test_an_object_counts_on_its_own_plane_only(tmp_path: Path) -> None:
    text = collection(region(ellipse()), region())
    flat, deep = read(tmp_path, text), read(tmp_path, text, plane=(2, 1))
    assert areas(flat) == [("Tumor", 2000.0)]
    assert lines(flat) == [("ignored", "Tumor", None, "on plane z=2, t=1"), KEPT]
    assert areas(deep) == [("Tumor", pytest.approx(ELLIPSE_PX))]
    assert lines(deep) == [KEPT, ("ignored", "Tumor", None, "on plane z=0, t=0")]


@pytest.mark.parametrize("plane", ['"plane":{"c":-1},', '"plane":{"z":0,"t":null},', '"plane":null,', '"plane":[],'])
def test_a_plane_that_says_nothing_is_the_first(tmp_path: Path, plane: str) -> None:
    assert lines(read(tmp_path, region(ellipse(plane)))) == [KEPT]


def test_cores_have_names_and_may_be_missing(tmp_path: Path) -> None:
    core = '{{"type":"Feature","geometry":{0},"properties":{{"objectType":"tmaCore"{1}}}}}'
    text = collection(
        core.format(RECTANGLE, ',"name":"A-1","isMissing":true'),
        core.format(RECTANGLE, ',"name":"A-2","isMissing":false'),
        core.format(RECTANGLE, ""),
        core.format('{"type":"Point","coordinates":[1,2]}', ',"name":"A-3"'),
    )
    rois = read(tmp_path, text)
    assert [(core.name, core.geometry.area, core.missing) for core in rois.cores] == [
        ("A-1", 2000.0, True),
        ("A-2", 2000.0, False),
    ]
    assert rois.regions == ()
    assert lines(rois) == [
        ("kept", None, "core", ""),
        ("kept", None, "core", ""),
        ("ignored", None, None, "TMA core without a name or an area (no name)"),
        ("ignored", None, None, "TMA core without a name or an area (geometry Point has no area)"),
    ]


CIRCLE = 3.1214451522580524
"""Area of the 32-sided polygon in a circle of radius 1."""
THIN = {
    "point": ('{"type":"Point","coordinates":[5,6]}', CIRCLE * 4),
    "two points": ('{"type":"MultiPoint","coordinates":[[0,0],[100,0]]}', 2 * CIRCLE * 4),
    "the same point twice": ('{"type":"MultiPoint","coordinates":[[0,0],[0,0]]}', CIRCLE * 4),
    "line": ('{"type":"LineString","coordinates":[[0,0],[10,0]]}', 40 + CIRCLE * 4),
    "two lines, which no third joins": (
        '{"type":"MultiLineString","coordinates":[[[0,0],[10,0]],[[0,100],[10,100]]]}',
        2 * (40 + CIRCLE * 4),
    ),
    "line of one point": ('{"type":"LineString","coordinates":[[5,6]]}', CIRCLE * 4),
}


@pytest.mark.parametrize("name", THIN)
def test_points_and_lines_become_areas_by_a_radius_in_um(tmp_path: Path, name: str) -> None:
    geometry, area = THIN[name]
    rois = read(tmp_path, region(geometry), slide_mpp=0.5, point_radius_um=1.0)
    assert areas(rois) == [("Tumor", pytest.approx(area, rel=1e-6))]
    assert lines(rois) == [KEPT]


@pytest.mark.parametrize(
    ("geometry", "radius", "why"),
    [
        ('{"type":"MultiPoint","coordinates":[]}', 1.0, "empty area"),
        ('{"type":"MultiLineString","coordinates":[]}', 1.0, "empty area"),
        ('{"type":"MultiLineString","coordinates":5}', 1.0, "coordinates are not rows of x, y"),
        ('{"type":"Point","coordinates":[5,NaN]}', 1.0, "coordinates that lie on no slide"),
        ('{"type":"Point","coordinates":[5,true]}', 1.0, "coordinates that are no numbers"),
        ('{"type":"Point"}', 1.0, "coordinates are not rows of x, y"),
        ('{"type":"Point","coordinates":[5,6]}', 1e-300, "empty area"),
    ],
)
def test_points_that_give_no_area_say_why(tmp_path: Path, geometry: str, radius: float, why: str) -> None:
    rois = read(tmp_path, region(geometry), slide_mpp=0.5, point_radius_um=radius)
    assert lines(rois) == [("ignored", "Tumor", None, why)]


def test_a_radius_in_um_needs_the_scale_of_the_slide(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, region(), point_radius_um=1.0)
    assert str(caught.value) == (
        f"{tmp_path / 'rois.geojson'}: a radius for points is in um, and the slide's um/px is not known. "
        "Give slide_mpp."
    )


def nested(inner: str) -> str:
    return region(RECTANGLE, "Region*", f',"childObjects":[{inner}]')


def test_children_come_after_their_parents_and_name_them(tmp_path: Path) -> None:
    small = '{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,0]]]}'
    text = collection(
        region(
            RECTANGLE, "Tumor", f',"childObjects":[{region(small, "Stroma", f""","childObjects":[{region(small)}]""")}]'
        ),
        region(small, "Necrosis"),
    )
    rois = read(tmp_path, text)
    assert areas(rois) == [("Tumor", 2000.0), ("Stroma", 50.0), ("Tumor", 50.0), ("Necrosis", 50.0)]
    assert [(line.index, line.class_name, line.parent) for line in rois.report] == [
        (0, "Tumor", None),
        (1, "Stroma", 0),
        (2, "Tumor", 1),
        (3, "Necrosis", None),
    ]


def test_children_of_an_unused_parent_are_used(tmp_path: Path) -> None:
    rois = read(tmp_path, of(f'"objectType":"tile","childObjects":[{region()}],"children":[7]', '{"type":"Point"}'))
    assert [(line.status, line.reason, line.parent) for line in rois.report] == [
        ("ignored", "object type tile", None),
        ("kept", "", 0),
        ("ignored", "no geometry", 0),
    ]


def test_a_whole_hierarchy_is_read_from_its_root(tmp_path: Path) -> None:
    core = of('"objectType":"tmaCore","name":"A-1"')
    root = f'{{"type":"Feature","properties":{{"objectType":"root","childObjects":[{core},{region()}]}}}}'
    rois = read(tmp_path, f'{{"root":{root},"tmaGrid":{{"width":1,"cores":["{UUID}"]}}}}')
    assert [(line.status, line.use, line.reason, line.parent) for line in rois.report] == [
        ("ignored", None, "object type root", None),
        ("kept", "core", "", 0),
        ("kept", "label", "", 0),
    ]
    assert areas(rois) == [("Tumor", 2000.0)]
    assert [core.name for core in rois.cores] == ["A-1"]


CELL = (
    f'{{"type":"Feature","id":"{UUID}","geometry":{RECTANGLE},'
    '"nucleusGeometry":{"type":"Polygon","coordinates":[[[110,210],[120,210],[120,220],[110,210]]]},'
    '"properties":{"objectType":"cell","classification":{"names":["Tumor","Negative"],"color":[90,90,180]},'
    '"measurements":{"Nucleus: Area":12.5,"bad":"NaN","inf":"Infinity"}}}'
)


def test_cells_are_counted_and_used_only_where_asked_for(tmp_path: Path) -> None:
    plain, asked = read(tmp_path, CELL), read(tmp_path, CELL, include=("annotation", "cell"))
    assert lines(plain) == [("ignored", "Tumor: Negative", None, "object type cell")]
    assert areas(asked) == [("Tumor: Negative", 2000.0)]  # the cell, not its nucleus
    assert asked.colours == {"Tumor: Negative": (90, 90, 180)}


def mixed(odd: str) -> str:
    return collection(region(), odd)


WITH_HOLE = (
    '{"type":"MultiPolygon","coordinates":[[[[0,0],[1000,0],[1000,1000],[0,1000],[0,0]],'
    "[[100,100],[400,100],[400,400],[100,400],[100,100]]]]}"
)
PEERS = {
    "collection": (collection(region()), [("Tumor", 2000.0)]),
    "bare array": (f"[{region()}]", [("Tumor", 2000.0)]),
    "single feature": (region(), [("Tumor", 2000.0)]),
    "one unclassified": (mixed(of('"objectType":"annotation"')), [("Tumor", 2000.0)]),
    "derived class": (
        mixed(of('"classification":{"names":["Tumor","Positive"],"color":[200,50,50]}')),
        [("Tumor", 2000.0), ("Tumor: Positive", 2000.0)],
    ),
    "legacy colour and id": (mixed(of(PACKED, head=LEGACY)), [("Tumor", 2000.0)] * 2),
    "class as text": (mixed(of('"classification":"Tumor"')), [("Tumor", 2000.0)] * 2),
    "part with a hole": (mixed(region(WITH_HOLE)), [("Tumor", 2000.0), ("Tumor", 910000.0)]),
    "a point": (mixed(region('{"type":"Point","coordinates":[1,2]}')), [("Tumor", 2000.0)]),
    "a line": (mixed(region('{"type":"LineString","coordinates":[[1,2],[3,4]]}')), [("Tumor", 2000.0)]),
    "bow-tie": (
        mixed(region('{"type":"Polygon","coordinates":[[[0,0],[10,10],[10,0],[0,10],[0,0]]]}')),
        [("Tumor", 2000.0), ("Tumor", 50.0)],
    ),
    "child": (
        mixed(region(RECTANGLE, "Region*", f',"childObjects":[{region(name="Stroma")}]')),
        [("Tumor", 2000.0), ("Stroma", 2000.0)],
    ),
    "geometry collection": (
        mixed(
            region(f'{{"type":"GeometryCollection","geometries":[{RECTANGLE},{{"type":"Point","coordinates":[1,2]}}]}}')
        ),
        [("Tumor", 2000.0)] * 2,
    ),
}


@pytest.mark.parametrize("variant", PEERS)
def test_no_variant_that_breaks_other_readers_breaks_this_one(tmp_path: Path, variant: str) -> None:
    text, truth = PEERS[variant]
    assert areas(read(tmp_path, text)) == truth

"""What is mended imports; what is good stays as it is; what cannot be kept is said; a file is written whole or not."""

from __future__ import annotations

import copy
import gzip
import json
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from shapely.geometry import shape

from tests.conftest import file_size_limit
from tests.qupath.test_check import (
    BAD,
    BOW_TIE,
    COLLECTION,
    FAR,
    FEATURES,
    HOLE_OUTSIDE,
    ID,
    NAN,
    RED,
    REFUSED,
    RING,
    SQUARE,
    TAKEN,
    WARNED,
    classed,
    multi,
    one,
    polygon,
    saved,
    without,
)
from w2wpath.errors import AnnotationError, DiskError
from w2wpath.qupath import mend as mending
from w2wpath.qupath.check import check_geojson, inspect
from w2wpath.qupath.mend import Done, Palette, fix_geojson, mend, mend_tree

ODD = (213, 94, 0)
"""The first colour for classes that QuPath does not know."""


def refusals(feature: dict[str, Any]) -> list[str]:
    return [problem.what for problem in inspect(feature) if problem.refused_by]


def decoded(path: Path) -> Any:
    def no_constants(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.name.endswith(".gz") else data, parse_constant=no_constants)


# one Feature ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("feature", TAKEN.values(), ids=TAKEN)
def test_a_good_feature_stays_as_it_is(feature: dict[str, Any]) -> None:
    assert mend(feature) == (feature, [])


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_feature_is_mended_or_left_out_and_said(name: str) -> None:
    feature = REFUSED[name][0]
    before = copy.deepcopy(feature)
    mended, said = mend(feature)
    assert said != []
    assert str(feature) == str(before)  # as text, since NaN is not itself
    assert mended is None or refusals(mended) == []


NO_AREA = {
    "geometry null": "no geometry",
    "geometry missing": "no geometry",
    "geometry empty": "no geometry",
    "unknown geometry": 'geometry: type is "Circle" (geometry Circle has no area)',
    "geometry a text": 'geometry is "POINT (1 2)"',
    "coordinates null": "geometry: coordinates are not lists of points (coordinates are not lists of rings)",
    "coordinates no numbers": "geometry: coordinates are not rows of numbers x, y (coordinates that are no numbers)",
    "coordinates NaN": "geometry: coordinates are not rows of numbers x, y (geometry Point has no area)",
    "ring of three points": "geometry: a ring of fewer than four points (empty area)",
    "hole without an outline": "geometry: a hole without an outline (empty area)",
    "line of one point": "geometry: a line of one point (geometry LineString has no area)",
    "collection without geometries": "geometry is a GeometryCollection (a collection without geometries)",
}


def test_only_objects_without_a_geometry_are_left_out() -> None:
    left_out = {name: mend(feature)[1] for name, (feature, _) in REFUSED.items() if mend(feature)[0] is None}
    assert left_out == {name: [f"left out: {why}"] for name, why in NO_AREA.items()}


@pytest.mark.parametrize(
    ("found", "mended"),
    [
        ({"name": "Tumor"}, {"name": "Tumor", "color": RED}),
        ({"name": "Gland"}, {"name": "Gland", "color": [*ODD]}),
        ({"name": "A", "color": "#0a0B0c"}, {"name": "A", "color": [10, 11, 12]}),
        ({"name": "A", "color": -3670016}, {"name": "A", "color": [200, 0, 0]}),
        ({"name": "A", "color": "-3670016"}, {"name": "A", "color": [200, 0, 0]}),
        ({"name": "A", "color": [0.5, 0, 1]}, {"name": "A", "color": [128, 0, 255]}),
        ({"name": "A", "color": ["1", 2.4, 900]}, {"name": "A", "color": [1, 2, 255]}),
        ({"name": "A", "color": None, "colorRGB": -1}, {"name": "A", "color": [255, 255, 255]}),
        ({"name": "A", "color": "red"}, {"name": "A", "color": [*ODD]}),
        ({"name": " Tu\n mor ", "color": RED}, {"name": "Tu mor", "color": RED}),
        ({"names": ["Tumor: Positive"], "color": RED}, {"names": ["Tumor", "Positive"], "color": RED}),
        ({"names": ["Tumor", "Positive"]}, {"names": ["Tumor", "Positive"], "color": [200, 50, 50]}),
        (
            {"name": "Positive", "parentClass": {"name": "Tumor"}},
            {"names": ["Tumor", "Positive"], "color": [200, 50, 50]},
        ),
        (3, {"name": "3", "color": [*ODD]}),
        (["Tumor"], {"name": "Tumor", "color": RED}),
    ],
)
def test_a_class_keeps_its_name_and_gets_a_colour(found: Any, mended: Any) -> None:
    feature, said = mend(one(classification=found))
    assert feature == one(classification=mended)
    assert said == [f"class written as {json.dumps(mended)}"]


@pytest.mark.parametrize("found", [{"name": "", "color": RED}, {"names": []}, {"color": RED}, " ", True, NAN, [1]])
def test_a_class_without_a_name_is_left_out(found: Any) -> None:
    assert mend(one(classification=found)) == (one(), ["class left out"])


def test_classes_without_a_colour_get_one_each() -> None:
    palette = Palette()
    mended = [mend(classed(name=name), palette)[0] for name in ("Gland", "Crypt", "Tumor", "Gland")]
    colours = [feature["properties"]["classification"]["color"] for feature in mended if feature]
    assert colours == [[*ODD], [0, 114, 178], RED, [*ODD]]


@pytest.mark.parametrize(
    ("found", "kept", "said"),
    [
        ({"a": 1, "b": "x", "c": None, "d": NAN}, {"a": 1}, "3 measurement(s) left out"),
        ({"a": "0.5", "b": " 2 "}, {"a": 0.5, "b": 2}, "measurements written as numbers"),
        ({"a": "NaN", "b": "1e999", "c": 10**400, "d": True, "e": [1]}, {}, "5 measurement(s) left out"),
        (
            [{"name": "a", "value": 1, "unit": "um"}, {"name": "b", "value": NAN}, {"value": 1}, 7],
            [{"name": "a", "value": 1, "unit": "um"}],
            "3 measurement(s) left out",
        ),
    ],
)
def test_measurements_keep_their_form_and_their_finite_numbers(found: Any, kept: Any, said: str) -> None:
    assert mend(one(measurements=found)) == (one(measurements=kept), [said])


@pytest.mark.parametrize(
    ("feature", "mended", "said"),
    [
        (one(name=None), one(), "name left out"),
        (one(color="#010203"), one(color=[1, 2, 3]), "color of the object written as numbers"),
        (one(color="red"), one(), "color of the object left out"),
        (one(objectType="TMA_Core"), one(objectType="tmaCore"), "objectType written as tmaCore"),
        (one(objectType="Tile"), one(objectType="tile"), "objectType written as tile"),
        (
            without("properties") | {"properties": {"objectType": None, "type": "Cell"}},
            without("properties") | {"properties": {"type": "cell"}},
            "objectType left out; type written as cell",
        ),
        (
            without("properties") | {"objectType": "Tile"},
            without("properties") | {"properties": {"objectType": "tile"}},
            "objectType moved into properties",
        ),
        (
            without("properties") | {"properties": None},
            without("properties") | {"properties": {}},
            "properties was no object",
        ),
        (one(note=[NAN, 1]), one(note=[None, 1]), "numbers that are not finite are null"),
        (one() | {"nucleusGeometry": None}, one(), "nucleus left out: no nucleusGeometry"),
    ],
)
def test_properties_are_mended(feature: dict[str, Any], mended: dict[str, Any], said: str) -> None:
    found, done = mend(feature)
    assert (found, "; ".join(done)) == (mended, said)


def test_an_id_that_qupath_cannot_read_becomes_one_of_the_content() -> None:
    first, said = mend(one() | {"id": None})
    again, other = mend(one() | {"id": [1]})[0], mend(one(name="b") | {"id": None})[0]
    assert first is not None
    assert again is not None
    assert other is not None
    assert said == ["given an id"]
    assert str(uuid.UUID(first["id"])) == first["id"] == again["id"] != other["id"]


@pytest.mark.parametrize(
    ("found", "mended", "said"),
    [
        (polygon(RING[:-1]), SQUARE, "geometry: ring was not closed"),
        (multi([RING]), SQUARE, "geometry: its only part written by itself"),
        ({"type": "GeometryCollection", "geometries": [SQUARE]}, SQUARE, "geometry: its only part written by itself"),
        (
            COLLECTION,
            SQUARE,
            "geometry: 1 part(s) of a collection without area left out",
        ),
        (
            {"type": "GeometryCollection", "geometries": [SQUARE, polygon(FAR)]},
            multi([RING], [FAR]),
            "geometry: written as MultiPolygon",
        ),
        (
            {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": ["1", 2]}]},
            {"type": "Point", "coordinates": [1, 2]},
            "geometry: its only part written by itself; geometry: numbers written as numbers",
        ),
        (
            polygon([["0", "0"], ["9.5", 0], [9, 9], [0, 0]]),
            polygon([[0, 0], [9.5, 0], [9, 9], [0, 0]]),
            "geometry: numbers written as numbers",
        ),
        (
            {**SQUARE, "plane": {"z": "1"}, "isEllipse": True},
            {**SQUARE, "isEllipse": True},
            "geometry: plane left out",
        ),
    ],
)
def test_a_geometry_is_mended(found: dict[str, Any], mended: dict[str, Any], said: str) -> None:
    assert mend(one(found)) == (one(mended), [said])


@pytest.mark.parametrize(
    ("found", "area", "note"),
    [
        (BOW_TIE, 50, "self-intersection repaired, area 0 to 50 px, more than 1 %"),
        (multi([RING], [[[50, 50], [150, 50], [150, 150], [50, 150], [50, 50]]]), 17500, "self-intersection repaired"),
        (HOLE_OUTSIDE, 10050, "hole lies outside shell repaired"),
    ],
)
def test_an_invalid_area_is_repaired(found: dict[str, Any], area: float, note: str) -> None:
    mended, said = mend(one(found))
    assert mended is not None
    assert shape(mended["geometry"]).is_valid
    assert shape(mended["geometry"]).area == area
    assert said[0].startswith(f"geometry: {note}")


def test_a_repaired_area_has_two_decimals_unless_that_would_break_it() -> None:
    third = 10 / 3
    mended, _ = mend(one(polygon([[0, 0], [third, 0], [third, third], [0, third]])))
    assert mended is not None
    assert mended["geometry"] == polygon([[0, 0], [3.33, 0], [3.33, 3.33], [0, 3.33], [0, 0]])
    slim = [[0, 0], [9, 0.001], [9, 0.004]]
    mended, _ = mend(one(polygon(slim)))
    assert mended is not None
    assert mended["geometry"] == polygon([*slim, [0, 0]])


@pytest.mark.parametrize("name", WARNED)
def test_what_is_only_a_warning_does_not_become_worse(name: str) -> None:
    mended, _ = mend(WARNED[name][0])
    assert mended is not None
    assert refusals(mended) == []


@given(FEATURES)
def test_whatever_is_mended_imports_and_is_mended_for_good(feature: dict[str, Any]) -> None:
    kept, done, _ = mend_tree(feature, 0, Palette())
    if not done:
        assert kept == [feature]
    for mended in kept:
        json.dumps(mended, allow_nan=False)
        again, said, _ = mend_tree(mended, 0, Palette())
        assert (again, said) == ([mended], [])
        assert refusals(mended) == []


# a tree of objects ---------------------------------------------------------------------------------------------------


def test_children_are_mended_where_they_are() -> None:
    good = one(childObjects=[one(), one(children=[one()])])
    assert mend_tree(good, 0, Palette()) == ([good], [], 4)
    kept, done, count = mend_tree(one(childObjects=[one(), one(None), one(children=[one(name=None)])]), 5, Palette())
    assert kept == [one(childObjects=[one(), one(children=[one()])])]
    assert done == [Done(7, ID, "", "left out: no geometry", True), Done(9, ID, "", "name left out", False)]
    assert count == 5


def test_children_take_the_place_of_a_parent_that_cannot_be_kept() -> None:
    root = one(None, childObjects=[one(name="a"), one(None, childObjects=[one(name="b"), one(name="c")])])
    kept, done, count = mend_tree(root, 0, Palette())
    assert kept == [one(name="a"), one(name="b"), one(name="c")]
    what = "left out: no geometry; what it held takes its place"
    assert done == [Done(0, ID, "", what, True), Done(2, ID, "", what, True)]
    assert count == 5


def test_children_beside_the_properties_move_into_them() -> None:
    kept, done, _ = mend_tree(one(children=[one(name="a")]) | {"childObjects": [one(name="b")]}, 0, Palette())
    assert kept == [one(childObjects=[one(name="a"), one(name="b")])]
    assert done == [Done(0, ID, "", "objects below it moved into properties.childObjects", False)]


# files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_a_mended_file_is_clean(tmp_path: Path, name: str) -> None:
    path, out = saved(tmp_path / "a.geojson", [one(), REFUSED[name][0]]), tmp_path / "b.geojson"
    assert check_geojson(path).refused_by != ()
    fixed = fix_geojson(path, out)
    assert check_geojson(out).refused_by == fixed.checked.refused_by == ()
    left_out = name in NO_AREA
    assert (fixed.objects, fixed.written, fixed.left_out) == (2, 2 - left_out, left_out)
    assert [(done.index, done.left_out) for done in fixed.done] == [(1, left_out)]
    found = decoded(out)
    assert found["type"] == "FeatureCollection"
    assert found["features"][0] == one()
    assert len(found["features"]) == fixed.written


@pytest.mark.parametrize("count", [0, 1, 3])
def test_good_objects_are_written_as_they_are(tmp_path: Path, count: int) -> None:
    features = list(TAKEN.values())[:count]
    fixed = fix_geojson(saved(tmp_path / "a.geojson", features), tmp_path / "b.geojson")
    assert (fixed.written, fixed.done) == (count, ())
    assert decoded(tmp_path / "b.geojson") == {"type": "FeatureCollection", "features": features}


def test_gzip_and_zip_go_in_and_gzip_comes_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.geojson", json.dumps([one()]))
        archive.writestr("2.geojson.gz", gzip.compress(json.dumps([BAD]).encode()))
    fix_geojson(tmp_path / "a.zip", tmp_path / "b.geojson.GZ")
    fix_geojson(tmp_path / "b.geojson.GZ", tmp_path / "c.geojson.gz")
    assert (tmp_path / "b.geojson.GZ").read_bytes() == (tmp_path / "c.geojson.gz").read_bytes()
    first, second = decoded(tmp_path / "c.geojson.gz")["features"]
    assert first == one()
    assert second["properties"]["classification"] == {"name": "Tumor", "color": RED}


def test_letters_beyond_ascii_survive_from_any_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps([one(name="Müller")], ensure_ascii=False).encode("utf-16"))
    fixed = fix_geojson(tmp_path / "a.json", tmp_path / "b.json")
    assert decoded(tmp_path / "b.json")["features"] == [one(name="Müller")]
    assert fixed.checked.faults == ()


def test_a_file_can_be_mended_in_place(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.geojson", [one(), BAD])
    fix_geojson(path, path)
    assert check_geojson(path).faults == ()
    assert list(tmp_path.iterdir()) == [path]


def test_without_room_the_old_file_stays(tmp_path: Path) -> None:
    path, out = saved(tmp_path / "a.geojson", [one()] * 100), tmp_path / "b.geojson"
    out.write_bytes(b"old")
    with file_size_limit(1000), pytest.raises(DiskError) as caught:
        fix_geojson(path, out)
    assert str(caught.value) == (
        f"{out}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert out.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [path, out]


def test_a_torn_file_leaves_the_old_one(tmp_path: Path) -> None:
    path, out = tmp_path / "a.geojson", tmp_path / "b.geojson"
    path.write_text(json.dumps([one(), one()])[:-1])
    out.write_bytes(b"old")
    with pytest.raises(AnnotationError):
        fix_geojson(path, out)
    assert out.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [path, out]


def test_a_file_that_would_still_be_refused_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "mend", lambda feature, palette: (dict(feature), []))
    path, out = saved(tmp_path / "a.geojson", [one(), BAD]), tmp_path / "b.geojson"
    with pytest.raises(AnnotationError) as caught:
        fix_geojson(path, out)
    assert str(caught.value) == (
        f"{path}: object 1 of the mended file would still be refused (id is null); {out} was not written. "
        "This is a fault of w2wpath: please report it with that object."
    )
    assert list(tmp_path.iterdir()) == [path]


def test_objects_nested_deeply_are_mended_or_an_error_in_words(tmp_path: Path) -> None:
    path, out = tmp_path / "a.geojson", tmp_path / "b.geojson"
    path.write_text('{"type":"Feature","children":[' * 200 + json.dumps(one()) + "]}" * 200)
    assert fix_geojson(path, out).left_out == 200
    geometry = '{"type":"GeometryCollection","geometries":[' * 400 + "]}" * 400
    path.write_text(f'{{"type":"Feature","geometry":{geometry}}}')
    assert fix_geojson(path, out).left_out == 1
    out.unlink()
    path.write_text(json.dumps(one(foreign=0)).replace("0}", "[" * 800 + "NaN" + "]" * 800 + "}"))
    with pytest.raises(AnnotationError) as caught:
        fix_geojson(path, out)
    assert str(caught.value) == f"{path}: object 0 is nested too deeply. Export it again."
    assert not out.exists()

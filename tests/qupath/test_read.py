"""Reading annotation files: every object gets exactly one line, and what is not used says why."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box

from tests.conftest import feature
from w2wpath.config import ClassMap, ClassRule, RoiSettings
from w2wpath.errors import AnnotationError
from w2wpath.qupath.read import MOST_CLASSES, Rois, read_rois, require_regions

SQUARE = box(0, 0, 10, 10)
RING = [[100, 200], [100, 240], [150, 240], [150, 200], [100, 200]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}
BOW = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
OPEN = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [0, 10]]]}
DRAW = "Draw areas in QuPath, give each a class, and export them as GeoJSON."


def read(folder: Path, document: Any, **given: Any) -> Rois:
    path = folder / "rois.geojson"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return read_rois(path, RoiSettings(**given))


def said(folder: Path, error: pytest.ExceptionInfo[AnnotationError]) -> str:
    return str(error.value).removeprefix(f"{folder / 'rois.geojson'}: ")


def refusal(folder: Path, document: Any, *, strict: bool = False, **given: Any) -> str:
    with pytest.raises(AnnotationError) as caught:
        require_regions(read(folder, document, **given), strict=strict)
    return said(folder, caught)


def region(classification: Any, geometry: Any = POLYGON, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": classification, **properties}}


def test_every_object_has_one_line_in_file_order(tmp_path: Path) -> None:
    document = [
        feature("Tumor", SQUARE),
        feature(None, Point(5, 5).buffer(2)),
        {**feature("Stroma", SQUARE), "id": "parent"},
        {**region("Tumor", BOW), "id": "bow"},
        {**region("Ignore*"), "id": "ignored"},
        {**region("Tumor", objectType="tmaCore", name="A-1"), "id": "core"},
        {**region("Tumor", objectType="cell"), "id": 7},
        {**region("Tumor", {**POLYGON, "plane": {"z": 3}}), "id": None},
        {**region(["Tumor"]), "id": {"a": 1}},
        {**region("Tumor", None), "properties": {"classification": "Tumor", "id": "in properties"}},
    ]
    document[2]["properties"]["childObjects"] = [{**region("Tumor"), "id": "child"}, "x"]
    rois = read(tmp_path, document)
    assert [(line.index, line.id, line.status, line.use, line.parent) for line in rois.report] == [
        (0, document[0]["id"], "kept", "label", None),
        (1, document[1]["id"], "ignored", None, None),
        (2, "parent", "kept", "label", None),
        (3, "child", "kept", "label", 2),
        (4, "", "ignored", None, 2),
        (5, "bow", "repaired", "label", None),
        (6, "ignored", "kept", "exclude", None),
        (7, "core", "kept", "core", None),
        (8, "7", "ignored", None, None),
        (9, "", "ignored", None, None),
        (10, "{'a': 1}", "ignored", None, None),
        (11, "in properties", "ignored", None, None),
    ]
    assert [roi.entry for roi in rois.regions] == [0, 2, 3, 5]
    assert rois.skipped() == {
        "no class": 1,
        "no geometry": 2,
        "object type cell": 1,
        "on plane z=3, t=0": 1,
        "class of unknown form: ['Tumor']": 1,
    }
    assert [area.area for area in rois.ignored] == [2000.0]


def test_a_repaired_object_tells_both_areas_and_the_others_none(tmp_path: Path) -> None:
    rois = read(tmp_path, [region("Tumor", BOW), region("Tumor"), region("Tumor", OPEN), region("Tumor", None)])
    assert [(line.px_before, line.px) for line in rois.report] == [
        (0.0, 50.0),
        (None, None),
        (None, None),
        (None, None),
    ]
    assert rois.repaired() == (rois.report[0], rois.report[2])


def test_holes_are_holes_and_parts_stay_together(tmp_path: Path) -> None:
    holed = Polygon(box(0, 0, 100, 100).exterior, [box(20, 20, 30, 30).exterior])
    both = holed.union(box(200, 0, 210, 10))
    rois = read(tmp_path, [feature("Tumor", holed), feature("Tumor", both)])
    assert [roi.geometry.area for roi in rois.regions] == [9900.0, 10000.0]


def test_all_that_was_tidied_is_noted_and_counted(tmp_path: Path) -> None:
    rois = read(tmp_path, [region(" Tumor"), region(" Tumor", OPEN), region("Tumor", w2wpath_note="spline")])
    assert [(line.status, line.reason) for line in rois.report] == [
        ("repaired", "class ' Tumor' read as 'Tumor'"),
        ("repaired", "class ' Tumor' read as 'Tumor'; ring was not closed"),
        ("repaired", "spline"),
    ]
    assert rois.warnings == ("2 object(s): class ' Tumor' read as 'Tumor'",)


@pytest.mark.parametrize("note", [None, 5, "", " \n", "\ud800", {}])
def test_a_note_that_says_nothing_is_none(tmp_path: Path, note: Any) -> None:
    assert [line.status for line in read(tmp_path, region("Tumor", w2wpath_note=note)).report] == ["kept"]


@pytest.mark.parametrize(("z", "shown"), [("\ud800x", "x"), ([1, 2, 3, 4, 5], "[1, 2, 3,"), (0.5, "0.5"), (-1, "-1")])
def test_an_odd_plane_is_shown_on_one_short_line(tmp_path: Path, z: Any, shown: str) -> None:
    rois = read(tmp_path, region("Tumor", {**POLYGON, "plane": {"z": z}}))
    assert rois.skipped() == {f"on plane z={shown}, t=0": 1}


def test_an_unknown_kind_of_object_is_left_out_by_its_name(tmp_path: Path) -> None:
    rois = read(tmp_path, [region("Tumor", objectType="x\ny" + "z" * 99), region("Tumor", objectType="root")])
    assert rois.skipped() == {f"object type x y{'z' * 37}": 1, "object type root": 1}


def test_the_kinds_of_objects_that_count_can_be_chosen(tmp_path: Path) -> None:
    kinds = ("annotation", "detection", "cell", "tile")
    document = [region("Tumor", objectType=kind) for kind in kinds]
    assert [roi.entry for roi in read(tmp_path, document, include=("tile", "cell")).regions] == [2, 3]
    assert [roi.entry for roi in read(tmp_path, document, include=kinds).regions] == [0, 1, 2, 3]
    assert read(tmp_path, document, include=()).regions == ()


def test_the_plane_that_counts_can_be_chosen(tmp_path: Path) -> None:
    document = [region("Tumor", {**POLYGON, "plane": {"c": -1, "z": z, "t": t}}) for z in (0, 1) for t in (0, 1)]
    assert [roi.entry for roi in read(tmp_path, document, plane=(1, 0)).regions] == [2]


RULES = ClassMap(
    classes={"Tumor": ClassRule(aliases=("Tumour", "Ca"), colour=(9, 8, 7)), "Stroma": ClassRule()},
    unlisted="skip",
    starred={"Region*": "scope", "Artefact*": "exclude", "Note*": "skip"},
    unclassified="scope",
)


def test_a_class_map_rules_from_the_file_to_the_report(tmp_path: Path) -> None:
    names = ["tumour", "CA", "stroma", "Region*", "Artefact*", "Note*", "Ignore*", "Odd*", "Fat", None]
    rois = read(tmp_path, [region(name) for name in names], class_map=RULES)
    assert [(line.class_name, line.status, line.use, line.reason) for line in rois.report] == [
        ("Tumor", "kept", "label", ""),
        ("Tumor", "kept", "label", ""),
        ("Stroma", "kept", "label", ""),
        ("Region*", "kept", "scope", ""),
        ("Artefact*", "kept", "exclude", ""),
        ("Note*", "ignored", None, "class Note* is not a label"),
        ("Ignore*", "kept", "exclude", ""),
        ("Odd*", "ignored", None, "class Odd* is not a label"),
        ("Fat", "ignored", None, "class Fat is not in the class map."),
        (None, "kept", "scope", ""),
    ]
    assert rois.classes == ("Stroma", "Tumor")
    assert (len(rois.ignored), len(rois.scope)) == (2, 2)
    assert rois.warnings == (
        "1 object(s) of class Odd* were left out: say in a class map whether it is to exclude, scope or skip",
    )


def test_an_unlisted_class_is_an_error_unless_it_may_be_skipped(tmp_path: Path) -> None:
    rules = ClassMap(classes={"Tumor": ClassRule()})
    assert refusal(tmp_path, [region("Tumor"), {**region("Tumer"), "id": "a-1"}], class_map=rules) == (
        "object 1 (a-1): class Tumer is not in the class map. Did you mean 'Tumor'? Add it or an alias, "
        'or say unlisted = "skip" there.'
    )
    assert refusal(tmp_path, region("Fat"), class_map=rules) == (
        'object 0 (no id): class Fat is not in the class map. Add it or an alias, or say unlisted = "skip" there.'
    )
    unused = [region("Tumor"), region("Fat", objectType="tile"), region("Fat", None)]
    assert read(tmp_path, unused, class_map=rules).classes == ("Tumor",)


def test_an_object_without_a_class_may_be_an_error(tmp_path: Path) -> None:
    rules = ClassMap(unclassified="error")
    assert refusal(tmp_path, [region("Tumor"), {**region(None), "id": "a-1"}], class_map=rules) == (
        'object 1 (a-1) has no class. Give it one in QuPath, or say unclassified = "skip" in the class map.'
    )
    assert read(tmp_path, [region("Tumor"), region(7)], class_map=rules).skipped() == {"class of unknown form: 7": 1}


def test_the_class_may_stand_in_the_name(tmp_path: Path) -> None:
    rois = read(tmp_path, region("Tumor", name="Stroma"), class_map=ClassMap(class_from="name"))
    assert rois.classes == ("Stroma",)


def coloured(name: str, *colour: int) -> dict[str, Any]:
    return region({"name": name, "color": list(colour)})


def test_a_colour_is_the_maps_then_the_files_then_a_fixed_one(tmp_path: Path) -> None:
    document = [
        coloured("Tumor", 1, 1, 1),
        region("Stroma"),
        coloured("Stroma", 2, 2, 2),
        coloured("Stroma", 3, 3, 3),
        region("Necrosis"),
        coloured("Fat", 4, 4, 4),
    ]
    rules = ClassMap(
        classes={
            name: ClassRule(colour=(9, 8, 7) if name == "Tumor" else None)
            for name in ("Tumor", "Stroma", "Necrosis", "Fat")
        }
    )
    assert read(tmp_path, document, class_map=rules).colours == {
        "Tumor": (9, 8, 7),
        "Stroma": (2, 2, 2),  # the first that the file gives
        "Necrosis": (50, 50, 50),  # QuPath's own
        "Fat": (4, 4, 4),
    }


def test_objects_that_are_not_used_give_no_colour(tmp_path: Path) -> None:
    document = [{**coloured("Tumor", 1, 1, 1), "geometry": None}, region("Tumor")]
    assert read(tmp_path, document).colours == {"Tumor": (200, 0, 0)}


def test_starred_classes_are_no_labels_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    document = [
        feature("Tumor", SQUARE),
        feature("Ignore*", box(2, 2, 4, 4)),
        feature("Region*", box(0, 0, 99, 99)),
        feature("Ignore*: Positive", box(5, 5, 6, 6)),
    ]
    rois = read(tmp_path, document)
    assert rois.classes == ("Ignore*: Positive", "Tumor")
    assert [area.area for area in rois.ignored] == [4.0]
    assert [(line.class_name, line.use, line.reason) for line in rois.report] == [
        ("Tumor", "label", ""),
        ("Ignore*", "exclude", ""),
        ("Region*", None, "class Region* is not a label"),
        ("Ignore*: Positive", "label", ""),
    ]
    assert rois.warnings == (
        "1 object(s) of class Region* were left out: say in a class map whether it is to exclude, scope or skip",
    )


def test_classes_that_may_be_one_are_pointed_out_until_a_map_knows_them(tmp_path: Path) -> None:
    document = [region("Tumor"), region("tumour")]
    pair = "classes 'Tumor' and 'tumour' look like one: rename one in QuPath, or make it an alias in a class map"
    assert read(tmp_path, document).warnings == (pair,)
    rules = ClassMap(classes={"Tumor": ClassRule(aliases=("Tumour",))})
    assert read(tmp_path, document, class_map=rules).warnings == ()


def test_names_of_thousands_of_objects_are_not_compared_in_pairs(tmp_path: Path) -> None:
    few = [region(None, name=f"Cell {i}") for i in range(MOST_CLASSES)]
    rules = ClassMap(class_from="name")
    assert read(tmp_path, few, class_map=rules).warnings == ()
    alike = [region(None, name="Cellar"), region(None, name="cellar")]
    assert read(tmp_path, [*few, *alike], class_map=rules).warnings == (
        f"{MOST_CLASSES + 2} classes are too many to look for doubles among them: is it class_from that you meant?",
    )


def test_ids_that_occur_more_than_once_are_pointed_out(tmp_path: Path) -> None:
    document = [{**region("Tumor"), "id": ident} for ident in ("b", "a", "a", "b", "b", "c")]
    assert read(tmp_path, document).warnings == (
        "2 id(s) occur more than once, first b: perhaps the same objects twice",
    )
    legacy = [{**region("Tumor"), "id": "PathAnnotationObject"} for _ in range(2)]
    assert read(tmp_path, legacy).warnings == ()


@pytest.mark.parametrize("ident", ["\ud800", "a\nb", "x" * 1000, 10**50, [1], True, ""])
def test_an_id_is_shown_on_one_short_line(tmp_path: Path, ident: Any) -> None:
    (line,) = read(tmp_path, {**region("Tumor"), "id": ident}).report
    expected = {"\ud800": "", "a\nb": "a b", "x" * 1000: "x" * 100}
    assert line.id == (expected[ident] if isinstance(ident, str) and ident in expected else str(ident))


def test_strict_refuses_repairs_and_names_the_first_of_them(tmp_path: Path) -> None:
    mended = [{**region("Tumor", OPEN), "id": f"a-{i}"} for i in range(5)]
    require_regions(read(tmp_path, region("Tumor")), strict=True)
    require_regions(read(tmp_path, mended))
    why = "ring was not closed"
    assert refusal(tmp_path, [region("Tumor"), region("Tumor", OPEN)], strict=True) == (
        f"1 object(s) had to be repaired (object 1 (no id, Tumor): {why}). "
        "Mend them (see w2wpath check-geojson), or leave --strict out."
    )
    assert refusal(tmp_path, mended, strict=True) == (
        f"5 object(s) had to be repaired (object 0 (a-0, Tumor): {why}; object 1 (a-1, Tumor): {why}; "
        f"object 2 (a-2, Tumor): {why} and 2 more). Mend them (see w2wpath check-geojson), or leave --strict out."
    )


def test_a_file_without_objects_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, []) == f"no usable ROI (the file holds no object). {DRAW}"


def test_a_file_without_usable_regions_says_what_it_holds(tmp_path: Path) -> None:
    document = [feature(None, SQUARE), feature(None, SQUARE), feature("Ignore*", SQUARE)]
    document.append(region("Tumor", {"type": "Point", "coordinates": [5, 6]}))
    assert refusal(tmp_path, document) == (
        f"no usable ROI (1 x class Ignore* is no label, 1 x geometry Point has no area, 2 x no class). {DRAW}"
    )
    require_regions(read(tmp_path, [*document, region("Tumor")]))


@pytest.mark.parametrize("nothing", [None, {}, "", "  "])
def test_an_empty_class_is_no_class(tmp_path: Path, nothing: Any) -> None:
    assert refusal(tmp_path, region(nothing)) == f"no usable ROI (1 x no class). {DRAW}"


@pytest.mark.parametrize("properties", [None, [], [1], "x", 5])
def test_properties_of_another_form_are_none(tmp_path: Path, properties: Any) -> None:
    assert refusal(tmp_path, {**region("Tumor"), "properties": properties}) == f"no usable ROI (1 x no class). {DRAW}"


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


def test_only_asap_says_which_corner_it_counts_from(tmp_path: Path) -> None:
    asap = b"<ASAP_Annotations><Annotations/></ASAP_Annotations>"
    assert (read(tmp_path, asap).frame, read(tmp_path, region("Tumor")).frame) == ("slide", None)


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
        "geometry": ANY_GEOMETRY | st.just(POLYGON),
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
        assert [line.index for line in rois.report] == list(range(len(rois.report)))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(features=st.lists(ANY_FEATURE, min_size=1, max_size=5))
def test_an_odd_object_never_costs_the_others(tmp_path: Path, features: list[Any]) -> None:
    document = json.loads(json.dumps(features))
    rois = read(tmp_path, [region("First"), *document, region("Last")])
    assert (rois.regions[0].class_name, rois.regions[-1].class_name) == ("First", "Last")
    assert (rois.regions[0].entry, rois.regions[-1].entry) == (0, len(features) + 1)

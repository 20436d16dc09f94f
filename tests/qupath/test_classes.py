"""Which class an object has, in every form it is written in, and what a class map makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.config import ClassMap, ClassRule
from w2wpath.qupath.classes import Meaning, Named, class_of, colour_of, kind_of, meaning, near_duplicates, printable


def classified(classification: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"classification": classification}}


FORMS: dict[str, tuple[Any, Named]] = {
    "text": ("Tumor", Named("Tumor")),
    "derived text": ("Tumor: Positive", Named("Tumor: Positive")),
    "null": (None, Named(None)),
    "empty object": ({}, Named(None)),
    "empty text": ("", Named(None)),
    "space": (" \t ", Named(None)),
    "colons": ("::", Named(None)),
    "name": ({"name": "Tumor", "color": [200, 0, 0]}, Named("Tumor")),
    "name without a colour": ({"name": "Tumor"}, Named("Tumor")),
    "names": ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, Named("Tumor: Positive")),
    "one of names": ({"names": ["Tumor"]}, Named("Tumor")),
    "names before name": ({"names": ["Tumor"], "name": "Stroma"}, Named("Tumor")),
    "no names but a name": ({"names": [], "name": "Tumor"}, Named("Tumor")),
    "parent": ({"name": "Positive", "parentClass": {"name": "Tumor", "colorRGB": -1}}, Named("Tumor: Positive")),
    "grandparent": (
        {"name": "c", "parentClass": {"name": "b", "parentClass": {"name": "a", "parentClass": None}}},
        Named("a: b: c"),
    ),
    "spaces around": ({"name": " Tumor "}, Named("Tumor", "class ' Tumor ' read as 'Tumor'")),
    "no space after the colon": ("A:B", Named("A: B", "class 'A:B' read as 'A: B'")),
    "line break": ({"name": "Tumor\ncells"}, Named("Tumor cells", "class 'Tumor\\ncells' read as 'Tumor cells'")),
    "hard space": ({"name": "Tumor\u00a0cells"}, Named("Tumor cells", "class 'Tumor\\xa0cells' read as 'Tumor cells'")),
    "no width": ({"name": "Tu\u200bmor\u202e"}, Named("Tumor", "class 'Tu\\u200bmor\\u202e' read as 'Tumor'")),
    "control character": ({"name": "Tumor\x00\x1b"}, Named("Tumor", "class 'Tumor\\x00\\x1b' read as 'Tumor'")),
    "half a pair": ({"name": "Tumor\ud83d"}, Named("Tumor", "class 'Tumor\\ud83d' read as 'Tumor'")),
    "only half a pair": ("\ud800", Named(None)),
    "an empty one of names": ({"names": ["", "Positive"]}, Named("Positive", "class ': Positive' read as 'Positive'")),
    "letters of any script": ("腫瘍 Ägypten 😀", Named("腫瘍 Ägypten 😀")),
    "long": (
        {"name": f" {'x' * 100}"},
        Named("x" * 100, f"class ' {'x' * 75}... read as '{'x' * 76}..."),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_class_is_read_in_every_form(form: str) -> None:
    written, named = FORMS[form]
    assert class_of(classified(written)) == named


STRANGE = [7, True, [], ["Tumor"], {"name": ""}, {"name": " "}, {"colorRGB": 3}, {"name": 3}, {"name": None}]
STRANGE += [{"names": ["a", 1]}, {"names": "Tumor"}, {"names": [""]}]
STRANGE += [{"name": "Positive", "parentClass": "Tumor"}, {"name": "Positive", "parentClass": {}}]


@pytest.mark.parametrize("written", STRANGE, ids=repr)
def test_a_class_of_unknown_form_is_not_guessed(written: Any) -> None:
    assert class_of(classified(written)) == Named(None, f"class of unknown form: {written!r}", understood=False)


def test_what_is_said_of_a_long_unknown_form_is_short() -> None:
    assert class_of(classified(["x" * 1000])).note == f"class of unknown form: ['{'x' * 75}..."


@pytest.mark.parametrize("properties", [None, [], [1], "x", 5, {}])
def test_without_properties_there_is_no_class(properties: Any) -> None:
    assert class_of({"properties": properties}) == Named(None)
    assert class_of({}) == Named(None)


def test_the_class_may_stand_in_the_name() -> None:
    both = {"properties": {"name": "Stroma ", "classification": {"name": "Tumor"}}}
    assert class_of(both, "name") == Named("Stroma", "class 'Stroma ' read as 'Stroma'")
    assert class_of(classified("Tumor"), "name") == Named(None)


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"lineColor": "rgb(0,0,0)", "label": "Tumor"}, Named("Tumor")),
        ({"fillColor": "rgb(0,0,0)", "label": {"value": "Tumor"}, "group": "g"}, Named("Tumor")),
        ({"element_girder_id": "e", "label": {"value": ""}, "group": "Tumor"}, Named("Tumor")),
        ({"annotation": {"name": "a"}, "label": {}, "group": "Tumor"}, Named("Tumor")),
        ({"annotation_girder_id": "a", "group": "Tumor"}, Named("Tumor")),
        ({"annotation_girder_id": "a"}, Named(None)),
        ({"lineColor": "x", "label": 5}, Named(None, "class of unknown form: 5", understood=False)),
        ({"label": "Tumor", "group": "Tumor"}, Named(None)),  # nothing says that it is of the archive
        ({"lineColor": "x", "label": "Tumor", "classification": None}, Named(None)),  # of QuPath, and unclassified
    ],
)
def test_the_digital_slide_archive_has_labels_and_groups(properties: Any, named: Named) -> None:
    assert class_of({"properties": properties}) == named


@given(text=st.text())
def test_what_is_printable_is_on_one_line_and_stays_so(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == shown.strip()
    assert printable(shown) == shown
    shown.encode()  # no half pairs


@pytest.mark.parametrize(
    ("classification", "colour"),
    [
        ({"color": [200, 0, 1]}, (200, 0, 1)),
        ({"color": [200, 0, 1, 128]}, (200, 0, 1)),
        ({"color": [200, 0, 1, 0.5]}, (200, 0, 1)),
        ({"colorRGB": -3670016}, (200, 0, 0)),
        ({"colorRGB": 0x0102FF}, (1, 2, 255)),
        ({"colorRGB": 0xFF0102FF}, (1, 2, 255)),
        ({"color": [1, 2, 3], "colorRGB": -1}, (1, 2, 3)),
        ({"color": "#ff0000", "colorRGB": -1}, (255, 255, 255)),
        ({"color": [1, 2]}, None),
        ({"color": [1, 2, 256]}, None),
        ({"color": [1, 2, -1]}, None),
        ({"color": [1, 2, 3.0]}, None),
        ({"color": [1, 2, True]}, None),
        ({"colorRGB": True}, None),
        ({"colorRGB": 1.0}, None),
        ({"colorRGB": 2**32}, None),
        ({"colorRGB": -(2**31) - 1}, None),
        ({"color": None}, None),
        ("Tumor", None),
        (None, None),
    ],
)
def test_the_colour_of_a_class_is_three_bytes_or_one_number(classification: Any, colour: Any) -> None:
    assert colour_of(classified(classification)) == colour


@pytest.mark.parametrize(
    ("feature", "kind"),
    [
        ({}, "annotation"),
        ({"properties": None, "id": 5}, "annotation"),
        ({"properties": {"objectType": "annotation"}}, "annotation"),
        ({"properties": {"objectType": "Tile"}}, "tile"),
        ({"properties": {"objectType": "tmaCore"}}, "tmaCore"),
        ({"properties": {"object_type": "tma_core"}}, "tmaCore"),
        ({"properties": {"objectType": "cell", "object_type": "tile"}}, "cell"),
        ({"properties": {"objectType": None, "object_type": "tile"}}, "tile"),
        ({"objectType": "tile", "properties": {}}, "tile"),
        ({"objectType": "tile", "properties": {"objectType": "detection"}}, "detection"),
        ({"id": "PathDetectionObject"}, "detection"),
        ({"id": "PathCellObject"}, "cell"),
        ({"id": "PathTileObject"}, "tile"),
        ({"id": "TMACoreObject"}, "tmaCore"),
        ({"id": "PathRootObject"}, "root"),
        ({"id": "PathAnnotationObject"}, "annotation"),
        ({"id": "PathCellObject", "properties": {"objectType": "annotation"}}, "annotation"),
        ({"properties": {"objectType": "nucleus"}}, "nucleus"),
        ({"properties": {"type": "detection"}}, "detection"),
        ({"properties": {"type": "rectangle"}}, "annotation"),
        ({"properties": {"type": 5}}, "annotation"),
    ],
)
def test_the_kind_of_an_object_is_found_wherever_it_was_ever_written(feature: Any, kind: str) -> None:
    assert kind_of(feature) == kind


SIMILAR = [
    ("Tumor", "tumor"),
    ("Tumor", "Tumour"),
    ("Stroma", "stroma_"),
    ("Non-tumor", "Non tumor"),
    ("Immune cell", "Immune cells"),
    ("Necrosis", "Necrosys"),
    ("Ignore", "Ignore*"),
    ("Tumor", "Ｔｕｍｏｒ"),
    ("AC", "ac"),
    ("straße", "STRASSE"),
]


@pytest.mark.parametrize(("one", "other"), SIMILAR)
def test_names_that_may_be_one_are_paired(one: str, other: str) -> None:
    assert near_duplicates([other, one, "Background"]) == [(min(one, other), max(one, other))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("AC", "AD"),
        ("Fat", "Far"),
        ("Grade 1", "Grade 2"),
        ("Grade 1", "Grade"),
        ("Gleason 3", "Gleason 34"),
        ("Tumor", "Stroma"),
        ("Tumor", "Tumor: Positive"),
        ("Tumor: Positive", "Tumor: Negative"),
        ("CD3+", "CD3-"),
        ("PD-L1+", "PD-L1-"),
        ("PD-L1+: CD8-", "PD-L1-: CD8-"),
        ("Tumor+", "Tumor"),
        ("Tumour", "Tumuor"),
    ],
)
def test_names_that_are_two_are_not_paired(one: str, other: str) -> None:
    assert near_duplicates([one, other]) == []


def test_the_same_name_twice_is_one_name() -> None:
    assert near_duplicates(["Tumor", "Tumor"]) == []
    assert near_duplicates(["tumor", "Tumor", "TUMOR"]) == [("TUMOR", "Tumor"), ("TUMOR", "tumor"), ("Tumor", "tumor")]


MAPPED = ClassMap(
    classes={"Tumor": ClassRule(aliases=("Tumour", "Ca")), "Stroma": ClassRule()},
    starred={"Region*": "scope", "Artefact*": "exclude", "Note*": "skip", "Ignore all*": "scope"},
)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Tumor", Meaning("Tumor", "label")),
        ("TUMOUR", Meaning("Tumor", "label")),
        ("ca", Meaning("Tumor", "label")),
        ("stroma", Meaning("Stroma", "label")),
        ("Region*", Meaning("Region*", "scope")),
        ("region*", Meaning("region*", "scope")),
        ("Artefact*", Meaning("Artefact*", "exclude")),
        ("Note*", Meaning("Note*", None, "class Note* is not a label")),
        ("Ignore*", Meaning("Ignore*", "exclude")),
        ("Ignore all*", Meaning("Ignore all*", "scope")),
        ("Other*", Meaning("Other*", None, "class Other* is not a label", unknown="starred")),
        (
            "Tumer",
            Meaning("Tumer", None, "class Tumer is not in the class map. Did you mean 'Tumor'?", unknown="unlisted"),
        ),
        ("Fat", Meaning("Fat", None, "class Fat is not in the class map.", unknown="unlisted")),
        (
            "Ignore*: Positive",
            Meaning("Ignore*: Positive", None, "class Ignore*: Positive is not in the class map.", unknown="unlisted"),
        ),
        (None, Meaning(None, None, "no class")),
    ],
)
def test_a_class_map_says_what_a_name_means(name: str | None, meant: Meaning) -> None:
    assert meaning(name, MAPPED) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Tumor", Meaning("Tumor", "label")),
        ("tumor", Meaning("tumor", "label")),
        ("Ignore*", Meaning("Ignore*", "exclude")),
        ("Ignore*: Positive", Meaning("Ignore*: Positive", "label")),
        ("Region*", Meaning("Region*", None, "class Region* is not a label", unknown="starred")),
        ("Tumor: Ignore*", Meaning("Tumor: Ignore*", None, "class Tumor: Ignore* is not a label", unknown="starred")),
    ],
)
def test_without_a_class_map_each_name_is_its_own_class(name: str, meant: Meaning) -> None:
    assert meaning(name, ClassMap()) == meant


@pytest.mark.parametrize(
    ("policy", "meant"),
    [
        ("skip", Meaning(None, None, "no class")),
        ("error", Meaning(None, None, "no class")),
        ("exclude", Meaning(None, "exclude")),
        ("scope", Meaning(None, "scope")),
    ],
)
def test_what_has_no_class_has_a_policy(policy: Any, meant: Meaning) -> None:
    assert meaning(None, ClassMap(unclassified=policy)) == meant


def test_a_starred_name_may_be_an_alias_of_a_class() -> None:
    rules = ClassMap(classes={"Region": ClassRule(aliases=("Region*",))})
    assert meaning("region*", rules) == Meaning("Region", "label")

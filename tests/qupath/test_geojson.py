"""Features are read one after the other, and are those that ``json.loads`` of the whole text would give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from w2wpath.errors import AnnotationError
from w2wpath.qupath.geojson import GEOMETRIES, children, table, top_features, walk

EXPORT = "Export it from QuPath: File > Export objects as GeoJSON."
STRANGER = (
    "f.json: valid JSON, but not GeoJSON of QuPath (expected a FeatureCollection, an array of Features, a Feature or "
    f"a geometry). {EXPORT}"
)
FEATURE = {"type": "Feature", "geometry": None, "properties": {}}
POINT = {"type": "Point", "coordinates": [1, 2]}


class Refused(Exception):
    """The reference does not take this text."""


class Table(dict[str, Any]):
    """An object that remembers how often its text had ``features``."""

    lists = 0


def _table(pairs: list[tuple[str, Any]]) -> Table:
    found = Table(pairs)
    found.lists = sum(key == "features" for key, _ in pairs)
    return found


def reference(text: str) -> list[Any]:
    """What a text holds, by ``json.loads`` and recursion; features without a type are taken in the outermost object."""
    try:
        whole = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_table)
    except ValueError:
        raise Refused from None
    if isinstance(whole, Table) and whole.lists > 1:
        raise Refused
    if isinstance(whole, Table) and isinstance(whole.get("features"), list):
        if whole.get("type", "FeatureCollection") != "FeatureCollection":
            raise Refused
        return list(_spread(whole["features"]))
    return list(_spread(whole))


def _spread(part: Any) -> Iterator[Any]:
    if isinstance(part, list):
        for one in part:
            yield from _spread(one)
    elif not isinstance(part, dict):
        raise Refused
    elif part.get("type") == "Feature":
        yield part
    elif part.get("type") == "FeatureCollection":
        yield from _spread(part.get("features", []))
    elif part.get("type") in GEOMETRIES:
        yield {"type": "Feature", "geometry": part, "properties": {}}
    elif isinstance(part.get("root"), dict):
        yield from _spread({"type": "Feature", **part["root"]})
    else:
        raise Refused


def found(text: str) -> str | None:
    """The features as text; None where they are refused."""
    try:
        return json.dumps(list(top_features(text, "f.json")))
    except AnnotationError:
        return None


def expected(text: str) -> str | None:
    try:
        return json.dumps(reference(text))
    except Refused:
        return None


def refusal(text: str) -> str:
    with pytest.raises(AnnotationError) as caught:
        list(top_features(text, "f.json"))
    return str(caught.value)


KEYS = st.sampled_from(["type", "features", "root", "geometry", "properties", "a", 'é\n"'])
TYPES = st.sampled_from(["Feature", "FeatureCollection", "Polygon", "Point", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | TYPES
FEATURES = st.fixed_dictionaries({"type": st.just("Feature")}, optional={"id": LEAVES, "features": LEAVES})
VALUES = st.recursive(
    LEAVES | FEATURES,
    lambda inner: (
        st.lists(inner | FEATURES, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.fixed_dictionaries({"type": TYPES, "features": st.lists(inner | FEATURES, max_size=3)})
        | st.fixed_dictionaries({"features": st.lists(FEATURES, max_size=3), "type": st.just("FeatureCollection")})
        | st.fixed_dictionaries({"root": inner | FEATURES})
    ),
    max_leaves=10,
)
SPACES = st.sampled_from(["", " ", "\n", "\t\r\n  "])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """JSON with space of every kind and names that may occur twice; sometimes with a byte order mark."""
    space = draw(SPACES)
    around = (f"{space},{space}", f"{space}:{space}")
    if draw(st.booleans()):
        text = json.dumps(draw(VALUES), separators=around)
    else:
        pairs = draw(st.lists(st.tuples(KEYS, VALUES), max_size=4))
        inside = around[0].join(f"{json.dumps(key)}{around[1]}{json.dumps(value)}" for key, value in pairs)
        text = f"{{{space}{inside}{space}}}"
    return draw(st.sampled_from(["", "\ufeff"])) + space + text + space


@settings(max_examples=1_000)
@given(text=texts())
@example(text='{"features":[{"type":"Feature"}],"features":[]}')
@example(text='{"features":[],"type":"Feature"}')
@example(text='{"type":"Feature","features":[]}')
@example(text='{"type":"Feature","features":null}')
@example(text='{"features":[[],[[{"type":"Feature"}]],[]]}')
@example(text='[{"features":[]}]')
@example(text='[{"type":"FeatureCollection"}]')
@example(text='{"type":"FeatureCollection","features":{}}')
@example(text='{"root":{"type":"FeatureCollection","features":[{"type":"Feature"}]}}')
def test_any_json_gives_the_features_that_json_loads_gives(text: str) -> None:
    assert found(text) == expected(text)


@settings(max_examples=1_000)
@given(text=texts(), place=st.floats(0, 1, exclude_max=True), letter=st.sampled_from(["", *'[]{},:" \\01eN\x00']))
def test_any_text_with_a_fault_is_refused_where_json_refuses_it(text: str, place: float, letter: str) -> None:
    at = int(place * len(text))
    for wrong in (text[:at] + letter + text[at:], text[:at] + letter + text[at + 1 :], text[:at]):
        assert found(wrong) == expected(wrong)


FAULTS = {
    "": ("expecting value", 1, 1),
    " \n ": ("expecting value", 2, 2),
    "<html>": ("expecting value", 1, 1),
    "[": ("expecting value", 1, 2),
    "{": ("expected a name in quotes", 1, 2),
    '[\n {"type": "Feature",}\n]': ("illegal trailing comma before end of object", 2, 20),
    '[\n {"type" "Feature"}\n]': ("expecting ':' delimiter", 2, 10),
    '[{"type":"Feature"}\n{"type":"Feature"}]': ("expected ',' or ']'", 2, 1),
    '[{"type":"Feature"},]': ("expecting value", 1, 21),
    '{"type":"FeatureCollection" "features":[]}': ("expected ',' or '}'", 1, 29),
    '{"type":"FeatureCollection","features":[],}': ("expected a name in quotes", 1, 43),
    '{"features" []}': ("expected ':'", 1, 13),
    "{features:[]}": ("expected a name in quotes", 1, 2),
    '{"features":[{"type":"Feature"}': ("expected ',' or ']'", 1, 32),
    '{"features":[]': ("expected ',' or '}'", 1, 15),
    '{"features":[],\n"features":[]}': ("a second list of features", 2, 12),
    '[]\n[]': ("extra data", 2, 1),
    '{"type":"Feature"} x': ("extra data", 1, 20),
    '["\n"]': ("invalid control character at", 1, 3),
    '["\\x"]': ("invalid \\escape", 1, 3),
    '["a': ("unterminated string starting at", 1, 2),
    "[nul]": ("expecting value", 1, 2),
    "'x'": ("expecting value", 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_shown_by_line_and_column(text: str) -> None:
    why, line, column = FAULTS[text]
    message = refusal(text)
    if text == '[\n {"type": "Feature",}\n]' and "trailing comma" not in message:  # before Python 3.13
        why, column = "expecting property name enclosed in double quotes", 21
    assert message == f"f.json: not GeoJSON ({why}, line {line} column {column}). {EXPORT}"


@pytest.mark.parametrize("part", ["1", "null", '"x"', "{}", '{"type":"x"}', '{"type":["Feature"]}', '{"root":5}'])
@pytest.mark.parametrize("wrap", ["PART", "[PART]", '{"type":"FeatureCollection","features":[PART]}'])
def test_json_of_something_else_is_refused(part: str, wrap: str) -> None:
    assert refusal(wrap.replace("PART", part)) == STRANGER


@pytest.mark.parametrize("text", ['{"type":"FeatureCollection","features":null}', '{"features":[],"type":"Feature"}'])
def test_an_object_that_is_two_things_is_refused(text: str) -> None:
    assert refusal(text) == STRANGER


@pytest.mark.parametrize("text", ["[]", "[[],[[]]]", '{"type":"FeatureCollection"}', '{"features":[]}'])
def test_nothing_is_nothing(text: str) -> None:
    assert list(top_features(text, "f.json")) == []


def test_numbers_that_json_does_not_have_are_read() -> None:
    (one,) = top_features('[{"type":"Feature","a":[NaN,Infinity,-Infinity,1e999]}]', "f.json")
    assert [str(value) for value in one["a"]] == ["nan", "inf", "-inf", "inf"]


def test_a_number_of_too_many_digits_is_refused_in_words() -> None:
    message = refusal(f'[{{"type":"Feature","id":{"1" * 10_000}}}]')
    assert message.startswith("f.json: not GeoJSON (exceeds the limit (4300 digits) for integer string conversion")
    assert message.endswith(f", line 1 column 2). {EXPORT}")


def test_the_last_of_repeated_names_counts() -> None:
    (one,) = top_features('{"type":"x","type":"Feature","id":1,"id":2,"properties":{"a":1,"a":2}}', "f.json")
    assert one == {"type": "Feature", "id": 2, "properties": {"a": 2}}


def test_arrays_nested_without_end_are_only_long() -> None:
    deep = 100_000
    assert list(top_features("[" * deep + json.dumps(FEATURE) + "]" * deep, "f.json")) == [FEATURE]
    assert list(top_features(f'{{"features":{"[" * deep}{"]" * deep}}}', "f.json")) == []
    assert refusal("[" * deep) == f"f.json: not GeoJSON (expecting value, line 1 column 100001). {EXPORT}"
    assert refusal("[" * deep + "]" * (deep - 1)) == (
        f"f.json: not GeoJSON (expected ',' or ']', line 1 column 200000). {EXPORT}"
    )


@pytest.mark.parametrize(
    ("opened", "closed", "column"),
    [
        ('{"a":', "}", 6),
        ('{"type":"Feature","properties":{"childObjects":[', "]}}", 32),
        ('{"type":"FeatureCollection","features":[', "]}", 41),
        ('{"type":"Feature","geometry":{"type":"GeometryCollection","geometries":[', "]}}", 30),
        ('{"root":', "}", 9),
    ],
    ids=["objects", "children", "collections", "geometries", "roots"],
)
def test_what_is_nested_without_end_is_refused_in_words(opened: str, closed: str, column: int) -> None:
    text = opened * 100_000 + "1" + closed * 100_000
    assert refusal(text) == f"f.json: not GeoJSON (nested too deeply, line 1 column {column}). {EXPORT}"


def test_features_are_found_before_the_rest_is_read() -> None:
    features = top_features('[{"type":"Feature","id":1},{"type":"Feature","id":2}, oh', "f.json")
    assert [next(features)["id"], next(features)["id"]] == [1, 2]
    with pytest.raises(AnnotationError):
        next(features)


def test_a_geometry_and_a_root_become_features() -> None:
    text = json.dumps([POINT, {"root": {"id": 5, "properties": {"objectType": "root"}}, "tmaGrid": None}])
    assert list(top_features(text, "f.json")) == [
        {"type": "Feature", "geometry": POINT, "properties": {}},
        {"type": "Feature", "id": 5, "properties": {"objectType": "root"}},
    ]


def test_objects_are_walked_parents_first() -> None:
    def one(ident: str, *below: Any, key: str = "childObjects") -> dict[str, Any]:
        return {"id": ident, "properties": {key: list(below)}}

    tree = one("a", one("b", one("c"), one("d")), one("e"), key="children")
    tree["childObjects"] = [one("f")]
    assert [(found.index, found.feature["id"], found.parent) for found in walk(tree, 7)] == [
        (7, "a", None),
        (8, "b", 7),
        (9, "c", 8),
        (10, "d", 8),
        (11, "e", 7),
        (12, "f", 7),
    ]


def test_a_child_that_is_no_object_is_counted_as_an_empty_one() -> None:
    assert children({"properties": {"childObjects": [1, {"id": 2}, None], "children": "x"}}) == [{}, {"id": 2}, {}]
    assert children({"properties": None, "children": {"a": 1}}) == []


def test_a_table_is_an_object_or_an_empty_one() -> None:
    assert [table({"a": value}, "a") for value in ({"b": 1}, [], None, "x", 5)] == [{"b": 1}, {}, {}, {}, {}]
    assert table({}, "a") == {}

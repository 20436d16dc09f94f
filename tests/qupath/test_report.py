"""The import report is valid JSON, whole, in file order, whatever the objects are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import file_size_limit
from w2wpath.errors import DiskError
from w2wpath.qupath.report import SCHEMA, Line, counts, write_report

KEPT = Line(0, "a", "Tumor", "kept", "label")
MENDED = Line(1, "b", "Tumor", "repaired", "label", "ring was not closed", 0, 10.006, 12.0)
NOT_USED = Line(2, "", None, "ignored", None, "no class")
CORE = Line(3, "c", None, "kept", "core")
EMPTY = Line(4, "d", "x", "ignored", None, "empty area")
LINES = [KEPT, MENDED, NOT_USED, CORE, EMPTY, Line(5, "", None, "ignored", None, "no class")]


def written(folder: Path, lines: list[Line], **facts: Any) -> dict[str, Any]:
    path = folder / "report.json"
    write_report(path, "a.geojson", lines, ["look"], facts)
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_a_line_says_what_it_knows_and_no_more() -> None:
    assert [line.as_dict() for line in (KEPT, MENDED, NOT_USED, CORE)] == [
        {"index": 0, "id": "a", "status": "kept", "use": "label", "reason": "", "class": "Tumor"},
        {
            "index": 1,
            "id": "b",
            "status": "repaired",
            "use": "label",
            "reason": "ring was not closed",
            "parent": 0,
            "px_before": 10.01,
            "px": 12.0,
            "class": "Tumor",
        },
        {"index": 2, "id": "", "status": "ignored", "reason": "no class", "class": None},
        {"index": 3, "id": "c", "status": "kept", "use": "core", "reason": "", "class": None},
    ]


def test_objects_are_counted_by_what_became_of_them() -> None:
    assert counts(LINES) == {
        "objects": 6,
        "kept": 2,
        "repaired": 1,
        "ignored": 3,
        "ignored_by_reason": {"empty area": 1, "no class": 2},
    }
    assert counts([]) == {"objects": 0, "kept": 0, "repaired": 0, "ignored": 0, "ignored_by_reason": {}}


def test_the_report_is_whole_and_in_file_order(tmp_path: Path) -> None:
    assert written(tmp_path, LINES, slide="s.svs", frame={"name": "qupath"}) == {
        "schema": SCHEMA,
        "file": "a.geojson",
        "slide": "s.svs",
        "frame": {"name": "qupath"},
        "counts": counts(LINES),
        "warnings": ["look"],
        "objects": [line.as_dict() for line in LINES],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_each_object_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, LINES)
    text = (tmp_path / "report.json").read_text("utf-8").splitlines()
    first = text.index(' "objects": [') + 1
    assert [json.loads(line.rstrip(",")) for line in text[first:-1]] == [line.as_dict() for line in LINES]
    assert text[-1] == "]}"


def test_a_report_of_nothing_is_a_report(tmp_path: Path) -> None:
    assert written(tmp_path, [])["objects"] == []


@pytest.mark.parametrize("word", ['"', "\\", "\n", "]}", "Ä 腫瘍 😀", "\udcff", "\x00", "\u2028"])
def test_odd_words_come_back_as_they_were(tmp_path: Path, word: str) -> None:
    path = tmp_path / "report.json"
    write_report(path, word, [Line(0, word, word, "ignored", None, word)], [word], {word: word})
    found = json.loads(path.read_text("utf-8"))
    assert (found["file"], found["warnings"], found[word]) == (word, [word], word)
    assert found["objects"] == [{"index": 0, "id": word, "status": "ignored", "reason": word, "class": word}]


def test_letters_stay_readable(tmp_path: Path) -> None:
    written(tmp_path, [Line(0, "", "Ägypten 腫瘍", "kept", "label")])
    assert "Ägypten 腫瘍" in (tmp_path / "report.json").read_text("utf-8")


LINE = st.builds(
    Line,
    index=st.integers(0, 9),
    id=st.text(),
    class_name=st.none() | st.text(),
    status=st.sampled_from(["kept", "repaired", "ignored"]),
    use=st.none() | st.just("label"),
    reason=st.text(),
    parent=st.none() | st.integers(0, 9),
    px_before=st.none() | st.floats(0, 1e18),
    px=st.none() | st.floats(0, 1e18),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE, max_size=4))
def test_whatever_the_lines_hold_the_report_reads_back(tmp_path: Path, lines: list[Line]) -> None:
    assert written(tmp_path, lines)["objects"] == [line.as_dict() for line in lines]


def test_a_full_disk_leaves_the_report_that_was_there(tmp_path: Path) -> None:
    before = written(tmp_path, [KEPT])
    path = tmp_path / "report.json"
    with file_size_limit(1_000), pytest.raises(DiskError) as caught:
        write_report(path, "a.geojson", LINES * 100, [], {})
    assert str(caught.value) == (
        f"{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert json.loads(path.read_text("utf-8")) == before
    assert [found.name for found in tmp_path.iterdir()] == ["report.json"]

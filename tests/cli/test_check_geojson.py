"""``check-geojson`` tells each fault in a line, the refusals first, with the exit code that scripts need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.conftest import run_python
from tests.qupath.test_check import BAD, BOW_TIE, ID, RED, one, saved
from w2wpath.cli import check_geojson
from w2wpath.errors import ConfigError

Call = Callable[..., Result]
RGB = "Write [red, green, blue], each from 0 to 255."


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command by its name, in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(check_geojson.NAME)(check_geojson.run)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["check-geojson", *words])


def lines(result: Result) -> list[str]:
    return result.stdout.splitlines()


def test_a_good_file_is_said_to_be_good(call: Call) -> None:
    saved(Path("a.geojson"), [one(), one()])
    said = call("a.geojson")
    assert (said.exit_code, lines(said)) == (0, ["a.geojson: nothing that QuPath 0.5 or 0.7 refuses in 2 object(s)."])


def test_refusals_come_before_warnings_and_the_verdict_last(call: Call) -> None:
    features = [one() | {"id": "t1"}, BAD, one(BOW_TIE, classification={"name": "AC", "color": RED})]
    saved(Path("a.geojson"), features)
    said = call("a.geojson")
    assert (said.exit_code, lines(said)) == (
        1,
        [
            "object 1 (no id, class Tumor): id is null; refused by QuPath 0.5, 0.7. Leave the id out, or write a UUID.",
            f"object 1 (no id, class Tumor): the class has no color; refused by QuPath 0.5, 0.7. {RGB}",
            f"object 2 (id {ID}, class AC): geometry is not valid (self-intersection); QuPath 0.5 takes it, but its "
            "area may be wrong; refused by QuPath 0.7. Draw it without crossings, spikes and overlaps.",
            'object 0 (id t1, no class): warning: id "t1" is no UUID: the object gets a new one. Write a UUID.',
            "a.geojson: refused by QuPath 0.5, 0.7 for 2 of 3 object(s); 1 warning(s). --fix OUT writes a mended copy.",
        ],
    )


def test_warnings_alone_are_no_failure(call: Call) -> None:
    Path("a.geojson").write_bytes(b"\xef\xbb\xbf" + json.dumps(one()).encode())
    said = call("a.geojson")
    assert (said.exit_code, lines(said)) == (
        0,
        [
            "file: warning: a.geojson: begins with a byte-order mark. Write it without one.",
            "a.geojson: nothing that QuPath 0.5 or 0.7 refuses in 1 object(s); 1 warning(s).",
        ],
    )


def test_at_most_fifty_lines_are_shown_and_json_has_all(call: Call) -> None:
    saved(Path("a.geojson"), [one(name=None)] * 60)
    said = lines(call("a.geojson"))
    assert len(said) == 52
    assert said[50:] == [
        "... and 10 more (--json lists all)",
        "a.geojson: refused by QuPath 0.5, 0.7 for 60 of 60 object(s). --fix OUT writes a mended copy.",
    ]
    told = call("a.geojson", "--json")
    summary = json.loads(told.stdout)
    assert told.exit_code == 1
    assert (summary["file"], summary["objects"], summary["refused_by"]) == ("a.geojson", 60, ["0.5", "0.7"])
    assert len(summary["faults"]) == 60
    assert summary["faults"][7] == {
        "index": 7,
        "id": ID,
        "class_name": "",
        "what": "name is null",
        "cure": "Leave the name out, or write a text.",
        "refused_by": ["0.5", "0.7"],
    }


def test_fix_says_what_was_done(call: Call) -> None:
    saved(Path("a.geojson"), [one() | {"id": "t1"}, one(classification={"name": "Tumor"})])
    said = call("a.geojson", "--fix", "b.geojson.gz")
    assert (said.exit_code, lines(said)) == (
        0,
        [
            f'object 1 (id {ID}, class Tumor): class written as {{"name": "Tumor", "color": [200, 0, 0]}}',
            'in the new file, object 0 (id t1, no class): warning: id "t1" is no UUID: the object gets a new one. '
            "Write a UUID.",
            "2 object(s) read, 0 left out, 2 written",
            "b.geojson.gz: checked again, nothing is left that QuPath 0.5 or 0.7 refuses.",
        ],
    )
    assert call("b.geojson.gz").exit_code == 0


def test_fix_of_a_good_file_says_so(call: Call) -> None:
    saved(Path("a.geojson"), [one()])
    said = call("a.geojson", "--fix", "b.geojson")
    assert (said.exit_code, lines(said)[0]) == (0, "1 object(s) read, 0 left out, 1 written (nothing had to be mended)")


def test_an_object_that_cannot_be_kept_is_told_first_and_exits_3(call: Call) -> None:
    saved(Path("a.geojson"), [one(name=None), one(None)])
    said = call("a.geojson", "--fix", "b.geojson")
    assert (said.exit_code, lines(said)) == (
        3,
        [
            f"object 1 (id {ID}, no class): left out: no geometry",
            f"object 0 (id {ID}, no class): name left out",
            "2 object(s) read, 1 left out, 1 written",
            "b.geojson: checked again, nothing is left that QuPath 0.5 or 0.7 refuses.",
        ],
    )
    told = call("a.geojson", "--fix", "b.geojson", "--json")
    assert told.exit_code == 3
    assert json.loads(told.stdout) == {
        "file": "a.geojson",
        "out": "b.geojson",
        "objects": 2,
        "written": 1,
        "left_out": 1,
        "done": [
            {"index": 0, "id": ID, "class_name": "", "what": "name left out", "left_out": False},
            {"index": 1, "id": ID, "class_name": "", "what": "left out: no geometry", "left_out": True},
        ],
        "refused_by": [],
        "faults": [],
    }


@pytest.mark.parametrize(
    ("out", "error"),
    [
        ("b.zip", "b.zip: --fix writes no zip. Let the name end in .geojson or .geojson.gz."),
        ("folder", "folder: is a folder. Give --fix the name of a file."),
        ("none/b.geojson", "none/b.geojson: there is no folder none. Make it, or choose another place."),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_reading(call: Call, out: str, error: str) -> None:
    Path("folder").mkdir()
    said = call("no such file", "--fix", out)
    assert isinstance(said.exception, ConfigError)
    assert str(said.exception) == error


@pytest.mark.parametrize("words", [["--max-mb", "1"], ["--max-mb", "1", "--fix", "b.geojson"]])
def test_the_limit_of_megabytes_holds(call: Call, words: list[str]) -> None:
    saved(Path("a.geojson"), one(name="x" * 1_000_000))
    said = call("a.geojson", *words)
    assert str(said.exception) == (
        "a.geojson: holds more than 1 MB. Export fewer objects (regions without detections), "
        "or allow more with --max-mb."
    )


def test_the_limit_is_that_of_the_reader() -> None:
    import inspect

    from w2wpath.qupath.source import MAX_MB

    assert inspect.signature(check_geojson.run).parameters["max_mb"].default == MAX_MB


def test_importing_the_command_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, w2wpath.cli.check_geojson; print(*{name.split('.')[0] for name in sys.modules})")
    assert loaded.returncode == 0, loaded.stderr
    assert set(loaded.stdout.split()) & {"shapely", "numpy", "torch"} == set()

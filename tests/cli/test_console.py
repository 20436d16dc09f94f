"""Results on stdout, progress on stderr; tables that line up; JSON that every reader accepts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from w2wpath.cli import console
from w2wpath.cli.console import Bars, Lines, make_progress, table, tell, tell_json, warn


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def test_columns_of_numbers_are_aligned_right_and_others_left() -> None:
    assert table(["class", "tiles", "share"], [["Tumor", 5, "1.0%"], ["Immune cells", 1234, "12.0%"]]) == (
        "class         tiles  share\n------------  -----  -----\nTumor             5  1.0%\nImmune cells   1234  12.0%"
    )


def test_a_column_with_one_word_in_it_is_aligned_left() -> None:
    assert table(["a", "value"], [["x", 1], ["y", "-"]]) == "a  value\n-  -----\nx  1\ny  -"


def test_a_table_without_rows_is_its_header() -> None:
    assert table(["class", "tiles"], []) == "class  tiles\n-----  -----"


def test_json_has_null_where_a_number_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    tell_json({"a": math.nan, "b": [1.5, math.inf, (-math.inf,)], "c": {"d": math.nan}, "e": None, "f": True})
    said = capsys.readouterr()
    assert "NaN" not in said.out
    assert json.loads(said.out) == {"a": None, "b": [1.5, None, [None]], "c": {"d": None}, "e": None, "f": True}
    assert said.err == ""


def test_json_writes_paths_and_any_letter(capsys: pytest.CaptureFixture[str]) -> None:
    tell_json({"path": Path("a b/ä"), "name": "组织"})
    assert json.loads(capsys.readouterr().out) == {"path": "a b/ä", "name": "组织"}


def test_results_go_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    tell("kept 3")
    tell()
    warn("look at it")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("kept 3\n\n", "warning: look at it\n")


def test_lines_come_at_most_every_five_seconds_and_tell_the_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with Lines().track("tile", 10) as step:
        for done in range(10):
            clock.now += 2
            step(1, f"slide {done + 1}")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "tile: 3/10, 14 s left (slide 3)",
        "tile: 6/10, 8 s left (slide 6)",
        "tile: 9/10, 2 s left (slide 9)",
        "tile: 10/10 in 20 s (slide 10)",
    ]


def test_lines_say_minutes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Lines().track("fold 1/5", 100) as step:
        clock.now += 61.4
        step(10, "")
        clock.now += 60
        step(90, "")
    said = capsys.readouterr().err.splitlines()
    assert said == ["fold 1/5: 10/100, 9 min 13 s left", "fold 1/5: 100/100 in 2 min 01 s"]


def test_quick_work_is_one_line_and_empty_work_too(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with Lines().track("read a.svs", 2) as step:
        clock.now += 1
        step(2, "")
    with Lines().track("read b.svs", 0):
        clock.now += 9
    assert capsys.readouterr().err.splitlines() == ["read a.svs: 2/2 in 1 s", "read b.svs: 0/0 in 9 s"]


def test_where_stderr_is_no_terminal_progress_is_lines() -> None:
    assert isinstance(make_progress(), Lines)


@pytest.mark.parametrize("progress", [Lines(), Bars()])
def test_a_line_is_said_as_it_is_on_stderr(progress: Lines | Bars, capsys: pytest.CaptureFixture[str]) -> None:
    progress.say("[red]slide[/red] [/] :smile:")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "[red]slide[/red] [/] :smile:\n")


def test_a_long_line_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Bars().say("a/long/path/" * 40)
    assert capsys.readouterr().err == "a/long/path/" * 40 + "\n"


def test_bars_show_names_as_they_are_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().track("[red]a[/x].svs", 2) as step:
        step(2, "[/]")
    said = capsys.readouterr()
    assert said.out == ""
    assert "[red]a[/x].svs" in said.err
    assert "2/2" in said.err
    assert "[/]" in said.err

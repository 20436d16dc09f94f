"""Figures of READMEs come from the files of expected figures."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parents[2] / "pipelines"
FILLED: Callable[[str, Path], str] = runpy.run_path(str(PIPELINES / "figures.py"))["filled"]
MARKS = "above\n<!-- figures: e.json {} -->\nold\n<!-- end of figures -->\nbelow\n"
ENDS = {"low": 0.2, "high": 0.3456}
VALUES = [
    {"set": "A", "table": "accuracy", "row": "all", "figure": "accuracy", "value": 0.5, "tolerance": 0.1},
    {"set": "B", "table": "accuracy", "row": "all", "figure": "accuracy", "value": 0.6666, "tolerance": 0.1},
    {"set": "B", "table": "accuracy", "row": "random", "figure": "accuracy", "value": 0.25, "tolerance": 0.1, **ENDS},
    {"set": "C", "table": "accuracy", "row": "all", "figure": "accuracy", "value": 0.9, "tolerance": 0.1},
    {
        "set": "A",
        "table": "headline",
        "row": "blur, u, preset paper",
        "figure": "sensitivity at 5 %",
        "value": 1.0,
        "tolerance": 0.1,
    },
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "e.json").write_text(json.dumps(VALUES))
    return tmp_path


def test_a_table_is_made_of_the_sets_asked_for(home: Path) -> None:
    made = FILLED(MARKS.format("accuracy accuracy A,B"), home)
    assert made == MARKS.format("accuracy accuracy A,B").replace(
        "old\n",
        "| accuracy | A | B |\n|---|---|---|\n| all | 0.500 | 0.667 |\n| random | – | 0.250 [0.200, 0.346] |\n",
    )
    assert FILLED(made, home) == made


def test_the_headline_has_kinds_and_scores(home: Path) -> None:
    made = FILLED(MARKS.format("headline sensitivity at 5 % A"), home)
    assert "| sensitivity at 5 % | u, preset paper |\n|---|---|\n| blur | 1.000 |\n" in made


def test_figures_that_are_not_there_are_refused(home: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        FILLED(MARKS.format("gain accuracy A"), home)
    assert str(caught.value) == "e.json has no figure 'accuracy' of table 'gain' for A"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PIPELINES.glob("*/README.md")))
def test_every_readme_says_what_its_files_say(name: str) -> None:
    text = (PIPELINES / name / "README.md").read_text("utf-8")
    assert FILLED(text, PIPELINES / name) == text

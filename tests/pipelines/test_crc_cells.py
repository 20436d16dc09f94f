"""The figures of pipelines/crc are what its stored cells still say: a change of a score or a rule shows here."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest

from w2wpath.benchmarks.study.report import conduct
from w2wpath.progress import Silent

CRC = Path(__file__).parents[2] / "pipelines" / "crc"
COLUMNS = (
    ("accuracy", "accuracy", 3),
    ("gain", "gain captured", 2),
    ("lists", "sensitivity", 2),
    ("lists", "false removals", 3),
    ("training", "AUROC", 3),
)
"""Table, figure and digits of each column of the README's table, in its order."""


@pytest.mark.long
@pytest.mark.realdata
def test_every_row_of_the_readme_is_what_its_cells_say(test_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(CRC / "cells-crc27.zip") as stored:
        stored.extractall(tmp_path / "cells")
    conduct(CRC / "study-full.toml", tmp_path, test_data / "crc27", 1, True, Silent())
    tables = json.loads((tmp_path / "study.json").read_text("utf-8"))["tables"]
    text = (CRC / "README.md").read_text("utf-8")
    section = text.split("### Every row, seed 1")[1].split("\n### ")[0]
    told = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE))
    assert len(told) >= 10
    found = {
        row: " | ".join(_told(tables[table].get(row, {}).get(name), digits) for table, name, digits in COLUMNS)
        for row in told
    }
    assert found == told


def _told(figure: dict[str, float | None] | None, digits: int) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"

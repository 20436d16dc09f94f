"""The figures of pipelines/crc are what its stored cells still say: a change of a score or a rule shows here."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

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
MAIN = ("recommended", "all", "oracle", "random", "image statistics")
"""Rows of the tables by seed."""


@pytest.mark.long
@pytest.mark.realdata
@pytest.mark.parametrize("seed", [0, 1])
def test_the_readme_says_what_its_cells_say(test_data: Path, tmp_path: Path, seed: int) -> None:
    tables = _reported(test_data, tmp_path, f"[{seed}]")
    text = " ".join((CRC / "README.md").read_text("utf-8").split())
    vote, training, unseen = (
        tables[table][row]
        for table, row in (
            ("vote", "recommended"),
            ("training", "recommended"),
            ("unseen", "recommended, threshold quantile"),
        )
    )
    spurious, good = (_percent(vote[name]) for name in ("sensitivity", "false removals"))
    parts = ("of the spurious tiles and", "of the good are excluded with") if seed == 0 else ("and", "with")
    assert f"{spurious} {parts[0]} {good} {parts[1]} seed {seed}" in text
    asked = (training["AUROC"], training["sensitivity at 5 %"], training["AUROC label"], unseen["sensitivity at 5 %"])
    assert all(_told(one, 3) in text for one in asked)
    accuracy = {row: _told(tables["accuracy"][row]["accuracy"], 3) for row in MAIN}
    assert all(told in text for told in accuracy.values())


@pytest.mark.long
@pytest.mark.realdata
def test_the_table_of_every_row_is_that_of_both_seeds(test_data: Path, tmp_path: Path) -> None:
    told = _rows_told()
    assert _table(_reported(test_data, tmp_path, "[0, 1]"), told) == told


def _reported(test_data: Path, out: Path, seeds: str) -> Mapping[str, Any]:
    """Return the tables of the stored cells of some seeds."""
    with zipfile.ZipFile(CRC / "cells-crc27.zip") as stored:
        stored.extractall(out / "cells")
    text = (CRC / "study-full.toml").read_text("utf-8")
    assert "seeds = [0, 1]" in text
    (out / "study.toml").write_text(text.replace("seeds = [0, 1]", f"seeds = {seeds}"), "utf-8")
    assert conduct(out / "study.toml", out, test_data / "crc27", 1, True, Silent()).missing == ()
    tables: Mapping[str, Any] = json.loads((out / "study.json").read_text("utf-8"))["tables"]
    return tables


def _table(tables: Mapping[str, Any], rows: Iterable[str]) -> dict[str, str]:
    return {
        row: " | ".join(_told(tables[table].get(row, {}).get(name), digits) for table, name, digits in COLUMNS)
        for row in rows
    }


def _rows_told() -> dict[str, str]:
    text = (CRC / "README.md").read_text("utf-8")
    section = text.split("### Every row, both seeds")[1].split("\n### ")[0]
    told = dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE))
    assert len(told) >= 26
    return told


def _percent(figure: Mapping[str, float]) -> str:
    value, low, high = (100 * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _told(figure: dict[str, float | None] | None, digits: int) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.{digits}f}"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"

"""``w2wpath run`` conducts a study and tells what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.study.conftest import TOML, lay_out
from tests.cli.conftest import Run


def test_run_writes_a_study_and_tells_where(run: Run, tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        TOML.replace('rows = ["recommended", "all", "oracle", "random", "image statistics"]', "rows = ['all']"),
    )
    said = run("run", "toy.toml", "-o", "out", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert (told["out"], told["failed"]) == ("out", {})
    assert [Path(path).name for path in told["files"][:3]] == ["study.md", "study.csv", "study.json"]
    assert all((tmp_path / path).exists() for path in told["files"])
    assert "net-all-f1-s0: " in said.err


def test_a_misspelt_row_is_an_error_in_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(TOML.replace('"random"', '"randon"'), "utf-8")
    said = run("run", "toy.toml")
    assert said.code == 1
    assert said.last.endswith("got 'randon'. Did you mean 'random'?")

"""``share`` says what it packed and what not, and loads nothing heavy for its help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.conftest import run_python
from tests.heatmaps.test_share import fill
from w2wpath.cli import share

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command in the test's own folder, where ``out`` holds one slide."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "out", "H21-0815")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(share.NAME)(share.run)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["share", *words])


def test_it_says_which_slide_is_which(call: Call) -> None:
    said = call("out", "--zip", "-o", "for you.zip")
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines() == [
        "in the zip  slide",
        "----------  --------",
        "slide-01    H21-0815",
        "for you.zip: 4 files",
        "Keep the list above: nothing in the zip leads back. Look at the slides for what is on the glass.",
    ]
    assert Path("for you.zip").is_file()


def test_without_a_name_the_zip_lies_beside_the_folder(call: Call) -> None:
    assert call("out/", "--zip").exit_code == 0
    assert Path("out.zip").is_file()


def test_what_is_missing_is_a_warning_and_exit_code_3(call: Call) -> None:
    Path("out", "H21-0815.report.html").unlink()
    said = call("--json", "--keep-names")
    assert said.exit_code == 3
    assert json.loads(said.stdout)["slides"] == {"H21-0815": "H21-0815"}
    assert said.stderr.splitlines()[-1] == (
        "warning: out/H21-0815.report.html: is not there. Run `w2wpath heatmap` for the slide again to have it packed."
    )


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, w2wpath.cli.share; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = run_python(code)
    assert loaded.returncode == 0
    assert set(loaded.stdout.split()) & {"numpy", "zarr", "PIL", "shapely", "matplotlib", "pydantic", "torch"} == set()

"""``export`` writes what was asked for, says how much, and takes from a run of clean what it kept."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from tests.conftest import run_python
from tests.decided import decided
from tests.tiles.made import SPEC, made_pixels, made_tiles
from w2wpath.cli import export
from w2wpath.errors import ConfigError, RunError
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, UNDECIDED, write_decisions

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call the command in the test's own folder, where ``tiles.zarr`` holds tiles -, AC, H, -, AC, H."""
    monkeypatch.chdir(tmp_path)
    TileStore.create_or_open("tiles.zarr", SPEC).add("a", made_tiles(6), made_pixels(6))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(export.NAME)(export.run)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["export", *words])


def clean(run: str, state: list[int]) -> None:
    """Write the decisions of a run on the store's six tiles."""
    store = TileStore.open("tiles.zarr")
    table = store.table()
    write_decisions(store, table, decided(table, {"store_hash": store.content_hash()}, run=run, state=np.array(state)))


def exported(out: str = "export") -> list[str]:
    return [line["file"] for line in csv.DictReader(Path(out, "tiles.csv").read_text("utf-8").splitlines())]


def test_tiles_go_to_a_folder_a_class(call: Call) -> None:
    said = call()
    assert said.exit_code == 0, said.output
    assert said.stdout.splitlines() == [
        "class  tiles",
        "-----  -----",
        "AC         2",
        "H          2",
        "export: 4 tiles, 6 files. What each is: export/tiles.csv",
    ]
    assert said.stderr.startswith("export: 4/4 in ")
    assert sorted(path.name for path in Path("export", "AC").iterdir()) == ["a_x32_y0.png", "a_x8_y0.png"]


def test_options_reach_the_export(call: Call) -> None:
    words = ("-o", "out", "--format", "webdataset", "--classes", "H,AC", "--unlabelled", "--quality", "80")
    said = call("tiles.zarr", *words, "--shard-tiles", "4", "--json")
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == {
        "store": "tiles.zarr",
        "out": "out",
        "format": "webdataset",
        "run": None,
        "tiles": 6,
        "by_class": {"H": 2, "AC": 2},
        "unlabelled": 2,
        "files": 4,
    }
    assert exported("out")[4] == "tiles-000001.tar/a_x32_y0.jpg"


def test_tiles_without_a_label_are_counted_where_wanted(call: Call) -> None:
    assert call("--unlabelled", "--format", "jpeg").stdout.splitlines()[4:] == [
        "(no label)      2",
        "export: 6 tiles, 8 files. What each is: export/tiles.csv",
    ]


def test_what_a_run_did_not_exclude_is_taken_as_for_training(call: Call) -> None:
    clean("20260101T000000Z-aaaaaa", [UNDECIDED, KEPT, EXCLUDED, UNDECIDED, UNDECIDED, KEPT])
    clean("20260102T000000Z-bbbbbb", [KEPT, EXCLUDED, KEPT, UNDECIDED, EXCLUDED, EXCLUDED])
    said = call("--kept", "latest")
    assert said.stdout.splitlines()[-1] == (
        "export: 1 tiles that run 20260102T000000Z-bbbbbb did not exclude, 3 files. What each is: export/tiles.csv"
    )
    assert exported() == ["H/a_x16_y0.png"]
    said = call("--kept", "20260101T000000Z-aaaaaa", "-o", "first", "--json")
    assert json.loads(said.stdout)["run"] == "20260101T000000Z-aaaaaa"
    # the undecided one with a label stays in training too
    assert exported("first") == ["AC/a_x8_y0.png", "AC/a_x32_y0.png", "H/a_x40_y0.png"]


def test_a_store_that_was_not_cleaned_has_nothing_kept(call: Call) -> None:
    error = call("--kept", "latest").exception
    assert isinstance(error, RunError)
    assert (
        str(error)
        == "tiles.zarr: has no decisions yet. Run `w2wpath clean`; if one waits for you, `w2wpath status` says so."
    )
    assert not Path("export").exists()


def test_kept_tiles_without_a_label_are_a_contradiction(call: Call) -> None:
    said = call("--kept", "latest", "--unlabelled")
    assert said.exit_code == 2
    assert "--kept takes judged tiles only, and those have a label;" in " ".join(said.stderr.split())


def test_a_folder_that_is_there_is_left_alone(call: Call) -> None:
    Path("export").mkdir()
    error = call().exception
    assert isinstance(error, ConfigError)
    assert str(error) == "export: exists already. Choose another folder with -o."
    assert list(Path("export").iterdir()) == []


@pytest.mark.parametrize("words", [("--quality", "0"), ("--quality", "101"), ("--shard-tiles", "0")])
def test_numbers_out_of_range_are_wrong_usage(call: Call, words: tuple[str, str]) -> None:
    assert call(*words).exit_code == 2


def test_the_command_loads_nothing_heavy() -> None:
    code = "import sys, w2wpath.cli.export; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = run_python(code)
    assert loaded.returncode == 0
    assert set(loaded.stdout.split()) & {"numpy", "zarr", "PIL", "shapely", "h5py", "pydantic", "torch"} == set()

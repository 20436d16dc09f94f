"""The grids of the benchmarks can be run, and their expected figures are of their own sets and rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2wpath.benchmarks.bench.expected import read_expected
from w2wpath.benchmarks.noise.sets import recipe_of
from w2wpath.benchmarks.study.methods import KOEHLER
from w2wpath.benchmarks.study.run import refuse_rows
from w2wpath.config import BenchSettings, CleanSettings, load

PIPELINES = Path(__file__).parents[2] / "pipelines"
GRIDS = sorted(path for path in PIPELINES.rglob("*.toml") if "[bench]" in path.read_text("utf-8"))
EXPECTED = [path for path in GRIDS if path.with_suffix(".expected.json").is_file()]


def named(path: Path) -> str:
    return str(path.relative_to(PIPELINES))


def test_there_are_grids_of_every_size() -> None:
    sizes = ("grid-3000", "grid-gpu", "grid-small", "rivals-3000")
    grids = [f"{base}/{size}.toml" for base in ("cifar10", "mnist") for size in sizes]
    assert [named(path) for path in GRIDS] == ["backbones-cifar10.toml", "backbones-mnist.toml", *grids]


@pytest.mark.parametrize("path", GRIDS, ids=named)
def test_a_grid_asks_for_what_there_is(path: Path) -> None:
    bench, settings = load(BenchSettings, "bench", path, {}), load(CleanSettings, "clean", path, {})
    assert all(recipe_of(name).base for name in bench.sets)
    refuse_rows(bench.rows + bench.rows_once, settings, truth=True, table="bench")


@pytest.mark.parametrize("path", EXPECTED, ids=named)
def test_what_is_expected_of_a_grid_is_what_it_makes(path: Path) -> None:
    bench = load(BenchSettings, "bench", path, {})
    asked = {*bench.rows, *bench.rows_once}
    rows = asked | (set(KOEHLER) if "koehler" in asked else set())
    found = read_expected(path.with_suffix(".expected.json"))
    assert {name for name, *_ in found} == set(bench.sets)
    accuracy = {row for _, table, row, _ in found if table == "accuracy" and " of " not in row}
    assert accuracy <= rows
    places = sum(row in rows for row in KOEHLER)
    chosen = {row for _, _, row, _ in found if row.startswith("koehler, ")}
    assert chosen <= {f"koehler, {what} of {places}" for what in ("best", "median")}

"""``w2wpath demo``: the whole chain with known faults; it replaces only what is its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import w2wpath
from tests.conftest import file_bytes
from w2wpath.heatmaps.run import ENDINGS
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import runs


@pytest.mark.parametrize("content", [{}, {"mine.txt": b"mine"}])
def test_a_folder_that_is_no_demo_is_refused_and_left_as_it_is(tmp_path: Path, content: dict[str, bytes]) -> None:
    (tmp_path / "mine").mkdir()
    for name, data in content.items():
        (tmp_path / "mine" / name).write_bytes(data)
    said = w2wpath("demo", "-o", "mine", cwd=tmp_path)
    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: mine: exists and is not a demo of w2wpath; it is left as it is. Choose another -o.\n",
    )
    assert file_bytes(tmp_path) == {f"mine/{name}": data for name, data in content.items()}


def long(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that reads the demo: one process runs them all, so that the demo is made once."""
    marked: Callable[..., None] = pytest.mark.xdist_group("demo")(pytest.mark.long(test))
    return marked


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The demo with its default settings, and its summary."""
    home = tmp_path_factory.mktemp("demo")
    said = w2wpath("demo", "-o", "out", "--json", cwd=home, timeout=1800)
    assert said.code == 0, said.err
    return home, json.loads(said.out)


@long
def test_the_demo_finds_planted_faults_and_says_how_many(demo: tuple[Path, dict[str, Any]]) -> None:
    _, said = demo
    assert set(said["tiles_by_class"]) == {"Epithelium", "Stroma"}
    assert sum(said["counts"].values()) == sum(said["tiles_by_class"].values())
    assert {kind: row["tiles"] for kind, row in said["kinds"].items()}.items() >= {
        "label": 28,
        "background": 21,
    }.items()
    assert said["spurious"] == sum(row["tiles"] for row in said["kinds"].values())
    excluded = sum(row["excluded"] for row in said["kinds"].values())
    assert said["sensitivity"] == pytest.approx(excluded / said["spurious"])
    # wrong labels are what the score is made for; chance would exclude as many as it does of the good
    assert said["kinds"]["label"]["excluded"] / 28 > 2 * said["false_removal"]
    assert 0 <= said["false_removal"] < 0.5
    assert said["unseen_patient"]["slide"] == "demo-3"
    assert said["unseen_patient"]["tiles"] >= said["unseen_patient"]["confident"] > 0


@long
def test_the_demo_leaves_store_report_model_and_heatmap(demo: tuple[Path, dict[str, Any]]) -> None:
    home, said = demo
    store = TileStore.open(home / "out" / "tiles.zarr")
    assert store.slides() == [f"demo-{i}" for i in (1, 2, 4, 5, 6, 7, 8)]
    (run,) = runs(store)
    assert said["report"] == f"out/clean/{run}/report.html"
    assert (home / said["report"]).read_text("utf-8").startswith("<!doctype html>")
    assert [Path(path).name for path in said["heatmap"]] == [f"demo-3.{ending}" for ending in ENDINGS]
    assert all((home / path).stat().st_size > 0 for path in said["heatmap"])
    assert sorted(path.name for path in (home / "out" / "model").iterdir()) == [
        "README.md",
        "model.json",
        "wiped.safetensors",
        "wise.safetensors",
    ]


@long
def test_the_same_command_again_replaces_the_demo(demo: tuple[Path, dict[str, Any]]) -> None:
    home, said = demo
    (home / "out" / "stray.txt").write_text("of an earlier demo")
    again = w2wpath("demo", "-o", "out", "--json", "--max-epochs", "2", cwd=home, timeout=600)
    assert again.code == 0, again.err
    report = json.loads(again.out)["report"]
    assert report != said["report"]
    assert [path.name for path in (home / "out" / "clean").iterdir()] == [Path(report).parent.name]
    assert not (home / "out" / "stray.txt").exists()

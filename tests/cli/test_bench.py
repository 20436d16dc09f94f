"""``w2wpath bench`` runs a grid and reports it again."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.bench.conftest import TOML, lay_out
from tests.cli.conftest import Run

ROWS = """rows = ["recommended", "all", "random", "oracle"]
rows_once = ["deterministic", "image statistics"]
seeds = [0, 1]"""
SMALL = TOML.replace('sets = ["MNIST", "Sp-MNIST-30"]', 'sets = ["Sp-MNIST-30"]').replace(ROWS, 'rows = ["all"]')


def test_a_grid_is_run_and_reported_again(run: Run, tmp_path: Path) -> None:
    lay_out(tmp_path, SMALL)
    said = run("bench", "run", "toy.toml", "--data", "data", "--json")
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert (told["out"], told["failed"], told["missing"]) == ("bench/toy", {}, {})
    assert [Path(path).name for path in told["files"]][:4] == ["bench.md", "bench.csv", "bench.json", "cards.jsonl"]
    assert "Sp-MNIST-30-s0/net-all-f0-s0: " in said.err
    again = run("bench", "report", "toy.toml")
    assert (again.code, again.out.splitlines()[0]) == (0, "bench/toy/bench.md")
    (tmp_path / "bench/toy/Sp-MNIST-30-s0/cells/net-all-f0-s0.npz").unlink()
    lacking = run("bench", "report", "toy.toml")
    assert (lacking.code, lacking.last) == (0, "warning: Sp-MNIST-30, seed 0: not there yet: all")


def test_a_set_that_fails_gives_exit_code_3(run: Run, tmp_path: Path) -> None:
    lay_out(tmp_path, SMALL.replace('["Sp-MNIST-30"]', '["MNIST", "Sp-MNIST-30"]'))
    (tmp_path / "data" / "mnist" / "letters_az.npz").unlink()
    said = run("bench", "run", "toy.toml", "--data", "data")
    assert said.code == 3
    assert said.last.startswith("warning: Sp-MNIST-30, seed 0: data/mnist: EMNIST letters is not in this folder. ")


def test_grids_of_two_backbones_are_compared(run: Run, tmp_path: Path) -> None:
    lay_out(tmp_path, SMALL)
    for more in ((), ("--backbone", "mobilenetv3_small_050")):
        assert run("bench", "run", "toy.toml", "--data", "data", "--images", "20", *more).code == 0
    said = run("bench", "compare", "bench/toy-20", "bench/toy-mobilenetv3_small_050-20", "-o", "both.md")
    assert said.code == 0, said.err
    assert "|  | conv5 | mobilenetv3_small_050 |" in said.out
    assert (tmp_path / "both.md").read_text("utf-8") in said.out
    card = json.loads((tmp_path / "bench/toy-mobilenetv3_small_050-20/cards.jsonl").read_text("utf-8").splitlines()[0])
    assert (card["settings"]["backbone"], card["training_images"]) == ("mobilenetv3_small_050", 26)

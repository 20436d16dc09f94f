"""Grids of other backbones side by side: what is alike, what is not, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from w2wpath.benchmarks.bench.compare import compare
from w2wpath.errors import ConfigError


def told(table: str, row: str, figure: str, value: float | None, half: float, name: str = "Sp-MNIST-20") -> Any:
    low, high = (None, None) if value is None else (value - half, value + half)
    place = {"set": name, "table": table, "row": row, "figure": figure}
    return {**place, "value": value, "low": low, "high": high, "std": None, "n": 200}


def grid(
    folder: Path, backbone: str, area: float | None, found: float, name: str = "Sp-MNIST-20", images: int = 1000
) -> Path:
    """Write the report of a grid."""
    figures = [
        told("training", "recommended", "AUROC", area, 0.01, name),
        told("training", "recommended", "sensitivity", found, 0.05, name),
        told("accuracy", "recommended", "accuracy", 0.9, 0.02, name),
    ]
    folder.mkdir()
    about = {"settings": {"clean": {"backbone": backbone, "device": backbone}, "bench": {"images": images}}}
    (folder / "bench.json").write_text(json.dumps({"about": about, "figures": figures}), "utf-8")
    return folder


def verdicts(lines: list[str]) -> dict[str, str]:
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| the backbone does not matter: ")]
    prefix = " the backbone does not matter: "
    return {text.removeprefix(prefix).strip(): f"{said.strip()}{numbers.rstrip()}" for text, said, numbers in rows}


AUROC, SHARE = "AUROC of the joined score, training", "share of the spurious excluded, training"


def test_what_is_alike_passes_and_what_is_not_fails(tmp_path: Path) -> None:
    grids = [grid(tmp_path / "a", "conv5", 0.98, 0.9), grid(tmp_path / "b", "resnet10t", 0.981, 0.7)]
    lines = compare(grids)
    assert verdicts(lines) == {
        AUROC: "**pass** Sp-MNIST-20 0.980 / 0.981",
        SHARE: "**fail** Sp-MNIST-20 0.900 / 0.700",
    }
    assert "|  | conv5 | resnet10t |" in lines
    assert "| accuracy, recommended | 0.900 [0.880, 0.920] | 0.900 [0.880, 0.920] |" in lines
    assert "| accuracy, oracle | – | – |" in lines


def test_one_of_three_that_differs_fails_whatever_its_place(tmp_path: Path) -> None:
    for turn in range(3):
        values = [0.98, 0.98, 0.98]
        values[turn] = 0.9
        folder = tmp_path / str(turn)
        folder.mkdir()
        grids = [grid(folder / name, name, value, 0.9) for name, value in zip("abc", values, strict=True)]
        said = verdicts(compare(grids))
        assert (said[AUROC].split()[0], said[SHARE].split()[0]) == ("**fail**", "**pass**")


def test_a_network_that_removes_nothing_agrees_with_none(tmp_path: Path) -> None:
    grids = [grid(tmp_path / name, name, 0.5, 0.0) for name in "ab"]
    assert verdicts(compare(grids)) == {
        AUROC: "**not measured** Sp-MNIST-20 0.500 / 0.500 (nothing removed by a, b)",
        SHARE: "**not measured** Sp-MNIST-20 0.000 / 0.000 (nothing removed by a, b)",
    }


def test_what_stands_in_for_a_set_is_said(tmp_path: Path) -> None:
    grids = [grid(tmp_path / name, name, 0.98, 0.9) for name in "ab"]
    for folder in grids:
        said = json.loads((folder / "bench.json").read_text())
        source = {"name": "letters_az.npz", "stands_in_for": "EMNIST letters", "origin": []}
        (folder / "bench.json").write_text(json.dumps({**said, "sets": {"Sp-MNIST-20": {"sources": [source]}}}))
    assert compare(grids)[2] == "letters_az.npz stands in for EMNIST letters."


def test_a_set_without_faults_has_no_figure_and_leaves_it_open(tmp_path: Path) -> None:
    grids = [grid(tmp_path / name, name, None, float("nan"), "MNIST") for name in "ab"]
    assert set(verdicts(compare(grids)).values()) == {"**not measured**"}


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = grid(tmp_path / "a", "conv5", 0.9, 0.9)

    def refusal(*others: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            compare([one, *others])
        return str(caught.value)

    assert refusal(grid(tmp_path / "more", "resnet10t", 0.9, 0.9, images=3000)) == (
        "images is 1000 with conv5 and 3000 with resnet10t, so more than the backbone would be compared. "
        "Name grids that differ in the backbone alone."
    )
    assert refusal(grid(tmp_path / "b", "conv5", 0.9, 0.9)) == (
        "two of these grids have the backbone conv5. Name grids of different backbones."
    )
    other = grid(tmp_path / "c", "resnet10t", 0.9, 0.9, "MNIST")
    assert refusal(other) == f"{one}, {other}: no data set is in all of them. Name grids of the same sets."
    none = tmp_path / "none" / "bench.json"
    assert refusal(none.parent) == f"{none}: no such file. Write it with `w2wpath bench report`."
    (other / "bench.json").write_text("[1]", "utf-8")
    assert refusal(other) == (
        f"{other / 'bench.json'}: not the report of a benchmark (TypeError('list indices must be integers or slices, "
        "not str')). Write it with `w2wpath bench report`."
    )

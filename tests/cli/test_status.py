"""``w2wpath status``: its lines, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.cli.conftest import Run
from tests.w2wnet.conftest import QUICK, add_slide, fake_learner, make_store, new_store
from w2wpath.cli.status import _time
from w2wpath.w2wnet.clean import clean


def test_a_cleaned_store_is_told_in_lines_and_in_json(run: Run, tmp_path: Path) -> None:
    store = make_store(tmp_path / "tiles.zarr")
    name = clean(store, fake_learner(store), QUICK, tmp_path / "clean")[1].run
    said = run("status")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[:-1] == [
        "tiles.zarr: 2 slide(s), 90 tiles, 90 labelled (blue 30, green 24, red 36)",
        "run of clean             state     folds   now at",
        "-----------------------  --------  ------  ------",
        f"{name}  finished  3 of 3",
        "review: 0 batch(es) of verdicts",
        "model: none",
        f"missing: a review of run {name}; a model of run {name}",
        "next: w2wpath train -o model",
    ]
    assert said.out.splitlines()[-1] == "time that needs: not known yet"
    found = json.loads(run("status", "--store", "tiles.zarr", "--json").out)
    assert (found["tiles"], found["labelled"]) == (90, {"blue": 30, "green": 24, "red": 36})
    assert [(one["run"], one["state"]) for one in found["runs"]] == [(name, "finished")]
    assert found["next"] == "w2wpath train -o model"


def test_a_store_without_labels(run: Run, tmp_path: Path) -> None:
    add_slide(new_store(tmp_path / "own.zarr"), "s", np.zeros(4, dtype=int), np.full(4, -1), ["a"])
    said = run("status", "--store", "own.zarr")
    assert said.out.splitlines() == [
        "own.zarr: 1 slide(s), 4 tiles, 0 labelled (blue 0, green 0, red 0)",
        "review: 0 batch(es) of verdicts",
        "model: none",
        "missing: tiles with a label",
        "next: w2wpath tile slide.svs rois.geojson",
        "time that needs: not known yet",
    ]


def test_times_are_told_in_the_unit_that_suits() -> None:
    assert [_time(s) for s in (None, 0.0, 20.0, 600.0, 5399.0, 9000.0)] == [
        "not known yet",
        "about 1 min",
        "about 1 min",
        "about 10 min",
        "about 90 min",
        "about 2.5 h",
    ]

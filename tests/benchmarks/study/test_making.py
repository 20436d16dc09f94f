"""Cells are made the longest first, and the time left follows what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.w2wnet.conftest import Heard
from w2wpath.benchmarks.rivals.rival import Kind
from w2wpath.benchmarks.study.cells import Work
from w2wpath.benchmarks.study.making import TimeLeft, forwards, make_all
from w2wpath.config import CleanSettings

SETTINGS = CleanSettings(max_epochs=50, draws=25)


def work(kind: Kind, *, train: int = 100, test: int = 10, epochs: int = 30, **settings: object) -> Work:
    """A cell that nothing can make: there is no store."""
    return Work(
        kind=kind,
        path=Path("nowhere") / "cells" / f"{kind}-{train}.npz",
        key={},
        store=Path("nowhere/tiles.zarr"),
        rows=np.arange(train + test),
        train=np.arange(train),
        test=np.arange(train, train + test),
        settings=SETTINGS.model_copy(update=settings),
        seed=0,
        epochs=0 if kind == "wise" else epochs,
        learned=f"{kind} {train}",
    )


def test_a_cell_costs_the_forwards_of_its_training_and_of_its_unseen_tiles() -> None:
    assert forwards(work("net")) == 3 * 30 * 100 + 10
    assert forwards(work("wise")) == 3 * 50 * 100 + 25 * (100 + 10)
    assert forwards(work("wise", tracker="exact")) == 3 * 50 * 100 + 25 * (100 * 51 + 10)
    assert forwards(work("wise", tracker="exact", track_every=5)) == 3 * 50 * 100 + 25 * (100 * 11 + 10)


def test_twins_cost_their_unseen_tiles_alone() -> None:
    twin = work("wise", test=40)
    assert forwards(replace(work("wise"), twins=(twin,))) == 3 * 50 * 100 + 25 * (100 + 10 + 40)


def test_the_longest_begin_first() -> None:
    exact = work("wise", train=200, tracker="exact")
    works = [work("net"), work("wise"), work("net", train=300), exact, work("net", train=200)]
    heard = Heard()
    failed = make_all(works, TimeLeft(1), 1, heard, "seed 0")
    begun = [line.split(":")[0] for line in heard.lines[1:]]
    assert begun == ["wise-200", "net-300", "net-200", "wise-100", "net-100"]
    assert set(failed) == set(begun)


def test_the_time_left_follows_what_the_cells_cost() -> None:
    clock = TimeLeft(2)
    clock.took(work("net", test=0), 90.0)  # 9,000 forwards
    assert clock.told([work("net", test=0)] * 4) == ", about 3 min"
    assert clock.told([work("net", test=0, epochs=60)] * 4) == ", about 6 min"
    assert clock.told([]) == ""


def test_one_cell_is_left_to_one_process() -> None:
    clock = TimeLeft(8)
    clock.took(work("net", test=0), 90.0)
    assert clock.told([work("net", test=0, epochs=120)]) == ", about 6 min"

"""A study of seconds: a made store whose truth is known, five small convolutions, two folds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.w2wnet.conftest import CLASSES, NOISE, add_slide, new_store, pixels_of, write_truth
from w2wpath.benchmarks.study.report import Done, conduct
from w2wpath.progress import Silent
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.nets.device import use_threads

TOML = """
[tile]
tile_px = 16

[clean]
backbone = "conv5"
folds = 2
max_epochs = 6
median_window = 2
std_window = 2
std_below = 0.001
draws = 3
batch_size = 16
lr = 0.1
device = "cpu"
precision = "fp32"

[study]
cohort = "cohort.csv"
truth = "truth.csv"
rows = ["recommended", "all", "oracle", "random", "image statistics"]
classifier_epochs = 2
"""
Conduct = Callable[..., Done]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    use_threads(1)
    yield
    use_threads(before)


def toy_store(path: Path) -> TileStore:
    """Make a store of two slides with three patients each, of eight tiles: one of noise, one with a wrong label."""
    store = new_store(path, 16)
    for slide, patients in (("s1", ["p0", "p2", "p4"]), ("s2", ["p1", "p3", "p5"])):
        turn = np.arange(24) // 3
        label = turn % len(CLASSES)
        content = np.where(turn == 0, NOISE, label)
        given = np.where(turn == 1, (label + 1) % len(CLASSES), label)
        add_slide(store, slide, content, given, patients, pixels_of(content, sum(slide.encode()))[:, ::2, ::2])
    return store


def lay_out(folder: Path, toml: str = TOML) -> Path:
    """Write a study's TOML, its cohort, its truth, and the store that `w2wpath tile` would have made."""
    folder.mkdir(parents=True, exist_ok=True)
    store = toy_store(folder / "out" / "tiles.zarr")
    (folder / "cohort.csv").write_text("slide,rois,patient\ns1.svs,s1.geojson,\ns2.svs,s2.geojson,\n", "utf-8")
    write_truth(folder / "truth.csv", store)
    path = folder / "toy.toml"
    path.write_text(toml, "utf-8")
    return path


def run(folder: Path, **changes: Any) -> Done:
    """Conduct the study in a folder."""
    given: dict[str, Any] = {"data": None, "workers": 1, "report_only": False, "progress": Silent(), **changes}
    return conduct(folder / "toy.toml", folder / "out", **given)


@pytest.fixture(scope="session")
def _finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    lay_out(folder)
    assert run(folder).failed == {}
    return folder


@pytest.fixture
def finished(_finished_once: Path, tmp_path: Path) -> Path:
    """A copy of the folder of a study that is done: toy.toml, cohort.csv, truth.csv, out/."""
    return shutil.copytree(_finished_once, tmp_path / "study")


def cells(folder: Path) -> dict[str, Path]:
    """The cells of a study by name."""
    return {path.stem: path for path in sorted((folder / "out" / "cells").glob("*.npz"))}


def content(cell: Path) -> Mapping[str, bytes]:
    """All that a cell holds, but for the seconds that it took, or whose it was first."""
    with np.load(cell) as found:
        arrays = {name: found[name].tobytes() for name in found.files}
    about = json.loads(arrays.pop("about"))
    del about["seconds"]
    about.pop("same_as", None)
    return {**arrays, "about": json.dumps(about, sort_keys=True).encode()}

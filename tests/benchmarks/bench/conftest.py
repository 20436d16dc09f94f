"""A grid of seconds: made digits and letters in a folder, five small convolutions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from w2wpath.benchmarks.bench.report import Done, conduct
from w2wpath.progress import Silent
from w2wpath.w2wnet.nets.device import use_threads

TOML = """
[clean]
backbone = "conv5"
max_epochs = 10
median_window = 2
std_window = 2
std_below = 0.001
draws = 2
batch_size = 16
lr = 0.1
quality = false
augment = "none"
device = "cpu"
precision = "fp32"

[bench]
sets = ["MNIST", "Sp-MNIST-30"]
rows = ["recommended", "all", "random", "oracle"]
rows_once = ["deterministic", "image statistics"]
seeds = [0, 1]
images = 60
test_images = 40
classifier_epochs = 2
paper = { lr = 0.1 }
"""


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    use_threads(1)
    yield
    use_threads(before)


def lay_out(folder: Path, toml: str = TOML) -> Path:
    """Write a grid's TOML, and MNIST and letters as bars of noise at a place for each class."""
    data = folder / "data" / "mnist"
    data.mkdir(parents=True)
    random = np.random.default_rng(0)

    def images(labels: np.ndarray) -> np.ndarray:
        made = random.integers(0, 60, (len(labels), 28, 28), dtype=np.uint8)
        for image, label in zip(made, labels, strict=True):
            image[8 * label % 25 : 8 * label % 25 + 3] = 230
        return made

    y, y_test = np.arange(120) % 3, np.arange(60) % 3  # three digits are learned in seconds
    np.savez(data / "mnist.npz", x_train=images(y), y_train=y, x_test=images(y_test), y_test=y_test)
    letters = np.repeat(np.arange(26), 5)
    turned = images(letters).transpose(0, 2, 1)  # upright bars are no digit
    np.savez(data / "letters_az.npz", x=turned, y=letters)
    path = folder / "toy.toml"
    path.write_text(toml, "utf-8")
    return path


def run(folder: Path, *, report_only: bool = False, **changes: Any) -> Done:
    """Conduct the grid in a folder."""
    given: dict[str, Any] = {"workers": 1, "progress": Silent(), **changes}
    return conduct(folder / "toy.toml", folder / "out", None if report_only else folder / "data", **given)


@pytest.fixture(scope="session")
def _finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    lay_out(folder)
    done = run(folder)
    assert (done.failed, done.missing) == ({}, {})
    return folder


@pytest.fixture
def finished(_finished_once: Path, tmp_path: Path) -> Path:
    """A copy of the folder of a grid that is done: toy.toml, data/, out/."""
    return shutil.copytree(_finished_once, tmp_path / "bench")

"""torch.compile: the same network, with its dropout, or an error in words. Compiling takes a minute on two cores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.w2wnet.nets.conftest import TINY
from w2wpath.config import NetSettings
from w2wpath.errors import ConfigError
from w2wpath.w2wnet.nets.compiled import Compiled
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.network import Network

N = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 28, 28, 3), dtype=np.uint8)
LABELS = (np.arange(N) % 3).astype(np.int16)
ROWS = np.arange(N)

pytestmark = [
    pytest.mark.long,
    # the compiler looks at the gradient of every tensor that it traces
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


def network(*, compiled: bool) -> Network:
    settings = NetSettings(**{**TINY.model_dump(), "backbone": "conv5", "compile": compiled})
    tiles = Tiles(IMAGES, 3, settings, choose_compute("cpu", "fp32"))
    return Network(tiles, ROWS, LABELS, 0, bayesian=True, epochs=4)


def test_a_compiled_network_trains_draws_and_predicts_as_the_plain_one() -> None:
    plain, compiled = network(compiled=False), network(compiled=True)
    torch._dynamo.utils.counters.clear()
    assert list(plain.net.state_dict()) == list(compiled.net.state_dict())
    draws = [compiled.draw(ROWS) for _ in range(2)]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not np.array_equal(*draws)
    for said in draws:
        assert np.allclose(said, plain.draw(ROWS), atol=1e-4)
    assert np.allclose(compiled.epoch(), plain.epoch(), atol=1e-3)  # type: ignore[arg-type]  # tracking is on
    assert np.allclose(compiled.predict(ROWS), plain.predict(ROWS), atol=1e-3)
    other = network(compiled=False)
    other.load(compiled.state())
    assert np.allclose(other.draw(ROWS), compiled.draw(ROWS), atol=1e-4)


def test_dropout_that_does_not_come_from_the_generator_is_refused() -> None:
    compiled = Compiled(nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)), "resnet10t")
    with pytest.raises(ConfigError) as caught:
        compiled.dropping(torch.ones(2, 4), torch.Generator())
    assert str(caught.value) == ("--compile: dropout does not work in the compiled resnet10t. Leave --compile out.")


def test_a_machine_that_cannot_compile_is_told_so(tmp_path: Path) -> None:
    code = (
        "import torch; from torch import nn; from w2wpath.w2wnet.nets.compiled import Compiled\n"
        "Compiled(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), 'resnet10t')(torch.ones(2, 4))"
    )
    env = {**os.environ, "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = next(line for line in done.stderr.splitlines() if line.startswith("w2wpath.errors.ConfigError: "))
    assert last.startswith("w2wpath.errors.ConfigError: --compile: PyTorch cannot compile resnet10t here (")
    assert last.endswith("). Leave --compile out.")

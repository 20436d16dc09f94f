"""The core is NumPy: where torch, timm and scikit-learn cannot be imported, it still judges tiles."""

from __future__ import annotations

import pytest

from tests.conftest import run_python

CORE = """
import sys


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise ImportError(f"the core must not need {name}")
        return None


sys.meta_path.insert(0, Refuse())

import numpy as np

import w2wpath.w2wnet.fit
import w2wpath.w2wnet.learner
from w2wpath.w2wnet.split import cut, is_separated
from w2wpath.w2wnet.stopping import StopRule
from w2wpath.w2wnet.uncertainty import MCStats, MovingAverage, label_quality

rng = np.random.default_rng(0)
sharp = np.where(np.arange(200) < 20, 1.0, 60.0)
alpha = 1.0 + np.eye(3)[np.arange(200) % 3] * sharp[:, None]
stats, average, rule = MCStats(200, 3, covariance=True), MovingAverage(0.9), StopRule(3, 4, 0.05)
for _ in range(12):
    gamma = rng.gamma(alpha)
    said = gamma / gamma.sum(axis=1, keepdims=True)
    stats.add(said)
    average.add(said)
    split = cut(label_quality(average.mean_nk, np.arange(200) % 3, 1.0), ENGINE, seed=0)
    fired = rule.add(split.high_n)
print(fired, split.high_n[:20].mean() > 0.7, split.high_n[20:].any(), is_separated(stats.u_n, split, 0.1))
print(sorted(HEAVY_ALL & set(sys.modules)))
"""
ALL = {"torch", "timm", "torchvision", "sklearn"}


def core(engine: str, heavy: set[str]) -> list[str]:
    """Run the core where `heavy` cannot be imported; return what it found, and what it loaded."""
    done = run_python(f"HEAVY, HEAVY_ALL, ENGINE = {heavy!r}, {ALL!r}, {engine!r}\n{CORE}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_core_runs_without_torch_timm_and_scikit_learn() -> None:
    assert core("exact", ALL) == ["True True False True", "[]"]


def test_scikit_learn_is_loaded_by_its_own_engine_alone() -> None:
    assert core("kmeans++", ALL - {"sklearn"}) == ["True True False True", "['sklearn']"]


@pytest.mark.parametrize("heavy", ["torch", "sklearn"])
def test_what_is_refused_above_would_be_noticed(heavy: str) -> None:
    done = run_python(f"HEAVY = {{{heavy!r}}}\n{CORE.partition('import numpy')[0]}import {heavy}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: the core must not need {heavy}"

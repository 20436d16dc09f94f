"""What a grid is expected to give again is what another run can be held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2wpath.benchmarks.bench.expected import read_expected, write_expected
from w2wpath.benchmarks.bench.results import Results
from w2wpath.benchmarks.study.resampling import Figure

NAN = float("nan")


@pytest.mark.parametrize(("low", "high", "is_kept"), [(0.0, 1.5, True), (-3.0, 1.5, False), (NAN, NAN, False)])
def test_a_share_of_a_gain_that_may_be_none_is_not_kept(tmp_path: Path, low: float, high: float, is_kept: bool) -> None:
    found = {name: Figure(0.9, low, high, NAN, 100) for name in ("gain captured", "accuracy", "lead over all")}
    tables = {table: {"random": found} for table in ("gain", "accuracy", "lead")}
    write_expected(tmp_path / "expected.json", Results(tables={"MNIST": tables}, headline={"MNIST": {}}))
    kept = {place[1] for place in read_expected(tmp_path / "expected.json")}
    assert kept == {"accuracy", "lead", *(["gain"] if is_kept else [])}

"""Planted labels: as many as asked for, each another than before; the table they give on a study of seconds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.crc import planted
from tests.benchmarks.study.conftest import lay_out


@given(st.integers(1, 200), st.floats(0, 1), st.integers(2, 9), st.integers(0, 9))
def test_as_many_labels_as_asked_for_are_changed_and_to_another_class(n: int, share: float, k: int, seed: int) -> None:
    before = np.random.default_rng(seed).integers(0, k, n).astype(np.int16)
    after, which = planted.plant(before, k, share, np.random.default_rng(seed))
    assert int(which.sum()) == round(share * n)
    assert np.array_equal(after != before, which)
    assert (after.dtype, int(after.min()) >= 0, int(after.max()) < k) == (np.dtype(np.int16), True, True)


def test_each_share_excludes_no_less_than_a_smaller_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toml, out = lay_out(tmp_path), tmp_path / "out"
    (tmp_path / "truth.csv").unlink()
    asked = ["--config", str(toml), "--data", str(tmp_path), "-o", str(out), "--planted", "0.2"]
    monkeypatch.setattr(sys, "argv", ["planted.py", *asked])
    assert planted.main() == 0
    found = json.loads((out / "planted.json").read_text("utf-8"))
    assert (found["planted"], found["rest"]) == (5, 19)
    rows = found["rows"]
    assert tuple(row["doubt_below"] for row in rows) == planted.SHARES
    for name in ("planted", "rest"):
        values = [row[name] for row in rows]
        assert values == sorted(values)
    assert all(row["interval"][0] <= row["planted"] <= row["interval"][1] for row in rows)
    assert "| doubt_below | of the planted labels | 95 % | of the rest |" in capsys.readouterr().out


def test_a_cohort_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = lay_out(tmp_path)
    monkeypatch.setattr(
        sys, "argv", ["planted.py", "--config", str(toml), "--data", "nowhere", "-o", str(tmp_path / "o")]
    )
    assert planted.main() == 1
    assert (
        capsys.readouterr().err
        == "planted.py: nowhere/cohort.csv: no such cohort table. Give a CSV with columns slide, rois, patient.\n"
    )

"""What an interrupted run has read is there for the next one, and only for one of the same kind."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from w2wpath.heatmaps.notebook import Notebook, Said


def filled(m: int, k: int = 3) -> Said:
    random = np.random.default_rng(0)
    said = Said.empty(m, k)
    for one in fields(said):
        column = getattr(said, one.name)
        column[...] = random.integers(0, 2, column.shape) if column.dtype == bool else random.random(column.shape) * 9
    return said


def test_rows_come_back_bit_for_bit_and_the_rest_stays_empty(tmp_path: Path) -> None:
    said = filled(10)
    Notebook(tmp_path / "a.npz", "key", every_s=0).keep(said, 6)
    again = Said.empty(10, 3)
    assert Notebook(tmp_path / "a.npz", "key").recall(again) == 6
    for one in fields(said):
        assert np.array_equal(getattr(again, one.name)[:6], getattr(said, one.name)[:6])
        assert not getattr(again, one.name)[6:].any()


def test_another_key_another_size_and_no_file_give_nothing(tmp_path: Path) -> None:
    Notebook(tmp_path / "a.npz", "key", every_s=0).keep(filled(10), 6)
    assert Notebook(tmp_path / "a.npz", "other").recall(Said.empty(10, 3)) == 0
    assert Notebook(tmp_path / "a.npz", "key").recall(Said.empty(5, 3)) == 0
    assert Notebook(tmp_path / "none.npz", "key").recall(Said.empty(10, 3)) == 0


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, -1])
def test_a_damaged_file_gives_nothing(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.npz"
    Notebook(path, "key", every_s=0).keep(filled(10), 6)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] if isinstance(keep, float) else data[:keep])
    said = Said.empty(10, 3)
    assert Notebook(path, "key").recall(said) == 0
    assert not said.read.any()


def test_it_is_kept_now_and_then_and_removed_in_the_end(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "a.npz", "key", every_s=1000)
    notebook.keep(filled(10), 6)
    assert not (tmp_path / "a.npz").exists()
    often = Notebook(tmp_path / "a.npz", "key", every_s=0)
    often.keep(filled(10), 6)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    often.close()
    often.close()
    assert list(tmp_path.iterdir()) == []

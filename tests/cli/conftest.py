"""The command line as users run it: ``python -m w2wpath`` in a folder of slides."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from shapely.geometry import box

from tests.conftest import ROOT, coordinate_image, save_svs, write_geojson

ROIS = [("Stroma", box(0, 0, 256, 192)), ("Tumor", box(256, 0, 640, 192))]
TILE = ("--tile-px", "64")


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line of stderr: the error, below the lines of progress."""
        return self.err.splitlines()[-1]


Run = Callable[..., Said]


def w2wpath(*words: object, cwd: Path, timeout: float = 120) -> Said:
    """Run a command in `cwd`."""
    done = subprocess.run(
        [sys.executable, "-m", "w2wpath", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run commands in the test's own folder."""
    return lambda *words: w2wpath(*words, cwd=tmp_path)


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    """``a.svs`` with ``a.geojson`` beside it: 12 tiles of Stroma and 18 of Tumor at 64 px."""
    write_geojson(tmp_path / "a.geojson", ROIS)
    return save_svs(tmp_path / "a.svs", coordinate_image(640, 512))

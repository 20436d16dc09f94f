"""``w2wpath status`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Run
from tests.w2wnet.conftest import make_store


def test_the_next_step_is_said_where_there_is_nothing_yet(run: Run) -> None:
    said = run("status")
    assert (said.code, said.err) == (0, "")
    assert said.out == "tiles.zarr: no tiles yet\nNext: w2wpath tile slide.svs rois.geojson\n"


def test_tiles_that_were_not_cleaned_are_told(run: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "tiles.zarr")
    said = run("status")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "tiles.zarr: 2 slide(s) of 6 patient(s), 90 tiles, 90 with a label\n"
        "not cleaned yet\n"
        "Next: w2wpath clean (--dry-run tells the time)\n"
    )
    assert json.loads(run("status", "--json").out) == {
        "store": "tiles.zarr",
        "slides": 2,
        "tiles": 90,
        "labelled": 90,
        "patients": 6,
        "runs": [],
        "verdicts": 0,
        "model_run": None,
        "next": "w2wpath clean (--dry-run tells the time)",
        "seconds": None,
    }


def test_what_is_no_store_is_refused_in_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tiles.zarr").mkdir()
    said = run("status")
    assert (said.code, said.out) == (1, "")
    assert said.err == "error: tiles.zarr: not a w2wpath tile store. Give another path, or move it away.\n"

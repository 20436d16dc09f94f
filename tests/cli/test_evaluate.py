"""``w2wpath evaluate`` on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.w2wnet.conftest import QUICK, StoreLearner, make_store
from w2wpath.tiles.store import SlideTiles
from w2wpath.w2wnet.clean import clean


def test_patients_that_were_joined_after_the_run_are_refused(run: Run, tmp_path: Path) -> None:
    store = make_store(tmp_path / "tiles.zarr")
    _, decisions = clean(store, StoreLearner(store.path), QUICK, tmp_path / "clean")
    (tmp_path / "truth.csv").write_text("slide,x0,y0,content,spurious,kind\n")
    had = store.read("s1")
    joined = {**had.attributes, "patients": ["one patient"] * len(had.attributes["patients"]), "labels_hash": "new"}
    store.replace_labels("s1", SlideTiles({**had.columns, "patient": had.columns["patient"] * 0}, joined))
    said = run("evaluate", "--truth", "truth.csv")
    assert (said.code, said.out) == (1, "")
    assert "the patients have changed since. Run `w2wpath clean` again." in said.err
    assert decisions.run in said.err

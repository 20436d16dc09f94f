"""What is told of a store in each situation; nothing is written."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import file_bytes
from tests.w2wnet.conftest import (
    QUICK,
    FakeLearner,
    Interrupted,
    MortalLearner,
    add_slide,
    fake_learner,
    new_store,
    shown,
)
from w2wpath.errors import StoreError
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.ledger import Decisions
from w2wpath.w2wnet.status import FINISHED, INTERRUPTED, STALE, UNDONE, RunStatus, Status, status


def told(store: TileStore) -> Status:
    """What is told, and that telling it left every file as it was."""
    before = file_bytes(store.path.parent)
    found = status(store.path)
    assert file_bytes(store.path.parent) == before
    return found


def cleaned(store: TileStore) -> Decisions:
    return clean(store, fake_learner(store), QUICK, store.path.parent / "clean")[1]


def interrupted(store: TileStore) -> Path:
    """Begin a run that ends in the fourth epoch of its second fold; return its folder."""
    learner = _Dies(FakeLearner(shown(store, store.table())))
    with pytest.raises(Interrupted):
        clean(store, lambda *_: learner, QUICK, store.path.parent / "clean")
    (folder,) = (store.path.parent / "clean").iterdir()
    return folder


class _Dies(MortalLearner):
    def start(self, rows: Any, labels: Any, seed: int) -> Any:
        self.dies_at = 3 if self.last is not None else None
        return super().start(rows, labels, seed)


def took(folder: Path, k: int, seconds: float) -> None:
    """Let a fold say that it took so long."""
    path = folder / f"fold-{k}.npz"
    with np.load(path) as found:
        arrays = dict(found)
    about = json.loads(arrays["about"].tobytes()) | {"seconds": seconds}
    np.savez(path, **{**arrays, "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)})


def write_model(store: TileStore, run: str) -> None:
    (store.path.parent / "model").mkdir(exist_ok=True)
    (store.path.parent / "model" / "model.json").write_text(json.dumps({"provenance": {"clean_run": run}}), "utf-8")


def test_a_store_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    words = f"{tmp_path / 'no.zarr'}: no such tile store. Make one with `w2wpath tile slide.svs rois.geojson`."
    with pytest.raises(StoreError, match=f"^{re.escape(words)}$"):
        status(tmp_path / "no.zarr")


def test_an_empty_store_lacks_labelled_tiles(tmp_path: Path) -> None:
    found = told(new_store(tmp_path / "tiles.zarr"))
    assert (found.slides, found.tiles, found.labelled) == (0, 0, {})
    assert (found.missing, found.next) == (("tiles with a label",), "w2wpath tile slide.svs rois.geojson")


def test_tiles_without_a_label_do_not_do(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    add_slide(store, "s", np.zeros(6, dtype=int), np.full(6, -1), ["a"])
    found = told(store)
    assert (found.tiles, found.labelled) == (6, {"blue": 0, "green": 0, "red": 0})
    assert found.missing == ("tiles with a label",)


def test_a_store_that_was_never_cleaned(store: TileStore) -> None:
    assert told(store) == Status(
        path=str(store.path),
        slides=2,
        tiles=90,
        labelled={"blue": 30, "green": 24, "red": 36},
        damaged=(),
        runs=(),
        verdicts=0,
        model=None,
        model_run=None,
        missing=("decisions on these tiles",),
        next=f"w2wpath clean --store {store.path}",
        seconds=None,
    )


def test_an_interrupted_run_tells_fold_epoch_and_the_time_that_is_left(store: TileStore) -> None:
    folder = interrupted(store)
    began = (folder / "key.json").stat().st_mtime
    os.utime(folder / "fold-0.npz", (began + 60, began + 60))
    found = told(store)
    assert found.runs == (RunStatus(folder.name, INTERRUPTED, 3, 1, 2, 3, pytest.approx(120)),)
    assert found.missing == (f"2 of the 3 folds of run {folder.name}",)
    assert found.next == f"w2wpath clean --store {store.path}, with the settings of that run"
    assert found.seconds == pytest.approx(120)
    took(folder, 0, 90.0)
    assert told(store).seconds == 180.0


def test_the_command_that_began_a_run_is_told_where_it_is_known(store: TileStore) -> None:
    folder = interrupted(store)
    key = json.loads((folder / "key.json").read_text("utf-8"))
    (folder / "key.json").write_text(json.dumps({**key, "command": ["clean", "--config", "my study.toml"]}), "utf-8")
    assert told(store).next == "w2wpath clean --config 'my study.toml'"


def test_before_the_first_fold_ends_no_time_is_known(store: TileStore) -> None:
    folder = interrupted(store)
    (folder / "fold-0.npz").unlink()
    (run,) = told(store).runs
    assert (run.folds_done, run.fold, run.epoch, run.seconds) == (0, 2, 3, None)
    (folder / "fold-1.checkpoint").write_bytes(b"torn")
    (run,) = told(store).runs
    assert (run.folds_done, run.fold, run.epoch) == (0, None, None)


def test_after_cleaning_a_review_and_a_model_are_missing(store: TileStore) -> None:
    run = cleaned(store).run
    found = told(store)
    assert [(one.run, one.state, one.folds_done) for one in found.runs] == [(run, FINISHED, 3)]
    assert found.missing == (f"a review of run {run}", f"a model of run {run}")
    assert found.next == f"w2wpath train --store {store.path} -o {store.path.parent / 'model'}"
    (store.path / "verdicts" / "20260101T000000Z-aaaaaa").mkdir(parents=True)
    found = told(store)
    assert (found.verdicts, found.missing) == (1, (f"a model of run {run}",))


def test_a_model_of_another_run_is_told_and_one_of_this_run_is_enough(store: TileStore) -> None:
    run = cleaned(store).run
    model = store.path.parent / "model"
    write_model(store, "20250101T000000Z-aaaaaa")
    found = told(store)
    assert found.missing[1] == f"a model of run {run} ({model} is of run 20250101T000000Z-aaaaaa)"
    write_model(store, run)
    found = told(store)
    assert (found.model, found.model_run, found.missing) == (str(model), run, (f"a review of run {run}",))
    assert found.next == f"w2wpath heatmap slide.svs --model {model} -o out/"


def test_an_undone_run_counts_no_longer(store: TileStore) -> None:
    run = cleaned(store).run
    (store.path / "decisions-undone").mkdir()
    shutil.move(store.path / "decisions" / run, store.path / "decisions-undone" / run)
    found = told(store)
    assert [(one.run, one.state) for one in found.runs] == [(run, UNDONE)]
    assert found.missing == ("decisions on these tiles",)


def test_runs_on_other_tiles_count_no_longer(store: TileStore) -> None:
    folder = interrupted(store)
    shutil.copytree(store.path, store.path.parent / "copy.zarr")
    run = cleaned(TileStore.open(store.path.parent / "copy.zarr")).run  # goes on with the interrupted one
    assert run == folder.name
    assert [one.state for one in told(store).runs] == []
    again = cleaned(store).run
    content = np.arange(6) % 3
    add_slide(store, "s3", content, content, ["p9"])
    found = told(store)
    assert [(one.run, one.state) for one in found.runs] == [(again, STALE)]
    assert found.next == f"w2wpath clean --store {store.path}"


def test_what_the_last_run_took_is_the_guess_for_the_next(store: TileStore) -> None:
    run = cleaned(store).run
    path = store.path / "decisions" / run / "zarr.json"
    root = json.loads(path.read_text("utf-8"))
    for fold in root["attributes"]["about"]["folds"]:
        fold["seconds"] = 100.0
    path.write_text(json.dumps(root), "utf-8")
    assert [one.seconds for one in told(store).runs] == [300.0]
    content = np.arange(6) % 3
    add_slide(store, "s3", content, content, ["p9"])
    assert told(store).seconds == 300.0


def test_a_slide_that_cannot_be_read_is_named(store: TileStore) -> None:
    (store.path / "slides" / "s2" / "zarr.json").write_text("{", "utf-8")
    found = told(store)
    assert (found.slides, found.damaged, sum(found.labelled.values())) == (2, ("s2",), 45)
    assert found.missing == ("slides that can be read: s2 cannot",)
    assert found.next == f"w2wpath info {store.path}"

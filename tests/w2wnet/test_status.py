"""Status: what has run, what is missing, the next command and its time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.w2wnet.conftest import QUICK, StoreLearner, add_slide, new_store
from w2wpath.progress import Stopped
from w2wpath.reports.cleaning import write_report
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.at_work import at_work
from w2wpath.w2wnet.clean import Cleaning, clean, collect, prepare, run_folds
from w2wpath.w2wnet.ledger import Decisions, undo_run
from w2wpath.w2wnet.plan import make_plan
from w2wpath.w2wnet.status import RunStatus, status
from w2wpath.w2wnet.verdicts import Verdict, append_verdicts, ids_of, read_batches, standing, undo_batch

CLEAN = ["w2wpath", "clean", "--folds", "3", "--backbone", "a name"]


def begun(store: TileStore) -> Cleaning:
    return prepare(make_plan(store, QUICK), store.path.parent / "clean")


def finished(store: TileStore) -> Decisions:
    return clean(store, StoreLearner(store.path), QUICK, store.path.parent / "clean")[1]


def one(store: TileStore) -> RunStatus:
    (found,) = status(store.path).runs
    return found


def interrupted(store: TileStore, after: int = 4) -> Cleaning:
    """Fold 1 is done, fold 2 has so many epochs."""
    cleaning, asked = begun(store), iter(range(1000))
    run_folds(cleaning, StoreLearner(store.path), [0])
    with pytest.raises(Stopped):
        run_folds(cleaning, StoreLearner(store.path), [1], stop_asked=lambda: next(asked) >= after)
    return cleaning


def test_without_a_store_the_next_step_is_to_tile(tmp_path: Path) -> None:
    found = status(tmp_path / "tiles.zarr")
    assert (found.slides, found.next, found.seconds) == (0, "w2wpath tile slide.svs rois.geojson", None)
    assert status(new_store(tmp_path / "tiles.zarr").path).next == "w2wpath tile slide.svs rois.geojson"


def test_tiles_without_labels_are_of_no_use(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    add_slide(store, "s", np.zeros(6, dtype=int), np.full(6, -1), ["a", "b"])
    found = status(store.path)
    assert (found.slides, found.tiles, found.labelled, found.patients) == (1, 6, 0, 2)
    assert found.next == "w2wpath tile slide.svs rois.geojson"


def test_a_store_that_was_not_cleaned_is_cleaned_next(store: TileStore) -> None:
    found = status(store.path)
    assert (found.slides, found.tiles, found.labelled, found.patients) == (2, 90, 90, 6)
    assert (found.runs, found.model_run, found.next) == ((), None, "w2wpath clean (--dry-run tells the time)")


def test_an_interrupted_run_is_gone_on_with(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", CLEAN)
    cleaning = interrupted(store)
    found = one(store)
    assert (found.state, found.folds, found.folds_done, dict(found.epochs)) == ("interrupted", 3, (1,), {2: 4})
    assert found.says() == (
        f"run {cleaning.run}: interrupted, 1 of 3 folds are done, fold 2 is after epoch 4 of {QUICK.max_epochs}"
    )
    assert status(store.path).next == "w2wpath clean --folds 3 --backbone 'a name'"
    assert found.seconds is not None
    assert 0 < found.seconds < 60


@pytest.mark.parametrize("words", [["--fold", "2"], []])
def test_a_run_of_jobs_is_gone_on_with_as_a_whole(
    store: TileStore, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["w2wpath", "clean", *words, "--seed", "3"])
    begun(store)
    assert status(store.path).next == "w2wpath clean --seed 3"


def test_a_run_that_no_command_began_is_named(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest", "tests"])
    run = begun(store).run
    found = status(store.path)
    assert found.next == f"w2wpath clean --run {run}, with the settings in its key.json"
    assert found.seconds is None  # nothing is known yet of its pace


def test_folds_that_nobody_joined_are_joined_without_force(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [*CLEAN, "--fold", "3"])
    cleaning = begun(store)
    run_folds(cleaning, StoreLearner(store.path))
    assert one(store).says() == f"run {cleaning.run}: every fold is done, but they were not joined into decisions"
    found = status(store.path)
    assert (found.next, found.seconds) == ("w2wpath clean --folds 3 --backbone 'a name'", 0.0)


def test_a_run_that_waits_for_a_person_says_so(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", CLEAN)
    monkeypatch.setattr("w2wpath.w2wnet.collect.STOP_SHARE", 0.0)  # the stop itself is tested where it is made
    cleaning = begun(store)
    run_folds(cleaning, StoreLearner(store.path))
    tiles, decisions = collect(cleaning)
    assert decisions.about["stopped"]
    write_report(cleaning.folder, store, tiles, decisions)
    assert one(store).says() == (
        f"run {cleaning.run}: more than half of a class or patient would be excluded, so no decision was written "
        "(look at its report.html)"
    )
    found = status(store.path)
    assert (found.next, found.seconds) == (
        f"look at clean/{cleaning.run}/report.html; if it is right, "
        "w2wpath clean --folds 3 --backbone 'a name' --force",
        0.0,
    )


def test_a_run_that_was_begun_on_other_tiles_is_left(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", CLEAN)
    cleaning = begun(store)
    run_folds(cleaning, StoreLearner(store.path))
    add_slide(store, "s3", np.arange(9) % 3, np.arange(9) % 3, ["p9"])
    assert one(store).says() == (
        f"run {cleaning.run}: not finished, and begun on other tiles or labels than those of now, so it cannot go on"
    )
    assert status(store.path).next == "w2wpath clean (--dry-run tells the time)"


def test_a_run_that_was_left_for_another_is_told_and_not_gone_on_with(store: TileStore) -> None:
    left = begun(store)
    other = QUICK.model_copy(update={"seed": 7})
    _, decisions = clean(store, StoreLearner(store.path), other, store.path.parent / "clean")
    found = status(store.path)
    assert [(run.run, run.state) for run in found.runs] == [(decisions.run, "finished"), (left.run, "interrupted")]
    assert found.next == "w2wpath train -o model/"


def test_after_a_finished_run_a_model_is_trained(store: TileStore) -> None:
    decisions = finished(store)
    found, run = status(store.path), one(store)
    assert run.says() == f"run {decisions.run}: finished"
    took = sum(fold["seconds"] for fold in decisions.about["folds"])
    assert run.seconds == pytest.approx(took)
    assert (found.next, found.model_run) == ("w2wpath train -o model/", None)
    assert found.seconds == pytest.approx(took)  # twice a network on half as many tiles again


def test_a_model_of_the_newest_run_reads_slides_next(store: TileStore) -> None:
    run = finished(store).run
    model = store.path.parent / "model"
    model.mkdir()
    for of_run, following in (
        (run, "w2wpath heatmap slide.svs --model model/ -o out/"),
        ("x", "w2wpath train -o model/"),
    ):
        (model / "model.json").write_text(json.dumps({"provenance": {"clean_run": of_run}}))
        found = status(store.path)
        assert (found.model_run, found.next) == (of_run, following)
    (model / "model.json").write_text("damaged")
    assert status(store.path).model_run == "not known"


def test_verdicts_since_the_training_ask_for_another(store: TileStore) -> None:
    run = finished(store).run
    model = store.path.parent / "model"
    model.mkdir()

    def trained() -> None:
        about = {"clean_run": run, "verdicts": standing(read_batches(store))}
        (model / "model.json").write_text(json.dumps({"provenance": about}))

    trained()
    heatmap = "w2wpath heatmap slide.svs --model model/ -o out/"
    assert (status(store.path).verdicts, status(store.path).next) == (0, heatmap)
    given = [Verdict(one, "exclude", "", "green") for one in ids_of(store.table())[:2]]
    batch = append_verdicts(store, given, who="ann", source="review.csv")
    assert (status(store.path).verdicts, status(store.path).next) == (2, "w2wpath train -o model/")
    trained()
    assert status(store.path).next == heatmap
    undo_batch(store, batch, "ann")
    assert (status(store.path).verdicts, status(store.path).next) == (0, "w2wpath train -o model/")


def test_a_run_that_a_process_works_on_is_left_alone(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", CLEAN)
    cleaning = interrupted(store)
    with at_work(cleaning.folder / "fold-1.lock"):
        found = one(store)
        assert found.state == "running"
        assert found.says() == (
            f"run {cleaning.run}: at work just now, 1 of 3 folds are done, "
            f"fold 2 is after epoch 4 of {QUICK.max_epochs}"
        )
        assert status(store.path).next == f"w2wpath status, when run {cleaning.run} is done"
    assert one(store).state == "interrupted"


def test_runs_of_another_store_in_the_same_folder_are_not_told(store: TileStore) -> None:
    begun(store)
    other = new_store(store.path.with_name("other.zarr"))
    add_slide(other, "s", np.arange(9) % 3, np.arange(9) % 3, ["a", "b", "c"])
    assert status(other.path).runs == ()
    assert len(status(store.path).runs) == 1


def test_a_run_of_an_earlier_state_of_the_store_is_outdated(store: TileStore) -> None:
    run = finished(store).run
    add_slide(store, "s3", np.arange(9) % 3, np.arange(9) % 3, ["p9"])
    assert one(store).says() == f"run {run}: finished, but tiles or labels have changed since"
    assert status(store.path).next == "w2wpath clean (--dry-run tells the time)"


def test_a_run_that_was_undone_says_how_it_comes_back(store: TileStore) -> None:
    run = finished(store).run
    undo_run(store, run, "ana")
    assert one(store).says() == f"run {run}: undone (w2wpath undo RUN turns that round)"
    assert status(store.path).next == "w2wpath clean (--dry-run tells the time)"


def test_a_run_that_died_before_its_end_was_marked_is_finished_all_the_same(store: TileStore) -> None:
    run = finished(store).run
    (store.path.parent / "clean" / run / "done").unlink()
    assert one(store).says() == f"run {run}: finished"


def test_runs_are_told_oldest_first(store: TileStore) -> None:
    first = finished(store).run
    cleaning = begun(store)
    assert [run.run for run in status(store.path).runs] == sorted([first, cleaning.run])
    run_folds(cleaning, StoreLearner(store.path))
    collect(cleaning)
    assert {run.state for run in status(store.path).runs} == {"finished"}

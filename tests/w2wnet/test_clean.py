"""The procedure with a learner that is no network: what it finds, writes, refuses, and takes up again."""

from __future__ import annotations

import ast
import csv
import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT, file_bytes
from tests.w2wnet.conftest import (
    CLASSES,
    NOISE,
    PX,
    QUICK,
    Believing,
    FakeLearner,
    FakeRun,
    Heard,
    Interrupted,
    MortalLearner,
    MortalRun,
    add_slide,
    blurred,
    cut_up,
    epochs_in,
    fake_learner,
    glass,
    make_store,
    new_store,
    planted,
    shown,
    tissue,
    write_truth,
)
from w2wpath.config import CleanSettings
from w2wpath.errors import ConfigError, FoldError, StoreError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet import (
    checkpoint,
    collect,
    controls,
    decide,
    duplicates,
    fit,
    folds,
    foldwork,
    learner,
    ledger,
    pixels,
    quality,
    split,
    stopping,
    tasks,
    trackers,
    uncertainty,
)
from w2wpath.w2wnet import clean as clean_module
from w2wpath.w2wnet import plan as plan_module
from w2wpath.w2wnet import runs as runs_module
from w2wpath.w2wnet.clean import clean
from w2wpath.w2wnet.decide import REASONS as EXCLUSIONS
from w2wpath.w2wnet.folds import FoldTable, make_folds, sides
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.ledger import COLUMNS, EXCLUDED, KEPT, REASONS, STATES, UNDECIDED, Decisions, read_decisions, runs
from w2wpath.w2wnet.quality import Reference, measure


@dataclass
class Spy:
    """Makes fake learners and keeps them; the start of network `dies_at` (counted over all) raises."""

    store: TileStore
    dies_at: int | None = None
    made: FakeLearner | None = None

    def __call__(self, table: TileTable) -> Spy:
        self.made = FakeLearner(shown(self.store, table))
        return self

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> FakeRun:
        assert self.made is not None
        if len(self.made.started) == self.dies_at:
            raise KeyboardInterrupt
        return self.made.start(rows, labels, seed)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the networks that were started: settings.seed + fold."""
        return [] if self.made is None else [seed for _, _, seed in self.made.started]


def home_of(store: TileStore) -> Path:
    return store.path.parent / "clean"


def cleaned(store: TileStore, settings: CleanSettings = QUICK) -> tuple[TileTable, Decisions]:
    return clean(store, fake_learner(store), settings, home_of(store))


def same(one: Decisions, other: Decisions) -> bool:
    columns = all(getattr(one, c).tobytes() == getattr(other, c).tobytes() for c in COLUMNS)
    return columns and json.dumps(timeless(one)) == json.dumps(timeless(other))


def timeless(decisions: Decisions) -> list[dict[str, object]]:
    """What is told of the folds, without what they took."""
    return [{name: value for name, value in fold.items() if name != "seconds"} for fold in decisions.about["folds"]]


def test_planted_tiles_are_excluded_and_no_others(store: TileStore) -> None:
    table, decisions = cleaned(store)
    assert np.array_equal(decisions.state == EXCLUDED, planted(store, table))
    assert decisions.counts() == {"kept": 78, "excluded": 12, "undecided": 0}


def test_every_exclusion_has_its_reason(store: TileStore) -> None:
    table, decisions = cleaned(store)
    flipped = (decisions.state == EXCLUDED) & (shown(store, table) != NOISE)
    assert {REASONS[i] for i in decisions.reason[flipped]} == {"label"}
    assert {REASONS[i] for i in decisions.reason[decisions.state == EXCLUDED]} <= {"label", "uncertain"}
    assert {REASONS[i] for i in decisions.reason[decisions.state == KEPT]} == {""}


def test_every_judged_tile_has_a_vote_from_each_wise_that_trained_on_it(store: TileStore) -> None:
    table, decisions = cleaned(store)
    assert np.array_equal(decisions.votes == -1, decisions.fold[:, None] == np.arange(QUICK.folds))
    assert np.isfinite(decisions.score).all()
    assert ((decisions.u >= 0) & (decisions.u <= 1 - 1 / len(CLASSES))).all()
    for patient in range(len(table.patients)):
        assert len(set(decisions.fold[table.patient == patient])) == 1


def test_decisions_are_in_the_store_as_they_were_returned(store: TileStore) -> None:
    table, decisions = cleaned(store)
    read = read_decisions(store, table)
    assert same(read, decisions)
    assert read.about == json.loads(json.dumps(decisions.about))
    assert read.about["command"] == "clean"
    assert read.about["settings"] == QUICK.model_dump(mode="json")
    assert read.about["store_hash"] == store.content_hash()


def test_the_fold_table_is_written_for_people(store: TileStore) -> None:
    table, decisions = cleaned(store)
    with (home_of(store) / decisions.run / "folds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # a person counts folds from 1, as --fold does
    assert {row["patient"]: int(row["fold"]) - 1 for row in rows} == dict(decisions.about["fold_table"])
    assert sorted(row["patient"] for row in rows) == list(table.patients)


def test_names_of_patients_are_quoted_in_the_fold_table(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    names = ['a "quoted", one', "b", "c"]
    add_slide(store, "s", np.arange(27) // 3 % 3, np.arange(27) // 3 % 3, names)
    _, decisions = cleaned(store)
    with (home_of(store) / decisions.run / "folds.csv").open(newline="") as file:
        assert sorted(row["patient"] for row in csv.DictReader(file)) == sorted(names)


def test_tiles_without_a_label_are_not_judged(tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    content = np.arange(36) // 3 % 3
    add_slide(store, "s", content, np.where(np.arange(36) < 9, -1, content), ["a", "b", "c"])
    spy = Spy(store)
    _, decisions = clean(store, spy, QUICK, home_of(store))
    assert decisions.state[:9].tolist() == [UNDECIDED] * 9
    assert {REASONS[i] for i in decisions.reason[:9]} == {"no label"}
    assert (decisions.votes[:9] == -1).all()
    assert np.isnan(decisions.u[:9]).all()
    assert sum(decisions.counts().values()) == 27
    assert spy.made is not None
    assert all(rows.min() >= 9 for rows, _, _ in spy.made.started)


def test_a_tie_of_votes_is_undecided_and_says_so(store: TileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = foldwork.fit_wise

    def only_even_folds_exclude(*args: object) -> object:
        run, said = whole(*args)  # type: ignore[arg-type]  # passed on as they came
        exclude = args[4] % 2 == 0  # type: ignore[operator]  # the seed, 0 + fold
        return run, replace(said, severity_n=np.full(len(said.severity_n), 2.0 if exclude else 0.0))

    monkeypatch.setattr(foldwork, "fit_wise", only_even_folds_exclude)
    _, decisions = cleaned(store, QUICK.model_copy(update={"out_of_fold_veto": False}))
    # folds 0 and 2 exclude all that they train on, fold 1 nothing: only tiles of fold 1 have votes that agree
    assert np.array_equal(decisions.state == EXCLUDED, decisions.fold == 1)
    assert np.array_equal(decisions.state == UNDECIDED, decisions.fold != 1)
    assert {REASONS[i] for i in decisions.reason[decisions.state == UNDECIDED]} == {"tie"}


def first_flip(store: TileStore, table: TileTable) -> int:
    """The first tile whose pixels show another class than its label."""
    return int(np.flatnonzero(planted(store, table) & (shown(store, table) != NOISE))[0])


def test_what_the_unseen_fold_speaks_for_is_undecided_and_nothing_else_changes(store: TileStore) -> None:
    table, before = cleaned(store)
    flip = first_flip(store, table)

    def learner_for(_: TileTable) -> Believing:
        return Believing(shown(store, table), believed={flip: int(table.label[flip])})

    _, decisions = clean(store, learner_for, QUICK, home_of(store).parent / "veto")
    assert STATES[before.state[flip]] == "excluded"
    assert (STATES[decisions.state[flip]], REASONS[decisions.reason[flip]]) == ("undecided", "vetoed")
    assert flip in decisions.for_training()
    others = np.arange(table.n) != flip
    assert np.array_equal(decisions.state[others], before.state[others])
    assert np.array_equal(decisions.reason[others], before.reason[others])
    assert np.array_equal(decisions.votes, before.votes)


@pytest.mark.parametrize(
    "why",
    [
        "it is not sure",
        "image quality is bad too",
        "image quality alone has the majority",
        "its network learned nothing",
        "it is turned off",
    ],
)
def test_there_is_no_veto_where(store: TileStore, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    table = store.table()
    flip = first_flip(store, table)
    settings = QUICK.model_copy(update={"out_of_fold_veto": why != "it is turned off"})
    whole = foldwork.FoldWork.run
    if why == "image quality alone has the majority":
        settings = settings.model_copy(update={"folds": 4})
    folds = make_folds(table.patients, table.classes, table.patient, table.label, folds=settings.folds, seed=0)
    last = max(set(range(settings.folds)) - {int(folds.fold_n(table.patients, table.patient)[flip])})

    def altered(self: foldwork.FoldWork, learner: Believing, k: int, *rest: object) -> foldwork.FoldResult:
        found = whole(self, learner, k, *rest)  # type: ignore[arg-type]  # passed on as they came
        if flip in found.test_rows:
            if why == "it is not sure":
                found.test_u[found.test_rows == flip] = found.test_u.max() + 1.0
            if why == "its network learned nothing":
                found.about["stop"]["reason"] = "degenerate"
        elif why == "image quality is bad too":
            found.severity_nr[found.train_rows == flip, EXCLUSIONS.index("focus")] = 1.5
        elif why == "image quality alone has the majority":
            # vote by vote above its cut, on average below
            found.severity_nr[found.train_rows == flip] = 0.0
            found.severity_nr[found.train_rows == flip, EXCLUSIONS.index("focus")] = 0.8 if k == last else 1.05
        return found

    monkeypatch.setattr(foldwork.FoldWork, "run", altered)
    learner = Believing(shown(store, table), believed={flip: int(table.label[flip])})
    _, decisions = clean(store, lambda _: learner, settings, home_of(store).parent / "veto")
    assert STATES[decisions.state[flip]] == "excluded"


def test_a_frequent_class_is_not_spoken_for_because_it_is_frequent() -> None:
    about = {"settings": {"out_of_fold_veto": True, "balanced": True}, "folds": [{"stop": {"reason": "stable"}}]}
    probs_nk = np.array([[0.7, 0.3], [0.95, 0.05]])
    asked = (np.zeros(2, dtype=np.int16), np.zeros(2, dtype=np.intp), probs_nk, np.zeros(2), np.array([90, 10]))
    # nine to one without a look: 0.7 speaks for the rare class, 0.95 for the frequent one
    assert collect.veto(*asked, about).tolist() == [False, True]
    raw = {**about, "settings": {"out_of_fold_veto": True, "balanced": False}}
    assert collect.veto(*asked, raw).tolist() == [True, True]


def test_no_network_ever_meets_its_test_patients(store: TileStore) -> None:
    spy = Spy(store)
    table, decisions = clean(store, spy, QUICK, home_of(store))
    assert spy.made is not None
    for k, (rows, labels, seed) in enumerate(spy.made.started):
        assert not set(table.patient[rows]) & set(table.patient[decisions.fold == k])
        assert np.array_equal(labels, table.label[rows])
        assert seed == k


# leakage ------------------------------------------------------------------------------------------------------------


ENGINE = [checkpoint, decide, fit, folds, learner, ledger, quality, split, stopping, trackers, uncertainty]
ORDER = [clean_module, collect, controls, duplicates, foldwork, pixels, plan_module, runs_module, tasks]


@pytest.mark.parametrize("module", [*ENGINE, *ORDER])
def test_nothing_that_decides_can_be_given_the_truth(module: object) -> None:
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]  # modules they are
    words = [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    words += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    words += [name.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names]
    assert [word for word in words if "truth" in word.lower() or "spurious" in word.lower()] == []


def test_a_truth_table_beside_the_store_changes_nothing(store: TileStore, tmp_path: Path) -> None:
    _, without = cleaned(store)
    write_truth(store.path.parent / "truth.csv", store)
    _, beside = cleaned(store)
    (store.path.parent / "truth.csv").write_text("slide,x0,y0,content,spurious,kind\n")
    _, emptied = cleaned(store)
    assert same(without, beside)
    assert same(without, emptied)


def test_labels_of_test_patients_change_no_decision_of_their_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dealt(patients: tuple[str, ...], *_: object, folds: int, seed: int) -> FoldTable:
        return FoldTable(folds, seed, tuple((name, i % folds) for i, name in enumerate(patients)))

    monkeypatch.setattr(plan_module, "make_folds", dealt)
    content = np.arange(54) // 6 % 3
    mine = np.isin(np.arange(54) % 6, [0, 3])  # tiles of the patients of fold 0
    said = []
    for name, label in (("as it is", content), ("altered", np.where(mine, (content + 1) % 3, content))):
        store = new_store(tmp_path / name / "tiles.zarr")
        add_slide(store, "s", content, label, [f"p{i}" for i in range(6)])
        _, decisions = cleaned(store)
        assert np.array_equal(decisions.fold == 0, mine)
        about = decisions.about["folds"][0]
        accuracy = about.pop("test_accuracy")
        # the quantile is of u that the other folds' networks gave, which were trained on the altered labels
        del about["threshold"], about["thresholds"]["quantile"], about["seconds"]
        said.append((decisions.votes[:, 0].tolist(), decisions.u[mine].tolist(), about, accuracy))
    assert said[0][:3] == said[1][:3]
    assert said[0][3] > said[1][3]


def test_a_fold_table_that_mixes_patients_is_stopped_before_training(
    store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FoldTable, "fold_n", lambda self, patients, patient_n: np.arange(len(patient_n)) % 2)
    spy = Spy(store)
    with pytest.raises(FoldError) as caught:
        clean(store, spy, QUICK, home_of(store))
    assert str(caught.value) == (
        "a patient lies in two folds; this must never happen. Please report it with the fold table."
    )
    assert spy.seeds == []


# interruption -------------------------------------------------------------------------------------------------------


def uninterrupted(store: TileStore, tmp_path: Path) -> Decisions:
    return clean(store, fake_learner(store), QUICK, tmp_path / "elsewhere")[1]


@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_an_interrupted_run_goes_on_after_its_last_whole_fold(store: TileStore, tmp_path: Path, dies_at: int) -> None:
    expected = uninterrupted(store, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, dies_at), QUICK, home_of(store))
    (interrupted,) = home_of(store).iterdir()
    spy = Spy(store)
    _, decisions = clean(store, spy, QUICK, home_of(store))
    assert spy.seeds == list(range(dies_at, 3))
    assert decisions.run == interrupted.name
    assert same(decisions, expected)


def test_folds_that_are_taken_up_are_named(store: TileStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, 2), QUICK, home_of(store))
    heard = Heard()
    _, decisions = clean(store, fake_learner(store), QUICK, home_of(store), heard)
    assert heard.lines == [f"fold {k}: taken from the interrupted run {decisions.run}" for k in (1, 2)]


def test_a_finished_run_is_not_taken_up(store: TileStore) -> None:
    first, second = cleaned(store)[1], cleaned(store)[1]
    assert first.run != second.run
    assert sorted([first.run, second.run]) == runs(store)


def test_a_second_run_leaves_every_byte_of_the_first_and_of_the_tiles(store: TileStore) -> None:
    cleaned(store)
    before = file_bytes(store.path)
    cleaned(store, QUICK.model_copy(update={"seed": 7}))
    assert before.items() <= file_bytes(store.path).items()


@pytest.mark.parametrize(
    "other", [{"seed": 5}, {"folds": 2}, {"draws": 9}, {"label_weight": 0.0}, {"quality": True}, {"tracker": "exact"}]
)
def test_other_settings_begin_a_run_of_their_own(store: TileStore, other: dict[str, object]) -> None:
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, 1), QUICK, home_of(store))
    (interrupted,) = home_of(store).iterdir()
    settings = QUICK.model_copy(update=other)
    spy = Spy(store)
    _, decisions = clean(store, spy, settings, home_of(store))
    assert decisions.run != interrupted.name
    assert spy.seeds == [settings.seed + k for k in range(settings.folds)]


@pytest.mark.parametrize("other", [{"device": "auto"}, {"loader_workers": 1}])
def test_another_device_goes_on_with_the_same_run(store: TileStore, other: dict[str, object]) -> None:
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, 1), QUICK, home_of(store))
    (interrupted,) = home_of(store).iterdir()
    _, decisions = cleaned(store, QUICK.model_copy(update=other))
    assert decisions.run == interrupted.name


def test_a_changed_store_begins_a_run_of_its_own(store: TileStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, 2), QUICK, home_of(store))
    (interrupted,) = home_of(store).iterdir()
    add_slide(store, "s3", np.arange(9) % 3, np.arange(9) % 3, ["p9"])
    _, decisions = cleaned(store)
    assert decisions.run != interrupted.name


def test_a_run_that_died_between_its_decisions_and_its_end_is_finished(store: TileStore) -> None:
    _, decisions = cleaned(store)
    (home_of(store) / decisions.run / "done").unlink()
    before = file_bytes(store.path)
    spy = Spy(store)
    _, again = clean(store, spy, QUICK, home_of(store))
    assert again.run == decisions.run
    assert same(again, decisions)
    assert spy.seeds == []
    assert file_bytes(store.path) == before
    assert (home_of(store) / decisions.run / "done").exists()


def test_a_run_that_died_before_its_fold_table_was_written_is_not_taken_up(
    store: TileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = runs_module.write_whole

    def dies(path: Path, content: str) -> None:
        if path.name == "folds.csv":
            raise KeyboardInterrupt
        whole(path, content)

    monkeypatch.setattr(runs_module, "write_whole", dies)
    with pytest.raises(KeyboardInterrupt):
        cleaned(store)
    monkeypatch.undo()
    _, decisions = cleaned(store)
    assert (home_of(store) / decisions.run / "folds.csv").is_file()


@pytest.mark.parametrize("left", [0, 10, 300])
def test_a_fold_of_which_a_part_reached_the_disk_is_trained_again(store: TileStore, tmp_path: Path, left: int) -> None:
    expected = uninterrupted(store, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, 2), QUICK, home_of(store))
    (interrupted,) = home_of(store).iterdir()
    os.truncate(interrupted / "fold-0.npz", left)
    spy = Spy(store)
    _, decisions = clean(store, spy, QUICK, home_of(store))
    assert spy.seeds == [0, 2]
    assert same(decisions, expected)


def mortal(
    store: TileStore, dies_at: int | None, fold: int = 1
) -> tuple[Callable[[TileTable], object], list[MortalRun]]:
    """What `clean` takes: its networks are kept, and that of `fold` dies before its call number `dies_at`."""
    runs: list[MortalRun] = []

    class Learner(MortalLearner):
        def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> MortalRun:
            self.dies_at = dies_at if seed == fold else None
            runs.append(super().start(rows, labels, seed))
            return runs[-1]

    return lambda table: Learner(FakeLearner(shown(store, table))), runs


def chunks(store: TileStore, run: str) -> dict[str, bytes]:
    """The bytes of a run's arrays; its attributes tell times and names."""
    found = file_bytes(store.path / "decisions" / run)
    return {name: data for name, data in found.items() if not name.endswith("zarr.json")}


@pytest.mark.parametrize("settings", [QUICK, QUICK.model_copy(update={"tracker": "exact", "track_every": 2})])
def test_k18_a_run_that_died_in_a_fold_goes_on_after_its_last_epoch(
    store: TileStore, settings: CleanSettings, tmp_path: Path
) -> None:
    whole, networks = mortal(store, None)
    _, expected = clean(store, whole, settings, tmp_path / "elsewhere")  # type: ignore[arg-type]
    calls = networks[1].called
    # while training, in the exact passes after the stop, and in those over unseen patients
    for at in (3, len(calls) - 12, len(calls) - 2):
        home = tmp_path / f"died at {at}"
        dying, _ = mortal(store, at)
        with pytest.raises(Interrupted):
            clean(store, dying, settings, home)  # type: ignore[arg-type]
        (interrupted,) = home.iterdir()
        assert [path.name for path in interrupted.glob("*.checkpoint")] == ["fold-1.checkpoint"]
        finished = epochs_in(interrupted / "fold-1.checkpoint")
        assert 0 < finished <= calls[:at].count("epoch")
        again, networks = mortal(store, None)
        _, decisions = clean(store, again, settings, home)  # type: ignore[arg-type]
        assert decisions.run == interrupted.name
        assert chunks(store, decisions.run) == chunks(store, expected.run)
        assert same(decisions, expected)
        # fold 1 was whole; of fold 2 only what was missing is trained
        assert networks[0].called.count("epoch") == calls.count("epoch") - finished
        assert list(interrupted.glob("*.checkpoint")) == []


def test_a_finished_run_leaves_no_checkpoint(store: TileStore) -> None:
    _, decisions = cleaned(store)
    names = sorted(path.name for path in (home_of(store) / decisions.run).iterdir())
    assert names == ["done", "fold-0.npz", "fold-1.npz", "fold-2.npz", "folds.csv", "key.json"]


def test_a_checkpoint_left_between_the_end_of_a_fold_and_its_removal_is_removed(store: TileStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        clean(store, Spy(store, 2), QUICK, home_of(store))
    (interrupted,) = home_of(store).iterdir()
    (interrupted / "fold-0.checkpoint").write_bytes(b"of a fold that is whole")
    cleaned(store)
    assert list(interrupted.glob("*.checkpoint")) == []


def test_where_training_goes_on_is_said(store: TileStore) -> None:
    dying, _ = mortal(store, 3, fold=0)
    with pytest.raises(Interrupted):
        clean(store, dying, QUICK, home_of(store))  # type: ignore[arg-type]
    heard = Heard()
    clean(store, fake_learner(store), QUICK, home_of(store), heard)
    assert heard.lines == ["fold 1/3: goes on after epoch 3"]


HANGS = """
import sys, time
from pathlib import Path
from tests.w2wnet.conftest import QUICK, FakeLearner, FakeRun, shown
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet import clean as clean_module
from w2wpath.w2wnet.clean import clean

class HangingRun(FakeRun):
    def epoch(self):
        if self.epochs == 3:
            print("in fold 2, epoch 4", flush=True)
            time.sleep(300)
        return super().epoch()

class Hangs(FakeLearner):
    def start(self, rows, labels, seed):
        run = super().start(rows, labels, seed)
        return HangingRun(**vars(run)) if seed == 2 else run

store = TileStore.open(sys.argv[1])
clean(store, lambda table: Hangs(shown(store, table)), QUICK, Path(sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_k18_a_killed_process_loses_only_the_epoch_it_was_in(store: TileStore, tmp_path: Path) -> None:
    expected = uninterrupted(store, tmp_path)
    before = file_bytes(store.path)
    command = [sys.executable, "-c", HANGS, str(store.path), str(home_of(store))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in fold 2, epoch 4\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert file_bytes(store.path) == before
    again, networks = mortal(store, None)
    _, decisions = clean(store, again, QUICK, home_of(store))  # type: ignore[arg-type]
    assert same(decisions, expected)
    trained = len(expected.about["folds"][2]["stop"]["deltas"])
    assert [run.called.count("epoch") for run in networks] == [trained - 3]


# image quality ------------------------------------------------------------------------------------------------------

GOOD, BLURRED, EMPTY, FLIPPED, TORN = range(5)
KIND_OF_TILE = np.zeros(48, dtype=np.int64)
KIND_OF_TILE[[5, 22, 34, 40, 11, 26, 30, 47]] = np.repeat([BLURRED, EMPTY, FLIPPED, TORN], 2)
"""What each of a slide's tiles is; the two of a kind are of both patients."""
WITH_QUALITY = QUICK.model_copy(update={"quality": True})
TISSUE_PX = 64
CONTENT = np.arange(48) // 2 % 3


class TornRun(FakeRun):
    """Of torn tiles, whose content counts from len(CLASSES), it names the class that they show, but is not sure."""

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        content = self.content_n[rows]
        says = content % len(CLASSES)
        sure, other = np.where(content < len(CLASSES), 30.0, 40.0), np.where(content < len(CLASSES), 1.0, 26.0)
        gamma = self.random.gamma(np.where(says[:, None] == np.arange(len(CLASSES)), sure[:, None], other[:, None]))
        return (gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32)


class TornLearner(FakeLearner):
    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> TornRun:
        return TornRun(**vars(super().start(rows, labels, seed)))


def tissue_store(path: Path, defocused: tuple[str, ...] = ()) -> TileStore:
    """Three slides of tissue, two patients each; of the `defocused` patients every tile is out of focus."""
    store = new_store(path, TISSUE_PX)
    for slide in range(3):
        patients = [f"p{2 * slide}", f"p{2 * slide + 1}"]
        field = tissue(7 * TISSUE_PX, seed=slide)
        sharp, soft = cut_up(field, TISSUE_PX)[:48], cut_up(blurred(field, 2.5), TISSUE_PX)[:48]
        bare = cut_up(glass(7 * TISSUE_PX, seed=slide), TISSUE_PX)[:48]
        is_soft = (KIND_OF_TILE == BLURRED) | np.isin(np.array(patients)[np.arange(48) % 2], defocused)
        pixels = np.where(is_soft[:, None, None, None], soft, sharp)
        pixels = np.where((KIND_OF_TILE == EMPTY)[:, None, None, None], bare, pixels)
        label = np.where(KIND_OF_TILE == FLIPPED, (CONTENT + 1) % 3, CONTENT)
        add_slide(store, f"s{slide}", CONTENT, label, patients, pixels)
    return store


def clean_tissue(store: TileStore, settings: CleanSettings = WITH_QUALITY) -> tuple[TileTable, Decisions]:
    content = np.tile(np.where(KIND_OF_TILE == TORN, CONTENT + len(CLASSES), CONTENT), 3)
    return clean(store, lambda table: TornLearner(content), settings, home_of(store))


@pytest.fixture(scope="module")
def cleaned_tissue(tmp_path_factory: pytest.TempPathFactory) -> tuple[TileStore, TileTable, Decisions]:
    store = tissue_store(tmp_path_factory.mktemp("tissue") / "tiles.zarr")
    return store, *clean_tissue(store)


CleanedTissue = tuple[TileStore, TileTable, Decisions]


def reasons(decisions: Decisions, kind: int) -> list[str]:
    mine = np.tile(np.equal(KIND_OF_TILE, kind), 3)
    return [REASONS[i] for i in decisions.reason[mine]]


def test_each_planted_tile_is_excluded_for_what_is_wrong_with_it(cleaned_tissue: CleanedTissue) -> None:
    _, _, decisions = cleaned_tissue
    assert reasons(decisions, BLURRED) == ["focus"] * 6
    assert reasons(decisions, EMPTY) == ["background"] * 6
    assert reasons(decisions, FLIPPED) == ["label"] * 6
    assert reasons(decisions, TORN) == ["uncertain"] * 6
    spurious = np.tile(KIND_OF_TILE != GOOD, 3)
    assert (decisions.state[spurious] == EXCLUDED).all()
    assert (decisions.state[~spurious] == EXCLUDED).mean() < 0.03


def test_the_score_exceeds_1_where_every_vote_excludes(cleaned_tissue: CleanedTissue) -> None:
    _, _, decisions = cleaned_tissue
    votes = [decisions.votes[i][decisions.votes[i] >= 0] for i in range(len(decisions.votes))]
    assert all(score > 1 for score, own in zip(decisions.score, votes, strict=True) if own.all())
    assert all(score <= 1 for score, own in zip(decisions.score, votes, strict=True) if not own.any())
    assert (decisions.score >= 0).all()


def test_without_quality_only_the_network_excludes(tmp_path: Path) -> None:
    store = tissue_store(tmp_path / "tiles.zarr")
    _, decisions = clean_tissue(store, QUICK)
    assert [about["quality"] for about in decisions.about["folds"]] == [None] * 3
    assert np.array_equal(decisions.state == EXCLUDED, np.tile(KIND_OF_TILE >= FLIPPED, 3))
    assert {REASONS[i] for i in decisions.reason} == {"", "label", "uncertain"}


def test_the_image_quality_reference_is_that_of_the_training_side(cleaned_tissue: CleanedTissue) -> None:
    store, table, decisions = cleaned_tissue
    features = np.concatenate([measure(store.images(slide)) for slide in table.slides])
    for k, about in enumerate(decisions.about["folds"]):
        train = decisions.fold != k
        assert Reference(**about["quality"]) == Reference.learn(features[train], table.slide[train])
    assert read_decisions(store, table).about["folds"] == json.loads(json.dumps(decisions.about["folds"]))


def test_k15_pixels_of_test_patients_change_no_reference_and_no_vote_of_their_fold(
    cleaned_tissue: CleanedTissue, tmp_path: Path
) -> None:
    _, table, before = cleaned_tissue
    left_out = tuple(name for i, name in enumerate(table.patients) if (before.fold[table.patient == i] == 0).all())
    assert len(left_out) == 2
    _, after = clean_tissue(tissue_store(tmp_path / "tiles.zarr", defocused=left_out))
    assert np.array_equal(before.fold, after.fold)
    assert timeless(before)[0] == timeless(after)[0]
    assert np.array_equal(before.votes[:, 0], after.votes[:, 0])
    # the folds that train on them see it
    for k in (1, 2):
        assert before.about["folds"][k]["quality"] != after.about["folds"][k]["quality"]
        assert not np.array_equal(before.votes[:, k], after.votes[:, k])


def test_a_fold_that_learned_nothing_excludes_nothing_by_quality_either(tmp_path: Path) -> None:
    store = tissue_store(tmp_path / "tiles.zarr")
    _, decisions = clean(store, lambda table: FakeLearner(np.full(table.n, NOISE)), WITH_QUALITY, home_of(store))
    assert [about["stop"]["reason"] for about in decisions.about["folds"]] == ["degenerate"] * 3
    assert (decisions.state == KEPT).all()


def small_store(path: Path, px: int) -> TileStore:
    store = new_store(path, px)
    content = np.arange(27) // 3 % 3
    pixels = np.random.default_rng(0).integers(0, 256, (27, px, px, 3), dtype=np.uint8)
    add_slide(store, "s", content, content, ["a", "b", "c"], pixels)
    return store


def test_tiles_too_small_for_image_quality_are_refused_before_any_training(tmp_path: Path) -> None:
    store = small_store(tmp_path / "tiles.zarr", 15)
    before = file_bytes(tmp_path)
    with pytest.raises(ConfigError) as caught:
        clean(store, never, WITH_QUALITY, home_of(store))
    assert str(caught.value) == (
        f"{store.path}: tiles of 15 px are too small for the image-quality score, which needs 16. "
        "Pass --no-quality, or tile larger."
    )
    assert file_bytes(tmp_path) == before


@pytest.mark.parametrize(("px", "settings"), [(15, QUICK), (16, WITH_QUALITY)])
def test_small_tiles_can_be_cleaned(tmp_path: Path, px: int, settings: CleanSettings) -> None:
    store = small_store(tmp_path / "tiles.zarr", px)
    _, decisions = clean(store, lambda table: FakeLearner(table.label.astype(np.int64)), settings, home_of(store))
    assert sum(decisions.counts().values()) == 27
    assert px < PX


# refusals -----------------------------------------------------------------------------------------------------------


def never(table: TileTable) -> FakeLearner:
    """A network that must not be built: the refusal comes before."""
    raise AssertionError("a learner was made")


def few_patients(store: TileStore) -> str:
    add_slide(store, "s", np.arange(18) % 3, np.arange(18) % 3, ["p0"])
    return (
        "1 patient cannot fill 3 folds: every fold needs patients of its own. "
        "Tile slides of more patients (say whose they are with --patient)."
    )


def one_class(store: TileStore) -> str:
    add_slide(store, "s", np.ones(9, dtype=int), np.ones(9, dtype=int), ["p0", "p1", "p2"])
    return "labelled tiles of one class only (green): nothing can be learned. Annotate a second class, and tile again."


def no_label(store: TileStore) -> str:
    add_slide(store, "s", np.arange(9) % 3, np.full(9, -1), ["p0", "p1", "p2"])
    return f"{store.path}: no tile carries a label. Check classes and ROIs, and tile again."


def empty(store: TileStore) -> str:
    return f"{store.path}: holds no slide. Add one with `w2wpath tile slide.svs rois.geojson`."


@pytest.mark.parametrize("fill", [few_patients, one_class, no_label, empty])
def test_what_cannot_be_cleaned_is_said_before_any_training(tmp_path: Path, fill: Callable[[TileStore], str]) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    message = fill(store)
    before = file_bytes(tmp_path)
    with pytest.raises((StoreError, FoldError)) as caught:
        clean(store, never, QUICK, home_of(store))
    assert str(caught.value) == message
    assert file_bytes(tmp_path) == before


def test_a_refusal_leaves_earlier_decisions_intact(store: TileStore) -> None:
    cleaned(store)
    before = file_bytes(store.path.parent)
    with pytest.raises(FoldError) as caught:
        cleaned(store, QUICK.model_copy(update={"folds": 7}))
    assert str(caught.value) == (
        "6 patients cannot fill 7 folds. Use --folds 6 or fewer, or tile slides of more patients."
    )
    assert file_bytes(store.path.parent) == before


def test_a_degenerate_fold_excludes_nothing_and_says_so(tmp_path: Path) -> None:
    store = make_store(tmp_path / "tiles.zarr")
    _, decisions = clean(store, lambda table: FakeLearner(np.full(table.n, NOISE)), QUICK, home_of(store))
    reasons = [about["stop"]["reason"] for about in decisions.about["folds"]]
    for k, reason in enumerate(reasons):
        if reason == "degenerate":
            assert not (decisions.votes[:, k] == 1).any()
            assert decisions.about["folds"][k]["threshold"] == 1.0
    assert "degenerate" in reasons


def test_the_sides_of_the_written_fold_table_are_those_that_were_trained(store: TileStore) -> None:
    spy = Spy(store)
    table, decisions = clean(store, spy, QUICK, home_of(store))
    table_of_folds = make_folds(table.patients, table.classes, table.patient, table.label, folds=3, seed=QUICK.seed)
    assert decisions.about["fold_hash"] == table_of_folds.digest
    fold_n = table_of_folds.fold_n(table.patients, table.patient)
    assert spy.made is not None
    for k, (rows, _, _) in enumerate(spy.made.started):
        assert np.array_equal(rows, sides(fold_n, k)[0])


def test_a_fold_that_another_version_wrote_is_not_taken_up(store: TileStore) -> None:
    _, decisions = cleaned(store)
    path = home_of(store) / decisions.run / "fold-0.npz"
    whole = foldwork.FoldResult.read(path)
    assert whole is not None
    with np.load(path) as found:
        older = {name: found[name] for name in found.files if name != "planted_rows"}
    np.savez(path, **older)
    assert foldwork.FoldResult.read(path) is None

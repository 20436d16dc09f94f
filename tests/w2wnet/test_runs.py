"""Run folders: a run goes on only with what it was begun with, and what differs is said."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.w2wnet.conftest import QUICK, Heard
from w2wpath.config import CleanSettings
from w2wpath.errors import RunError
from w2wpath.progress import Silent
from w2wpath.w2wnet.folds import FoldTable
from w2wpath.w2wnet.runs import Key, choose_run, finish, remove_partials, unfinished

FOLDS = FoldTable(3, 0, (("a", 0), ("b", 1), ("c", 2)))
KEY = Key.of(QUICK, "store", FOLDS)


def other(store: str = "store", folds: FoldTable = FOLDS, **changed: object) -> Key:
    return Key.of(QUICK.model_copy(update=changed), store, folds)


def choose(home: Path, key: Key = KEY, **how: object) -> str:
    return choose_run(home, key, FOLDS, Silent(), **how)  # type: ignore[arg-type]  # passed on as it comes


def refusal(home: Path, key: Key = KEY, **how: object) -> str:
    with pytest.raises(RunError) as caught:
        choose(home, key, **how)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (other(), []),
        (other(device="auto", loader_workers=2), []),
        (other(seed=5, lr=0.1), ["lr is 0.1, there 0.05", "seed is 5, there 0"]),
        (other("changed"), ["the store's tiles or labels have changed since"]),
        (other(folds=FoldTable(3, 0, (("a", 1),))), ["its fold table is another"]),
        (other("changed", seed=5), ["seed is 5, there 0", "the store's tiles or labels have changed since"]),
    ],
    ids=["same", "device", "settings", "store", "folds", "both"],
)
def test_what_differs_is_said_by_name(key: Key, said: list[str]) -> None:
    assert key.differences(KEY) == said


def test_a_setting_that_the_run_did_not_know_yet_is_a_difference() -> None:
    older = Key({name: value for name, value in KEY.settings.items() if name != "controls"}, KEY.store, KEY.folds)
    assert KEY.differences(older) == ["controls is 0.0, there not known"]


def test_a_run_is_taken_up_until_it_is_finished(tmp_path: Path) -> None:
    run = choose(tmp_path)
    assert choose(tmp_path) == run
    assert choose(tmp_path, name=run) == run
    assert (tmp_path / run / "folds.csv").read_text() == 'patient,fold\n"a",1\n"b",2\n"c",3\n'
    assert Key.read(tmp_path / run) == KEY
    finish(tmp_path / run)
    assert choose(tmp_path) != run
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_an_interrupted_run_of_other_settings_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    older = choose(tmp_path, other(seed=5))
    before = {path: path.read_bytes() for path in (tmp_path / older).iterdir()}
    heard = Heard()
    assert choose_run(tmp_path, KEY, FOLDS, heard) != older
    assert heard.lines == [f"run {older} was interrupted and is left as it is (seed is 0, there 5). A new run begins."]
    assert {path: path.read_bytes() for path in (tmp_path / older).iterdir()} == before


def test_a_run_that_is_asked_for_by_name_must_be_of_the_same_key(tmp_path: Path) -> None:
    older = choose(tmp_path, other("changed", seed=5))
    assert refusal(tmp_path, name=older) == (
        f"run {older}: cannot go on, because seed is 0, there 5; the store's tiles or labels have changed since. "
        f"Give the settings in {tmp_path / older / 'key.json'}, or leave --run out to begin a new run."
    )


def test_a_run_that_is_not_there_or_finished_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, name="x") == (
        f"{tmp_path}: has no unfinished run 'x'. None is unfinished; leave --run out."
    )
    run = choose(tmp_path)
    assert refusal(tmp_path, name="x") == f"{tmp_path}: has no unfinished run 'x'. Unfinished are {run}."
    finish(tmp_path / run)
    assert refusal(tmp_path, name=run) == f"run {run}: is finished. Leave --run out to begin a new one."


def test_where_none_may_begin_what_is_there_is_told(tmp_path: Path) -> None:
    cure = "Give the settings of the run, or begin one with `w2wpath clean`."
    whole = f"{tmp_path}: has no unfinished run with these settings on this store"
    assert refusal(tmp_path, may_begin=False) == f"{whole}. {cure}"
    older = choose(tmp_path, other(seed=5))
    assert refusal(tmp_path, may_begin=False) == f"{whole} (run {older}: seed is 0, there 5). {cure}"


def test_jobs_that_begin_at_the_same_time_begin_one_run(tmp_path: Path) -> None:
    for seed in range(5):
        with ThreadPoolExecutor(8) as pool:
            names = set(pool.map(lambda _: choose(tmp_path, other(seed=seed)), range(8)))  # noqa: B023 - awaited here
        assert len(names) == 1
    assert len(unfinished(tmp_path)) == 5


def test_a_run_whose_beginner_was_killed_is_begun_under_its_name(tmp_path: Path) -> None:
    pointer = tmp_path / f".{KEY.digest[:12]}.begin"
    pointer.write_text("20260101T000000Z-abcdef")
    assert choose(tmp_path) == "20260101T000000Z-abcdef"
    assert not pointer.exists()
    # or had begun it, and others finished it
    finish(tmp_path / "20260101T000000Z-abcdef")
    pointer.write_text("20260101T000000Z-abcdef")
    assert choose(tmp_path) != "20260101T000000Z-abcdef"


@pytest.mark.parametrize("text", ["", "{}", '{"settings": "1f2e", "store": "a", "folds": "b", "command": []}'])
def test_a_folder_with_another_key_file_is_no_run_to_take_up(tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "key.json").write_text(text)
    assert unfinished(tmp_path) == []
    assert choose(tmp_path) != "run"


def test_what_killed_writes_left_is_removed_and_what_is_being_written_stays(tmp_path: Path) -> None:
    names = (".fold-1.checkpoint.77.partial", ".fold-10.checkpoint.77.partial", "fold-1.checkpoint")
    young = tmp_path / ".fold-1.checkpoint.78.partial"
    for name in (*names, "stop-abc", "pixels.npz", young.name):
        (tmp_path / name).touch()
    for name in names:
        os.utime(tmp_path / name, (0, 0))
    remove_partials(tmp_path, "fold-1.")
    assert not (tmp_path / names[0]).exists()
    assert (tmp_path / names[1]).exists()
    assert young.exists()
    finish(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "done"]


def test_the_command_that_began_a_run_is_kept_but_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["w2wpath", "clean", "--folds", "3"])
    key = Key.of(QUICK, "store", FOLDS)
    assert key.command == ("clean", "--folds", "3")
    assert key.differences(KEY) == []
    assert choose(tmp_path, key) == choose(tmp_path, KEY)
    assert json.loads((tmp_path / choose(tmp_path) / "key.json").read_text())["command"] == ["clean", "--folds", "3"]


def test_weights_are_kept_as_text() -> None:
    assert other(weights=Path("a.safetensors")).settings["weights"] == "a.safetensors"
    assert set(KEY.settings) == set(CleanSettings.model_fields) - {"device", "loader_workers"}

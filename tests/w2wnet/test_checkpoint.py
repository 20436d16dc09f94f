"""K18: training that was interrupted anywhere ends with the bits of training that was not."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import ROOT, file_size_limit
from tests.w2wnet.conftest import (
    CLASSES,
    NOISE,
    QUICK,
    FakeLearner,
    FakeRun,
    Heard,
    Interrupted,
    MortalLearner,
    epochs_in,
)
from w2wpath.config import NetSettings
from w2wpath.errors import DiskError
from w2wpath.progress import Silent
from w2wpath.w2wnet.checkpoint import Checkpoint, Point
from w2wpath.w2wnet.fit import WiseFit, fit_wise
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.stopping import StopRule
from w2wpath.w2wnet.trackers import make_tracker

N = 48
CONTENT = np.arange(N) % 3
CONTENT[:5] = NOISE
LABELS = (np.arange(N) % 3).astype(np.int16)
LABELS[5:9] = (LABELS[5:9] + 1) % 3
ROWS = np.arange(N)
UNSURE = 4.0
"""A learner this sure changes its mind about some tiles in every epoch."""


def settings_of(tracker: str, **changes: object) -> NetSettings:
    exact = {"tracker": tracker, "draws": 2, "max_epochs": 12}
    return QUICK.model_copy(update={**exact, **changes})


EMA = settings_of("ema", ema_decay=0.5, std_below=0.1)
EXACT = settings_of("exact", track_every=2, std_window=6, std_below=0.15)
NEVER = {"std_below": 1e-9, "median_window": 1}
CASES = {
    "ema, stable": EMA,
    "ema, falls back": EMA.model_copy(update={**NEVER, "ema_decay": 0.0}),
    "exact, stable": EXACT,
    "exact, falls back": EXACT.model_copy(update=NEVER),
    "exact, membership": EXACT.model_copy(update={"stop_rule": "membership", "std_below": 0.4}),
}
in_every_case = pytest.mark.parametrize("settings", [pytest.param(s, id=name) for name, s in CASES.items()])


def learner() -> FakeLearner:
    return FakeLearner(CONTENT, sure=UNSURE)


def fit(
    learner: object, settings: NetSettings, path: Path | None, rows: Rows = ROWS, seed: int = 4, **more: object
) -> tuple[FakeRun, WiseFit]:
    labels = more.get("labels", LABELS)
    progress, pixels = more.get("progress", Silent()), more.get("pixels", "")
    return fit_wise(learner, rows, labels, len(CLASSES), seed, settings, progress, "Wise", path, pixels=pixels)  # type: ignore[arg-type, return-value]


def bits(wise: WiseFit) -> dict[str, object]:
    """All that a fit says, down to the last bit."""
    stop = {name: np.asarray(value).tobytes() for name, value in vars(wise.stop).items()}
    return stop | {f.name: np.asarray(getattr(wise, f.name)).tobytes() for f in fields(wise) if f.name != "stop"}


def interrupted(path: Path, settings: NetSettings, calls: int) -> None:
    """Train until call number `calls` of the run."""
    with pytest.raises(Interrupted):
        fit(MortalLearner(learner(), calls), settings, path)


def test_the_cases_are_what_they_are_called() -> None:
    stops = {name: fit(learner(), settings, None)[1].stop for name, settings in CASES.items()}
    for name, stop in stops.items():
        assert stop.reason == ("max_epochs" if "falls" in name else "stable")
        assert stop.epoch < 12
        assert len(set(stop.deltas)) > 1


@in_every_case
def test_k18_training_interrupted_anywhere_ends_with_the_same_bits(settings: NetSettings, tmp_path: Path) -> None:
    whole = MortalLearner(learner())
    run, expected = fit(whole, settings, None)
    for calls in range(len(whole.called)):
        path = tmp_path / f"{calls}.checkpoint"
        interrupted(path, settings, calls)
        again = MortalLearner(learner())
        finished = epochs_in(path) if path.exists() else 0
        resumed, wise = fit(again, settings, path)
        assert bits(wise) == bits(expected)
        # the network too, and what it would draw next
        assert resumed.state() == run.state()
        assert again.called.count("epoch") == whole.called.count("epoch") - finished


@in_every_case
def test_k18_training_interrupted_again_and_again_ends_with_the_same_bits(
    settings: NetSettings, tmp_path: Path
) -> None:
    expected, path, sittings = bits(fit(learner(), settings, None)[1]), tmp_path / "checkpoint", 0
    while True:
        sittings += 1
        try:
            # enough for two epochs with a measurement, or the exact passes at the end
            _, wise = fit(MortalLearner(learner(), 5), settings, path)
        except Interrupted:
            continue
        break
    assert bits(wise) == expected
    assert sittings > 1


@pytest.mark.parametrize("case", ["ema, stable", "exact, falls back"])
def test_k18_training_interrupted_after_the_rule_fired_or_the_last_epoch_trains_no_more(
    case: str, tmp_path: Path
) -> None:
    settings, path = CASES[case], tmp_path / "checkpoint"
    whole = MortalLearner(learner())
    _, expected = fit(whole, settings, None)
    interrupted(path, settings, len(whole.called) - 1)
    for _ in range(2):
        again = MortalLearner(learner())
        assert bits(fit(again, settings, path)[1]) == bits(expected)
        assert again.called == ["draw"] * settings.draws


def test_what_goes_on_is_said(tmp_path: Path) -> None:
    interrupted(tmp_path / "checkpoint", EMA, 3)
    heard = Heard()
    fit(learner(), EMA, tmp_path / "checkpoint", progress=heard)
    assert heard.lines == ["Wise: goes on after epoch 3"]


def test_a_checkpoint_changes_nothing_and_lies_where_it_was_told(tmp_path: Path) -> None:
    _, expected = fit(learner(), EMA, None)
    _, wise = fit(learner(), EMA, tmp_path / "new" / "folder" / "checkpoint")
    assert bits(wise) == bits(expected)
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["checkpoint"]


DIES = """
import os, signal, sys
from pathlib import Path
from tests.w2wnet import test_checkpoint as t

writes = [0]

def die(event, args):
    # a checkpoint appears by a rename: die just before the fifth, its bytes all written
    if event == "os.rename" and str(args[1]) == sys.argv[1]:
        writes[0] += 1
        if writes[0] == 5:
            os.kill(os.getpid(), signal.SIGKILL)

class Dying(t.FakeRun):
    def epoch(self):
        if self.epochs == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().epoch()

class Learner(t.FakeLearner):
    def start(self, rows, labels, seed):
        run = super().start(rows, labels, seed)
        return run if sys.argv[2] == "writing" else Dying(**vars(run))

if sys.argv[2] == "writing":
    sys.addaudithook(die)
t.fit(Learner(t.CONTENT, sure=t.UNSURE), t.CASES["ema, falls back"], Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("place", ["training", "writing"])
def test_k18_a_killed_process_goes_on_after_its_last_whole_epoch(place: str, tmp_path: Path) -> None:
    path, settings = tmp_path / "checkpoint", CASES["ema, falls back"]
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(path), place],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (died.returncode, died.stderr) == (-signal.SIGKILL, "")
    assert epochs_in(path) == 4
    again = MortalLearner(learner())
    _, wise = fit(again, settings, path)
    assert bits(wise) == bits(fit(learner(), settings, None)[1])
    assert again.called.count("epoch") == 12 - 4


# what is not used ---------------------------------------------------------------------------------------------------


def changed_labels() -> NDArray[np.int16]:
    labels = LABELS.copy()
    labels[-1] = (labels[-1] + 1) % 3
    return labels


@pytest.mark.parametrize(
    "other",
    [
        {"rows": ROWS[::-1].copy()},
        {"labels": changed_labels()},
        {"seed": 5},
        {"settings": EMA.model_copy(update={"lr": 0.01})},
        {"settings": EMA.model_copy(update={"max_epochs": 11})},
        {"settings": EMA.model_copy(update={"precision": "bf16"})},
        {"pixels": "others"},
    ],
    ids=["rows", "labels", "seed", "lr", "max_epochs", "precision", "pixels"],
)
def test_the_checkpoint_of_another_training_is_not_used(other: dict[str, object], tmp_path: Path) -> None:
    interrupted(tmp_path / "checkpoint", EMA, 4)
    asked = {"settings": EMA, **other}
    _, expected = fit(learner(), path=None, **asked)  # type: ignore[arg-type]
    again = MortalLearner(learner())
    _, wise = fit(again, path=tmp_path / "checkpoint", **asked)  # type: ignore[arg-type]
    assert bits(wise) == bits(expected)
    assert again.called.count("epoch") == len(wise.stop.deltas)


@pytest.mark.parametrize("other", [{"device": "auto"}, {"loader_workers": 2}])
def test_settings_that_change_no_result_may_differ(other: dict[str, object], tmp_path: Path) -> None:
    interrupted(tmp_path / "checkpoint", EMA, 4)
    again = MortalLearner(learner())
    _, wise = fit(again, EMA.model_copy(update=other), tmp_path / "checkpoint")
    assert again.called.count("epoch") == len(wise.stop.deltas) - 4


def read(path: Path, settings: NetSettings = EMA) -> tuple[Point | None, FakeRun]:
    """Read a checkpoint into a fresh run."""
    run = learner().start(ROWS, LABELS, 4)
    found = Checkpoint(path, ROWS, LABELS, 4, settings).read(run, make_tracker(settings, ROWS, 3), StopRule(3, 4, 0.05))
    return found, run


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A whole checkpoint and its bytes; put them back after use."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint"
    interrupted(path, EMA, 4)
    return path, path.read_bytes()


def test_a_whole_checkpoint_is_read(written: tuple[Path, bytes]) -> None:
    written[0].write_bytes(written[1])
    found, run = read(written[0])
    assert found is not None
    assert (found.epoch, found.fired, len(found.rule.deltas), run.epochs) == (4, False, 4, 4)


def refused_without_a_trace(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    found, run = read(path)
    return found is None and run.epochs == 0


@given(st.data())
def test_a_checkpoint_with_any_damage_is_not_used(written: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = written
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "zeros", "append"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = {
        "flip": whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :],
        "cut": whole[:at],
        "insert": whole[:at] + b"0" + whole[at:],
        # what some file systems leave of a file that was not on disk yet; the last bytes may have been zeros
        "zeros": whole[:at] + bytes(len(whole) - at) + b"\0",
        "append": whole + b"0",
    }[kind]
    assert refused_without_a_trace(path, damaged)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_checkpoint(written: tuple[Path, bytes], data: bytes) -> None:
    assert refused_without_a_trace(written[0], data)
    assert refused_without_a_trace(written[0], hashlib.sha256(data).digest() + data)


@pytest.mark.parametrize("left", [0, 31, 32, 33, 500])
def test_training_with_a_cut_checkpoint_begins_anew(left: int, written: tuple[Path, bytes], tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(written[1][:left])
    again = MortalLearner(learner())
    _, wise = fit(again, EMA, tmp_path / "checkpoint")
    assert bits(wise) == bits(fit(learner(), EMA, None)[1])
    assert again.called.count("epoch") == len(wise.stop.deltas)


def test_a_folder_in_its_place_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    assert read(tmp_path / "checkpoint")[0] is None


class Payload:
    """An object whose unpickling leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["facts", "run", "tracker/sum_nk", "rule/last_high_n", "new"])
def test_an_object_in_a_checkpoint_is_refused_and_never_unpickled(
    name: str, written: tuple[Path, bytes], tmp_path: Path
) -> None:
    with np.load(io.BytesIO(written[1][32:]), allow_pickle=False) as found:
        arrays = {key: found[key] for key in found.files}
    assert name in arrays or name == "new"
    arrays[name] = np.array([Payload(tmp_path / "pwned")], dtype=object)
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **arrays)
    content = file.getvalue()
    assert refused_without_a_trace(tmp_path / "checkpoint", hashlib.sha256(content).digest() + content)
    assert not (tmp_path / "pwned").exists()


def test_a_checkpoint_holds_numbers_only(written: tuple[Path, bytes]) -> None:
    assert hashlib.sha256(written[1][32:]).digest() == written[1][:32]
    with np.load(io.BytesIO(written[1][32:]), allow_pickle=False) as found:
        assert {found[name].dtype.kind for name in found.files} <= set("biuf")


# a full disk --------------------------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_state_before_and_is_said_in_words(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    interrupted(path, EMA, 4)
    before = path.read_bytes()
    with file_size_limit(len(before) // 2), pytest.raises(DiskError) as caught:
        fit(learner(), EMA, path)
    assert str(caught.value) == (
        f"{path}: could not be written, the file-size limit is met. Nothing that was there before has changed; "
        "make room (or choose another place with -o) and run the same command again."
    )
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]
    again = MortalLearner(learner())
    _, wise = fit(again, EMA, path)
    assert bits(wise) == bits(fit(learner(), EMA, None)[1])
    assert again.called.count("epoch") == len(wise.stop.deltas) - 4

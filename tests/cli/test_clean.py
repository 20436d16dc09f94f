"""``w2wpath clean``: its refusals, before any network is built; folds as jobs; what stops it, and how it goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run, w2wpath
from tests.conftest import ROOT, file_bytes
from tests.w2wnet.conftest import add_slide, make_store, new_store


@pytest.fixture
def small_tiles(tmp_path: Path) -> None:
    """``tiles.zarr`` with tiles of 12 px: three classes, three patients."""
    content = np.arange(27) // 3 % 3
    pixels = np.random.default_rng(0).integers(0, 256, (27, 12, 12, 3), dtype=np.uint8)
    add_slide(new_store(tmp_path / "tiles.zarr", 12), "s", content, content, ["a", "b", "c"], pixels)


@pytest.mark.usefixtures("small_tiles")
def test_tiles_too_small_for_image_quality_are_refused_with_the_flag(run: Run, tmp_path: Path) -> None:
    before = file_bytes(tmp_path)
    said = run("clean", "--folds", "3")
    assert (said.code, said.out) == (1, "")
    assert said.last == (
        "error: tiles.zarr: tiles of 12 px are too small for the image-quality score, which needs 16. "
        "Pass --no-quality, or tile larger."
    )
    assert file_bytes(tmp_path) == before


@pytest.mark.usefixtures("small_tiles")
def test_without_image_quality_small_tiles_are_cleaned(run: Run) -> None:
    few = ["--backbone", "conv5", "--max-epochs", "1", "--draws", "2", "--device", "cpu"]
    said = run("clean", "--folds", "3", "--no-quality", *few)
    assert (said.code, said.last.startswith("error")) == (0, False)
    assert said.out.endswith("Next: clean again with other settings; this run says nothing of the tiles\n")
    assert "warning: no network learned anything, so nothing was judged" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--preset", "papre"], "preset: input should be 'recommended' or 'paper'; got 'papre'"),
        (["--track-every", "5"], "track_every is for tracker 'exact'; the moving average follows every epoch"),
        (["--micro-batch", "128"], "micro_batch must not exceed batch_size (64)"),
        (["--doubt-below", "2"], "doubt_below: input should be less than or equal to 1; got '2'"),
        (
            ["--controls", "two%"],
            "controls: input should be a valid number, unable to parse string as a number; got 'two%'",
        ),
        (["--controls", "30%"], "controls: input should be less than or equal to 0.2; got 0.3"),
    ],
)
def test_flags_that_cannot_be_are_refused_in_words(run: Run, flags: list[str], words: str) -> None:
    said = run("clean", *flags)
    assert (said.code, said.out, said.err) == (1, "", f"error: clean: {words}.\n")


def test_a_fold_that_there_is_not_is_refused(run: Run) -> None:
    said = run("clean", "--folds", "3", "--fold", "4")
    assert (said.code, said.err) == (1, "error: --fold must be 1 to 3, the number of folds; got 4.\n")


@pytest.mark.parametrize("flags", [["--fold", "1", "--collect"], ["--fold", "1", "--workers", "2"]])
def test_ways_of_working_on_folds_exclude_each_other(run: Run, flags: list[str]) -> None:
    said = run("clean", *flags)
    assert said.code == 2
    assert "--fold, --collect and --workers or --scheduler exclude each other" in " ".join(said.err.split())


# folds as jobs, the stop, and signals, with real networks ------------------------------------------------------------

SMALL = ["--folds", "3", "--backbone", "conv5", "--batch-size", "16", "--draws", "3", "--device", "cpu"]
QUICKLY = [*SMALL, "--precision", "fp32", "--no-quality", "--max-epochs", "4", "--median-window", "3"]


@pytest.mark.long
def test_jobs_of_a_queue_do_a_fold_each_and_one_collects(run: Run, tmp_path: Path) -> None:
    make_store(tmp_path / "tiles.zarr")
    dry = run("clean", *QUICKLY, "--dry-run")
    assert dry.code == 0
    assert dry.out.splitlines()[0] == "90 labelled tiles of 6 patients"
    assert dry.out.splitlines()[-1].startswith("at most 4 epochs a fold: about ")
    assert dry.out.endswith(" s on cpu (fp32), less where a network is stable before\n")
    assert not (tmp_path / "clean").exists()
    early = run("clean", *QUICKLY, "--collect")
    assert early.last == (
        "error: clean: has no unfinished run with these settings on this store. "
        "Give the settings of the run, or begin one with `w2wpath clean`."
    )
    assert run("clean", *QUICKLY, "--fold", "2").out.splitlines()[1] == "missing: --fold 1, --fold 3"
    (name,) = (path.name for path in (tmp_path / "clean").iterdir())
    assert run("clean", *QUICKLY, "--collect").last == (
        f"error: run {name}: folds 1 and 3 are missing. Run `w2wpath clean` with the same settings, "
        "for one of them with --fold."
    )
    run("clean", *QUICKLY, "--fold", "3")
    assert run("clean", *QUICKLY, "--fold", "1").out.splitlines() == [
        f"run {name}: fold 1 is done",
        "Next: the same command with --collect instead of --fold",
    ]
    assert run("clean", *QUICKLY, "--collect").code == 0
    whole = run("clean", *QUICKLY, "--json")
    other = json.loads(whole.out)["run"]
    assert chunks(tmp_path, name) == chunks(tmp_path, other)


def chunks(home: Path, run: str) -> dict[str, bytes]:
    """The bytes of a run's arrays; its attributes tell times and names."""
    found = file_bytes(home / "tiles.zarr" / "decisions" / run)
    return {name: data for name, data in found.items() if not name.endswith("zarr.json")}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--backbone", "conf5"], "--backbone 'conf5' is neither a timm model nor conv5. Did you mean 'conv5'?"),
        (["--backbone", "conv5", "--weights", "no.safetensors"], "no.safetensors: "),
    ],
)
def test_a_network_that_cannot_be_made_is_told_before_anything_is_measured(
    run: Run, tmp_path: Path, flags: list[str], said: str
) -> None:
    small_store(tmp_path)
    done = run("clean", "--folds", "3", "--no-quality", *flags)
    assert done.code == 1
    assert done.err.startswith(f"error: {said}")
    assert not (tmp_path / "clean").exists()


@pytest.mark.long
def test_a_run_that_excludes_too_much_waits_for_a_person(run: Run, tmp_path: Path) -> None:
    store = new_store(tmp_path / "tiles.zarr")
    label = np.arange(120) // 6 % 3
    of_last = np.arange(120) % 6 == 5
    add_slide(store, "s", label, np.where(of_last, (label + 1) % 3, label), [f"p{i}" for i in range(6)])
    # the classes are flat colours: jitter of stains would mix them, and texture has nothing to read
    flags = [*QUICKLY, "--max-epochs", "12", "--augment", "flips", "--second-reader", "none"]
    said = run("clean", *flags)
    (name,) = (path.name for path in (tmp_path / "clean").iterdir())
    assert said.code == 1
    assert said.last == (
        f"error: run {name}: patient p5: 20 of 20 tiles excluded, more than half. No decision was written. "
        f"Look at clean/{name}/report.html; if it is right, run the same command with --force, "
        "which trains nothing again."
    )
    assert (tmp_path / "clean" / name / "report.html").is_file()
    assert not (tmp_path / "tiles.zarr" / "decisions").exists()
    assert run("status").out.splitlines()[-1] == (
        f"Next: look at clean/{name}/report.html; if it is right, "
        f"w2wpath {' '.join(['clean', *flags])} --force (about 1 s at most)"
    )
    forced = run("clean", *flags, "--force")
    assert (forced.code, forced.err.splitlines()[0]) == (0, f"run {name}: every fold is done")
    assert [path.name for path in (tmp_path / "tiles.zarr" / "decisions").iterdir()] == [name]


LONGER = [*QUICKLY, "--max-epochs", "30", "--std-window", "25"]
"""A fold takes long enough to be met in the middle."""
PATIENCE_S = 600
"""Seconds that a command may take on a machine that is busy with others."""


def small_store(home: Path) -> None:
    make_store(home / "tiles.zarr", per_patient=9)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run with the flags LONGER decides that nobody interrupts."""
    home = tmp_path_factory.mktemp("uninterrupted")
    small_store(home)
    said = w2wpath("clean", *LONGER, "--json", cwd=home, timeout=PATIENCE_S)
    return chunks(home, json.loads(said.out)["run"])


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_killed_in_a_fold_goes_on_to_the_same_decisions(
    tmp_path: Path, uninterrupted: dict[str, bytes], number: signal.Signals, code: int
) -> None:
    small_store(tmp_path)
    command = [sys.executable, "-m", "w2wpath", "clean", *LONGER]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        awaited(tmp_path, "fold-1.checkpoint")
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    if code > 0:
        assert re.fullmatch(r"stopped after epoch \d+ of fold 2/3; run the same command again to go on", last(said))
    (name,) = (path.name for path in (tmp_path / "clean").iterdir())
    assert (tmp_path / "clean" / name / "fold-0.npz").is_file()
    assert not (tmp_path / "tiles.zarr" / "decisions").exists()
    again = w2wpath("clean", *LONGER, cwd=tmp_path, timeout=PATIENCE_S)
    assert again.code == 0
    assert "fold 2/3: goes on after epoch " in again.err
    assert f"fold 1: taken from the interrupted run {name}" in again.err
    assert chunks(tmp_path, name) == uninterrupted
    assert list((tmp_path / "clean" / name).glob(".*")) == []


def awaited(home: Path, name: str) -> None:
    """Wait until a file of a run is there."""
    began = time.monotonic()
    while not any(home.glob(f"clean/*/{name}")):
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(name)
        time.sleep(0.05)


def last(text: str) -> str:
    return text.splitlines()[-1]

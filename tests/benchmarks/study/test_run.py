"""A study makes what is missing and nothing else; no cell but the oracle's knows the truth."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from PIL import Image

from tests.benchmarks.study.conftest import TOML, cells, content, lay_out, run
from tests.w2wnet.conftest import Heard, Interrupted, epochs_in
from w2wpath.benchmarks.study import making
from w2wpath.benchmarks.study.cells import Work
from w2wpath.benchmarks.study.decided import decisions_of
from w2wpath.benchmarks.study.ground import Ground
from w2wpath.benchmarks.study.ground import prepare as prepare_ground
from w2wpath.benchmarks.study.report import conduct
from w2wpath.benchmarks.study.run import open_study
from w2wpath.config import CleanSettings, StudySettings, TileSettings, load
from w2wpath.errors import ConfigError, RunError, StoreError, TruthError
from w2wpath.progress import Silent, Step
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.clean import collect, prepare, run_folds
from w2wpath.w2wnet.foldwork import FoldResult
from w2wpath.w2wnet.ledger import EXCLUDED, vote
from w2wpath.w2wnet.nets.training import Tiles, WiseLearner
from w2wpath.w2wnet.plan import make_plan

ROWS = ("recommended", "all", "oracle", "random", "image-statistics")


def test_a_study_writes_cells_tables_and_figures(finished: Path) -> None:
    wise, nets = {f"wise-recommended-f{k}-s0" for k in (0, 1)}, {f"net-{row}-f{k}-s0" for row in ROWS for k in (0, 1)}
    assert set(cells(finished)) == wise | nets
    assert not list((finished / "out" / "cells").glob("*.checkpoint"))
    written = {path.name for path in (finished / "out").iterdir()}
    pictures = {"detection.png", "removal.png", "accuracy.png", "gain.png", "risk-coverage.png"}
    assert {"study.md", "study.csv", "study.json", *pictures} <= written
    told = json.loads((finished / "out" / "study.json").read_text("utf-8"))
    assert set(told["tables"]) == {"training", "vote", "unseen", "lists", "accuracy", "gain", "lead"}
    assert told["about"]["missing"] == []
    assert set(told["about"]["cells"]) == set(cells(finished))
    assert told["about"]["cells"]["wise-recommended-f0-s0"]["stop"].keys() == {"reason", "epoch"}


def test_a_study_judges_as_clean_does(finished: Path) -> None:
    toml, store = finished / "toy.toml", TileStore.open(finished / "out" / "tiles.zarr")
    study = load(StudySettings, "study", toml, {})
    settings = load(CleanSettings, "clean", toml, {})
    study = study.model_copy(update={"cohort": finished / "cohort.csv", "truth": None, "rows": ("recommended",)})
    opened = open_study(finished / "out", study, load(TileSettings, "tile", toml, {}), settings)

    def learner_for(table: TileTable) -> WiseLearner:
        return WiseLearner(Tiles.of(store, table, settings), Silent())

    cleaning = prepare(make_plan(store, settings), finished / "clean")
    run_folds(cleaning, learner_for)
    for k in (0, 1):
        result = FoldResult.read(cleaning.result(k))
        assert result is not None
        judged = opened.judged("recommended", (k, 0))
        assert np.array_equal(result.severity_nr, judged.severity_nr.astype(np.float32))
        assert np.array_equal(result.unseen_quality_nr, judged.unseen_quality_nr.astype(np.float32))
        assert 0 < int((~judged.kept_n).sum()) < len(judged.kept_n)
        without = settings.model_copy(update={"second_reader": "none"})
        alone = replace(opened, settings=without, _judged={}).judged("recommended", (k, 0))
        assert not np.array_equal(alone.severity_nr, judged.severity_nr)
    _, decided = collect(cleaning, force=True)
    same = decisions_of(opened, 0)
    assert all(np.array_equal(getattr(same, name), getattr(decided, name)) for name in ("state", "reason", "votes"))
    for name in ("fold", "severity", "score", "probs", "u", "unseen"):
        assert getattr(same, name).tobytes() == getattr(decided, name).tobytes()
    told = json.loads((finished / "out" / "study.json").read_text("utf-8"))["tables"]["vote"]
    shares = {"recommended": decided.state, "recommended, without the veto": vote(decided.votes)}
    assert {row: figures["excluded"]["value"] for row, figures in told.items()} == {
        row: pytest.approx(float((state == EXCLUDED).mean())) for row, state in shares.items()
    }


def test_the_oracle_keeps_the_good_tiles_and_rivals_remove_as_many_as_wise(finished: Path) -> None:
    with (finished / "out" / "study.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["table"], row["row"], row["figure"]): row for row in csv.DictReader(file)}
    assert float(rows["lists", "oracle", "sensitivity"]["value"]) == 1.0
    assert float(rows["lists", "oracle", "false removals"]["value"]) == 0.0
    removed = rows["lists", "recommended", "excluded"]["folds"]
    assert removed != "0 0"
    assert rows["lists", "random", "excluded"]["folds"] == removed
    assert rows["lists", "image statistics", "excluded"]["folds"] == removed
    assert len(rows["accuracy", "all", "accuracy"]["folds"].split()) == 2


def test_only_a_missing_cell_is_made_again_and_to_the_same_bytes(finished: Path) -> None:
    before = {name: (path.stat().st_mtime_ns, content(path)) for name, path in cells(finished).items()}
    cells(finished)["net-random-f1-s0"].unlink()
    heard = Heard()
    assert run(finished, progress=heard).failed == {}
    again = cells(finished)
    assert {name for name in again if again[name].stat().st_mtime_ns != before[name][0]} == {"net-random-f1-s0"}
    assert content(again["net-random-f1-s0"]) == before["net-random-f1-s0"][1]
    assert "seed 0: 1 cells to make now, 11 are there" in heard.lines


def test_rows_that_train_the_same_network_on_the_same_list_train_it_once(tmp_path: Path) -> None:
    """A Wise that learned nothing removes nothing, so every list is that of row all."""
    lay_out(
        tmp_path, TOML.replace("lr = 0.1", "lr = 1e-6\nquality = false").replace("max_epochs = 6", "max_epochs = 2")
    )
    heard = Heard()
    assert run(tmp_path, progress=heard).failed == {}
    there = cells(tmp_path)
    assert {f"net-{row}-f{k}-s0" for row in ROWS for k in (0, 1)} <= set(there)
    copied = [line for line in heard.lines if "the same network as" in line]
    assert sorted(copied) == [
        f"net-{row}-f{k}-s0: the same network as net-all-f{k}-s0"
        for row in ("image-statistics", "random", "recommended")
        for k in (0, 1)
    ]
    for k in (0, 1):
        arrays, abouts = [], []
        for row in ("all", "random"):
            with np.load(there[f"net-{row}-f{k}-s0"]) as found:
                arrays.append(found["test_probs_nk"])
                abouts.append(json.loads(found["about"].tobytes()))
        assert np.array_equal(*arrays)
        assert abouts[1] == {**abouts[0], "seconds": 0.0, "same_as": f"net-all-f{k}-s0"}
    alone = tmp_path / "alone"
    lay_out(alone, (tmp_path / "toy.toml").read_text("utf-8").replace('"all", ', "").replace('"recommended", ', ""))
    run(alone)
    assert np.array_equal(*(np.load(where["net-random-f0-s0"])["test_probs_nk"] for where in (there, cells(alone))))


def test_a_copy_that_cannot_be_written_is_told_and_the_others_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(
        tmp_path, TOML.replace("lr = 0.1", "lr = 1e-6\nquality = false").replace("max_epochs = 6", "max_epochs = 2")
    )
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name.startswith(".net-random-f1-s0."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run(tmp_path)
    assert set(done.failed) == {"net-random-f1-s0"}
    assert "could not be written" in done.failed["net-random-f1-s0"]
    assert done.missing == ("random",)


def test_a_damaged_cell_is_made_again(finished: Path) -> None:
    hurt = cells(finished)["net-all-f0-s0"]
    whole = content(hurt)
    hurt.write_bytes(hurt.read_bytes()[:-40])
    run(finished)
    assert content(hurt) == whole


def test_a_list_that_changed_is_trained_again_and_the_others_stay(finished: Path) -> None:
    before = {name: path.stat().st_mtime_ns for name, path in cells(finished).items()}
    _shuffle_truth(finished / "truth.csv")
    run(finished)
    changed = {name for name, path in cells(finished).items() if path.stat().st_mtime_ns != before[name]}
    assert changed == {"net-oracle-f0-s0", "net-oracle-f1-s0"}


def test_a_wise_that_learned_nothing_flags_no_unseen_tile(tmp_path: Path) -> None:
    toml = TOML.replace("lr = 0.1", "lr = 1e-6\nquality = false").replace("max_epochs = 6", "max_epochs = 2")
    lay_out(tmp_path, toml.replace('["recommended", "all", "oracle", "random", "image statistics"]', '["recommended"]'))
    assert run(tmp_path).failed == {}
    told = json.loads((tmp_path / "out" / "study.json").read_text("utf-8"))
    wises = [about for name, about in told["about"]["cells"].items() if name.startswith("wise")]
    assert [about["stop"]["reason"] for about in wises] == ["degenerate", "degenerate"]
    flagged = {row: told["tables"]["unseen"][row]["excluded"]["folds"] for row in told["tables"]["unseen"]}
    assert flagged.pop("image statistics only") != [0.0, 0.0]
    assert flagged == {f"recommended, threshold {recipe}": [0.0, 0.0] for recipe in ("quantile", "centroid")}


class _Dying(Silent):
    """Stops the program in the middle of the first Wise."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Step]:
        def step(done: int, note: str) -> None:
            if what == "wise-recommended-f0-s0" and note.startswith("epoch 4"):
                raise Interrupted

        yield step


def test_a_study_that_was_killed_goes_on_after_its_last_epoch(finished: Path) -> None:
    whole = {name: content(path) for name, path in cells(finished).items()}
    shutil.rmtree(finished / "out" / "cells")
    with pytest.raises(Interrupted):
        run(finished, progress=_Dying())
    assert cells(finished) == {}
    assert epochs_in(finished / "out" / "cells" / "wise-recommended-f0-s0.checkpoint") == 3
    heard = Heard()
    run(finished, progress=heard)
    assert "wise-recommended-f0-s0: goes on after epoch 3" in heard.lines
    assert {name: content(path) for name, path in cells(finished).items()} == whole


def test_what_is_missing_is_told_before_anything_is_made(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        conduct(finished / "toy.toml", tmp_path / "new", None, 1, True, Silent())
    assert str(caught.value) == f"{tmp_path / 'new'}: holds no study yet. Run it without --report-only."
    text = (finished / "toy.toml").read_text("utf-8")
    (tmp_path / "lost.toml").write_text(text.replace("truth.csv", "lost.csv"), "utf-8")
    heard = Heard()
    with pytest.raises(TruthError) as said:
        conduct(tmp_path / "lost.toml", tmp_path / "new", finished, 1, False, heard)
    assert str(said.value) == f"{finished / 'lost.csv'}: no such truth table. Check the path."
    assert not (tmp_path / "new").exists()
    assert heard.lines == []


def test_report_only_trains_nothing_and_says_what_is_missing(finished: Path) -> None:
    cells(finished)["net-random-f1-s0"].unlink()
    cells(finished)["wise-recommended-f0-s0"].unlink()
    done = run(finished, report_only=True)
    assert done.missing == ("recommended", "random", "image statistics")
    assert "wise-recommended-f0-s0" not in cells(finished)
    text = (finished / "out" / "study.md").read_text("utf-8")
    assert "**Not there yet**: recommended, random, image statistics.\n" in text
    assert "\n| all | 0." in text


def test_no_cell_but_the_oracles_depends_on_the_truth(finished: Path, tmp_path: Path) -> None:
    """K2 and K15: with another truth, and with none, every other cell is the same to the byte."""
    before = {name: content(path) for name, path in cells(finished).items()}
    other = tmp_path / "other"
    lay_out(other)
    _shuffle_truth(other / "truth.csv")
    run(other)
    after = {name: content(path) for name, path in cells(other).items()}
    assert {name for name in before if before[name] != after[name]} == {"net-oracle-f0-s0", "net-oracle-f1-s0"}
    none = tmp_path / "none"
    lay_out(none, TOML.replace('truth = "truth.csv"\n', "").replace('"oracle", ', ""))
    (none / "truth.csv").unlink()
    done = run(none)
    assert done.missing == ()
    without = {name: content(path) for name, path in cells(none).items()}
    assert without == {name: said for name, said in before.items() if "oracle" not in name}
    assert set(json.loads((none / "out" / "study.json").read_text("utf-8"))["tables"]) == {"accuracy", "lead"}


def test_a_training_that_diverges_is_told_and_the_study_goes_on(tmp_path: Path) -> None:
    rows = 'rows = ["all", "roy"]'
    toml = TOML.replace('rows = ["recommended", "all", "oracle", "random", "image statistics"]', rows)
    lay_out(tmp_path, toml.replace("lr = 0.1", "lr = 1e30"))
    done = run(tmp_path)
    assert set(done.failed) == {f"net-{row}-f{k}-s0" for row in ("all", "roy") for k in (0, 1)}
    assert "the training diverged" in done.failed["net-all-f0-s0"]
    assert done.missing == ("all", "roy")


@pytest.mark.long
def test_one_change_at_a_time_needs_a_wise_only_where_training_differs(tmp_path: Path) -> None:
    rows = 'rows = ["recommended", "paper\'s doubt", "paper\'s quality", "paper\'s threshold", "paper", "koehler"]'
    toml = TOML.replace('rows = ["recommended", "all", "oracle", "random", "image statistics"]', rows)
    lay_out(tmp_path, toml.replace("max_epochs = 6", "max_epochs = 3"))
    assert run(tmp_path).failed == {}
    names = {name.removesuffix("-f0-s0") for name in cells(tmp_path) if name.endswith("f0-s0")}
    assert {name for name in names if name.startswith("wise")} == {"wise-recommended", "wise-paper"}
    assert "net-papers-threshold" not in names
    assert {"net-papers-doubt", "net-papers-quality", "net-paper", "net-koehler-0.95"} <= names
    told = json.loads((tmp_path / "out" / "study.json").read_text("utf-8"))["tables"]["accuracy"]
    assert told["paper's threshold"]["accuracy"] == told["recommended"]["accuracy"]
    best = told["koehler, best of 6"]
    assert best["accuracy"]["value"] == max(told[f"koehler {q}"]["accuracy"]["value"] for q in QUANTILES)
    assert best["accuracy"] == told[f"koehler {best['quantile']['value']:g}"]["accuracy"]


QUANTILES = ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95")


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('"oracle"', '"orakle"', "got 'orakle'. Did you mean 'oracle'?"),
        ('truth = "truth.csv"\n', "", "row 'oracle' needs [study] truth. Name the table, or leave the row out."),
        (
            '"random"',
            '"pretrained"',
            "row 'pretrained' needs [clean] weights. Name the safetensors file, or leave the row out.",
        ),
        ('rows = ["recommended", ', "rows = []#", "toy.toml: [study]: rows and seeds must name at least one each"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_anything_is_tiled(
    tmp_path: Path, was: str, now: str, said: str
) -> None:
    (tmp_path / "toy.toml").write_text(TOML.replace(was, now), "utf-8")
    with pytest.raises(ConfigError) as caught:
        run(tmp_path)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_slides_that_are_gone_leave_the_tiles_as_they_are(finished: Path) -> None:
    heard = Heard()
    run(finished, report_only=True, progress=heard)
    store = finished / "out" / "tiles.zarr"
    assert f"{store}: 2 of 2 slides are gone; their tiles stay as they are" in heard.lines


def _slides(folder: Path, patients: tuple[str, ...]) -> Path:
    """Two flat slides of one class on each half, 2 x 2 tiles of 32 px."""
    folder.mkdir(exist_ok=True)
    lines = ["slide,rois,patient,slide_mpp"]
    for name, patient in zip("ab", patients, strict=True):
        Image.fromarray(np.random.default_rng(ord(name)).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
            folder / f"{name}.png"
        )
        halves = [("AC", 0), ("H", 32)]
        (folder / f"{name}.geojson").write_text(
            json.dumps(
                {
                    "type": "FeatureCollection",
                    "features": [
                        {
                            "type": "Feature",
                            "geometry": {
                                "type": "Polygon",
                                "coordinates": [[[x, 0], [x + 32, 0], [x + 32, 64], [x, 64], [x, 0]]],
                            },
                            "properties": {"objectType": "annotation", "classification": {"name": of}},
                        }
                        for of, x in halves
                    ],
                }
            )
        )
        lines.append(f"{name}.png,{name}.geojson,{patient},0.5")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder / "cohort.csv"


def test_a_changed_cohort_or_tiling_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    def grounded(patients: tuple[str, ...], tile_px: int = 32) -> Ground:
        study = StudySettings(cohort=_slides(tmp_path / "data", patients))
        tiling, settings = TileSettings(tile_px=tile_px, mpp=0.5), CleanSettings(folds=2)
        return prepare_ground(tmp_path / "out", study, tiling, settings, workers=1, progress=Silent())

    assert grounded(("p1", "p2")).table.patients == ("p1", "p2")
    heads = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "tiles.zarr" / "slides").glob("*/zarr.json")}
    assert len(heads) == 2
    grounded(("p1", "p2"))
    assert all(path.stat().st_mtime_ns == then for path, then in heads.items())
    assert grounded(("p1", "p3")).table.patients == ("p1", "p3")
    with pytest.raises(StoreError, match=r"holds tiles of 32 px .* asked for 16 px"):
        grounded(("p1", "p3"), tile_px=16)
    lines = (tmp_path / "data" / "cohort.csv").read_text().splitlines()
    (tmp_path / "data" / "less.csv").write_text("\n".join(lines[:2]) + "\n")
    study = StudySettings(cohort=tmp_path / "data" / "less.csv")
    with pytest.raises(StoreError) as caught:
        prepare_ground(
            tmp_path / "out",
            study,
            TileSettings(tile_px=32, mpp=0.5),
            CleanSettings(folds=2),
            workers=1,
            progress=Silent(),
        )
    assert str(caught.value) == (
        f"{tmp_path / 'out' / 'tiles.zarr'}: holds 1 slides that {study.cohort} does not name (b first). "
        "Give another folder with -o, or bring them back into the cohort."
    )


def test_workers_of_a_scheduler_make_the_same_cells(finished: Path) -> None:
    before = {name: content(path) for name, path in cells(finished).items()}
    for name in ("wise-recommended-f1-s0", "net-all-f0-s0"):
        cells(finished)[name].unlink()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        assert run(finished, scheduler=cluster.scheduler_address).failed == {}
    assert {name: content(path) for name, path in cells(finished).items()} == before


def test_a_worker_that_is_lost_costs_its_cell_and_no_other(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost, other = cells(finished)["net-random-f1-s0"], cells(finished)["net-all-f0-s0"]
    lost.unlink()
    other.unlink()
    whole = making.each

    def losing(task: Any, works: list[Work], **how: Any) -> Iterator[tuple[Work, Any]]:
        # a process that is really killed thrice takes its minute; what it comes to is this
        for work, result in whole(task, works, **how):
            yield work, making.WorkerLost("killed") if work.name == "net-random-f1-s0" else result

    monkeypatch.setattr(making, "each", losing)
    done = run(finished)
    assert done.failed == {"net-random-f1-s0": making.LOST}
    assert other.is_file()


def test_a_cohort_that_cannot_be_tiled_is_refused_in_words(tmp_path: Path) -> None:
    lay_out(tmp_path)
    shutil.rmtree(tmp_path / "out" / "tiles.zarr")
    with pytest.raises(StoreError) as caught:
        run(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'cohort.csv'}: 2 of 2 slides cannot be tiled; the first: ")
    assert str(caught.value).endswith("A study needs all of them: mend the slide, or take it out of the cohort.")


def _shuffle_truth(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = [[*row[:3], *rows[i][3:]] for row, i in zip(rows, order, strict=True)]
    path.write_text("\n".join(",".join(row) for row in [header, *mixed]) + "\n", "utf-8")


@pytest.mark.long
def test_rivals_get_what_they_need_first_and_a_list_of_their_own(tmp_path: Path) -> None:
    rows = 'rows = ["recommended", "all", "cleanlab", "aum", "small-loss", "ponzio"]'
    toml = TOML.replace('rows = ["recommended", "all", "oracle", "random", "image statistics"]', rows)
    lay_out(tmp_path, toml)
    assert run(tmp_path).failed == {}
    inner = {f"net-out-of-fold-{p}" for p in range(1, 6)} | {"trace-trace", "wise-half-1", "wise-half-2"}
    made = set(cells(tmp_path))
    assert {f"{name}-f{k}-s0" for name in inner for k in (0, 1)} <= made
    told = json.loads((tmp_path / "out" / "study.json").read_text("utf-8"))
    assert told["about"]["missing"] == []
    assert set(told["about"]["cells"]) == made
    for name in ("cleanlab", "aum", "small-loss", "ponzio"):
        assert {"AUROC", "sensitivity", "false removals"} <= told["tables"]["training"][name].keys()
        assert "accuracy" in told["tables"]["accuracy"][name]
    # told how many tiles are spurious, and left out as many
    with (tmp_path / "truth.csv").open(encoding="utf-8", newline="") as file:
        spurious = sum(row["spurious"] == "1" for row in csv.DictReader(file))
    removed = told["tables"]["lists"]["aum"]["excluded"]["folds"]
    assert [one * 24 for one in removed] == pytest.approx([spurious / 2, spurious / 2], abs=3)
    cells(tmp_path)["net-out-of-fold-2-f0-s0"].unlink()
    heard = Heard()
    assert run(tmp_path, progress=heard).failed == {}
    assert set(cells(tmp_path)) == made
    # 16 pieces and 12 networks, without the piece that is lost and the network whose list waits for it
    assert [line for line in heard.lines if "to make now" in line] == ["seed 0: 1 cells to make now, 26 are there"]

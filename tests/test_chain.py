"""The real commands, one after the other, without a network: what each writes is what the next one reads."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import w2wpath
from tests.conftest import run_python
from w2wpath.benchmarks.demo_slides import CLASSES, MPP, TILE_PX, make_demo_slides
from w2wpath.heatmaps.run import ENDINGS
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, read_decisions, runs

BLOCK = """
import contextlib, io, json, os, socket, sys

INTERNET = {socket.AF_INET, socket.AF_INET6, -1}


def refuse(event, args):
    # an audit hook sees every socket, whichever library makes it, and cannot be taken off
    if event == "socket.__new__" and args[1] in INTERNET:
        raise PermissionError("a network socket was asked for")


sys.addaudithook(refuse)
os.environ["OMP_NUM_THREADS"] = "1"  # tiny batches: threads of several test runs would only wait for each other
"""
CHAIN = (
    BLOCK
    + """
from w2wpath.cli.main import main

os.chdir(sys.argv[1])
said = []
for words in json.loads(sys.argv[2]):
    sys.argv = ["w2wpath", *words]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            said.append([end.code, out.getvalue()])
print(json.dumps(said))
"""
)
SLIDES = 4
"""So many are tiled; the heatmap reads the next one, whose patient no network has seen."""
COMPUTE = ["--device", "cpu", "--precision", "fp32"]
TINY = ["--batch-size", "16", "--mask-batch", "4", "--draws", "2"]
COMMANDS = [
    ["tile", "--cohort", "slides/cohort.csv", "--tile-px", str(TILE_PX), "--mpp", str(MPP)],
    ["clean", "--folds", "2", "--backbone", "resnet10t", "--max-epochs", "2", *TINY, *COMPUTE],
    ["train", "--wiped-epochs", "1"],
    ["heatmap", "slides/demo-5.tif", "--draws", "2", *COMPUTE],
]


@dataclass(frozen=True)
class Chain:
    """The folder in which the commands ran, and their summaries by command."""

    home: Path
    said: dict[str, Any]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Tile, clean, train and heatmap on the demo's slides; read it, never write it."""
    home = tmp_path_factory.mktemp("chain")
    slides, _ = make_demo_slides(home / "slides")
    lines = ["slide,rois,patient", *(f"{one.slide.name},{one.rois.name},{one.patient}" for one in slides[:SLIDES])]
    (home / "slides" / "cohort.csv").write_text("\n".join(lines) + "\n", "utf-8")
    done: subprocess.CompletedProcess[str] = run_python(
        CHAIN, home, json.dumps([[*words, "--json"] for words in COMMANDS])
    )
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout)
    assert [code for code, _ in ended] == [0] * len(COMMANDS), done.stderr
    return Chain(home, {words[0]: json.loads(out) for words, (_, out) in zip(COMMANDS, ended, strict=True)})


@pytest.mark.parametrize(
    "code",
    [
        "socket.socket()",
        "socket.socket(socket.AF_INET6)",
        "socket.create_connection(('127.0.0.1', 9))",
        "import _socket; _socket.socket(socket.AF_INET)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
    ],
)
def test_the_block_on_network_sockets_works(code: str) -> None:
    done = run_python(f"{BLOCK}\n{code}\n")
    assert done.returncode == 1
    assert "a network socket was asked for" in done.stderr.splitlines()[-1]


def test_every_command_leaves_its_files(chain: Chain) -> None:
    (run,) = runs(TileStore.open(chain.home / "tiles.zarr"))
    assert sorted(path.name for path in chain.home.iterdir()) == [
        "clean",
        "model",
        "out",
        "slides",
        "tiles.zarr",
        "tiles.zarr.imports",
        "tiles.zarr.provenance.jsonl",
    ]
    assert {path.name for path in (chain.home / "clean" / run).iterdir()} >= {"report.html", "review.csv", "folds.csv"}
    assert sorted(path.name for path in (chain.home / "model").iterdir()) == [
        "README.md",
        "model.json",
        "wiped.safetensors",
        "wise.safetensors",
    ]
    (heatmap,) = chain.said["heatmap"]["slides"]
    assert (heatmap["slide"], heatmap["status"]) == ("demo-5", "read")
    assert heatmap["files"] == [f"out/demo-5.{ending}" for ending in ENDINGS]


def test_store_decisions_and_model_speak_of_the_same_tiles_and_classes(chain: Chain) -> None:
    store = TileStore.open(chain.home / "tiles.zarr")
    table = store.table()
    decisions = read_decisions(store, table)
    card = json.loads((chain.home / "model" / "model.json").read_text("utf-8"))
    assert table.classes == CLASSES
    assert decisions.about["classes"] == card["classes"] == list(CLASSES)
    assert (store.spec.mpp, store.spec.tile_px, store.spec.resample) == (card["mpp"], card["tile_px"], card["resample"])
    assert (card["mpp"], card["tile_px"]) == (MPP, TILE_PX)
    assert card["provenance"]["clean_run"] == decisions.run == chain.said["clean"]["run"]
    assert card["provenance"]["store_hash"] == decisions.about["store_hash"] == store.content_hash()
    assert card["provenance"]["fold_hash"] == decisions.about["fold_hash"]
    assert card["provenance"]["patients"] == [f"patient-{i + 1}" for i in range(SLIDES)]
    assert np.array_equal(decisions.label, table.label)


def test_the_summaries_count_what_is_in_the_files(chain: Chain) -> None:
    store = TileStore.open(chain.home / "tiles.zarr")
    table = store.table()
    decisions = read_decisions(store, table)
    assert sum(slide["tiles"] for slide in chain.said["tile"]["slides"]) == table.n
    assert chain.said["clean"]["tiles"] == decisions.counts()
    assert sum(row["judged"] for row in chain.said["clean"]["by_class"].values()) == len(table.labelled())
    assert chain.said["train"]["tiles"] == len(table.labelled())
    assert chain.said["train"]["kept"] == len(decisions.for_training())
    with (chain.home / chain.said["clean"]["report"]).with_name("review.csv").open(encoding="utf-8-sig") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert {name: states.count(name) for name in ("kept", "excluded", "undecided")} == decisions.counts()


def test_no_patient_was_judged_by_a_network_that_saw_it(chain: Chain) -> None:
    store = TileStore.open(chain.home / "tiles.zarr")
    table = store.table()
    decisions = read_decisions(store, table)
    fold_of = dict(decisions.about["fold_table"])
    for i in table.labelled():
        assert decisions.fold[i] == fold_of[table.patients[table.patient[i]]]
        assert decisions.votes[i, decisions.fold[i]] == -1
    out = (decisions.state == EXCLUDED) & (table.label >= 0)
    assert out.sum() == chain.said["clean"]["tiles"]["excluded"]


def test_the_heatmap_has_the_classes_scale_and_threshold_of_the_model(chain: Chain) -> None:
    card = json.loads((chain.home / "model" / "model.json").read_text("utf-8"))
    summary = json.loads((chain.home / "out" / "demo-5.summary.json").read_text("utf-8"))
    with (chain.home / "out" / "demo-5.tiles.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    document = json.loads(gzip.decompress((chain.home / "out" / "demo-5.geojson.gz").read_bytes()))
    assert list(summary["confident_area_mm2"]) == card["classes"]
    threshold = card["thresholds"][card["threshold"]]["value"]
    assert summary["threshold"] == document["w2wpath"]["threshold"] == threshold
    assert chain.said["train"]["threshold"] == threshold
    assert summary["tile_side_level0_px"] == round(card["tile_px"] * card["mpp"] / summary["slide_um_per_px"])
    analysed = [row for row in rows if row["state"] != "not analysed"]
    assert len(analysed) == len(document["features"]) == sum(list(summary["tiles"].values())[1:])
    for row, feature in zip(analysed, document["features"], strict=True):
        name = feature["properties"]["classification"]["name"]
        assert [int(row["x0"]), int(row["y0"])] == feature["geometry"]["coordinates"][0][0]
        assert name == (row["class"] if row["state"] == "confident" else "Uncertain*")
        assert float(row["u"]) == feature["properties"]["measurements"]["w2w uncertainty"]


def test_train_refuses_decisions_on_tiles_that_have_changed_since(chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.home / "tiles.zarr", tmp_path / "tiles.zarr")
    shutil.copytree(chain.home / "slides", tmp_path / "slides")
    rois = tmp_path / "slides" / "demo-1.geojson"
    rois.write_text(rois.read_text("utf-8").replace("Epithelium", "Glands"), "utf-8")
    again = w2wpath("tile", "slides/demo-1.tif", rois, "--tile-px", TILE_PX, "--mpp", MPP, cwd=tmp_path)
    assert again.code == 0
    run = chain.said["clean"]["run"]
    table = TileStore.open(chain.home / "tiles.zarr").table()
    epithelium = table.area_share[:, table.classes.index("Epithelium")] > 0
    stale = int((epithelium & (table.slide == 0) & (table.label >= 0)).sum())
    said = w2wpath("train", cwd=tmp_path)
    assert (said.code, said.out, said.err) == (
        1,
        "",
        f"error: run {run}: {stale} tiles have other labels now than when they were judged "
        "(run `w2wpath clean` again). Or pass --allow-stale to use them as they are.\n",
    )
    assert not (tmp_path / "model").exists()


def test_tile_again_changes_nothing_and_training_stays_allowed(chain: Chain, tmp_path: Path) -> None:
    shutil.copytree(chain.home / "tiles.zarr", tmp_path / "tiles.zarr")
    shutil.copytree(chain.home / "slides", tmp_path / "slides")
    said = w2wpath(*COMMANDS[0], "--json", cwd=tmp_path)
    assert {slide["status"] for slide in json.loads(said.out)["slides"]} == {"unchanged"}
    store = TileStore.open(tmp_path / "tiles.zarr")
    assert read_decisions(store, store.table()).run == chain.said["clean"]["run"]

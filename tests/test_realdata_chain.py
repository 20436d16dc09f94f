"""The four commands on real slides: six of the crc27 cohort, few epochs."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from tests.cli.conftest import w2wpath

SLIDES = 6
QUICK = ["--backbone", "resnet10t", "--max-epochs", "2", "--draws", "3"]


@pytest.mark.long
@pytest.mark.realdata
def test_the_chain_runs_on_real_slides(test_data: Path, tmp_path: Path) -> None:
    crc27 = test_data / "crc27"
    with (crc27 / "cohort.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file)][:SLIDES]
    with (tmp_path / "cohort.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["slide", "rois", "patient"])
        lines.writerows([crc27 / row["slide"], crc27 / row["rois"], row["patient"]] for row in rows)
    slide = crc27 / rows[0]["slide"]
    commands = [
        ["tile", "--cohort", "cohort.csv", "--tile-px", "64", "--mpp", "1.75"],
        ["clean", "--folds", "2", *QUICK],
        ["train", "-o", "model/", "--calibrate", "oof"],
        ["heatmap", str(slide), "--model", "model/", "-o", "out/"],
    ]
    said = []
    for words in commands:
        done = w2wpath(*words, "--json", cwd=tmp_path, timeout=900)
        assert done.code == 0, done.err
        said.append(json.loads(done.out))
    tiled, cleaned, trained, mapped = said
    labelled = sum(sum(one["by_class"].values()) for one in tiled["slides"])
    assert labelled == sum(cleaned["tiles"].values()) == trained["tiles"]
    assert trained["kept"] == cleaned["tiles"]["kept"] + cleaned["tiles"]["undecided"]
    with gzip.open(tmp_path / "out" / f"{slide.stem}.geojson.gz") as opened:
        features = json.load(opened)["features"]
    states = mapped["slides"][0]["tiles"]
    assert len(features) == states["confident"] + states["uncertain"] > 0
    doubtful = [one for one in features if one["properties"]["classification"]["name"] == "Uncertain*"]
    assert len(doubtful) == states["uncertain"]

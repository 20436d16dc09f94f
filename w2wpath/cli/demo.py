"""``w2wpath demo``: the whole chain on small slides with known truth, made on the spot."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from w2wpath.cli import options
from w2wpath.cli.console import make_progress, table, tell, tell_json
from w2wpath.errors import ConfigError

if TYPE_CHECKING:
    from w2wpath.heatmaps.maps import Maps

NAME = "demo"
MARK = ".w2wpath-demo"
HELD_OUT = 2
"""Index of the slide that only the heatmap sees; it shows both classes and glass."""


def run(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder of the demo; an earlier demo there is replaced.")
    ] = Path("demo"),
    max_epochs: Annotated[int, typer.Option(min=1, help="Most epochs of each network.")] = 50,
    device: options.Device = None,
    as_json: options.Json = False,
) -> None:
    """Make small slides with known faults, then tile, clean, train and read one back; nothing is downloaded."""
    if out.exists() and not (out / MARK).exists():
        raise ConfigError(f"{out}: exists and is not a demo of w2wpath; it is left as it is. Choose another -o.")

    from w2wpath.benchmarks.demo_slides import MPP, TILE_PX, make_demo_slides
    from w2wpath.config import CleanSettings, HeatmapSettings, TileSettings
    from w2wpath.heatmaps.run import heatmap
    from w2wpath.provenance import Clock
    from w2wpath.reports.cleaning import write_report
    from w2wpath.tiles.cohort import tile
    from w2wpath.tiles.entries import Entry
    from w2wpath.tiles.store import TileStore
    from w2wpath.w2wnet.clean import clean
    from w2wpath.w2wnet.evaluate import score_detection
    from w2wpath.w2wnet.nets.bundle import Model
    from w2wpath.w2wnet.nets.train import train
    from w2wpath.w2wnet.nets.training import Tiles, WiseLearner
    from w2wpath.w2wnet.truth import read_truth

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()
    clock, progress = Clock(), make_progress()

    slides, truth_path = make_demo_slides(out / "slides")
    held_out = slides[HELD_OUT]
    entries = [Entry(one.slide, one.rois, one.patient) for one in slides if one is not held_out]
    outcomes = tile(out / "tiles.zarr", entries, TileSettings(tile_px=TILE_PX, mpp=MPP), progress=progress)

    store = TileStore.open(out / "tiles.zarr")
    settings = CleanSettings(
        backbone="resnet10t",
        folds=5,
        max_epochs=max_epochs,
        wiped_epochs=max_epochs,
        batch_size=32,
        mask_batch=8,
        device=device or "auto",
    )
    tiles, decisions = clean(
        store,
        lambda of, planted=None: WiseLearner(Tiles.of(store, of, settings, planted), progress),
        settings,
        out / "clean",
        progress,
    )
    report = write_report(out / "clean" / decisions.run, store, tiles, decisions)
    # a demo has no time to train a Wiped for the temperature alone
    train(store, tiles, decisions, settings.net(), out / "model", progress, calibrate_with="none")
    model = Model.load(out / "model", device=settings.device)
    made = heatmap(held_out.slide, model, out / "heatmap", HeatmapSettings(), progress=progress)

    # only from here on is the truth looked at
    found = score_detection(tiles, decisions, read_truth(truth_path, tiles))
    unseen = _score_maps(made.maps, held_out.slide.stem, truth_path)
    by_class: dict[str, int] = {}
    for outcome in outcomes:
        for name, count in outcome.by_class:
            by_class[name] = by_class.get(name, 0) + count
    result: dict[str, Any] = {
        "tiles_by_class": by_class,
        "counts": decisions.counts(),
        "spurious": found.spurious,
        "good": found.good,
        "sensitivity": found.sensitivity.value,
        "false_removal": found.false_removal.value,
        "kinds": {row.kind: {"tiles": row.tiles, "excluded": row.excluded} for row in found.kinds},
        "unseen_patient": unseen,
        "seconds": round(clock.seconds, 1),
        "report": str(report),
        "heatmap": [str(path) for path in made.files],
    }
    if as_json:
        tell_json(result)
        return
    tell()
    tell(table(["class", "labelled tiles"], [[name, count] for name, count in by_class.items()]))
    counts = decisions.counts()
    tell(f"cleaning: kept {counts['kept']}, excluded {counts['excluded']}, undecided {counts['undecided']}")
    tell(
        f"known truth: {found.spurious} planted faults, of which {found.sensitivity.value:.0%} were excluded "
        f"(sensitivity); {found.good} good tiles, of which {found.false_removal.value:.0%} were (false removals)"
    )
    tell(table(["fault", "tiles", "excluded"], [[row.kind, row.tiles, row.excluded] for row in found.kinds]))
    tell(
        f"a patient never seen: accuracy {unseen['accuracy']:.3f} on {unseen['tiles']} tiles, "
        f"{unseen['confident_accuracy']:.3f} on the {unseen['confident']} confident ones "
        "(a demonstration, not evidence)"
    )
    tell(f"report: {report}")
    tell(f"heatmap: {next(path for path in made.files if path.name.endswith('report.html'))}")
    tell(f"{result['seconds']:.0f} s in all")


def _score_maps(maps: Maps, slide: str, truth_path: Path) -> dict[str, Any]:
    import csv

    import numpy as np

    from w2wpath.heatmaps.maps import CONFIDENT, NOT_ANALYSED

    with truth_path.open(encoding="utf-8", newline="") as file:
        content = {
            (int(row["x0"]), int(row["y0"])): row["content"]
            for row in csv.DictReader(file)
            # a wrong outline leaves no trace in the image, so such a tile is a good one for a heatmap
            if row["slide"] == slide and row["content"] and row["kind"] in ("", "label")
        }
    known = np.array(
        [
            (int(x), int(y)) in content and state != NOT_ANALYSED
            for x, y, state in zip(maps.x0, maps.y0, maps.state, strict=True)
        ]
    )
    rows = np.flatnonzero(known)
    predicted = maps.predicted
    right = np.array([maps.classes[predicted[i]] == content[int(maps.x0[i]), int(maps.y0[i])] for i in rows])
    sure = maps.state[rows] == CONFIDENT
    return {
        "slide": slide,
        "tiles": len(rows),
        "accuracy": float(right.mean()) if len(rows) else float("nan"),
        "confident": int(sure.sum()),
        "confident_accuracy": float(right[sure].mean()) if sure.any() else float("nan"),
    }

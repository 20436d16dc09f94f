"""What reading and writing cost around the networks: a whole slide, a light backbone, all outputs.

Run: ``python tests/speed/heatmap.py SLIDE [--slide-mpp 0.25]``. Prints seconds of the whole run, of the networks alone
(the physical limit), and of each part of the rest; ends with exit code 1 where the rest takes more than a tenth.
The networks have random weights: what they say costs the same as what trained ones say, but for draws, of which each
tile gets all 25 or as many as `--draws` says.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from w2wpath.config import HeatmapSettings
from w2wpath.heatmaps import run
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.bundle import Model, save_model

BACKBONE, TILE_PX, MPP, CLASSES = "resnet10t", 224, 0.5, ("Tumor", "Stroma", "Other")
MOST_SHARE = 0.1
PARTS = ("write_tiles", "write_regions", "write_maps", "write_ometiff", "tiles_csv", "overlay_png", "write_page")


def main() -> int:
    """Measure, print, return the exit code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--slide-mpp", type=float)
    parser.add_argument("--draws", type=int, default=7, help="MC passes of each tile; 7 is usual on average")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder) / "model", args.draws)
        seconds: dict[str, float] = {}
        for part in PARTS:
            setattr(run, part, _timed(getattr(run, part), part, seconds))
        for part in ("predict", "hinges_on_stain"):
            setattr(model, part, _timed(getattr(model, part), "networks", seconds))
        began = time.perf_counter()
        settings = HeatmapSettings(draws=args.draws, threshold=0.5)
        made = run.heatmap(args.slide, model, Path(folder) / "out", settings, slide_mpp=args.slide_mpp)
        whole = time.perf_counter() - began
        tiles = int((made.maps.state != 0).sum())
        report = next(path for path in made.files if path.name.endswith("report.html"))
        print(f"{tiles} of {len(made.maps.state)} tiles read, report {report.stat().st_size / 1e6:.1f} MB")  # noqa: T201
    around = whole - seconds["networks"]
    for name, value in sorted(seconds.items(), key=lambda pair: -pair[1]):
        print(f"{name:15} {value:8.2f} s  {value / whole:6.1%}")  # noqa: T201 - a script
    written = sum(seconds[part] for part in PARTS)
    print(f"{'reading':15} {around - written:8.2f} s  {(around - written) / whole:6.1%}")  # noqa: T201 - a script
    print(f"{'whole run':15} {whole:8.2f} s; around the networks {around:.2f} s, {around / whole:.1%}")  # noqa: T201
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")  # noqa: T201 - a script
    return int(around > MOST_SHARE * whole)


def _timed(function: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began

    return timed


def _model(path: Path, draws: int) -> Model:
    nets = {name: build(BACKBONE, len(CLASSES), TILE_PX).eval() for name in ("wise", "wiped")}
    facts = {
        "preset": "recommended",
        "classes": CLASSES,
        "tile_px": TILE_PX,
        "mpp": MPP,
        "resample": "lanczos3",
        "backbone": BACKBONE,
        "stem": "imagenet",
        "mean": dict.fromkeys(nets, (0.7, 0.6, 0.7)),
        "std": dict.fromkeys(nets, (0.2, 0.2, 0.2)),
        "threshold": "centroid",
        "temperature": 1.0,
        "metrics": {},
        "provenance": {},
    }
    recipe = {
        "store_hash": hashlib.sha256(b"none").hexdigest(),
        "draws": draws,
        "dropout_rate": 0.3,
        "dropout_kind": "element",
        "dropout_scope": "no-conv",
        "dropout_logits": False,
        "mask_batch": 16,
        "precision": "bf16",
    }
    save_model(path, nets, facts, recipe, {"centroid": 0.5})
    return Model.load(path)


if __name__ == "__main__":
    sys.exit(main())

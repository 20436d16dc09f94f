"""Blur tiles of a cohort; print which blurs each way of measuring focus finds, and what else it calls out of focus.

No truth is read. The other tiles hold the cohort's own faults, so their rate is not one of false removals: of two ways
that find the planted blurs alike, the one with the lower rate loses less.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.study.ground import Ground
from w2wpath.benchmarks.study.run import open_study
from w2wpath.cli.console import make_progress
from w2wpath.config import CleanSettings, StudySettings, TileSettings, load
from w2wpath.errors import W2wError
from w2wpath.w2wnet.controls import blurred
from w2wpath.w2wnet.metrics import auroc
from w2wpath.w2wnet.pixels import images_of
from w2wpath.w2wnet.quality import BLOCK_PX, REASONS, Reference, judge, measure

SIGMAS_PX = (0.7, 1.0, 1.5, 2.0, 3.0)
FOCUS = REASONS.index("focus")
TOML = Path(__file__).parent / "study-small.toml"


def main() -> int:
    """Blur, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cohort.csv")
    parser.add_argument("--config", type=Path, default=TOML, help="settings of a study [%(default)s]")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the tiles, and of focus.json")
    parser.add_argument("--planted", type=int, default=600, help="tiles to blur, one at a time [%(default)s]")
    args = parser.parse_args()
    try:
        found = measured(args.config, args.data, args.out, args.planted)
    except W2wError as error:
        print(f"focus.py: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    (args.out / "focus.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    head = ("focus of", "other tiles flagged", *(f"blur {sigma:g} px: found / AUROC" for sigma in SIGMAS_PX))
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")  # noqa: T201 - a script
    for name, row in found.items():
        cells = (f"{row['flagged']:.3f}", *(f"{one['found']:.3f} / {one['auroc']:.3f}" for one in row["blurs"]))
        print(f"| {name} | {' | '.join(cells)} |")  # noqa: T201 - a script
    return 0


def measured(toml: Path, data: Path, out: Path, planted: int) -> Mapping[str, Any]:
    """Measure focus by blocks and of whole tiles, on the same blurred ones."""
    study = load(StudySettings, "study", toml, {})
    study = study.model_copy(update={"cohort": data / "cohort.csv", "truth": None, "rows": ("recommended",)})
    settings, tiling = load(CleanSettings, "clean", toml, {}), load(TileSettings, "tile", toml, {})
    ground = open_study(out, study, tiling, settings, progress=make_progress()).ground
    table = ground.store.table().take(ground.rows)
    images = images_of(ground.store, table, np.arange(table.n))
    rows = np.random.default_rng(0).permutation(table.n)[:planted]
    blurs = [np.stack([blurred(images[i], sigma) for i in rows]) for sigma in SIGMAS_PX]
    ways = {"the sharpest blocks": BLOCK_PX, "the whole tile": tiling.tile_px}
    return {name: _of_way(ground, images, rows, blurs, block_px) for name, block_px in ways.items()}


def _of_way(
    ground: Ground,
    images: NDArray[np.uint8],
    rows: NDArray[np.intp],
    blurs: list[NDArray[np.uint8]],
    block_px: int,
) -> dict[str, Any]:
    features, slide = measure(images, block_px=block_px), ground.table.slide
    reference = Reference.learn(features, slide)
    others = judge(features, slide, reference).severity_nr[:, FOCUS]
    found = []
    for sigma, planted in zip(SIGMAS_PX, blurs, strict=True):
        # judged in the company of their slides' tiles, as planted controls are
        among = np.concatenate([features, measure(planted, block_px=block_px)])
        severity = judge(among, np.concatenate([slide, slide[rows]]), reference).severity_nr[len(slide) :, FOCUS]
        spurious = np.repeat([False, True], [len(others), len(severity)])
        area = auroc(np.concatenate([others, severity]), spurious)
        found.append({"sigma_px": sigma, "found": float((severity > 1.0).mean()), "auroc": area})
    return {"flagged": float((others > 1.0).mean()), "blurs": found}


if __name__ == "__main__":
    sys.exit(main())

"""Plant wrong labels in a cohort; print what each `doubt_below` finds of them, and how forests rank them.

No truth is read.

A Wise is trained on the training side of one fold, in which some labels were changed at random. The rest holds what is
wrong with the cohort itself, so its rate is not one of false removals: it tells how fast the exclusions grow.
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
from w2wpath.progress import Progress
from w2wpath.w2wnet.fit import WiseFit, fit_wise, judge
from w2wpath.w2wnet.metrics import auroc, wilson
from w2wpath.w2wnet.second_reader import second_reading
from w2wpath.w2wnet.uncertainty import MCStats

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
FORESTS: Mapping[str, Mapping[str, Any]] = {
    f"{tried} of the features a split, leaves of {leaf}": {"max_features": share, "min_samples_leaf": leaf}
    for tried, share in (("the root", "sqrt"), ("three tenths", 0.3))
    for leaf in (1, 3)
}
TOML = Path(__file__).parent / "study-small.toml"


def main() -> int:
    """Train on planted labels and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cohort.csv")
    parser.add_argument("--config", type=Path, default=TOML, help="settings of a study [%(default)s]")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the tiles, and of planted.json")
    parser.add_argument("--planted", type=float, default=0.05, help="share of the labels to change [%(default)s]")
    parser.add_argument("--fold", type=int, default=0, help="fold whose training side is used, from 0 [%(default)s]")
    args = parser.parse_args()
    try:
        found = measured(args.config, args.data, args.out, args.planted, args.fold, make_progress())
    except W2wError as error:
        print(f"planted.py: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    (args.out / "planted.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(f"{found['planted']} labels planted, {found['rest']} other tiles, {found['seconds']} s\n")  # noqa: T201
    print("| doubt_below | of the planted labels | 95 % | of the rest |\n|---|---|---|---|")  # noqa: T201
    for row in found["rows"]:
        low, high = row["interval"]
        cells = (f"{row['doubt_below']:g}", f"{row['planted']:.3f}", f"{low:.3f}-{high:.3f}", f"{row['rest']:.3f}")
        print(f"| {' | '.join(cells)} |")  # noqa: T201
    print("\n| a forest alone | AUROC of the planted labels |\n|---|---|")  # noqa: T201
    for name, area in found["forests"].items():
        print(f"| {name} | {area:.3f} |")  # noqa: T201
    return 0


def measured(toml: Path, data: Path, out: Path, share: float, fold: int, progress: Progress) -> dict[str, Any]:
    """Plant, train, and judge with every one of SHARES."""
    study = load(StudySettings, "study", toml, {})
    study = study.model_copy(update={"cohort": data / "cohort.csv", "truth": None, "rows": ("recommended",)})
    settings = load(CleanSettings, "clean", toml, {})
    opened = open_study(out, study, load(TileSettings, "tile", toml, {}), settings, progress=progress)
    ground = opened.ground
    train = ground.sides(fold)[0]
    labels, planted = plant(ground.table.label[train], len(ground.table.classes), share, np.random.default_rng(fold))
    fit, second_nk, seconds = _fit(ground, train, labels, settings, fold, progress)
    rows = []
    for doubt_below in SHARES:
        exact = MCStats(len(train), fit.mean_nk.shape[1])
        exact.add(fit.mean_nk)
        changed = settings.model_copy(update={"doubt_below": doubt_below})
        excluded = judge(fit.tracked_nk, exact, labels, fit.stop, changed, fold, second_nk).excluded_n
        hit = int(excluded[planted].sum())
        of_planted, rest = wilson(hit, int(planted.sum())), float(excluded[~planted].mean())
        interval = (of_planted.low, of_planted.high)
        rows.append({"doubt_below": doubt_below, "planted": of_planted.value, "interval": interval, "rest": rest})
    forests = {}
    for name, of_trees in FORESTS.items():
        probs = _second_reading(ground, train, labels, fold, **of_trees)
        forests[name] = auroc(1.0 - probs[np.arange(len(train)), labels], planted)
    counts = {"planted": int(planted.sum()), "rest": int((~planted).sum()), "seconds": round(seconds)}
    return {**counts, "rows": rows, "forests": forests}


def plant(
    labels: NDArray[np.int16], n_classes: int, share: float, random: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Give a share of tiles (n,) another label, each of the other classes alike; return the labels, and which (n,)."""
    planted = np.zeros(len(labels), dtype=np.bool_)
    planted[random.choice(len(labels), round(share * len(labels)), replace=False)] = True
    changed = (labels + random.integers(1, n_classes, len(labels))) % n_classes
    return np.where(planted, changed, labels).astype(np.int16), planted


def _fit(
    ground: Ground,
    train: NDArray[np.intp],
    labels: NDArray[np.int16],
    settings: CleanSettings,
    seed: int,
    progress: Progress,
) -> tuple[WiseFit, NDArray[np.float64], float]:
    # torch enters here, so that --help stays quick
    from w2wpath.provenance import Clock
    from w2wpath.w2wnet.nets.training import Tiles, WiseLearner

    clock, n_classes = Clock(), len(ground.table.classes)
    whole = ground.store.table().take(ground.rows)
    learner = WiseLearner(Tiles.of(ground.store, whole, settings), progress)
    _, fit = fit_wise(learner, train, labels, n_classes, seed, settings, progress, "planted labels")
    return fit, _second_reading(ground, train, labels, seed), clock.seconds


def _second_reading(
    ground: Ground, train: NDArray[np.intp], labels: NDArray[np.int16], seed: int, **of_trees: Any
) -> NDArray[np.float64]:
    n_classes, patient = len(ground.table.classes), ground.table.patient[train]
    return second_reading(ground.texture_nf[train], patient, labels, n_classes, seed=seed, **of_trees)


if __name__ == "__main__":
    sys.exit(main())

"""Print the figures of the core: what a Wise finds among its own training images, on sets whose faults are known.

Every set is judged first, by functions that are given images and labels only. Its truth is scored afterwards.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from w2wpath.benchmarks import image_statistics, mnist
from w2wpath.benchmarks.mnist import Digits, DigitTruth
from w2wpath.config import CleanSettings, NetSettings, TileSettings, load
from w2wpath.errors import W2wError
from w2wpath.progress import Step
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import read_cohort
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet import quality, texture
from w2wpath.w2wnet.decide import join
from w2wpath.w2wnet.fit import WiseFit, fit_wise
from w2wpath.w2wnet.folds import make_folds, sides
from w2wpath.w2wnet.metrics import (
    Estimate,
    auroc,
    by_patient,
    fpr_at_tpr,
    paired_by_patient,
    rate,
    sensitivity_at,
)
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.training import WiseLearner
from w2wpath.w2wnet.second_reader import second_reading
from w2wpath.w2wnet.split import two_means
from w2wpath.w2wnet.truth import read_truth
from w2wpath.w2wnet.uncertainty import gini

HERE = Path(__file__).parent
CRC27_SETTINGS = HERE.parent / "crc27" / "settings.toml"
STATISTICS = "image statistics only"
JOINED = "joined score"
DECISION = "the decision"
N_DIGITS = 3000
FOLD = 0
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What was said of n images before any truth was opened: scores and exclusions by name, (n,) each."""

    scores: Mapping[str, Floats]
    rules: Mapping[str, Mask]
    stop: str
    seconds: float


class Lines:
    """Progress as lines on stderr, one every ten epochs."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Step]:
        """Tell every tenth part."""
        done, began = 0, time.perf_counter()

        def step(count: int, note: str) -> None:
            nonlocal done
            before, done = done, done + count
            if done * 10 // total > before * 10 // total:
                self.say(f"{what}: {done}/{total} {note} ({time.perf_counter() - began:.0f} s)")

        yield step

    def say(self, line: str) -> None:
        """Show one line."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - a script


def main() -> int:
    """Judge and score the sets asked for; print a table each."""
    args = _arguments()
    found: dict[str, Any] = {}
    try:
        for name in SETS if args.set == "all" else (args.set,):
            found[name] = SETS[name](args.data, args.seed, args.preset)
            _print_set(name, found[name])
    except W2wError as error:
        print(f"measure.py: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=(*SETS, "all"))
    place = Path(os.environ.get("W2WPATH_TEST_DATA") or HERE.parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=place, help="folder that holds mnist and crc27 [%(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", choices=("recommended", "paper"), default="recommended")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    return parser.parse_args()


# digits -------------------------------------------------------------------------------------------------------------


def digit_settings(preset: str, seed: int) -> NetSettings:
    """Return the settings of the digit sets: what is named here is the same in both presets but the learning rate.

    50 is the first epoch at which the stop rule's windows (11 and 40) are full. The paper's MNIST has 0.1 (R24).
    """
    named: dict[str, Any] = {"lr": 0.05, "momentum": 0.9} if preset == "recommended" else {"lr": 0.1}
    common = {"backbone": "conv5", "batch_size": 64, "max_epochs": 50, "draws": 25, "augment": "none"}
    return NetSettings(preset=preset, quality=False, seed=seed, **common, **named)


def judge_digits(data: Digits, settings: NetSettings) -> Judged:
    """Train a Wise on all images and say what it and the simple rules think of each."""
    began = time.perf_counter()
    rows = np.arange(len(data.labels))
    fit = _fit(data.images, data.labels, rows, len(data.classes), settings)
    seconds = time.perf_counter() - began
    joined = join(fit, data.labels, None)
    scores = _scores_of(fit, joined.severity_n) | image_statistics.trivial_scores(data.images, data.labels)
    return Judged(scores, _rules_of(fit, data.labels, joined.excluded_n), _told(fit), seconds)


def _fit(
    images: NDArray[np.uint8],
    labels: NDArray[np.int16],
    rows: NDArray[np.intp],
    n_classes: int,
    settings: NetSettings,
    second_nk: Floats | None = None,
) -> WiseFit:
    compute = choose_compute(settings.device, settings.precision)
    learner = WiseLearner(Tiles(images, n_classes, settings, compute))
    return fit_wise(learner, rows, labels, n_classes, settings.seed, settings, Lines(), "Wise", second_nk=second_nk)[1]


def _scores_of(fit: WiseFit, joined_n: Floats) -> dict[str, Floats]:
    return {
        "u, exact passes": fit.u_n,
        "u, tracked": gini(fit.tracked_nk),
        "label quality, tracked": fit.score_n,
        "label quality, exact passes": fit.exact_score_n,
        JOINED: joined_n,
    }


def _rules_of(fit: WiseFit, labels: NDArray[np.int16], decided_n: Mask) -> dict[str, Mask]:
    given = fit.tracked_nk[np.arange(len(labels)), labels]
    return {
        "two-means on u": two_means(fit.u_n).high_n,
        "two-means on the label quality": two_means(fit.score_n).high_n,
        "p of the label below 1/2": given < 0.5,
        "mean draw names another class": fit.mean_nk.argmax(axis=1) != labels,
        DECISION: decided_n,
    }


def _told(fit: WiseFit) -> str:
    return f"{fit.stop.reason}, epoch {fit.stop.epoch}"


def score_digits(judged: Judged, truth: DigitTruth) -> dict[str, Any]:
    """Score what was said against the truth."""
    return {
        "images": len(truth.spurious),
        "spurious": int(truth.spurious.sum()),
        "share of the originals": truth.share_of_originals,
        "share of the set": truth.share_of_set,
        "stop": judged.stop,
        "seconds": round(judged.seconds, 1),
        "scores": {name: _ranked(values, truth.spurious) for name, values in judged.scores.items()},
        "rules": {name: _removed(mask, truth.spurious) for name, mask in judged.rules.items()},
    }


def _ranked(scores_n: Floats, spurious: Mask) -> dict[str, float | None]:
    found = {
        "AUROC": auroc(scores_n, spurious),
        "average precision": float(average_precision_score(spurious, scores_n)) if spurious.any() else math.nan,
        "FPR at 95 % TPR": fpr_at_tpr(scores_n, spurious),
        "sensitivity at 5 %": sensitivity_at(scores_n, spurious),
    }
    return {name: _number(value) for name, value in found.items()}


def _removed(excluded: Mask, spurious: Mask) -> dict[str, float | None]:
    return {
        "sensitivity": _number(rate(excluded[spurious])),
        "false removals": _number(rate(excluded[~spurious])),
        "excluded": float(excluded.mean()),
    }


def _number(value: float) -> float | None:
    """Return None for NaN, which JSON has not."""
    return None if np.isnan(value) else float(value)


def _digits(make: Callable[[Path, int], tuple[Digits, DigitTruth]]) -> Callable[[Path, int, str], dict[str, Any]]:
    def run(data: Path, seed: int, preset: str) -> dict[str, Any]:
        shown, truth = make(data / "mnist", seed)
        return score_digits(judge_digits(shown, digit_settings(preset, seed)), truth)

    return run


# crc27 --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cohort:
    """The labelled tiles of crc27 on the training side of one fold of patients."""

    table: TileTable
    images: NDArray[np.uint8]


def tile_crc27(data: Path, scratch: Path) -> Cohort:
    """Tile the cohort as ``w2wpath tile`` does; keep the training side of fold 0.

    The folds are always those of seed 0, so that runs of other seeds differ in the network alone.
    """
    entries = read_cohort(data / "crc27" / "cohort.csv")
    settings = load(TileSettings, "tile", CRC27_SETTINGS, {})
    failed = [o for o in tile(scratch / "tiles.zarr", entries, settings, workers=2, previews=False) if o.error]
    if failed:
        raise W2wError(f"{failed[0].error} ({len(failed)} of {len(entries)} slides failed)")
    store = TileStore.open(scratch / "tiles.zarr")
    table = store.table()
    judged = table.take(table.labelled())
    folds = make_folds(judged.patients, judged.classes, judged.patient, judged.label, folds=5, seed=0)
    train, _ = sides(folds.fold_n(judged.patients, judged.patient), FOLD)
    kept = judged.take(train)
    images = np.empty((kept.n, store.spec.tile_px, store.spec.tile_px, 3), dtype=np.uint8)
    for index, slide in enumerate(kept.slides):
        mine = np.flatnonzero(kept.slide == index)
        images[mine] = store.images(slide, kept.row[mine])
    return Cohort(kept, images)


def judge_crc27(cohort: Cohort, settings: NetSettings) -> Judged:
    """Train a Wise on the tiles, measure their image quality, and join the two into the decision."""
    table, began = cohort.table, time.perf_counter()
    second_nk = None
    if settings.second_reader == "forest":
        textures = texture.measure(cohort.images)
        second_nk = second_reading(textures, table.patient, table.label, len(table.classes), seed=settings.seed)
    fit = _fit(cohort.images, table.label, np.arange(table.n), len(table.classes), settings, second_nk)
    judged_quality = None
    if settings.quality:
        features = quality.measure(cohort.images)
        reference = quality.Reference.learn(features, table.slide)
        judged_quality = quality.judge(features, table.slide, reference)
    joined = join(fit, table.label, judged_quality)
    seconds = time.perf_counter() - began
    scores = _scores_of(fit, joined.severity_n)
    if judged_quality is not None:
        scores["image quality"] = judged_quality.severity_n
    scores[STATISTICS] = image_statistics.score(cohort.images, table.patient)
    return Judged(scores, _rules_of(fit, table.label, joined.excluded_n), _told(fit), seconds)


def score_crc27(judged: Judged, table: TileTable, truth_csv: Path) -> dict[str, Any]:
    """Score all kinds together and each against the good tiles; intervals are bootstrapped over patients."""
    truth = read_truth(truth_csv, table)
    spurious, kinds = truth.spurious, sorted(set(truth.kind[truth.spurious].tolist()))
    against = {kind: np.flatnonzero((truth.kind == kind) | ~spurious) for kind in kinds}

    def ranked(values: Floats) -> dict[str, Any]:
        area = by_patient(lambda rows: auroc(values[rows], spurious[rows]), table.patient)
        by_kind = {kind: _number(auroc(values[rows], spurious[rows])) for kind, rows in against.items()}
        return _ranked(values, spurious) | {"interval": _interval(area), "by kind": by_kind}

    def removed(mask: Mask) -> dict[str, Any]:
        return _removed(mask, spurious) | {"by kind": {kind: rate(mask[truth.kind == kind]) for kind in kinds}}

    ours, rival = judged.scores[JOINED], judged.scores[STATISTICS]
    margin = paired_by_patient(ours, rival, spurious, table.patient)
    return {
        "images": table.n,
        "patients": len(np.unique(table.patient)),
        "spurious": int(spurious.sum()),
        "share of the set": float(spurious.mean()),
        "by kind": {kind: int((truth.kind == kind).sum()) for kind in kinds},
        "stop": judged.stop,
        "seconds": round(judged.seconds, 1),
        "margin": {name: _number(value) for name, value in asdict(margin).items()},
        "scores": {name: ranked(values) for name, values in judged.scores.items()},
        "rules": {name: removed(mask) for name, mask in judged.rules.items()},
    }


def _interval(found: Estimate) -> list[float | None]:
    return [_number(found.low), _number(found.high)]


def _crc27(data: Path, seed: int, preset: str) -> dict[str, Any]:
    changed = {"preset": preset, "seed": seed}
    settings = load(CleanSettings, "clean", CRC27_SETTINGS, changed)
    with tempfile.TemporaryDirectory(prefix="w2wpath-crc27-") as scratch:
        cohort = tile_crc27(data, Path(scratch))
    judged = judge_crc27(cohort, settings)
    return score_crc27(judged, cohort.table, data / "crc27" / "truth.csv")


SETS: Mapping[str, Callable[[Path, int, str], dict[str, Any]]] = {
    "letters": _digits(lambda folder, seed: mnist.spurious_letters(folder, N_DIGITS, 0.1, seed)),
    "letters30": _digits(lambda folder, seed: mnist.spurious_letters(folder, N_DIGITS, 0.3, seed)),
    "flips": _digits(lambda folder, seed: mnist.flipped(folder, N_DIGITS, 0.2, seed)),
    "clean": _digits(lambda folder, seed: mnist.clean(folder, N_DIGITS, seed)),
    "crc27": _crc27,
}


# tables -------------------------------------------------------------------------------------------------------------


def _print_set(name: str, found: Mapping[str, Any]) -> None:
    kinds = list(found.get("by kind", ()))
    lines = [f"## {name}", "", f"{_headline(found)}", ""]
    for title, rows in (("score", found["scores"]), ("rule", found["rules"])):
        columns = [key for key in next(iter(rows.values())) if key not in ("interval", "by kind")]
        lines += [_row([title, *columns, *kinds]), _row(["---"] * (1 + len(columns) + len(kinds)))]
        for label, row in rows.items():
            cells = [_cell(row[key], row.get("interval") if key == "AUROC" else None) for key in columns]
            lines.append(_row([label, *cells, *(_cell(row["by kind"][kind]) for kind in kinds)]))
        lines.append("")
    if "margin" in found:
        margin = found["margin"]
        said = _cell(margin["value"], [margin["low"], margin["high"]])
        lines += [f"AUROC of the {JOINED} minus that of {STATISTICS}: {said}", ""]
    print("\n".join(lines), flush=True)  # noqa: T201 - a script


def _headline(found: Mapping[str, Any]) -> str:
    parts = [f"{found['images']} images, {found['spurious']} spurious ({found['share of the set']:.1%} of the set"]
    if "share of the originals" in found:
        parts.append(f", {found['share of the originals']:.1%} of the originals")
    tail = f"; stop: {found['stop']}; {found['seconds']} s)"
    if "by kind" in found:
        counts = ", ".join(f"{kind} {count}" for kind, count in found["by kind"].items())
        tail = f"; {found['patients']} patients; {counts}{tail}"
    return "".join(parts) + tail


def _cell(value: float | None, interval: list[float | None] | None = None) -> str:
    text = "–" if value is None else f"{value:.3f}"
    if interval is None or None in interval:
        return text
    return f"{text} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())

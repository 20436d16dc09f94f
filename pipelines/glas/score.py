"""Score a run of ``w2wpath clean``, or a study, on GlaS by how much gland a tile holds; masks enter here, not before.

Prints markdown; writes ``glas.json`` and ``glas.png`` beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks import image_statistics
from w2wpath.benchmarks.study.decided import decisions_of
from w2wpath.benchmarks.study.methods import RECOMMENDED
from w2wpath.benchmarks.study.run import open_study
from w2wpath.config import CleanSettings, StudySettings, TileSettings, load
from w2wpath.errors import StoreError, TruthError, W2wError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.decide import REASONS
from w2wpath.w2wnet.ledger import EXCLUDED, FLAGS, Decisions, read_decisions
from w2wpath.w2wnet.metrics import Estimate, auroc, by_patient, paired_by_patient, rate
from w2wpath.w2wnet.truth import read_truth

HERE = Path(__file__).parent
BANDS = ("0 %", "0-5 %", "5-10 %", "10-25 %", "25-50 %", "> 50 %")
EDGES = (0.05, 0.10, 0.25, 0.50)
"""A band holds its lower edge; the first is no gland at all, the last the reference of the others."""
SPURIOUS = "< 5 % against the rest"
JOINED, UNCERTAINTY, STATISTICS = "joined score", "u, unseen patients", "image statistics only"
RULES = ("excluded in training", "masked when unseen")

Floats = NDArray[np.float64]
Texts = NDArray[np.str_]


@dataclass(frozen=True)
class Scored:
    """What a run said of n tiles, beside what the masks show of them.

    Attributes
    ----------
    share, spurious
        (n,) part of the tile that is gland, 0 to 1, and whether that is less than 5 %.
    scores, removed
        (n,) float each, high where spurious; (n,) bool each of RULES. By name.
    groups
        (n,) str each: class, grade and patient. By name.
    patient
        (n,) index.
    """

    share: Floats
    spurious: NDArray[np.bool_]
    scores: Mapping[str, Floats]
    removed: Mapping[str, NDArray[np.bool_]]
    groups: Mapping[str, Texts]
    patient: NDArray[np.int32]


def main() -> int:
    """Score one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("tiles.zarr"), help="cleaned tile store [%(default)s]")
    parser.add_argument("--cohort", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--run", help="run of clean [the newest]")
    parser.add_argument(
        "--study", type=Path, help="score this study's networks instead, e.g. study/study of study.toml"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the results [%(default)s]")
    args = parser.parse_args()
    try:
        if args.study is None:
            store = TileStore.open(args.store)
            decisions = read_decisions(store, store.table(), args.run, with_verdicts=False)
        else:
            store, decisions = of_study(args.study, args.cohort)
        scored = gather(store, args.cohort, decisions)
        found = figures(scored)
    except W2wError as error:
        print(f"score.py: {error}", file=sys.stderr)  # noqa: T201 - a script
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "glas.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", "utf-8")
    draw(scored, found, args.out / "glas.png")
    print(markdown(found))  # noqa: T201 - a script
    return 0


# what was said, and what the masks show ------------------------------------------------------------------------------


def of_study(folder: Path, cohort: Path) -> tuple[TileStore, Decisions]:
    """Return the store of a study of ``study.toml`` in `folder`, and what its first seed decides on every tile.

    Raises
    ------
    W2wError
        The study is not there, or not all of it.
    """
    toml = HERE / "study.toml"
    study = load(StudySettings, "study", toml, {}).model_copy(update={"cohort": cohort / "cohort.csv", "truth": None})
    study = study.model_copy(update={"rows": (RECOMMENDED,)})
    opened = open_study(folder, study, load(TileSettings, "tile", toml, {}), load(CleanSettings, "clean", toml, {}))
    store = opened.ground.store
    if opened.ground.table.n != store.table().n:
        raise StoreError(f"{store.path}: some tiles carry no label. Make the cohort again with prepare.py.")
    return store, decisions_of(opened, study.seeds[0])


def gather(store: TileStore, cohort: Path, decisions: Decisions) -> Scored:
    """Join decisions on every tile of a store with the truth of those that were judged.

    Raises
    ------
    TruthError
        The truth table does not fit.
    """
    table = store.table()
    truth = read_truth(cohort / "truth" / "truth.csv", table)
    rows = np.flatnonzero(decisions.judged & truth.known)
    scores = scores_of(decisions) | {STATISTICS: image_statistics.score(every_image(store, table), table.patient)}
    removed = dict(zip(RULES, (decisions.state == EXCLUDED, decisions.flag > 0), strict=True))
    return Scored(
        share=gland_share(cohort / "truth" / "truth.csv", table)[rows],
        spurious=truth.spurious[rows],
        scores={name: np.asarray(values[rows], dtype=np.float64) for name, values in scores.items()},
        removed={name: mask[rows] for name, mask in removed.items()},
        groups={name: values[rows] for name, values in groups_of(cohort / "images.csv", table).items()},
        patient=table.patient[rows],
    )


def scores_of(decisions: Decisions) -> dict[str, NDArray[Any]]:
    """Return every score (n,) of a run by name: those of training, then those of unseen patients."""
    in_training = {f"{name}, training": decisions.severity[:, i] for i, name in enumerate(REASONS)}
    unseen = {f"{name}, unseen patients": decisions.unseen[:, i] for i, name in enumerate(FLAGS[1:])}
    return {JOINED: decisions.score, **in_training, UNCERTAINTY: decisions.u, **unseen}


def every_image(store: TileStore, table: TileTable) -> NDArray[np.uint8]:
    """Return the tiles (n, h, w, 3) in the order of `table`."""
    images = np.empty((table.n, store.spec.tile_px, store.spec.tile_px, 3), dtype=np.uint8)
    for index, slide in enumerate(table.slides):
        mine = np.flatnonzero(table.slide == index)
        images[mine] = store.images(slide, table.row[mine])
    return images


def gland_share(truth_csv: Path, table: TileTable) -> Floats:
    """Return the part of each tile (n,) that is gland; NaN where the table does not name it.

    Raises
    ------
    TruthError
        The column gland_share is missing, or holds what is no share.
    """
    shares = {}
    with truth_csv.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            try:
                share = float(row["gland_share"])
            except (KeyError, TypeError, ValueError):
                share = -1.0
            if not 0 <= share <= 1:
                raise TruthError(
                    f"{truth_csv}: gland_share must be 0 to 1; got {row.get('gland_share')!r}. Run prepare.py again."
                )
            shares[row["slide"], int(row["x0"]), int(row["y0"])] = share
    keys = [(table.slides[s], int(x), int(y)) for s, x, y in zip(table.slide, table.x0, table.y0, strict=True)]
    return np.array([shares.get(key, np.nan) for key in keys])


def groups_of(images_csv: Path, table: TileTable) -> dict[str, Texts]:
    """Return class, grade and patient (n,) of each tile by what images.csv says of its image."""
    with images_csv.open(encoding="utf-8-sig", newline="") as file:
        about = {row["slide"]: row for row in csv.DictReader(file)}
    of_slide = [about.get(slide, {}) for slide in table.slides]
    return {
        name: np.array([row.get(name, "unknown") for row in of_slide])[table.slide]
        for name in ("class", "grade", "patient")
    }


def band_of(share: Floats) -> NDArray[np.intp]:
    """Return the index into BANDS of each share (n,)."""
    return np.where(share == 0, 0, 1 + np.digitize(share, EDGES))


# figures ------------------------------------------------------------------------------------------------------------


def figures(scored: Scored) -> dict[str, Any]:
    """Return every figure as plain values, intervals bootstrapped over patients, None for what cannot be told."""
    band, ours, rival = band_of(scored.share), scored.scores[JOINED], scored.scores[STATISTICS]
    return {
        "tiles": len(band),
        "patients": len(np.unique(scored.patient)),
        "spurious": int(scored.spurious.sum()),
        "tiles by band": {name: int((band == i).sum()) for i, name in enumerate(BANDS)},
        "AUROC": {name: areas(values, scored, band) for name, values in scored.scores.items()},
        "margin": _plain(paired_by_patient(ours, rival, scored.spurious, scored.patient)),
        "removed": {rule: removals(mask, scored, band) for rule, mask in scored.removed.items()},
    }


def areas(scores_n: Floats, scored: Scored, band: NDArray[np.intp]) -> dict[str, Any]:
    """Return the AUROC of a score: spurious tiles against the rest, then each band against the last."""

    def area(positive: NDArray[np.bool_], among: NDArray[np.bool_]) -> dict[str, Any]:
        values, mine = scores_n[among], positive[among]
        return _plain(by_patient(lambda rows: auroc(values[rows], mine[rows]), scored.patient[among]))

    reference = len(BANDS) - 1
    found = {SPURIOUS: area(scored.spurious, np.ones_like(scored.spurious))}
    return found | {name: area(band == i, (band == i) | (band == reference)) for i, name in enumerate(BANDS[:-1])}


def removals(mask: NDArray[np.bool_], scored: Scored, band: NDArray[np.intp]) -> dict[str, Any]:
    """Return the share of tiles removed: of all, of spurious and other ones, by band, class, grade and patient."""

    def share(among: NDArray[np.bool_]) -> dict[str, Any]:
        mine = mask[among]
        return _plain(by_patient(lambda rows: rate(mine[rows]), scored.patient[among]))

    whole = {"all": np.ones_like(mask), "< 5 % gland": scored.spurious, "the rest": ~scored.spurious}
    found = {
        "tiles": {name: share(among) for name, among in whole.items()},
        "gland share": {name: share(band == i) for i, name in enumerate(BANDS)},
    }
    for title, values in scored.groups.items():
        names = sorted(set(values.tolist()), key=lambda name: (len(name), name) if title == "patient" else (0, name))
        found[title] = {name: share(values == name) for name in names}
    return found


def _plain(found: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON takes it: NaN is no number there."""
    return {name: value if np.isfinite(value) else None for name, value in asdict(found).items()}


# tables and picture ---------------------------------------------------------------------------------------------------


def markdown(found: Mapping[str, Any]) -> str:
    """Return the figures as tables."""
    counts = ", ".join(f"{name}: {count:,}" for name, count in found["tiles by band"].items())
    lines = [
        f"{found['tiles']:,} tiles of {found['patients']} patients, {found['spurious']:,} with less than 5 % gland "
        f"({counts}). 95 % intervals: bootstrap over patients.",
        "",
        f"AUROC; each band against the tiles with {BANDS[-1]} gland.",
        "",
        *_header(["score", SPURIOUS, *BANDS[:-1]]),
        *(_row([name, *map(_cell, row.values())]) for name, row in found["AUROC"].items()),
        "",
        f"{SPURIOUS}, {JOINED} minus {STATISTICS}: {_cell(found['margin'])}",
    ]
    first, *others = found["removed"].values()
    lines += ["", "Share of tiles removed.", "", *_header(["by", "", "tiles", *found["removed"]])]
    for title, rows in first.items():
        for name, one in rows.items():
            lines.append(
                _row([title, name, f"{one['n']:,}", _cell(one), *(_cell(other[title][name]) for other in others)])
            )
    return "\n".join(lines)


def _cell(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "–"
    return f"{one['value']:.3f}" + ("" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]")


def _header(cells: list[str]) -> list[str]:
    return [_row(cells), _row(["---"] * len(cells))]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def draw(scored: Scored, found: Mapping[str, Any], path: Path) -> None:
    """Draw the removal rate and the joined score over the bands of gland share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for shift, (rule, rows) in zip((-0.1, 0.1), found["removed"].items(), strict=True):
        points = [(i, one) for i, one in enumerate(rows["gland share"].values()) if one["value"] is not None]
        x = [i + shift for i, _ in points]
        y = [100 * one["value"] for _, one in points]
        reach = [
            [100 * abs(one["value"] - (one[end] if one[end] is not None else one["value"])) for _, one in points]
            for end in ("low", "high")
        ]
        left.errorbar(x, y, yerr=reach, fmt="o", capsize=3, label=rule)
    left.set(ylabel="tiles removed (%)", ylim=(-2, 102), title="Removal, 95 % interval by patient")
    left.legend()
    band = band_of(scored.share)
    parts = [scored.scores[JOINED][band == i] for i in range(len(BANDS))]
    right.boxplot(
        [part if part.size else [np.nan] for part in parts], positions=range(len(BANDS)), sym="", whis=(5, 95)
    )
    right.axhline(1.0, color="tab:red", linewidth=0.8, label="excluded above")
    right.set(ylabel=JOINED, title="Score: quartiles, 5th and 95th percentile")
    right.legend()
    for axes in (left, right):
        axes.set_xticks(range(len(BANDS)), [f"{name}\n{int((band == i).sum())}" for i, name in enumerate(BANDS)])
        axes.set_xlabel("gland in the tile; number of tiles below")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())

"""A study as tables: ``study.md`` to read, ``study.csv`` and ``study.json`` with every figure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.benchmarks.study.detection import spread_between_classes
from w2wpath.benchmarks.study.plain import cell, chosen_quantiles, finite, grid
from w2wpath.benchmarks.study.resampling import Figure
from w2wpath.benchmarks.study.run import Study
from w2wpath.benchmarks.study.score import STATISTICS, Scores
from w2wpath.provenance import record, write_whole
from w2wpath.w2wnet.truth import WRONG_LABEL

Cells = Sequence[str]
CSV_COLUMNS = ("table", "row", "figure", "value", "low", "high", "std", "n", "folds")


def write_tables(study: Study, scores: Scores) -> list[Path]:
    """Write ``study.md``, ``study.csv`` and ``study.json`` into the study's folder.

    Raises
    ------
    DiskError
        There is no room.
    """
    texts = {"study.md": _markdown(study, scores), "study.csv": _csv(scores), "study.json": _json(study, scores)}
    for name, text in texts.items():
        write_whole(study.out / name, text)
    return [study.out / name for name in texts]


def _json(study: Study, scores: Scores) -> str:
    about = record(
        "run",
        {"study": study.study.model_dump(mode="json"), "clean": study.settings.model_dump(mode="json")},
        store_hash=study.ground.store_hash,
        fold_hash=study.ground.folds.digest,
        tiles=study.ground.table.n,
        missing=scores.missing,
        **scores.about,
    )
    tables = {
        name: {row: {key: asdict(figure) for key, figure in figures.items()} for row, figures in rows.items()}
        for name, rows in scores.tables.items()
    }
    return json.dumps(finite({"about": about, "tables": tables, "curves": scores.curves}), indent=1) + "\n"


def _csv(scores: Scores) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for name, rows in scores.tables.items():
        for row, figures in rows.items():
            for key, one in figures.items():
                numbers = [
                    "" if np.isnan(value) else f"{value:.6g}" for value in (one.value, one.low, one.high, one.std)
                ]
                folds = " ".join("" if np.isnan(value) else f"{value:.4g}" for value in one.folds)
                writer.writerow([name, row, key, *numbers, one.n, folds])
    return file.getvalue()


# markdown -----------------------------------------------------------------------------------------------------------


def _markdown(study: Study, scores: Scores) -> str:
    tables = scores.tables
    parts = [*_head(study, scores), *_detection(study, tables), *_lists(study, tables)]
    if "accuracy" in tables:
        parts += _accuracy(tables["accuracy"], truth=study.truth is not None)
    if "gain" in tables:
        parts += _gain(tables["gain"])
    return "\n".join([*parts, *_cells(scores)]) + "\n"


def _head(study: Study, scores: Scores) -> Iterator[str]:
    table, settings, spec = study.ground.table, study.settings, study.ground.store.spec
    yield f"# Study {study.out.name}"
    yield ""
    patients = len(np.unique(table.patient))
    yield (
        f"{table.n} tiles of {patients} patients, {study.ground.folds.folds} folds of patients, seeds "
        f"{', '.join(map(str, study.study.seeds))}; cohort: {study.study.cohort_variant}."
    )
    if study.truth is not None:
        truth = study.truth
        kinds, count = np.unique(truth.kind[truth.spurious & truth.known], return_counts=True)
        told = ", ".join(f"{kind} {n}" for kind, n in zip(kinds, count, strict=True))
        yield f"Spurious by the truth, which only scores and the rows called oracle see: {int(count.sum())} ({told})."
        yield f"Rows scored against it in this study: {len(study.rows)}; seeds: {len(study.study.seeds)}."
    yield (
        f"Networks: {settings.backbone}, {spec.tile_px} px at {spec.mpp:g} um/px, "
        f"at most {settings.max_epochs} epochs of a Wise, {settings.draws} draws, "
        f"{study.study.classifier_epochs} epochs of every classifier."
    )
    exact = ", ".join(str(k + 1) for k in study.study.paper_exact_folds) or "none"
    if "paper" in study.rows:
        yield f"Row paper follows the moving average of the training forwards; exact MC passes in folds: {exact}."
    if scores.missing:
        yield f"**Not there yet**: {', '.join(scores.missing)}."
    yield ""
    yield (
        "Every figure is a mean over folds (and seeds) with a 95 % interval by a bootstrap over patients, "
        "the same draws for every row, ± the std over folds; figures of each fold are in study.csv."
    )


def _detection(study: Study, tables: Mapping[str, Any]) -> Iterator[str]:
    ranks = ("AUROC", "margin of AUROC", "sensitivity at 5 %", "margin of sensitivity at 5 %")
    if rows := tables.get("training"):
        yield from _section("Found among training tiles", "The worst severity ranks; above 1 a tile is excluded.")
        yield from _rows(rows, (*ranks, "sensitivity", "false removals", f"AUROC {WRONG_LABEL}"))
        yield from _by_kind(study, rows)
    if rows := tables.get("vote"):
        yield from _section(
            "By vote of the folds",
            "What `clean` writes: the majority, less the tiles whose label the network that never saw the patient is "
            "sure of. The mean severity ranks.",
        )
        more = tuple(key for figures in rows.values() for key in figures if " over " in key)
        yield from _rows(rows, ("AUROC", "sensitivity at 5 %", "sensitivity", "false removals", "excluded", *more))
    if rows := tables.get("unseen"):
        yield from _section(
            "Flagged in unseen patients",
            "No label is read, so only faults of the image count; wrong labels should be flagged as often as good "
            "tiles. A tile is flagged when u exceeds the threshold, or its image quality is bad.",
        )
        yield from _rows(rows, (*ranks, "sensitivity", "false removals", f"excluded {WRONG_LABEL}"))
        yield from _by_kind(study, rows)


def _by_kind(study: Study, rows: Mapping[str, Mapping[str, Figure]]) -> Iterator[str]:
    first = next(iter(rows.values()))
    kinds = [key.removeprefix("AUROC ") for key in first if key.startswith("AUROC ")]
    if not kinds:
        return
    yield ""
    yield f"By kind: AUROC against the good tiles / share excluded. {STATISTICS} excludes its highest 5 %."
    yield ""
    yield from grid(
        ["", *kinds],
        [
            [name, *(f"{_short(figures[f'AUROC {kind}'])} / {_short(figures[f'excluded {kind}'])}" for kind in kinds)]
            for name, figures in rows.items()
        ],
    )


def _lists(study: Study, tables: Mapping[str, Any]) -> Iterator[str]:
    rows = tables.get("lists")
    if not rows:
        return
    yield from _section(
        "What each list leaves out (Fig. 7)", "Removed of the training tiles; mean over classes ± std between classes."
    )
    classes = study.ground.table.classes
    body = []
    for name, figures in rows.items():
        spread = [spread_between_classes(figures, classes, what) for what in ("sensitivity", "false removals")]
        body.append(
            [
                name,
                cell(figures["excluded"]),
                cell(figures["sensitivity"]),
                cell(figures["false removals"]),
                *(_spread(mean, std) for mean, std in spread),
            ]
        )
    header = ["", "removed", "of the spurious", "of the good", "of the spurious, by class", "of the good, by class"]
    yield from grid(header, body)


def _spread(mean: float, std: float) -> str:
    if np.isnan(mean):
        return "–"
    return f"{mean:.3f}" if np.isnan(std) else f"{mean:.3f} ± {std:.3f}"  # one class spreads over nothing


def _accuracy(rows: Mapping[str, Mapping[str, Figure]], *, truth: bool) -> Iterator[str]:
    counted = "the truly good tiles" if truth else "all tiles, against their given labels"
    yield from _section("Accuracy on unseen patients", f"Of {counted}, at full coverage.{chosen_quantiles(rows)}")
    yield from _rows(rows, ("accuracy", "balanced accuracy", "accuracy, given labels"))
    yield from _section(
        "Selective accuracy",
        "At its own coverage a row with a Wise leaves out what it flags; at equal coverage every row leaves out what "
        "it is least sure of, until it covers what `recommended` does: by u of Wise, or by its largest softmax.",
    )
    equal = ("accuracy at equal coverage", "accuracy at equal coverage, by softmax")
    yield from _rows(rows, ("coverage", "selective accuracy", *equal))
    yield from _section(
        "Calibration and risk", "Less is better. Risk: u of Wise with the errors of Wiped, or 1 - largest softmax."
    )
    yield from _rows(rows, ("ECE", "Brier", "NLL", "AURC", "AUGRC"))


def _gain(rows: Mapping[str, Mapping[str, Figure]]) -> Iterator[str]:
    yield from _section(
        "Gain captured", "(A - A of all) / (A of oracle - A of all), A the accuracy on good tiles of unseen patients."
    )
    yield from _rows(rows, ("gain over all", "gain captured"))


def _cells(scores: Scores) -> Iterator[str]:
    cells = scores.about.get("cells", {})
    if not cells:
        return
    yield from _section("How it came about", f"{len(cells)} cells, {scores.about['seconds'] / 60:.0f} minutes of work.")
    body = []
    for name, about in cells.items():
        stop = about.get("stop")
        told = f"{stop['reason']}, epoch {stop['epoch']}" if stop else f"{about['key']['epochs']} epochs"
        tracker = about["settings"].get("tracker", "–")
        body.append([name, f"{about['train_tiles']}", told, tracker, about["compute"], f"{about['seconds']:.0f}"])
    yield from grid(["cell", "training tiles", "stop", "tracker", "computed on", "seconds"], body)


def _section(title: str, text: str) -> Iterator[str]:
    yield from ("", f"## {title}", "", text, "")


def _rows(rows: Mapping[str, Mapping[str, Figure]], columns: Sequence[str]) -> Iterator[str]:
    shown = [key for key in dict.fromkeys(columns) if any(key in figures for figures in rows.values())]
    body = [[name, *(cell(figures.get(key)) for key in shown)] for name, figures in rows.items()]
    yield from grid(["", *shown], body)


def _short(figure: Figure) -> str:
    return "–" if np.isnan(figure.value) else f"{figure.value:.2f}"

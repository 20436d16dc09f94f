"""A study as pictures: what is found by kind, what networks reach, risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from w2wpath.benchmarks.study.accuracy import GRID
from w2wpath.benchmarks.study.methods import RECOMMENDED
from w2wpath.benchmarks.study.resampling import Figure
from w2wpath.benchmarks.study.score import STATISTICS, Scores
from w2wpath.errors import writing

OURS, RIVAL, PLAIN = "#0072b2", "#d55e00", "#8a8a8a"
"""Told apart by eyes of every colour vision (Okabe and Ito)."""
LINES = (OURS, RIVAL, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
STYLES = ("-", "--", "-.", ":")
ABOVE: Mapping[str, Any] = {"frameon": False, "loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
"""Where a legend covers no data."""
DPI = 130
MOST_CURVES = 8
Rows = Mapping[str, Mapping[str, Figure]]


def draw_figures(out: Path, scores: Scores) -> list[Path]:
    """Draw what the scores hold into folder `out`; return the PNG files."""
    drawn: dict[str, Picture] = {}
    tables = scores.tables
    if RECOMMENDED in tables.get("training", {}):
        drawn["detection"] = _detection(tables["training"])
        drawn["removal"] = _removal(tables)
    if tables.get("accuracy"):
        drawn["accuracy"] = _dots(tables["accuracy"], "accuracy", "accuracy on good tiles of unseen patients")
    if tables.get("gain"):
        drawn["gain"] = _dots(tables["gain"], "gain over all", "accuracy gained over training on all tiles")
    if scores.curves:
        drawn["risk-coverage"] = _curves(scores.curves)
    paths = []
    for name, picture in drawn.items():
        path = out / f"{name}.png"
        with writing(path):
            FigureCanvasAgg(picture).print_png(path)  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
        paths.append(path)
    return paths


def _detection(rows: Rows) -> Picture:
    """Draw the AUROC of every kind, ours beside the rival's, with a dot for each fold."""
    ours, rival = rows[RECOMMENDED], rows[STATISTICS]
    keys = ["AUROC", *(key for key in ours if key.startswith("AUROC "))]
    picture, axes = _canvas(1.6 + 1.1 * len(keys), 4.2)
    for figures, shift, colour, name in ((ours, -0.14, OURS, RECOMMENDED), (rival, 0.14, RIVAL, STATISTICS)):
        for i, key in enumerate(keys):
            _whisker(axes, i + shift, figures[key], colour, name if i == 0 else None, upright=True)
    axes.axhline(0.5, color=PLAIN, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(keys)), [key.removeprefix("AUROC").strip() or "all kinds" for key in keys])
    axes.set_ylim(min(0.45, axes.get_ylim()[0]), 1.02)
    axes.set_ylabel("AUROC against good tiles, training side")
    axes.legend(**ABOVE)
    return picture


def _removal(tables: Mapping[str, Rows]) -> Picture:
    """Draw which share of each kind, and of the good tiles, is excluded in training and flagged unseen (Fig. 7)."""
    training = tables["training"][RECOMMENDED]
    unseen = tables.get("unseen", {}).get(f"{RECOMMENDED}, threshold quantile", {})
    kinds = [key for key in training if key.startswith("excluded ")]
    keys = ["excluded, all spurious", *kinds, "false removals"]
    names = ["all spurious", *(key.removeprefix("excluded ") for key in kinds), "good"]
    picture, axes = _canvas(1.6 + 1.1 * len(keys), 4.2)
    sides = ((training, -0.2, OURS, "training tiles"), (unseen, 0.2, "#56b4e9", "tiles of unseen patients"))
    for figures, shift, colour, name in sides:
        at = [i + shift for i, key in enumerate(keys) if key in figures]
        found = [figures[key] for key in keys if key in figures]
        if not found:
            continue
        values = np.array([one.value for one in found])
        reach = np.array([[one.value - one.low for one in found], [one.high - one.value for one in found]])
        axes.bar(at, values, 0.38, color=colour, label=name)
        axes.errorbar(at, values, np.clip(np.nan_to_num(reach), 0.0, None), fmt="none", ecolor="black", capsize=3)
    axes.set_xticks(range(len(keys)), names)
    axes.set_ylim(0.0, 1.05)
    axes.set_ylabel("share excluded or flagged")
    axes.legend(**ABOVE)
    return picture


def _dots(rows: Rows, key: str, told: str) -> Picture:
    """Draw one figure of every row: its mean with the interval, and each fold as a dot."""
    shown = [(name, figures[key]) for name, figures in rows.items() if key in figures]
    picture, axes = _canvas(7.0, 1.2 + 0.36 * len(shown))
    for i, (name, figure) in enumerate(shown):
        _whisker(axes, i, figure, OURS if name == RECOMMENDED else PLAIN, None, upright=False)
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
    axes.invert_yaxis()
    axes.set_xlabel(f"{told} (bar: 95 % by patient; dots: folds)")
    axes.grid(axis="x", linewidth=0.4)
    return picture


def _whisker(axes: Any, at: float, figure: Figure, colour: str, label: str | None, *, upright: bool) -> None:
    spread = np.linspace(-0.07, 0.07, len(figure.folds)) if len(figure.folds) > 1 else np.zeros(len(figure.folds))
    folds = (at + spread, figure.folds) if upright else (figure.folds, at + spread)
    axes.plot(*folds, "o", color=colour, alpha=0.35, markersize=4, markeredgewidth=0)
    reach = np.clip(np.nan_to_num([[figure.value - figure.low], [figure.high - figure.value]]), 0.0, None)
    bar = {"yerr": reach} if upright else {"xerr": reach}
    mean = (at, figure.value) if upright else (figure.value, at)
    axes.errorbar(*mean, **bar, fmt="D", color=colour, markersize=6, capsize=3, linewidth=1.5, label=label)


def _curves(curves: Mapping[str, Sequence[float | None]]) -> Picture:
    picture, axes = _canvas(6.4, 4.4)
    for i, (name, risks) in enumerate(list(curves.items())[:MOST_CURVES]):
        values = [np.nan if risk is None else risk for risk in risks]
        width = 2.4 if name == RECOMMENDED else 1.3
        axes.plot(
            GRID[: len(values)],
            values,
            STYLES[i % len(STYLES)],
            color=LINES[i % len(LINES)],
            linewidth=width,
            label=name,
        )
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("coverage: share of good tiles of unseen patients that are answered")
    axes.set_ylabel("risk: share of wrong answers")
    axes.grid(linewidth=0.4)
    axes.legend(frameon=False, fontsize=8)
    return picture


def _canvas(width: float, height: float) -> tuple[Picture, Any]:
    picture = Picture(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = picture.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return picture, axes

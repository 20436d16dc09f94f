"""A grid as pictures: removal rates (Fig. 3), accuracy (Fig. 5), risk against coverage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from w2wpath.benchmarks.bench.results import Results
from w2wpath.benchmarks.study.accuracy import GRID
from w2wpath.benchmarks.study.resampling import Figure
from w2wpath.errors import writing

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8a8a8a")
"""Told apart by eyes of every colour vision (Okabe and Ito)."""
MARKS = "oDs^vPX*<>hd"
SHOWN = ("recommended", "all", "deterministic", "random", "oracle", "cleanlab")
"""Rows whose risk is drawn: more curves cannot be told apart."""
FAR = 0.15
"""A row this far behind the best of its set stands as a number at the picture's lower edge: the others would be one."""
STEEP = 3.0
"""A curve of so many times the risk of row ``all`` leaves its panel, for the same reason."""
DPI = 130


def draw_pictures(out: Path, results: Results) -> list[Path]:
    """Draw what there is into folder `out`; return the PNG files."""
    drawn: dict[str, Picture] = {}
    if any(results.removal.values()):
        drawn["removal"] = _removal(results)
    if any(tables.get("accuracy") for tables in results.tables.values()):
        drawn["accuracy"] = _accuracy(results)
    if any(results.curves.values()):
        drawn["risk-coverage"] = _risk(results)
    return [_saved(out / f"{name}.png", picture) for name, picture in drawn.items()]


def _saved(path: Path, picture: Picture) -> Path:
    with writing(path):
        FigureCanvasAgg(picture).print_png(path)  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
    return path


def _removal(results: Results) -> Picture:
    """Draw a panel a side and truth: what is removed of the spurious (a, c) and of the good (b, d, e)."""
    names = list(results.removal)
    picture = Picture(figsize=(max(6.4, 2.0 + 1.15 * len(names)), 7.2), dpi=DPI, layout="constrained")
    panels = picture.subplots(2, 1, sharex=True)
    rows = list(dict.fromkeys(row for sides in results.removal.values() for row in sides))
    bars = [(row, side) for row in rows for side in ("training", "test")]
    for axes, part, told in zip(panels, ("spurious", "good"), ("of the spurious", "of the good"), strict=True):
        for i, (row, side) in enumerate(bars):
            found = [results.removal[name].get(row, {}).get(side) for name in names]
            rates = np.array([(np.nan, np.nan) if one is None else getattr(one, part) for one in found])
            at = np.arange(len(names)) + (i - (len(bars) - 1) / 2) * 0.8 / len(bars)
            light = {"alpha": 0.55} if side == "test" else {}
            axes.bar(at, rates[:, 0], 0.8 / len(bars), color=COLOURS[rows.index(row)], label=f"{row}, {side}", **light)
            axes.errorbar(at, rates[:, 0], rates[:, 1], fmt="none", ecolor="black", capsize=2, linewidth=0.9)
        if not any(rate.get_height() > 0 for rate in axes.patches):
            axes.text(0.5, 0.5, f"nothing {told} was removed", ha="center", transform=axes.transAxes)
        axes.set_ylabel(f"share removed {told}")
        axes.set_ylim(0.0, 1.0 if part == "spurious" else None)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", linewidth=0.4)
    panels[1].set_xticks(range(len(names)), names, rotation=30, ha="right")
    # beside each other, four of them are wider than the picture of a few sets
    columns = 4 if len(names) > 4 else 2
    panels[0].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)
    picture.supxlabel("bars: std between classes", fontsize=9)
    return picture


def _accuracy(results: Results) -> Picture:
    names = list(results.tables)
    rows = list(dict.fromkeys(row for tables in results.tables.values() for row in tables.get("accuracy", {})))
    rows = [row for row in rows if not row.startswith("koehler 0")]
    found = {
        name: {row: one["accuracy"] for row, one in results.tables[name].get("accuracy", {}).items()} for name in names
    }
    floor = _floor({name: {row: figures[row] for row in rows if row in figures} for name, figures in found.items()})
    picture = Picture(figsize=(3.4 + 1.25 * len(names), 5.0), dpi=DPI, layout="constrained")
    axes = picture.add_subplot()
    look: dict[str, Any]
    for i, row in enumerate(rows):
        at, values, reach = [], [], []
        for j, name in enumerate(names):
            figure, x = found[name].get(row), j + (i - (len(rows) - 1) / 2) * 0.8 / len(rows)
            if figure is None:
                continue
            if figure.value < floor:
                look = {"color": COLOURS[i % len(COLOURS)], "ha": "center", "va": "bottom", "rotation": 90}
                axes.text(x, floor, f" ◂ {figure.value:.2f}", fontsize=7, **look)
                continue
            at.append(x)
            values.append(figure.value)
            reach.append((figure.value - figure.low, figure.high - figure.value))
        bounds = np.clip(np.nan_to_num(np.array(reach).reshape(-1, 2).T), 0.0, None)
        look = {"color": COLOURS[i % len(COLOURS)], "fmt": MARKS[i % len(MARKS)]}
        axes.errorbar(at, values, bounds, capsize=2, linewidth=1.0, markersize=5, label=row, **look)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_ylim(bottom=floor)
    axes.set_ylabel("accuracy on good test images (95 %)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return picture


def _floor(figures: Mapping[str, Mapping[str, Figure]]) -> float:
    """Return where the axis begins: below every row that is not far behind the best of its set."""
    near = [
        float(np.nanmin([one.low, one.value]))
        for of_set in figures.values()
        for one in of_set.values()
        if max(other.value for other in of_set.values()) - one.value <= FAR
    ]
    return max(0.0, min(near, default=0.0) - 0.02)


def _risk(results: Results) -> Picture:
    names = [name for name, curves in results.curves.items() if curves]
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    picture = Picture(figsize=(3.2 * columns, 2.7 * lines + 0.5), dpi=DPI, layout="constrained")
    panels = picture.subplots(lines, columns, squeeze=False, sharex=True)
    for axes, name in zip(panels.flat, names, strict=False):
        _curves(axes, results.curves[name])
        axes.set_title(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(0.0, _ceiling(results.curves[name]))
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes in panels.flat[max(0, len(names) - columns) : len(names)]:  # the lowest of its column
        axes.tick_params(labelbottom=True)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=8)
    told = "coverage: share of good test images that are answered; a curve that leaves its panel goes on above it"
    picture.supxlabel(told, fontsize=9)
    picture.supylabel("share of wrong answers", fontsize=9)
    return picture


def _ceiling(curves: Mapping[str, list[float | None]]) -> float | None:
    """Return where the axis ends: above every curve that is not far steeper than that of row all, None without it."""
    most = {row: max((risk for risk in curves[row] if risk is not None), default=0.0) for row in SHOWN if row in curves}
    usual = most.get("all", 0.0)
    return 1.05 * max(one for one in most.values() if one <= STEEP * usual) if usual > 0.0 else None


def _curves(axes: Any, curves: Mapping[str, list[float | None]]) -> None:
    for i, row in enumerate(SHOWN):
        if row in curves:
            values = [np.nan if risk is None else risk for risk in curves[row]]
            axes.plot(GRID[: len(values)], values, color=COLOURS[i], linewidth=2.0 if i == 0 else 1.1, label=row)

"""Figures of the cleaning report, one panel each, so that they can be read on a narrow screen and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, UNDECIDED, Decisions

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#AA4499", "#56B4E9"
"""Told apart by the colour-blind (after Okabe and Ito)."""
OF_FOLD = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#000000")
OF_STATE = ((KEPT, BLUE, "kept"), (UNDECIDED, ORANGE, "undecided"), (EXCLUDED, RED, "set aside"))
STYLES = ("-", "--", ":", "-.")
SCORE_SHOWN = 3.0
"""Scores above this share the last bar of the histogram."""


def _panel(height: float = 3.2) -> tuple[Figure, Axes]:
    with matplotlib.rc_context({"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(5.4, height), layout="constrained")
        return figure, figure.subplots()


def score_figure(decisions: Decisions) -> Figure:
    """Draw the histogram of the joined score by state, with the cut at 1."""
    figure, axis = _panel(3.6)
    score = np.minimum(decisions.score, SCORE_SHOWN)
    parts = [score[decisions.judged & (decisions.state == state)] for state, _, _ in OF_STATE]
    _stack(axis, parts, SCORE_SHOWN, 60, [(colour, name) for _, colour, name in OF_STATE])
    axis.axvline(1.0, color="black", linewidth=1.2, linestyle="--", label="cut")
    axis.set(xlabel=f"score ({SCORE_SHOWN:g} stands for more)", ylabel="tiles", xlim=(0, SCORE_SHOWN))
    axis.legend(frameon=False)
    return figure


def u_figure(decisions: Decisions, fold: Mapping[str, Any]) -> Figure:
    """Draw the histogram of u of the fold's unseen tiles, with both centres, their midpoint and the thresholds."""
    figure, axis = _panel()
    mine = decisions.judged & (decisions.fold == fold["fold"])
    wrong = decisions.predicted != decisions.label
    parts = [decisions.u[mine & ~wrong], decisions.u[mine & wrong]]
    both = fold.get("thresholds", {})
    lines = {
        "centre of the usual": (fold.get("u_low"), GREEN, ":"),
        "midway": (fold.get("u_boundary"), "0.35", "-."),
        "centre of the odd": (both.get("centroid"), PURPLE, "--"),
        "quantile": (both.get("quantile"), "black", "-"),
    }
    drawn = [value for value, _, _ in lines.values() if value is not None]
    top = max([float(part.max()) for part in parts if part.size] + [value for value in drawn if value < 1] + [0.05])
    _stack(axis, parts, top, 40, [(SKY, "as labelled"), (RED, "otherwise")])
    for name, (value, colour, style) in lines.items():
        if value is not None and value <= top:
            axis.axvline(value, color=colour, linestyle=style, linewidth=1.6, label=f"{name} {value:.3f}")
    axis.set(xlabel="u of unseen tiles", ylabel="tiles", title=f"Fold {fold['fold'] + 1}", xlim=(0, top))
    axis.legend(frameon=False, fontsize=9)
    return figure


def delta_figure(folds: Sequence[Mapping[str, Any]], every: int) -> Figure:
    """Draw delta (thin) and its median (thick) over epochs, a dot where each fold stopped; `every` epochs apart."""
    figure, axis = _panel(3.6)
    for at, fold in enumerate(folds):
        stop, colour = fold["stop"], OF_FOLD[at % len(OF_FOLD)]
        epochs = np.arange(1, len(stop["deltas"]) + 1) * every
        medians = _floats(stop.get("medians", ()), len(epochs))
        axis.plot(epochs, _floats(stop["deltas"], len(epochs)), color=colour, linewidth=0.8, alpha=0.6)
        style = STYLES[at // len(OF_FOLD) % len(STYLES)]
        axis.plot(epochs, medians, style, color=colour, linewidth=2, label=f"fold {fold['fold'] + 1}")
        stopped = np.flatnonzero(epochs == stop["epoch"])
        axis.plot(epochs[stopped], _floats(stop["deltas"], len(epochs))[stopped], "o", color=colour, markersize=7)
    axis.set(xlabel="epoch (a pass over the tiles)", ylabel="delta = (usual − odd) / all", title="Delta and its median")
    axis.set_ylim(-1.05, 1.05)
    axis.legend(frameon=False, fontsize=9, ncols=2)
    return figure


def spread_figure(folds: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Figure:
    """Draw what the stop rule watches over epochs: the std of the median, or the churn; and the limit."""
    figure, axis = _panel(3.6)
    churn = settings.get("stop_rule") == "membership"
    trace, title = ("churns", "Tiles that change group") if churn else ("stds", "Std of the median of delta")
    limit = settings["std_below"]
    seen = [limit]
    for at, fold in enumerate(folds):
        stop, colour = fold["stop"], OF_FOLD[at % len(OF_FOLD)]
        epochs = np.arange(1, len(stop["deltas"]) + 1) * settings["track_every"]
        values = _floats(stop.get(trace, ()), len(epochs))
        values[values <= 0] = np.nan  # a log axis has no 0
        seen += values[np.isfinite(values)].tolist()
        # a line of one point is invisible, and a short training has no more
        axis.plot(epochs, values, STYLES[at // len(OF_FOLD) % len(STYLES)], color=colour, linewidth=1.6, marker=".")
        axis.axvline(stop["epoch"], color=colour, linewidth=1, linestyle=":")
    axis.axhline(limit, color="black", linewidth=1.2, linestyle="--", label="limit")
    axis.set(xlabel="epoch", ylabel="share of tiles" if churn else "std", title=title)
    axis.set_ylim(min(seen) / 1.5, max(seen) * 1.5)
    axis.set_yscale("log")
    axis.legend(frameon=False)
    return figure


def risk_figure(curves: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """Draw risk-coverage curves by name: coverage (m,) and risk (m,)."""
    figure, axis = _panel(3.6)
    for (name, (coverage, risk)), colour, style in zip(curves.items(), (RED, BLUE), ("--", "-"), strict=False):
        axis.plot(coverage, risk, style, color=colour, linewidth=2, label=name)
    axis.set(xlabel="tiles answered (surest first)", ylabel="answers that differ from the label", xlim=(0, 1))
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.legend(frameon=False)
    return figure


def _stack(
    axis: Axes, parts: Sequence[NDArray[np.float32]], top: float, bins: int, looks: Sequence[tuple[str, str]]
) -> None:
    """Draw a stacked histogram from 0 to `top`; `looks` are colour and name of each part."""
    edges = np.linspace(0.0, top, bins + 1)
    below = np.zeros(bins)
    for part, (colour, name) in zip(parts, looks, strict=True):
        above = below + np.histogram(part, edges)[0]
        axis.stairs(above, edges, baseline=below, fill=True, color=colour, label=name)
        below = above
    axis.set_ylim(0, max(1.0, below.max() * 1.05))


def _floats(values: Sequence[float | None], n: int) -> NDArray[np.float64]:
    """Return a trace (n,) in which NaN stands for what is not there."""
    found = [np.nan if value is None else float(value) for value in values]
    return np.array([*found, *[np.nan] * (n - len(found))], dtype=np.float64)

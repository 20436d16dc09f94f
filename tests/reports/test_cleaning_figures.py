"""The figures of the report show the numbers that they are made of."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from w2wpath.reports.cleaning_figures import delta_figure, risk_figure, score_figure, spread_figure, u_figure
from w2wpath.reports.page import figure_uri
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, UNDECIDED, Decisions
from w2wpath.w2wnet.selective import risk_coverage

STOP: dict[str, Any] = {
    "reason": "stable",
    "epoch": 8,
    "deltas": [0.1, 0.2, 0.3, 0.4, 0.5],
    "medians": [None, 0.15, 0.25, 0.35, 0.45],
    "stds": [None, None, 0.1, 0.05, 0.0],
    "churns": [None, 0.3, 0.2, 0.1, 0.05],
}


def heights(figure: Figure) -> list[int]:
    """Tiles in each stacked part of a histogram."""
    (axis,) = figure.axes
    parts = [patch.get_data() for patch in axis.patches if isinstance(patch, StepPatch)]
    return [round(float((part.values - part.baseline).sum())) for part in parts]


def vertical(figure: Figure) -> dict[str, float]:
    """Where the lines stand that are named."""
    (axis,) = figure.axes
    return {str(line.get_label()): float(np.asarray(line.get_xdata())[0]) for line in axis.lines}


def test_the_score_shows_every_judged_tile_by_state(decisions: Decisions) -> None:
    figure = score_figure(decisions)
    states = (KEPT, UNDECIDED, EXCLUDED)
    assert heights(figure) == [int((decisions.judged & (decisions.state == state)).sum()) for state in states]
    assert vertical(figure) == {"cut": 1.0}


def test_u_shows_the_tiles_of_the_fold_and_what_was_recorded_of_it(decisions: Decisions) -> None:
    fold = {"fold": 1, "u_low": 0.0, "u_boundary": 0.2, "thresholds": {"centroid": 1.0, "quantile": 0.3}}
    figure = u_figure(decisions, fold)
    mine = decisions.judged & (decisions.fold == 1)
    wrong = decisions.predicted != decisions.label
    assert heights(figure) == [int((mine & ~wrong).sum()), int((mine & wrong).sum())]
    # the centroid of 1 says that nothing is masked, and would squeeze the rest
    assert vertical(figure) == {"centre of the usual 0.000": 0.0, "midway 0.200": 0.2, "quantile 0.300": 0.3}
    assert vertical(u_figure(decisions, {"fold": 0})) == {}


def test_delta_its_median_and_the_stop_are_drawn() -> None:
    (axis,) = delta_figure([{"fold": 0, "stop": STOP}], every=2).axes
    delta, median, stop = axis.lines
    assert np.asarray(delta.get_xdata()).tolist() == [2, 4, 6, 8, 10]
    assert np.asarray(delta.get_ydata()).tolist() == STOP["deltas"]
    np.testing.assert_array_equal(np.asarray(median.get_ydata()), [np.nan, 0.15, 0.25, 0.35, 0.45])
    assert (np.asarray(stop.get_xdata()).tolist(), np.asarray(stop.get_ydata()).tolist()) == ([8], [0.4])


@pytest.mark.parametrize(
    ("rule", "drawn"), [("size", [0.1, 0.05]), ("membership", [0.3, 0.2, 0.1, 0.05])], ids=["size", "membership"]
)
def test_what_the_stop_rule_watches_is_drawn_with_its_limit(rule: str, drawn: list[float]) -> None:
    settings = {"std_below": 0.01, "track_every": 2, "stop_rule": rule}
    (axis,) = spread_figure([{"fold": 0, "stop": STOP}], settings).axes
    assert axis.lines[0].get_marker() == "."
    trace, stop, limit = axis.lines
    values = np.asarray(trace.get_ydata(), dtype=float)
    assert values[np.isfinite(values)].tolist() == drawn  # a log axis has no 0
    assert np.asarray(stop.get_xdata())[0] == 8
    assert np.asarray(limit.get_ydata())[0] == 0.01
    assert axis.get_yscale() == "log"


def test_a_run_of_few_epochs_is_drawn_without_a_warning() -> None:
    stop = {"reason": "max_epochs", "epoch": 1, "deltas": [0.0], "stds": [None]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure_uri(spread_figure([{"fold": 0, "stop": stop}], {"std_below": 0.01, "track_every": 1}))
        figure_uri(delta_figure([{"fold": 0, "stop": stop}], 1))


def test_both_risk_curves_are_drawn() -> None:
    curves = {
        "all": risk_coverage(np.array([0.1, 0.2]), np.array([False, True])),
        "none": risk_coverage(np.zeros(0), np.zeros(0, dtype=bool)),
    }
    (axis,) = risk_figure(curves).axes
    assert [line.get_label() for line in axis.lines] == ["all", "none"]
    assert np.asarray(axis.lines[0].get_xdata()).tolist() == [0.5, 1.0]
    assert np.asarray(axis.lines[0].get_ydata()).tolist() == [0.0, 0.5]

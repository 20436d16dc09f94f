"""Pictures of a grid: rows far behind stand as numbers at the edge, so that the others can be told apart."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from w2wpath.benchmarks.bench.pictures import _accuracy, _ceiling, _floor, _removal
from w2wpath.benchmarks.bench.results import Removal, Results
from w2wpath.benchmarks.study.resampling import Figure

NAN = float("nan")


def made(value: float, half: float = 0.01) -> Figure:
    return Figure(value, value - half, value + half, NAN, 100)


def test_a_row_far_behind_on_every_set_is_a_number_at_the_edge_and_keeps_its_name() -> None:
    rows = {"recommended": made(0.95), "all": made(0.93), "deterministic": made(0.36)}
    tables = {name: {"accuracy": {row: {"accuracy": one} for row, one in rows.items()}} for name in ("A", "B")}
    axes = _accuracy(Results(tables=tables)).axes[0]
    assert [text.get_text() for text in axes.texts] == [" ◂ 0.36"] * 2
    assert round(axes.get_ylim()[0], 3) == 0.9
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(rows)


def test_the_axis_of_accuracy_begins_below_every_row_that_is_near() -> None:
    assert round(_floor({"A": {"all": made(0.9), "roy": made(0.8, 0.05)}, "B": {"all": made(0.7)}}), 3) == 0.67
    assert _floor({"A": {"all": Figure(0.01, NAN, NAN, NAN, 1)}}) == 0.0


def test_the_axis_of_risk_ends_above_every_curve_that_is_not_far_steeper() -> None:
    assert _ceiling({"all": [0.0, 0.1], "random": [0.0, 0.2], "deterministic": [0.5, 0.6]}) == 1.05 * 0.2
    assert _ceiling({"all": [None, 0.0], "random": [0.3]}) is None
    assert _ceiling({"random": [0.3]}) is None


@pytest.mark.parametrize("sets", range(1, 15))
def test_the_names_beside_the_removal_rates_lie_within_the_picture(sets: int) -> None:
    sides = dict.fromkeys(("training", "test"), Removal((0.5, 0.1), (0.1, 0.1)))
    found = {f"Sp-CIFAR10-{i}": {"recommended": sides, "paper": sides} for i in range(sets)}
    picture = _removal(Results(removal=found))
    canvas = FigureCanvasAgg(picture)
    canvas.draw()
    legend = picture.axes[0].get_legend()
    assert legend is not None
    box = legend.get_window_extent(canvas.get_renderer())
    assert picture.bbox.x0 <= box.x0 < box.x1 <= picture.bbox.x1

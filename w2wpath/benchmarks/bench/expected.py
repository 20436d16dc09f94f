"""Figures that a grid is expected to give again, each with its tolerance: ``expected.json`` beside the TOML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.benchmarks.bench.claims import LEAD, OVER
from w2wpath.benchmarks.bench.results import GAIN, Results
from w2wpath.benchmarks.noise.manifest import KINDS
from w2wpath.benchmarks.study.resampling import Figure
from w2wpath.errors import ConfigError, RunError
from w2wpath.provenance import write_whole

KEPT = {
    "training": ("AUROC", "sensitivity", "false removals"),
    "unseen": ("sensitivity", "false removals", *(f"excluded {kind}" for kind in KINDS)),
    "accuracy": ("accuracy",),
    "gain": ("gain captured",),
    "lead": (LEAD, OVER),
    "headline": ("AUROC", "sensitivity at 5 %"),
}
"""Figures that are kept, by table."""
LEAST = 0.02
"""Least tolerance: other versions and processors round otherwise, and training carries that on."""
MOST_WIDE = 2.0
"""A share of the oracle's gain whose interval is wider, or that has none, is not kept."""
MOST_TOLD = 5
Place = tuple[str, str, str, str]


def write_expected(path: Path, results: Results) -> None:
    """Write the figures of a grid, with their intervals.

    A tolerance is half the interval or two std over seeds, at least LEAST.

    Raises
    ------
    DiskError
        There is no room.
    """
    names = ("set", "table", "row", "figure")
    values = [
        {
            **dict(zip(names, place, strict=True)),
            "value": round(one.value, 4),
            **(
                {"low": round(one.low, 4), "high": round(one.high, 4)} if np.isfinite([one.low, one.high]).all() else {}
            ),
            "tolerance": _allowed(one),
        }
        for place, one in _kept(results)
    ]
    # a line a figure, so that a change shows
    write_whole(path, "[\n" + ",\n".join(f"  {json.dumps(value)}" for value in values) + "\n]\n")


def check_expected(path: Path, results: Results) -> int:
    """Compare the figures of a grid with those expected; return how many there are.

    Raises
    ------
    ConfigError
        The file is missing, or not such a file.
    RunError
        A figure is not there, or differs by more than its tolerance.
    """
    found, wanted, wrong = dict(_kept(results)), read_expected(path), []
    for place, (value, tolerance) in wanted.items():
        mine = found.get(place)
        if mine is None or not abs(mine.value - value) <= tolerance:
            got = "nothing" if mine is None else f"{mine.value:.4f}"
            wrong.append(f"{', '.join(place)}: {value:.4f} ± {tolerance:.4f} expected, got {got}")
    if wrong:
        more = f"; and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
        raise RunError(
            f"{path}: {len(wrong)} of {len(wanted)} figures differ: {'; '.join(wrong[:MOST_TOLD])}{more}. "
            "Look at bench.md; if the change is meant, write them anew with --expect."
        )
    return len(wanted)


def read_expected(path: Path) -> dict[Place, tuple[float, float]]:
    """Return value and tolerance of every figure by set, table, row and name.

    Raises
    ------
    ConfigError
        The file is missing, or not such a file.
    """
    try:
        values: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        return {
            (one["set"], one["table"], one["row"], one["figure"]): (float(one["value"]), float(one["tolerance"]))
            for one in values
        }
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Write it with --expect.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: not a file of expected figures ({error!r}). Write it with --expect.") from None


def figures_of(results: Results) -> Iterator[tuple[Place, Figure]]:
    """Yield set, table, row and name of every figure with the figure."""
    for name, tables in results.tables.items():
        for table, rows in tables.items():
            for row, figures in rows.items():
                for what, figure in figures.items():
                    yield (name, table, row, what), figure
        for kind, scores in results.headline[name].items():
            for score, figures in scores.items():
                for what, figure in figures.items():
                    yield (name, "headline", f"{kind}, {score}", what), figure


def _kept(results: Results) -> Iterator[tuple[Place, Figure]]:
    for place, figure in figures_of(results):
        if place[3] in KEPT.get(place[1], ()) and np.isfinite(figure.value) and not _of_nothing(place[1], figure):
            yield place, figure


def _of_nothing(table: str, figure: Figure) -> bool:
    """Tell whether it is a share of a gain that may as well be none: every value would do."""
    return table == GAIN and not figure.high - figure.low <= MOST_WIDE


def _allowed(one: Figure) -> float:
    return round(float(np.nanmax([LEAST, (one.high - one.low) / 2.0, 2.0 * one.std])), 4)

"""Figures as plain text and JSON: grids of markdown, cells of them, null for what is no number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.benchmarks.study.resampling import Figure


def grid(header: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a markdown table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for cells in body:
        yield f"| {' | '.join(cells)} |"


def cell(figure: Figure | None) -> str:
    """Return a figure with its interval and std; a dash where there is none."""
    if figure is None:
        return "–"
    return f"{figure}" if np.isnan(figure.std) else f"{figure} ± {figure.std:.3f}"


def chosen_quantiles(rows: Mapping[str, Mapping[str, Figure]]) -> str:
    """Return a sentence for each row whose threshold was chosen by its result; "" where there is none."""
    chosen = {row: figures["quantile"] for row, figures in rows.items() if "quantile" in figures}
    return "".join(f" {row}: quantile {_each(one)}, chosen by this result." for row, one in chosen.items())


def _each(figure: Figure) -> str:
    """Return the choice of every seed; a mean of them was chosen by none."""
    return ", ".join(f"{value:g}" for value in figure.folds or (figure.value,))


def finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON has not, by None, and paths by text, in mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value

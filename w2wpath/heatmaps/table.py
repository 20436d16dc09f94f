"""``tiles.csv``: every tile of the grid and what the model says of it, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.heatmaps.maps import NOT_ANALYSED, REASONS, STATES, Maps
from w2wpath.w2wnet.domain import Domain

_MANY = 1 << 14


def tiles_csv(maps: Maps, domain: Domain | None = None) -> str:
    """Return a CSV of every tile; x0, y0, side0 are level-0 pixels of the slide frame, cells empty if not analysed.

    Column domain says of the whole slide, in every row, whether it is ``inside`` or ``outside``; empty if not known.
    """
    says = ["state", "reason", "class", *(f"P({name})" for name in maps.classes), "u", "epistemic", "domain"]
    where = "" if domain is None else "inside" if domain.inside else "outside"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["x0", "y0", "side0", *says])
    # only names can need quotes, and there are few of them: rows are joined from cells that are ready
    states, reasons, classes = _cells(STATES), _cells(REASONS), _cells(maps.classes)
    blank = "," * (len(maps.classes) + 2)
    # a part of the rows at a time, since text takes many times the memory of numbers
    for start in range(0, len(maps.x0), _MANY):
        part = slice(start, start + _MANY)
        numbers = np.column_stack([maps.probs_nk[part], maps.u[part], maps.epistemic[part]]).astype(np.float64)
        analysed: NDArray[Any] = maps.state[part] != NOT_ANALYSED
        form = ",%.4f" * numbers.shape[1]
        best = numbers[:, : len(maps.classes)].argmax(axis=1).tolist()
        rows = zip(
            maps.x0[part].tolist(),
            maps.y0[part].tolist(),
            maps.state[part].tolist(),
            maps.reason[part].tolist(),
            best,
            analysed.tolist(),
            numbers.tolist(),
            strict=True,
        )
        text.writelines(
            f"{x},{y},{maps.side0},{states[state]},{reasons[reason]},"
            f"{classes[first] + form % tuple(values) if there else blank},{where}\n"
            for x, y, state, reason, first, there, values in rows
        )
    return text.getvalue()


def _cells(names: Sequence[str]) -> list[str]:
    """Return names as CSV cells, in quotes where they need them."""
    cells = []
    for name in names:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(["", name])  # beside another one: a lone empty cell gets quotes
        cells.append(text.getvalue()[1:])
    return cells

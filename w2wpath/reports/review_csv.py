"""``review.csv``: every judged tile with what was decided, to be gone through by a person."""

from __future__ import annotations

import csv
import io
import uuid
from pathlib import Path

import numpy as np

from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, STATES, UNDECIDED, Decisions


def write_review_csv(path: Path, table: TileTable, decisions: Decisions) -> None:
    """Write every judged tile, excluded ones first, highest score first; x0, y0, side0 in level-0 pixels.

    Raises
    ------
    DiskError
        There is no room.
    """
    rows = np.flatnonzero(decisions.judged)
    rank = {EXCLUDED: 0, UNDECIDED: 1, KEPT: 2}
    order = sorted(rows, key=lambda i: (rank[int(decisions.state[i])], -float(decisions.score[i]), i))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ["tile_id", "slide", "patient", "x0", "y0", "side0", "label", "state", "reason", "says", "score", "u", "fold"]
    )
    for i in order:
        lines.writerow(
            [
                uuid.UUID(bytes=table.tile_id[i].tobytes()),
                table.slides[table.slide[i]],
                table.patients[table.patient[i]],
                table.x0[i],
                table.y0[i],
                table.side0[i],
                table.classes[decisions.label[i]],
                STATES[decisions.state[i]],
                REASONS[decisions.reason[i]],
                table.classes[decisions.predicted[i]],
                f"{decisions.score[i]:.4f}",
                f"{decisions.u[i]:.4f}",
                int(decisions.fold[i]) + 1,
            ]
        )
    write_whole(path, text.getvalue())

"""``review.csv`` has every judged tile."""

from __future__ import annotations

import csv
import uuid
from pathlib import Path

import numpy as np

from tests.reports.conftest import CLASSES, PX, SLIDES
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, STATES, UNDECIDED, Decisions
from w2wpath.w2wnet.review import write_review_csv


def test_the_review_has_every_judged_tile_excluded_ones_first(
    store: TileStore, decisions: Decisions, tmp_path: Path
) -> None:
    table = store.table()
    write_review_csv(tmp_path / "review.csv", table, decisions)
    judged = np.flatnonzero(table.label >= 0)
    order = [i for state in (EXCLUDED, UNDECIDED, KEPT) for i in judged if decisions.state[i] == state]
    where = ["tile_id", "slide", "patient", "x0", "y0", "side0"]
    header = [*where, "label", "state", "reason", "says", "score", "u", "fold"]
    expected = [
        [
            str(uuid.UUID(bytes=table.tile_id[i].tobytes())),
            SLIDES[table.slide[i]],
            table.patients[table.patient[i]],
            str(table.x0[i]),
            str(table.y0[i]),
            str(PX),
            CLASSES[table.label[i]],
            STATES[decisions.state[i]],
            REASONS[decisions.reason[i]],
            CLASSES[decisions.predicted[i]],
            f"{decisions.score[i]:.4f}",
            f"{decisions.u[i]:.4f}",
            str(decisions.fold[i] + 1),
        ]
        for i in order
    ]
    with (tmp_path / "review.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [header, *expected]
    assert len(expected) == 26

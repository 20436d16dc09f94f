"""Decisions made by hand: what a test does not care about is filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.decide import REASONS as KINDS
from w2wpath.w2wnet.ledger import FLAGS, KEPT, Decisions


def decided(
    table: TileTable,
    about: Mapping[str, Any],
    *,
    run: str = "20260101T000000Z-aaaaaa",
    state: NDArray[Any] | int = KEPT,
    reason: NDArray[Any] | int = 0,
    votes: NDArray[Any] | None = None,
    fold: NDArray[Any] | int = 0,
    u: NDArray[Any] | float = 0.0,
    score: NDArray[Any] | float = 0.0,
    predicted: NDArray[Any] | None = None,
    unseen: NDArray[Any] | None = None,
) -> Decisions:
    """Return decisions on `table`; `score` is all label severity, `predicted` gets a probability of 0.8."""
    n, k = table.n, max(len(table.classes), 2)
    judged = table.label >= 0
    said = table.label if predicted is None else predicted
    probs = np.full((n, k), 0.2 / (k - 1), dtype=np.float32)
    probs[np.arange(n), np.maximum(said, 0)] = 0.8
    severity = np.zeros((n, len(KINDS)), dtype=np.float32)
    severity[:, 0] = score
    return Decisions(
        run=run,
        state=np.broadcast_to(np.asarray(state, dtype=np.uint8), n).copy(),
        reason=np.broadcast_to(np.asarray(reason, dtype=np.uint8), n).copy(),
        votes=np.zeros((n, 2), dtype=np.int8) if votes is None else votes.astype(np.int8),
        fold=np.broadcast_to(np.asarray(fold, dtype=np.int16), n).copy(),
        severity=severity,
        score=np.broadcast_to(np.asarray(score, dtype=np.float32), n).copy(),
        probs=np.where(judged[:, None], probs, np.nan).astype(np.float32),
        u=np.broadcast_to(np.asarray(u, dtype=np.float32), n).copy(),
        unseen=np.zeros((n, len(FLAGS) - 1), dtype=np.float32) if unseen is None else unseen.astype(np.float32),
        label=table.label,
        area_share=table.area_share,
        about=about,
    )

"""A blinded audit: a random mix of kept and excluded tiles whose reader cannot tell which is which, and its score."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ReviewError
from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, STATES, Decisions
from w2wpath.w2wnet.metrics import Estimate, wilson
from w2wpath.w2wnet.review import ANSWER, PLACE, place_of
from w2wpath.w2wnet.review_qupath import AUDIT, Exported, halves
from w2wpath.w2wnet.verdicts import Verdict

# the patient's name may tell who was cleaned most
COLUMNS = (*(name for name in PLACE if name != "patient"), *ANSWER)


@dataclass(frozen=True)
class Sample:
    """Rows of an audit in the order in which they are shown, the stratum of each, and the sizes of the strata."""

    rows: NDArray[np.intp]
    strata: tuple[str, ...]
    sizes: dict[str, int]


@dataclass(frozen=True)
class Score:
    """What an audit says of a run of clean.

    Attributes
    ----------
    precision
        Share of excluded tiles that the reader would exclude or relabel too.
    missed
        Share of kept tiles that the reader would exclude or relabel. Both with Wilson's 95 % intervals.
    sensitivity
        Estimated share of all spurious tiles that were excluded, each stratum weighed by its size; NaN where a stratum
        has tiles and none of them was read, or no tile is spurious. Undecided tiles are in neither stratum.
    asked, answered
        Number of tiles in the audit, and of those with a verdict.
    """

    precision: Estimate
    missed: Estimate
    sensitivity: float
    asked: int
    answered: int


def draw_sample(decisions: Decisions, n: int, seed: int = 0) -> Sample:
    """Draw `n` judged tiles, half of them excluded and half kept where there are enough, and shuffle them.

    Raises
    ------
    ReviewError
        There is neither a kept nor an excluded tile.
    """
    strata = {
        STATES[state]: np.flatnonzero(decisions.judged & ~decisions.stale & (decisions.state == state))
        for state in (EXCLUDED, KEPT)
    }
    sizes = {name: len(rows) for name, rows in strata.items()}
    if not sum(sizes.values()):
        raise ReviewError(f"run {decisions.run}: has neither a kept nor an excluded tile to audit. Run it again.")
    shares = halves(n, *sizes.values())
    drawing = np.random.default_rng([seed, 0])
    drawn = [drawing.choice(rows, share, replace=False) for rows, share in zip(strata.values(), shares, strict=True)]
    # sorted and shuffled by a stream of its own: the order tells nothing of what was drawn from where
    rows = np.random.default_rng([seed, 1]).permutation(np.sort(np.concatenate(drawn)))
    return Sample(rows, tuple(STATES[decisions.state[i]] for i in rows), sizes)


def write_audit_csv(path: Path, table: TileTable, rows: NDArray[np.intp]) -> None:
    """Write the tiles of an audit for its reader: where each lies and its label, and nothing of what was decided.

    Raises
    ------
    DiskError
        There is no room.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for i in rows:
        place = dict(zip(PLACE, place_of(table, i), strict=True))
        lines.writerow([place.get(name, "") for name in COLUMNS])
    write_whole(path, text.getvalue())


def audit_of_csv(path: Path, listed: set[bytes], exports: Sequence[Exported]) -> Exported | None:
    """Return the audit that a CSV answers: the one that its name begins with, or else that lists the same tiles."""
    audits = [export for export in reversed(exports) if export.kind == AUDIT]
    named = (one for one in audits if path.name.startswith(one.name))
    same = (one for one in audits if {uuid.UUID(tile.tile_id).bytes for tile in one.tiles} == listed)
    return next(named, None) or next(same, None)


def score(audit: Exported, verdicts: Sequence[Verdict]) -> Score:
    """Score a run of clean by the verdicts of an audit's reader; those on other tiles do not count."""
    spurious = {one.tile_id: one.verdict != "keep" for one in verdicts}
    read = [(tile.stratum, spurious.get(uuid.UUID(tile.tile_id).bytes)) for tile in audit.tiles]
    sizes = audit.sizes or {}

    def share(stratum: str) -> Estimate:
        said = [answer for own, answer in read if own == stratum and answer is not None]
        return wilson(sum(said), len(said))

    precision, missed = share(STATES[EXCLUDED]), share(STATES[KEPT])
    found = _weighed(precision, sizes.get(STATES[EXCLUDED], 0))
    lost = _weighed(missed, sizes.get(STATES[KEPT], 0))
    sensitivity = found / (found + lost) if found + lost > 0 else float("nan")
    return Score(precision, missed, sensitivity, len(read), sum(answer is not None for _, answer in read))


def _weighed(share: Estimate, size: int) -> float:
    """Return how many tiles of a stratum are spurious; none of none."""
    return share.value * size if size else 0.0

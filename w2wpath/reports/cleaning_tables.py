"""Tables of the cleaning report: who was set aside, by class, patient, slide and reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.decide import REASONS as EXCLUSIONS
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions

ENTRIES_TO_JUDGE = 10
"""Fewest tiles of a class, patient or slide for which its share of exclusions is worth a warning."""
REASON_IN_WORDS = {
    "label": "the networks read another class",
    "uncertain": "the networks are not sure",
    "focus": "out of focus",
    "background": "mostly empty",
    "colour": "colour or density far from the others",
    "review": "a reviewer said so",
}


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the number that it sorts by; None sorts by the text, NaN comes last."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows."""

    caption: str
    head: tuple[str, ...]
    rows: list[list[Cell]]


def count(n: int) -> Cell:
    """Return the cell of a whole number."""
    return Cell(f"{n:,}", float(n))


def number(value: float | None, digits: int = 3) -> Cell:
    """Return the cell of a number; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return Cell("–", math.nan)
    return Cell(f"{value:.{digits}f}", float(value))


def percent(share: float | None) -> Cell:
    """Return the cell of a share; a dash where there is none."""
    if share is None or not math.isfinite(share):
        return Cell("–", math.nan)
    return Cell(f"{share:.1%}", float(share))


@dataclass(frozen=True)
class Share:
    """How many of a class's, patient's or slide's judged tiles were excluded; `warning` is empty when none is due."""

    name: str
    judged: int
    excluded: int
    warning: str

    @property
    def share(self) -> float:
        """Excluded share of the judged tiles."""
        return self.excluded / self.judged

    def cells(self) -> list[object]:
        """Return the cells of a table."""
        return [self.name, self.judged, self.excluded, f"{self.share:.1%}"]


def excluded_by(
    decisions: Decisions, code_n: NDArray[np.integer[Any]], names: Sequence[str], what: str = ""
) -> list[Share]:
    """Count exclusions by class, patient or slide; warn above half, and above twice the overall share.

    Parameters
    ----------
    code_n
        Index (n,) of each tile into `names`; names without judged tiles are left out.
    what
        Stands before the name in a warning.
    """
    judged, out = decisions.judged, decisions.judged & (decisions.state == EXCLUDED)
    overall = out.sum() / max(int(judged.sum()), 1)
    rows = []
    for code, name in enumerate(names):
        mine = judged & (code_n == code)
        n, gone = int(mine.sum()), int((mine & out).sum())
        if n:
            rows.append(Share(name, n, gone, _warning(f"{what} {name}".strip(), n, gone, overall)))
    return rows


def _warning(name: str, n: int, gone: int, overall: float) -> str:
    if n < ENTRIES_TO_JUDGE or gone / n <= min(2 * overall, 0.5):
        return ""
    limit = "more than half of them" if gone / n > 0.5 else f"over twice the overall share of {overall:.1%}"
    return f"{name}: {gone} of {n} tiles excluded, {limit}. Look at them."


def warnings_of(*groups: Sequence[Share]) -> list[str]:
    """Return the warnings; of groups of one name and size, as a slide that is a patient's only one, the first."""
    seen: set[tuple[str, int, int]] = set()
    texts = []
    for share in (share for group in groups for share in group if share.warning):
        key = (share.name, share.judged, share.excluded)
        if key not in seen:
            texts.append(share.warning)
        seen.add(key)
    return texts


def share_table(what: str, shares: Sequence[Share]) -> Table:
    """Tabulate exclusions by name, in the order given."""
    rows = [[Cell(row.name), count(row.judged), count(row.excluded), percent(row.share)] for row in shares]
    return Table(f"By {what.lower()}", (what, "Tiles", "Set aside", "Share"), rows)


def reason_table(decisions: Decisions) -> Table:
    """Tabulate the excluded tiles by reason, as counts and shares of all judged tiles."""
    out = decisions.judged & (decisions.state == EXCLUDED)
    judged = max(int(decisions.judged.sum()), 1)
    rows = []
    for reason in (*EXCLUSIONS, "review"):
        n = int((out & (decisions.reason == REASONS.index(reason))).sum())
        rows.append([Cell(REASON_IN_WORDS[reason]), count(n), percent(n / judged)])
    return Table("By reason", ("Why set aside", "Tiles", "Share of all"), rows)


def patient_table(decisions: Decisions, table: TileTable) -> Table:
    """Tabulate each patient: exclusions, and how networks that never saw the patient fare on all its judged tiles."""
    rows = []
    right = decisions.predicted == decisions.label
    for code, name in enumerate(table.patients):
        mine = decisions.judged & (table.patient == code)
        if not mine.any():
            continue
        states = [int((decisions.state[mine] == state).sum()) for state in (KEPT, UNDECIDED, EXCLUDED)]
        rows.append(
            [
                *(Cell(name), count(int(mine.sum())), *(count(n) for n in states)),
                percent(float((decisions.state[mine] == EXCLUDED).mean())),
                percent(float(right[mine].mean())),
                number(float(decisions.u[mine].mean())),
                percent(float((decisions.flag[mine] > 0).mean())),
            ]
        )
    head = ("Patient", "Tiles", "Kept", "Undecided", "Set aside", "Share set aside", "Read as labelled", "Mean u")
    return Table("By patient", (*head, "Flagged unseen"), rows)

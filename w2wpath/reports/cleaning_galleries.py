"""Galleries of the cleaning report: the tiles that a person should look at, undecided ones first."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.reports.cleaning_tables import REASON_IN_WORDS
from w2wpath.reports.page import tile_uri
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.decide import REASONS as EXCLUSIONS
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, STATES, UNDECIDED, Decisions

GALLERY = 48
"""Most tiles shown in one gallery."""
SHOWN_PX = 160
"""Larger tiles are made smaller for the page."""


@dataclass(frozen=True)
class Card:
    """A tile as the page shows it; `label` is the code of the class that it was given, -1 none."""

    tile_id: str
    uri: str
    slide: str
    patient: str
    x0: int
    y0: int
    label: int
    given: str
    reads: str
    state: str
    why: str
    votes: str
    score: str
    u: str


@dataclass(frozen=True)
class Gallery:
    """Some of `total` tiles that belong together, highest score first."""

    title: str
    total: int
    cards: list[Card]


def choose(table: TileTable, decisions: Decisions) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each gallery by its title, all of them, highest score first; no row is in two."""
    stale = decisions.stale
    judged = decisions.judged & ~stale
    excluded = judged & (decisions.state == EXCLUDED)
    vetoed = judged & (decisions.reason == REASONS.index("vetoed"))
    chosen = {
        "Undecided: as many networks for as against": judged & (decisions.state == UNDECIDED) & ~vetoed,
        "Undecided: networks doubt the label, but the one that never saw the patient reads it too": vetoed,
        "Stale: the label was changed after the tile was judged": stale,
        **{
            f"Set aside: {REASON_IN_WORDS[reason]}": excluded & (decisions.reason == REASONS.index(reason))
            for reason in EXCLUSIONS
        },
        "Kept, but nearest to being set aside": judged & (decisions.state == KEPT),
    }
    return {title: _by_score(decisions, mask) for title, mask in chosen.items()}


def galleries(store: TileStore, table: TileTable, decisions: Decisions) -> list[Gallery]:
    """Return the galleries that have tiles, with at most :data:`GALLERY` pictures each."""
    chosen = {title: rows for title, rows in choose(table, decisions).items() if rows.size}
    uris = pictures(store, table, np.concatenate([rows[:GALLERY] for rows in chosen.values()] or [np.zeros(0, int)]))
    return [
        Gallery(title, len(rows), [card(table, decisions, int(i), uris[int(i)]) for i in rows[:GALLERY]])
        for title, rows in chosen.items()
    ]


def pictures(store: TileStore, table: TileTable, rows: NDArray[np.intp]) -> dict[int, str]:
    """Return the JPEG data URI of each row; a slide is opened once."""
    found = {}
    for index in np.unique(table.slide[rows]):
        mine = rows[table.slide[rows] == index]
        images = store.images(table.slides[index], table.row[mine].astype(np.int64))
        found.update({int(i): tile_uri(image, SHOWN_PX) for i, image in zip(mine, images, strict=True)})
    return found


def card(table: TileTable, decisions: Decisions, i: int, uri: str) -> Card:
    """Describe tile `i` in words."""
    votes = decisions.votes[i]
    return Card(
        tile_id=str(uuid.UUID(bytes=table.tile_id[i].tobytes())),
        uri=uri,
        slide=table.slides[table.slide[i]],
        patient=table.patients[table.patient[i]],
        x0=int(table.x0[i]),
        y0=int(table.y0[i]),
        label=int(table.label[i]),
        given=_name(table, int(table.label[i])),
        reads=_name(table, int(decisions.predicted[i])),
        state="set aside" if decisions.state[i] == EXCLUDED else STATES[decisions.state[i]],
        why=_why(decisions, i),
        votes=f"{int((votes == 1).sum())} of {int((votes >= 0).sum())}",
        score=_number(float(decisions.score[i])),
        u=_number(float(decisions.u[i])),
    )


def _by_score(decisions: Decisions, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    rows = np.flatnonzero(mask)
    return rows[np.argsort(-np.nan_to_num(decisions.score[rows], nan=-1.0), kind="stable")]


def _why(decisions: Decisions, i: int) -> str:
    """Name the reason of an exclusion; of other tiles what speaks most against them."""
    reason = REASONS[decisions.reason[i]]
    if reason in REASON_IN_WORDS:
        return REASON_IN_WORDS[reason]
    severity = decisions.severity[i]
    if not np.isfinite(severity).all() or severity.max() <= 0:
        return "nothing stands out"
    worst = REASON_IN_WORDS[EXCLUSIONS[int(severity.argmax())]]
    if reason == "vetoed":
        return f"{worst}, but the one that never saw the patient does not agree"
    return f"most of all: {worst}"


def _name(table: TileTable, code: int) -> str:
    return table.classes[code] if code >= 0 else "none"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"

"""Append-only decisions in the store: written by runs of `clean`, undone by further entries, read for the tiles of now.

::

    tiles.zarr/decisions/<run>/<slide>/    the columns of Decisions; attributes of the run: about, slides, place
    tiles.zarr/undone/<UTC time>-<6 hex>/  attributes: run, undone (false brings it back), who, when
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import EVERY_CHUNK, TileStore, TileTable
from w2wpath.w2wnet.decisions import (
    EXCLUDED,
    FLAGS,
    KEPT,
    REASONS,
    STATES,
    UNDECIDED,
    Decisions,
    Since,
    require_fresh,
)
from w2wpath.w2wnet.journal import entries, next_entry
from w2wpath.w2wnet.verdicts import effective, ids_of, overlay, whole_column

__all__ = [
    "COLUMNS",
    "EXCLUDED",
    "FLAGS",
    "KEPT",
    "REASONS",
    "STATES",
    "UNDECIDED",
    "Decisions",
    "Since",
    "new_run",
    "read_decisions",
    "require_fresh",
    "runs",
    "undo_run",
    "undone_runs",
    "vote",
    "write_decisions",
]

COLUMNS = ("state", "reason", "votes", "fold", "severity", "score", "probs", "u", "unseen", "label", "area_share")
UNDONE = "undone"
_UNJUDGED = {"state": UNDECIDED, "reason": REASONS.index("no label"), "votes": -1, "fold": -1, "label": -1}
"""Values of a tile that a run has not seen; the others are NaN."""


def new_run() -> str:
    """Return a fresh run name: UTC time to the microsecond, so that names sort as runs began, and six hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"


def vote(votes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return states (n,) by majority of votes (n, folds); even votes are undecided."""
    out, stay = (votes == 1).sum(axis=1), (votes == 0).sum(axis=1)
    return np.where(out > stay, EXCLUDED, np.where(out < stay, KEPT, UNDECIDED)).astype(np.uint8)


def write_decisions(store: TileStore, table: TileTable, decisions: Decisions) -> None:
    """Add a run to the store; it appears whole, and nothing that was there changes.

    Raises
    ------
    DiskError
        There is no room.
    """
    place = 1 + max((_place(store, run) for run in entries(store, "decisions")), default=0)
    about = {"about": json.loads(json.dumps(decisions.about)), "slides": list(table.slides), "place": place}
    with store.publish(f"decisions/{decisions.run}") as folder:
        root = zarr.open_group(folder, mode="w", attributes=about)
        for index, slide in enumerate(table.slides):
            rows = np.flatnonzero(table.slide == index)
            group = root.create_group(slide)
            for name in COLUMNS:
                group.create_array(name, data=np.ascontiguousarray(getattr(decisions, name)[rows]), config=EVERY_CHUNK)
            group.create_array("tile_id", data=np.ascontiguousarray(table.tile_id[rows]), config=EVERY_CHUNK)


def runs(store: TileStore) -> list[str]:
    """Return the runs in the store, those that were undone too, in the order in which their decisions were written.

    That need not be the order of their names, in which they began: one that was interrupted may end after a later one.
    """
    return sorted(entries(store, "decisions"), key=lambda run: (_place(store, run), run))


def _place(store: TileStore, run: str) -> int:
    """Return the place of a run in that order, from 1; 0 where it is not known."""
    try:
        head = json.loads((store.path / "decisions" / run / "zarr.json").read_text("utf-8"))
        return int(head["attributes"]["place"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def undone_runs(store: TileStore) -> set[str]:
    """Return the runs that are undone at present: of the entries on a run the last one holds.

    Raises
    ------
    StoreError
        An entry is damaged.
    """
    last: dict[str, bool] = {}
    for name in entries(store, UNDONE):
        try:
            about = zarr.open_group(store.path / UNDONE / name, mode="r").attrs.asdict()
            last[str(about["run"])] = bool(about["undone"])
        except Exception as error:
            raise StoreError(
                f"{store.path}: the entry {UNDONE}/{name} cannot be read ({type(error).__name__}: {error}). "
                "Bring it back from a copy, or remove it and undo its run again."
            ) from error
    return {run for run, undone in last.items() if undone}


def undo_run(store: TileStore, run: str | None, who: str) -> tuple[str, bool]:
    """Undo a run by a further entry; undone already, it comes back. None takes the newest that is not undone.

    Returns
    -------
    tuple
        The run, and whether it is undone now.

    Raises
    ------
    RunError
        There is no such run, or None is left to undo.
    DiskError
        There is no room.
    """
    run = _found(store, run)
    undone = run not in undone_runs(store)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    with store.publish(f"{UNDONE}/{next_entry(store, UNDONE)}") as folder:
        zarr.open_group(folder, mode="w", attributes={"run": run, "undone": undone, "who": who, "when": when})
    return run, undone


def read_decisions(
    store: TileStore, table: TileTable, run: str | None = None, *, with_verdicts: bool = True
) -> Decisions:
    """Read a run's decisions in the order of `table`, tile by tile id; None takes the newest that is not undone.

    A tile whose label or area shares have changed since it was judged is stale and undecided, and keeps its scores; a
    labelled tile that the run did not judge is undecided. Of a class that the table no longer has the probabilities
    are left out.

    Parameters
    ----------
    with_verdicts
        Give what people said of a tile the last word.

    Raises
    ------
    RunError
        There is no run, or it shares no tile with the table: it belongs to another store.
    StoreError
        The run, or a verdict, is damaged.
    """
    run = _found(store, run)
    try:
        stored = _read(store, run)
        # runs of a store whose classes were never noted have those of now
        classes = tuple(stored.about.get("classes") or table.classes)
        match = _match(stored, table)
        if not (match >= 0).any():
            raise RunError(
                f"{store.path}: run {run} shares no tile with it, so it is the ledger of another store. "
                "Run `w2wpath clean` for this one."
            )
        decisions = _aligned(run, stored, classes, match, table)
    except RunError:
        raise
    except Exception as error:
        raise StoreError(
            f"{store.path}: the decisions of run {run} cannot be read ({type(error).__name__}: {error}). "
            "Run `w2wpath clean` again."
        ) from error
    return overlay(decisions, table, effective(store)) if with_verdicts else decisions


# aligning what is stored with the tiles of now ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Stored:
    """A run as it lies on disk: slides by name, and for each of its tiles the slide's index, the id and the columns."""

    about: Mapping[str, Any]
    slides: Sequence[str]
    slide: NDArray[np.intp]
    tile_id: NDArray[np.uint8]
    columns: Mapping[str, NDArray[Any]]


def _found(store: TileStore, run: str | None) -> str:
    known = runs(store)
    if not known:
        raise RunError(
            f"{store.path}: has no decisions yet. Run `w2wpath clean`; if one waits for you, `w2wpath status` says so."
        )
    if run is None:
        undone = undone_runs(store)
        if not (left := [one for one in known if one not in undone]):
            raise RunError(
                f"{store.path}: every run is undone ({', '.join(known)}). "
                "Bring one back with `w2wpath undo RUN`, or run `w2wpath clean`."
            )
        return left[-1]
    if run not in known:
        raise RunError(f"{store.path}: has no run {run!r}. Its runs are {', '.join(known)}.")
    return run


def _read(store: TileStore, run: str) -> _Stored:
    root = zarr.open_group(store.path / "decisions" / run, mode="r")
    attributes: dict[str, Any] = root.attrs.asdict()
    about: dict[str, Any] = attributes["about"]
    slides: list[str] = attributes.get("slides") or sorted(root.group_keys())
    ids = [whole_column(root, f"{slide}/tile_id") for slide in slides]
    columns = {name: np.concatenate([whole_column(root, f"{slide}/{name}") for slide in slides]) for name in COLUMNS}
    of_slide = np.repeat(np.arange(len(slides)), [len(own) for own in ids])
    if any(len(values) != len(of_slide) for values in columns.values()):
        raise ValueError("its columns are not equally long")
    return _Stored(about, slides, of_slide, np.concatenate(ids), columns)


def _match(stored: _Stored, table: TileTable) -> NDArray[np.intp]:
    """Return the stored row (n,) of each tile of the table, -1 for none."""
    if np.array_equal(stored.tile_id, table.tile_id):
        return np.arange(table.n)
    joined = stored.tile_id.tobytes()
    ids = [joined[at : at + 16] for at in range(0, len(joined), 16)]
    by_id = {one: i for i, one in enumerate(ids)}
    # copies of one slide under two names have the same ids: each keeps its own
    by_name = {(stored.slides[at], one): i for i, (at, one) in enumerate(zip(stored.slide.tolist(), ids, strict=True))}
    wanted = zip(table.slide.tolist(), ids_of(table), strict=True)
    rows = [by_name.get((table.slides[at], one), by_id.get(one, -1)) for at, one in wanted]
    return np.array(rows, dtype=np.intp)


def _aligned(
    run: str, stored: _Stored, classes: tuple[str, ...], match: NDArray[np.intp], table: TileTable
) -> Decisions:
    there = match >= 0
    columns = {name: _rows(values, match, _UNJUDGED.get(name, np.nan)) for name, values in stored.columns.items()}
    was_judged = columns["label"] >= 0
    lost = np.zeros(table.n, dtype=np.bool_)
    if classes != table.classes:
        columns["label"], columns["probs"], columns["area_share"], lost = _renamed(columns, classes, table.classes)
    other_share = (columns["area_share"] != table.area_share).any(axis=1) | lost
    stale = was_judged & ((columns["label"] != table.label) | other_share)
    new = ~was_judged & (table.label >= 0)
    columns["state"] = np.where(stale | new, UNDECIDED, columns["state"]).astype(np.uint8)
    reason = np.where(new, REASONS.index("new"), columns["reason"])
    columns["reason"] = np.where(stale, REASONS.index("stale"), reason).astype(np.uint8)
    gone = len(stored.tile_id) - len(np.unique(match[there]))
    unchanged = not (stale.any() or new.any() or gone) and bool(there.all())
    since = None if unchanged else Since(stale, np.zeros(table.n, dtype=np.bool_), table.label, gone)
    return Decisions(run=run, about=stored.about, since=since, **columns)


def _rows(values: NDArray[Any], match: NDArray[np.intp], absent: float) -> NDArray[Any]:
    """Return ``values[match]``, and `absent` where `match` is -1."""
    found = values[match]
    found[match < 0] = absent
    return np.asarray(found)


def _renamed(
    columns: Mapping[str, NDArray[Any]], classes: Sequence[str], now: Sequence[str]
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return label, probs and shares for the classes of `now`, and which tiles (n,) had a share of a lost class."""
    to_now = np.array([now.index(name) if name in now else -1 for name in classes], dtype=np.int16)
    label, probs, shares = columns["label"], columns["probs"], columns["area_share"]
    stay = to_now >= 0
    # a class that came later got no probability from networks that did not know it
    probs_now = np.where(np.isnan(probs[:, :1]), np.nan, np.zeros((len(probs), len(now)))).astype(np.float32)
    probs_now[:, to_now[stay]] = probs[:, : len(classes)][:, stay]
    shares_now = np.zeros((len(shares), len(now)), dtype=np.float32)
    shares_now[:, to_now[stay]] = shares[:, stay]
    lost = np.asarray((shares[:, ~stay] > 0).any(axis=1))
    return np.where(label >= 0, to_now[label], -1).astype(np.int16), probs_now, shares_now, lost

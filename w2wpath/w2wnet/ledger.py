"""Append-only decisions: which tiles a run keeps, excludes or leaves undecided, and why."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import EVERY_CHUNK, TileStore, TileTable
from w2wpath.w2wnet.journal import append, entries, read_whole
from w2wpath.w2wnet.verdicts import Verdict, read_verdicts, rows_of

KEPT, EXCLUDED, UNDECIDED = 0, 1, 2
STATES = ("kept", "excluded", "undecided")
REASONS = ("", "label", "uncertain", "tie", "no label", "focus", "background", "colour", "new", "stale", "review")
"""``label``: the draws name another class; ``uncertain``: they do not, but are not sure; ``tie``: the votes are even;
``no label``: the tile carries none and was not judged; ``focus``, ``background``, ``colour``: its image quality;
``new``: the run did not judge it; ``stale``: its label or shares changed after it was judged; ``review``: a reviewer
said so. Ledgers hold indices into this: add at the end only."""
FLAGS = ("", "uncertain", "focus", "background", "colour")
"""Why a tile would be masked on a slide of an unseen patient; "" where it would not."""
COLUMNS = ("state", "reason", "votes", "fold", "severity", "score", "probs", "u", "unseen", "label", "area_share")
UNDONE = "undone"


@dataclass(frozen=True)
class Decisions:
    """One run's decisions on the n tiles of a table.

    Attributes
    ----------
    state, reason
        (n,) uint8, indices into STATES and REASONS.
    votes
        (n, folds) int8: 1 the fold's Wise excludes the tile, 0 it keeps it, -1 the tile was not in its training side.
    fold
        (n,) int16 test fold, -1 where not judged.
    severity
        (n, 5) float32 for each of :data:`~w2wpath.w2wnet.decide.REASONS`: mean over the votes of how far the tile lies
        beyond the cut of that kind, which excludes above 1; NaN where not judged.
    score
        (n,) float32 mean over the votes of the worst severity; NaN where not judged.
    probs
        (n, k) float32 mean draw of the fold's Wise, which never saw the patient; NaN where not judged.
    u
        (n,) float32 out-of-fold predictive uncertainty of those draws; NaN where not judged.
    unseen
        (n, 4) float32 for each of ``FLAGS[1:]``: how far the tile lies beyond the cut at which it would be masked on a
        slide, judged without its label by what never saw the patient; NaN where not judged.
    label, area_share
        (n,) int16 and (n, C) float32: the label and shares that were judged.
    about
        Settings, fold table, thresholds, stop records, hash of the store.
    stale
        (n,) bool: the run, or the reviewer, judged another label or other shares than the tile has now. Not stored.
    trained_as
        (n,) int16 labels to train on, where they may be others than those that were judged. Not stored.
    gone
        Number of tiles that the run judged and the store no longer has. Not stored.
    """

    run: str
    state: NDArray[np.uint8]
    reason: NDArray[np.uint8]
    votes: NDArray[np.int8]
    fold: NDArray[np.int16]
    severity: NDArray[np.float32]
    score: NDArray[np.float32]
    probs: NDArray[np.float32]
    u: NDArray[np.float32]
    unseen: NDArray[np.float32]
    label: NDArray[np.int16]
    area_share: NDArray[np.float32]
    about: Mapping[str, Any]
    stale: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    trained_as: NDArray[np.int16] | None = None
    gone: int = 0

    def __post_init__(self) -> None:
        """Let no tile be stale where nothing else was said."""
        if not self.stale.size:
            object.__setattr__(self, "stale", np.zeros(len(self.state), dtype=np.bool_))

    @property
    def training_label(self) -> NDArray[np.int16]:
        """The label (n,) to train on: the tile's own or, where a reviewer gave it another, that; -1 for none."""
        return self.label if self.trained_as is None else self.trained_as

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which tiles (n,) carried a label and were judged."""
        return np.asarray(self.label >= 0)

    @property
    def predicted(self) -> NDArray[np.int16]:
        """The class (n,) that the out-of-fold mean draw names, -1 where not judged."""
        named = np.nan_to_num(self.probs, nan=-1.0).argmax(axis=1)
        return np.where(self.judged, named, -1).astype(np.int16)

    @property
    def flag(self) -> NDArray[np.uint8]:
        """Index (n,) into FLAGS: the worst of `unseen` where it exceeds 1, else 0."""
        worst = np.nan_to_num(self.unseen, nan=0.0)
        return np.where(worst.max(axis=1) > 1.0, worst.argmax(axis=1) + 1, 0).astype(np.uint8)

    def for_training(self) -> NDArray[np.intp]:
        """Return the rows to train on: kept and undecided tiles that carry a label."""
        return np.flatnonzero((self.state != EXCLUDED) & (self.training_label >= 0))

    def counts(self) -> dict[str, int]:
        """Count the judged tiles by state."""
        judged = self.label >= 0
        return {name: int((judged & (self.state == code)).sum()) for code, name in enumerate(STATES)}


def new_run() -> str:
    """Return a fresh run name: UTC time and six hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


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
    with store.publish(f"decisions/{decisions.run}") as folder:
        about = json.loads(json.dumps(decisions.about))
        root = zarr.open_group(folder, mode="w", attributes={"about": about, "slides": list(table.slides)})
        for index, slide in enumerate(table.slides):
            rows = np.flatnonzero(table.slide == index)
            group = root.create_group(slide)
            for name in COLUMNS:
                group.create_array(name, data=np.ascontiguousarray(getattr(decisions, name)[rows]), config=EVERY_CHUNK)
            group.create_array("tile_id", data=np.ascontiguousarray(table.tile_id[rows]), config=EVERY_CHUNK)


def runs(store: TileStore) -> list[str]:
    """Return the runs in the store, oldest first, undone or not."""
    home = store.path / "decisions"
    return sorted(entry.name for entry in home.iterdir() if entry.is_dir()) if home.is_dir() else []


def undone_runs(store: TileStore) -> list[str]:
    """Return the runs that were undone and not redone, in the order in which they were."""
    undone: dict[str, None] = {}
    for entry in entries(store, UNDONE):
        undone.pop(entry.about["run"], None)
        if entry.about["undone"]:
            undone[entry.about["run"]] = None
    return list(undone)


def undo_run(store: TileStore, run: str | None, who: str) -> str:
    """Add the word that a run does not count (None: the newest that does) and return its name; nothing else changes.

    Raises
    ------
    RunError
        There is no such run, or it is undone already.
    """
    known, undone = _known_runs(store), undone_runs(store)
    run = _named(store, known, run) if run else _newest(store, known, undone)
    if run in undone:
        raise RunError(f"{store.path}: run {run} is undone already. `w2wpath undo {run} --redo` takes that back.")
    append(store, UNDONE, {"run": run, "undone": True, "who": who}, {})
    return run


def redo_run(store: TileStore, run: str | None, who: str) -> str:
    """Add the word that an undone run counts again (None: the one undone last) and return its name.

    Raises
    ------
    RunError
        There is no such run, or it is not undone.
    """
    known, undone = _known_runs(store), undone_runs(store)
    if run is None and not undone:
        raise RunError(f"{store.path}: no run is undone. Nothing was written.")
    run = _named(store, known, run) if run else undone[-1]
    if run not in undone:
        raise RunError(f"{store.path}: run {run} is not undone. Nothing was written.")
    append(store, UNDONE, {"run": run, "undone": False, "who": who}, {})
    return run


def read_decisions(
    store: TileStore, table: TileTable, run: str | None = None, *, with_verdicts: bool = True
) -> Decisions:
    """Read a run's decisions, matched to `table` by tile id; None takes the newest run that is not undone.

    Tiles that the run did not judge, or judged with another label or other shares, are undecided, as ``new`` or
    ``stale``; those that are gone are counted.

    Parameters
    ----------
    with_verdicts
        Put the verdicts of reviewers over what the run decided; one that was given on another label than the tile has
        now is not taken: the tile is stale.

    Raises
    ------
    RunError
        There is no run, or it judged the tiles of another store.
    StoreError
        The decisions are damaged.
    """
    known = _known_runs(store)
    run = _named(store, known, run) if run else _newest(store, known, undone_runs(store))
    about, columns = _stored(store, run)
    tile_id = columns.pop("tile_id")
    at = _matches(tile_id, table.tile_id)
    if not (at >= 0).any():
        raise RunError(
            f"{store.path}: run {run} judged tiles of another store: none of its {len(tile_id)} tiles is here. "
            "Run `w2wpath clean` again."
        )
    decisions = _aligned(run, about, columns, at, table)
    return _reviewed(decisions, table, read_verdicts(store)) if with_verdicts else decisions


def require_fresh(decisions: Decisions, allow_stale: bool) -> None:
    """Check that no label has changed since it was judged, unless that is allowed.

    Raises
    ------
    RunError
        Some have.
    """
    if decisions.stale.any() and not allow_stale:
        raise RunError(
            f"run {decisions.run}: {int(decisions.stale.sum())} tiles have another label, or other shares, than when "
            "they were judged. Run `w2wpath clean` again, and review again those that had a verdict; or pass "
            "--allow-stale to `w2wpath train` to train on the labels that they have now."
        )


def _known_runs(store: TileStore) -> list[str]:
    if known := runs(store):
        return known
    raise RunError(f"{store.path}: has not been cleaned. Run `w2wpath clean` first.")


def _named(store: TileStore, known: Sequence[str], run: str) -> str:
    if run in known:
        return run
    raise RunError(f"{store.path}: has no run {run!r}. Its runs are {', '.join(known)}.")


def _newest(store: TileStore, known: Sequence[str], undone: Sequence[str]) -> str:
    if current := [run for run in known if run not in undone]:
        return current[-1]
    raise RunError(
        f"{store.path}: every run is undone. Take that back with `w2wpath undo --redo`, or run `w2wpath clean`."
    )


def _stored(store: TileStore, run: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read what a run said of itself and its columns, tile_id too, slide after slide."""
    try:
        root = zarr.open_group(store.path / "decisions" / run, mode="r")
        attributes: dict[str, Any] = root.attrs.asdict()
        slides = attributes.get("slides") or sorted(root.group_keys())  # ledgers of before have no list
        columns = {
            name: np.concatenate([read_whole(root, f"{slide}/{name}") for slide in slides])
            for name in (*COLUMNS, "tile_id")
        }
        return attributes["about"], columns
    except Exception as error:
        raise StoreError(
            f"{store.path}: the decisions of run {run} cannot be read ({type(error).__name__}: {error}). "
            "Run `w2wpath clean` again."
        ) from error


def _matches(stored_id: NDArray[np.uint8], tile_id: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return for each row of `tile_id` (n, 16) the row of `stored_id` (m, 16) of the same id, -1 for none."""
    if np.array_equal(stored_id, tile_id):
        return np.arange(len(tile_id))
    row_of = {one.tobytes(): row for row, one in enumerate(stored_id)}
    return np.array([row_of.get(one.tobytes(), -1) for one in tile_id], dtype=np.intp)


def _aligned(
    run: str, about: Mapping[str, Any], columns: Mapping[str, NDArray[Any]], at: NDArray[np.intp], table: TileTable
) -> Decisions:
    """Take rows `at` of `columns`, none of those that are -1; mark what is new in `table` and what it has otherwise."""
    blank = {"u": UNDECIDED, "i": -1, "f": np.nan}
    found = {}
    for name, values in columns.items():
        found[name] = values[at]
        found[name][at < 0] = blank[values.dtype.kind]
    found["reason"][at < 0] = REASONS.index("no label")
    was_judged = found["label"] >= 0
    _renumber(found, about.get("classes", table.classes), table.classes)
    other = (found["label"] != table.label) | (found["area_share"] != table.area_share).any(axis=1)
    gone_class = found["label"] < 0
    stale, new = was_judged & (other | gone_class), ~was_judged & (table.label >= 0)
    found["state"][stale | new] = UNDECIDED
    for why, rows in (("stale", stale), ("new", new)):
        found["reason"][rows] = REASONS.index(why)
    gone = len(columns["label"]) - len(np.unique(at[at >= 0]))
    return Decisions(
        **{name: found[name] for name in COLUMNS}, run=run, about=about, stale=stale, trained_as=table.label, gone=gone
    )


def _renumber(found: dict[str, NDArray[Any]], was: Sequence[str], classes: Sequence[str]) -> None:
    """Give the columns the class numbers of `classes`; labels whose class is no longer there become -1."""
    if tuple(was) == tuple(classes):
        return
    now = [classes.index(name) if name in classes else -1 for name in was]
    found["label"] = np.array([*now, -1], dtype=np.int16)[found["label"]]
    for name in ("probs", "area_share"):
        values = found[name]
        moved = np.where(np.isnan(values).all(axis=1)[:, None], np.nan, np.zeros((1, len(classes))))
        for k, to in enumerate(now):
            if to >= 0:
                moved[:, to] = values[:, k]
        found[name] = moved.astype(values.dtype)


def _reviewed(decisions: Decisions, table: TileTable, verdicts: Mapping[bytes, Verdict]) -> Decisions:
    """Put the verdicts over the run's states; a tile whose verdict was given on another label is to be asked again."""
    state, reason, stale = decisions.state.copy(), decisions.reason.copy(), decisions.stale.copy()
    trained_as = decisions.training_label.copy()
    for row, verdict in rows_of(verdicts, table.tile_id):
        label = table.classes[table.label[row]] if table.label[row] >= 0 else ""
        lost = verdict.verdict == "relabel" and verdict.class_name not in table.classes
        stale[row] = lost or verdict.label != label
        reason[row] = REASONS.index("stale" if stale[row] else "review")
        state[row] = UNDECIDED if stale[row] else EXCLUDED if verdict.verdict == "exclude" else KEPT
        if verdict.verdict == "relabel" and not stale[row]:
            trained_as[row] = table.classes.index(verdict.class_name)
    return replace(decisions, state=state, reason=reason, stale=stale, trained_as=trained_as)

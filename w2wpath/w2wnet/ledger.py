"""Append-only decisions: which tiles a run keeps, excludes or leaves undecided, and why."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import EVERY_CHUNK, TileStore, TileTable

KEPT, EXCLUDED, UNDECIDED = 0, 1, 2
STATES = ("kept", "excluded", "undecided")
REASONS = ("", "label", "uncertain", "tie", "no label", "focus", "background", "colour")
"""``label``: the draws name another class; ``uncertain``: they do not, but are not sure; ``tie``: the votes are even;
``no label``: the tile carries none and was not judged; ``focus``, ``background``, ``colour``: its image quality."""
FLAGS = ("", "uncertain", "focus", "background", "colour")
"""Why a tile would be masked on a slide of an unseen patient; "" where it would not."""
COLUMNS = ("state", "reason", "votes", "fold", "severity", "score", "probs", "u", "unseen", "label", "area_share")


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
        return np.flatnonzero((self.state != EXCLUDED) & (self.label >= 0))

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
        root = zarr.open_group(folder, mode="w", attributes={"about": json.loads(json.dumps(decisions.about))})
        for index, slide in enumerate(table.slides):
            rows = np.flatnonzero(table.slide == index)
            group = root.create_group(slide)
            for name in COLUMNS:
                group.create_array(name, data=np.ascontiguousarray(getattr(decisions, name)[rows]), config=EVERY_CHUNK)
            group.create_array("tile_id", data=np.ascontiguousarray(table.tile_id[rows]), config=EVERY_CHUNK)


def runs(store: TileStore) -> list[str]:
    """Return the runs in the store, oldest first."""
    home = store.path / "decisions"
    return sorted(entry.name for entry in home.iterdir() if entry.is_dir()) if home.is_dir() else []


def read_decisions(store: TileStore, table: TileTable, run: str | None = None) -> Decisions:
    """Read a run's decisions in the order of `table`; None takes the newest.

    Raises
    ------
    RunError
        There is no run, or the store's tiles or labels have changed since.
    """
    known = runs(store)
    if not known:
        raise RunError(f"{store.path}: has not been cleaned. Run `w2wpath clean` first.")
    run = run or known[-1]
    if run not in known:
        raise RunError(f"{store.path}: has no run {run!r}. Its runs are {', '.join(known)}.")
    try:
        root = zarr.open_group(store.path / "decisions" / run, mode="r")
        attributes: dict[str, Any] = root.attrs.asdict()
        about: dict[str, Any] = attributes["about"]
        if about["store_hash"] != store.content_hash():
            raise RunError(
                f"{store.path}: its tiles or labels have changed since run {run}. Run `w2wpath clean` again."
            )
        columns = {
            name: np.concatenate([_column(root, f"{slide}/{name}") for slide in table.slides]) for name in COLUMNS
        }
    except RunError:
        raise
    except Exception as error:
        raise StoreError(
            f"{store.path}: the decisions of run {run} cannot be read ({type(error).__name__}: {error}). "
            "Run `w2wpath clean` again."
        ) from error
    return Decisions(run=run, about=about, **columns)


def _column(root: zarr.Group, name: str) -> NDArray[Any]:
    array = root[name]
    # zarr reads a lost file as zeros: every tile kept
    if not isinstance(array, zarr.Array) or array.nchunks_initialized < array.nchunks:
        raise FileNotFoundError(f"a file of {name} is missing")
    return np.asarray(array[...])

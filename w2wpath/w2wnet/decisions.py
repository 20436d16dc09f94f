"""What a run of `clean` decided on every tile, and what has changed since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import RunError

KEPT, EXCLUDED, UNDECIDED = 0, 1, 2
STATES = ("kept", "excluded", "undecided")
REASONS = (
    *("", "label", "uncertain", "tie", "no label", "focus", "background", "colour", "new", "stale", "review"),
    "vetoed",
)
"""Indices never change; new ones are appended.

``label``: what is read names another class; ``uncertain``: it does not, but is unsure; ``tie``: the votes are even;
``no label``: the tile carries none and was not judged; ``focus``, ``background``, ``colour``: its image quality;
``new``: labelled, but not judged by the run; ``stale``: judged with another label than it has now; ``review``: a person
said so; ``vetoed``: most networks that learned from it exclude it, and the one that never saw the patient names its
label."""
FLAGS = ("", "uncertain", "focus", "background", "colour")
"""Why a tile would be masked on a slide of an unseen patient; "" where it would not."""
COLUMNS = ("state", "reason", "votes", "fold", "severity", "score", "probs", "u", "unseen", "label", "area_share")


@dataclass(frozen=True)
class Since:
    """What has changed between a run and now, for the n tiles of a table.

    Attributes
    ----------
    relabelled
        (n,) bool: the tile was judged with another label or other area shares than it has now, and nobody has given a
        verdict on the present ones.
    asked_again
        (n,) bool: a person's verdict was given on another label than the tile has now.
    training_label
        (n,) int16: the class that a person named, else the label that the tile has now; -1 for none.
    gone
        Number of tiles that the run judged or saw and the table no longer has.
    """

    relabelled: NDArray[np.bool_]
    asked_again: NDArray[np.bool_]
    training_label: NDArray[np.int16]
    gone: int = 0


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
    since
        What has changed since the run; None for nothing. Found when reading, never stored.
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
    since: Since | None = None

    @property
    def stale(self) -> NDArray[np.bool_]:
        """Which tiles (n,) carry another label now than the one that the run, or a person, judged."""
        if self.since is None:
            return np.zeros(len(self.label), dtype=np.bool_)
        return self.since.relabelled | self.since.asked_again

    @property
    def training_label(self) -> NDArray[np.int16]:
        """The label (n,) to train with: the class that a person named, else the tile's own; -1 for none."""
        return self.label if self.since is None else self.since.training_label

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


def require_fresh(decisions: Decisions, allow_stale: bool | None = None) -> None:
    """Refuse decisions on labels that have changed since, unless `allow_stale`; None where nothing can allow them.

    Raises
    ------
    RunError
        It says how many the run judged with another label, and how many a person did.
    """
    since = decisions.since
    if allow_stale or since is None or not decisions.stale.any():
        return
    asked, relabelled = int(since.asked_again.sum()), int((since.relabelled & ~since.asked_again).sum())
    found = [
        f"{relabelled} tiles have other labels now than when they were judged (run `w2wpath clean` again)"
        * bool(relabelled),
        f"{asked} verdicts were given on other labels (give them again: `w2wpath review export`)" * bool(asked),
    ]
    or_not = "" if allow_stale is None else " Or pass --allow-stale to use them as they are."
    raise RunError(f"run {decisions.run}: {' and '.join(filter(None, found))}.{or_not}")

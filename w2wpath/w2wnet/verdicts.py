"""Verdicts of reviewers: an append-only log that outlives every run of cleaning; a batch can be taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import RunError, did_you_mean
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.journal import Entry, append, entries

HOME = "verdicts"
WORDS = ("keep", "exclude", "relabel")
ID_BYTES = 16


@dataclass(frozen=True)
class Verdict:
    """What a reviewer said of one tile.

    Attributes
    ----------
    tile_id
        The tile's 16 bytes.
    verdict
        One of WORDS.
    class_name
        The class that a relabel gives, "" for the others.
    label
        The class that the tile carried when it was looked at, "" for none.
    """

    tile_id: bytes
    verdict: str
    class_name: str
    label: str


@dataclass(frozen=True)
class Batch:
    """Verdicts that came in together, or (`undoes` not empty) the word that an earlier batch does not count.

    `counts` says whether the batch counts: no later one that counts undoes it.
    """

    name: str
    verdicts: tuple[Verdict, ...]
    who: str
    when: str
    source: str
    undoes: str
    counts: bool


def append_verdicts(store: TileStore, verdicts: Sequence[Verdict], who: str, source: str) -> str:
    """Add a batch of verdicts to the log and return its name; of two on one tile the later counts.

    Raises
    ------
    RunError
        There are none, or one makes no sense.
    DiskError
        There is no room.
    """
    if not verdicts:
        raise RunError(f"{source}: holds no verdict. Nothing was written.")
    classes = _classes(store)
    for number, verdict in enumerate(verdicts, 1):
        _check(verdict, classes, f"{source}: verdict {number}")
    words = tuple(dict.fromkeys(name for one in verdicts for name in (one.class_name, one.label)))
    number_of = {name: number for number, name in enumerate(words)}
    arrays: dict[str, NDArray[Any]] = {
        "tile_id": np.frombuffer(b"".join(one.tile_id for one in verdicts), dtype=np.uint8).reshape(-1, ID_BYTES),
        "verdict": np.array([WORDS.index(one.verdict) for one in verdicts], dtype=np.uint8),
        "class": np.array([number_of[one.class_name] for one in verdicts], dtype=np.int32),
        "label": np.array([number_of[one.label] for one in verdicts], dtype=np.int32),
    }
    about = {"who": who, "source": source, "undoes": "", "verdicts": list(WORDS), "names": list(words)}
    return append(store, HOME, about, arrays)


def undo_batch(store: TileStore, batch: str, who: str) -> str:
    """Add the word that `batch` does not count; undoing that word again makes the batch count.

    Raises
    ------
    RunError
        There is no such batch, or it does not count already.
    """
    counts = {one.name: one.counts for one in batches(store)}
    if batch not in counts:
        known = f"Its batches are {', '.join(counts)}." if counts else "It has none."
        raise RunError(f"{store.path}: has no batch of verdicts {batch!r}. {known}")
    if not counts[batch]:
        raise RunError(f"{store.path}: the batch of verdicts {batch} is undone already. Nothing was written.")
    about = {"who": who, "source": "undo", "undoes": batch, "verdicts": list(WORDS), "names": []}
    return append(store, HOME, about, {})


def batches(store: TileStore) -> list[Batch]:
    """Return every batch of the log, oldest first, whether it counts or not.

    Raises
    ------
    StoreError
        One is damaged.
    """
    found = entries(store, HOME)
    undone: set[str] = set()
    for entry in reversed(found):  # only later ones can undo, so whether the later ones count is known
        if entry.name not in undone:
            undone.add(str(entry.about["undoes"]))
    return [_batch(entry, entry.name not in undone) for entry in found]


def read_verdicts(store: TileStore) -> dict[bytes, Verdict]:
    """Return the verdict that counts for each tile, by its 16 bytes: the latest of the batches that are not undone.

    Raises
    ------
    StoreError
        A batch is damaged.
    """
    return {one.tile_id: one for batch in batches(store) if batch.counts for one in batch.verdicts}


def _batch(entry: Entry, counts: bool) -> Batch:
    about, said = entry.about, entry.arrays
    verdicts = (
        Verdict(tile_id.tobytes(), about["verdicts"][verdict], about["names"][class_name], about["names"][label])
        for tile_id, verdict, class_name, label in zip(
            *(said.get(name, ()) for name in ("tile_id", "verdict", "class", "label")), strict=True
        )
    )
    return Batch(entry.name, tuple(verdicts), about["who"], about["when"], about["source"], about["undoes"], counts)


def _classes(store: TileStore) -> list[str]:
    return sorted({str(name) for slide in store.slides() for name in store.attributes(slide)["classes"]})


def _check(verdict: Verdict, classes: Sequence[str], where: str) -> None:
    if len(verdict.tile_id) != ID_BYTES:
        raise RunError(f"{where}: a tile id has {ID_BYTES} bytes, this one {len(verdict.tile_id)}. Check the file.")
    if verdict.verdict not in WORDS:
        hint = did_you_mean(verdict.verdict, WORDS)
        raise RunError(f"{where}: must be one of {', '.join(WORDS)}; got {verdict.verdict!r}.{hint}")
    if verdict.verdict != "relabel" and verdict.class_name:
        raise RunError(f"{where}: {verdict.verdict} takes no class; got {verdict.class_name!r}. Leave it out.")
    if verdict.verdict == "relabel" and verdict.class_name not in classes:
        hint = did_you_mean(verdict.class_name, classes)
        raise RunError(
            f"{where}: relabel needs one of the store's classes, {', '.join(classes)}; "
            f"got {verdict.class_name!r}.{hint}"
        )


def rows_of(verdicts: Mapping[bytes, Verdict], tile_id: NDArray[np.uint8]) -> list[tuple[int, Verdict]]:
    """Return the rows of `tile_id` (n, 16) uint8 that have a verdict, with it."""
    whole = tile_id.tobytes()
    ids = (whole[i : i + ID_BYTES] for i in range(0, len(whole), ID_BYTES))
    return [(row, verdicts[one]) for row, one in enumerate(ids) if one in verdicts]

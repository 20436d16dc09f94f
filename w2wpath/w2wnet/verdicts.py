"""What people said of tiles: an append-only log in the store, by tile id, so that it outlives every run of `clean`.

::

    tiles.zarr/verdicts/<UTC time>-<6 hex>/   one batch, published whole;
      who, when, source, undoes, names, n as attributes
      tile_id (m, 16) uint8   verdict (m,) uint8   class, label (m,) int16 into names, -1 for none
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import EVERY_CHUNK, TileStore, TileTable
from w2wpath.w2wnet.decisions import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions, Since
from w2wpath.w2wnet.journal import entries, next_entry

HOME = "verdicts"
VERDICTS = ("keep", "exclude", "relabel")
KEEP, EXCLUDE, RELABEL = VERDICTS


@dataclass(frozen=True)
class Verdict:
    """What a person said of one tile.

    Attributes
    ----------
    tile_id
        16 bytes.
    verdict
        One of VERDICTS.
    class_name
        The class that ``relabel`` names; "" for the others.
    label
        Name of the label that the person judged; "" where the tile had none.
    """

    tile_id: bytes
    verdict: str
    class_name: str
    label: str


@dataclass(frozen=True)
class Batch:
    """Verdicts that came together, or the undoing of an earlier batch (`undoes`, then without verdicts)."""

    name: str
    who: str
    when: str
    source: str
    undoes: str
    verdicts: tuple[Verdict, ...]


def append_verdicts(store: TileStore, verdicts: Sequence[Verdict], *, who: str, source: str) -> str:
    """Add a batch to the log and return its name; it appears whole, and nothing that was there changes.

    Raises
    ------
    DiskError
        There is no room.
    """
    if not verdicts:
        raise ValueError("a batch needs a verdict")
    return _publish(store, Batch(next_entry(store, HOME), who, _now(), source, "", tuple(verdicts)))


def undo_batch(store: TileStore, name: str, who: str) -> Batch:
    """Undo a batch by a further entry, which is returned; undone already, it comes back.

    Raises
    ------
    RunError
        There is no such batch.
    """
    batches = read_batches(store)
    if name not in (known := [batch.name for batch in batches]):
        said = f"Its batches are {', '.join(known)}." if known else "It has none."
        raise RunError(f"{store.path}: has no batch of verdicts {name!r}. {said}")
    # where it is undone already, what undid it is what has to be undone
    target = next((one.name for one in counting(batches) if one.undoes == name), name)
    entry = Batch(next_entry(store, HOME), who, _now(), "undo", target, ())
    _publish(store, entry)
    return entry


def read_batches(store: TileStore) -> list[Batch]:
    """Return every batch, oldest first, whether it counts or not.

    Raises
    ------
    StoreError
        One is damaged: it must not be passed over, since it may hold what a person decided.
    """
    return [_read(store, name) for name in entries(store, HOME)]


def counting(batches: Sequence[Batch]) -> list[Batch]:
    """Return the batches, oldest first, that no later batch which itself counts has undone."""
    undone: set[str] = set()
    found: list[Batch] = []
    for batch in reversed(batches):
        if batch.name not in undone:
            undone.add(batch.undoes)
            found.append(batch)
    return found[::-1]


def latest(batches: Iterable[Batch]) -> dict[bytes, Verdict]:
    """Return the last verdict on each tile id."""
    return {one.tile_id: one for batch in batches for one in batch.verdicts}


def effective(store: TileStore) -> dict[bytes, Verdict]:
    """Return the verdict that holds for each tile id: the latest of the batches that are not undone.

    Raises
    ------
    StoreError
        A batch is damaged.
    """
    return latest(counting(read_batches(store)))


def standing(batches: Sequence[Batch]) -> list[str]:
    """Return the names of the batches whose verdicts count."""
    return [batch.name for batch in counting(batches) if batch.verdicts]


def ids_of(table: TileTable) -> list[bytes]:
    """Return the 16 bytes of every tile id of a table."""
    joined = table.tile_id.tobytes()
    return [joined[at : at + 16] for at in range(0, len(joined), 16)]


def overlay(decisions: Decisions, table: TileTable, given: Mapping[bytes, Verdict]) -> Decisions:
    """Return decisions in which a person has the last word.

    A verdict on a label that the tile no longer has is not applied: the tile is undecided and stale, to be asked again.
    """
    rows = [(i, given[one]) for i, one in enumerate(ids_of(table)) if one in given] if given else []
    if not rows:
        return decisions
    state, reason = decisions.state.copy(), decisions.reason.copy()
    label, relabelled = decisions.training_label.copy(), decisions.stale
    asked = np.zeros(table.n, dtype=np.bool_)
    for i, one in rows:
        now = table.classes[table.label[i]] if table.label[i] >= 0 else ""
        if one.label != now or (one.verdict == RELABEL and one.class_name not in table.classes):
            state[i], reason[i], asked[i] = UNDECIDED, REASONS.index("stale"), True
            continue
        state[i], reason[i] = EXCLUDED if one.verdict == EXCLUDE else KEPT, REASONS.index("review")
        relabelled[i] = False
        if one.verdict == RELABEL:
            label[i] = table.classes.index(one.class_name)
    gone = 0 if decisions.since is None else decisions.since.gone
    return replace(decisions, state=state, reason=reason, since=Since(relabelled, asked, label, gone))


# on disk ------------------------------------------------------------------------------------------------------------


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _publish(store: TileStore, batch: Batch) -> str:
    names = sorted({name for one in batch.verdicts for name in (one.class_name, one.label)} - {""})
    about: dict[str, Any] = {
        "who": batch.who,
        "when": batch.when,
        "source": batch.source,
        "undoes": batch.undoes,
        "names": names,
        "n": len(batch.verdicts),
    }
    with store.publish(f"{HOME}/{batch.name}") as folder:
        root = zarr.open_group(folder, mode="w", attributes=about)
        for name, values in _columns(batch.verdicts, names).items() if batch.verdicts else ():
            root.create_array(name, data=values, config=EVERY_CHUNK)
    return batch.name


def _columns(verdicts: Sequence[Verdict], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    code = {"": -1, **{name: i for i, name in enumerate(names)}}
    return {
        "tile_id": np.frombuffer(b"".join(one.tile_id for one in verdicts), dtype=np.uint8).reshape(-1, 16),
        "verdict": np.array([VERDICTS.index(one.verdict) for one in verdicts], dtype=np.uint8),
        "class": np.array([code[one.class_name] for one in verdicts], dtype=np.int16),
        "label": np.array([code[one.label] for one in verdicts], dtype=np.int16),
    }


def _read(store: TileStore, name: str) -> Batch:
    try:
        root = zarr.open_group(store.path / HOME / name, mode="r")
        about: dict[str, Any] = root.attrs.asdict()
        n, names = int(about["n"]), [*about["names"], ""]  # -1 takes the last
        verdicts: tuple[Verdict, ...] = ()
        if n:
            ids, *codes = (whole_column(root, one) for one in ("tile_id", "verdict", "class", "label"))
            if {len(ids), *map(len, codes)} != {n} or max(codes[1].max(), codes[2].max()) >= len(names) - 1:
                raise ValueError("its columns do not fit together")
            verdicts = tuple(
                Verdict(one.tobytes(), VERDICTS[verdict], names[class_], names[label])
                for one, verdict, class_, label in zip(ids, *(column.tolist() for column in codes), strict=True)
            )
        return Batch(name, about["who"], about["when"], about["source"], about["undoes"], verdicts)
    except Exception as error:
        # zarr and its codecs raise many kinds for damaged bytes; all of them mean the same to a user
        raise StoreError(
            f"{store.path}: the verdicts of batch {name} cannot be read ({type(error).__name__}: {error}). "
            f"Bring {store.path / HOME / name} back from a copy, or remove it and import its verdicts again."
        ) from error


def whole_column(root: zarr.Group, name: str) -> NDArray[Any]:
    """Return an array of a group.

    Raises
    ------
    FileNotFoundError
        A file of it is lost, which zarr would read as zeros.
    """
    array = root[name]
    if not isinstance(array, zarr.Array) or array.nchunks_initialized < array.nchunks:
        raise FileNotFoundError(f"a file of {name} is missing")
    return np.asarray(array[...])

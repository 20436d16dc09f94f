"""A blinded audit: a random mix of kept and excluded tiles, whose verdicts say how often cleaning was right."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ReviewError
from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, Decisions, runs
from w2wpath.w2wnet.metrics import Estimate, wilson
from w2wpath.w2wnet.review import as_csv, tile_uuid, where
from w2wpath.w2wnet.verdicts import KEEP, counting, latest, read_batches

STRATA = ("excluded", "kept")
"""An undecided tile stays in training, so it is drawn, and missed, with the kept."""
HEADER = ("tile_id", "slide", "x0", "y0", "side0", "label", "audit", "verdict", "class")
SOURCE = "audit "
"""Batches of verdicts whose source begins so belong to the audit of the name that follows."""


@dataclass(frozen=True)
class Audit:
    """Which tiles were drawn, by stratum, and how many each stratum has.

    Attributes
    ----------
    rows
        (n,) rows of the table in the random order in which they are shown.
    stratum
        (n,) names, of :data:`STRATA`.
    population
        Number of tiles by stratum.
    """

    name: str
    run: str
    seed: int
    rows: NDArray[np.intp]
    stratum: tuple[str, ...]
    population: dict[str, int]

    def drawn(self) -> dict[str, int]:
        """Count the drawn tiles by stratum."""
        return {name: self.stratum.count(name) for name in STRATA}


@dataclass(frozen=True)
class Scored:
    """What an audit found.

    Attributes
    ----------
    precision
        Share of the excluded tiles that the reader found spurious, with Wilson's 95 % interval.
    missed
        Share of the kept tiles that the reader found spurious, likewise.
    sensitivity
        Share of all spurious tiles that are excluded, from both shares weighted by the sizes of their strata; low and
        high are spanned by the ends of the two intervals.
    """

    name: str
    run: str
    asked: int
    answered: int
    precision: Estimate
    missed: Estimate
    sensitivity: Estimate


def draw_audit(decisions: Decisions, name: str, n: int, seed: int) -> Audit:
    """Draw `n` tiles at random, half of them excluded and half kept, or more of one where the other has too few.

    Undecided tiles count as kept; those that are stale or were not judged are not drawn.

    Raises
    ------
    ReviewError
        There is no tile to draw.
    """
    random = np.random.default_rng(seed)
    fresh = decisions.judged & ~decisions.stale
    gone = decisions.state == EXCLUDED
    pools = {"excluded": np.flatnonzero(fresh & gone), "kept": np.flatnonzero(fresh & ~gone)}
    excluded, kept = map(len, pools.values())
    few = min(n // 2, excluded)
    of_kept = min(n - few, kept)
    of_excluded = min(n - of_kept, excluded)
    sizes = (("excluded", of_excluded), ("kept", of_kept))
    if of_excluded + of_kept == 0:
        raise ReviewError(f"run {decisions.run}: has no tile to audit. Run `w2wpath clean` again.")
    drawn = [random.choice(pools[name], size, replace=False) for name, size in sizes]
    rows, strata = np.concatenate(drawn), np.repeat(STRATA, [size for _, size in sizes])
    order = random.permutation(len(rows))
    population = {stratum: len(pool) for stratum, pool in pools.items()}
    return Audit(name, decisions.run, seed, rows[order], tuple(strata[order].tolist()), population)


def write_audit(path: Path, table: TileTable, audit: Audit) -> None:
    """Write the table that the reader fills in; it says nothing of what was decided.

    Raises
    ------
    DiskError
        There is no room.
    """
    lines = ([*_without_patient(where(table, i)), audit.name, "", ""] for i in audit.rows.tolist())
    write_whole(path, as_csv(HEADER, lines))


def write_key(path: Path, table: TileTable, audit: Audit) -> None:
    """Write what the reader must not see: the stratum of each tile, and what a tile of each stratum stands for.

    Raises
    ------
    DiskError
        There is no room.
    """
    drawn = audit.drawn()
    strata = {
        name: {"tiles": size, "drawn": drawn[name], "weight": size / drawn[name] if drawn[name] else None}
        for name, size in audit.population.items()
    }
    ids = [str(tile_uuid(table, i)) for i in audit.rows.tolist()]
    key = {"audit": audit.name, "run": audit.run, "seed": audit.seed, "strata": strata}
    write_whole(path, json.dumps({**key, "tiles": dict(zip(ids, audit.stratum, strict=True))}, indent=1) + "\n")


def keys(store: TileStore) -> dict[str, Path]:
    """Return the keys of the audits of a store's runs, below ``clean/`` beside it, by name, oldest first."""
    of_runs = [store.path.parent / "clean" / run for run in runs(store)]
    found = {path.stem.removeprefix("audit-"): path for folder in of_runs for path in folder.glob("audit-*.json")}
    return dict(sorted(found.items()))


def score_audit(store: TileStore, key: Path) -> Scored:
    """Score the verdicts that were given in an audit: keep says that a tile is good, the others that it is spurious.

    Raises
    ------
    ReviewError
        The key is not readable.
    StoreError
        A verdict is damaged.
    """
    about = _read_key(key)
    own = [batch for batch in counting(read_batches(store)) if batch.source == f"{SOURCE}{about['audit']}"]
    said = {one.hex(): verdict.verdict != KEEP for one, verdict in latest(own).items()}
    answers = [
        (stratum, said[hex_]) for one, stratum in about["tiles"].items() if (hex_ := one.replace("-", "")) in said
    ]
    of = {name: [spurious for stratum, spurious in answers if stratum == name] for name in STRATA}
    precision, missed = (wilson(sum(of[name]), len(of[name])) for name in STRATA)
    sizes = {name: int(about["strata"][name]["tiles"]) for name in STRATA}
    return Scored(
        about["audit"],
        about["run"],
        len(about["tiles"]),
        len(answers),
        precision,
        missed,
        sensitivity(precision, missed, sizes["excluded"], sizes["kept"]),
    )


def sensitivity(precision: Estimate, missed: Estimate, excluded: int, kept: int) -> Estimate:
    """Estimate the share of spurious tiles that are excluded, of so many excluded and kept ones.

    NaN where a stratum has tiles and no answer, or nothing spurious was found.
    """

    def share(found: float, lost: float) -> float:
        hits, misses = (size * rate if size else 0.0 for size, rate in ((excluded, found), (kept, lost)))
        return hits / (hits + misses) if hits + misses > 0 else float("nan")

    low, high = share(precision.low, missed.high), share(precision.high, missed.low)
    return Estimate(share(precision.value, missed.value), low, high, precision.n + missed.n)


def _without_patient(cells: list[Any]) -> list[Any]:
    return [*cells[:2], *cells[3:]]


def _read_key(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if not {"audit", "run", "strata", "tiles"} <= found.keys() or not set(STRATA) <= found["strata"].keys():
            raise ValueError("parts of it are missing")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ReviewError(
            f"{path}: the key of the audit cannot be read ({error}). Bring it back from a copy."
        ) from None
    return found

"""What has been read of a slide so far: kept on disk now and then, so that an interrupted run goes on."""

from __future__ import annotations

import io
import time
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import writing
from w2wpath.provenance import write_whole
from w2wpath.w2wnet.domain import OF_TILE
from w2wpath.w2wnet.quality import FEATURES

KEPT_EVERY_S = 20.0


@dataclass(frozen=True)
class Said:
    """What networks and pixels say of the m tiles that are to be read, in the order of reading; filled in row by row.

    Attributes
    ----------
    probs_nk
        (m, k) float32 of Wiped.
    u, epistemic
        (m,) float32 of Wise.
    draws
        (m,) uint16 passes of Wise.
    wise
        (m,) int16 class that Wise names.
    hinges
        (m,) bool: whether the class changes where a tile is stained otherwise; not asked where it is uncertain anyway.
    quality_nf, stain_nf
        (m, f) float32 image-quality features, and statistics of the slide's domain.
    read
        (m,) bool: which rows hold something.
    """

    probs_nk: NDArray[np.float32]
    u: NDArray[np.float32]
    epistemic: NDArray[np.float32]
    draws: NDArray[np.uint16]
    wise: NDArray[np.int16]
    hinges: NDArray[np.bool_]
    quality_nf: NDArray[np.float32]
    stain_nf: NDArray[np.float32]
    read: NDArray[np.bool_]

    @classmethod
    def empty(cls, m: int, k: int) -> Said:
        """Return rows for `m` tiles and `k` classes, none of which holds anything."""
        return cls(
            np.zeros((m, k), dtype=np.float32),
            np.zeros(m, dtype=np.float32),
            np.zeros(m, dtype=np.float32),
            np.zeros(m, dtype=np.uint16),
            np.zeros(m, dtype=np.int16),
            np.zeros(m, dtype=np.bool_),
            np.zeros((m, len(FEATURES)), dtype=np.float32),
            np.zeros((m, OF_TILE), dtype=np.float32),
            np.zeros(m, dtype=np.bool_),
        )


class Notebook:
    """Keeps rows of :class:`Said` in one file, for a run of the same slide, model and settings.

    Parameters
    ----------
    path
        The file; it appears by rename, and :meth:`close` removes it.
    key
        Tells runs apart: rows of another key are not taken up.
    every_s
        Seconds between two keepings; None takes KEPT_EVERY_S.
    """

    def __init__(self, path: Path, key: str, *, every_s: float | None = None) -> None:
        self._path, self._key = path, key
        self._every_s = KEPT_EVERY_S if every_s is None else every_s
        self._kept_at = time.monotonic()

    def recall(self, said: Said) -> int:
        """Fill in what an interrupted run has read; return how many rows that are. A damaged file counts for none."""
        try:
            # a file of our own: numpy leaves the one that it opens itself open where it is damaged
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                found: dict[str, NDArray[Any]] = {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return 0
        rows = int(found.get("rows", np.zeros(())))
        names = [one.name for one in fields(said)]
        whole = all(name in found and len(found[name]) == rows for name in names) and rows <= len(said.read)
        if str(found.get("key")) != self._key or not whole:
            return 0
        for name in names:
            getattr(said, name)[:rows] = found[name]
        return rows

    def keep(self, said: Said, rows: int) -> None:
        """Keep the first `rows` rows, unless that was done a moment ago.

        Raises
        ------
        DiskError
            There is no room.
        """
        if time.monotonic() - self._kept_at < self._every_s:
            return
        buffer = io.BytesIO()
        parts = {one.name: getattr(said, one.name)[:rows] for one in fields(said)}
        np.savez(buffer, key=np.array(self._key), rows=np.array(rows), **parts)
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._path, buffer.getvalue())
        self._kept_at = time.monotonic()

    def close(self) -> None:
        """Remove the file: the run's results are there."""
        self._path.unlink(missing_ok=True)

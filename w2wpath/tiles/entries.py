"""Slides to tile: a cohort table, and what it says of each slide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from w2wpath.errors import CohortError, ConfigError, did_you_mean
from w2wpath.frames import ORIGINS
from w2wpath.tiles.tables import csv_rows

COLUMNS = ("slide", "rois", "patient", "slide_mpp", "origin", "cores")
NEEDED = ("slide", "rois")
T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One slide to tile: its file, its annotations, and what the user said of it."""

    slide: Path
    rois: Path
    patient: str | None = None
    slide_mpp: float | None = None
    origin: str | None = None
    cores: Path | None = None

    @property
    def name(self) -> str:
        """The slide's name in the store: its file stem."""
        return self.slide.stem


@dataclass(frozen=True)
class SlideEntry:
    """One slide to read with a model: its file, its annotations if there are any, and what the user said of it."""

    slide: Path
    rois: Path | None = None
    slide_mpp: float | None = None
    origin: str | None = None

    @property
    def name(self) -> str:
        """The slide's name in every output: its file stem."""
        return self.slide.stem


def read_cohort(path: Path) -> list[Entry]:
    """Read a cohort table: columns slide, rois and, if wanted, the others of `COLUMNS`; paths are relative to it.

    Raises
    ------
    CohortError
        The file is missing or empty, a column is missing or unknown, a cell is empty or wrong, or two slides
        share a file stem.
    """
    entries = [
        Entry(
            path.parent / row["slide"],
            path.parent / row["rois"],
            row["patient"] or None,
            _mpp(row, line, path),
            _origin(row, line, path),
            path.parent / row["cores"] if row["cores"] else None,
        )
        for line, row in _rows(path, NEEDED, "slide, rois, patient")
    ]
    refuse_equal_stems(entries, str(path))
    return entries


def read_slides(path: Path) -> list[SlideEntry]:
    """Read a table of slides: as :func:`read_cohort`, but only column slide is needed, and rois may be empty."""
    entries = [
        SlideEntry(
            path.parent / row["slide"],
            path.parent / row["rois"] if row["rois"] else None,
            _mpp(row, line, path),
            _origin(row, line, path),
        )
        for line, row in _rows(path, ("slide",), "slide, rois")
    ]
    refuse_equal_stems(entries, str(path))
    return entries


def _rows(path: Path, needed: Sequence[str], usual: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each line and its cells by column, stripped, empty where the table has no such column."""
    rows = csv_rows(path, "cohort", usual)
    if not rows:
        raise CohortError(f"{path}: holds no slide. Give one row per slide below the header {usual}.")
    for line, row in enumerate(rows, start=2):
        if None in row:
            raise CohortError(f"{path}: line {line}: has more cells than the header. Quote names that hold a comma.")
    for column in rows[0]:
        if column not in COLUMNS:
            hint = did_you_mean(str(column), COLUMNS)
            raise CohortError(f"{path}: column must be one of {', '.join(COLUMNS)}; got {column!r}.{hint}")
    missing = [column for column in needed if column not in rows[0]]
    if missing:
        raise CohortError(f"{path}: column {missing[0]!r} is missing. Give columns {usual}.")
    for line, row in enumerate(rows, start=2):
        cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
        for column in needed:
            if not cells[column]:
                raise CohortError(f"{path}: line {line}: {column} is empty. Give the file, relative to the table.")
        yield line, cells


def _mpp(row: Mapping[str, str], line: int, path: Path) -> float | None:
    text = row["slide_mpp"]
    try:
        mpp = float(text) if text else None
    except ValueError:
        mpp = -1.0
    if mpp is not None and not 0 < mpp < 1000:
        raise CohortError(
            f"{path}: line {line}: slide_mpp is {text!r}. Give um per pixel, like 0.25, or leave it empty."
        )
    return mpp


def _origin(row: Mapping[str, str], line: int, path: Path) -> str | None:
    origin = row["origin"] or None
    if origin not in (None, *ORIGINS):
        raise CohortError(f"{path}: line {line}: origin must be one of {', '.join(ORIGINS)}; got {origin!r}.")
    return origin


def refuse_equal_stems(entries: Sequence[Entry | SlideEntry], where: str) -> None:
    """Refuse two slides of one name.

    Raises
    ------
    CohortError
        Says which.
    """
    seen: dict[str, Entry | SlideEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if other is not entry:
            raise CohortError(
                f"{where}: {other.slide} and {entry.slide} share the name {entry.name!r}. "
                "Rename one of them: the file stem names the slide in the store."
            )


def shard(entries: Sequence[T], part: str) -> list[T]:
    """Return part ``i/N`` (1 to N) of the entries, for batch queues: every entry is in one part.

    Raises
    ------
    ConfigError
        `part` is not of this form.
    """
    number, _, of = part.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(f"--shard must be i/N with i from 1 to N, like 3/8; got {part!r}.")
    return list(entries[int(number) - 1 :: int(of)])

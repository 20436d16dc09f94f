"""Whose tile it is. Patient is a property of a tile: a slide of a tissue microarray holds many."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import CohortError, ConfigError, did_you_mean
from w2wpath.tiles.tables import csv_rows

COLUMNS = ("slide", "core", "patient")
Source = Literal["given", "regex", "cores", "slide name"]
Table = Mapping[tuple[str, str | None], str]
"""(slide, core) to patient; core None means all of the slide."""
SHOWN = 5
"""Cores that a message names before it counts the rest."""


@dataclass(frozen=True)
class PatientOf:
    """How the tiles of one slide find their patient.

    Attributes
    ----------
    name
        The patient of every tile; with `source` ``cores`` the slide's name, for tiles that lie in no core.
    source
        ``given``, ``regex``, ``cores`` (then `by_core` decides) or ``slide name``.
    by_core
        Core name to patient.
    where
        The table that `by_core` comes from, for a message.
    """

    name: str
    source: Source
    by_core: Mapping[str, str] = field(default_factory=dict)
    where: str = "the core table"

    def unknown(self, core: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Tell (n,) of which tiles the patient is not known: those in no core, where cores decide."""
        return np.asarray(core < 0) if self.source == "cores" else np.zeros(len(core), dtype=np.bool_)

    def assign(self, core: NDArray[np.int32], cores: Sequence[str]) -> tuple[list[str], NDArray[np.int32]]:
        """Return the patients of a slide's tiles, sorted, and each tile's index (n,) int32 into them.

        Parameters
        ----------
        core
            Index (n,) into `cores` of the core that holds each tile, or -1.

        Raises
        ------
        CohortError
            Cores decide, and the slide has none, or tiles lie in a core that has no patient.
        """
        if self.source != "cores":
            return [self.name], np.zeros(len(core), dtype=np.int32)
        if not cores:
            raise CohortError(
                f"{self.where}: names cores of slide {self.name!r}, but its annotations hold none. "
                "Export the TMA cores with the annotations, or leave the slide out of the table."
            )
        held = [cores[i] for i in np.unique(core[core >= 0])]
        self._require(list(dict.fromkeys(name for name in held if name not in self.by_core)))
        of_core = [self.by_core.get(name, self.name) for name in cores]
        of_tile = [of_core[i] if i >= 0 else self.name for i in core.tolist()]
        patients = sorted(set(of_tile))
        place = {name: i for i, name in enumerate(patients)}
        return patients, np.array([place[name] for name in of_tile], dtype=np.int32)

    def _require(self, unnamed: Sequence[str]) -> None:
        if unnamed:
            more = f" and {len(unnamed) - SHOWN} more" if len(unnamed) > SHOWN else ""
            raise CohortError(
                f"{self.where}: names no patient for core(s) {', '.join(unnamed[:SHOWN])}{more} of slide "
                f"{self.name!r}, which hold tiles. Add a row slide, core, patient for each, or mark them missing "
                "in QuPath."
            )


def patient_of(
    slide: str,
    *,
    given: str | None = None,
    pattern: str | None = None,
    table: Table | None = None,
    where: str = "the core table",
) -> PatientOf:
    """Find whose tiles a slide holds: a table that names it, else who was `given`, else `pattern`, else its name.

    Parameters
    ----------
    slide
        Its name in the store (file stem).
    pattern
        Regular expression of ``--patient-from``.
    table, where
        Of :func:`read_cores` or :func:`read_patient_map`, and the file's name for messages.

    Raises
    ------
    CohortError
        A patient was given, and the table names the slide too.
    ConfigError
        `pattern` is needed and finds nothing.
    """
    rows = {core: patient for (of_slide, core), patient in (table or {}).items() if of_slide == slide}
    if rows and given is not None:
        raise CohortError(f"{where}: names slide {slide!r}, whose patient is given too ({given!r}). Leave one out.")
    if None in rows:
        return PatientOf(rows[None], "given")
    by_core = {core: patient for core, patient in rows.items() if core is not None}
    if by_core:
        return PatientOf(slide, "cores", by_core, where)
    if given is not None:
        return PatientOf(given, "given")
    if pattern is not None:
        return PatientOf(patient_from_regex(slide, pattern), "regex")
    return PatientOf(slide, "slide name")


def patient_from_regex(slide: str, pattern: str) -> str:
    """Return what the first group of `pattern`, or all of it where it has no group, finds in a slide's name.

    Raises
    ------
    ConfigError
        `pattern` is no regular expression, or it finds nothing.
    """
    try:
        found = re.search(pattern, slide)
    except re.error as error:
        raise ConfigError(
            f"--patient-from: {pattern!r} is not a regular expression ({error}). Mend it; a group in parentheses "
            "marks the patient."
        ) from None
    patient = (found[1] if found.re.groups else found[0]) if found else None
    if not patient:
        raise ConfigError(
            f"--patient-from: {pattern!r} finds no patient in the slide name {slide!r}. "
            "Mend the pattern, or give this slide's patient with --patient or the cohort's column."
        )
    return patient


def read_cores(path: Path) -> dict[tuple[str, str | None], str]:
    """Read ``cores.csv``: columns slide (file stem), core, patient.

    Raises
    ------
    CohortError
        The file is missing or empty, a column is missing or unknown, a cell is empty, or a core has two patients.
    """
    return _read(path, "core", needed=COLUMNS)


def read_patient_map(path: Path) -> dict[tuple[str, str | None], str]:
    """Read a table of patients: columns slide (file stem), patient and, for slides of many, core.

    Raises
    ------
    CohortError
        As for :func:`read_cores`; also when a slide has rows with a core and rows without.
    """
    found = _read(path, "patient", needed=("slide", "patient"))
    whole, by_core = ({slide for slide, core in found if (core is None) is none} for none in (True, False))
    if both := sorted(whole & by_core):
        raise CohortError(
            f"{path}: slide {both[0]!r} has rows with a core and a row without. Name every core, or none."
        )
    return found


def require_slides(table: Table, known: Sequence[str], where: str) -> None:
    """Refuse a table that names a slide that is not there.

    Raises
    ------
    CohortError
        Says which, and the nearest name.
    """
    for slide in dict.fromkeys(slide for slide, _ in table):
        if slide not in known:
            raise CohortError(
                f"{where}: slide {slide!r} is not one of the {len(known)} slide(s) there are."
                f"{did_you_mean(slide, known)} Slides are named by their file stem."
            )


def _read(path: Path, what: str, needed: Sequence[str]) -> dict[tuple[str, str | None], str]:
    asked = ", ".join(COLUMNS)
    rows = csv_rows(path, what, asked)
    if not rows:
        raise CohortError(f"{path}: holds no {what}. Give rows below the header {asked}.")
    for column in rows[0]:
        if column is not None and column not in COLUMNS:
            raise CohortError(f"{path}: column must be one of {asked}; got {column!r}.{did_you_mean(column, COLUMNS)}")
    if missing := [column for column in needed if column not in rows[0]]:
        raise CohortError(f"{path}: column {missing[0]!r} is missing. Give columns {asked}.")
    found: dict[tuple[str, str | None], str] = {}
    for line, row in enumerate(rows, start=2):
        if None in row:
            raise CohortError(f"{path}: line {line}: has more cells than the header. Quote names that hold a comma.")
        cell = {column: (row.get(column) or "").strip() for column in COLUMNS}
        if empty := [column for column in needed if not cell[column]]:
            raise CohortError(f"{path}: line {line}: {empty[0]} is empty. Fill it in, or leave the row out.")
        key = (cell["slide"], cell["core"] or None)
        other = found.setdefault(key, cell["patient"])
        if other != cell["patient"]:
            which = f"core {key[1]!r} of slide {key[0]!r}" if key[1] else f"slide {key[0]!r}"
            raise CohortError(
                f"{path}: line {line}: {which} has patient {cell['patient']!r} here and {other!r} above. Keep one."
            )
    return found

"""Known truth of constructed data, for scoring only: nothing that trains or sets a threshold may import this."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import TruthError
from w2wpath.tiles.store import TileTable

NEEDED = ("slide", "x0", "y0", "content", "spurious", "kind")
WRONG_LABEL = "label"
"""How the kinds begin that leave no trace in the image."""


@dataclass(frozen=True)
class Truth:
    """What is known of the n tiles of a table; `known` tells which of them the truth table names.

    Attributes
    ----------
    known, spurious
        (n,) bool.
    kind
        (n,) str: why a tile is spurious, "" where it is good.
    content
        (n,) str: the class that the pixels truly show, "" where they show none of the classes.
    """

    known: NDArray[np.bool_]
    spurious: NDArray[np.bool_]
    kind: NDArray[np.str_]
    content: NDArray[np.str_]

    @property
    def of_image(self) -> NDArray[np.bool_]:
        """Which tiles (n,) are spurious by a fault of the image: a wrong label leaves no trace in one."""
        return self.spurious & ~np.char.startswith(self.kind, WRONG_LABEL)


def read_truth(path: Path, table: TileTable) -> Truth:
    """Read a truth table (columns slide, x0, y0, content, spurious, kind; level-0 pixels) for the tiles of `table`.

    Raises
    ------
    TruthError
        The file is missing, lacks a column, has another value than 0 or 1 for spurious, says two things of one tile,
        or names none of the tiles.
    """
    rows = read_rows(path)
    nothing: Mapping[str, str] = {"spurious": "0", "kind": "", "content": ""}
    keys = [
        (table.slides[slide], int(x0), int(y0)) for slide, x0, y0 in zip(table.slide, table.x0, table.y0, strict=True)
    ]
    known = np.array([key in rows for key in keys])
    if not known.any():
        raise TruthError(f"{path}: names none of the tiles of this store. Check that they belong together.")
    found = [rows.get(key, nothing) for key in keys]
    return Truth(
        known=known,
        spurious=np.array([row["spurious"] == "1" for row in found]),
        kind=np.array([row["kind"] for row in found]),
        content=np.array([row["content"] for row in found]),
    )


def read_rows(path: Path) -> Mapping[tuple[str, int, int], Mapping[str, str]]:
    """Read the rows of a truth table by slide, x0 and y0; raises as :func:`read_truth` does."""
    rows: dict[tuple[str, int, int], Mapping[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
            if missing:
                raise TruthError(f"{path}: column {missing[0]!r} is missing. Give columns {', '.join(NEEDED)}.")
            for row in reader:
                key = row["slide"], int(row["x0"]), int(row["y0"])
                said = {name: row[name] for name in ("content", "spurious", "kind")}
                if rows.setdefault(key, said) != said:
                    raise TruthError(
                        f"{path}: line {reader.line_num}: says something else of the tile of {key[0]} at "
                        f"{key[1]}, {key[2]} than a line above. Leave one of them."
                    )
        unclear = next((row["spurious"] for row in rows.values() if row["spurious"] not in ("0", "1")), None)
        if unclear is not None:
            raise TruthError(f"{path}: spurious must be 0 or 1; got {unclear!r}. Mend the table.")
    except FileNotFoundError:
        raise TruthError(f"{path}: no such truth table. Check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, TruthError):
            raise
        raise TruthError(f"{path}: not a readable truth table ({error}). Save it as UTF-8 CSV.") from None
    return rows

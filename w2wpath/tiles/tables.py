"""Rows of a CSV that a user wrote."""

from __future__ import annotations

import csv
from pathlib import Path

from w2wpath.errors import CohortError


def csv_rows(path: Path, what: str, columns: str) -> list[dict[str, str | None]]:
    """Return the rows of a CSV in UTF-8, with or without a mark; `what` and `columns` name the table in messages.

    Raises
    ------
    CohortError
        The file is missing, or is no CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    except FileNotFoundError:
        raise CohortError(f"{path}: no such {what} table. Give a CSV with columns {columns}.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{path}: not a readable CSV ({error}). Save it as UTF-8, comma separated.") from None

"""``review.csv``: every labelled tile with what was decided; a person fills in verdicts, and it is read back."""

from __future__ import annotations

import csv
import io
import math
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ReviewError, did_you_mean
from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.decide import REASONS as KINDS
from w2wpath.w2wnet.ledger import EXCLUDED, FLAGS, KEPT, REASONS, STATES, UNDECIDED, Decisions
from w2wpath.w2wnet.verdicts import KEEP, RELABEL, VERDICTS, Verdict, ids_of

WHERE = ("tile_id", "slide", "patient", "x0", "y0", "side0", "label")
SAID = ("state", "reason", "says", "score", *(f"{kind}_severity" for kind in KINDS), "u", "flag", "fold")
ANSWER = ("verdict", "class")
COLUMNS = (*WHERE, *SAID, *ANSWER)
NEEDED = ("tile_id", *ANSWER)
_RANK = {UNDECIDED: 0, EXCLUDED: 1, KEPT: 2}


@dataclass(frozen=True)
class Imported:
    """Verdicts out of a file, and the audit that they belong to ("" for none)."""

    verdicts: tuple[Verdict, ...]
    audit: str = ""

    def counts(self) -> dict[str, int]:
        """Count the verdicts by word."""
        return {word: sum(one.verdict == word for one in self.verdicts) for word in VERDICTS}


def write_review_csv(path: Path, table: TileTable, decisions: Decisions) -> None:
    """Write every tile that carries a label or was judged; verdict and class are left empty.

    Undecided tiles come first, stale ones among them, then excluded and kept ones by falling score. x0, y0 and side0
    are level-0 pixels, label is the tile's own of now; numbers of tiles that were not judged are empty.

    Raises
    ------
    DiskError
        There is no room.
    """
    rows = np.flatnonzero(decisions.judged | decisions.stale | (table.label >= 0))
    falling = np.where(np.isnan(decisions.score), np.inf, -decisions.score)
    order = sorted(rows.tolist(), key=lambda i: (_RANK[int(decisions.state[i])], falling[i], i))
    says, flag = decisions.predicted, decisions.flag
    lines = ([*where(table, i), *_said(table, decisions, i, int(says[i]), int(flag[i])), "", ""] for i in order)
    write_whole(path, as_csv(COLUMNS, lines))


def as_csv(header: tuple[str, ...], lines: Iterator[list[Any]]) -> str:
    """Return a table as the text of a CSV, with the mark by which spreadsheets know UTF-8."""
    text = io.StringIO("\ufeff")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def where(table: TileTable, i: int) -> list[Any]:
    """Return the cells of tile `i` for the columns WHERE."""
    named = table.slides[table.slide[i]], table.patients[table.patient[i]]
    return [tile_uuid(table, i), *named, table.x0[i], table.y0[i], table.side0[i], label_name(table, i)]


def tile_uuid(table: TileTable, i: int) -> uuid.UUID:
    """Return the id of tile `i`."""
    return uuid.UUID(bytes=table.tile_id[i].tobytes())


def label_name(table: TileTable, i: int) -> str:
    """Return the name of the label that tile `i` has now; "" for none."""
    return table.classes[table.label[i]] if table.label[i] >= 0 else ""


def _said(table: TileTable, decisions: Decisions, i: int, says: int, flag: int) -> list[Any]:
    fold = int(decisions.fold[i])
    return [
        STATES[decisions.state[i]],
        REASONS[decisions.reason[i]],
        table.classes[says] if says >= 0 else "",
        _number(decisions.score[i]),
        *map(_number, decisions.severity[i]),
        _number(decisions.u[i]),
        FLAGS[flag],
        fold + 1 if fold >= 0 else "",
    ]


def _number(value: np.float32) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


# reading what a person filled in ------------------------------------------------------------------------------------


def read_verdicts_csv(path: Path, table: TileTable) -> Imported:
    """Read the verdicts of a CSV: UTF-8 with or without a mark, separated by commas, semicolons or tabs.

    Needed are the columns tile_id, verdict and class. Rows without a verdict are passed over. A column ``label`` says
    what the person saw, else it is the tile's label of now; a column ``audit`` names the audit.

    Raises
    ------
    ReviewError
        A tile, word, class or label is unknown, a class is missing or out of place or has no verdict, or a tile has
        two verdicts; it names file and line, and nothing is read.
    """
    rows = {one: i for i, one in enumerate(ids_of(table))}
    found: dict[bytes, Verdict] = {}
    audits: set[str] = set()
    for line, cells in _lines(path):
        at = f"{path}: line {line}"
        if not cells["verdict"]:
            if cells["class"]:
                raise ReviewError(f"{at}: has a class and no verdict. Write relabel, or leave the class empty.")
            continue
        key = _tile(cells["tile_id"], at)
        if key not in rows:
            raise ReviewError(f"{at}: tile {cells['tile_id']} is not in the store. Import it where it was exported.")
        given = _seen(cells["label"], table, at) if "label" in cells else label_name(table, rows[key])
        verdict = _verdict(key, cells["verdict"], cells["class"], given, table, at)
        if found.setdefault(key, verdict) != verdict:
            raise ReviewError(f"{at}: tile {cells['tile_id']} has another verdict above. Leave one of them.")
        audits.add(cells.get("audit", ""))
    if len(audits) > 1:
        raise ReviewError(f"{path}: mixes rows of {len(audits)} audits or reviews. Import them as files of their own.")
    return Imported(tuple(found.values()), audits.pop() if audits else "")


def resolve_class(name: str, table: TileTable, at: str) -> str:
    """Return the class of the store that `name` means, whatever its case.

    Raises
    ------
    ReviewError
        There is none.
    """
    found = _class_of(name, table)
    if found is None:
        hint = did_you_mean(name, table.classes)
        raise ReviewError(f"{at}: class {name!r} is not one of {', '.join(table.classes)}.{hint}")
    return found


def _class_of(name: str, table: TileTable) -> str | None:
    known = {one.casefold(): one for one in table.classes} | {one: one for one in table.classes}
    return known.get(name) or known.get(name.casefold())


def on_other_labels(verdicts: Iterable[Verdict], table: TileTable) -> int:
    """Count the verdicts on labels that their tiles no longer have."""
    now = {one: label_name(table, i) for i, one in enumerate(ids_of(table))}
    return sum(now[one.tile_id] != one.label for one in verdicts)


def as_verdict(key: bytes, class_name: str, given: str) -> Verdict:
    """Return the verdict that a tile labelled `given` is of `class_name`: the same class keeps it."""
    if class_name == given:
        return Verdict(key, KEEP, "", given)
    return Verdict(key, RELABEL, class_name, given)


def _seen(label: str, table: TileTable, at: str) -> str:
    """Return the class that the column ``label`` names; a spreadsheet may have changed its case, but no letter."""
    found = _class_of(label, table) if label else ""
    if found is None:
        raise ReviewError(
            f"{at}: label {label!r} is not one of {', '.join(table.classes)}. Leave the column label as it was "
            "written; if classes have changed since, export the review again."
        )
    return found


def _tile(text: str, at: str) -> bytes:
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        raise ReviewError(f"{at}: {text!r} is no tile id. Leave the column tile_id as it was written.") from None


def _verdict(key: bytes, word: str, class_name: str, given: str, table: TileTable, at: str) -> Verdict:
    said = word.casefold()
    if said not in VERDICTS:
        hint = did_you_mean(said, VERDICTS)
        raise ReviewError(f"{at}: verdict must be one of {', '.join(VERDICTS)}; got {word!r}.{hint}")
    if said == RELABEL:
        if not class_name:
            raise ReviewError(
                f"{at}: relabel needs a class. Write one of {', '.join(table.classes)} into column class."
            )
        return as_verdict(key, resolve_class(class_name, table, at), given)
    if class_name and class_name.casefold() != given.casefold():
        raise ReviewError(f"{at}: {said} takes no class, got {class_name!r}. Write relabel, or leave the class empty.")
    return Verdict(key, said, "", given)


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the number of each line and its cells by column."""
    try:
        text = path.read_text("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [name.strip().casefold() for name in next(reader, [])]
        if missing := [name for name in NEEDED if name not in header]:
            raise ReviewError(f"{path}: has no column {', '.join(missing)}. Give a CSV with {', '.join(NEEDED)}.")
        if twice := [name for name in dict.fromkeys(header) if name and header.count(name) > 1]:
            raise ReviewError(f"{path}: has column {twice[0]} more than once. Leave one of them.")
        for cells in reader:
            if any(cells[len(header) :]):
                raise ReviewError(f"{path}: line {reader.line_num}: has more cells than columns. Quote the text in it.")
            filled = [*map(str.strip, cells), *[""] * (len(header) - len(cells))]
            yield reader.line_num, dict(zip(header, filled, strict=False))
    except FileNotFoundError:
        raise ReviewError(f"{path}: no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReviewError(f"{path}: not a readable CSV ({error}). Save it as CSV in UTF-8.") from None


def nearest_cut(decisions: Decisions, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return `rows` ordered by how near their score lies to the cut at 1."""
    return rows[np.argsort(np.abs(decisions.score[rows] - 1.0), kind="stable")]

"""``review.csv``: every judged tile for a person to go through, and the verdicts that come back."""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2wpath.errors import ReviewError, did_you_mean
from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.decide import REASONS as KINDS
from w2wpath.w2wnet.ledger import EXCLUDED, FLAGS, KEPT, REASONS, STATES, UNDECIDED, Decisions
from w2wpath.w2wnet.verdicts import WORDS, Verdict

PLACE = ("tile_id", "slide", "patient", "x0", "y0", "side0", "label")
ANSWER = ("verdict", "class")
SEVERITIES = tuple(f"{kind}_severity" for kind in KINDS)
COLUMNS = (*PLACE, "state", "reason", "says", "score", *SEVERITIES, "u", "flag", "fold", *ANSWER)
NEEDED = ("tile_id", *ANSWER)


def write_review_csv(path: Path, table: TileTable, decisions: Decisions) -> None:
    """Write every tile with a label: undecided and stale ones first, then excluded, then kept, by falling score.

    ``x0, y0, side0`` are level-0 pixels; `fold` counts from 1; what is not known is empty, as `verdict` and `class`
    are, which a reviewer fills in.

    Raises
    ------
    DiskError
        There is no room.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for i in _order(decisions):
        lines.writerow([*place_of(table, i), *_decided(table, decisions, i), "", ""])
    write_whole(path, text.getvalue())


def place_of(table: TileTable, i: int) -> list[object]:
    """Return the cells of tile `i` that say which tile it is, as PLACE names them."""
    label = int(table.label[i])
    return [
        uuid.UUID(bytes=table.tile_id[i].tobytes()),
        table.slides[table.slide[i]],
        table.patients[table.patient[i]],
        table.x0[i],
        table.y0[i],
        table.side0[i],
        "" if label < 0 else table.classes[label],
    ]


def _order(decisions: Decisions) -> list[int]:
    rank = {UNDECIDED: 0, EXCLUDED: 1, KEPT: 2}
    ranks = np.where(decisions.stale, 0, [rank[int(state)] for state in decisions.state])
    score = np.nan_to_num(decisions.score, nan=np.inf)  # what has no score was not judged: first of its kind
    order = np.lexsort((np.arange(len(score)), -score, ranks))
    return [int(i) for i in order if decisions.judged[i]]


def _decided(table: TileTable, decisions: Decisions, i: int) -> list[object]:
    fold, judged = int(decisions.fold[i]), bool(np.isfinite(decisions.probs[i]).all())
    return [
        STATES[decisions.state[i]],
        REASONS[decisions.reason[i]],
        table.classes[decisions.predicted[i]] if judged else "",
        _number(decisions.score[i]),
        *(_number(one) for one in decisions.severity[i]),
        _number(decisions.u[i]),
        FLAGS[decisions.flag[i]],
        fold + 1 if fold >= 0 else "",
    ]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


# verdicts that come back ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """One line of a reviewer's file: where it stands, for messages, and its cells, tidied."""

    where: str
    tile_id: bytes
    verdict: str
    class_name: str
    label: str


def read_verdicts_csv(path: Path, table: TileTable) -> list[Verdict]:
    """Read the verdicts of a CSV with the columns tile_id, verdict and class; rows without a verdict do not count.

    UTF-8 with or without a byte order mark; commas or semicolons, as Excel writes them. Letter case does not matter.
    A column `label`, where there is one, says which class the reviewer saw; else it is the one in `table`. To relabel
    a tile to that is to keep it.

    Raises
    ------
    ReviewError
        The file cannot be read or lacks a column, or a line names a tile, word or class that is not known, a class
        where none belongs or none where one does, or says another thing of a tile than a line before.
    """
    row_of = {one.tobytes(): row for row, one in enumerate(table.tile_id)}
    found: dict[bytes, tuple[Verdict, str]] = {}
    for row in _rows(path):
        verdict = _verdict(row, table, row_of)
        if verdict is None:
            continue
        before, line = found.setdefault(verdict.tile_id, (verdict, row.where))
        if (before.verdict, before.class_name) != (verdict.verdict, verdict.class_name):
            earlier = f"{before.verdict} {before.class_name}".strip()
            raise ReviewError(
                f"{row.where}: tile {uuid.UUID(bytes=row.tile_id)} has another verdict than in "
                f"{line.rpartition(': ')[2]} ({earlier}). Leave one of them."
            )
    return [verdict for verdict, _ in found.values()]


def tiles_in_csv(path: Path) -> set[bytes]:
    """Return the ids of all tiles that a reviewer's CSV lists, with a verdict or without.

    Raises
    ------
    ReviewError
        The file cannot be read or lacks a column, or holds no tile id where one should be.
    """
    return {row.tile_id for row in _rows(path)}


def class_named(name: str, classes: Sequence[str], where: str) -> str:
    """Return the class that `name` means, whatever its letter case.

    Raises
    ------
    ReviewError
        There is none.
    """
    alike = [one for one in classes if one.casefold() == name.casefold()]
    if name in classes or len(alike) == 1:
        return name if name in classes else alike[0]
    raise ReviewError(
        f"{where}: class {name!r} is none of the store's classes, {', '.join(classes)}.{did_you_mean(name, classes)}"
    )


def _verdict(row: _Row, table: TileTable, row_of: dict[bytes, int]) -> Verdict | None:
    if not row.verdict:
        if row.class_name:
            raise ReviewError(
                f"{row.where}: has class {row.class_name!r} and no verdict. Write relabel, or empty the class."
            )
        return None
    word = row.verdict.casefold()
    if word not in WORDS:
        hint = did_you_mean(word, WORDS)
        raise ReviewError(f"{row.where}: verdict must be one of {', '.join(WORDS)}; got {row.verdict!r}.{hint}")
    if row.tile_id not in row_of:
        raise ReviewError(
            f"{row.where}: tile {uuid.UUID(bytes=row.tile_id)} is not in the store. Check that they belong together."
        )
    label = class_named(row.label, table.classes, row.where) if row.label else _label(table, row_of[row.tile_id])
    if word != "relabel" and row.class_name:
        raise ReviewError(
            f"{row.where}: {word} takes no class; got {row.class_name!r}. Write relabel, or empty the class."
        )
    if word != "relabel":
        return Verdict(row.tile_id, word, "", label)
    if not row.class_name:
        raise ReviewError(f"{row.where}: relabel needs a class. Write one of {', '.join(table.classes)} beside it.")
    named = class_named(row.class_name, table.classes, row.where)
    return Verdict(row.tile_id, "keep", "", label) if named == label else Verdict(row.tile_id, word, named, label)


def _label(table: TileTable, i: int) -> str:
    return "" if table.label[i] < 0 else table.classes[table.label[i]]


def _rows(path: Path) -> Iterator[_Row]:
    lines = csv.reader(io.StringIO(text := _text(path), newline=""), delimiter=_delimiter(text), strict=True)
    try:
        header = [name.strip().casefold() for name in next(lines, [])]
        for name in NEEDED:
            if name not in header:
                raise ReviewError(
                    f"{path}: column {name!r} is missing. Give {', '.join(NEEDED)}, separated by commas or semicolons."
                )
        for cells in lines:
            if any(cell.strip() for cell in cells):
                yield _row(dict(zip(header, cells, strict=False)), f"{path}: line {lines.line_num}")
    except csv.Error as error:
        raise ReviewError(
            f"{path}: line {lines.line_num}: not readable as CSV ({error}). Save it again as CSV UTF-8."
        ) from None


def _row(cells: dict[str, str], where: str) -> _Row:
    tile_id, verdict, class_name, label = (
        cells.get(name, "").strip() for name in ("tile_id", "verdict", "class", "label")
    )
    try:
        return _Row(where, uuid.UUID(tile_id).bytes, verdict, class_name, label)
    except ValueError:
        raise ReviewError(f"{where}: {tile_id!r} is no tile id. Copy it from review.csv.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ReviewError(f"{path}: no such file. Check the path.") from None
    except UnicodeDecodeError:
        raise ReviewError(f"{path}: not UTF-8. In Excel, save it as CSV UTF-8.") from None
    except OSError as error:
        raise ReviewError(f"{path}: cannot be read ({error.strerror}). Check the path and its permissions.") from None


def _delimiter(text: str) -> str:
    header = text.partition("\n")[0]
    return ";" if header.count(";") > header.count(",") else ","

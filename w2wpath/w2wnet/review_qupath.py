"""Doubtful tiles for QuPath, and back: re-classified there a tile is relabelled, deleted there it is excluded.

Beside ``<slide>.review.geojson`` lies ``<slide>.review.json`` with the tiles that were written and the labels that they
had: without it nobody could tell which were deleted.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ReviewError
from w2wpath.frames import Frame
from w2wpath.provenance import write_whole
from w2wpath.qupath.classes import class_of
from w2wpath.qupath.colours import class_colours
from w2wpath.qupath.geojson import table as json_object
from w2wpath.qupath.geojson import top_features, walk
from w2wpath.qupath.source import read_documents
from w2wpath.qupath.write import TileObject, write_tiles
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions
from w2wpath.w2wnet.review import Imported, as_verdict, label_name, nearest_cut, resolve_class, tile_uuid
from w2wpath.w2wnet.verdicts import EXCLUDE, KEEP, Verdict, ids_of

SUFFIXES = (".geojson.gz", ".geojson", ".json.gz", ".zip")
IGNORE = "ignore*"
FIRST = ("stale", "tie", "vetoed", "new")
"""The order of undecided tiles."""


def doubtful(table: TileTable, decisions: Decisions, most: int) -> NDArray[np.intp]:
    """Return the rows (at most `most`) that a person should look at first.

    Undecided tiles, in the order of :data:`FIRST`; then those nearest to the cut, excluded and kept by turns. What
    a person has decided, and what has no label to judge, is left out.
    """
    open_ = (table.label >= 0) & (decisions.reason != REASONS.index("review"))
    undecided = [
        np.flatnonzero(open_ & (decisions.state == UNDECIDED) & (decisions.reason == REASONS.index(reason)))
        for reason in FIRST
    ]
    first = np.concatenate(undecided)[:most]
    sides = [nearest_cut(decisions, np.flatnonzero(open_ & (decisions.state == state))) for state in (EXCLUDED, KEPT)]
    turn = np.concatenate([2 * np.arange(len(sides[0])), 2 * np.arange(len(sides[1])) + 1])
    rest = np.concatenate(sides)[np.argsort(turn, kind="stable")]
    return np.concatenate([first, rest[: most - len(first)]])


def write_review_qupath(
    folder: Path,
    store: TileStore,
    table: TileTable,
    rows: NDArray[np.intp],
    *,
    run: str,
    decisions: Decisions | None = None,
    audit: str = "",
) -> list[Path]:
    """Write ``<slide>.review.geojson`` and its list of tiles for each slide that has one of `rows`.

    Parameters
    ----------
    decisions
        Whose score and u are shown as measurements; None shows nothing.
    audit
        Name of the audit; "" for a review.

    Raises
    ------
    DiskError
        There is no room.
    """
    files: list[Path] = []
    for index, slide in enumerate(table.slides):
        mine = rows[(table.slide[rows] == index) & (table.label[rows] >= 0)]
        if not len(mine):
            continue
        frame = _frame(store.attributes(slide))
        path = folder / f"{slide}.review.geojson"
        about = {"frame": frame.name, "bounds": [frame.x0, frame.y0], "run": "" if audit else run, "audit": audit}
        write_tiles(path, _objects(table, mine, frame, decisions), about)
        # lists, not objects: order and labels only
        tiles = [[str(tile_uuid(table, i)), label_name(table, i)] for i in mine.tolist()]
        write_whole(path.with_suffix(".json"), json.dumps({**about, "slide": slide, "tiles": tiles}, indent=1) + "\n")
        files.append(path)
    return files


def _frame(attributes: Mapping[str, Any]) -> Frame:
    origin = attributes.get("origin")
    return Frame("slide", 0, 0, 0, 0) if origin is None else Frame(**origin)


def _objects(
    table: TileTable, rows: NDArray[np.intp], frame: Frame, decisions: Decisions | None
) -> Iterator[TileObject]:
    colours = class_colours(table.classes)
    for i in rows.tolist():
        own = tile_uuid(table, i)
        side0 = int(table.side0[i])
        x, y = frame.corner_from_slide(int(table.x0[i]), int(table.y0[i]), side0)
        label = label_name(table, i)
        shown = {} if decisions is None else {"w2w score": decisions.score[i], "w2w uncertainty": decisions.u[i]}
        yield TileObject(
            object_id=uuid.uuid5(own, "review"),
            x=x,
            y=y,
            side=side0,
            class_name=label,
            colour=colours[label],
            measurements={name: float(value) for name, value in shown.items() if np.isfinite(value)},
            metadata={"tile_id": str(own)},
        )


# back from QuPath ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Exported:
    """What was written for one slide: labels by tile id, and the name of the audit."""

    labels: Mapping[bytes, str]
    audit: str


def read_verdicts_qupath(
    path: Path, table: TileTable, *, exported: Path | None = None, unchanged: str | None = None
) -> Imported:
    """Read an edited GeoJSON: re-classified tiles are relabelled, those that are gone (or ``Ignore*``) excluded.

    Objects are known by their id, else by the tile_id in their metadata; others are passed over.

    Parameters
    ----------
    exported
        The list that was written beside the export; None looks for it beside `path`.
    unchanged
        ``keep`` makes a verdict of a tile that is as it was; None makes none.

    Raises
    ------
    ReviewError
        The list is not found or not readable, none of its tiles is in the file, or a tile has no class, an unknown
        one, or two.
    AnnotationError
        The file cannot be read.
    """
    rows = {one: i for i, one in enumerate(ids_of(table))}
    seen = _classes_in(path, rows, table)
    list_ = _read_list(_find_list(path, set(seen)) if exported is None else exported)
    if list_.labels and not seen.keys() & list_.labels.keys():
        raise ReviewError(
            f"{path}: holds none of the {len(list_.labels)} exported tiles, which would exclude them all. Export all "
            "objects from QuPath, detections too; to exclude every tile, give the verdicts in review.csv."
        )
    if lost := [one for one in list_.labels if one not in rows]:
        raise ReviewError(
            f"{path}: {len(lost)} exported tiles, the first {uuid.UUID(bytes=lost[0])}, are not in the store any more. "
            "Export again, and review that."
        )
    verdicts = [
        verdict
        for key, label in list_.labels.items()
        if (verdict := _meant(key, label, seen.get(key), unchanged == KEEP)) is not None
    ]
    return Imported(tuple(verdicts), list_.audit)


def _meant(key: bytes, label: str, shown: str | None, keep_unchanged: bool) -> Verdict | None:
    if shown in (None, IGNORE):
        return Verdict(key, EXCLUDE, "", label)
    if shown == label and not keep_unchanged:
        return None
    return as_verdict(key, str(shown), label)


def _classes_in(path: Path, rows: Mapping[bytes, int], table: TileTable) -> dict[bytes, str]:
    """Return the class of each of our tiles in the file; IGNORE for that class."""
    by_object = {uuid.uuid5(uuid.UUID(bytes=one), "review"): one for one in rows}
    found: dict[bytes, str] = {}
    at = 0
    for document in read_documents(path):
        for feature in top_features(document.text()[0], document.where):
            for one in walk(feature, at):
                at = one.index + 1
                key = _tile_of(one.feature, by_object)
                if key in rows:
                    name = _class(one.feature, table, f"{path}: object {one.index} (tile {uuid.UUID(bytes=key)})")
                    if found.setdefault(key, name) != name:
                        raise ReviewError(
                            f"{path}: tile {uuid.UUID(bytes=key)} is there twice, as {found[key]} and as {name}. "
                            "Delete one of them."
                        )
    return found


def _tile_of(feature: Mapping[str, Any], by_object: Mapping[uuid.UUID, bytes]) -> bytes:
    """Return the tile id of one of our objects, b"" for others."""
    own = _uuid(feature.get("id"))
    if own is not None and own in by_object:
        return by_object[own]
    kept = _uuid(json_object(json_object(feature, "properties"), "metadata").get("tile_id"))
    return b"" if kept is None else kept.bytes


def _uuid(text: Any) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _class(feature: Mapping[str, Any], table: TileTable, at: str) -> str:
    name = class_of(feature).name
    if name is None:
        raise ReviewError(f"{at}: has no class. Give it the class that it shows, or delete it to exclude the tile.")
    return IGNORE if name.casefold() == IGNORE else resolve_class(name, table, at)


def _find_list(path: Path, seen: set[bytes]) -> Path:
    """Return the list of the export that `path` is an edited copy of: of the same name, else of the same tiles."""
    name = path.name
    stem = next((name[: -len(end)] for end in SUFFIXES if name.lower().endswith(end)), path.stem)
    for own in (path.with_name(f"{stem}.json"), path.with_name(f"{stem}.review.json")):
        if own != path and own.is_file():
            return own
    fit = [one for one in sorted(path.parent.glob("*.review.json")) if seen & _read_list(one).labels.keys()]
    if len(fit) != 1:
        raise ReviewError(
            f"{path}: {len(fit) or 'no'} lists of exported tiles (SLIDE.review.json) beside it fit, so it cannot "
            "be told which tiles were deleted. Put the file beside that list, or name it with --exported."
        )
    return fit[0]


def _read_list(path: Path) -> _Exported:
    try:
        found = json.loads(path.read_text("utf-8"))
        return _Exported({uuid.UUID(one).bytes: str(label) for one, label in found["tiles"]}, str(found["audit"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReviewError(
            f"{path}: not a list of exported tiles ({type(error).__name__}: {error}). "
            "Give the SLIDE.review.json that `w2wpath review export` wrote."
        ) from None

"""Tiles to be reviewed in QuPath: a GeoJSON for each slide, what was exported, and the verdicts of an edited file."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.errors import ReviewError, StoreError
from w2wpath.frames import Frame
from w2wpath.provenance import write_whole
from w2wpath.qupath.check import read_text
from w2wpath.qupath.classes import class_of
from w2wpath.qupath.colours import class_colours
from w2wpath.qupath.geojson import table as part_of
from w2wpath.qupath.geojson import top_features, walk
from w2wpath.qupath.source import read_documents
from w2wpath.qupath.write import TileObject, write_tiles
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.ledger import EXCLUDED, KEPT, REASONS, UNDECIDED, Decisions
from w2wpath.w2wnet.review import class_named
from w2wpath.w2wnet.verdicts import Verdict

REVIEW, AUDIT = "review", "audit"


@dataclass(frozen=True)
class ExportedTile:
    """One exported tile: its id, slide, the class that it carried, and for an audit its stratum ("" else)."""

    tile_id: str
    slide: str
    label: str
    stratum: str = ""


@dataclass(frozen=True)
class Exported:
    """What one export gave to a reviewer; `sizes` counts the tiles of an audit's strata in the store."""

    name: str
    kind: str
    run: str
    store: str
    tiles: tuple[ExportedTile, ...]
    seed: int | None = None
    sizes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Edited:
    """What an edited GeoJSON says; `listed` are the exported tiles of its slides, `strangers` objects not ours."""

    verdicts: list[Verdict]
    exports: tuple[Exported, ...]
    listed: int
    unchanged: int
    strangers: int


def doubtful(decisions: Decisions, most: int = 200) -> NDArray[np.intp]:
    """Return at most `most` rows to look at: undecided and stale ones, then excluded and kept ones nearest the cut.

    The two share the places that are left, half each where there are enough. What a reviewer has decided is left out.
    """
    score = np.nan_to_num(decisions.score, nan=np.inf)
    open_ = decisions.judged & ((decisions.state == UNDECIDED) | decisions.stale)
    settled = decisions.judged & ~open_ & (decisions.reason != REASONS.index("review"))
    first = np.flatnonzero(open_)
    first = first[np.argsort(-score[first], kind="stable")][:most]
    out, stay = (np.flatnonzero(settled & (decisions.state == state)) for state in (EXCLUDED, KEPT))
    out, stay = (rows[np.argsort(np.abs(score[rows] - 1.0), kind="stable")] for rows in (out, stay))
    n_out, n_stay = halves(most - len(first), len(out), len(stay))
    return np.concatenate([first, out[:n_out], stay[:n_stay]])


def halves(n: int, first: int, second: int) -> tuple[int, int]:
    """Share `n` places between two groups of so many, half each, the one taking what the other cannot fill."""
    of_second = min(second, n - min(first, n // 2))
    return min(first, n - of_second), of_second


def export_name(kind: str) -> str:
    """Return a fresh name of an export: its kind and the time (UTC)."""
    return f"{kind}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"


def export_of(
    name: str, kind: str, store: TileStore, table: TileTable, run: str, rows: NDArray[np.intp], **audit: Any
) -> Exported:
    """Describe an export of `rows`; `audit`: strata (of each row), seed and sizes."""
    strata: Sequence[str] = audit.pop("strata", [""] * len(rows))
    tiles = tuple(
        ExportedTile(
            str(uuid.UUID(bytes=table.tile_id[i].tobytes())),
            table.slides[table.slide[i]],
            table.classes[table.label[i]],
            stratum,
        )
        for i, stratum in zip(rows, strata, strict=True)
    )
    return Exported(name, kind, run, store.path.name, tiles, **audit)


def write_geojsons(
    folder: Path,
    store: TileStore,
    table: TileTable,
    rows: NDArray[np.intp],
    export: str,
    decisions: Decisions | None = None,
) -> list[Path]:
    """Write ``<slide>.geojson`` into `folder` for every slide of `rows`, in their order, each in its QuPath frame.

    The class of an object is the label of its tile. `decisions`, if given, add the measurements score and u.

    Raises
    ------
    StoreError
        The store does not say in which frame a slide's annotations are.
    DiskError
        There is no room.
    """
    paths = []
    for index in np.unique(table.slide[rows]):
        slide = table.slides[index]
        origin = store.attributes(slide).get("origin")
        if not origin:
            raise StoreError(
                f"{store.path}: does not say in which frame the annotations of {slide} are. Tile it again."
            )
        frame, own = Frame(**origin), rows[table.slide[rows] == index]
        paths.append(folder / f"{slide}.geojson")
        objects = _objects(table, own, frame, export, decisions)
        write_tiles(paths[-1], objects, {"export": export, "frame": frame.name})
    return paths


def _objects(
    table: TileTable, rows: NDArray[np.intp], frame: Frame, export: str, decisions: Decisions | None
) -> Iterator[TileObject]:
    colours = class_colours(table.classes)
    for i in rows:
        tile_id, name = uuid.UUID(bytes=table.tile_id[i].tobytes()), table.classes[table.label[i]]
        x0, y0, side0 = int(table.x0[i]), int(table.y0[i]), int(table.side0[i])
        x, y = frame.corner_from_slide(x0, y0, side0)
        known = {} if decisions is None else {"score": float(decisions.score[i]), "u": float(decisions.u[i])}
        yield TileObject(
            object_id=uuid.uuid5(tile_id, "review"),
            x=x,
            y=y,
            side=side0,
            class_name=name,
            colour=colours[name],
            measurements={key: value for key, value in known.items() if math.isfinite(value)},
            metadata={"tile_id": str(tile_id), "export": export},
        )


# what was exported ----------------------------------------------------------------------------------------------------


def write_sidecar(home: Path, exported: Exported) -> Path:
    """Write ``<home>/<run>/<name>.json``, by which `read_edited` knows what is missing from an edited file.

    Raises
    ------
    DiskError
        There is no room.
    """
    path = home / exported.run / f"{exported.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(exported), indent=1) + "\n")
    return path


def read_sidecars(home: Path) -> list[Exported]:
    """Return every export of the runs in `home`, oldest first.

    Raises
    ------
    ReviewError
        The record of one is damaged.
    """
    paths = [path for kind in (REVIEW, AUDIT) for path in home.glob(f"*/{kind}-*.json")]
    return [_sidecar(path) for path in sorted(paths, key=lambda path: path.stem.rpartition("-")[2])]


def _sidecar(path: Path) -> Exported:
    try:
        found = json.loads(path.read_text("utf-8"))
        return Exported(**{**found, "tiles": tuple(ExportedTile(**one) for one in found["tiles"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReviewError(
            f"{path}: the record of an export cannot be read ({type(error).__name__}: {error}). "
            "Bring it back from a backup, or move it away and export again."
        ) from None


# what comes back ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Object:
    """An object of ours in an edited file: which tile of which export, and the class that it has now."""

    where: str
    tile: ExportedTile
    export: Exported
    class_name: str | None


def read_edited(path: Path, table: TileTable, exports: Sequence[Exported]) -> Edited:
    """Read an exported GeoJSON that was edited in QuPath: another class is a relabel, a deleted tile an exclusion.

    An object is known by its id, else by the tile id in its metadata; others are counted and passed over. Of an audit
    an unchanged tile is kept, since its reader has seen all; else it says nothing.

    Raises
    ------
    AnnotationError
        The file is no GeoJSON.
    ReviewError
        It holds no exported tile, or a tile twice with different classes, without a class, or with one that the store
        has not.
    """
    objects, strangers = _ours(path, exports)
    if not objects:
        raise ReviewError(
            f"{path}: holds no tile that `w2wpath review export` wrote for this store. Export all objects from QuPath; "
            "if every tile was deleted, write exclude beside them in review.csv instead."
        )
    tiles = {row.tobytes() for row in table.tile_id}
    present: dict[str, _Object] = {}
    for one in objects:
        before = present.setdefault(one.tile.tile_id, one)
        if before.class_name != one.class_name:
            raise ReviewError(f"{one.where}: is there twice with different classes. Delete one of them in QuPath.")
    parts = dict.fromkeys((one.export.name, one.tile.slide) for one in objects)
    used = {one.export.name: one.export for one in objects}
    listed = [(used[name], tile) for name, slide in parts for tile in used[name].tiles if tile.slide == slide]
    answers = {tile.tile_id: _answer(tile, export, present.get(tile.tile_id), table) for export, tile in listed}
    verdicts = [one for one in answers.values() if one is not None and one.tile_id in tiles]
    changed = sum(one.verdict != "keep" for one in verdicts)
    return Edited(verdicts, tuple(used.values()), len(answers), len(answers) - changed, strangers)


def _answer(tile: ExportedTile, export: Exported, found: _Object | None, table: TileTable) -> Verdict | None:
    tile_id = uuid.UUID(tile.tile_id).bytes
    if found is None:
        return Verdict(tile_id, "exclude", "", tile.label)
    if found.class_name is None:
        raise ReviewError(f"{found.where}: has no class any more. Give it one, or delete it to exclude it.")
    if found.class_name == _shown(tile.label):
        return Verdict(tile_id, "keep", "", tile.label) if export.kind == AUDIT else None
    name = next((one for one in table.classes if _shown(one) == found.class_name), found.class_name)
    return Verdict(tile_id, "relabel", class_named(name, table.classes, found.where), tile.label)


def _shown(name: str) -> str | None:
    """Return a class as it is read back: parts and spaces tidied."""
    return class_of({"properties": {"classification": name}}).name


def _ours(path: Path, exports: Sequence[Exported]) -> tuple[list[_Object], int]:
    known = {export.name: {tile.tile_id: tile for tile in export.tiles} for export in exports}
    by_name = {export.name: export for export in exports}
    newest = {tile.tile_id: export.name for export in exports for tile in export.tiles}
    tile_of = {str(uuid.uuid5(uuid.UUID(tile_id), "review")): tile_id for tile_id in newest}
    found: list[_Object] = []
    strangers = 0
    for feature in _features(path):
        metadata = part_of(part_of(feature, "properties"), "metadata")
        tile_id = tile_of.get(str(feature.get("id")).lower()) or str(metadata.get("tile_id")).lower()
        if tile_id not in newest:
            strangers += 1
            continue
        said = str(metadata.get("export"))
        name = said if tile_id in known.get(said, ()) else newest[tile_id]
        found.append(_Object(f"{path}: tile {tile_id}", known[name][tile_id], by_name[name], class_of(feature).name))
    return found, strangers


def _features(path: Path) -> Iterator[Mapping[str, Any]]:
    for document in read_documents(path):
        for feature in top_features(read_text(document)[0], document.where):
            for found in walk(feature, 0):
                yield found.feature

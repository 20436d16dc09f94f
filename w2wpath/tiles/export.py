"""Tiles for other tools: folders of images by class, WebDataset shards, or HDF5 files of coordinates.

Every export also has ``tiles.csv`` (a line a tile) and ``classes.json`` (index, folder and number of tiles by class).
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tarfile
import unicodedata
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from w2wpath.errors import ConfigError, StoreError, did_you_mean, writing
from w2wpath.progress import Progress, Silent, Step
from w2wpath.provenance import append_line, record
from w2wpath.tiles.store import TileStore, TileTable

FORMATS = ("png", "jpeg", "webdataset", "h5")
BATCH = 256
"""Tiles in memory at a time."""
QUALITY = 90
UNLABELLED = "unlabelled"
COLUMNS = ("file", "slide", "patient", "class", "x0", "y0", "side0", "mpp", "tile_id")
OWN_FILES = ("tiles.csv", "classes.json")
MOST_NAME_BYTES = 100
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
"""Names that Windows keeps for devices, with any extension."""
MAGNIFICATIONS = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))
"""um/px below which TRIDENT takes a slide for one of this magnification."""


@dataclass(frozen=True)
class Exported:
    """What was written; `by_class` has the classes in the order of their index."""

    out: Path
    tiles: int
    by_class: dict[str, int]
    unlabelled: int
    files: int


def export(
    store: TileStore,
    table: TileTable,
    out: Path,
    format_: str,
    *,
    classes: Sequence[str] | None = None,
    unlabelled: bool = False,
    keep: NDArray[np.bool_] | None = None,
    quality: int | None = None,
    shard_tiles: int = 1000,
    run: str | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write tiles of the store's `table` to a new folder, whole or not at all; the same store gives the same bytes.

    Parameters
    ----------
    format_
        ``png`` or ``jpeg``: a folder a class. ``webdataset``: ``tiles-000000.tar`` and on, each tile as ``.cls`` (index
        of its class, -1 without a label), ``.json`` and image. ``h5``: a file a slide, see :func:`coordinates`.
    classes
        Only these, which are then counted in this order; None takes all.
    unlabelled
        Tiles without a label (border, conflict) too.
    keep
        (n,) mask over the table; None takes every tile.
    quality
        Of JPEGs, 1 to 100. WebDataset shards hold PNGs where it is None.
    run
        Of `clean`, that `keep` comes from, for the provenance.

    Raises
    ------
    ConfigError
        A format or class is unknown, no tile is left, or `out` exists already.
    StoreError
        Tiles cannot be read.
    DiskError
        There is no room; nothing is left behind.
    """
    names = table.classes if classes is None else tuple(dict.fromkeys(classes))
    _choose("format", format_, FORMATS)
    for name in names:
        _choose(f"{store.path}: class", name, table.classes)
    _check_out(store, out)
    wanted = np.array([*(name in names for name in table.classes), unlabelled], dtype=np.bool_)
    take = wanted[table.label]  # label -1 takes the last
    rows = np.flatnonzero(take if keep is None else take & keep)
    if not len(rows):
        raise ConfigError(f"{store.path}: no tile is left to export. Choose other classes, or another run.")
    scratch = out.with_name(f".{out.name}.{uuid.uuid4().hex}.partial")
    with writing(out):
        try:
            scratch.mkdir()
            with (progress or Silent()).track("export", len(rows)) as step:
                job = _Job(store, table, rows, names, scratch, step)
                if format_ == "h5":
                    job.write_h5()
                elif format_ == "webdataset":
                    job.write_shards(quality, shard_tiles)
                else:
                    job.write_folders(None if format_ == "png" else quality or QUALITY)
            files = sum(path.is_file() for path in scratch.rglob("*"))
            _check_out(store, out)
            scratch.rename(out)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    settings = {"format": format_, "classes": names, "quality": quality, "shard_tiles": shard_tiles}
    settings |= {"unlabelled": unlabelled, "run": run}
    provenance = record("export", settings, store=str(store.path), tiles=len(rows))
    append_line(out.with_name(f"{out.name}.provenance.jsonl"), provenance)
    *counts, without = job.counts()
    return Exported(out, len(rows), dict(zip(names, counts, strict=True)), without, files)


def safe_names(names: Sequence[str], *, taken: Sequence[str] = (), dots: bool = True) -> list[str]:
    """Return a name for each of `names` that any file system takes; no two are the same there, and none is `taken`.

    `dots` is False where a dot has a meaning of its own, as in the keys of WebDataset.
    """
    given = {name.casefold() for name in taken}
    found = []
    for name in names:
        plain = fresh = _safe(name, dots)
        number = 1
        while fresh.casefold() in given:
            number += 1
            fresh = f"{plain}-{number}"
        given.add(fresh.casefold())
        found.append(fresh)
    return found


def coordinates(
    store: TileStore, table: TileTable, rows: NDArray[np.intp], label: NDArray[np.int16], classes: Sequence[str]
) -> bytes:
    """Return an HDF5 file with the tiles of one slide, for TRIDENT, CLAM and wsinfer alike.

    Dataset ``coords`` (N, 2) int64 has the level-0 corners x, y. CLAM and wsinfer read ``patch_size`` pixels of level
    ``patch_level`` there, TRIDENT ``patch_size`` pixels at ``target_magnification``. One number suits them all when the
    level is 0 and the target is the slide's own magnification: the tile's side in level-0 pixels. Each of them
    resizes what it reads to what its network wants. ``patch_spacing_um_px`` and ``tile_px`` are those of the store's
    tiles. Dataset ``label`` (N,) int16 indexes its attribute ``classes``, -1 without a label.

    Raises
    ------
    StoreError
        The attributes of the slide lack its size or um/px.
    """
    import h5py  # type: ignore[import-untyped]

    slide = table.slides[table.slide[rows[0]]]
    about = store.attributes(slide)
    try:
        size0 = np.array(about["size0"], dtype=np.int64).reshape(2)
        slide_mpp, side0 = float(about["slide_mpp"]), int(table.side0[rows[0]])
        step0 = int(about.get("step0") or round(store.spec.stride_px * store.spec.mpp / slide_mpp))
    except (KeyError, TypeError, ValueError, ArithmeticError):
        raise StoreError(
            f"{store.path}: the attributes of slide {slide!r} lack its size or um/px. Tile this slide again."
        ) from None
    magnification = next((m for limit, m in MAGNIFICATIONS if slide_mpp < limit), max(1, round(10 / slide_mpp)))
    attributes = {
        **dict.fromkeys(("patch_size", "patch_size_level0"), side0),
        "patch_level": 0,
        "patch_spacing_um_px": float(about.get("mpp", store.spec.mpp)),
        **dict.fromkeys(("level0_magnification", "target_magnification"), magnification),
        "overlap": max(0, side0 - step0),
        "downsample": np.array([1.0, 1.0]),
        **dict.fromkeys(("level_dim", "downsampled_level_dim"), size0),
        "level0_width": int(size0[0]),
        "level0_height": int(size0[1]),
        "name": _text(slide),
        **dict.fromkeys(("save_path", "savetodir"), "."),  # the file's own: no path of this machine leaves it
        "tile_px": store.spec.tile_px,
    }
    # made in memory: a disk that fills under HDF5 leaves a file that cannot be closed
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        corners = np.stack([table.x0[rows], table.y0[rows]], axis=1).astype(np.int64)
        file.create_dataset("coords", data=corners).attrs.update(attributes)
        file.create_dataset("label", data=label).attrs["classes"] = [_text(name) for name in classes]
    return buffer.getvalue()


@dataclass
class _Job:
    """One export under way: `rows` of `table` go to the folder `home`; class `names` are counted in their order."""

    store: TileStore
    table: TileTable
    rows: NDArray[np.intp]
    names: tuple[str, ...]
    home: Path
    step: Step
    label: NDArray[np.int16] = field(init=False)
    mpp: dict[int, float] = field(init=False)

    def __post_init__(self) -> None:
        index = [self.names.index(name) if name in self.names else -1 for name in self.table.classes]
        self.label = np.array([*index, -1], dtype=np.int16)[self.table.label]
        about = {
            i: self.store.attributes(self.table.slides[i]) for i in np.unique(self.table.slide[self.rows]).tolist()
        }
        self.mpp = {slide: float(found.get("mpp", self.store.spec.mpp)) for slide, found in about.items()}

    def counts(self) -> list[int]:
        """Count the tiles of each class, and those without a label last."""
        kinds = len(self.names) + 1
        return list(map(int, np.bincount(self.label[self.rows] % kinds, minlength=kinds)))

    def write_folders(self, quality: int | None) -> None:
        """Write ``<class>/<slide>_x<x0>_y<y0>.png``, or jpg where there is a quality."""
        folders, slides = safe_names([*self.names, UNLABELLED], taken=OWN_FILES), safe_names(self.table.slides)
        with self._table(folders) as lines:
            for i, image in self._images(quality):
                folder = self.home / folders[self.label[i]]
                folder.mkdir(exist_ok=True)
                name = f"{self._key(i, slides)}.{_end(quality)}"
                (folder / name).write_bytes(image)
                lines.writerow(self._line(i, f"{folder.name}/{name}"))

    def write_shards(self, quality: int | None, shard_tiles: int) -> None:
        """Write ``tiles-000000.tar`` and on: for each tile ``<key>.cls``, ``<key>.json``, and ``<key>.png`` or jpg."""
        slides = safe_names(self.table.slides, dots=False)
        images = self._images(quality)
        with self._table() as lines:
            for number in range(-(-len(self.rows) // shard_tiles)):
                shard = self.home / f"tiles-{number:06d}.tar"
                with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
                    for i, image in islice(images, shard_tiles):
                        key = self._key(i, slides)
                        line = self._line(i, f"{shard.name}/{key}.{_end(quality)}")
                        about = json.dumps(dict(zip(COLUMNS[1:], line[1:], strict=True)), sort_keys=True)
                        parts = {"cls": str(self.label[i]).encode(), "json": about.encode(), _end(quality): image}
                        for end, data in parts.items():
                            member = tarfile.TarInfo(f"{key}.{end}")  # no owner, and the beginning of time
                            member.size = len(data)
                            tar.addfile(member, io.BytesIO(data))
                        lines.writerow(line)

    def write_h5(self) -> None:
        """Write ``<slide>.h5`` with the coordinates of each slide."""
        files = [f"{name}.h5" for name in safe_names(self.table.slides)]
        with self._table() as lines:
            for slide in self.mpp:
                mine = self.rows[self.table.slide[self.rows] == slide]
                data = coordinates(self.store, self.table, mine, self.label[mine], self.names)
                (self.home / files[slide]).write_bytes(data)
                lines.writerows(self._line(i, files[slide]) for i in mine.tolist())
                self.step(len(mine), self.table.slides[slide])

    def _images(self, quality: int | None) -> Iterator[tuple[int, bytes]]:
        """Yield each row and its encoded tile, read in batches and encoded by several threads."""
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for slide in self.mpp:
                mine = self.rows[self.table.slide[self.rows] == slide]
                for start in range(0, len(mine), BATCH):
                    batch = mine[start : start + BATCH]
                    pixels = self.store.images(self.table.slides[slide], self.table.row[batch].astype(np.int64))
                    encoded = pool.map(partial(_encoded, quality=quality), pixels)
                    yield from zip(batch.tolist(), encoded, strict=True)
                    self.step(len(batch), self.table.slides[slide])

    @contextmanager
    def _table(self, folders: Sequence[str] = ()) -> Iterator[Any]:
        counted = enumerate(zip(self.names, self.counts(), strict=False))
        classes: list[dict[str, Any]] = [{"index": i, "class": name, "tiles": tiles} for i, (name, tiles) in counted]
        for one, folder in zip(classes, folders, strict=False):
            one["folder"] = folder
        (self.home / "classes.json").write_text(json.dumps(classes, indent=1) + "\n", "utf-8")
        with (self.home / "tiles.csv").open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(COLUMNS)
            yield lines

    def _key(self, i: int, slides: Sequence[str]) -> str:
        return f"{slides[self.table.slide[i]]}_x{self.table.x0[i]}_y{self.table.y0[i]}"

    def _line(self, i: int, file: str) -> tuple[Any, ...]:
        table, slide, label = self.table, int(self.table.slide[i]), int(self.label[i])
        named = table.slides[slide], table.patients[table.patient[i]], self.names[label] if label >= 0 else ""
        where = int(table.x0[i]), int(table.y0[i]), int(table.side0[i])
        return file, *named, *where, self.mpp[slide], str(uuid.UUID(bytes=table.tile_id[i].tobytes()))


def _choose(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{what} must be one of {', '.join(known)}; got {value!r}.{did_you_mean(value, known)}")


def _check_out(store: TileStore, out: Path) -> None:
    if os.path.lexists(out):
        raise ConfigError(f"{out}: exists already. Choose another folder with -o.")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}. Make it, or choose another place with -o.")
    if store.path.resolve() in out.resolve().parents:
        raise ConfigError(f"{out}: lies in the store. Choose another folder with -o.")


def _safe(name: str, dots: bool) -> str:
    text = unicodedata.normalize("NFC", name if dots else name.replace(".", "_"))
    text = "".join(letter if letter.isprintable() and letter not in '<>:"/\\|?*' else "_" for letter in text)
    text = text.encode()[:MOST_NAME_BYTES].decode(errors="ignore").strip().rstrip(". ")
    if not text or text[0] == "." or text.partition(".")[0].strip().casefold() in RESERVED:
        text = f"_{text}"
    return text


def _text(name: str) -> str:
    """Return a name that is text; that of a file may have bytes that are not."""
    return name.encode(errors="backslashreplace").decode()


def _encoded(pixels: NDArray[np.uint8], quality: int | None) -> bytes:
    """Return a JPEG with full colour resolution, or a PNG where `quality` is None."""
    how = {"format": "PNG"} if quality is None else {"format": "JPEG", "quality": quality, "subsampling": 0}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **how)
    return buffer.getvalue()


def _end(quality: int | None) -> str:
    return "png" if quality is None else "jpg"

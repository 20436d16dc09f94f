"""The tile store: a zarr v3 group in which each slide's group appears whole, or not at all.

::

    tiles.zarr/            attributes.w2wpath = {schema, version, tile_px, mpp, stride_px, resample}
      slides/<slide>/      attributes: classes, patients, fingerprint, mpp, origin, hashes, counts, import report
        images             (N, tile_px, tile_px, 3) uint8, sharded, one tile a chunk, zstd
        x0 y0 side0 label roi patient core valid_share area_share tile_id
      decisions/<run>/     written by `clean`
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from w2wpath.errors import StoreError, W2wError, full_disk, writing
from w2wpath.tiles.labels import NO_LABEL

SCHEMA = 1
SHARD_TILES = 256
EVERY_CHUNK: Any = {"write_empty_chunks": True}  # zeros too, so that a chunk that is not there was lost
COLUMNS = ("x0", "y0", "side0", "label", "roi", "patient", "core", "valid_share", "area_share", "tile_id")


@dataclass(frozen=True)
class StoreSpec:
    """What all slides of a store share: output pixels, um/px, grid step in output pixels, resampling filter."""

    tile_px: int
    mpp: float
    stride_px: int
    resample: str


@dataclass(frozen=True)
class SlideTiles:
    """All columns of one slide's tiles (without pixels) and its attributes."""

    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Number of tiles."""
        return len(self.columns["x0"])


@dataclass(frozen=True)
class TileTable:
    """Every tile of a store, slides in sorted order, classes and patients joined by name.

    `row` is the tile's index within its slide; `label` and `patient` index `classes` and `patients`;
    `x0, y0, side0` are level-0 pixels of the slide's own frame.
    """

    slides: tuple[str, ...]
    classes: tuple[str, ...]
    patients: tuple[str, ...]
    slide: NDArray[np.int32]
    row: NDArray[np.int32]
    x0: NDArray[np.int32]
    y0: NDArray[np.int32]
    side0: NDArray[np.int32]
    label: NDArray[np.int16]
    patient: NDArray[np.int32]
    tile_id: NDArray[np.uint8]
    area_share: NDArray[np.float32] = field(repr=False)

    @property
    def n(self) -> int:
        """Number of tiles."""
        return len(self.slide)

    def take(self, rows: NDArray[np.intp]) -> TileTable:
        """Return the table of `rows` only; names stay as they are."""
        changed = {
            name: getattr(self, name)[rows]
            for name in ("slide", "row", "x0", "y0", "side0", "label", "patient", "tile_id", "area_share")
        }
        return TileTable(self.slides, self.classes, self.patients, **changed)

    def labelled(self) -> NDArray[np.intp]:
        """Return the rows that carry a label."""
        return np.flatnonzero(self.label >= 0)

    def where(self, i: int) -> str:
        """Name tile `i` for a message: slide and level-0 corner."""
        return f"{self.slides[self.slide[i]]} x0={self.x0[i]} y0={self.y0[i]}"


class TileStore:
    """A store on a local disk. Opening it finishes an interrupted replacement of a slide."""

    def __init__(self, path: Path, spec: StoreSpec) -> None:
        self.path = path
        self.spec = spec

    @classmethod
    def open(cls, path: Path | str) -> TileStore:
        """Open an existing store.

        Raises
        ------
        StoreError
            Nothing is there, it is not ours, its schema is another one, or it is damaged.
        """
        path = Path(path)
        if not path.exists():
            raise StoreError(f"{path}: no such tile store. Make one with `w2wpath tile slide.svs rois.geojson`.")
        spec = _read_spec(path)
        store = cls(path, spec)
        store._finish_swaps()
        return store

    @classmethod
    def create_or_open(cls, path: Path | str, spec: StoreSpec) -> TileStore:
        """Open the store, or make an empty one.

        Raises
        ------
        StoreError
            The store that is there holds tiles of another size, scale, step or filter.
        """
        path = Path(path)
        if not path.exists():
            _create(path, spec)
        store = cls.open(path)
        if store.spec != spec:
            has, wants = store.spec, spec
            raise StoreError(
                f"{path}: holds tiles of {has.tile_px} px at {has.mpp:g} um/px with step {has.stride_px} "
                f"({has.resample}); asked for {wants.tile_px} px at {wants.mpp:g} um/px "
                f"with step {wants.stride_px} ({wants.resample}). "
                "Use the same settings, or another store with -o."
            )
        return store

    @property
    def scratch(self) -> Path:
        """Folder beside the store for what is not yet whole."""
        return self.path.with_name(f".{self.path.name}.scratch")

    def slides(self) -> list[str]:
        """Return the names of the slides, sorted."""
        home = self.path / "slides"
        return sorted(entry.name for entry in home.iterdir() if entry.is_dir()) if home.is_dir() else []

    def attributes(self, slide: str) -> dict[str, Any]:
        """Return the attributes of a slide's group."""
        with self._damage(slide):
            found = dict(zarr.open_group(self.path / "slides" / slide, mode="r").attrs.asdict())
            if not found:
                raise ValueError("its attributes are lost")
            return found

    def read(self, slide: str) -> SlideTiles:
        """Return a slide's columns and attributes."""
        with self._damage(slide):
            group = zarr.open_group(self.path / "slides" / slide, mode="r")
            _refuse_lost_chunks(group)
            columns = {name: np.asarray(_array(group, name)[...]) for name in COLUMNS}
            return SlideTiles(columns, self.attributes(slide))

    def images(self, slide: str, rows: NDArray[np.int64] | None = None) -> NDArray[np.uint8]:
        """Return tiles ``(n, tile_px, tile_px, 3)`` uint8 RGB of a slide; `rows` must rise, None means all."""
        with self._damage(slide):
            images = _array(zarr.open_group(self.path / "slides" / slide, mode="r"), "images")
            return np.asarray(images[...] if rows is None else images.oindex[rows.astype(np.intp)])

    def add(self, slide: str, tiles: SlideTiles, pixels: Iterable[NDArray[np.uint8]]) -> None:
        """Write a slide's group beside the store, then rename it into place; a group of that name is replaced.

        Raises
        ------
        DiskError
            There was no room; the store is as it was before.
        """
        _check_name(slide)
        with self._scratch_folder(slide) as fresh, writing(self.path):
            self._fill(fresh, tiles, pixels)
            self._swap(fresh, slide)

    def table(self) -> TileTable:
        """Join the tiles of all slides; classes and patients are matched by name.

        Raises
        ------
        StoreError
            The store holds no slide.
        """
        names = self.slides()
        if not names:
            raise StoreError(f"{self.path}: holds no slide. Add one with `w2wpath tile slide.svs rois.geojson`.")
        parts = [self.read(name) for name in names]
        classes = tuple(sorted({name for part in parts for name in part.attributes["classes"]}))
        patients = tuple(sorted({name for part in parts for name in part.attributes["patients"]}))
        label, shares = zip(*(_joined_labels(part, classes) for part in parts), strict=True)
        patient = [_joined(part.columns["patient"], part.attributes["patients"], patients) for part in parts]
        plain = {
            name: np.concatenate([part.columns[name] for part in parts]) for name in ("x0", "y0", "side0", "tile_id")
        }
        return TileTable(
            slides=tuple(names),
            classes=classes,
            patients=patients,
            slide=np.repeat(np.arange(len(parts), dtype=np.int32), [part.n for part in parts]),
            row=np.concatenate([np.arange(part.n, dtype=np.int32) for part in parts]),
            label=np.concatenate(label),
            patient=np.concatenate(patient),
            area_share=np.concatenate(shares),
            **plain,
        )

    def content_hash(self) -> str:
        """Return a sha256 over every slide's pixels and labels, to tell whether anything changed."""
        digest = hashlib.sha256()
        for name in self.slides():
            attributes = self.attributes(name)
            digest.update(f"{name}\0{attributes['pixels_hash']}\0{attributes['labels_hash']}\0".encode())
        return digest.hexdigest()

    @contextmanager
    def publish(self, relative: str) -> Iterator[Path]:
        """Give a scratch folder that is renamed to ``<store>/<relative>`` when the block ends well."""
        final = self.path / relative
        with self._scratch_folder(final.name) as fresh, writing(final):
            yield fresh
            final.parent.mkdir(parents=True, exist_ok=True)
            fresh.rename(final)

    def _fill(self, folder: Path, tiles: SlideTiles, pixels: Iterable[NDArray[np.uint8]]) -> None:
        group = zarr.open_group(folder, mode="w", attributes=dict(tiles.attributes))
        side = self.spec.tile_px
        images = group.create_array(
            "images",
            shape=(tiles.n, side, side, 3),
            chunks=(1, side, side, 3),
            shards=(SHARD_TILES, side, side, 3),
            dtype="uint8",
            compressors=ZstdCodec(level=1, checksum=True),  # without, most flipped bits would pass for pixels
            config=EVERY_CHUNK,
        )
        for start, batch in _batches(pixels, SHARD_TILES):
            images[start : start + len(batch)] = batch
        for name in COLUMNS:
            group.create_array(name, data=np.ascontiguousarray(tiles.columns[name]), config=EVERY_CHUNK)

    def _swap(self, fresh: Path, slide: str) -> None:
        final = self.path / "slides" / slide
        final.parent.mkdir(exist_ok=True)
        aside = self.scratch / f"{slide}.replaced-{uuid.uuid4().hex}"
        while True:
            replaces = _moved(final, aside)
            try:
                fresh.rename(final)
                break
            except OSError:
                if not final.exists():
                    _moved(aside, final)
                    raise
                if not replaces or aside.exists():
                    break  # another run published the same slide first: its copy is as good as ours
                # else a run that opened the store meanwhile brought the old group back: move it aside again
        shutil.rmtree(aside, ignore_errors=True)

    def _finish_swaps(self) -> None:
        """Bring back a slide that a killed run had moved aside and not yet replaced."""
        try:
            asides = sorted(self.scratch.glob(f"*.replaced-{'[0-9a-f]' * 32}"))
        except FileNotFoundError:  # a run that was busy here has just finished
            return
        for aside in asides:
            final = self.path / "slides" / aside.name.rsplit(".replaced-", 1)[0]
            if final.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                with suppress(OSError):  # the run that moved it aside is alive and was faster
                    aside.rename(final)

    @contextmanager
    def _scratch_folder(self, name: str) -> Iterator[Path]:
        folder = self.scratch / f"{name}-{uuid.uuid4().hex}"
        with writing(self.path):
            self.scratch.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another run still has its own in there
                self.scratch.rmdir()

    @contextmanager
    def _damage(self, slide: str) -> Iterator[None]:
        try:
            yield
        except W2wError:
            raise
        except Exception as error:
            # zarr and its codecs raise many kinds for damaged bytes; all of them mean the same to a user
            raise StoreError(
                f"{self.path}: the tiles of slide {slide!r} cannot be read ({type(error).__name__}: {error}). "
                f"Remove {self.path / 'slides' / slide} and tile this slide again; the others are not affected."
            ) from error


def _create(path: Path, spec: StoreSpec) -> None:
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            attributes: dict[str, Any] = {"w2wpath": {"schema": SCHEMA, "version": "0.1", **spec.__dict__}}
            zarr.open_group(fresh, mode="w", attributes=attributes)
            fresh.rename(path)
        except OSError as error:
            # another process may have made the store meanwhile: then it is simply there
            if full_disk(error) or not path.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _read_spec(path: Path) -> StoreSpec:
    try:
        about = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]["w2wpath"]
        schema = about["schema"]
        if schema == SCHEMA:
            return StoreSpec(about["tile_px"], about["mpp"], about["stride_px"], about["resample"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{path}: not a w2wpath tile store. Give another path, or move it away.") from None
    raise StoreError(
        f"{path}: has schema {schema!r}, but this w2wpath reads schema {SCHEMA}. "
        "Update w2wpath if the store is newer, or tile again into another store."
    )


def _check_name(slide: str) -> None:
    if slide in ("", ".", "..") or slide.startswith("__") or os.sep in slide or "\0" in slide:
        raise StoreError(f"slide name {slide!r} cannot name a folder of the store. Rename the file.")


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise StoreError(f"{group.store_path}: {name} is not an array. Tile this slide again.")
    return found


def _moved(folder: Path, to: Path) -> bool:
    """Rename a folder; False where it is not there."""
    try:
        folder.rename(to)
    except FileNotFoundError:
        return False
    return True


def _refuse_lost_chunks(group: zarr.Group) -> None:
    """Refuse a slide of which a file is missing: zarr would read it as zeros, black tiles of the first class."""
    arrays = {name: _array(group, name) for name in ("images", *COLUMNS)}
    if lost := [name for name, array in arrays.items() if array.nchunks_initialized < array.nchunks]:
        raise FileNotFoundError(f"a file of {lost[0]} is missing")


def _batches(pixels: Iterable[NDArray[np.uint8]], size: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    start, batch = 0, []
    for tile in pixels:
        batch.append(tile)
        if len(batch) == size:
            yield start, np.stack(batch)
            start, batch = start + size, []
    if batch:
        yield start, np.stack(batch)


def _joined(codes: NDArray[Any], own: Sequence[str], joint: Sequence[str]) -> NDArray[np.int32]:
    to_joint: NDArray[np.int32] = np.array([joint.index(name) for name in own], dtype=np.int32)
    return np.asarray(to_joint[codes])


def _joined_labels(part: SlideTiles, classes: Sequence[str]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    own = list(part.attributes["classes"])
    to_joint = np.array([classes.index(name) for name in own], dtype=np.int16)
    label = part.columns["label"]
    shares = np.zeros((part.n, len(classes)), dtype=np.float32)
    shares[:, to_joint] = part.columns["area_share"]
    return np.where(label >= 0, to_joint[label], NO_LABEL).astype(np.int16), shares

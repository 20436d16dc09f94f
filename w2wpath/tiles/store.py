"""The tile store: a zarr v3 group in which each slide's group appears whole, or not at all.

::

    tiles.zarr/            attributes.w2wpath = {schema, version, tile_px, mpp, stride_px, resample, codec, checksum}
      slides/<slide>/      attributes: classes, patients, fingerprint, mpp, origin, hashes, counts, import report,
                           damaged (corners of tiles that could not be read), checksum
        images             (N, tile_px, tile_px, 3) uint8, sharded, one tile a chunk, zstd
        data offset length in its place for the codecs jpeg and source: whole JPEG files, one after another
        x0 y0 side0 label roi patient core valid_share area_share tile_id
      decisions/<run>/     written by `clean`
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import StoreError, writing
from w2wpath.tiles.codecs import EVERY_CHUNK, SHARD_TILES, Pixels, encoder, link_pixels, pixel_arrays, write_pixels
from w2wpath.tiles.shards import Opener
from w2wpath.tiles.table import (
    COLUMNS,
    SCHEMA,
    SlideTiles,
    StoreSpec,
    TileTable,
    check_name,
    create_root,
    damage,
    join,
    read_attributes,
    read_columns,
    read_root,
    refuse_damaged_heads,
    write_slide,
)

if TYPE_CHECKING:
    import dask.array

__all__ = ["COLUMNS", "EVERY_CHUNK", "SCHEMA", "SHARD_TILES", "SlideTiles", "StoreSpec", "TileStore", "TileTable"]

SAME_TILES = ("x0", "y0", "side0")


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
        spec = read_root(path)
        store = cls(path, spec)
        store._finish_swaps()
        return store

    @classmethod
    def create_or_open(cls, path: Path | str, spec: StoreSpec) -> TileStore:
        """Open the store, or make an empty one.

        Raises
        ------
        StoreError
            The store that is there holds tiles of another size, scale, step, filter or codec.
        """
        path = Path(path)
        if not path.exists():
            create_root(path, spec)
        store = cls.open(path)
        has, wants = store.spec, spec
        if has.codec != wants.codec and replace(has, codec=wants.codec) == wants:
            raise StoreError(
                f"{path}: holds tiles as {has.codec}; asked for {wants.codec}. "
                "Use the same codec, or another store with -o."
            )
        if has != wants:
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
            return read_attributes(self._group(slide))[0]

    def present(self, slide: str) -> dict[str, Any] | None:
        """Return the attributes of a slide's group, None where the store has no such slide."""
        return self.attributes(slide) if self._group(slide).is_dir() else None

    def read(self, slide: str) -> SlideTiles:
        """Return a slide's columns and attributes."""
        with self._damage(slide):
            attributes, heads = read_attributes(self._group(slide))
            return SlideTiles(read_columns(self._group(slide), self.spec.codec, heads), attributes)

    def pixels(self, slide: str, opened: Opener | None = None) -> Pixels:
        """Open a slide's tiles for reading at random; `opened` lets several slides share a number of open files."""
        with self._damage(slide):
            heads = read_attributes(self._group(slide))[1]
            refuse_damaged_heads(self._group(slide), heads, pixel_arrays(self.spec.codec))
            return Pixels(self._group(slide), self.spec.codec, self.spec.tile_px, opened)

    def images(
        self, slide: str, rows: NDArray[np.integer[Any]] | None = None, *, threads: int | None = None
    ) -> NDArray[np.uint8]:
        """Return tiles ``(n, tile_px, tile_px, 3)`` uint8 RGB of a slide.

        Parameters
        ----------
        rows
            In any order, repeated or not; None means all.
        threads
            None takes up to 4 for many rows.

        Raises
        ------
        IndexError
            A row is not there.
        """
        pixels = self.pixels(slide)
        wanted = np.arange(pixels.n) if rows is None else np.asarray(rows)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < pixels.n:
            raise IndexError(f"rows of slide {slide!r} go from 0 to {pixels.n - 1}; got {wanted.min()}, {wanted.max()}")
        with self._damage(slide):
            return pixels.read(wanted, threads)

    def dask(self, slide: str) -> dask.array.Array:
        """Return a slide's tiles as a dask array ``(N, tile_px, tile_px, 3)``, a chunk for each shard's tiles.

        It holds the store's path, so that workers on other machines read it where they see the same disk.
        """
        import dask.array

        pixels, px = self.pixels(slide), self.spec.tile_px
        name = f"tiles-{slide}-{hashlib.sha256((self._group(slide) / 'zarr.json').read_bytes()).hexdigest()[:16]}"
        lazy = _Lazy(self, slide, (pixels.n, px, px, 3), np.dtype(np.uint8))
        chunks = (SHARD_TILES, px, px, 3)
        meta = np.empty((0,) * 4, np.uint8)
        tiles: dask.array.Array = dask.array.from_array(  # type: ignore[no-untyped-call] # dask has no annotations there
            lazy, chunks=chunks, name=name, fancy=False, meta=meta
        )
        return tiles

    def encode(self, tile: NDArray[np.uint8]) -> bytes:
        """Encode one tile as this store keeps it, in whichever thread; :meth:`add` takes the bytes.

        Raises
        ------
        StoreError
            The store's codec is ``source``, which keeps what the scanner wrote.
        """
        px = self.spec.tile_px
        if tile.shape != (px, px, 3) or tile.dtype != np.uint8:
            raise ValueError(f"tiles of this store are ({px}, {px}, 3) uint8, got {tile.shape} {tile.dtype}")
        return encoder(self.spec.codec)(tile)

    def add(self, slide: str, tiles: SlideTiles, pixels: Iterable[NDArray[np.uint8] | bytes | None]) -> int:
        """Write a slide's group beside the store, then rename it into place; a group of that name is replaced.

        Parameters
        ----------
        pixels
            In row order: an array, bytes from :meth:`encode` (a whole JPEG file under ``source``), or None for a tile
            that could not be read, whose row is left out and whose corner goes to the attribute ``damaged``.

        Returns
        -------
        int
            Number of tiles stored.

        Raises
        ------
        DiskError
            There was no room; the store is as it was before.
        StoreError
            Not one of the tiles could be read; likewise.
        """
        check_name(slide)
        with self._scratch_folder(slide) as fresh, writing(self.path):
            zarr.open_group(fresh, mode="w")
            keep = np.zeros(tiles.n, dtype=np.bool_)
            write_pixels(fresh, self.spec.codec, self.spec.tile_px, self._encoded(slide, pixels, keep))
            if not keep.any():
                raise StoreError(
                    f"{self.path}: slide {slide!r}: none of its {tiles.n} tiles could be read. "
                    "Check the slide in a viewer, and copy it again if it is damaged."
                )
            stored = tiles.without_damaged(keep)
            write_slide(fresh, stored, self.spec.codec)
            self._swap(fresh, slide)
        return stored.n

    def replace_labels(self, slide: str, tiles: SlideTiles) -> None:
        """Publish a slide's group with new columns and attributes, its pixels hard-linked from the present one.

        `tiles` are the slide's tiles as laid out (those that were ``damaged`` are left out again) or as read.

        Raises
        ------
        StoreError
            They are not the same tiles, or the slide was replaced meanwhile.
        DiskError
            There was no room; the store is as it was before.
        """
        check_name(slide)
        with self._damage(slide):
            before = (self._group(slide) / "zarr.json").read_bytes()
        had = self.read(slide)
        lost = {(x0, y0) for x0, y0 in had.attributes.get("damaged", [])}
        stored = tiles.without_damaged(np.array([corner not in lost for corner in tiles.corners], dtype=np.bool_))
        same = all(np.array_equal(stored.columns[name], had.columns[name]) for name in SAME_TILES)
        if not same or stored.attributes.get("pixels_hash") != had.attributes.get("pixels_hash"):
            raise StoreError(
                f"{self.path}: the new labels of slide {slide!r} are for other tiles or other pixels. "
                "Run `w2wpath tile` for this slide again."
            )
        if lost:
            stored = SlideTiles(stored.columns, {**stored.attributes, "damaged": had.attributes["damaged"]})
        with self._scratch_folder(slide) as fresh, writing(self.path):
            zarr.open_group(fresh, mode="w")
            if not self._linked(slide, fresh, before):
                raise StoreError(
                    f"{self.path}: slide {slide!r} was replaced by another run meanwhile. Run the same command again."
                )
            write_slide(fresh, stored, self.spec.codec)
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
        return join(names, [self.read(name) for name in names])

    def content_hash(self) -> str:
        """Return a sha256 over every slide's pixels and labels, to tell whether anything changed."""
        digest = hashlib.sha256()
        for name in self.slides():
            attributes = self.attributes(name)
            digest.update(f"{name}\0{attributes['pixels_hash']}\0{attributes['labels_hash']}\0".encode())
            digest.update(json.dumps(attributes.get("damaged", [])).encode())
        return digest.hexdigest()

    @contextmanager
    def publish(self, relative: str) -> Iterator[Path]:
        """Give a scratch folder that is renamed to ``<store>/<relative>`` when the block ends well."""
        final = self.path / relative
        with self._scratch_folder(final.name) as fresh, writing(final):
            yield fresh
            final.parent.mkdir(parents=True, exist_ok=True)
            fresh.rename(final)

    def _group(self, slide: str) -> Path:
        return self.path / "slides" / slide

    def _damage(self, slide: str) -> AbstractContextManager[None]:
        return damage(self.path, slide)

    def _encoded(
        self, slide: str, pixels: Iterable[NDArray[np.uint8] | bytes | None], keep: NDArray[np.bool_]
    ) -> Iterator[bytes]:
        """Encode what is not encoded yet; note in `keep` which rows have pixels."""
        came = 0
        for tile in pixels:
            if tile is not None and came < len(keep):
                keep[came] = True
                yield tile if isinstance(tile, bytes) else self.encode(tile)
            came += 1
        if came != len(keep):
            raise ValueError(f"slide {slide!r}: {came} tiles of pixels for {len(keep)} rows")

    def _linked(self, slide: str, fresh: Path, before: bytes) -> bool:
        """Give `fresh` the pixels of the present group; False where that was replaced meanwhile."""
        try:
            link_pixels(self._group(slide), fresh, self.spec.codec)
            return (self._group(slide) / "zarr.json").read_bytes() == before
        except FileNotFoundError:
            return False

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


@dataclass(frozen=True)
class _Lazy:
    """What dask slices: reads a slide's tiles when it is asked, in whichever process."""

    store: TileStore
    slide: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.uint8]
    ndim: int = 4

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[np.uint8]:
        rows = np.arange(self.shape[0])[key[0]]
        return self.store.images(self.slide, rows, threads=1)[(slice(None), *key[1:])]


def _moved(folder: Path, to: Path) -> bool:
    """Rename a folder; False where it is not there."""
    try:
        folder.rename(to)
    except FileNotFoundError:
        return False
    return True

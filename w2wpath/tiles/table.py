"""What is known of tiles besides pixels: what a store is for, a slide's columns and attributes, the joint table."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from w2wpath.errors import StoreError, W2wError, full_disk, writing
from w2wpath.tiles.codecs import CODECS, Codec, pixel_arrays, read_column, refuse_lost_shards, write_column
from w2wpath.tiles.labels import NO_LABEL
from w2wpath.tiles.shards import crc

SCHEMA = 1
COLUMNS = ("x0", "y0", "side0", "label", "roi", "patient", "core", "valid_share", "area_share", "tile_id")
EXTRA = ("tissue_share", "sharpness")
"""Columns that a slide has only where they were asked for."""


@dataclass(frozen=True)
class StoreSpec:
    """What all slides of a store share: output pixels, um/px, grid step in output pixels, resampling filter, codec."""

    tile_px: int
    mpp: float
    stride_px: int
    resample: str
    codec: Codec = "zstd"


@dataclass(frozen=True)
class SlideTiles:
    """All columns of one slide's tiles (without pixels) and its attributes."""

    columns: Mapping[str, NDArray[Any]]
    attributes: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Number of tiles."""
        return len(self.columns["x0"])

    @property
    def corners(self) -> list[tuple[int, int]]:
        """Level-0 corners (x0, y0) of the tiles."""
        return list(zip(self.columns["x0"].tolist(), self.columns["y0"].tolist(), strict=True))

    def without_damaged(self, keep: NDArray[np.bool_]) -> SlideTiles:
        """Leave out the tiles that could not be read, list their corners as ``damaged``, count what is left.

        ``counts.border`` and ``counts.conflict`` stay: they say what the layout found.
        """
        if keep.all():
            return self
        columns = {name: values[keep] for name, values in self.columns.items()}
        lost = [list(corner) for corner, kept in zip(self.corners, keep.tolist(), strict=True) if not kept]
        attributes = {**self.attributes, "damaged": [*self.attributes.get("damaged", []), *lost]}
        if "counts" in attributes:
            of_class = enumerate(attributes["classes"])
            by_class = {name: int((columns["label"] == index).sum()) for index, name in of_class}
            attributes["counts"] = {**attributes["counts"], "tiles": len(columns["x0"]), "by_class": by_class}
        return SlideTiles(columns, attributes)


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
        columns = ("slide", "row", "x0", "y0", "side0", "label", "patient", "tile_id", "area_share")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def labelled(self) -> NDArray[np.intp]:
        """Return the rows that carry a label."""
        return np.flatnonzero(self.label >= 0)

    def where(self, i: int) -> str:
        """Name tile `i` for a message: slide and level-0 corner."""
        return f"{self.slides[self.slide[i]]} x0={self.x0[i]} y0={self.y0[i]}"


def join(names: Sequence[str], parts: Sequence[SlideTiles]) -> TileTable:
    """Join the tiles of slides; classes and patients are matched by name."""
    classes = tuple(sorted({name for part in parts for name in part.attributes["classes"]}))
    patients = tuple(sorted({name for part in parts for name in part.attributes["patients"]}))
    label, shares = zip(*(_joined_labels(part, classes) for part in parts), strict=True)
    patient = [_joined(part.columns["patient"], part.attributes["patients"], patients) for part in parts]
    plain = {name: np.concatenate([part.columns[name] for part in parts]) for name in ("x0", "y0", "side0", "tile_id")}
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


# the root and a slide's group on disk ------------------------------------------------------------------------------


def create_root(path: Path, spec: StoreSpec) -> None:
    """Make an empty store; fine where another process has just made one.

    Raises
    ------
    DiskError
        There was no room.
    """
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            about = {"schema": SCHEMA, "version": "0.1", **asdict(spec)}
            zarr.open_group(fresh, mode="w", attributes={"w2wpath": {**about, "checksum": checksum_of(about)}})
            fresh.rename(path)
        except OSError as error:
            # another process may have made the store meanwhile: then it is simply there
            if full_disk(error) or not path.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def read_root(path: Path) -> StoreSpec:
    """Return what a store says of itself.

    Raises
    ------
    StoreError
        It is not ours, of another schema, or damaged.
    """
    try:
        about = json.loads((path / "zarr.json").read_text("utf-8"))["attributes"]["w2wpath"]
        schema = about["schema"]
        if schema == SCHEMA:
            spec = StoreSpec(*(about[key] for key in ("tile_px", "mpp", "stride_px", "resample", "codec")))
            if about.pop("checksum") == checksum_of(about) and spec.codec in CODECS:
                return spec
            raise StoreError(
                f"{path}: its zarr.json is damaged. Bring it back from a copy, or tile again into another store."
            )
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise StoreError(f"{path}: not a w2wpath tile store. Give another path, or move it away.") from None
    raise StoreError(
        f"{path}: has schema {schema!r}, but this w2wpath reads schema {SCHEMA}. "
        "Update w2wpath if the store is newer, or tile again into another store."
    )


def check_name(slide: str) -> None:
    """Raise StoreError where a slide's name could not name a folder inside the store."""
    if slide in ("", ".", "..") or slide.startswith("__") or os.sep in slide or "\0" in slide:
        raise StoreError(f"slide name {slide!r} cannot name a folder of the store. Rename the file.")


def write_slide(group: Path, tiles: SlideTiles, codec: Codec) -> None:
    """Write columns and attributes into a group whose pixels are there.

    The attribute ``checksum`` holds a crc32c of every array's ``zarr.json`` and of the attributes themselves; the
    arrays' chunks carry their own.
    """
    columns = (*COLUMNS, *(name for name in EXTRA if name in tiles.columns))
    for name in columns:
        write_column(group / name, tiles.columns[name])
    heads = {name: crc((group / name / "zarr.json").read_bytes()) for name in (*columns, *pixel_arrays(codec))}
    attributes = json.loads(json.dumps(dict(tiles.attributes)))
    checksum = {"heads": heads, "attributes": checksum_of(attributes)}
    zarr.open_group(group, mode="a").update_attributes({**attributes, "checksum": checksum})


def read_attributes(group: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return a slide's attributes, and the crc32c of every array's ``zarr.json``.

    Raises
    ------
    ValueError
        They are damaged.
    """
    about = json.loads((group / "zarr.json").read_bytes())
    if (about.get("zarr_format"), about.get("node_type")) != (3, "group") or "attributes" not in about:
        raise ValueError("its attributes are lost")
    attributes: dict[str, Any] = about["attributes"]
    checksum = attributes.pop("checksum", {})
    if checksum.get("attributes") != checksum_of(attributes):
        raise ValueError("its attributes are damaged (crc32c)")
    return attributes, checksum["heads"]


def read_columns(group: Path, codec: Codec, heads: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """Read every column; also refuse a group of which some other file is lost."""
    columns = (*COLUMNS, *(name for name in EXTRA if name in heads))
    refuse_damaged_heads(group, heads, (*columns, *pixel_arrays(codec)))
    refuse_lost_shards(group, codec)
    return {name: read_column(group / name) for name in columns}


def refuse_damaged_heads(group: Path, heads: Mapping[str, int], names: Sequence[str]) -> None:
    """Raise ValueError where a ``zarr.json`` is not what was written."""
    for name in names:
        if crc((group / name / "zarr.json").read_bytes()) != heads[name]:
            raise ValueError(f"the description of {name} is damaged (crc32c)")


def checksum_of(attributes: Any) -> int:
    """Return a crc32c of attributes, whatever the order and spacing they are written with."""
    return crc(json.dumps(attributes, sort_keys=True).encode())


@contextmanager
def damage(store: Path, slide: str) -> Iterator[None]:
    """Turn whatever damaged files raise while a slide is read into one message with the cure."""
    try:
        yield
    except W2wError:
        raise
    except Exception as error:
        # zarr and its codecs raise many kinds for damaged bytes; all of them mean the same to a user
        raise StoreError(
            f"{store}: the tiles of slide {slide!r} cannot be read ({type(error).__name__}: {error}). "
            f"Remove {store / 'slides' / slide} and tile this slide again; the others are not affected."
        ) from error

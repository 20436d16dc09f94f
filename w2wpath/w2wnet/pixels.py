"""What is measured on the pixels of the labelled tiles before any training, in one pass over them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import CleanSettings
from w2wpath.errors import ConfigError
from w2wpath.progress import Progress, StopAsked, Stopped
from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet import texture
from w2wpath.w2wnet.duplicates import DIGEST_BYTES, digests
from w2wpath.w2wnet.quality import FEATURES, SMALLEST_PX, measure

IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class Measured:
    """What the pixels of n tiles say.

    Attributes
    ----------
    features
        (n, f) of image quality; (n, 0) where it is not judged.
    texture
        (n, f) of colour and texture for the second reader; (n, 0) where there is none.
    digest
        (n, 32) of the pixels, for finding copies.
    """

    features: NDArray[np.float32]
    texture: NDArray[np.float32]
    digest: NDArray[np.uint8]


def refuse_small(store: TileStore) -> None:
    """Refuse tiles that are too small for image quality.

    Raises
    ------
    ConfigError
        They are.
    """
    px = store.spec.tile_px
    if px < SMALLEST_PX:
        raise ConfigError(
            f"{store.path}: tiles of {px} px are too small for the image-quality score, which needs {SMALLEST_PX}. "
            "Pass --no-quality, or tile larger."
        )


def measured(
    path: Path, store: TileStore, judged: TileTable, progress: Progress, stop_asked: StopAsked, settings: CleanSettings
) -> Measured:
    """Return what `path` holds of the tiles `judged`, or measure them and write it there."""
    found = _read(path)
    if found is None:
        found = _measure(store, judged, progress, stop_asked, settings)
        file = io.BytesIO()
        np.savez(file, features=found.features, texture=found.texture, digest=found.digest)
        write_whole(path, file.getvalue())
    return found


def images_of(store: TileStore, table: TileTable, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return the images (len(rows), h, w, 3) of a few tiles, in the order of `rows`."""
    px = store.spec.tile_px
    images = np.empty((len(rows), px, px, 3), dtype=np.uint8)
    for index in np.unique(table.slide[rows]):
        here = np.flatnonzero(table.slide[rows] == index)
        images[here] = store.images(table.slides[index], table.row[rows[here]])
    return images


def _measure(
    store: TileStore, judged: TileTable, progress: Progress, stop_asked: StopAsked, settings: CleanSettings
) -> Measured:
    quality, reads = settings.quality, settings.second_reader == "forest"
    features = np.empty((judged.n, len(FEATURES) if quality else 0), dtype=np.float32)
    textures = np.empty((judged.n, texture.COUNT if reads else 0), dtype=np.float32)
    digest = np.empty((judged.n, DIGEST_BYTES), dtype=np.uint8)
    with progress.track("image quality and copies" if quality else "copies", judged.n) as step:
        for slide, at in _portions(judged):
            if stop_asked():
                raise Stopped("before the first epoch")
            images = store.images(slide, judged.row[at])
            digest[at] = digests(images)
            if quality:
                features[at] = measure(images)
            if reads:
                textures[at] = texture.measure(images)
            step(len(at), slide)
    return Measured(features, textures, digest)


def _portions(table: TileTable) -> Iterator[tuple[str, NDArray[np.intp]]]:
    for index, slide in enumerate(table.slides):
        mine = np.flatnonzero(table.slide == index)
        for at in np.array_split(mine, -(-len(mine) // IMAGES_AT_ONCE)) if len(mine) else ():
            yield slide, at


def _read(path: Path) -> Measured | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            return Measured(found["features"], found["texture"], found["digest"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None

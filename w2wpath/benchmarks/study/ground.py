"""What all cells of a study share: the tiles, the folds, and what is measured on pixels without a network."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks import image_statistics
from w2wpath.benchmarks.study.variants import chosen
from w2wpath.config import CleanSettings, StudySettings, TileSettings
from w2wpath.errors import StoreError
from w2wpath.progress import Progress
from w2wpath.tiles.cohort import tile
from w2wpath.tiles.entries import read_cohort
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet import texture
from w2wpath.w2wnet.folds import FoldTable, assert_disjoint, make_folds, sides
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.quality import FEATURES, SMALLEST_PX, measure

IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class Ground:
    """The study's n tiles, all of which carry a label, and their folds of patients.

    Attributes
    ----------
    rows
        Their rows in the store's table.
    pixels
        A digest of the pixels of each of the table's slides.
    features_nf
        Features of image quality; None for tiles too small to have one.
    texture_nf
        Colour and texture for the second reader.
    statistics_n
        Score of ``image statistics only``. It is taken within each patient, so no fold changes it.
    asked
        The folds that are worked on: all of them, or fold 0 alone where the data come with one split.
    """

    store: TileStore
    table: TileTable
    rows: Rows
    folds: FoldTable
    fold_n: NDArray[np.int16]
    store_hash: str
    pixels: tuple[str, ...]
    features_nf: NDArray[np.float32] | None
    texture_nf: NDArray[np.float32]
    statistics_n: NDArray[np.float64]
    asked: tuple[int, ...]

    def sides(self, k: int) -> tuple[Rows, Rows]:
        """Return the rows of training and test side of fold `k`, which share no patient."""
        return sides(self.fold_n, k)

    def learned(self, train: Rows) -> str:
        """Return a sha256 of tiles `train` in their order: of pixels and given labels, wherever the tiles lie."""
        table = self.table
        slides, slide_n = np.unique(table.slide[train], return_inverse=True)
        facts = [self.store.spec.tile_px, table.classes, [self.pixels[int(slide)] for slide in slides]]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for column in (slide_n, table.row[train], table.label[train]):
            digest.update(np.asarray(column, dtype=np.int64).tobytes())
        return digest.hexdigest()


def prepare(
    out: Path,
    study: StudySettings,
    tiling: TileSettings,
    settings: CleanSettings,
    *,
    workers: int,
    progress: Progress,
) -> Ground:
    """Tile the cohort into ``out/tiles.zarr`` where that is not done as asked, deal the folds, measure the pixels.

    Raises
    ------
    W2wError
        The cohort cannot be read, a slide cannot be tiled, no tile carries a label, or patients do not suffice.
    """
    store = _tiled(out / "tiles.zarr", study.cohort, tiling, workers, progress)
    whole = store.table()
    rows = chosen(study, whole, settings.seed)
    if not rows.size:
        raise StoreError(f"{store.path}: no tile carries a label. Check classes and ROIs, and tile again.")
    table = whole.take(rows)
    folds = make_folds(
        table.patients, table.classes, table.patient, table.label, folds=settings.folds, seed=settings.seed
    )
    return _ground(store, table, rows, folds, tuple(range(folds.folds)), progress)


def prepare_split(store: TileStore, test: str, progress: Progress) -> Ground:
    """Measure the tiles of a store whose split is given: slide `test` is the test side of fold 0, the rest trains.

    Raises
    ------
    StoreError
        No tile carries a label.
    FoldError
        A patient lies on both sides.
    """
    whole = store.table()
    rows = whole.labelled()
    if not rows.size:
        raise StoreError(f"{store.path}: no tile carries a label.")
    table = whole.take(rows)
    in_test = table.slide == table.slides.index(test)
    assert_disjoint(table.patient, np.where(in_test, 0, 1))
    tested = {table.patients[int(p)] for p in np.unique(table.patient[in_test])}
    of_tiles = sorted(table.patients[int(p)] for p in np.unique(table.patient))
    folds = FoldTable(2, 0, tuple((name, 0 if name in tested else 1) for name in of_tiles))
    return _ground(store, table, rows, folds, (0,), progress)


def _ground(
    store: TileStore, table: TileTable, rows: Rows, folds: FoldTable, asked: tuple[int, ...], progress: Progress
) -> Ground:
    fold_n = folds.fold_n(table.patients, table.patient)
    assert_disjoint(table.patient, fold_n)
    features, textures, statistics = _measured(store, table, progress)
    about = [store.attributes(slide) for slide in table.slides]
    pixels = tuple(f"{one['pixels_hash']} {one.get('damaged', [])}" for one in about)
    content = store.content_hash()
    return Ground(store, table, rows, folds, fold_n, content, pixels, features, textures, statistics, asked)


def _tiled(path: Path, cohort: Path, tiling: TileSettings, workers: int, progress: Progress) -> TileStore:
    entries = read_cohort(cohort)
    gone = [entry.name for entry in entries if not entry.slide.exists()]
    if gone and path.exists():
        store = TileStore.open(path)
        if {entry.name for entry in entries} == set(store.slides()):
            progress.say(f"{path}: {len(gone)} of {len(entries)} slides are gone; their tiles stay as they are")
            return store
    # slides that are there with the same settings, regions and patients stay; what has changed is tiled again
    outcomes = tile(path, entries, tiling, workers=workers, previews=False, progress=progress)
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        raise StoreError(
            f"{cohort}: {len(failed)} of {len(entries)} slides cannot be tiled; the first: {failed[0].error} "
            "A study needs all of them: mend the slide, or take it out of the cohort."
        )
    store = TileStore.open(path)
    if others := sorted(set(store.slides()) - {entry.name for entry in entries}):
        raise StoreError(
            f"{path}: holds {len(others)} slides that {cohort} does not name ({others[0]} first). "
            "Give another folder with -o, or bring them back into the cohort."
        )
    return store


def _measured(
    store: TileStore, table: TileTable, progress: Progress
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32], NDArray[np.float64]]:
    """Measure every tile, slide by slide, so that memory stays flat."""
    judged = store.spec.tile_px >= SMALLEST_PX
    features = np.empty((table.n, len(FEATURES)), dtype=np.float32)
    textures = np.empty((table.n, texture.COUNT), dtype=np.float32)
    statistics = np.empty((table.n, len(image_statistics.FEATURES)))
    with progress.track("image quality and statistics", table.n) as step:
        for index, slide in enumerate(table.slides):
            mine = np.flatnonzero(table.slide == index)
            for at in np.array_split(mine, max(1, -(-len(mine) // IMAGES_AT_ONCE))):
                images = store.images(slide, table.row[at])
                features[at] = measure(images) if judged else np.nan
                textures[at] = texture.measure(images)
                statistics[at] = image_statistics.features(images)
                step(len(at), slide)
    return features if judged else None, textures, image_statistics.score_features(statistics, table.patient)

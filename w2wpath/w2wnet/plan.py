"""What a run of cleaning will do, settled before anything is measured, trained or written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import CleanSettings
from w2wpath.errors import RunError, StoreError
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.folds import FoldTable, make_folds, sides
from w2wpath.w2wnet.pixels import refuse_small
from w2wpath.w2wnet.runs import Key


@dataclass(frozen=True)
class Plan:
    """Tiles and folds of a run.

    Attributes
    ----------
    table
        All tiles of the store.
    rows, judged
        Rows (n,) of those that carry a label, and their table.
    fold_n
        (n,) test fold of each of these.
    key
        What the run is recognised by.
    """

    store: TileStore
    settings: CleanSettings
    table: TileTable
    rows: NDArray[np.intp]
    judged: TileTable
    folds: FoldTable
    fold_n: NDArray[np.int16]
    key: Key

    def refuse_changed_store(self) -> None:
        """Check that the store is what it was.

        Raises
        ------
        RunError
            Its tiles or labels have changed.
        """
        if self.store.content_hash() != self.key.store:
            raise RunError(
                f"{self.store.path}: its tiles or labels have changed while it was being cleaned. "
                "What was found is of no use for it; run the same command again."
            )

    def by_fold(self) -> list[dict[str, int]]:
        """Count, for every fold, patients and tiles of both sides, and the test tiles of each class."""
        found = []
        for k in range(self.settings.folds):
            train, test = sides(self.fold_n, k)
            of_class = {f"test {name}": int((self.judged.label[test] == i).sum()) for i, name in self._present()}
            counts = {
                "training patients": len(np.unique(self.judged.patient[train])),
                "training tiles": len(train),
                "test patients": len(np.unique(self.judged.patient[test])),
                "test tiles": len(test),
            }
            found.append({"fold": k + 1, **counts, **of_class})
        return found

    def _present(self) -> list[tuple[int, str]]:
        return [(int(i), self.judged.classes[i]) for i in np.unique(self.judged.label)]


def make_plan(store: TileStore, settings: CleanSettings) -> Plan:
    """Settle what a run of cleaning would do; nothing is written.

    Raises
    ------
    ConfigError
        Tiles are too small for the image-quality score.
    StoreError
        No tile has a label.
    FoldError
        Patients or classes do not suffice.
    """
    table = store.table()
    rows = table.labelled()
    if not rows.size:
        raise StoreError(f"{store.path}: no tile carries a label. Check classes and ROIs, and tile again.")
    judged = table.take(rows)
    folds = make_folds(
        judged.patients, judged.classes, judged.patient, judged.label, folds=settings.folds, seed=settings.seed
    )
    if settings.quality:
        refuse_small(store)
    fold_n = folds.fold_n(judged.patients, judged.patient)
    key = Key.of(settings, store.content_hash(), folds, store.path.name)
    return Plan(store, settings, table, rows, judged, folds, fold_n, key)

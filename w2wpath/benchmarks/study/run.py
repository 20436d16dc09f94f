"""Do what is missing of a study: Wise networks first, then the deterministic networks whose lists they make."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.every import RIVALS, is_installed
from w2wpath.benchmarks.study.cells import (
    NetCell,
    WiseCell,
    Work,
    digest_of,
    is_made,
    read_net,
    read_trace,
    read_wise,
)
from w2wpath.benchmarks.study.ground import Ground, prepare, prepare_split
from w2wpath.benchmarks.study.inner import dealt, piece_settings
from w2wpath.benchmarks.study.judging import Judged, judged, read_again
from w2wpath.benchmarks.study.making import TimeLeft, make_all
from w2wpath.benchmarks.study.methods import (
    METHODS,
    PRETRAINED,
    RECOMMENDED,
    SAME_NETWORK,
    FoldContext,
    expanded,
    network_settings,
    variant_settings,
    wise_of,
)
from w2wpath.benchmarks.study.oracle import NEEDS_WISE, ORACLES
from w2wpath.config import CleanSettings, StudySettings, TileSettings
from w2wpath.errors import ConfigError, RunError
from w2wpath.progress import Progress, Silent
from w2wpath.tiles.store import TileStore
from w2wpath.w2wnet.truth import Truth, read_rows, read_truth

SEEDS_APART = 1000
"""Between the seeds of two runs: fold k of seed s takes SEEDS_APART * s + k, and its classifiers half a step on."""
Fold = tuple[int, int]
"""Fold and seed of the study."""


@dataclass(frozen=True)
class Study:
    """A study on its ground: which cells it has, and what they say."""

    study: StudySettings
    settings: CleanSettings
    ground: Ground
    out: Path
    threads: int | None = None
    _judged: dict[tuple[str, Fold], Judged] = field(default_factory=dict)
    _second: dict[Fold, NDArray[np.float64]] = field(default_factory=dict)
    _rivals: dict[tuple[str, Fold], tuple[NDArray[np.bool_] | None, NDArray[np.float64]]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows; none but Wise networks where the cohort is a variant."""
        return expanded(self.study.rows, tuple(ORACLES))

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """Every fold of every seed, seed by seed."""
        return tuple((k, seed) for seed in self.study.seeds for k in self.ground.asked)

    @cached_property
    def truth(self) -> Truth | None:
        """The truth of the study's tiles: for scores, and for lists of the oracle."""
        return None if self.study.truth is None else read_truth(self.study.truth, self.ground.table)

    @property
    def variants(self) -> tuple[str, ...]:
        """Variants of Wise that the rows need."""
        needed = [METHODS[row].wise if row in METHODS else RECOMMENDED for row in self.rows if self._needs_wise(row)]
        return tuple(dict.fromkeys(name for name in needed if name is not None))

    def _needs_wise(self, row: str) -> bool:
        return row in NEEDS_WISE or (row in METHODS and METHODS[row].wise is not None)

    def wise_work(self, variant: str, fold: Fold) -> Work:
        """Return the cell of a variant's Wise."""
        settings = variant_settings(self.settings, wise_of(variant), fold[0], self.study)
        return self._work("wise", wise_of(variant), fold, self.ground.sides(fold[0])[0], settings, _seed(fold), 0)

    def net_work(self, row: str, fold: Fold) -> Work:
        """Return the cell of a row's deterministic network; the Wise cells that it needs must be there."""
        train = self.ground.sides(fold[0])[0]
        kept = train[self.kept(row, fold)]
        method = METHODS.get(row, METHODS["all"])
        settings = network_settings(self.settings, method, self.study)
        name = SAME_NETWORK.get(row, row)
        work = self._work(
            "net", name, fold, kept, settings, _seed(fold) + SEEDS_APART // 2, self.study.classifier_epochs
        )
        return replace(work, knows_truth=row in ORACLES)

    def inner_works(self, row: str, fold: Fold) -> list[Work]:
        """Return the cells that a rival needs before its list can be made."""
        if row not in RIVALS:
            return []
        train, rival, epochs = self.ground.sides(fold[0])[0], RIVALS[row], self.study.classifier_epochs
        base = network_settings(self.settings, METHODS["all"], self.study)
        return [
            self._work(
                piece.kind,
                piece.name,
                fold,
                train[piece.train],
                piece_settings(base.model_copy(update={"max_epochs": epochs}), piece)
                if piece.kind == "trace"
                else piece_settings(base, piece),
                _seed(fold),
                0 if piece.kind == "wise" else epochs,
                train[piece.test],
            )
            for piece in rival.pieces(self._parts(row, fold))
        ]

    def _parts(self, row: str, fold: Fold) -> NDArray[np.intp]:
        table = self.ground.table.take(self.ground.sides(fold[0])[0])
        return dealt(table.patients, table.classes, table.patient, table.label, RIVALS[row].parts, _seed(fold))

    def rival(self, row: str, fold: Fold) -> tuple[NDArray[np.bool_] | None, NDArray[np.float64]]:
        """Return what a rival leaves out of a fold's training tiles (n,), None where it has no cut, and its score (n,).

        Raises
        ------
        RunError
            A cell that it needs is not made yet.
        """
        if (row, fold) not in self._rivals:
            readers = {"wise": read_wise, "net": read_net, "trace": read_trace}
            works = self.inner_works(row, fold)
            cells = [readers[work.kind](work.path) if is_made(work) else None for work in works]
            for work, cell in zip(works, cells, strict=True):
                if cell is None:
                    raise RunError(f"{work.path}: is not there. Run the study without --report-only.")
            label_n = self.ground.table.label[self.ground.sides(fold[0])[0]]
            self._rivals[row, fold] = RIVALS[row].judge(cells, label_n, self._parts(row, fold))
        return self._rivals[row, fold]

    def _work(
        self,
        kind: Any,
        name: str,
        fold: Fold,
        train: NDArray[np.intp],
        settings: CleanSettings,
        seed: int,
        epochs: int,
        test: NDArray[np.intp] | None = None,
    ) -> Work:
        k, study_seed = fold
        ground = self.ground
        key = {
            "store": ground.store_hash,
            "rows": digest_of(ground.rows),
            "folds": ground.folds.digest,
            "fold": k,
            "train": digest_of(train),
            "seed": seed,
            "epochs": epochs,
        }
        slug = name.replace("'", "").replace(" ", "-")
        path = self.out / "cells" / f"{kind}-{slug}-f{k}-s{study_seed}.npz"
        if test is None:
            test = ground.sides(k)[1]
        else:
            key["test"] = digest_of(test)
        learned, store = ground.learned(train), ground.store.path
        return Work(kind, path, key, store, ground.rows, train, test, settings, seed, epochs, learned, self.threads)

    def wise(self, variant: str, fold: Fold) -> WiseCell | None:
        """Read a variant's Wise; None where it is not made yet."""
        work = self.wise_work(variant, fold)
        return read_wise(work.path) if is_made(work) else None

    def net(self, row: str, fold: Fold) -> NetCell | None:
        """Read a row's network; None where it, or what its list needs, is not made yet."""
        if not self._list_can_be_made(row, fold):
            return None
        work = self.net_work(row, fold)
        return read_net(work.path) if is_made(work) else None

    def _list_can_be_made(self, row: str, fold: Fold) -> bool:
        needed = METHODS[row].wise if row in METHODS else RECOMMENDED
        if self._needs_wise(row) and needed is not None and not is_made(self.wise_work(needed, fold)):
            return False
        if row in RIVALS and not is_installed(RIVALS[row]):
            return False
        return all(is_made(work) for work in self.inner_works(row, fold))

    def judged(self, variant: str, fold: Fold) -> Judged:
        """Judge a variant's Wise by the rules of its settings.

        Raises
        ------
        RunError
            It is not made yet.
        """
        if (variant, fold) not in self._judged:
            cell = self.wise(variant, fold)
            if cell is None:
                raise RunError(
                    f"{self.wise_work(variant, fold).path}: is not there. Run the study without --report-only."
                )
            settings = variant_settings(self.settings, variant, fold[0], self.study)
            second_nk = self._read_again(fold) if settings.second_reader == "forest" else None
            self._judged[variant, fold] = judged(self.ground, cell, fold[0], settings, _seed(fold), second_nk)
        return self._judged[variant, fold]

    def _read_again(self, fold: Fold) -> NDArray[np.float64]:
        """Return what the second reader says of a fold, which every variant of Wise shares: it takes seconds."""
        if fold not in self._second:
            self._second[fold] = read_again(self.ground, fold[0], _seed(fold))
        return self._second[fold]

    def kept(self, row: str, fold: Fold) -> NDArray[np.bool_]:
        """Tell which of a fold's training tiles (n,) a row trains on."""
        train = self.ground.sides(fold[0])[0]
        context = FoldContext(
            k=fold[0],
            seed=fold[1],
            train=train,
            statistics_n=self.ground.statistics_n[train],
            kept_by=lambda variant: self.judged(variant, fold).kept_n,
            u_of=lambda variant: self.judged(variant, fold).fit.u_n,
            rival=lambda name: self.rival(name, fold),
        )
        if row not in ORACLES:
            return METHODS[row].kept(context)
        if self.truth is None:
            raise ConfigError(f"row {row!r} needs [study] truth. Name the table, or leave the row out.")
        return ORACLES[row](context, self.truth)

    def wise_cells(self, variant: str, seed: int) -> list[Work]:
        """Return the cells of a variant's Wise networks."""
        return [self.wise_work(variant, fold) for fold in self.folds if fold[1] == seed]

    def inner_cells(self, seed: int) -> list[Work]:
        """Return the cells that rivals need before their lists can be made."""
        if self.study.cohort_variant != "whole":
            return []
        folds = [fold for fold in self.folds if fold[1] == seed]
        found = [work for row in self.rows for fold in folds for work in self.inner_works(row, fold)]
        return list({work.path: work for work in found}.values())

    def net_cells(self, seed: int) -> list[Work]:
        """Return the cells of the networks of a seed whose lists can be made by now."""
        if self.study.cohort_variant != "whole":
            return []
        folds = [fold for fold in self.folds if fold[1] == seed]
        found = [self.net_work(row, fold) for row in self.rows for fold in folds if self._list_can_be_made(row, fold)]
        return list({work.path: work for work in found}.values())


def _seed(fold: Fold) -> int:
    return SEEDS_APART * fold[1] + fold[0]


def open_study(
    out: Path,
    study: StudySettings,
    tiling: TileSettings,
    settings: CleanSettings,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> Study:
    """Prepare a study in folder `out`: tile its cohort if that is not done, deal the folds, measure the tiles.

    Raises
    ------
    ConfigError
        A row is not known, or needs what is not given.
    W2wError
        The truth cannot be read, the cohort cannot be tiled, or patients do not suffice.
    """
    refuse_rows(study.rows, settings, truth=study.truth is not None)
    if study.truth is not None:
        read_rows(study.truth)  # hours before it serves, a table that cannot be read is refused
    out = out.resolve()  # processes elsewhere need not share the working folder
    ground = prepare(out, study, tiling, settings, workers=workers, progress=progress or Silent())
    return Study(study, settings, ground, out, _threads(workers))


def open_split(
    out: Path,
    study: StudySettings,
    settings: CleanSettings,
    *,
    test: str,
    workers: int = 1,
    progress: Progress | None = None,
) -> Study:
    """Prepare a study of the store ``out/tiles.zarr``, in which slide `test` is tested and all others train.

    Raises
    ------
    ConfigError
        A row is not known, or needs what is not given.
    W2wError
        The store cannot be read, or a patient lies on both sides.
    """
    refuse_rows(study.rows, settings, truth=study.truth is not None)
    out = out.resolve()
    ground = prepare_split(TileStore.open(out / "tiles.zarr"), test, progress or Silent())
    return Study(study, settings, ground, out, _threads(workers))


def refuse_rows(asked: Sequence[str], settings: CleanSettings, *, truth: bool, table: str = "study") -> None:
    """Refuse rows of a TOML's `table` that are not known, or need what is not given, with a ConfigError."""
    rows = expanded(asked, tuple(ORACLES), table)
    if PRETRAINED in rows and settings.weights is None:
        raise ConfigError("row 'pretrained' needs [clean] weights. Name the safetensors file, or leave the row out.")
    if not truth and (wanting := [row for row in rows if row in ORACLES]):
        raise ConfigError(f"row {wanting[0]!r} needs [study] truth. Name the table, or leave the row out.")


def refuse_without_packages(rows: Sequence[str]) -> None:
    """Refuse rows that need a package that is not installed, with a ConfigError, before hours are spent on others."""
    for row in rows:
        if row in RIVALS and not is_installed(RIVALS[row]):
            raise ConfigError(
                f"row {row!r} needs {RIVALS[row].package}. Install it with pip install 'w2wpath[bench]', "
                "or leave the row out."
            )


def _threads(workers: int) -> int | None:
    return max(1, (os.cpu_count() or 1) // workers) if workers > 1 else None


def complete(
    study: Study, *, workers: int = 1, scheduler: str | None = None, progress: Progress | None = None
) -> Mapping[str, str]:
    """Make every cell that is missing; return what went wrong by cell.

    Seed by seed and row by row: while the Wise networks of a variant are trained, processes that would be idle train
    the networks whose lists are there already.
    """
    progress = progress or Silent()
    clock = TimeLeft(workers)
    failed: dict[str, str] = {}
    for seed in study.study.seeds:
        first = [study.wise_cells(variant, seed) for variant in study.variants]
        for ahead in (*first, study.inner_cells(seed), []):
            works = [work for work in (*ahead, *study.net_cells(seed)) if work.name not in failed]
            failed |= make_all(works, clock, workers, progress, f"seed {seed}", scheduler=scheduler)
    return failed

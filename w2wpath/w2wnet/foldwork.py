"""The work on one fold: a Wise on its training patients, and what it says of both sides."""

from __future__ import annotations

import io
import json
import time
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import CleanSettings
from w2wpath.progress import Progress, StopAsked
from w2wpath.provenance import write_whole
from w2wpath.tiles.store import TileTable
from w2wpath.w2wnet.checkpoint import reached
from w2wpath.w2wnet.controls import Planted
from w2wpath.w2wnet.decide import join
from w2wpath.w2wnet.fit import WiseFit, draw_exact, fit_wise
from w2wpath.w2wnet.folds import assert_disjoint, sides
from w2wpath.w2wnet.learner import Learner
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS
from w2wpath.w2wnet.quality import Quality, Reference, judge
from w2wpath.w2wnet.second_reader import second_reading
from w2wpath.w2wnet.uncertainty import MCStats


def _no_rows() -> NDArray[np.intp]:
    return np.empty(0, dtype=np.intp)


def _no_values() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class FoldResult:
    """What fold k says: severities of its training tiles, and of its test tiles without their labels.

    Rows index the table, those of controls the planted images: `planted_rows` are in the fold's training,
    `unseen_planted_rows` are made from its test patients' tiles. `unseen_quality_nr` (n, 3) is for each of the reasons
    of image quality.
    """

    train_rows: NDArray[np.intp]
    severity_nr: NDArray[np.float32]
    test_rows: NDArray[np.intp]
    test_mean_nk: NDArray[np.float32]
    test_u: NDArray[np.float32]
    unseen_quality_nr: NDArray[np.float32]
    about: dict[str, Any]
    planted_rows: NDArray[np.intp] = field(default_factory=_no_rows)
    planted_severity_nr: NDArray[np.float32] = field(default_factory=_no_values)
    unseen_planted_rows: NDArray[np.intp] = field(default_factory=_no_rows)
    unseen_planted_nk: NDArray[np.float32] = field(default_factory=_no_values)
    unseen_planted_u: NDArray[np.float32] = field(default_factory=_no_values)

    def write(self, path: Path) -> None:
        """Write it so that it appears whole or not at all."""
        arrays = {name: value for name, value in vars(self).items() if name != "about"}
        file = io.BytesIO()
        np.savez(file, about=np.frombuffer(json.dumps(self.about).encode(), dtype=np.uint8), **arrays)
        write_whole(path, file.getvalue())

    @classmethod
    def read(cls, path: Path) -> FoldResult | None:
        """Return a finished fold; None where there is none, not all of it is on disk, or another version wrote it."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
            if set(arrays) != {one.name for one in fields(cls)}:
                return None
            return cls(about=json.loads(arrays.pop("about").tobytes()), **arrays)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True)
class Side:
    """The tiles that a Wise is trained on: rows of the judged tiles, and what is planted among them.

    Attributes
    ----------
    rows
        (n,) rows of the judged tiles.
    planted, stands_for
        (p,) rows of the planted controls, which come after the tiles, and of the tiles that they stand for.
    learner_rows, labels
        (n + p,) as the learner counts: rows of the table, then of the planted images behind it.
    """

    rows: NDArray[np.intp]
    planted: NDArray[np.intp]
    stands_for: NDArray[np.intp]
    learner_rows: NDArray[np.intp]
    labels: NDArray[np.int16]

    @property
    def n(self) -> int:
        """Number of tiles, without what is planted."""
        return len(self.rows)


def training_side(
    judged: TileTable,
    table_rows: NDArray[np.intp],
    n_table: int,
    train: NDArray[np.intp],
    planted: Planted | None,
    k: int,
) -> Side:
    """Return the training side of fold `k`, in which planted controls take the places of their tiles."""
    if planted is None:
        return Side(train, _no_rows(), _no_rows(), table_rows[train], judged.label[train])
    mine = np.flatnonzero(planted.fold == k)
    stands_for = planted.stands_for[mine]
    rows = np.setdiff1d(train, stands_for)
    return Side(
        rows,
        mine,
        stands_for,
        np.concatenate([table_rows[rows], n_table + mine]),
        np.concatenate([judged.label[rows], planted.label[mine]]),
    )


@dataclass(frozen=True)
class Pixels:
    """What was measured on the pixels of n tiles: (n, f) of image quality and of texture, (n, 0) where not used."""

    features: NDArray[np.float32]
    texture: NDArray[np.float32]


@dataclass(frozen=True)
class FoldWork:
    """What the work on every fold of a run needs.

    Attributes
    ----------
    judged, rows
        The labelled tiles, and their rows in the whole table of `n_table` tiles.
    fold_n
        (n,) test fold of each of them.
    pixels, planted_pixels
        What was measured of them, and of the planted controls.
    """

    settings: CleanSettings
    judged: TileTable
    rows: NDArray[np.intp]
    n_table: int
    fold_n: NDArray[np.int16]
    pixels: Pixels
    planted: Planted | None
    planted_pixels: Pixels

    def run(self, learner: Learner, k: int, checkpoint: Path, progress: Progress, stop_asked: StopAsked) -> FoldResult:
        """Train the Wise of fold `k`, judge its training tiles, and draw over its test tiles."""
        began = time.monotonic()
        before = reached(checkpoint)
        assert_disjoint(self.judged.patient, self.fold_n)
        train, test = sides(self.fold_n, k)
        side = training_side(self.judged, self.rows, self.n_table, train, self.planted, k)
        n_classes, settings = len(self.judged.classes), self.settings
        what, seed = f"fold {k + 1}/{settings.folds}", settings.seed + k
        second_nk = self._second_reading(side, k, seed)
        fitted = (side.learner_rows, side.labels, n_classes, seed, settings, progress, what, checkpoint)
        run, fit = fit_wise(learner, *fitted, stop_asked, second_nk)
        reference, quality, unseen_quality = self._quality(side, test, k)
        severity = join(fit, side.labels, quality).severity_nr.astype(np.float32)
        excluded = np.asarray(severity.max(axis=1) > 1.0)
        drawn = (n_classes, settings.draws, progress, f"{what}: unseen patients", stop_asked)
        unseen = draw_exact(run, self.rows[test], *drawn)
        unseen_planted = self._planted_of(k)
        of_planted = draw_exact(run, self.n_table + unseen_planted, *drawn) if unseen_planted.size else None
        right = unseen.mean_nk.argmax(axis=1) == self.judged.label[test]
        seconds = time.monotonic() - began + (0.0 if before is None else before[1])
        return FoldResult(
            train_rows=self.rows[side.rows],
            severity_nr=severity[: side.n],
            test_rows=self.rows[test],
            test_mean_nk=unseen.mean_nk.astype(np.float32),
            test_u=unseen.u_n.astype(np.float32),
            unseen_quality_nr=unseen_quality,
            planted_rows=side.planted,
            planted_severity_nr=severity[side.n :],
            **_of_planted(unseen_planted, of_planted),
            about={
                "fold": k,
                **_of_fit(fit, side.n),
                "excluded": int(excluded[: side.n].sum()),
                "quality": None if reference is None else reference.as_json(),
                "train_tiles": side.n,
                "test_tiles": len(test),
                "test_accuracy": float(right.mean()),
                "seconds": round(seconds, 3),
            },
        )

    def _planted_of(self, k: int) -> NDArray[np.intp]:
        """Return the planted images that are made of tiles of fold `k`'s test patients; others train on them."""
        if self.planted is None:
            return _no_rows()
        return np.flatnonzero(self.fold_n[self.planted.stands_for] == k)

    def _second_reading(self, side: Side, k: int, seed: int) -> NDArray[np.float64] | None:
        """Ask the second reader about the training side, planted controls among it; None where there is none."""
        if self.settings.second_reader == "none":
            return None
        patient, textures = self.judged.patient, self.pixels.texture[side.rows]
        patients = np.concatenate([patient[side.rows], patient[side.stands_for]])
        if self.planted is not None:
            textures = np.concatenate([textures, self.planted_pixels.texture[self.planted.fold == k]])
        return second_reading(textures, patients, side.labels, len(self.judged.classes), seed=seed)

    def _quality(
        self, side: Side, test: NDArray[np.intp], k: int
    ) -> tuple[Reference | None, Quality | None, NDArray[np.float32]]:
        """Judge image quality by what is learned from the training side alone, like everything else that judges."""
        if not self.settings.quality:
            return None, None, np.zeros((len(test), len(QUALITY_REASONS)), dtype=np.float32)
        slide, features = self.judged.slide, self.pixels.features
        reference = Reference.learn(features[side.rows], slide[side.rows])
        quality = judge(features[side.rows], slide[side.rows], reference)
        if self.planted is not None:
            # judged in the company of their slides' tiles, of which none is judged in theirs
            theirs = self.planted_pixels.features[self.planted.fold == k]
            among = np.concatenate([features[side.rows], theirs])
            of_slides = np.concatenate([slide[side.rows], slide[side.stands_for]])
            tail = judge(among, of_slides, reference).severity_nr[side.n :]
            quality = Quality(np.concatenate([quality.severity_nr, tail]))
        unseen = judge(features[test], slide[test], reference)
        return reference, quality, unseen.severity_nr.astype(np.float32)


def _of_planted(rows: NDArray[np.intp], drawn: MCStats | None) -> dict[str, Any]:
    """Return what a fold's network, which never saw them, says of planted images."""
    if drawn is None:
        return {}
    return {
        "unseen_planted_rows": rows,
        "unseen_planted_nk": drawn.mean_nk.astype(np.float32),
        "unseen_planted_u": drawn.u_n.astype(np.float32),
    }


def _of_fit(fit: WiseFit, n: int) -> dict[str, Any]:
    """Return what is kept of a fit, whose first `n` tiles are not planted."""
    return {
        "stop": _jsonable(asdict(fit.stop)),
        "low": fit.low,
        "boundary": fit.boundary,
        "high": fit.high,
        "u_low": fit.u_low,
        "u_boundary": fit.u_boundary,
        "separation": fit.separation,
        "threshold": fit.threshold,
        "excluded_by_exact_passes": int((fit.exact_score_n[:n] > fit.boundary).sum()),
    }


def _jsonable(stop: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON has not, by None."""
    return {
        key: [None if np.isnan(x) else x for x in value] if isinstance(value, tuple) else value
        for key, value in stop.items()
    }

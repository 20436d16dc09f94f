"""The procedure: a Wise per fold, votes on every tile, decisions. It receives a Learner and never imports torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import CleanSettings
from w2wpath.errors import ConfigError, StoreError, writing
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import record, write_whole
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.checkpoint import RESULT_FREE
from w2wpath.w2wnet.decide import REASONS as EXCLUSIONS
from w2wpath.w2wnet.decide import join
from w2wpath.w2wnet.fit import draw_exact, fit_wise
from w2wpath.w2wnet.folds import FoldTable, assert_disjoint, assert_out_of_fold, make_folds, sides
from w2wpath.w2wnet.learner import Learner
from w2wpath.w2wnet.ledger import (
    FLAGS,
    KEPT,
    REASONS,
    UNDECIDED,
    Decisions,
    new_run,
    runs,
    vote,
    write_decisions,
)
from w2wpath.w2wnet.quality import FEATURES, SMALLEST_PX, Reference, judge, measure
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS
from w2wpath.w2wnet.thresholds import out_of_fold_thresholds

IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class FoldResult:
    """What fold k says: severities of its training tiles, and of its test tiles without their labels.

    Rows index the table. `unseen_quality_nr` (n, 3) is for each of the reasons of image quality.
    """

    train_rows: NDArray[np.intp]
    severity_nr: NDArray[np.float32]
    test_rows: NDArray[np.intp]
    test_mean_nk: NDArray[np.float32]
    test_u: NDArray[np.float32]
    unseen_quality_nr: NDArray[np.float32]
    about: dict[str, Any]


def clean(
    store: TileStore,
    learner_for: Callable[[TileTable], Learner],
    settings: CleanSettings,
    home: Path,
    progress: Progress | None = None,
) -> tuple[TileTable, Decisions]:
    """Find the spurious tiles of a store, patient by patient, and write the decisions into it.

    Parameters
    ----------
    learner_for
        Makes the learner for a table of tiles.
    home
        Folder for what belongs to runs (``clean/<run>/``). A run there that was interrupted, with the same settings
        on the same store, is taken up after the last epoch that it finished.

    Raises
    ------
    ConfigError
        Tiles are too small for the image-quality score.
    StoreError
        No tile has a label.
    FoldError
        Patients or classes do not suffice.
    NonFiniteScoreError
        A network diverged.
    """
    progress = progress or Silent()
    table = store.table()
    rows = table.labelled()
    if not rows.size:
        raise StoreError(f"{store.path}: no tile carries a label. Check classes and ROIs, and tile again.")
    judged = table.take(rows)
    folds = make_folds(
        judged.patients, judged.classes, judged.patient, judged.label, folds=settings.folds, seed=settings.seed
    )
    features = _features(store, judged, progress) if settings.quality else None
    store_hash = store.content_hash()
    run = _find_or_begin(home, settings, store_hash, folds)
    fold_n = folds.fold_n(judged.patients, judged.patient)
    results: list[FoldResult] = []
    learner: Learner | None = None
    for k in range(settings.folds):
        checkpoint = home / run / f"fold-{k}.checkpoint"
        found = _read_fold(home / run / f"fold-{k}.npz")
        if found is None:
            learner = learner or learner_for(table)
            found = _clean_fold(learner, judged, rows, fold_n, k, features, settings, progress, checkpoint)
            _write_fold(home / run / f"fold-{k}.npz", found)
        else:
            progress.say(f"fold {k + 1}: taken from the interrupted run {run}")
        checkpoint.unlink(missing_ok=True)
        results.append(found)
    about = record(
        "clean",
        settings.model_dump(mode="json"),
        store_hash=store_hash,
        fold_table=folds.fold_of_patient,
        fold_hash=folds.digest,
        folds=[result.about for result in results],
        classes=table.classes,
    )
    decisions = _decide(run, table, results, about)
    if run not in runs(store):  # else it was interrupted after they were written
        write_decisions(store, table, decisions)
    write_whole(home / run / "done", "")
    return table, decisions


def _features(store: TileStore, judged: TileTable, progress: Progress) -> NDArray[np.float32]:
    """Measure the image quality of every labelled tile, slide by slide."""
    px = store.spec.tile_px
    if px < SMALLEST_PX:
        raise ConfigError(
            f"{store.path}: tiles of {px} px are too small for the image-quality score, which needs {SMALLEST_PX}. "
            "Pass --no-quality, or tile larger."
        )
    features = np.empty((judged.n, len(FEATURES)), dtype=np.float32)
    with progress.track("image quality", judged.n) as step:
        for index, slide in enumerate(judged.slides):
            mine = np.flatnonzero(judged.slide == index)
            for at in np.array_split(mine, max(1, -(-len(mine) // IMAGES_AT_ONCE))):
                features[at] = measure(store.images(slide, judged.row[at]))
                step(len(at), slide)
    return features


def _clean_fold(
    learner: Learner,
    judged: TileTable,
    rows: NDArray[np.intp],
    fold_n: NDArray[np.int16],
    k: int,
    features: NDArray[np.float32] | None,
    settings: CleanSettings,
    progress: Progress,
    checkpoint: Path,
) -> FoldResult:
    train, test = sides(fold_n, k)
    assert_disjoint(judged.patient, fold_n)
    what = f"fold {k + 1}/{settings.folds}"
    n_classes = len(judged.classes)
    labels = judged.label[train]
    run, fit = fit_wise(
        learner, rows[train], labels, n_classes, settings.seed + k, settings, progress, what, checkpoint
    )
    quality, reference = None, None
    unseen_quality = np.zeros((len(test), len(QUALITY_REASONS)), dtype=np.float32)
    if features is not None:
        # learned from the training side alone, like everything else that judges
        reference = Reference.learn(features[train], judged.slide[train])
        quality = judge(features[train], judged.slide[train], reference)
        unseen_quality = judge(features[test], judged.slide[test], reference).severity_nr.astype(np.float32)
    joined = join(fit, labels, quality)
    unseen = draw_exact(run, rows[test], n_classes, settings.draws, progress, f"{what}: unseen patients")
    right = unseen.mean_nk.argmax(axis=1) == judged.label[test]
    return FoldResult(
        train_rows=rows[train],
        severity_nr=joined.severity_nr.astype(np.float32),
        test_rows=rows[test],
        test_mean_nk=unseen.mean_nk.astype(np.float32),
        test_u=unseen.u_n.astype(np.float32),
        unseen_quality_nr=unseen_quality,
        about={
            "fold": k,
            "stop": _jsonable(asdict(fit.stop)),
            "low": fit.low,
            "boundary": fit.boundary,
            "high": fit.high,
            "u_low": fit.u_low,
            "u_boundary": fit.u_boundary,
            "separation": fit.separation,
            "threshold": fit.threshold,
            "excluded": int(joined.excluded_n.sum()),
            "excluded_by_exact_passes": int((fit.exact_score_n > fit.boundary).sum()),
            "quality": None if reference is None else reference.as_json(),
            "train_tiles": len(train),
            "test_tiles": len(test),
            "test_accuracy": float(right.mean()),
        },
    )


def _decide(run: str, table: TileTable, results: list[FoldResult], about: dict[str, Any]) -> Decisions:
    n, folds = table.n, len(results)
    votes = np.full((n, folds), -1, dtype=np.int8)
    fold = np.full(n, -1, dtype=np.int16)
    probs = np.full((n, len(table.classes)), np.nan, dtype=np.float32)
    u = np.full(n, np.nan, dtype=np.float32)
    unseen = np.full((n, len(FLAGS) - 1), np.nan, dtype=np.float32)
    severity_nr = np.zeros((n, len(EXCLUSIONS)))
    score = np.zeros(n)
    for k, result in enumerate(results):
        worst = result.severity_nr.max(axis=1)
        votes[result.train_rows, k] = worst > 1.0
        severity_nr[result.train_rows] += result.severity_nr
        score[result.train_rows] += worst
        fold[result.test_rows] = k
        u[result.test_rows] = result.test_u
        probs[result.test_rows] = result.test_mean_nk
        unseen[result.test_rows, 1:] = result.unseen_quality_nr
    judged = table.label >= 0
    count = np.maximum((votes >= 0).sum(axis=1), 1)
    severity_nr /= count[:, None]
    state = np.where(judged, vote(votes), UNDECIDED).astype(np.uint8)
    assert_out_of_fold(votes, fold)
    thresholds = _thresholds(u, fold, votes, about)
    unseen[judged, 0] = u[judged] / np.maximum(thresholds[fold[judged]], 1e-12)
    why = np.where(state == UNDECIDED, "tie", np.array(EXCLUSIONS)[severity_nr.argmax(axis=1)])
    why = np.where(state == KEPT, "", why)
    why = np.where(judged, why, "no label")
    return Decisions(
        run=run,
        state=state,
        reason=np.array([REASONS.index(str(name)) for name in why], dtype=np.uint8),
        votes=votes,
        fold=fold,
        severity=np.where(judged[:, None], severity_nr, np.nan).astype(np.float32),
        score=np.where(judged, score / count, np.nan).astype(np.float32),
        probs=probs,
        u=u,
        unseen=unseen,
        label=table.label,
        area_share=table.area_share,
        about=about,
    )


def _thresholds(
    u: NDArray[np.float32],
    fold: NDArray[np.int16],
    votes: NDArray[np.int8],
    about: dict[str, Any],
) -> NDArray[np.float64]:
    """Return the threshold of each fold, by the recipe of the settings; both recipes are noted in `about`."""
    folds, settings = about["folds"], about["settings"]
    judged = fold >= 0
    quantiles = out_of_fold_thresholds(u[judged], fold[judged], votes[judged], settings["flag_share"])
    for one, quantile in zip(folds, quantiles.tolist(), strict=True):
        one["thresholds"] = {"centroid": one["threshold"], "quantile": quantile}
        one["threshold"] = one["thresholds"][settings["threshold"]]
    return np.array([one["threshold"] for one in folds])


def _find_or_begin(home: Path, settings: CleanSettings, store_hash: str, folds: FoldTable) -> str:
    """Return the newest unfinished run of the same settings on the same store, or begin a new one."""
    key = json.dumps(
        {"settings": settings.digest(without=RESULT_FREE), "store": store_hash, "folds": folds.digest}, sort_keys=True
    )
    if home.is_dir():
        for path in sorted(home.iterdir(), reverse=True):
            same = (path / "key.json").is_file() and (path / "key.json").read_text("utf-8") == key
            if same and not (path / "done").exists():
                return path.name
    run = new_run()
    with writing(home):
        (home / run).mkdir(parents=True)
    lines = [f'"{name.replace(chr(34), chr(34) * 2)}",{k}' for name, k in folds.fold_of_patient]
    write_whole(home / run / "folds.csv", "patient,fold\n" + "\n".join(lines) + "\n")
    write_whole(home / run / "key.json", key)  # last: with it the run can be taken up
    return run


def _write_fold(path: Path, result: FoldResult) -> None:
    arrays = {name: value for name, value in vars(result).items() if name != "about"}
    scratch = path.with_suffix(".partial.npz")
    with writing(path):
        try:
            np.savez(scratch, about=np.frombuffer(json.dumps(result.about).encode(), dtype=np.uint8), **arrays)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def _read_fold(path: Path) -> FoldResult | None:
    """Return a finished fold; None where there is none, or the machine died before all of it was on disk."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        about = json.loads(arrays.pop("about").tobytes())
    except (EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    return FoldResult(about=about, **arrays)


def _jsonable(stop: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON has not, by None."""
    return {
        key: [None if np.isnan(x) else x for x in value] if isinstance(value, tuple) else value
        for key, value in stop.items()
    }

"""Train the final model: Wise on every labelled tile, Wiped on those that cleaning kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.errors import ConfigError, RunError, did_you_mean
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import record, sha256_of
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.calibration import Calibration, apply, calibrate, fit_temperature
from w2wpath.w2wnet.domain import DomainReference
from w2wpath.w2wnet.domain import measure as measure_domain
from w2wpath.w2wnet.fit import WiseFit, fit_wise
from w2wpath.w2wnet.ledger import STATES, Decisions, require_fresh
from w2wpath.w2wnet.nets.bundle import save_model
from w2wpath.w2wnet.nets.card import Card
from w2wpath.w2wnet.nets.readme import model_readme
from w2wpath.w2wnet.nets.training import Network, Tiles, WipedFitter, WiseLearner
from w2wpath.w2wnet.outoffold import require_own_folds, require_own_recipe
from w2wpath.w2wnet.quality import EMPTY_SHARE, FEATURES, SMALLEST_PX, Reference, measure
from w2wpath.w2wnet.reliability import balanced_accuracy, nll
from w2wpath.w2wnet.thresholds import quantile_threshold
from w2wpath.w2wnet.transfer import Transfer, compare
from w2wpath.w2wnet.verdicts import read_batches, standing

TILES_AT_ONCE = 1024
Source = Literal["wiped", "oof", "none"]
SOURCES: tuple[Source, ...] = get_args(Source)
"""Whose out-of-fold probabilities the temperature is fitted on: of one more Wiped, trained without the patients of one
fold, on those patients; of the folds' Wises (mean draws), each on the patients that it never saw; or of none (it is 1).
"""


def source_of(name: str) -> Source:
    """Return `name` if it is one of :data:`SOURCES`.

    Raises
    ------
    ConfigError
        It is not.
    """
    for source in SOURCES:
        if source == name:
            return source
    hint = did_you_mean(name, SOURCES)
    raise ConfigError(f"train: calibrate must be one of {', '.join(SOURCES)}; got {name!r}.{hint}")


@dataclass(frozen=True)
class Trained:
    """What `train` made."""

    card: Card
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Sides:
    """Which rows of the table serve what, the labels (n,) int16 to train on, and the patients (n,) int32."""

    labels: NDArray[np.int16]
    patient: NDArray[np.int32]
    labelled: NDArray[np.intp]
    kept: NDArray[np.intp]
    unseen: NDArray[np.intp]
    """The kept ones that have out-of-fold values."""


def train(
    store: TileStore,
    table: TileTable,
    decisions: Decisions,
    settings: NetSettings,
    out: Path,
    progress: Progress | None = None,
    *,
    calibrate_with: Source = "wiped",
    allow_stale: bool = False,
) -> Trained:
    """Train Wise and Wiped and write them to `out`.

    Three thresholds are kept, `settings.threshold` names the one that is used: ``quantile`` of out-of-fold u flags
    `settings.flag_share` of the kept tiles; ``centroid`` and ``boundary`` are those of the final Wise's u on its
    training tiles (R17, R18). Whether the first, which the folds' Wises set, holds for the final Wise is told.

    Parameters
    ----------
    calibrate_with
        Whose out-of-fold probabilities the temperature is fitted on, one of :data:`SOURCES`. Wiped's own need one more
        training of Wiped; the averaged draws of the folds' Wises are less sure than a single network, so that their
        temperature would sharpen Wiped.
    allow_stale
        Train although labels have changed since they were judged.

    Raises
    ------
    ConfigError
        The settings are those of a rival in the study.
    RunError
        Labels have changed since they were judged, cleaning left less than two classes, the fold table or the patients
        are not those of the run, or `settings` draw otherwise than the run did.
    FoldError
        An out-of-fold value is none.
    """
    if settings.low_pass_sigma is not None:
        raise ConfigError("low_pass_sigma is for the rival of Roy et al. in the study; no model is kept. Leave it out.")
    progress = progress or Silent()
    sides = _sides(table, decisions, allow_stale)
    require_own_folds(table, decisions)
    require_own_recipe(decisions, settings)
    store_hash = store.content_hash()  # with --allow-stale, another than that of the run
    verdicts = standing(read_batches(store))
    tiles = Tiles.of(store, table, settings)
    progress.say(f"networks: {settings.backbone} on {tiles.compute}")
    labels, labelled, kept = sides.labels, sides.labelled, sides.kept
    wise, fit = fit_wise(
        WiseLearner(tiles, progress),
        labelled,
        labels[labelled],
        tiles.n_classes,
        settings.seed,
        settings,
        progress,
        "Wise",
    )
    wiped = WipedFitter(tiles, progress).fit(kept, labels[kept], settings.seed + 1, settings.wiped_epochs)
    if not isinstance(wise, Network):
        raise TypeError("train needs the networks of this package")
    thresholds = {
        "boundary": fit.u_boundary,
        "centroid": fit.threshold,
        # out-of-fold values alone: what a network says of its own training tiles is no measure for unseen ones
        "quantile": quantile_threshold(decisions.u[sides.unseen], settings.flag_share),
    }
    transfer = _transfer(sides, decisions, fit, thresholds)
    calibration, about_calibration = _calibrate(calibrate_with, sides, decisions, tiles, settings, progress)
    summary = {
        **_told(table, decisions, settings, sides, fit, thresholds),
        "training_accuracy_wiped": float((wiped.predict(kept).argmax(axis=1) == labels[kept]).mean()),
        "transfer": asdict(transfer),
        "calibration": about_calibration,
        "warnings": [
            *_lost_classes(table, sides),
            *_learned(fit),
            *transfer.warnings(settings.threshold, settings.flag_share),
        ],
    }
    for warning in summary["warnings"]:
        progress.say(f"warning: {warning}")
    quality, domain = _usual(store, tiles, table, kept)
    card = save_model(
        out,
        {"wise": wise.net, "wiped": wiped.net},
        {
            "preset": settings.preset,
            "classes": table.classes,
            "tile_px": store.spec.tile_px,
            "mpp": store.spec.mpp,
            "resample": store.spec.resample,
            "backbone": settings.backbone,
            "stem": settings.stem,
            "mean": {"wise": wise.normalisation.mean, "wiped": wiped.normalisation.mean},
            "std": {"wise": wise.normalisation.std, "wiped": wiped.normalisation.std},
            "threshold": settings.threshold,
            "temperature": calibration.temperature,
            "quality": quality if settings.quality else None,
            "domain": domain,
            "metrics": summary,
            "provenance": _provenance(table, decisions, settings, sides, fit, store_hash, verdicts),
        },
        {
            "store_hash": store_hash,
            "draws": settings.draws,
            "dropout_rate": settings.dropout_rate,
            "dropout_kind": settings.dropout_kind,
            "dropout_scope": settings.dropout_scope,
            "dropout_logits": settings.dropout_logits,
            "mask_batch": settings.mask_batch,
            "precision": "bf16" if tiles.compute.bf16 else "fp32",
        },
        thresholds,
        model_readme,
    )
    return Trained(card, summary)


def _sides(table: TileTable, decisions: Decisions, allow_stale: bool) -> Sides:
    require_fresh(decisions, allow_stale)
    labels = decisions.training_label
    kept = decisions.for_training()
    unseen = kept[decisions.fold[kept] >= 0]
    left = np.unique(labels[kept])
    if len(left) < 2:
        raise RunError(
            f"run {decisions.run}: after cleaning, tiles of {len(left)} class are left; nothing can be learned. "
            "Look at the report of `w2wpath clean`, and tile more slides."
        )
    if not unseen.size:
        raise RunError(f"run {decisions.run}: judged none of the tiles that are kept. Run `w2wpath clean` again.")
    return Sides(labels, table.patient, np.flatnonzero(labels >= 0), kept, unseen)


def _transfer(sides: Sides, decisions: Decisions, fit: WiseFit, thresholds: Mapping[str, float]) -> Transfer:
    final = np.full(len(sides.labels), np.nan)
    final[sides.labelled] = fit.u_n
    return compare(decisions.u[sides.unseen], final[sides.unseen], thresholds)


def _calibrate(
    source: Source, sides: Sides, decisions: Decisions, tiles: Tiles, settings: NetSettings, progress: Progress
) -> tuple[Calibration, dict[str, Any]]:
    """Fit the temperature; only on tiles of patients that the network in question never saw."""
    unseen, labels = sides.unseen, sides.labels
    probs = decisions.probs[unseen]
    about: dict[str, Any] = {"source": source, "fold": None}
    if source == "wiped":
        of_wise = fit_temperature(probs, labels[unseen])
        fold = int(np.bincount(decisions.fold[unseen]).argmax())
        unseen, probs = _held_out(fold, sides, decisions, tiles, settings, progress)
        about |= {"fold": fold, "nll_at_oof": nll(apply(probs, of_wise), labels[unseen])}
    found = calibrate(probs, labels[unseen], fixed=1.0 if source == "none" else None)
    return found, {**about, **asdict(found), **_accuracies(probs.argmax(axis=1), labels[unseen])}


def _held_out(
    fold: int, sides: Sides, decisions: Decisions, tiles: Tiles, settings: NetSettings, progress: Progress
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Train a Wiped on the kept tiles of all patients but a fold's; return rows of those, and what it says of them."""
    rows = sides.unseen[decisions.fold[sides.unseen] == fold]
    # tiles that came after the run have no fold; where they are of these patients, they stay out too
    within = sides.kept[~np.isin(sides.patient[sides.kept], sides.patient[rows])]
    network = WipedFitter(tiles, progress).fit(
        within, sides.labels[within], settings.seed + 2, settings.wiped_epochs, f"Wiped without fold {fold + 1}"
    )
    return rows, network.predict(rows)


def _told(
    table: TileTable,
    decisions: Decisions,
    settings: NetSettings,
    sides: Sides,
    fit: WiseFit,
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """Say what the networks were trained on, and what the folds found out about patients that they never saw."""
    judged = np.flatnonzero(decisions.fold >= 0)
    threshold = thresholds[settings.threshold]
    return {
        "run": decisions.run,
        "tiles": len(sides.labelled),
        "kept": len(sides.kept),
        "slides": len(np.unique(table.slide[sides.labelled])),
        "patients": len(np.unique(table.patient[sides.labelled])),
        "by_class": {
            name: {state: int((decisions.state[sides.labels == k] == code).sum()) for code, state in enumerate(STATES)}
            for k, name in enumerate(table.classes)
        },
        "stop_reason": fit.stop.reason,
        "stop_epoch": fit.stop.epoch,
        "wiped_epochs": settings.wiped_epochs,
        "threshold": threshold,
        "threshold_name": settings.threshold,
        "thresholds": dict(thresholds),
        "flag_share": settings.flag_share,
        # unseen patients look more uncertain than training tiles, so the shares say what a threshold will mask
        "out_of_fold_above_threshold": float((decisions.u[judged] > threshold).mean()),
        "out_of_fold": {
            "tiles": len(sides.unseen),
            **_accuracies(decisions.predicted[sides.unseen], sides.labels[sides.unseen]),
        },
        "controls": decisions.about.get("controls", {}),
    }


def _accuracies(predicted_n: NDArray[np.integer], label_n: NDArray[np.integer]) -> dict[str, float]:
    return {
        "accuracy": float((predicted_n == label_n).mean()),
        "balanced_accuracy": balanced_accuracy(predicted_n, label_n),
    }


def _lost_classes(table: TileTable, sides: Sides) -> list[str]:
    lost = np.setdiff1d(np.unique(sides.labels[sides.labelled]), sides.labels[sides.kept])
    return [f"no tile of class {table.classes[k]} is kept, so the model never names it." for k in lost.tolist()]


def _learned(fit: WiseFit) -> list[str]:
    if fit.stop.reason != "degenerate":
        return []
    return ["the final Wise learned nothing, so its uncertainty says nothing. Look at labels and settings."]


def _usual(
    store: TileStore, tiles: Tiles, table: TileTable, kept: NDArray[np.intp]
) -> tuple[Reference | None, DomainReference | None]:
    """Learn what tiles and slides usually look like from the kept tiles: many bad ones would widen what is usual."""
    if store.spec.tile_px < SMALLEST_PX:
        return None, None
    quality: list[NDArray[np.float32]] = []
    stain: list[NDArray[np.float32]] = []
    for i in range(0, len(kept), TILES_AT_ONCE):
        images = tiles.images[kept[i : i + TILES_AT_ONCE]]
        quality.append(measure(images))
        stain.append(measure_domain(images, quality[-1][:, FEATURES.index("focus")]))
    slide = table.slide[kept]
    side0 = dict(zip(slide.tolist(), table.side0[kept].tolist(), strict=True))
    slide_mpp = {one: store.spec.mpp * store.spec.tile_px / side for one, side in side0.items()}
    stained = np.concatenate(quality)[:, FEATURES.index("background")] < EMPTY_SHARE
    domain = DomainReference.learn(np.concatenate(stain)[stained], slide[stained], slide_mpp)
    return Reference.learn(np.concatenate(quality), slide), domain


def _provenance(
    table: TileTable,
    decisions: Decisions,
    settings: NetSettings,
    sides: Sides,
    fit: WiseFit,
    store_hash: str,
    verdicts: Sequence[str],
) -> dict[str, Any]:
    trained_on = set(np.unique(table.patient[sides.labelled]).tolist())
    return record(
        "train",
        settings.model_dump(mode="json"),
        store_hash=store_hash,
        fold_hash=decisions.about["fold_hash"],
        weights_sha256=None if settings.weights is None else sha256_of(settings.weights),
        clean_run=decisions.run,
        verdicts=list(verdicts),
        patients=[name for i, name in enumerate(table.patients) if i in trained_on],
        stop={"reason": fit.stop.reason, "epoch": fit.stop.epoch, "deltas": list(fit.stop.deltas)},
    )

"""Train the final model: Wise on every labelled tile, Wiped on those that cleaning kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from w2wpath.config import NetSettings
from w2wpath.errors import ConfigError, RunError
from w2wpath.progress import Progress, Silent
from w2wpath.provenance import record
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.fit import fit_wise
from w2wpath.w2wnet.ledger import Decisions
from w2wpath.w2wnet.nets.bundle import save_model
from w2wpath.w2wnet.nets.card import Card
from w2wpath.w2wnet.nets.training import Network, Tiles, WipedFitter, WiseLearner
from w2wpath.w2wnet.quality import Reference, measure

TILES_AT_ONCE = 1024


@dataclass(frozen=True)
class Trained:
    """What `train` made."""

    card: Card
    summary: Mapping[str, Any]


def train(
    store: TileStore,
    table: TileTable,
    decisions: Decisions,
    settings: NetSettings,
    out: Path,
    progress: Progress | None = None,
) -> Trained:
    """Train Wise and Wiped and write them to `out`.

    The threshold is the centroid of the spurious cluster of the final Wise's uncertainty on its training tiles (R18).

    Raises
    ------
    ConfigError
        The settings are those of a rival in the study.
    RunError
        Cleaning left less than two classes.
    """
    if settings.low_pass_sigma is not None:
        raise ConfigError("low_pass_sigma is for the rival of Roy et al. in the study; no model is kept. Leave it out.")
    progress = progress or Silent()
    rows, kept = table.labelled(), decisions.for_training()
    left = np.unique(table.label[kept])
    if len(left) < 2:
        raise RunError(
            f"run {decisions.run}: after cleaning, tiles of {len(left)} class are left; nothing can be learned. "
            "Look at the report of `w2wpath clean`, and tile more slides."
        )
    tiles = Tiles.of(store, table, settings)
    progress.say(f"networks: {settings.backbone} on {tiles.compute}")
    wise, fit = fit_wise(
        WiseLearner(tiles, progress),
        rows,
        table.label[rows],
        tiles.n_classes,
        settings.seed,
        settings,
        progress,
        "Wise",
    )
    wiped = WipedFitter(tiles, progress).fit(kept, table.label[kept], settings.seed + 1, settings.wiped_epochs)
    right = wiped.predict(kept).argmax(axis=1) == table.label[kept]
    out_of_fold = decisions.u[rows]
    summary = {
        "run": decisions.run,
        "tiles": len(rows),
        "kept": len(kept),
        "stop_reason": fit.stop.reason,
        "stop_epoch": fit.stop.epoch,
        "wiped_epochs": settings.wiped_epochs,
        "threshold": fit.threshold,
        "training_accuracy_wiped": float(right.mean()),
        # unseen patients look more uncertain than training tiles, so the share says what a threshold will mask
        "out_of_fold_above_threshold": float((out_of_fold > fit.threshold).mean()),
    }
    reference = None
    if settings.quality:
        features = [measure(tiles.images[rows[i : i + TILES_AT_ONCE]]) for i in range(0, len(rows), TILES_AT_ONCE)]
        reference = Reference.learn(np.concatenate(features), table.slide[rows])
    if not isinstance(wise, Network):
        raise TypeError("train needs the networks of this package")
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
            "threshold": "centroid",
            "quality": reference,
            "metrics": summary,
            "provenance": record(
                "train",
                settings.model_dump(mode="json"),
                store_hash=decisions.about["store_hash"],
                fold_hash=decisions.about["fold_hash"],
                weights_sha256=_sha256_of(settings.weights),
                clean_run=decisions.run,
                patients=[name for i, name in enumerate(table.patients) if (table.patient[rows] == i).any()],
                stop={"reason": fit.stop.reason, "epoch": fit.stop.epoch, "deltas": list(fit.stop.deltas)},
            ),
        },
        {
            "store_hash": decisions.about["store_hash"],
            "draws": settings.draws,
            "dropout_rate": settings.dropout_rate,
            "dropout_kind": settings.dropout_kind,
            "dropout_scope": settings.dropout_scope,
            "dropout_logits": settings.dropout_logits,
            "mask_batch": settings.mask_batch,
            "precision": "bf16" if tiles.compute.bf16 else "fp32",
        },
        {"boundary": fit.u_boundary, "centroid": fit.threshold},
    )
    return Trained(card, summary)


def _sha256_of(weights: Path | None) -> str | None:
    """Return the sha256 of the file of pretrained weights; None when training began with random ones."""
    if weights is None:
        return None
    with weights.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

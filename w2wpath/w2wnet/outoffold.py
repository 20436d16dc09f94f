"""What the folds say of patients that their networks never saw, checked before anything is set with it (K14)."""

from __future__ import annotations

import numpy as np

from w2wpath.config import NetSettings
from w2wpath.errors import RunError
from w2wpath.tiles.table import TileTable
from w2wpath.w2wnet.folds import FoldTable, assert_out_of_fold
from w2wpath.w2wnet.ledger import Decisions

RECIPE = (
    "backbone",
    "stem",
    "draws",
    "dropout_rate",
    "dropout_kind",
    "dropout_scope",
    "dropout_logits",
    "mask_batch",
)
"""Settings that u and probabilities of draws depend on beside the training."""


def require_own_folds(table: TileTable, decisions: Decisions) -> FoldTable:
    """Return the fold table that a run was made with, once it is sure that its out-of-fold values still are that.

    Raises
    ------
    RunError
        The stored table does not have the stored hash, or a patient's tiles were tested in another fold than its own.
    FoldError
        A tile was in the training side of its own test fold.
    """
    about = decisions.about
    pairs = tuple((str(name), int(fold)) for name, fold in about["fold_table"])
    folds = FoldTable(about["settings"]["folds"], about["settings"]["seed"], pairs)
    if folds.digest != about["fold_hash"]:
        raise RunError(
            f"run {decisions.run}: its fold table has the hash {folds.digest[:12]}, but it was cleaned with the one of "
            f"hash {about['fold_hash'][:12]}. Run `w2wpath clean` again."
        )
    assert_out_of_fold(decisions.votes, decisions.fold)
    own = folds.fold_n(table.patients, table.patient)
    strays = np.flatnonzero((decisions.fold >= 0) & (decisions.fold != own))
    if strays.size:
        name = table.patients[table.patient[strays[0]]]
        raise RunError(
            f"run {decisions.run}: {strays.size} tiles (the first is of patient {name!r}) were tested in another fold "
            "than the one of their patient: the patients have changed since. Run `w2wpath clean` again."
        )
    return folds


def require_own_recipe(decisions: Decisions, settings: NetSettings) -> None:
    """Check that `settings` draw as the folds of a run did, whose u and probabilities set threshold and temperature.

    Raises
    ------
    RunError
        They do not; it says each setting.
    """
    of_run, now = decisions.about["settings"], settings.model_dump(mode="json")
    if other := [f"{name} {of_run[name]}, now {now[name]}" for name in RECIPE if of_run[name] != now[name]]:
        raise RunError(
            f"run {decisions.run}: cleaned with other settings ({'; '.join(other)}), so its out-of-fold uncertainty "
            "holds for another network. Train with the settings of the run, or run `w2wpath clean` with these."
        )

"""Confident learning (Northcutt, Jiang and Chuang, JAIR 2021) by cleanlab, the library of its authors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.rival import Floats, Mask, Piece, Rival
from w2wpath.errors import ConfigError

PARTS = 5
"""Networks whose out-of-fold probabilities it reads: each part is read by one that learned from the others."""


def confident_learning(
    labels: NDArray[np.integer], probs_nk: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which tiles (n,) it prunes, by noise rate, and a score (n,), high where the label is doubted.

    Parameters
    ----------
    labels
        (n,) given labels.
    probs_nk
        (n, k) out-of-fold probabilities.

    Raises
    ------
    ConfigError
        cleanlab is not installed.
    """
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise ConfigError("row 'cleanlab' needs cleanlab. Install it with pip install 'w2wpath[bench]'.") from error
    probs = np.asarray(probs_nk, dtype=np.float64)
    pruned = find_label_issues(labels, probs, filter_by="prune_by_noise_rate", n_jobs=1)
    return np.asarray(pruned, dtype=np.bool_), 1.0 - np.asarray(get_label_quality_scores(labels, probs))


def _pieces(part_n: NDArray[np.intp]) -> list[Piece]:
    return [Piece("net", f"out-of-fold {p + 1}", part_n != p, part_n == p, {}) for p in range(PARTS)]


def _judge(cells: Sequence[Any], labels: NDArray[np.int16], part_n: NDArray[np.intp]) -> tuple[Mask | None, Floats]:
    probs = np.empty((len(labels), cells[0].test_probs_nk.shape[1]))
    for p, cell in enumerate(cells):
        probs[part_n == p] = cell.test_probs_nk
    return confident_learning(labels, probs / probs.sum(axis=1, keepdims=True))


RIVALS = {"cleanlab": Rival(PARTS, _pieces, _judge, package="cleanlab")}

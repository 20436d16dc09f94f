"""Lists that are built from the truth: what perfect cleaning would give. No other module of a study builds one so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.every import RIVALS
from w2wpath.benchmarks.rivals.traces import without_worst
from w2wpath.benchmarks.study.methods import FoldContext
from w2wpath.w2wnet.truth import Truth

Mask = NDArray[np.bool_]


def oracle(context: FoldContext, truth: Truth) -> Mask:
    """Keep the training tiles that are truly good."""
    return np.asarray(~_spurious(context, truth))


def oracle_same_size(context: FoldContext, truth: Truth) -> Mask:
    """Remove as many tiles as ``recommended`` does, the spurious ones first; which of equal ones is drawn by lot."""
    spurious, removed = _spurious(context, truth), int((~context.kept_by("recommended")).sum())
    lot = context.random().permutation(len(spurious))
    order = lot[np.argsort(~spurious[lot], kind="stable")]
    kept = np.ones(len(spurious), dtype=np.bool_)
    kept[order[:removed]] = False
    return kept


def _known_rate(name: str) -> Callable[[FoldContext, Truth], Mask]:
    """Leave out as many tiles as are spurious, those of a rival's highest score: the truth tells it how many alone."""
    return lambda context, truth: without_worst(context.rival(name)[1], int(_spurious(context, truth).sum()))


def _spurious(context: FoldContext, truth: Truth) -> Mask:
    return np.asarray(truth.known[context.train] & truth.spurious[context.train])


ORACLES: Mapping[str, Callable[[FoldContext, Truth], Mask]] = {
    "oracle": oracle,
    "oracle-same-size": oracle_same_size,
    **{name: _known_rate(name) for name, rival in RIVALS.items() if rival.told_count},
}
"""Rows that the truth helps. Rivals that have no cut of their own are told the number of spurious tiles, in their
favour, and nothing else."""
NEEDS_WISE = frozenset({"oracle-same-size"})

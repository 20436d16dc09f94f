"""The rows of a study: which of a fold's training tiles a network is trained on, and how. No truth is here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2wpath.benchmarks.rivals.every import RIVALS
from w2wpath.benchmarks.rivals.koehler import QUANTILES, koehler_lists
from w2wpath.benchmarks.study.cells import JUDGEMENT
from w2wpath.config import PAPER, CleanSettings, StudySettings
from w2wpath.errors import ConfigError, did_you_mean
from w2wpath.w2wnet.learner import Rows

Mask = NDArray[np.bool_]
RECOMMENDED, PRETRAINED = "recommended", "pretrained"
CHANGES: Mapping[str, tuple[str, ...]] = {
    "paper's tracker": ("tracker",),
    "paper's label weight": ("label_weight",),
    "paper's reader": ("second_reader",),
    "paper's prior": ("balanced",),
    "paper's doubt": ("doubt_below",),
    "paper's quality": ("quality",),
    "paper's dropout": ("dropout_scope",),
    "paper's augmentation": ("augment",),
    "paper's rate": ("lr", "momentum", "schedule"),
    "paper's threshold": ("threshold",),
}
"""One change at a time: the settings that each of these rows takes from preset ``paper``; the rest is recommended."""
VARIANTS = (RECOMMENDED, "paper", *CHANGES)
"""Rows with a Wise of their own settings."""


@dataclass(frozen=True)
class FoldContext:
    """What a row may look at in one fold: the training tiles, and what Wise networks said of them.

    Attributes
    ----------
    train
        Rows (n,) of the study's table.
    statistics_n
        Score (n,) of ``image statistics only``.
    kept_by
        Tells which training tiles (n,) the Wise of a variant keeps.
    u_of
        Exact in-sample u (n,) of the Wise of a variant.
    rival
        What a method of :data:`~w2wpath.benchmarks.rivals.every.RIVALS` leaves out (n,), None where it has no cut of
        its own, and its score (n,).
    """

    k: int
    seed: int
    train: Rows
    statistics_n: NDArray[np.float64]
    kept_by: Callable[[str], Mask]
    u_of: Callable[[str], NDArray[np.float64]]
    rival: Callable[[str], tuple[Mask | None, NDArray[np.float64]]]

    def random(self) -> np.random.Generator:
        """Return the random numbers of this fold and seed."""
        return np.random.default_rng([self.seed, self.k])


@dataclass(frozen=True)
class Method:
    """A row: which training tiles are kept, and settings of the network that differ.

    Attributes
    ----------
    wise
        The variant whose Wise it needs; None needs none.
    changes
        Settings of the network, over the recommended ones.
    """

    name: str
    kept: Callable[[FoldContext], Mask]
    wise: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)


def _all(context: FoldContext) -> Mask:
    return np.ones(len(context.train), dtype=np.bool_)


def _by_wise(variant: str) -> Callable[[FoldContext], Mask]:
    return lambda context: context.kept_by(variant)


def _random(context: FoldContext) -> Mask:
    return _without_highest(context, context.random().random(len(context.train)))


def _statistics(context: FoldContext) -> Mask:
    return _without_highest(context, context.statistics_n)


def _without_highest(context: FoldContext, score_n: NDArray[np.float64]) -> Mask:
    """Remove as many tiles as ``recommended`` does: those of the highest score."""
    removed = int((~context.kept_by(RECOMMENDED)).sum())
    kept = np.ones(len(score_n), dtype=np.bool_)
    kept[np.argsort(-score_n, kind="stable")[:removed]] = False
    return kept


def _by_rival(name: str) -> Callable[[FoldContext], Mask]:
    def kept(context: FoldContext) -> Mask:
        left_out, score_n = context.rival(name)
        return np.zeros(len(score_n), dtype=np.bool_) if left_out is None else ~left_out

    return kept


def _koehler(quantile: float) -> Callable[[FoldContext], Mask]:
    return lambda context: koehler_lists(context.u_of(RECOMMENDED), (quantile,))[quantile]


def _of_paper(*names: str) -> dict[str, Any]:
    return {name: PAPER[name] for name in names}


PAPERS_NETWORK = _of_paper("lr", "momentum", "schedule", "augment", "standardise")
"""How the paper trains a deterministic network."""
KOEHLER = {f"koehler {quantile:g}": quantile for quantile in QUANTILES}

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method(RECOMMENDED, _by_wise(RECOMMENDED), RECOMMENDED),
        Method("paper", _by_wise("paper"), "paper", PAPERS_NETWORK),
        Method("all", _all),
        Method("random", _random, RECOMMENDED),
        Method("image statistics", _statistics, RECOMMENDED),
        Method("deterministic", _all, None, PAPERS_NETWORK),
        Method(PRETRAINED, _all),
        Method("roy", _all, None, {"low_pass_sigma": 1.0}),
        *(Method(f"roy {sigma:g}", _all, None, {"low_pass_sigma": sigma}) for sigma in (0.5, 2.0)),
        *(Method(name, _koehler(quantile), RECOMMENDED) for name, quantile in KOEHLER.items()),
        *(Method(name, _by_rival(name)) for name, rival in RIVALS.items() if not rival.told_count),
        *(
            Method(name, _by_wise(name), name, _of_paper(*(key for key in keys if key in PAPERS_NETWORK)))
            for name, keys in CHANGES.items()
        ),
    )
}
"""Every row but those of the oracle. A method of others is a file in ``rivals``, a list of ours a :class:`Method`."""
SAME_NETWORK = {"paper's threshold": RECOMMENDED}
"""Rows whose network is that of another: they differ in what they flag."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "koehler": tuple(KOEHLER),
    "one change at a time": tuple(CHANGES),
}
"""Names that stand for several rows."""


def variant_settings(base: CleanSettings, variant: str, k: int, study: StudySettings) -> CleanSettings:
    """Return the settings of a variant's Wise in fold `k`.

    ``paper`` takes the preset, whatever [clean] states by name of what the preset sets, but for the epochs, which all
    rows share; and follows the moving average but in the folds that the study lists.
    """
    given = _given(base)
    if variant == "paper":
        exact = k in study.paper_exact_folds
        given = {name: value for name, value in given.items() if name not in PAPER or name == "max_epochs"}
        return CleanSettings(**given | study.paper | {"preset": "paper", "tracker": "exact" if exact else "ema"})
    return CleanSettings(**given | _of_paper(*CHANGES.get(variant, ())))


def network_settings(base: CleanSettings, method: Method, study: StudySettings) -> CleanSettings:
    """Return the settings of a row's deterministic network. Only row ``pretrained`` begins with the given weights."""
    weights = {"weights": base.weights} if method.name == PRETRAINED else {}
    papers = study.paper if method.changes == PAPERS_NETWORK else {}
    return CleanSettings(**_given(base) | dict(method.changes) | papers | weights)


def _given(base: CleanSettings) -> dict[str, Any]:
    """Return what [clean] states by name, over the recommended defaults."""
    named = {name: getattr(base, name) for name in base.model_fields_set}
    return named | {"preset": "recommended", "weights": None}


def wise_of(variant: str) -> str:
    """Return the variant whose Wise serves `variant`: that of ``recommended`` where only the judgement differs."""
    return RECOMMENDED if set(CHANGES.get(variant, ("",))) <= JUDGEMENT else variant


def expanded(rows: Sequence[str], oracles: Sequence[str], table: str = "study") -> tuple[str, ...]:
    """Return the names of rows of a TOML's `table`, groups taken apart, each once.

    Raises
    ------
    ConfigError
        A row is not known.
    """
    known = (*METHODS, *GROUPS, *oracles)
    for name in rows:
        if name not in known:
            raise ConfigError(f"[{table}] rows must be of {', '.join(known)}; got {name!r}.{did_you_mean(name, known)}")
    return tuple(dict.fromkeys(one for name in rows for one in GROUPS.get(name, (name,))))

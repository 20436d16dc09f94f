"""Train one Wise until its stop rule fires, then measure its uncertainty exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.progress import Progress
from w2wpath.w2wnet.learner import Learner, Rows, Run
from w2wpath.w2wnet.split import two_means
from w2wpath.w2wnet.stopping import StopRule
from w2wpath.w2wnet.uncertainty import Floats, MCStats, MovingAverage, check_probs, label_quality


@dataclass(frozen=True)
class StopRecord:
    """When and why a Wise stopped.

    Attributes
    ----------
    reason
        ``stable`` (the rule fired), ``max_epochs`` (it never did: the epoch with the least std was taken, or the
        last one when too few epochs ran for a std), or ``degenerate`` (the network learned nothing; nothing is
        excluded).
    epoch
        The epoch whose weights are used, counted from 1.
    deltas, medians, stds
        The traces of the rule, one value an epoch, NaN where a window was not yet full.
    """

    reason: str
    epoch: int
    deltas: tuple[float, ...]
    medians: tuple[float, ...]
    stds: tuple[float, ...]


@dataclass(frozen=True)
class WiseFit:
    """What one Wise says of its own training tiles, in the order of `rows`.

    Attributes
    ----------
    score_n
        u + label_weight * Brier on the tracked probabilities: what decides.
    u_n
        Exact predictive uncertainty, from `draws` MC passes.
    mean_nk
        Mean probabilities of those passes.
    excluded_n
        High cluster of `score_n`; all False when degenerate.
    boundary
        Score above which a training tile is excluded.
    threshold
        Centroid of the spurious cluster of `u_n`: an unseen tile above it is uncertain (R18). NaN never: when
        degenerate it is the largest u there is, so that nothing is masked.
    """

    stop: StopRecord
    score_n: Floats
    u_n: Floats
    mean_nk: Floats
    excluded_n: NDArray[np.bool_]
    boundary: float
    threshold: float


def fit_wise(
    learner: Learner,
    rows: Rows,
    labels: NDArray[np.int16],
    n_classes: int,
    seed: int,
    settings: NetSettings,
    progress: Progress,
    what: str,
) -> tuple[Run, WiseFit]:
    """Train a Wise on `rows` and split its tiles.

    Raises
    ------
    NonFiniteScoreError
        The training diverged.
    """
    run = learner.start(rows, labels, seed)
    tracked_nk, stop = _train(run, labels, settings, progress, what)
    exact = draw_exact(run, rows, n_classes, settings.draws, progress, f"{what}: {settings.draws} exact passes")
    return run, judge(tracked_nk, exact, labels, stop, settings)


def draw_exact(run: Run, rows: Rows, n_classes: int, draws: int, progress: Progress, what: str) -> MCStats:
    """Accumulate `draws` MC passes over `rows`."""
    stats = MCStats(len(rows), n_classes)
    with progress.track(what, draws) as step:
        for _ in range(draws):
            stats.add(run.draw(rows))
            step(1, "")
    return stats


def judge(
    tracked_nk: Floats, exact: MCStats, labels: NDArray[np.int16], stop: StopRecord, settings: NetSettings
) -> WiseFit:
    """Split training tiles by the score of their tracked probabilities; find the threshold on their exact u."""
    score_n = label_quality(tracked_nk, labels, settings.label_weight)
    by_score = two_means(score_n)
    by_u = two_means(exact.u_n)
    excluded_n, threshold = by_score.high_n, by_u.high
    if _learned_nothing(exact.mean_nk, labels):
        stop = StopRecord("degenerate", stop.epoch, stop.deltas, stop.medians, stop.stds)
        excluded_n, threshold = np.zeros(len(labels), dtype=np.bool_), 1.0
    return WiseFit(stop, score_n, exact.u_n, exact.mean_nk, excluded_n, by_score.boundary, threshold)


def _learned_nothing(mean_nk: Floats, labels: NDArray[np.int16]) -> bool:
    """Tell whether the network does no better on its training labels than naming the largest class always."""
    accuracy = float((mean_nk.argmax(axis=1) == labels).mean())
    return accuracy <= float(np.bincount(labels).max() / len(labels))


def _train(
    run: Run, labels: NDArray[np.int16], settings: NetSettings, progress: Progress, what: str
) -> tuple[Floats, StopRecord]:
    rule = StopRule(settings.median_window, settings.std_window, settings.std_below)
    tracker = MovingAverage(settings.ema_decay)
    best: tuple[float, int, bytes, Floats] | None = None
    reason = "max_epochs"
    with progress.track(what, settings.max_epochs) as step:
        for _ in range(settings.max_epochs):
            probs_nk = run.epoch()
            if probs_nk is None:
                raise ValueError("this learner does not track its training forwards; the moving average needs them")
            check_probs(probs_nk, len(labels))
            tracker.add(probs_nk)
            split = two_means(label_quality(tracker.mean_nk, labels, settings.label_weight))
            fired = rule.add(split.delta)
            std = f", std {rule.std:.4f}" if rule.std is not None else ""
            step(1, f"epoch {rule.epoch}, delta {split.delta:+.3f}{std}")
            if fired:
                reason = "stable"
                break
            if rule.std is not None and (best is None or rule.std < best[0]):
                best = (rule.std, rule.epoch, run.state(), tracker.mean_nk)
    epoch, tracked_nk = rule.epoch, tracker.mean_nk
    if reason == "max_epochs" and best is not None and best[1] != epoch:
        # the clusters and the threshold are valid only for the weights that they were taken with (R16)
        _, epoch, state, tracked_nk = best
        run.load(state)
    return tracked_nk, StopRecord(reason, epoch, tuple(rule.deltas), tuple(rule.medians), tuple(rule.stds))

"""Train one Wise until its stop rule fires, then measure its uncertainty exactly."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2wpath.config import NetSettings
from w2wpath.progress import Progress, StopAsked, Stopped, never
from w2wpath.w2wnet.checkpoint import Best, Checkpoint, Point
from w2wpath.w2wnet.learner import Learner, Rows, Run
from w2wpath.w2wnet.split import cut, is_separated, separation
from w2wpath.w2wnet.stopping import StopRule
from w2wpath.w2wnet.trackers import Tracker, make_tracker
from w2wpath.w2wnet.uncertainty import Floats, MCStats, as_if_balanced, label_quality


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
    deltas, medians, stds, churns
        The traces of the rule, one value a measurement, NaN where a window was not yet full. Churn is the share of
        tiles that changed cluster since the measurement before (R13).
    """

    reason: str
    epoch: int
    deltas: tuple[float, ...]
    medians: tuple[float, ...]
    stds: tuple[float, ...]
    churns: tuple[float, ...]


@dataclass(frozen=True)
class WiseFit:
    """What one Wise says of its own training tiles, in the order of `rows`.

    Attributes
    ----------
    tracked_nk
        Probabilities (n, k) of the tracker at the stop.
    read_nk
        The mean of them and of the second reader's, where there is one, as if classes were equally frequent with
        `balanced`: what decides.
    score_n
        u + label_weight * Brier of `read_nk`.
    severity_n
        How far the score lies beyond what excludes a tile: above 1 is excluded. The smaller of score / boundary and,
        with `doubt_below` d, (1 - p_label) / (1 - d m), with m the median of p_label in the class of the label. All 0
        when degenerate, or the clusters are not separated by `min_separation`.
    mean_nk, u_n
        Mean probabilities and predictive uncertainty of `draws` exact MC passes after the stop.
    exact_score_n
        u + label_weight * Brier of those.
    low, boundary, high, separation
        Centroids of the two clusters of `score_n` and their midpoint, and depth of the valley there: 0 (none) to 1.
    u_low, u_boundary, threshold
        Centroid of the usual cluster of `u_n`, midpoint of the two (R17), and centroid of the spurious one: an unseen
        tile above it is uncertain (R18). The latter two are 1 when degenerate, so that nothing is masked.
    """

    stop: StopRecord
    tracked_nk: Floats
    read_nk: Floats
    score_n: Floats
    severity_n: Floats
    mean_nk: Floats
    u_n: Floats
    exact_score_n: Floats
    low: float
    boundary: float
    high: float
    separation: float
    u_low: float
    u_boundary: float
    threshold: float

    @property
    def excluded_n(self) -> NDArray[np.bool_]:
        """Which training tiles (n,) this Wise excludes."""
        return np.asarray(self.severity_n > 1.0)


def fit_wise(
    learner: Learner,
    rows: Rows,
    labels: NDArray[np.int16],
    n_classes: int,
    seed: int,
    settings: NetSettings,
    progress: Progress,
    what: str,
    checkpoint: Path | None = None,
    stop_asked: StopAsked = never,
    second_nk: Floats | None = None,
    pixels: str = "",
) -> tuple[Run, WiseFit]:
    """Train a Wise on `rows` and split its tiles.

    Parameters
    ----------
    checkpoint
        A file that keeps the state after every epoch; training that was interrupted goes on from it, to the same
        bits. A file of other rows, labels, seed, settings or pixels, or a damaged one, is not used. None keeps nothing.
    second_nk
        Probabilities (n, k) of the second reader of the same tiles; None where there is none.
    stop_asked
        Asked after every epoch, and between the passes after the last.
    pixels
        A digest of what the rows hold, where the checkpoint's place does not tell it.

    Raises
    ------
    Stopped
        It was asked to stop; the checkpoint holds the epochs so far.
    NonFiniteScoreError
        The training diverged.
    """
    run = learner.start(rows, labels, seed)
    tracker = make_tracker(settings, rows, n_classes)
    kept = None if checkpoint is None else Checkpoint(checkpoint, rows, labels, seed, settings, pixels)
    stop = _train(run, tracker, labels, settings, seed, progress, what, kept, stop_asked)
    passes = f"{what}: {settings.draws} exact passes"
    exact = draw_exact(run, rows, n_classes, settings.draws, progress, passes, stop_asked)
    return run, judge(tracker.mean_nk, exact, labels, stop, settings, seed, second_nk)


def draw_exact(
    run: Run,
    rows: Rows,
    n_classes: int,
    draws: int,
    progress: Progress,
    what: str,
    stop_asked: StopAsked = never,
) -> MCStats:
    """Accumulate `draws` MC passes over `rows`; raise Stopped where it is asked for."""
    stats = MCStats(len(rows), n_classes)
    with progress.track(what, draws) as step:
        for _ in range(draws):
            stats.add(run.draw(rows))
            step(1, "")
            if stop_asked():
                raise Stopped(f"in {what}")
    return stats


def judge(
    tracked_nk: Floats,
    exact: MCStats,
    labels: NDArray[np.int16],
    stop: StopRecord,
    settings: NetSettings,
    seed: int,
    second_nk: Floats | None = None,
) -> WiseFit:
    """Split training tiles by the score of what was read of them; find the threshold on their exact u."""
    read_nk = tracked_nk if second_nk is None else (tracked_nk + second_nk) / 2.0
    if settings.balanced:
        read_nk = as_if_balanced(read_nk, np.bincount(labels, minlength=read_nk.shape[1]))
    score_n = label_quality(read_nk, labels, settings.label_weight)
    split = cut(score_n, settings.split, seed=seed)
    by_u = cut(exact.u_n, settings.split, seed=seed)
    u_boundary, threshold = by_u.boundary, by_u.centroid
    severity_n = _severity(score_n, split.boundary, read_nk, labels, settings.doubt_below)
    if settings.min_separation is not None and not is_separated(score_n, split, settings.min_separation):
        severity_n = np.zeros(len(labels))
    if _learned_nothing(exact.mean_nk, labels):
        stop, severity_n = replace(stop, reason="degenerate"), np.zeros(len(labels))
        u_boundary = threshold = 1.0
    return WiseFit(
        stop=stop,
        tracked_nk=tracked_nk,
        read_nk=read_nk,
        score_n=score_n,
        severity_n=severity_n,
        mean_nk=exact.mean_nk,
        u_n=exact.u_n,
        exact_score_n=label_quality(exact.mean_nk, labels, settings.label_weight),
        low=split.low,
        boundary=split.boundary,
        high=split.high,
        separation=separation(score_n, split),
        u_low=by_u.low,
        u_boundary=u_boundary,
        threshold=threshold,
    )


def _severity(
    score_n: Floats, boundary: float, read_nk: Floats, labels: NDArray[np.int16], doubt_below: float | None
) -> Floats:
    # all scores equal: their boundary is that score, and none lies beyond it
    by_score = score_n / boundary if boundary > 0 else np.zeros_like(score_n)
    # a label that is given for certain never has a doubt, so 1 asks for none
    if doubt_below is None or doubt_below >= 1.0:
        return np.asarray(by_score)
    given = read_nk[np.arange(len(labels)), labels]
    by_doubt = (1.0 - given) / (1.0 - doubt_below * _usual(given, labels))
    return np.asarray(np.minimum(by_score, by_doubt))


def _usual(given_n: Floats, labels: NDArray[np.int16]) -> Floats:
    """Return for each tile (n,) the median of p_label in the class of its label: some are harder to read."""
    usual = np.empty_like(given_n)
    for label in np.unique(labels):
        mine = labels == label
        usual[mine] = np.median(given_n[mine])
    return usual


def _learned_nothing(mean_nk: Floats, labels: NDArray[np.int16]) -> bool:
    """Tell whether it is the network that is wrong, rather than the labels (R14).

    Either it doubts most labels (their mean probability is below one half), or it names them no better than naming
    the largest class always does, by three standard errors.
    """
    n = len(labels)
    given = mean_nk[np.arange(n), labels]
    accuracy = float((mean_nk.argmax(axis=1) == labels).mean())
    chance = float(np.bincount(labels).max() / n)
    return float((given < 0.5).mean()) > 0.5 or accuracy <= chance + 3.0 * float(np.sqrt(chance * (1.0 - chance) / n))


def _train(
    run: Run,
    tracker: Tracker,
    labels: NDArray[np.int16],
    settings: NetSettings,
    seed: int,
    progress: Progress,
    what: str,
    checkpoint: Checkpoint | None,
    stop_asked: StopAsked,
) -> StopRecord:
    rule = StopRule(
        settings.median_window, settings.std_window, settings.std_below, rule=settings.stop_rule, every=tracker.every
    )
    point = Point(0, rule, fired=False, best=None)
    if checkpoint is not None and (found := checkpoint.read(run, tracker, rule)) is not None:
        point = found
        progress.say(f"{what}: goes on after epoch {point.epoch}")
    began = time.monotonic() - point.seconds
    with progress.track(what, settings.max_epochs) as step:
        step(point.epoch, "")
        while point.epoch < settings.max_epochs and not point.fired:
            point = _epoch(point, run, tracker, labels, settings, seed)
            point = replace(point, seconds=time.monotonic() - began)
            step(1, _told(point))
            if checkpoint is not None:
                checkpoint.write(point, run, tracker)
            if stop_asked():
                raise Stopped(f"after epoch {point.epoch} of {what}")
    rule, best, epoch = point.rule, point.best, point.epoch
    if not point.fired and best is not None and best.epoch != epoch:
        # the clusters and the threshold are valid only for the weights that they were taken with (R16)
        epoch = best.epoch
        run.load(best.run)
        tracker.load(best.tracker)
    reason = "stable" if point.fired else "max_epochs"
    return StopRecord(reason, epoch, tuple(rule.deltas), tuple(rule.medians), tuple(rule.stds), tuple(rule.churns))


def _epoch(
    point: Point, run: Run, tracker: Tracker, labels: NDArray[np.int16], settings: NetSettings, seed: int
) -> Point:
    """Train one epoch and, if the tracker measured, ask the rule."""
    measured = tracker.after_epoch(run, run.epoch())
    epoch, rule, best, fired = point.epoch + 1, point.rule, point.best, False
    if measured:
        score_n = label_quality(tracker.mean_nk, labels, settings.label_weight)
        fired = rule.add(cut(score_n, settings.split, seed=seed).high_n)
        if not fired and rule.std is not None and (best is None or rule.std < best.std):
            best = Best(rule.std, epoch, run.state(), tracker.state())
    return Point(epoch, rule, fired, best)


def _told(point: Point) -> str:
    rule = point.rule
    delta = f", delta {rule.deltas[-1]:+.3f}" if rule.deltas else ""
    return f"epoch {point.epoch}{delta}{'' if rule.std is None else f', std {rule.std:.4f}'}"

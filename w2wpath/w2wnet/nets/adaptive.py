"""MC draws of a batch of tiles: a fixed number, or as many as a tile's decision needs (S12).

A model's threshold was taken on u of T draws. With pbar the mean of t draws and S the trace of their sample covariance,

    E[u_t] = u_infinity - S / t

so u of few draws is lower on average than u of many (R7), and must not be compared with the threshold as it is. What t
draws foretell of u_T is u with the bias of T draws in place of their own:

    v_t = u_unbiased - S / T = u_t + S (1 / t - 1 / T)

which is u_T itself at t = T: a tile that needs all its draws is judged exactly as without this module. By the same step
the epistemic part that T draws foretell is S (T - 1) / T, and v_t is still its sum with the aleatoric part.

When may a tile stop? What is in doubt is u_T, of whose T draws t are known. To first order u_t is a mean of t terms, so
the distance to the mean of all T has the standard error of u_t times sqrt(1 - t / T), as in sampling without
replacement. A tile stops when v_t lies farther from the threshold than z such errors. The error itself is estimated
from t draws, and four draws that happen to agree make it look small; z is therefore the normal quantile, replaced by
Student's of the same level with t - 1 degrees of freedom (z = 2.5 becomes 4.9 at 4 draws, 3.3 at 8, 2.7 at 20).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2wpath.w2wnet.uncertainty import Floats, MCStats

Z = 2.5
"""Standard errors between a tile and the threshold at which it stops. One look misleads in 1.2 % of the tiles that lie
just there, and looking again after each draw in some times as many; most tiles lie elsewhere. With 2 (4.6 %) no room
would be left below the 2 % that is allowed, and 3 (0.3 %) draws more without need."""
LEAST = 4
"""Draws of every tile: the standard deviation of three is off by one half, and Student's law cannot mend that."""

Draw = Callable[[NDArray[np.intp], int], NDArray[np.floating]]
"""Pass t of some tiles: their rows (m,) and t, counted from 0, to probabilities (m, k)."""


@dataclass(frozen=True)
class Draws:
    """What Wise says of n tiles and k classes.

    Attributes
    ----------
    mean_nk
        Mean probabilities (n, k) of the draws that a tile had.
    u_n, epistemic_n
        Predictive uncertainty (n,) and its epistemic part, both at the bias of the number of draws asked for.
    draws_n
        Draws that each tile had (n,) int64.
    """

    mean_nk: Floats
    u_n: Floats
    epistemic_n: Floats
    draws_n: NDArray[np.int64]


def fixed_draws(draw: Draw, n: int, k: int, *, draws: int) -> Draws:
    """Draw every tile `draws` times. Memory does not grow with `draws`."""
    stats = MCStats(n, k)
    everyone = np.arange(n)
    for t in range(draws):
        stats.add(draw(everyone, t))
    return Draws(stats.mean_nk, stats.u_n, stats.epistemic_n, np.full(n, draws, dtype=np.int64))


def adaptive_draws(
    draw: Draw, n: int, k: int, *, threshold: float, draws: int, z: float = Z, least: int = LEAST
) -> Draws:
    """Draw each tile until it is clear on which side of `threshold` its u of `draws` draws will lie.

    Passes after the first `least` are drawn only for the tiles that are still undecided. Memory grows with n k^2, not
    with `draws`.

    Parameters
    ----------
    draw
        Gives pass t of some of the tiles. A tile's passes must be independent of each other.
    threshold
        Uncertainty that was taken on `draws` draws.
    draws
        Most draws of a tile; a tile that gets all has exactly the u of that many.
    z
        Standard errors of safety, as for a normal error.
    least
        Draws that every tile gets.

    Raises
    ------
    ValueError
        `least` is below 2 (one draw has no variance), `draws` below 1, or `z` is not positive and finite.
    """
    if least < 2 or draws < 1 or not 0 < z < np.inf:
        raise ValueError(f"needs least >= 2, draws >= 1 and a finite z > 0; got {least}, {draws} and {z}")
    made = Draws(np.empty((n, k)), np.empty(n), np.empty(n), np.zeros(n, dtype=np.int64))
    left, stats = np.arange(n), MCStats(n, k, covariance=True)
    for t in range(1, draws + 1):
        stats.add(draw(left, t - 1))
        done = _done(stats, threshold, draws, z) if t >= min(least, draws) else np.zeros(len(left), dtype=np.bool_)
        if done.any():
            _keep(made, left[done], stats.take(np.flatnonzero(done)), draws)
            undecided = np.flatnonzero(~done)
            left, stats = left[undecided], stats.take(undecided)
        if not left.size:
            break
    return made


def _done(stats: MCStats, threshold: float, draws: int, z: float) -> NDArray[np.bool_]:
    """Tell which tiles need no further draw."""
    if stats.draws == draws:
        return np.ones(len(stats.mean_nk), dtype=np.bool_)
    foretold_n, _ = _at(stats, draws)
    unknown = np.sqrt(1.0 - stats.draws / draws)
    # strictly, so that a tile on the threshold is never decided by a standard error of zero
    return np.asarray(np.abs(foretold_n - threshold) > students(z, stats.draws - 1) * unknown * stats.standard_error_n)


def students(z: float, freedom: int) -> float:
    """Return Student's quantile for `freedom` degrees at the level of the normal quantile `z`.

    The expansion of Abramowitz and Stegun, 26.7.5, to the second order: for z up to 3 it is low by 20 % at 3 degrees
    and by 3 % at 7.
    """
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    return z + first / freedom + second / freedom**2


def _at(stats: MCStats, draws: int) -> tuple[Floats, Floats]:
    """Return u (n,) and its epistemic part (n,) as `draws` draws would give them on average."""
    if stats.draws == draws:
        return stats.u_n, stats.epistemic_n
    spread_n = stats.draws * (stats.u_unbiased_n - stats.u_n)
    return np.asarray(stats.u_unbiased_n - spread_n / draws), np.asarray(spread_n * (draws - 1) / draws)


def _keep(made: Draws, rows: NDArray[np.intp], stats: MCStats, draws: int) -> None:
    """Write down what is final for `rows`."""
    made.mean_nk[rows] = stats.mean_nk
    made.u_n[rows], made.epistemic_n[rows] = _at(stats, draws)
    made.draws_n[rows] = stats.draws

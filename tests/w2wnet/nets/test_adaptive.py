"""A tile is drawn until its side of the threshold is clear, and no less and no more."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.w2wnet.nets.adaptive import Draw, adaptive_draws, fixed_draws, students

T = 25


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    wide = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(wide / wide.sum(axis=1, keepdims=True))


def noisy(n: int, k: int, *, seed: int, noise: float = 1.0, tiles: int = 0) -> Draw:
    """Tiles whose logits are normal around their own means, which `tiles` fixes. A tile's pass is always the same."""
    rng = np.random.default_rng(tiles)
    mean = rng.normal(0.0, 2.0, (n, k))
    spread = rng.uniform(0.2, noise, (n, 1))

    def draw(rows: NDArray[np.intp], t: int) -> NDArray[np.float64]:
        whole = np.random.default_rng([seed, t]).normal(size=(n, k))
        return softmax(mean[rows] + spread[rows] * whole[rows])

    return draw


def still(probs_nk: NDArray[np.float64]) -> Draw:
    """Tiles whose passes are all alike."""
    return lambda rows, t: probs_nk[rows]


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 12),
    k=st.integers(2, 5),
    draws=st.integers(1, 30),
    least=st.integers(2, 40),
    threshold=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_a_tile_has_between_the_least_and_the_most_draws_and_all_of_them_count(
    n: int, k: int, draws: int, least: int, threshold: float, seed: int
) -> None:
    draw = noisy(n, k, seed=seed)
    made = adaptive_draws(draw, n, k, threshold=threshold, draws=draws, least=least)
    assert made.draws_n.min() >= min(least, draws)
    assert made.draws_n.max() <= draws
    for i in range(n):
        own = [draw(np.array([i]), t)[0] for t in range(made.draws_n[i])]
        assert np.allclose(made.mean_nk[i], np.mean(own, axis=0))


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 12),
    k=st.integers(2, 5),
    draws=st.integers(2, 30),
    threshold=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_a_tile_that_had_all_its_draws_is_exactly_as_without_adaption(
    n: int, k: int, draws: int, threshold: float, seed: int
) -> None:
    draw = noisy(n, k, seed=seed)
    made = adaptive_draws(draw, n, k, threshold=threshold, draws=draws)
    whole = fixed_draws(draw, n, k, draws=draws)
    full = made.draws_n == draws
    assert np.array_equal(made.u_n[full], whole.u_n[full])
    assert np.array_equal(made.epistemic_n[full], whole.epistemic_n[full])
    assert np.array_equal(made.mean_nk[full], whole.mean_nk[full])
    everything = adaptive_draws(draw, n, k, threshold=threshold, draws=draws, z=1e9)
    assert np.array_equal(everything.u_n, whole.u_n)
    assert np.array_equal(everything.draws_n, whole.draws_n)


def test_tiles_that_are_clear_stop_at_the_least_and_later_passes_leave_them_out() -> None:
    clear, torn = [0.98, 0.01, 0.01], [0.5, 0.5, 0.0]
    asked: list[list[int]] = []

    def draw(rows: NDArray[np.intp], t: int) -> NDArray[np.float64]:
        asked.append(rows.tolist())
        return np.array([clear, torn, clear, torn])[rows]

    # u of the torn ones is one half: on the threshold, so no number of draws decides
    made = adaptive_draws(draw, 4, 3, threshold=0.5, draws=9)
    assert asked == [[0, 1, 2, 3]] * 4 + [[1, 3]] * 5
    assert made.draws_n.tolist() == [4, 9, 4, 9]
    assert np.allclose(made.mean_nk, [clear, torn, clear, torn])
    assert np.allclose(made.epistemic_n, 0.0)


def test_no_pass_is_drawn_once_every_tile_is_clear() -> None:
    asked: list[int] = []

    def draw(rows: NDArray[np.intp], t: int) -> NDArray[np.float64]:
        asked.append(t)
        return np.tile([0.9, 0.1], (len(rows), 1))

    adaptive_draws(draw, 3, 2, threshold=0.5, draws=T)
    assert asked == [0, 1, 2, 3]


def test_u_of_few_draws_is_on_the_footing_of_many() -> None:
    # a threshold of 2 cannot be: every tile stops at the least
    n = 4000
    draw = noisy(n, 3, seed=1, noise=2.0)
    few = adaptive_draws(draw, n, 3, threshold=2.0, draws=T, z=1e-9)
    many, raw = fixed_draws(noisy(n, 3, seed=2, noise=2.0), n, 3, draws=T), fixed_draws(draw, n, 3, draws=4)
    assert set(few.draws_n) == {4}
    for got, wanted, biased in (
        (few.u_n, many.u_n, raw.u_n),
        (few.epistemic_n, many.epistemic_n, raw.epistemic_n),
    ):
        error = 3.0 * float(np.std(got - wanted)) / np.sqrt(n)
        assert abs(float((got - wanted).mean())) < error
        assert float((biased - wanted).mean()) < -2.0 * error  # what comparing u of 4 draws as it is would do


def test_the_parts_still_add_up_when_a_tile_stops_early() -> None:
    draw = noisy(200, 4, seed=3, noise=2.0)
    made = adaptive_draws(draw, 200, 4, threshold=2.0, draws=T, z=1e-9)
    passes = np.stack([draw(np.arange(200), t) for t in range(4)])
    aleatoric = 1.0 - (passes**2).sum(axis=2).mean(axis=0)
    assert np.allclose(made.u_n, aleatoric + made.epistemic_n)


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6])
def test_s12_a_third_of_the_draws_decides_like_all_of_them(threshold: float) -> None:
    # the tiles are many more around the threshold than in a slide, so two full runs do not agree on each either
    n = 4000
    one, two = (fixed_draws(noisy(n, 3, seed=s, noise=1.5), n, 3, draws=T).u_n > threshold for s in (1, 2))
    made = adaptive_draws(noisy(n, 3, seed=3, noise=1.5), n, 3, threshold=threshold, draws=T)
    ceiling = float((one == two).mean())
    agreement = float(((made.u_n > threshold) == one).mean())
    assert made.draws_n.mean() <= 12
    assert agreement >= ceiling - 0.015


def test_more_safety_costs_more_draws() -> None:
    draw = noisy(500, 3, seed=4)
    means = [
        adaptive_draws(draw, 500, 3, threshold=0.4, draws=T, z=z).draws_n.mean() for z in (1.0, 2.0, 2.5, 3.0, 5.0)
    ]
    assert means == sorted(set(means))


def test_few_degrees_of_freedom_ask_for_more_standard_errors() -> None:
    # 99.38 %, the level of z = 2.5, in tables of Student's law: 3.34 at 7 degrees, 2.75 at 20
    assert students(2.5, 7) == pytest.approx(3.34, rel=0.02)
    assert students(2.5, 20) == pytest.approx(2.75, rel=0.01)
    assert students(2.5, 10**6) == pytest.approx(2.5, abs=1e-4)


def test_memory_does_not_grow_with_the_draws() -> None:
    n, k = 2000, 5
    probs = softmax(np.random.default_rng(0).normal(size=(n, k)))

    def peak(draws: int) -> int:
        tracemalloc.start()
        adaptive_draws(still(probs), n, k, threshold=0.5, draws=draws, least=draws)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(40) < 1.05 * peak(4)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"least": 1}, "1, 25 and 2.5"),
        ({"draws": 0}, "4, 0 and 2.5"),
        ({"z": 0.0}, "4, 25 and 0.0"),
        ({"z": float("nan")}, "4, 25 and nan"),
        ({"z": float("inf")}, "4, 25 and inf"),
    ],
)
def test_settings_without_sense_are_refused(given: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        adaptive_draws(still(np.full((2, 2), 0.5)), 2, 2, **{"threshold": 0.5, "draws": T, **given})  # type: ignore[arg-type]
    assert str(caught.value) == f"needs least >= 2, draws >= 1 and a finite z > 0; got {told}"

"""Risk-coverage figures against brute force, and the properties that define them."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.metrics import auroc
from w2wpath.w2wnet.selective import augrc, aurc, coverage_at_risk, eaurc, risk_coverage, selective_accuracy

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40)
FEW = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6)
AREAS = (aurc, eaurc, augrc)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(u) for u, _ in pairs]), np.array([wrong for _, wrong in pairs])


def orders(uncertainty_n: np.ndarray) -> list[list[int]]:
    """Every order of the tiles in which uncertainty never falls."""
    every = permutations(range(len(uncertainty_n)))
    return [list(order) for order in every if (np.diff(uncertainty_n[list(order)]) >= 0).all()]


def areas_of_an_order(wrong_n: np.ndarray) -> tuple[float, float]:
    """AURC and AUGRC of tiles in falling certainty, step by step."""
    n, wrong, risks, general = len(wrong_n), 0, [], [0.0]
    for i, one in enumerate(wrong_n, 1):
        wrong += int(one)
        risks.append(wrong / i)
        general.append(wrong / n)
    return sum(risks) / n, sum((a + b) / 2 / n for a, b in pairwise(general))


@given(FEW)
def test_both_areas_are_the_mean_over_every_order_of_equal_uncertainties(pairs: list[tuple[int, bool]]) -> None:
    uncertainty_n, wrong_n = arrays(pairs)
    areas = np.mean([areas_of_an_order(wrong_n[order]) for order in orders(uncertainty_n)], axis=0)
    assert (aurc(uncertainty_n, wrong_n), augrc(uncertainty_n, wrong_n)) == pytest.approx(tuple(areas), abs=1e-12)


@given(FEW)
def test_selective_accuracy_is_the_mean_over_every_order_of_equal_uncertainties(pairs: list[tuple[int, bool]]) -> None:
    uncertainty_n, right_n = arrays(pairs)
    n, every = len(right_n), orders(uncertainty_n)
    for m in range(1, n + 1):
        expected = np.mean([right_n[order[:m]].mean() for order in every])
        assert selective_accuracy(uncertainty_n, right_n, m / n) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_a_perfect_order_has_the_least_areas_of_all_and_no_excess(wrong: list[bool]) -> None:
    wrong_n = np.array(wrong)
    every = [np.array(order, dtype=float) for order in permutations(range(len(wrong)))]
    for area in (aurc, augrc):
        least = min(area(order, wrong_n) for order in every)
        assert area(wrong_n.astype(float), wrong_n) == pytest.approx(least, abs=1e-12)
    assert eaurc(wrong_n.astype(float), wrong_n) == pytest.approx(0.0, abs=1e-12)
    assert min(eaurc(order, wrong_n) for order in every) >= -1e-12


@given(PAIRS)
def test_augrc_is_the_formula_of_its_paper_and_within_its_bounds(pairs: list[tuple[int, bool]]) -> None:
    uncertainty_n, wrong_n = arrays(pairs)
    accuracy = 1 - wrong_n.mean()
    area = auroc(uncertainty_n, wrong_n)
    ranked = 0.0 if np.isnan(area) else (1 - area) * accuracy * (1 - accuracy)
    found = augrc(uncertainty_n, wrong_n)
    assert found == pytest.approx(ranked + (1 - accuracy) ** 2 / 2, abs=1e-12)
    assert (1 - accuracy) ** 2 / 2 - 1e-12 <= found <= (1 - accuracy**2) / 2 + 1e-12


@given(PAIRS)
def test_only_the_order_of_the_uncertainties_counts(pairs: list[tuple[int, bool]]) -> None:
    uncertainty_n, wrong_n = arrays(pairs)
    for other_n in (np.exp(uncertainty_n), uncertainty_n**3 - 7, uncertainty_n * 1e-300):
        assert [area(other_n, wrong_n) for area in AREAS] == [area(uncertainty_n, wrong_n) for area in AREAS]
        np.testing.assert_array_equal(risk_coverage(other_n, wrong_n), risk_coverage(uncertainty_n, wrong_n))
        assert selective_accuracy(other_n, ~wrong_n, 0.7) == selective_accuracy(uncertainty_n, ~wrong_n, 0.7)
        assert coverage_at_risk(other_n, wrong_n, 0.3) == coverage_at_risk(uncertainty_n, wrong_n, 0.3)


@given(PAIRS, st.randoms())
def test_the_order_of_the_tiles_does_not_count(pairs: list[tuple[int, bool]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for area in AREAS:
        assert area(*arrays(shuffled)) == area(*arrays(pairs))


@given(PAIRS, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_the_curve_and_the_coverage_at_a_risk_are_those_of_every_threshold(
    pairs: list[tuple[int, bool]], risk: float
) -> None:
    uncertainty_n, wrong_n = arrays(pairs)
    accepted = [uncertainty_n <= threshold for threshold in np.unique(uncertainty_n)]
    coverage_m, risk_m = risk_coverage(uncertainty_n, wrong_n)
    assert coverage_m.tolist() == [mask.mean() for mask in accepted]
    assert risk_m.tolist() == [wrong_n[mask].mean() for mask in accepted]
    allowed = [mask.mean() for mask in accepted if wrong_n[mask].mean() <= risk]
    assert coverage_at_risk(uncertainty_n, wrong_n, risk) == max(allowed, default=0.0)


def test_a_small_set_counted_by_hand() -> None:
    uncertainty_n, wrong_n = np.array([0.1, 0.2, 0.2, 0.9]), np.array([False, True, False, True])
    coverage_m, risk_m = risk_coverage(uncertainty_n, wrong_n)
    assert coverage_m.tolist() == [0.25, 0.75, 1.0]
    assert risk_m == pytest.approx([0, 1 / 3, 1 / 2])
    assert aurc(uncertainty_n, wrong_n) == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 1 / 2) / 4)
    assert eaurc(uncertainty_n, wrong_n) == pytest.approx((0.5 / 2 + 1 / 3 + 1 / 2) / 4 - (1 / 3 + 1 / 2) / 4)
    assert augrc(uncertainty_n, wrong_n) == pytest.approx((0 + 0.5 + 1.5 + 3) / 2 / 16)
    assert selective_accuracy(uncertainty_n, ~wrong_n, 0.5) == pytest.approx(0.75)
    assert selective_accuracy(uncertainty_n, ~wrong_n, 0.375) == pytest.approx(1.25 / 1.5)
    assert coverage_at_risk(uncertainty_n, wrong_n, 0.4) == 0.75


def test_uncertainty_that_knows_nothing_has_the_risk_of_all_tiles_at_every_coverage() -> None:
    wrong_n = np.arange(40) < 10
    assert aurc(np.zeros(40), wrong_n) == pytest.approx(0.25)
    assert augrc(np.zeros(40), wrong_n) == pytest.approx(0.125)
    assert selective_accuracy(np.zeros(40), ~wrong_n, 0.3) == pytest.approx(0.75)


def test_the_excess_is_near_the_approximation_of_its_paper() -> None:
    rng = np.random.default_rng(0)
    wrong_n = rng.random(5000) < 0.2
    uncertainty_n = wrong_n + rng.normal(0, 1, 5000)
    r = wrong_n.mean()
    expected = aurc(uncertainty_n, wrong_n) - (r + (1 - r) * np.log(1 - r))
    assert eaurc(uncertainty_n, wrong_n) == pytest.approx(expected, abs=1e-3)


def test_no_tiles_give_no_figure() -> None:
    nothing, none = np.array([]), np.array([], dtype=np.bool_)
    assert [part.tolist() for part in risk_coverage(nothing, none)] == [[], []]
    assert np.isnan([area(nothing, none) for area in AREAS]).all()
    assert np.isnan([selective_accuracy(nothing, none, 0.5), coverage_at_risk(nothing, none, 0.1)]).all()
    assert np.isnan(selective_accuracy(np.zeros(3), np.ones(3, dtype=np.bool_), 0.0))


def test_a_coverage_beyond_all_tiles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^coverage must lie between 0 and 1; got 1.5$"):
        selective_accuracy(np.zeros(3), np.ones(3, dtype=np.bool_), 1.5)


def test_a_tile_without_uncertainty_is_refused() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        aurc(np.array([0.1, np.nan, np.inf]), np.zeros(3, dtype=np.bool_))
    assert str(caught.value) == ("2 of 3 tiles have no finite uncertainty. Leave out the tiles that were not judged.")

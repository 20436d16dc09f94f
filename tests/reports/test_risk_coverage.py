"""The risk-coverage curve is what counting says, also where tiles are equally uncertain."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.reports.risk_coverage import risk_coverage


def counted(u: list[float], wrong: list[bool]) -> list[float]:
    """Risk after each answer, the mean over every order that answers the surer tile first."""
    orders = [order for order in permutations(range(len(u))) if [u[i] for i in order] == sorted(u)]
    return [float(np.mean([np.mean([wrong[i] for i in order[:n]]) for order in orders])) for n in range(1, len(u) + 1)]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.7]), st.booleans()), min_size=1, max_size=6))
def test_the_curve_and_its_area_are_those_of_counting(tiles: list[tuple[float, bool]]) -> None:
    u, wrong = [value for value, _ in tiles], [value for _, value in tiles]
    curve = risk_coverage(np.array(u), np.array(wrong))
    expected = counted(u, wrong)
    np.testing.assert_allclose(curve.risk_n, expected, atol=1e-12)
    np.testing.assert_allclose(curve.coverage_n, np.arange(1, len(u) + 1) / len(u))
    assert curve.aurc == pytest.approx(np.mean(expected))
    assert curve.risk == pytest.approx(np.mean(wrong))


def test_the_risk_is_read_at_the_first_coverage_that_suffices() -> None:
    curve = risk_coverage(np.array([0.4, 0.1, 0.3, 0.2, 0.5]), np.array([True, False, True, False, False]))
    assert [curve.risk_at(share) for share in (0.0, 0.4, 0.6, 0.7, 0.8, 1.0)] == [0.0, 0.0, 1 / 3, 0.5, 0.5, 0.4]


def test_no_tile_has_no_risk() -> None:
    curve = risk_coverage(np.zeros(0), np.zeros(0, dtype=bool))
    assert (curve.aurc, curve.risk, curve.risk_at(0.8)) == (None, None, None)

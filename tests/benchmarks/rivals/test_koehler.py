"""The lists of the rival that prunes at a fixed uncertainty."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2wpath.benchmarks.rivals.koehler import QUANTILES, koehler_lists
from w2wpath.errors import NonFiniteScoreError


def test_each_list_keeps_its_share_of_the_most_certain_tiles() -> None:
    u_n = np.random.default_rng(0).permutation(100) / 100
    lists = koehler_lists(u_n)
    assert tuple(lists) == QUANTILES == (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    for share, kept_n in lists.items():
        assert kept_n.dtype == np.bool_
        assert kept_n.sum() == round(100 * share)
        assert u_n[kept_n].max() < u_n[~kept_n].min()


@given(st.lists(st.sampled_from([0.0, 0.1, 0.3, 1 / 3, 0.9]), min_size=1, max_size=30))
def test_lists_grow_with_the_threshold_and_part_no_equal_tiles(u: list[float]) -> None:
    u_n = np.array(u)
    lists = list(koehler_lists(u_n).items())
    for share, kept_n in lists:
        assert kept_n.mean() >= share - 1e-12
        assert not set(u_n[kept_n]) & set(u_n[~kept_n])
    for (_, fewer_n), (_, more_n) in pairwise(lists):
        assert (more_n | ~fewer_n).all()


def test_other_quantiles_may_be_asked_for() -> None:
    lists = koehler_lists(np.arange(4) / 4, (0.25, 1.0))
    assert {share: kept_n.tolist() for share, kept_n in lists.items()} == {
        0.25: [True, False, False, False],
        1.0: [True, True, True, True],
    }


def test_a_tile_without_uncertainty_is_refused() -> None:
    with pytest.raises(NonFiniteScoreError) as caught:
        koehler_lists(np.array([0.1, np.nan]))
    assert str(caught.value) == ("1 of 2 tiles have no finite uncertainty. Leave out the tiles that were not judged.")

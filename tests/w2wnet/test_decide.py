"""One severity and one reason a tile, from what the network and the pixels say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from w2wpath.w2wnet import ledger
from w2wpath.w2wnet.decide import NET_REASONS, REASONS, Joined, join
from w2wpath.w2wnet.fit import StopRecord, WiseFit
from w2wpath.w2wnet.quality import REASONS as QUALITY_REASONS
from w2wpath.w2wnet.quality import Quality

LABELS = np.array([0, 0, 1, 1], dtype=np.int16)
NAMED = np.array([0, 1, 1, 0])
"""The class that the exact draws name."""


def fit(severity_n: NDArray[np.float64], reason: str = "stable") -> WiseFit:
    n = len(severity_n)
    read_nk = np.where(np.arange(2) == np.resize(NAMED, n)[:, None], 0.6, 0.4)
    return WiseFit(
        stop=StopRecord(reason, 6, (), (), (), ()),
        # tracker and draws name the label always: reasons are those of what is read
        tracked_nk=np.eye(2)[np.resize(LABELS, n)],
        read_nk=read_nk,
        score_n=severity_n,
        severity_n=severity_n,
        mean_nk=np.eye(2)[np.resize(LABELS, n)],
        u_n=np.zeros(n),
        exact_score_n=np.zeros(n),
        low=0.5,
        boundary=1.0,
        high=1.5,
        separation=1.0,
        u_low=0.0,
        u_boundary=0.25,
        threshold=0.5,
    )


def test_the_columns_are_the_network_and_then_the_pixels() -> None:
    assert REASONS == (*NET_REASONS, *QUALITY_REASONS) == ("label", "uncertain", "focus", "background", "colour")


def test_every_reason_can_be_written_to_the_ledger() -> None:
    assert set(REASONS) <= set(ledger.REASONS)
    assert len(set(ledger.REASONS)) == len(ledger.REASONS)


def test_the_network_says_label_where_it_names_another_class_and_uncertain_elsewhere() -> None:
    joined = join(fit(np.array([2.0, 3.0, 0.5, 0.0])), LABELS, None)
    assert joined.severity_nr.tolist() == [
        [0.0, 2.0, 0.0, 0.0, 0.0],
        [3.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.0, 0.0],
    ]
    assert joined.excluded_n.tolist() == [True, True, False, False]


def test_the_reason_is_the_worst_severity() -> None:
    quality = Quality(np.array([[2.5, 0.0, 0.0], [0.0, 2.9, 0.0], [0.0, 0.0, 1.5], [0.9, 0.8, 1.0]]))
    joined = join(fit(np.array([2.0, 3.0, 0.5, 0.0])), LABELS, quality)
    assert [REASONS[i] for i in joined.severity_nr.argmax(axis=1)] == ["focus", "label", "colour", "colour"]
    assert joined.severity_n.tolist() == [2.5, 3.0, 1.5, 1.0]
    # 1 is the cut, and what lies on it stays
    assert joined.excluded_n.tolist() == [True, True, True, False]


@pytest.mark.parametrize("bad", [0.0, 9.0])
def test_a_degenerate_fit_excludes_nothing_whatever_the_pixels_say(bad: float) -> None:
    joined = join(fit(np.full(4, 2.0), "degenerate"), LABELS, Quality(np.full((4, 3), bad)))
    assert joined.severity_nr.shape == (4, len(REASONS))
    assert not joined.severity_nr.any()
    assert not joined.excluded_n.any()


@given(st.lists(st.tuples(*[st.floats(0, 5)] * 4), min_size=1, max_size=20))
def test_a_tile_is_excluded_if_network_or_pixels_exclude_it(rows: list[tuple[float, float, float, float]]) -> None:
    values = np.array(rows)
    quality = Quality(values[:, 1:])
    wise = fit(values[:, 0])
    joined = join(wise, np.resize(LABELS, len(values)), quality)
    assert np.array_equal(joined.excluded_n, wise.excluded_n | quality.bad_n)
    assert np.array_equal(joined.severity_n, values.max(axis=1))
    assert np.array_equal(joined.severity_nr[:, len(NET_REASONS) :], quality.severity_nr)
    assert isinstance(joined, Joined)

"""Whether the folds' threshold holds for the final Wise is measured and said in words."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from w2wpath.w2wnet.transfer import compare, ks_distance

OUT_OF_FOLD = np.linspace(0.0, 0.5, 101)


@pytest.mark.parametrize("shift", [0.0, 0.1, 2.0])
def test_the_distance_is_that_of_scipy(shift: float) -> None:
    rng = np.random.default_rng(0)
    a_n, b_n = rng.normal(size=300).round(2), rng.normal(size=200).round(2) + shift
    assert ks_distance(a_n, b_n) == pytest.approx(ks_2samp(a_n, b_n).statistic)


def test_the_same_distribution_transfers_without_a_warning() -> None:
    found = compare(OUT_OF_FOLD, OUT_OF_FOLD[::-1], {"quantile": 0.477, "centroid": 0.6})
    assert (found.tiles, found.distance) == (101, 0.0)
    assert found.out_of_fold == found.final == pytest.approx((0.25, 0.45, 0.475))
    assert found.flagged_out_of_fold == found.flagged_final == {"quantile": pytest.approx(5 / 101), "centroid": 0.0}
    assert found.warnings("quantile", 0.05) == found.warnings("centroid", 0.05) == []


def test_a_final_wise_that_is_less_sure_is_said() -> None:
    found = compare(OUT_OF_FOLD, OUT_OF_FOLD + 0.1, {"quantile": 0.477})
    assert found.warnings("quantile", 0.05) == [
        f"threshold 'quantile' flags {25 / 101:.1%} of the kept tiles by the final Wise, which trained on them, and "
        "should flag 5.0% of unseen ones: the final Wise is less sure than those of the folds, and slides will be "
        "masked more than stated. Clean with more epochs, and train again."
    ]


def test_a_final_wise_that_is_another_is_said() -> None:
    found = compare(OUT_OF_FOLD, OUT_OF_FOLD / 10, {"quantile": 0.477})
    assert found.flagged_final == {"quantile": 0.0}
    assert found.warnings("quantile", 0.05) == [
        f"u of the final Wise is far from u out of fold (Kolmogorov-Smirnov distance {found.distance:.2f}, above 0.5): "
        "the share of a new patient's tiles that is masked may not be the stated one. "
        "Look at the mask of a slide that you know before you trust it."
    ]


@pytest.mark.parametrize("n", [0, 3])
def test_u_of_other_tiles_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"u of the same tiles is needed, got {n} and 0"):
        compare(np.zeros(n), np.zeros(0), {})

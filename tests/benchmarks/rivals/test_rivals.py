"""Rivals against independent references, and what their lists keep."""

from __future__ import annotations

import builtins
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import log_loss

from w2wpath.benchmarks.rivals.confident_learning import confident_learning
from w2wpath.benchmarks.rivals.every import RIVALS, is_installed
from w2wpath.benchmarks.rivals.ponzio import ponzio_list
from w2wpath.benchmarks.rivals.traces import area_under_margin, losses, margins, without_worst
from w2wpath.config import NetSettings
from w2wpath.errors import ConfigError
from w2wpath.w2wnet.stopping import StopRule


def read(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that name the true class mostly, labels of which a tenth is wrong, and which those are."""
    random = np.random.default_rng(seed)
    true = random.integers(0, k, n)
    probs = random.dirichlet(np.ones(k), n)
    probs[np.arange(n), true] += 2.0
    wrong = np.arange(n) < n // 10
    given_labels = np.where(wrong, (true + 1) % k, true)
    return probs / probs.sum(axis=1, keepdims=True), given_labels, wrong


def by_hand(labels: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Prune by noise rate as the paper defines it (equations 1 to 3): confident joint, largest margins."""
    n, k = probs.shape
    threshold = np.array([probs[labels == j, j].mean() for j in range(k)])
    joint = np.zeros((k, k))
    for i in range(n):
        above = [j for j in range(k) if probs[i, j] >= threshold[j] - 1e-6]
        if above:
            joint[labels[i], max(above, key=lambda j: probs[i, j])] += 1
    joint *= (np.bincount(labels, minlength=k) / joint.sum(axis=1))[:, None]
    pruned = np.zeros(n, dtype=bool)
    for i in range(k):
        mine = np.flatnonzero(labels == i)
        for j in (j for j in range(k) if j != i):
            margin = probs[mine, j] - probs[mine, i]
            pruned[mine[np.argsort(-margin)[: round(joint[i, j])]]] = True
    return pruned & (probs.argmax(axis=1) != labels)


@pytest.mark.parametrize("seed", range(3))
def test_confident_learning_prunes_what_the_paper_says(seed: int) -> None:
    probs, labels, wrong = read(400, 4, seed)
    pruned, score = confident_learning(labels, probs)
    expected = by_hand(labels, probs)
    assert (pruned ^ expected).sum() <= 3  # how a count is rounded is not in the paper
    assert pruned[wrong].mean() > 0.9
    np.testing.assert_allclose(score, 1.0 - probs[np.arange(400), labels])


def test_without_cleanlab_its_row_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("cleanlab"):
            raise ImportError(name)
        return whole(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError) as caught:
        confident_learning(np.array([0, 1]), np.eye(2))
    assert str(caught.value) == "row 'cleanlab' needs cleanlab. Install it with pip install 'w2wpath[bench]'."


@given(arrays(np.float64, (6, 4), elements=st.floats(-8, 8)), st.integers(0, 99))
def test_margins_of_probabilities_are_margins_of_logits(logits: np.ndarray, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, 6)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    others = np.where(np.arange(4) == labels[:, None], -np.inf, logits).max(axis=1)
    np.testing.assert_allclose(margins(probs, labels), logits[np.arange(6), labels] - others, atol=1e-9)


def test_losses_are_those_of_scikit_learn() -> None:
    probs, labels, _ = read(50, 3, 0)
    assert losses(probs, labels).mean() == pytest.approx(log_loss(labels, probs, labels=[0, 1, 2]))
    assert np.isfinite(losses(np.array([[1.0, 0.0]]), np.array([1]))).all()


def test_a_low_margin_is_a_high_score() -> None:
    assert area_under_margin(np.array([3.0, -1.0, 0.0])).argsort().tolist() == [0, 2, 1]


@given(arrays(np.float64, st.integers(0, 30), elements=st.floats(0, 1)), st.integers(0, 40))
def test_the_worst_go_and_no_other(score: np.ndarray, count: int) -> None:
    kept = without_worst(score, count)
    assert (~kept).sum() == min(count, len(score))
    if kept.any() and not kept.all():
        assert score[kept].max() <= score[~kept].min()


def test_the_predecessor_has_no_stop_rule() -> None:
    (first, second) = RIVALS["ponzio"].pieces(np.array([0, 1, 1, 0]))
    assert (first.train.tolist(), second.train.tolist()) == ([False, True, True, False], [True, False, False, True])
    settings = NetSettings(max_epochs=60, median_window=1, std_window=2).model_copy(update=dict(first.changes))
    rule = StopRule(settings.median_window, settings.std_window, settings.std_below)
    assert not any(rule.add(np.array([True, False])) for _ in range(settings.max_epochs))  # though it never moves
    assert rule.std is None  # so that no epoch is taken for its least std


PART_N = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
CELL = SimpleNamespace(margin_n=np.array([2.0, -1.0]), loss_n=np.array([0.1, 3.0]))


def test_every_part_is_read_by_a_network_that_did_not_learn_it() -> None:
    pieces = RIVALS["cleanlab"].pieces(PART_N)
    assert [piece.test.nonzero()[0].tolist() for piece in pieces] == [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]
    for piece in pieces:
        np.testing.assert_array_equal(piece.train, ~piece.test)
        assert (piece.kind, dict(piece.changes)) == ("net", {})


def test_cleanlab_judges_what_its_networks_said_of_their_own_part() -> None:
    probs, labels, _ = read(400, 4, 0)
    part_n = np.arange(400) % 5
    cells = [SimpleNamespace(test_probs_nk=probs[part_n == part]) for part in range(5)]
    pruned, score = RIVALS["cleanlab"].judge(cells, labels.astype(np.int16), part_n)
    alone = confident_learning(labels, probs)
    np.testing.assert_array_equal(pruned, alone[0])
    np.testing.assert_allclose(score, alone[1])


@pytest.mark.parametrize(("row", "score"), [("aum", [-2.0, 1.0]), ("small-loss", [0.1, 3.0])])
def test_a_tile_that_is_learned_badly_scores_high(row: str, score: list[float]) -> None:
    (piece,) = RIVALS[row].pieces(np.zeros(2, dtype=np.intp))
    assert (piece.kind, piece.changes["dropout_rate"], piece.train.all(), piece.test.any()) == (
        "trace",
        0.0,
        True,
        False,
    )
    pruned, found = RIVALS[row].judge([CELL], np.zeros(2, dtype=np.int16), np.zeros(2, dtype=np.intp))
    assert pruned is None
    assert found.tolist() == score


def test_every_rival_is_found_where_it_is_defined() -> None:
    assert set(RIVALS) == {"cleanlab", "aum", "small-loss", "ponzio"}
    assert {name for name, rival in RIVALS.items() if rival.told_count} == {"aum", "small-loss"}
    assert [name for name, rival in RIVALS.items() if rival.package] == ["cleanlab"]
    assert all(is_installed(rival) for rival in RIVALS.values())
    assert not is_installed(replace(RIVALS["aum"], package="no_such_package"))


def test_the_predecessor_keeps_the_lower_cluster() -> None:
    np.testing.assert_array_equal(ponzio_list(np.array([0.1, 0.9, 0.15, 0.8, 0.12])), [True, False, True, False, True])

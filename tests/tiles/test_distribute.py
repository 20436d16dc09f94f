"""One task an item, here or in other processes; a dead worker costs its task a new try."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from distributed import LocalCluster

from tests.tiles.tasks import die, die_once, double, process
from w2wpath.errors import ConfigError
from w2wpath.tiles.distribute import WorkerLost, each


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_comes_back_with_its_result_or_its_error(workers: int) -> None:
    found = dict(each(double, [1, 2, 3, 4], workers=workers))
    assert (found[1], found[2], found[4]) == (2, 4, 8)
    assert (type(found[3]), str(found[3])) == (ValueError, "three")


def test_one_worker_or_one_item_stays_in_this_process() -> None:
    assert list(each(process, [1, 2])) == [(1, os.getpid()), (2, os.getpid())]
    assert list(each(process, [1], workers=4)) == [(1, os.getpid())]


def test_several_workers_are_other_processes() -> None:
    ran = {place for _, place in each(process, list(range(6)), workers=2)}
    assert os.getpid() not in ran


def test_a_worker_that_dies_costs_its_task_a_new_try(tmp_path: Path) -> None:
    marks = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert dict(each(die_once, marks, workers=2)) == dict.fromkeys(marks, "second try")


def test_a_task_that_kills_every_worker_is_given_up() -> None:
    found = dict(each(die, ["a", "b"], workers=2))
    assert [type(found[item]) for item in "ab"] == [WorkerLost, WorkerLost]


def test_a_scheduler_elsewhere_takes_the_tasks() -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        assert dict(each(double, [5], scheduler=cluster.scheduler_address)) == {5: 10}


def test_a_scheduler_that_does_not_answer_is_an_error_in_words() -> None:
    with pytest.raises(ConfigError) as caught:
        list(each(double, [1], scheduler="nonsense://127.0.0.1:1"))
    assert str(caught.value).startswith("--scheduler nonsense://127.0.0.1:1: no scheduler answers (")
    assert str(caught.value).endswith("). Start one with `dask scheduler`, or use --workers.")

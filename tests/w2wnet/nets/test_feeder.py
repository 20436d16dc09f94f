"""Batches come ahead, in order, whoever prepares them; nothing is left behind."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from w2wpath.w2wnet.nets.feeder import AHEAD, Feeder

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
BATCHES = np.array_split(np.random.default_rng(1).permutation(40), 7)


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("w2wpath-feeder")]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("on_disk", [False, True])
def test_batches_are_the_same_whoever_prepares_them(tmp_path: Path, workers: int, on_disk: bool) -> None:
    images: NDArray[np.uint8] = IMAGES
    if on_disk:
        images = np.memmap(tmp_path / "tiles", dtype=np.uint8, mode="w+", shape=IMAGES.shape)
        images[:] = IMAGES
    feeder = Feeder(images, workers=workers, pin=False)
    before = torch.get_rng_state()
    for _ in range(2):
        fed = list(feeder(BATCHES))
        assert [tiles.dtype for tiles in fed] == [torch.uint8] * 7
        assert all(np.array_equal(tiles, IMAGES[rows]) for tiles, rows in zip(fed, BATCHES, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    assert feeder.waited_s > 0
    assert not feeders()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("batches", [0, 1])
def test_one_batch_or_none_needs_no_helper(batches: int) -> None:
    fed = Feeder(IMAGES, workers=2, pin=False)(BATCHES[:batches])
    assert len([(tiles, *feeders(), *multiprocessing.active_children()) for tiles in fed]) == batches
    assert not feeders()


@pytest.mark.parametrize("workers", [0, 1])
def test_who_stops_early_leaves_no_thread_and_no_process(workers: int) -> None:
    fed = Feeder(IMAGES, workers=workers, pin=False)(BATCHES)
    next(fed)
    assert len(feeders()) + len(multiprocessing.active_children()) == 1
    fed.close()
    assert not feeders()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_goes_wrong_in_the_helper_is_raised_where_the_batches_are_used(workers: int) -> None:
    fed = Feeder(IMAGES, workers=workers, pin=False)([*BATCHES[:2], np.array([40])])
    assert len([next(fed), next(fed)]) == 2
    with pytest.raises(IndexError, match="index 40 is out of bounds for axis 0 with size 40"):
        next(fed)
    assert not feeders()
    assert not multiprocessing.active_children()


class Watched(np.ndarray[Any, Any]):
    """Tiles that tell how many batches were taken of them."""

    taken: threading.Semaphore

    def __getitem__(self, at: Any) -> Any:
        self.taken.release()
        return np.asarray(self).__getitem__(at)


def test_the_next_batches_are_prepared_while_one_is_used_and_no_more() -> None:
    images = IMAGES.view(Watched)
    images.taken = threading.Semaphore(0)
    fed = Feeder(images, workers=0, pin=False)(BATCHES)
    next(fed)
    for _ in range(1 + AHEAD):
        assert images.taken.acquire(timeout=10)
    assert not images.taken.acquire(timeout=0.05)
    fed.close()

"""Tiny networks on one thread: bit-equal runs, and no quarrel over cores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from w2wpath.config import NetSettings

TINY = NetSettings(
    backbone="resnet10t", mask_batch=4, batch_size=16, max_epochs=4, draws=4, device="cpu", precision="fp32"
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

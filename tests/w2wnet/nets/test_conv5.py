"""The built-in network: its shape, what it costs, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from w2wpath.w2wnet.nets.conv5 import Conv5


@pytest.mark.parametrize("px", [8, 14, 28, 40, 64])
def test_it_answers_for_its_classes_at_every_size_it_is_made_for(px: int) -> None:
    with torch.inference_mode():
        assert Conv5(4, px).eval()(torch.zeros(2, 3, px, px)).shape == (2, 4)


@pytest.mark.parametrize(("px", "poolings"), [(28, 2), (40, 2), (41, 3), (64, 3)])
def test_it_has_five_convolutions_and_two_or_three_poolings(px: int, poolings: int) -> None:
    modules = list(Conv5(3, px).modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert [module.kernel_size for module in convolutions] == [(3, 3)] * 5
    assert sum(isinstance(module, nn.MaxPool2d) for module in modules) == poolings


def test_its_classifier_is_the_layer_of_the_logits() -> None:
    net = Conv5(3, 28)
    assert net.get_classifier() is net.classifier
    assert net.classifier.out_features == 3


def test_it_learns_bright_from_dark() -> None:
    torch.manual_seed(0)
    net, labels = Conv5(2, 14), torch.arange(32) % 2
    images = torch.randn(32, 3, 14, 14) + labels[:, None, None, None]
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(15):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimiser.step()
    assert float((net(images).argmax(dim=1) == labels).float().mean()) == 1.0

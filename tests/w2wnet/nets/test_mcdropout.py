"""MC dropout: where it is, that it is off when off, and the law of its masks."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn

from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.mcdropout import MCDropout, inject

SMALL = [
    ("resnet10t", 32),
    ("densenet121", 32),
    ("convnext_atto", 32),
    ("vit_tiny_patch16_224", 32),
    ("mobilenetv3_small_050", 32),
]
ODD_HEADS = [("deit_tiny_distilled_patch16_224", 32), ("levit_128s", 64), ("pit_ti_224", 64), ("repvit_m0_9", 64)]
"""Two classifiers, classifiers inside modules, and a network whose own name speaks of pooling."""
RATE = 0.3


def net_of(name: str, px: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(name, 3, px).eval()


def injected(net: nn.Module, *, rate: float = RATE, kind: str = "element", mask_batch: int = 4) -> MCDropout:
    generator = torch.Generator().manual_seed(0)
    return inject(net, rate=rate, kind=kind, mask_batch=mask_batch, generator=generator)


def tiles(n: int, px: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(seed))


def digest(net: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in net.state_dict().values())).hexdigest()


# where --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "px", "head", "pooling"),
    [
        ("resnet10t", 32, "fc", "global_pool"),
        ("densenet121", 32, "classifier", "global_pool"),
        ("convnext_atto", 32, "head.fc", "head.global_pool"),
        ("vit_tiny_patch16_224", 32, "head", None),
        ("mobilenetv3_small_050", 32, "classifier", "global_pool"),
    ],
)
def test_it_follows_every_convolution_pooling_and_linear_layer_but_the_logits(
    name: str, px: int, head: str, pooling: str | None
) -> None:
    net = net_of(name, px)
    layers = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d)
    expected = {layer for layer, module in net.named_modules() if isinstance(module, layers)} - {head}
    assert set(injected(net).where) == expected | ({pooling} if pooling else set())


def test_densenet121_has_120_convolutions_4_poolings_and_the_global_one() -> None:
    where = injected(net_of("densenet121", 32)).where
    assert len(where) == len(set(where)) == 120 + 4 + 1
    assert where[:2] == ["features.conv0", "features.pool0"]
    assert where[-1] == "global_pool"


@pytest.mark.parametrize(("name", "px"), [*SMALL, *ODD_HEADS])
def test_logits_that_read_nothing_are_never_dropped(name: str, px: int) -> None:
    net = net_of(name, px)
    found = net.get_classifier()
    for head in found if isinstance(found, tuple) else (found,):
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.weight)
                nn.init.ones_(module.bias)
    dropout = injected(net, rate=0.5)
    with torch.inference_mode(), dropout.on():
        assert torch.equal(net(tiles(6, px)), torch.ones(6, 3))


def test_a_network_with_nothing_to_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential") as caught:
        injected(nn.Sequential(nn.Flatten(), nn.ReLU()))
    assert str(caught.value) == "Sequential has no convolution, pooling or fully connected layer to follow"


# on and off ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "px"), [*SMALL, *ODD_HEADS])
def test_off_it_is_the_plain_network_and_on_two_passes_differ(name: str, px: int) -> None:
    plain, net, images = net_of(name, px), net_of(name, px), tiles(6, px)
    before = digest(net)
    dropout = injected(net)
    with torch.inference_mode():
        with dropout.on():
            first, second = net(images), net(images)
        assert not torch.equal(first, second)
        assert torch.equal(net(images), plain(images))
    assert digest(net) == before == digest(plain)
    assert list(net.state_dict()) == list(plain.state_dict())
    assert not net.training


def test_a_rate_of_0_is_the_plain_network() -> None:
    plain, net = net_of("resnet10t", 32), net_of("resnet10t", 32)
    with torch.inference_mode(), injected(net, rate=0.0).on():
        assert torch.equal(net(tiles(4, 32)), plain(tiles(4, 32)))


def test_the_same_seed_draws_the_same_masks() -> None:
    net, images = net_of("resnet10t", 32), tiles(4, 32)
    dropout = injected(net)
    with torch.inference_mode(), dropout.on():
        one = net(images)
        dropout.generator.manual_seed(0)
        assert torch.equal(one, net(images))


def test_masks_are_drawn_from_their_own_generator_only() -> None:
    net = net_of("resnet10t", 32)
    before = torch.get_rng_state()
    with torch.inference_mode(), injected(net).on():
        net(tiles(4, 32))
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_off_again_after_an_error() -> None:
    dropout = injected(net_of("resnet10t", 32))
    with pytest.raises(KeyError), dropout.on():
        raise KeyError
    assert not dropout.active
    with dropout.on():
        with dropout.on():
            pass
        assert dropout.active


# the law of the masks -----------------------------------------------------------------------------------------------

CONV, LINEAR = nn.Conv2d(1, 1, 1), nn.Linear(1, 1)


def dropped(
    shape: tuple[int, ...], *, kind: str, mask_batch: int, after: nn.Module = CONV, channels_last: bool = False
) -> Tensor:
    """What becomes of ones."""
    dropout = MCDropout(RATE, kind, mask_batch, torch.Generator().manual_seed(1), active=True)
    ones = torch.ones(shape)
    return dropout(after, (), ones.contiguous(memory_format=torch.channels_last) if channels_last else ones)


@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("mask_batch", [1, 4, 64])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_stated_share_is_dropped_and_the_mean_stays(kind: str, mask_batch: int, channels_last: bool) -> None:
    side = 8 if kind == "element" else 1
    out = dropped((64, 256, side, side), kind=kind, mask_batch=mask_batch, channels_last=channels_last)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - RATE)])
    masks = out.numel() / mask_batch
    assert float((out == 0).float().mean()) == pytest.approx(RATE, abs=4 * np.sqrt(RATE * (1 - RATE) / masks))
    assert float(out.mean()) == pytest.approx(1.0, abs=4 * np.sqrt(RATE / (1 - RATE) / masks))


@pytest.mark.parametrize(
    ("after", "shape", "channels"),
    [(CONV, (2, 32, 5, 5), 1), (LINEAR, (2, 5, 5, 32), 3), (LINEAR, (2, 7, 32), 2), (LINEAR, (2, 32), 1)],
    ids=["feature maps", "channels last", "tokens", "features"],
)
def test_channel_dropout_drops_whole_channels(after: nn.Module, shape: tuple[int, ...], channels: int) -> None:
    out = dropped(shape, kind="channel", mask_batch=1, after=after)
    by_channel = out.movedim(channels, 1).reshape(2, 32, -1)
    assert torch.equal(by_channel.amin(dim=2), by_channel.amax(dim=2))
    assert 0 < int((by_channel[:, :, 0] == 0).sum()) < 64


def test_element_dropout_drops_within_a_channel() -> None:
    out = dropped((1, 4, 8, 8), kind="element", mask_batch=1)
    assert all(0 < int((out[0, c] == 0).sum()) < 64 for c in range(4))


@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("n", [8, 10, 4, 3, 1])
def test_tiles_of_a_group_share_a_mask_and_groups_do_not(kind: str, n: int) -> None:
    out = dropped((n, 64, 3, 3), kind=kind, mask_batch=4)
    assert out.shape == (n, 64, 3, 3)
    groups = [out[i : i + 4] for i in range(0, n, 4)]
    assert all(torch.equal(tile, group[0]) for group in groups for tile in group)
    assert all(not torch.equal(one[0], other[0]) for one, other in itertools.pairwise(groups))


def test_tiles_that_do_not_fill_their_last_group_give_their_values_in_place() -> None:
    dropout = MCDropout(RATE, "element", 4, torch.Generator().manual_seed(1), active=True)
    values = torch.arange(1.0, 11)[:, None, None, None].expand(10, 16, 2, 2)
    out = dropout(CONV, (), values)
    kept = out != 0
    assert torch.allclose(out[kept], values[kept] / (1 - RATE))


class Small(nn.Sequential):
    """Two convolutions and a classifier: a thousand passes in a second."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        )

    def get_classifier(self) -> nn.Module:
        return self[-1]


def said_of(net: nn.Module, dropout: MCDropout, images: Tensor, tile: int) -> list[float]:
    """First probability of one tile in many passes."""
    with torch.inference_mode(), dropout.on():
        return torch.stack([net(images)[tile] for _ in range(1500)]).softmax(dim=1)[:, 0].tolist()


@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("mask_batch", [1, 4])
def test_the_mates_of_a_tile_do_not_change_the_law_of_its_draws(kind: str, mask_batch: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Small().eval()
    images, dropout = tiles(6, 12), injected(net, kind=kind, mask_batch=mask_batch)
    alone = said_of(net, dropout, images[5:], 0)
    assert ks_2samp(alone, said_of(net, dropout, images, 5)).pvalue > 0.01
    # the test can tell laws apart: a higher rate is another law
    dropout.rate = 0.4
    assert ks_2samp(alone, said_of(net, dropout, images[5:], 0)).pvalue < 0.01

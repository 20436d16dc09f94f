"""MC dropout: where it is, that it is off when off, and the law of its masks."""

from __future__ import annotations

import hashlib
import itertools
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import timm
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn
from torch.nn import functional

from w2wpath.errors import ConfigError
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.layers import Layer
from w2wpath.w2wnet.nets.mcdropout import MCDropout, inject
from w2wpath.w2wnet.uncertainty import MCStats

NETS = [
    ("densenet121/small", 32),
    ("conv5", 28),
    ("resnet10t", 32),
    ("convnext_atto", 32),
    ("vit_tiny_patch16_224", 32),
    ("efficientnet_b0", 32),
    ("mobilenetv3_small_050", 32),
    ("repvit_m0_9", 32),
]
"""Every family that is promised, and one whose global pooling is a function."""
ODD_HEADS = [("deit_tiny_distilled_patch16_224", 32), ("levit_128s", 64), ("pit_ti_224", 64)]
"""Two classifiers, and classifiers inside modules."""
RATE = 0.3


@cache
def made(name: str, px: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone, _, stem = name.partition("/")
        return build(backbone, 3, px, stem=stem or "imagenet").eval()


def net_of(name: str, px: int) -> nn.Module:
    """A fresh copy, always with the same weights."""
    return deepcopy(made(name, px))


def injected(
    net: nn.Module,
    *,
    rate: float = RATE,
    kind: str = "element",
    mask_batch: int = 4,
    scope: str = "all",
    logits: bool = False,
) -> MCDropout:
    generator = torch.Generator().manual_seed(0)
    return inject(net, rate=rate, kind=kind, mask_batch=mask_batch, generator=generator, scope=scope, logits=logits)


def tiles(n: int, px: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, px, px, generator=torch.Generator().manual_seed(seed))


def digest(net: nn.Module) -> str:
    """Hash of every parameter and buffer."""
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in net.state_dict().values())).hexdigest()


def counts(dropout: MCDropout) -> dict[str, int]:
    report = dropout.report()
    return {layer.kind: report.count(layer.kind) for layer in report.layers}


def answer_ones(net: nn.Module) -> None:
    """Let the classifiers read nothing and say 1."""
    found = net.get_classifier()  # type: ignore[operator]
    for head in found if isinstance(found, tuple) else (found,):
        for module in head.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.weight)
                nn.init.ones_(module.bias)


# where --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "px", "head", "pooling"),
    [
        ("resnet10t", 32, "fc", "global_pool"),
        ("densenet121", 32, "classifier", "global_pool"),
        ("conv5", 28, "classifier", "global_pool"),
        ("convnext_atto", 32, "head.fc", "head.global_pool"),
        ("vit_tiny_patch16_224", 32, "head", "head"),
    ],
)
def test_it_follows_every_convolution_pooling_and_linear_layer_but_the_logits(
    name: str, px: int, head: str, pooling: str
) -> None:
    net = net_of(name, px)
    layers = (nn.Conv2d, nn.Linear, nn.MaxPool2d, nn.AvgPool2d)
    expected = {layer for layer, module in net.named_modules() if isinstance(module, layers)} - {head}
    assert set(injected(net).where) == expected | {pooling}


def test_r1_densenet121_has_120_convolutions_4_poolings_and_the_global_one() -> None:
    dropout = injected(build("densenet121", 3, 32))
    assert counts(dropout) == {"convolution": 120, "pooling": 4 + 1}
    assert dropout.where[:2] == ("features.conv0", "features.pool0")
    assert dropout.where[-1] == "global_pool"


@pytest.mark.parametrize(
    ("name", "px", "expected"),
    [
        ("densenet121", 32, {"convolution": 120, "pooling": 5}),
        ("densenet121/small", 32, {"convolution": 120, "pooling": 4}),
        ("conv5", 28, {"convolution": 5, "pooling": 3}),
        ("resnet10t", 32, {"convolution": 14, "pooling": 5}),
        ("convnext_atto", 32, {"convolution": 40, "pooling": 1}),
        ("vit_tiny_patch16_224", 32, {"convolution": 1, "linear": 48, "classifier input": 1}),
        ("efficientnet_b0", 32, {"convolution": 81, "functional pooling": 16, "pooling": 1}),
        ("mobilenetv3_small_050", 32, {"convolution": 53, "functional pooling": 9, "pooling": 1}),
        ("repvit_m0_9", 32, {"convolution": 126, "functional pooling": 11}),
        ("deit_tiny_distilled_patch16_224", 32, {"convolution": 1, "linear": 48, "classifier input": 2}),
    ],
)
def test_every_family_is_followed_in_full(name: str, px: int, expected: dict[str, int]) -> None:
    assert counts(injected(net_of(name, px))) == expected


@pytest.mark.parametrize(
    ("name", "px", "no_conv", "head"),
    [
        ("densenet121", 32, {"pooling": 5}, ["global_pool"]),
        ("vit_tiny_patch16_224", 32, {"linear": 48, "classifier input": 1}, ["head"]),
        ("mobilenetv3_small_050", 32, {"functional pooling": 9, "pooling": 1}, ["global_pool", "conv_head"]),
        ("repvit_m0_9", 32, {"functional pooling": 11}, [""]),
    ],
)
def test_scopes_spare_the_convolutions_or_all_before_the_last_pooling(
    name: str, px: int, no_conv: dict[str, int], head: list[str]
) -> None:
    assert counts(injected(net_of(name, px), scope="no-conv")) == no_conv
    assert list(injected(net_of(name, px), scope="head").where) == head


def test_the_head_scope_runs_the_body_without_noise() -> None:
    net, bodies = net_of("resnet10t", 32), []
    net.get_submodule("layer4").register_forward_hook(lambda _, __, out: bodies.append(out))
    dropout, images = injected(net, scope="head"), tiles(4, 32)
    with torch.inference_mode(), dropout.on():
        first, second = net(images), net(images)
    assert torch.equal(bodies[-1], bodies[-2])
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("pooling", "kind"), [("token", "classifier input"), ("avg", "functional pooling"), ("map", "pooling")]
)
def test_a_transformer_drops_before_its_logits_however_it_pools(pooling: str, kind: str) -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, global_pool=pooling).eval()
    dropout = injected(net, scope="head")
    assert [layer.kind for layer in dropout.layers] == [kind]
    with torch.inference_mode(), dropout.on():
        assert not torch.equal(net(tiles(2, 32)), net(tiles(2, 32)))


@pytest.mark.parametrize(("name", "px"), [*NETS, *ODD_HEADS])
def test_logits_that_read_nothing_are_never_dropped(name: str, px: int) -> None:
    net = net_of(name, px)
    answer_ones(net)
    with torch.inference_mode(), injected(net, rate=0.5).on():
        assert torch.equal(net(tiles(6, px)), torch.ones(6, 3))


def test_r1_to_the_letter_drops_the_logits_too() -> None:
    net = net_of("resnet10t", 32)
    answer_ones(net)
    dropout = injected(net, rate=0.5, mask_batch=1, logits=True)
    assert dropout.layers[-1] == Layer("fc", "logits")
    with torch.inference_mode(), dropout.on():
        assert net(tiles(40, 32)).unique().tolist() == [0.0, 2.0]


def test_the_report_is_a_table_for_people() -> None:
    assert str(injected(net_of("conv5", 28)).report()) == (
        "dropout follows 5 convolution, 3 pooling:\n"
        "convolution  features.0\n"
        "convolution  features.3\n"
        "pooling      features.6\n"
        "convolution  features.7\n"
        "convolution  features.10\n"
        "pooling      features.13\n"
        "convolution  features.14\n"
        "pooling      global_pool"
    )


def test_a_network_with_nothing_to_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential") as caught:
        injected(nn.Sequential(nn.Flatten(), nn.ReLU()))
    assert str(caught.value) == "Sequential has no convolution, pooling or fully connected layer to follow"


def test_a_network_that_takes_no_images_is_refused() -> None:
    with pytest.raises(ValueError, match="Sequential") as caught:
        injected(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)))
    assert str(caught.value) == (
        "Sequential takes none of the images that it is tried with "
        "(at 32 px: mat1 and mat2 shapes cannot be multiplied (2x3072 and 7x3))"
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scope": "heads"}, "--dropout-scope must be one of all, no-conv, head; got 'heads'. Did you mean 'head'?"),
        ({"kind": "row"}, "--dropout-kind must be one of element, channel; got 'row'."),
        ({"rate": 1.0}, "--dropout-rate must be at least 0 and below 1; got 1."),
        ({"mask_batch": 0}, "--mask-batch must be at least 1; got 0."),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        injected(net_of("conv5", 28), **wrong)  # type: ignore[arg-type]
    assert str(caught.value) == message


# functional layers --------------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """Pools by functions between modules; a pooling module that calls such a function stands between them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16, 3)
        self.passed: dict[str, Tensor] = {}

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, images: Tensor) -> Tensor:
        self.passed["pool"] = x = self.pool(torch.ones_like(self.conv(images)))
        self.passed["max_pool2d"] = x = functional.max_pool2d(torch.ones_like(x), 2)
        self.passed["avg_pool2d"] = x = functional.avg_pool2d(torch.ones_like(x), kernel_size=2)
        self.passed["adaptive"] = x = functional.adaptive_avg_pool2d(torch.ones_like(x), 2)
        mean, top = torch.ones_like(x).mean((2, 3)), x.amax(dim=(-2, -1))
        self.passed["mean"] = mean
        return self.fc(torch.cat([mean, top], dim=1))


@pytest.mark.parametrize("grad", [False, True], ids=["drawing", "training"])
def test_functional_poolings_are_dropped_once_each_and_pooling_modules_not_twice(grad: bool) -> None:
    net = Functional().eval()
    dropout = injected(net, rate=0.5, mask_batch=1)
    assert dropout.layers == (
        Layer("conv", "convolution"),
        Layer("pool", "pooling"),
        Layer("", "functional pooling", (1, 2, 3, 4, 5)),
    )
    with torch.set_grad_enabled(grad), dropout.on():
        net(tiles(16, 32))
    # what is dropped twice would be 4, or 0 in three quarters of the places
    for name, values in net.passed.items():
        assert values.unique().tolist() == [0.0, 2.0], name
        assert float((values == 0).float().mean()) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(values.numel())), name


def test_functional_linear_layers_are_followed_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.fc = nn.Parameter(torch.ones(5, 3)), nn.Linear(5, 2)

        def get_classifier(self) -> nn.Module:
            return self.fc

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(functional.linear(images.mean((2, 3)), self.weight))  # type: ignore[no-any-return]

    layers = injected(Net().eval()).layers
    assert layers == (Layer("", "functional pooling", (0,)), Layer("", "functional linear", (0,)))


def test_an_error_inside_a_network_with_functional_layers_leaves_nothing_behind() -> None:
    net, images = Functional().eval(), tiles(2, 32)
    dropout = injected(net)
    handle = net.fc.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyError("inside")))
    with pytest.raises(KeyError), dropout.on():
        net(images)
    handle.remove()
    assert not dropout.active
    assert torch.ones(2, 3, 4, 4).mean((2, 3)).unique().tolist() == [1.0]
    with torch.inference_mode():
        assert torch.equal(net(images), net(images))


def test_attention_pooling_is_followed_with_its_layers_but_never_where_it_gives_the_logits() -> None:
    class AttentionPool(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.key, self.proj = nn.Linear(8, 1), nn.Linear(8, classes)

        def forward(self, maps: Tensor) -> Tensor:
            tokens = maps.flatten(2).transpose(1, 2)
            weights = self.key(tokens).softmax(dim=1)
            return self.proj((weights * tokens).sum(1, keepdim=True))[:, 0]  # type: ignore[no-any-return]

    class Net(nn.Sequential):
        def get_classifier(self) -> nn.Module:
            return self[-1].proj if len(self) == 2 else self[-1]

    conv = nn.Conv2d(3, 8, 4, 4)
    before = injected(Net(conv, AttentionPool(8), nn.Linear(8, 3)).eval())
    # the projection gives what the pooling gives: dropped once
    assert before.layers == (Layer("0", "convolution"), Layer("1.key", "linear"), Layer("1", "pooling"))
    as_head = injected(Net(conv, AttentionPool(3)).eval())
    assert as_head.layers == (
        Layer("0", "convolution"),
        Layer("1.key", "linear"),
        Layer("1.proj", "classifier input"),
    )


def test_a_residual_branch_that_begins_with_zeros_counts_as_a_path() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.scale, self.fc = nn.AdaptiveAvgPool2d(1), nn.Parameter(torch.zeros(3)), nn.Linear(3, 2)

        def get_classifier(self) -> nn.Module:
            return self.fc

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(self.pool(images).flatten(1) + self.scale * images[:, :, 0, 0])  # type: ignore[no-any-return]

    net = Residual().eval()
    assert injected(net).layers == (Layer("pool", "pooling"), Layer("fc", "classifier input"))
    assert not net.scale.any()


# on and off ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "px", "kind"),
    [
        *((name, px, "element") for name, px in [*NETS, *ODD_HEADS]),
        *((name, px, "channel") for name, px in NETS if name != "densenet121/small"),
    ],
)
def test_k8_two_passes_differ_and_leave_weights_buffers_and_flags_as_they_were(name: str, px: int, kind: str) -> None:
    plain, net, images = net_of(name, px), net_of(name, px), tiles(3, px)
    before = digest(net)
    dropout = injected(net, kind=kind, mask_batch=2)
    with torch.inference_mode():
        with dropout.on():
            first, second = net(images), net(images)
        assert not torch.equal(first, second)
        assert torch.equal(net(images), plain(images))
    assert digest(net) == before == digest(plain)
    assert list(net.state_dict()) == list(plain.state_dict())
    assert not any(module.training for module in net.modules())
    assert not dropout.active


def test_k8_looking_for_layers_leaves_a_training_network_as_it_was() -> None:
    net = net_of("resnet10t", 32).train()
    net.get_submodule("layer1").eval()
    flags, before, random = [module.training for module in net.modules()], digest(net), torch.get_rng_state()
    injected(net)
    assert [module.training for module in net.modules()] == flags
    assert digest(net) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_k7_a_rate_of_0_is_the_plain_network_and_has_no_epistemic_uncertainty() -> None:
    plain, net, images = net_of("resnet10t", 32), net_of("resnet10t", 32), tiles(4, 32)
    stats = MCStats(4, 3)
    with torch.inference_mode(), injected(net, rate=0.0).on():
        for _ in range(3):
            logits = net(images)
            assert torch.equal(logits, plain(images))
            stats.add(logits.softmax(dim=1).numpy())
    assert np.abs(stats.epistemic_n).max() < 1e-12


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


def test_k8_it_is_off_again_after_an_error() -> None:
    net = net_of("resnet10t", 32)
    dropout = injected(net)
    with pytest.raises(RuntimeError), dropout.on():
        net(torch.zeros(1, 5, 32, 32))
    assert not dropout.active
    assert not net.training
    with dropout.on():
        with dropout.on():
            pass
        assert dropout.active


def test_drawing_and_training_use_the_same_masks_and_training_has_their_gradients() -> None:
    net, images = net_of("conv5", 28), tiles(6, 28)
    dropout = injected(net)
    with torch.inference_mode(), dropout.on():
        drawn = net(images)
    dropout.generator.manual_seed(0)
    with dropout.on():
        trained = net(images)
    assert torch.allclose(drawn, trained, atol=1e-6)
    trained.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("n", [8, 10])
def test_the_backward_pass_multiplies_by_the_mask_and_keeps_no_copy_for_every_tile(n: int) -> None:
    saved: list[int] = []
    values = torch.ones(n, 16, 8, 8, requires_grad=True)
    dropout = MCDropout(RATE, "element", 4, torch.Generator().manual_seed(1), active=True)

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = dropout.drop(values)
    out.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, out.detach())
    assert max(saved) == -(-n // 4) * 16 * 8 * 8 * 4


def test_bf16_activations_stay_bf16() -> None:
    net = net_of("conv5", 28)
    seen: list[torch.dtype] = []
    net.get_submodule("features.1").register_forward_pre_hook(lambda _, args: seen.append(args[0].dtype))
    dropout = injected(net)
    seen.clear()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), dropout.on():
        net(tiles(4, 28))
    assert seen == [torch.bfloat16]


# the law of the masks -----------------------------------------------------------------------------------------------


def dropped(
    shape: tuple[int, ...],
    *,
    kind: str,
    mask_batch: int,
    channel_axis: int = 1,
    channels_last: bool = False,
    in_place: bool = False,
) -> Tensor:
    """What becomes of ones."""
    dropout = MCDropout(RATE, kind, mask_batch, torch.Generator().manual_seed(1), active=True)
    ones = torch.ones(shape)
    ones = ones.contiguous(memory_format=torch.channels_last) if channels_last else ones
    return dropout.drop(ones, channel_axis=channel_axis, in_place=in_place)


@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("mask_batch", [1, 4, 64])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_stated_share_is_dropped_and_the_mean_stays(kind: str, mask_batch: int, channels_last: bool) -> None:
    side = 8 if kind == "element" else 1
    out = dropped((64, 256, side, side), kind=kind, mask_batch=mask_batch, channels_last=channels_last)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - RATE)], rel=1e-5)
    masks = out.numel() / mask_batch
    assert float((out == 0).float().mean()) == pytest.approx(RATE, abs=4 * np.sqrt(RATE * (1 - RATE) / masks))
    assert float(out.mean()) == pytest.approx(1.0, abs=4 * np.sqrt(RATE / (1 - RATE) / masks))


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.3, 0.5, 0.999])
def test_the_rate_is_met_to_the_step_that_is_stated(rate: float) -> None:
    dropout = MCDropout(rate, "element", 1, torch.Generator().manual_seed(2), active=True)
    out = dropout.drop(torch.ones(1, 4_000_000))
    kept = float((out != 0).double().mean())
    assert kept == pytest.approx(1 - rate, abs=4 * np.sqrt(rate * (1 - rate) / out.numel()) + 2**-17)
    # the scale belongs to the rate that is really drawn, so that the mean stays exactly
    assert float(out.max()) == pytest.approx(2**16 / round((1 - rate) * 2**16), rel=1e-6)


def test_neighbouring_activations_are_dropped_independently() -> None:
    out = dropped((1, 2_000_000), kind="element", mask_batch=1)[0] != 0
    for lag in (1, 2, 3, 4, 8):
        both = float((out[lag:] & out[:-lag]).double().mean())
        assert both == pytest.approx((1 - RATE) ** 2, abs=4 * 0.5 / np.sqrt(out.numel()))


@pytest.mark.parametrize(
    ("channel_axis", "shape"),
    [(1, (2, 32, 5, 5)), (-1, (2, 5, 5, 32)), (-1, (2, 7, 32)), (-1, (2, 32)), (1, (2, 1, 1, 32))],
    ids=["feature maps", "channels last", "tokens", "features", "one position"],
)
def test_channel_dropout_drops_whole_channels(channel_axis: int, shape: tuple[int, ...]) -> None:
    out = dropped(shape, kind="channel", mask_batch=1, channel_axis=channel_axis)
    by_channel = out.movedim(shape.index(32), 1).reshape(2, 32, -1)
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


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("n", [3, 8, 10])
def test_overwriting_gives_what_a_new_tensor_gives(n: int, channels_last: bool) -> None:
    fresh = dropped((n, 16, 3, 3), kind="element", mask_batch=4, channels_last=channels_last)
    over = dropped((n, 16, 3, 3), kind="element", mask_batch=4, channels_last=channels_last, in_place=True)
    assert torch.equal(fresh, over)
    assert fresh.stride() == over.stride()


def test_tiles_that_do_not_fill_their_last_group_give_their_values_in_place() -> None:
    dropout = MCDropout(RATE, "element", 4, torch.Generator().manual_seed(1), active=True)
    values = torch.arange(1.0, 11)[:, None, None, None].expand(10, 16, 2, 2)
    out = dropout.drop(values)
    kept = out != 0
    assert torch.allclose(out[kept], values[kept] / (1 - RATE), rtol=1e-4)


def test_the_windows_of_a_tile_have_masks_of_their_own() -> None:
    seen: list[Tensor] = []

    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.fc = nn.Linear(3, 16), nn.Linear(16, 3)

        def get_classifier(self) -> nn.Module:
            return self.fc

        def forward(self, images: Tensor) -> Tensor:
            n = len(images)
            rows = images.reshape(n, 3, 4, -1).mean(3).transpose(1, 2).reshape(n * 4, 1, 3)
            seen.append(torch.ones_like(mixed := self.mix(rows)) * (mixed != 0))
            return self.fc(mixed.view(n, 4, 16).mean(1))  # type: ignore[no-any-return]

    net = Windows().eval()
    with torch.inference_mode(), injected(net, mask_batch=2).on():
        net(tiles(4, 32))
    masks = seen[-1].view(4, 4, 16)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert len(torch.unique(masks[[0, 2]].view(8, 16), dim=0)) == 8


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
        return torch.stack([net(images)[tile] for _ in range(800)]).softmax(dim=1)[:, 0].tolist()


@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("mask_batch", [1, 4])
def test_k9_the_mates_of_a_tile_do_not_change_the_law_of_its_draws(kind: str, mask_batch: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Small().eval()
    images, dropout = tiles(6, 12), injected(net, kind=kind, mask_batch=mask_batch)
    alone = said_of(net, dropout, images[5:], 0)
    assert ks_2samp(alone, said_of(net, dropout, images, 5)).pvalue > 0.01
    # the test can tell laws apart: a higher rate is another law
    dropout.rate = 0.45
    assert ks_2samp(alone, said_of(net, dropout, images[5:], 0)).pvalue < 0.01


def test_k9_with_masks_of_their_own_the_mates_of_a_tile_change_nothing() -> None:
    net, images, mates = Small().eval(), tiles(4, 12), tiles(4, 12, seed=1)
    mates[2] = images[2]
    dropout = injected(net, mask_batch=1)
    with torch.inference_mode(), dropout.on():
        one = net(images)[2]
        dropout.generator.manual_seed(0)
        assert torch.allclose(net(mates)[2], one, atol=1e-6)


def test_its_law_is_that_of_dropout_modules() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Small().eval()
        followed = [0, 3, 4, 6]
        modules = [m for i, layer in enumerate(net) for m in ([layer, nn.Dropout(RATE)] if i in followed else [layer])]
        plain = nn.Sequential(*modules).eval()
        for module in plain:
            module.train(isinstance(module, nn.Dropout))
        image = tiles(1, 12)
        with torch.inference_mode():
            theirs = torch.stack([plain(image)[0] for _ in range(800)]).softmax(dim=1)[:, 0].tolist()
    ours = said_of(net, injected(net, mask_batch=4), image.repeat(3, 1, 1, 1), 1)
    assert ks_2samp(ours, theirs).pvalue > 0.01

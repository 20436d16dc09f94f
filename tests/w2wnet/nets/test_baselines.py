"""The low-pass layer of the rival: a fixed Gaussian before the network, and nothing else changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from tests.w2wnet.nets.conftest import TINY
from w2wpath.config import NetSettings
from w2wpath.errors import ConfigError
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.baselines import BUFFER, gaussian_kernel, low_pass, with_low_pass
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.network import Network
from w2wpath.w2wnet.nets.training import Tiles, WipedFitter, WiseLearner

PX = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (40, PX, PX, 3)).astype(np.uint8)
LABELS = (np.arange(40) % 2).astype(np.int16)
ROWS = np.arange(40)


def plain(name: str = "conv5") -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(name, 2, PX, stem="small")


def noise(height: int = PX, width: int = PX) -> Tensor:
    return torch.randn(4, 3, height, width, generator=torch.Generator().manual_seed(0))


def tiles(sigma: float | None) -> Tiles:
    settings = NetSettings(**{**TINY.model_dump(), "backbone": "conv5", "low_pass_sigma": sigma})
    return Tiles(IMAGES, 2, settings, choose_compute("cpu", "fp32"))


def fitted(sigma: float | None, epochs: int) -> Network:
    return WipedFitter(tiles(sigma)).fit(ROWS, LABELS, 0, epochs)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
def test_the_kernel_is_a_gaussian_whose_sum_is_1(sigma: float) -> None:
    kernel = gaussian_kernel(sigma)
    assert kernel.shape == (3, 1, 3, 3)
    assert torch.allclose(kernel.sum(dim=(1, 2, 3)), torch.ones(3))
    assert torch.equal(kernel, kernel.transpose(2, 3))
    assert float(kernel[0, 0, 0, 1] / kernel[0, 0, 1, 1]) == pytest.approx(np.exp(-0.5 / sigma**2))
    assert float(kernel[0, 0, 0, 0] / kernel[0, 0, 1, 1]) == pytest.approx(np.exp(-1 / sigma**2))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (64, 64)], ids=str)
def test_images_of_any_size_are_smoothed_channel_by_channel_as_scipy_does(size: tuple[int, int]) -> None:
    images = noise(*size)
    expected = gaussian_filter(images.numpy(), (0, 0, 1.0, 1.0), mode="nearest", radius=(0, 0, 1, 1))
    assert np.allclose(low_pass(images, gaussian_kernel(1.0)), expected, atol=1e-6)


@pytest.mark.parametrize("side", [1, 2, 32])
def test_a_flat_image_is_left_as_it_is_up_to_its_border(side: int) -> None:
    flat = torch.tensor([0.3, -1.2, 2.0])[None, :, None, None].expand(2, 3, side, side)
    assert torch.allclose(low_pass(flat, gaussian_kernel(1.0)), flat, atol=1e-6)


def test_fine_detail_is_damped_and_the_more_so_the_wider_the_kernel() -> None:
    # up to about 1: a wider Gaussian of 3 x 3 pixels is nearly a box, which lets a little through again
    images = noise(64, 64)
    fine = torch.fft.fftfreq(64).abs() > 0.25
    power = []
    for sigma in (0.3, 0.6, 1.0):
        spectrum = torch.fft.fft2(low_pass(images, gaussian_kernel(sigma))).abs() ** 2
        power.append(float(spectrum[..., fine, :][..., fine].mean() / (torch.fft.fft2(images).abs() ** 2).mean()))
    assert power == sorted(power, reverse=True)
    assert 0.9 < power[0] < 1.1
    assert power[2] < 0.05


@pytest.mark.parametrize("name", ["conv5", "resnet10t"])
def test_the_network_is_the_plain_one_on_smoothed_images(name: str) -> None:
    images, before = noise(), plain(name)
    after = with_low_pass(plain(name))
    expected = before(low_pass(images, gaussian_kernel(1.0)))
    assert torch.equal(after(images), expected)
    assert not torch.allclose(before(images), expected)
    assert [key for key, _ in after.named_parameters()] == [key for key, _ in before.named_parameters()]
    assert set(after.state_dict()) - set(before.state_dict()) == {BUFFER}
    assert after.get_classifier() is dict(after.named_modules())["classifier" if name == "conv5" else "fc"]  # type: ignore[operator]


def test_gradients_pass_the_layer_and_none_is_its_own() -> None:
    net, images = with_low_pass(plain()), noise().requires_grad_()
    net(images).sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=(0, 2, 3)) > 0).all()
    assert not net.get_buffer(BUFFER).requires_grad
    assert net.get_buffer(BUFFER).grad is None


def test_a_copy_and_a_file_give_the_same_network() -> None:
    net, images = with_low_pass(plain(), 2.0), noise()
    expected = net(images)
    assert torch.equal(copy.deepcopy(net)(images), expected)
    fresh = with_low_pass(build("conv5", 2, PX, stem="small"))
    assert not torch.allclose(fresh(images), expected)
    fresh.load_state_dict(load(save(net.state_dict())))
    assert torch.equal(fresh.eval()(images), expected)


def test_a_width_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        with_low_pass(plain(), 0.0)
    assert str(caught.value) == "low_pass_sigma must be above 0; got 0. Leave it out for no low-pass layer."


# in training --------------------------------------------------------------------------------------------------------


def test_a_setting_puts_it_before_the_network_and_changes_no_weight() -> None:
    without, with_it = fitted(None, 0), fitted(1.0, 0)
    assert BUFFER not in without.net.state_dict()
    assert torch.equal(with_it.net.get_buffer(BUFFER), gaussian_kernel(1.0))
    for key, weight in without.net.state_dict().items():
        assert torch.equal(with_it.net.state_dict()[key], weight)
    assert with_it.normalisation == without.normalisation
    assert not np.allclose(with_it.predict(ROWS), without.predict(ROWS))


def test_training_moves_every_weight_but_the_kernel() -> None:
    before, trained = fitted(1.0, 0), fitted(1.0, 2)
    assert torch.equal(trained.net.get_buffer(BUFFER), gaussian_kernel(1.0))
    for key, weight in before.net.named_parameters():
        assert not torch.equal(trained.net.get_parameter(key), weight)


def test_a_state_brings_it_back_bit_by_bit() -> None:
    trained, other = fitted(1.0, 2), fitted(3.0, 1)
    other.load(trained.state())
    assert np.array_equal(other.predict(ROWS), trained.predict(ROWS))
    trained.epoch()
    other.epoch()
    assert np.array_equal(other.predict(ROWS), trained.predict(ROWS))


@pytest.mark.parametrize("scope", ["all", "no-conv", "head"])
def test_dropout_follows_the_layers_of_the_plain_network(scope: str) -> None:
    followed = []
    for sigma in (None, 1.0):
        made = tiles(sigma)
        settings = NetSettings(**{**made.settings.model_dump(), "dropout_scope": scope})
        run = WiseLearner(Tiles(IMAGES, 2, settings, made.compute)).start(ROWS, LABELS, 0)
        assert run.dropout is not None
        followed.append(run.dropout.layers)
        assert np.isfinite(run.draw(ROWS)).all()
    assert followed[0] == followed[1]

"""Networks of others that the study compares with.

Roy et al. (ICPR 2018) let images pass a fixed low-pass filter before the network, so that degradations matter less.
Their kernel is not given; here it is a Gaussian of 3 x 3 pixels, one channel at a time. Köhler et al. (2019) need no
network of their own: theirs is a Wise, pruned at a fixed uncertainty (``w2wpath.benchmarks.rivals.koehler``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from w2wpath.errors import ConfigError

CHANNELS = 3
BUFFER = "low_pass"
"""Name of the kernel in the state of a network."""


def gaussian_kernel(sigma: float) -> Tensor:
    """Return a Gaussian (3, 1, 3, 3) of standard deviation `sigma` in pixels, the same for each channel; its sum is 1.

    Raises
    ------
    ConfigError
        `sigma` is not above 0.
    """
    if not sigma > 0:
        raise ConfigError(f"low_pass_sigma must be above 0; got {sigma:g}. Leave it out for no low-pass layer.")
    weight = torch.exp(-(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) ** 2) / (2.0 * sigma**2))
    row = weight / weight.sum()
    return torch.outer(row, row).float().repeat(CHANNELS, 1, 1, 1)


def low_pass(images: Tensor, kernel: Tensor) -> Tensor:
    """Smooth images (n, 3, h, w) of any size; beyond the border the outermost pixels go on, so a flat image stays."""
    return functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=CHANNELS)


def with_low_pass(net: nn.Module, sigma: float = 1.0) -> nn.Module:
    """Put a low-pass layer before `net`, which is changed and returned.

    The kernel is a buffer: it is saved and moved with the network, and nothing trains it. Names of weights stay those
    of the plain network, and MC dropout does not follow the layer.

    Raises
    ------
    ConfigError
        `sigma` is not above 0.
    """
    net.register_buffer(BUFFER, gaussian_kernel(sigma))
    net.register_forward_pre_hook(_smooth)
    return net


def _smooth(net: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return low_pass(args[0], net.get_buffer(BUFFER)), *args[1:]

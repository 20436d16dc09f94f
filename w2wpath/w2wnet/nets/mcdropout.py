"""Monte-Carlo dropout in any network: after each convolution, pooling and fully connected layer (R1, R3).

The masks are drawn by forward hooks, so that the network's modules and weight names stay those of the plain backbone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd

POOLS = (_AvgPoolNd, _MaxPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)


@dataclass
class MCDropout:
    """The dropout of one network.

    Attributes
    ----------
    rate
        Probability that an activation is dropped.
    kind
        ``element`` drops single activations, ``channel`` whole feature maps.
    mask_batch
        Consecutive tiles of a batch that share a mask in one pass. Each tile's mask follows the same law whatever
        this is; only tiles of one group are correlated within a pass. 1 draws every tile its own.
    where
        Names of the modules that dropout follows, in network order.
    active
        Off, the network is the plain backbone.
    """

    rate: float
    kind: str
    mask_batch: int
    generator: torch.Generator
    where: list[str] = field(default_factory=list)
    active: bool = False

    def __call__(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Drop activations of `out` (batch first) and scale the rest so that the mean stays."""
        if not self.active or self.rate == 0.0:
            return out
        keep = 1.0 - self.rate
        groups = -(-out.shape[0] // self.mask_batch)
        shape = list(out.shape[1:])
        if self.kind == "channel":
            # channels come last after a fully connected layer, even between convolutions
            channels = -1 if isinstance(module, nn.Linear) else 0
            shape = [1] * len(shape)
            shape[channels] = out.shape[1:][channels]
        mask = torch.empty((groups, *shape), dtype=out.dtype, device=out.device)
        if out.dim() == 4 and self.kind == "element":
            mask = mask.contiguous(memory_format=torch.channels_last)
        mask.bernoulli_(keep, generator=self.generator).div_(keep)
        if groups == 1:
            return out * mask
        if out.shape[0] % self.mask_batch:
            return out * mask.repeat_interleave(self.mask_batch, dim=0)[: out.shape[0]]
        # broadcasting over the tiles of a group avoids copying the mask
        grouped = out.reshape(groups, self.mask_batch, *out.shape[1:]) * mask.unsqueeze(1)
        return grouped.reshape(out.shape)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Drop activations inside the block."""
        before, self.active = self.active, True
        try:
            yield
        finally:
            self.active = before


def inject(net: nn.Module, *, rate: float, kind: str, mask_batch: int, generator: torch.Generator) -> MCDropout:
    """Add MC dropout after every convolution, pooling and fully connected layer of `net`, except the logits.

    Dropout on the logits would put a floor under the uncertainty; the one after the global pooling covers them.

    Raises
    ------
    ValueError
        The network has no such layer.
    """
    dropout = MCDropout(rate, kind, mask_batch, generator)
    spared = _logits(net)
    inside_pool: tuple[str, ...] = ()
    for name, module in net.named_modules():
        type_name = type(module).__name__
        # what timm calls "...Pooling..." are blocks, whose own layers are followed
        pool = isinstance(module, POOLS) or ("Pool" in type_name and "Pooling" not in type_name)
        if inside_pool and name.startswith(inside_pool):
            continue
        if module not in spared and (pool or isinstance(module, (_ConvNd, nn.Linear))) and not _is_noop(module):
            module.register_forward_hook(dropout)
            dropout.where.append(name)
            if pool:
                # timm wraps pooling layers; one mask after the outermost is enough
                inside_pool = (*inside_pool, f"{name}.")
    if not dropout.where:
        raise ValueError(f"{type(net).__name__} has no convolution, pooling or fully connected layer to follow")
    return dropout


def _logits(net: nn.Module) -> set[nn.Module]:
    """Return the network and all modules of its classifier, or classifiers (distilled transformers have two)."""
    get = getattr(net, "get_classifier", None)
    found = get() if callable(get) else ()
    heads = found if isinstance(found, tuple | list) else (found,)
    return {net, *(module for head in heads if isinstance(head, nn.Module) for module in head.modules())}


def _is_noop(module: nn.Module) -> bool:
    """Tell whether a pooling wrapper does nothing (timm's ``pool_type=''``)."""
    return isinstance(module, nn.Identity) or getattr(module, "pool_type", None) == ""

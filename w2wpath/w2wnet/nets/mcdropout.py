"""Monte-Carlo dropout in any network: after each convolution, pooling and fully connected layer (R1, R3).

The masks are drawn by forward hooks, so that the network's modules and weight names stay those of the plain backbone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from w2wpath.errors import ConfigError, did_you_mean
from w2wpath.w2wnet.nets.layers import POOLS, Kind, Layer, find_layers, function_kind

DropoutKind = Literal["element", "channel"]
STEPS = 1 << 16
"""On a CPU a mask compares 16 random bits with a threshold: the rate is met to within half of 1 / STEPS."""


@dataclass(frozen=True)
class Report:
    """What dropout follows in a network, in the order in which the layers answer; its text is a table."""

    layers: tuple[Layer, ...]

    def count(self, kind: Kind) -> int:
        """Return how many layers of `kind` are followed; each functional call counts."""
        return sum(max(1, len(layer.calls)) for layer in self.layers if layer.kind == kind)

    def __str__(self) -> str:
        kinds = Counter(layer.kind for layer in self.layers)
        total = ", ".join(f"{self.count(kind)} {kind}" for kind in kinds)
        width = max((len(layer.kind) for layer in self.layers), default=0)
        rows = (f"{layer.kind:<{width}}  {_label(layer)}" for layer in self.layers)
        return "\n".join([f"dropout follows {total}:", *rows])


def _label(layer: Layer) -> str:
    name = layer.name or "(the network itself)"
    return f"{name}, {len(layer.calls)} calls" if len(layer.calls) > 1 else name


@dataclass
class MCDropout:
    """The dropout of one network.

    Attributes
    ----------
    rate
        Probability that an activation is dropped, 0 <= rate < 1.
    kind
        ``element`` drops single activations, ``channel`` whole feature maps.
    mask_batch
        Consecutive tiles of a batch that share a mask in one pass (S4); 1 draws every tile its own. Each tile's mask
        follows the same law whatever this is, and every group of tiles, batch and pass has fresh ones. Tiles of one
        group are **not independent** within a pass: means over tiles vary more than over as many independent ones.
    generator
        Where every mask comes from; no other random state is touched.
    layers
        The places that dropout follows.
    active
        Off, the network is the plain backbone.
    """

    rate: float
    kind: str
    mask_batch: int
    generator: torch.Generator
    layers: tuple[Layer, ...] = ()
    active: bool = False
    _tiles: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        kinds = get_args(DropoutKind)
        if self.kind not in kinds:
            hint = did_you_mean(self.kind, kinds)
            raise ConfigError(f"--dropout-kind must be one of {', '.join(kinds)}; got {self.kind!r}.{hint}")
        if not 0.0 <= self.rate < 1.0:
            raise ConfigError(f"--dropout-rate must be at least 0 and below 1; got {self.rate:g}.")
        if self.mask_batch < 1:
            raise ConfigError(f"--mask-batch must be at least 1; got {self.mask_batch}.")

    @property
    def where(self) -> tuple[str, ...]:
        """Names of the modules that dropout follows, in network order."""
        return tuple(layer.name for layer in self.layers)

    def report(self) -> Report:
        """Tell what dropout follows."""
        return Report(self.layers)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Drop activations inside the block."""
        before, self.active = self.active, True
        try:
            yield
        finally:
            self.active = before

    def drop(self, out: Tensor, *, channel_axis: int = 1, in_place: bool = False) -> Tensor:
        """Drop activations of `out` (tiles first) and scale the rest so that the mean stays.

        Parameters
        ----------
        channel_axis
            Where the channels are, for kind ``channel``.
        in_place
            `out` may be overwritten; done only where no gradient is asked for.
        """
        if not self.active or self.rate == 0.0 or out.shape[0] == 0:
            return out
        # windows of transformers and the like put several rows of one tile behind each other
        rows, tiles = out.shape[0], self._tiles or out.shape[0]
        shared = self.mask_batch if rows % tiles == 0 else 1
        tiles = tiles if rows % tiles == 0 else rows
        grouped = out if rows == tiles else out.view(tiles, rows // tiles, *out.shape[1:])
        axis = channel_axis % out.dim() + grouped.dim() - out.dim()
        mask = self._mask(grouped, -(-tiles // shared), axis if self.kind == "channel" else None)
        overwrite = in_place and not out.requires_grad
        if overwrite:
            for part, its_mask in _pairs(grouped, mask, shared):
                part.mul_(its_mask)
            return out
        # the product keeps the small mask for the backward pass, not a copy for every tile
        parts = [(part * its_mask).flatten(0, 1) for part, its_mask in _pairs(grouped, mask, shared)]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole if rows == tiles else whole.flatten(0, 1)

    def _mask(self, out: Tensor, groups: int, axis: int | None) -> Tensor:
        """Draw masks (groups, ...) of 0 and 1 / keep in the memory order and dtype of `out`."""
        shape = list(out.shape[1:])
        # with one position per channel both kinds are the same, wherever the channels are
        if axis is not None and sum(size > 1 for size in shape) > 1:
            shape = [size if place == axis else 1 for place, size in enumerate(shape, start=1)]
        if out.dim() == 4 and out.is_contiguous(memory_format=torch.channels_last):
            channels, height, width = shape
            flat = self._draw(groups * channels * height * width, out)
            return flat.view(groups, height, width, channels).permute(0, 3, 1, 2)
        return self._draw(groups * torch.Size(shape).numel(), out).view(groups, *shape)

    def _draw(self, n: int, like: Tensor) -> Tensor:
        keep = 1.0 - self.rate
        mask = torch.empty(n, dtype=like.dtype, device=like.device)
        if like.device.type != "cpu":
            return mask.bernoulli_(keep, generator=self.generator).mul_(1.0 / keep)
        # one 64-bit draw gives four 16-bit numbers: a tenth of the time of bernoulli_, which works one by one
        steps = min(max(round(keep * STEPS), 1), STEPS - 1)
        drawn = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        torch.lt(drawn.view(torch.int16)[:n], steps - STEPS // 2, out=mask)
        return mask.mul_(STEPS / steps)


def _pairs(out: Tensor, mask: Tensor, shared: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield groups of tiles (g, tiles, ...) of `out` with their masks (g, 1, ...); what is left over comes last."""
    groups = out.shape[0] // shared
    if groups:
        yield out[: groups * shared].view(groups, shared, *out.shape[1:]), mask[:groups].unsqueeze(1)
    if out.shape[0] % shared:
        yield out[groups * shared :].unsqueeze(0), mask[groups:].unsqueeze(1)


def inject(
    net: nn.Module,
    *,
    rate: float,
    kind: str,
    mask_batch: int,
    generator: torch.Generator,
    scope: str = "all",
    logits: bool = False,
) -> MCDropout:
    """Add MC dropout to `net`, off at first; see :class:`MCDropout` for `rate`, `kind`, `mask_batch`, `generator`.

    Parameters
    ----------
    scope
        ``all`` (R1): after every convolution, pooling and fully connected layer, modules or functions; ``no-conv``:
        after poolings and fully connected layers; ``head``: after the last pooling and what follows it. Where no such
        layer stands between a part of the image and the classifier (the tokens of a vision transformer), the
        classifier's input is dropped too.
    logits
        Drop the logits as well: the letter of R1. It puts a floor under the uncertainty, and the dropout before the
        classifier covers its weights already.

    Raises
    ------
    ConfigError
        There is no such scope or kind, or the rate or the mask batch is out of range.
    ValueError
        The network has no such layer.
    """
    dropout = MCDropout(rate, kind, mask_batch, generator, find_layers(net, scope, logits=logits))
    net.register_forward_pre_hook(_count_tiles(dropout))
    for layer in dropout.layers:
        _follow(net.get_submodule(layer.name), layer, dropout)
    net.register_forward_hook(_forget_tiles(dropout), always_call=True)
    return dropout


def _follow(module: nn.Module, layer: Layer, dropout: MCDropout) -> None:
    if layer.kind == "classifier input":
        module.register_forward_pre_hook(_before(dropout))
    elif layer.calls:
        watch = _Functional(dropout, frozenset(layer.calls), layer.kind)
        module.register_forward_pre_hook(watch.enter)
        module.register_forward_hook(watch.leave, always_call=True)
    else:
        module.register_forward_hook(
            _after(dropout, layer.kind, fresh=isinstance(module, (_ConvNd, nn.Linear, *POOLS)))
        )


def _count_tiles(dropout: MCDropout) -> Callable[[nn.Module, Any], None]:
    def count(_: nn.Module, args: Any) -> None:
        if dropout.active and args and isinstance(args[0], Tensor):
            dropout._tiles = args[0].shape[0]

    return count


def _forget_tiles(dropout: MCDropout) -> Callable[[nn.Module, Any, Any], None]:
    def forget(_: nn.Module, __: Any, ___: Any) -> None:
        dropout._tiles = None

    return forget


def _before(dropout: MCDropout) -> Callable[[nn.Module, Any], Any]:
    def before(_: nn.Module, args: Any) -> Any:
        return (dropout.drop(args[0], channel_axis=-1), *args[1:]) if dropout.active else None

    return before


def _after(dropout: MCDropout, kind: Kind, *, fresh: bool) -> Callable[[nn.Module, Any, Any], Any]:
    """`fresh` layers own their output, and none needs it to find its gradient."""

    def after(_: nn.Module, __: Any, out: Any) -> Any:
        if not dropout.active or not isinstance(out, Tensor):
            return None
        last = kind not in ("convolution", "pooling") or (out.dim() < 4 and not fresh)
        return dropout.drop(out, channel_axis=-1 if last else 1, in_place=fresh)

    return after


class _Functional(TorchFunctionMode):
    """Drops what certain calls of a module's forward return; it listens only while dropout is active."""

    def __init__(self, dropout: MCDropout, calls: frozenset[int], kind: Kind) -> None:
        super().__init__()
        self._dropout, self._calls, self._kind = dropout, calls, kind
        self._call, self._listening = 0, False

    def enter(self, _: nn.Module, __: Any) -> None:
        if self._dropout.active:
            self._call, self._listening = 0, True
            self.__enter__()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def leave(self, _: nn.Module, __: Any, ___: Any) -> None:
        if self._listening:
            self._listening = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if function_kind(func, args, kwargs) != self._kind:
            return out
        call, self._call = self._call, self._call + 1
        if call not in self._calls or not isinstance(out, Tensor):
            return out
        return self._dropout.drop(out, channel_axis=-1 if self._kind == "functional linear" else 1)

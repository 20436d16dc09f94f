"""Which layers of a network dropout follows: found by looking at one forward pass, so functional layers count too.

A pass over two random images tells in which order layers answer, which functions are called between modules
(``x.mean((2, 3))``, ``F.max_pool2d``, ``F.linear``), and which outputs are one and the same activations (a wrapper and
what it wraps). Passes with some outputs blanked tell whether all that the classifier reads goes through them.
"""

from __future__ import annotations

import copy
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd, _AvgPoolNd, _MaxPoolNd
from torch.overrides import TorchFunctionMode

from w2wpath.errors import ConfigError, did_you_mean

Scope = Literal["all", "no-conv", "head"]
Kind = Literal[
    "convolution",
    "pooling",
    "linear",
    "functional convolution",
    "functional pooling",
    "functional linear",
    "classifier input",
    "logits",
]
CONVOLUTIONS: tuple[Kind, ...] = ("convolution", "functional convolution")
POOLINGS: tuple[Kind, ...] = ("pooling", "functional pooling")
POOLS = (_AvgPoolNd, _MaxPoolNd, _AdaptiveAvgPoolNd, _AdaptiveMaxPoolNd)
SIDES_PX = (32, 64, 96, 224, 256, 384)
"""Sides of the images that a network is tried with when it does not say what it was built for."""

_POOL_FUNCTION = re.compile(r"(adaptive_)?(avg|max|lp|fractional_max)_pool[123]d(_with_indices)?")


@dataclass(frozen=True)
class Layer:
    """One place that dropout follows.

    Attributes
    ----------
    name
        The module; for a functional layer the one whose ``forward`` calls it. Empty is the network itself.
    kind
        What is followed. ``classifier input`` stands before the classifier, all others after their layer.
    calls
        Functional layers only: which calls in the module's forward, counted over those of one kind, with the calls of
        the modules in it.
    """

    name: str
    kind: Kind
    calls: tuple[int, ...] = ()


def function_kind(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Kind | None:
    """Tell what a torch function is as a layer; None when it is none.

    Means and maxima count as pooling when they go over space or tokens: dimension 2 of four with or without others
    (NCHW, NHWC), dimension 1 of three (tokens), or the last of three when it vanishes.
    """
    name = getattr(function, "__name__", "")
    if _POOL_FUNCTION.fullmatch(name):
        return "functional pooling"
    if name in ("conv1d", "conv2d", "conv3d"):
        return "functional convolution"
    if name == "linear":
        return "functional linear"
    if name in ("mean", "amax") and args and isinstance(args[0], Tensor):
        given = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return "functional pooling" if _over_space(args[0].dim(), given, bool(kwargs.get("keepdim"))) else None
    return None


def _over_space(ndim: int, given: Any, keepdim: bool) -> bool:
    if not isinstance(given, int | tuple | list):
        return False
    dims = {d % ndim for d in ((given,) if isinstance(given, int) else given)}
    if ndim == 4:
        return 2 in dims and 0 not in dims
    return ndim == 3 and (dims == {1} or (dims == {2} and not keepdim))


def find_layers(net: nn.Module, scope: str, *, logits: bool) -> tuple[Layer, ...]:
    """Return the places in `net` that dropout of `scope` follows, in the order in which they answer.

    ``all`` (R1): convolutions, poolings and fully connected layers; ``no-conv``: all but the convolutions; ``head``:
    the last pooling that everything passes, and what comes after it. Where something reaches the classifier past all
    of them (tokens on a residual path), the classifier's input is followed too. Logits are spared unless `logits`.
    Weights, buffers, training flags and random states are left as they are.

    Raises
    ------
    ConfigError
        There is no such scope.
    ValueError
        The network has no such layer, or takes none of the images that it is tried with.
    """
    if scope not in get_args(Scope):
        known = list(get_args(Scope))
        raise ConfigError(
            f"--dropout-scope must be one of {', '.join(known)}; got {scope!r}.{did_you_mean(scope, known)}"
        )
    with torch.no_grad():
        net = _specimen(net)
        images = _images(net)
        heads = _heads(net)
        run = _Run(net, _candidates(net, heads), heads)
        events = run(images)
        if not heads:
            # a plain nn.Sequential: what gives the network's output is its classifier
            heads = [event.name for event in events if event.gives_output and event.ordinal is None]
            run = _Run(net, _candidates(net, heads), heads)
            events = run(images)
        chosen = _in_scope(events, scope, run, images)
        bare = _bare_heads(chosen, run, images)
    if not chosen and not bare:
        raise ValueError(f"{type(net).__name__} has no convolution, pooling or fully connected layer to follow")
    found = [*_merged(chosen), *(Layer(name, "classifier input") for name in bare)]
    return (*found, *(Layer(name, "logits") for name in heads)) if logits else tuple(found)


@dataclass(frozen=True)
class _Event:
    """A layer answered: its place in the order, and what it gave."""

    index: int
    name: str
    kind: Kind
    ordinal: int | None
    one_position: bool
    gives_output: bool = False


@dataclass
class _Frame:
    """A module whose forward is running."""

    name: str
    calls: Counter[Kind] = field(default_factory=Counter)


@dataclass
class _Seen:
    """What one pass has shown so far. Outputs are kept for a while, so that their memory is not used again."""

    events: dict[int, tuple[str, Kind, int | None, bool]] = field(default_factory=dict)
    recent: deque[tuple[int, Tensor]] = field(default_factory=lambda: deque(maxlen=8))
    frames: list[_Frame] = field(default_factory=list)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    last_before: dict[str, int] = field(default_factory=dict)
    logits: list[Tensor] = field(default_factory=list)
    next: int = 0


class _Run:
    """Passes over images that note each layer's answer, and may blank some."""

    def __init__(self, net: nn.Module, candidates: Mapping[str, Kind], heads: Sequence[str]) -> None:
        self._net, self._candidates, self.heads = net, candidates, heads
        self._opaque = {*candidates, *heads}
        self._blank: frozenset[int] = frozenset()
        self._seen = _Seen()

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """What each classifier read in the last pass."""
        return self._seen.inputs

    @property
    def last_before(self) -> Mapping[str, int]:
        """Index up to which events came before each classifier in the last pass."""
        return self._seen.last_before

    def __call__(self, images: Tensor, blank: Iterable[int] = ()) -> list[_Event]:
        """Return the events of a pass in which those of index `blank` answered zeros."""
        self._blank, self._seen = frozenset(blank), _Seen()
        with ExitStack() as stack:
            for name, module in self._net.named_modules():
                stack.callback(module.register_forward_pre_hook(self._enter(name)).remove)
                stack.callback(module.register_forward_hook(self._leave(name)).remove)
            stack.enter_context(_Watch(self._called))
            out = self._net(images)
        last = {i for i, kept in self._seen.recent if isinstance(out, Tensor) and _same_memory(kept, out)}
        return [_Event(i, *facts, gives_output=i in last) for i, facts in self._seen.events.items()]

    def _enter(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
            if name in self.heads and args and isinstance(args[0], Tensor):
                self._seen.inputs[name] = args[0]
                self._seen.last_before[name] = self._seen.next
            self._seen.frames.append(_Frame(name))

        return enter

    def _leave(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
        def leave(_: nn.Module, __: tuple[Any, ...], out: Any) -> Any:
            self._seen.frames.pop()
            if name in self.heads and isinstance(out, Tensor):
                self._seen.logits.append(out)
            kind = self._candidates.get(name)
            return out if kind is None else self._answered(name, kind, None, out)

        return leave

    def _called(self, kind: Kind, out: Any) -> Any:
        frames = self._seen.frames
        for frame in frames:
            frame.calls[kind] += 1
        if not frames or any(frame.name in self._opaque and frame.name for frame in frames):
            return out  # inside a layer that is followed as a whole, or in the classifier
        return self._answered(frames[-1].name, kind, frames[-1].calls[kind] - 1, out)

    def _answered(self, name: str, kind: Kind, ordinal: int | None, out: Any) -> Any:
        if not isinstance(out, Tensor) or out.dim() < 2:
            return out
        if any(_same_memory(logits, out) for logits in self._seen.logits):
            return out  # a wrapper around the classifier gives the logits on
        seen, index = self._seen, self._seen.next
        seen.next += 1
        for before, kept in seen.recent:
            if _same_memory(kept, out):
                seen.events.pop(before, None)  # the same activations again: followed once, at the last place
        seen.events[index] = (name, kind, ordinal, sum(size > 1 for size in out.shape[1:]) <= 1)
        blanked = torch.zeros_like(out) if index in self._blank else out
        seen.recent.append((index, blanked))
        return blanked


class _Watch(TorchFunctionMode):
    """Hands what layer-like functions return to `called`."""

    def __init__(self, called: Callable[[Kind, Any], Any]) -> None:
        super().__init__()
        self._called = called

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kind = function_kind(func, args, kwargs)
        out = func(*args, **kwargs)
        return out if kind is None else self._called(kind, out)


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _candidates(net: nn.Module, heads: Sequence[str]) -> dict[str, Kind]:
    """Return the modules that are layers, without the network itself, its classifiers, and poolings in poolings."""
    found: dict[str, Kind] = {}
    pools: tuple[str, ...] = ()
    spared = tuple(f"{head}." for head in heads)
    for name, module in net.named_modules():
        if not name or name in heads or name.startswith(spared):
            continue
        if _is_pool(module):
            if not name.startswith(pools or ("\0",)):
                found[name] = "pooling"
                pools = (*pools, f"{name}.")
        elif isinstance(module, _ConvNd):
            found[name] = "convolution"
        elif isinstance(module, nn.Linear):
            found[name] = "linear"
    return found


def _is_pool(module: nn.Module) -> bool:
    """Tell a pooling layer; what timm calls "...Pooling..." are blocks, and ``pool_type=''`` does nothing."""
    if isinstance(module, POOLS):
        return True
    name = type(module).__name__
    return "Pool" in name and "Pooling" not in name and getattr(module, "pool_type", None) != ""


def _heads(net: nn.Module) -> list[str]:
    """Return the names of the classifier, or classifiers (distilled transformers have two)."""
    get = getattr(net, "get_classifier", None)
    found = get() if callable(get) else ()
    wanted = [head for head in (found if isinstance(found, tuple | list) else (found,)) if isinstance(head, nn.Module)]
    return [name for name, module in net.named_modules() if name and any(module is head for head in wanted)]


def _in_scope(events: Sequence[_Event], scope: str, run: _Run, images: Tensor) -> list[_Event]:
    if scope == "all":
        return list(events)
    if scope == "no-conv":
        return [event for event in events if event.kind not in CONVOLUTIONS]
    for place, event in reversed(list(enumerate(events))):
        if event.kind in POOLINGS and event.one_position and not _passed_by(run, images, [event.index]):
            return list(events[place:])
    return []


def _bare_heads(chosen: Sequence[_Event], run: _Run, images: Tensor) -> list[str]:
    """Return the classifiers that something reaches past the last layers that are followed."""
    trailing: list[int] = []
    limit = max(run.last_before.values(), default=0)
    for event in reversed([event for event in chosen if event.index < limit]):
        if trailing and not event.one_position:
            break
        trailing.append(event.index)
        if not event.one_position:
            break
    return _passed_by(run, images, trailing)


def _passed_by(run: _Run, images: Tensor, blank: Sequence[int]) -> list[str]:
    """Return the classifiers that still tell two images apart when the events `blank` answer zeros."""
    run(images, blank)
    return [name for name, read in run.inputs.items() if not torch.equal(read[0], read[-1])]


def _merged(events: Sequence[_Event]) -> list[Layer]:
    """Put the calls of one module's forward together, and count a module that answers often once."""
    calls: dict[tuple[str, Kind], set[int]] = {}
    for event in events:
        calls.setdefault((event.name, event.kind), set()).update(() if event.ordinal is None else (event.ordinal,))
    return [Layer(name, kind, tuple(sorted(found))) for (name, kind), found in calls.items()]


def _specimen(net: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode with no weight all zero; nothing that is done to it reaches `net`.

    Networks begin with zeros at the end of residual branches, and a path that is still closed must not look absent.
    Some keep values that they derived from their weights until training mode forgets them.
    """
    specimen = copy.deepcopy(net).train().eval()
    source = torch.Generator().manual_seed(1)
    for weight in specimen.parameters():
        if not weight.any():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=source))
    return specimen


def _images(net: nn.Module) -> Tensor:
    """Return two random images that the network takes, of the size that it was built for if it says so."""
    first = next(net.parameters(), torch.zeros(0))
    channels = next((m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)), 3)
    built_for = getattr(net, "tile_px", None)
    source = torch.Generator().manual_seed(0)
    why = ""
    for side in (built_for,) if isinstance(built_for, int) else SIDES_PX:
        images = torch.randn(2, channels, side, side, generator=source).to(first)
        try:
            net(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            why = why or f"at {side} px: {str(error).splitlines()[0]}"
        else:
            return images
    raise ValueError(f"{type(net).__name__} takes none of the images that it is tried with ({why})")

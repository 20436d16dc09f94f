"""What MC passes cost: ours against a loop of whole passes through ``nn.Dropout``, in one run, taking turns.

Run: ``python tests/speed/draws.py [--images 512] [--draws 25] [--rounds 3] [--stem small]``. The loop is the same
network in fp32 and NCHW with an ``nn.Dropout`` after the same layers. Ours shares masks between ``--mask-batch`` tiles,
in channels_last, in fp32 and, where the CPU computes in it, bf16. Every draw is a pass like any other, so the time is
linear in the draws, and a ratio over few of them is the ratio over 25. Prints medians and ratios.

``--law`` then asks whether u of each tile has the same law: many u of few draws by both ways at the same weights, one
Kolmogorov-Smirnov test a tile; of tiles whose laws agree, about 1 % have p < 0.01.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torch import Tensor, nn

from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.device import Compute, choose_compute
from w2wpath.w2wnet.nets.mcdropout import MCDropout, inject
from w2wpath.w2wnet.uncertainty import MCStats

RATE, CLASSES = 0.3, 10
Draw = Callable[[Tensor], Tensor]
"""Probabilities (n, k) of one pass over images (n, 3, h, w)."""


def settled(name: str, px: int, stem: str) -> nn.Module:
    """A network whose BatchNorm knows the scale of its activations, as after training; it answers for all classes."""
    torch.manual_seed(0)
    net = build(name, CLASSES, px, stem=stem).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net(torch.randn(32, 3, px, px))
    return net.eval()


def by_modules(net: nn.Module, where: tuple[str, ...]) -> Draw:
    """Insert an ``nn.Dropout`` after each layer `where`."""
    net = copy.deepcopy(net)
    for name in where:
        above, _, own = name.rpartition(".")
        # a hook that calls the module, so that every network can be measured; it costs microseconds
        dropout = nn.Dropout(RATE)
        net.get_submodule(above).get_submodule(own).register_forward_hook(lambda _, __, out, d=dropout: d(out))
    return lambda images: net(images).softmax(dim=1)


def by_ours(net: nn.Module, mask_batch: int, compute: Compute) -> tuple[Draw, MCDropout]:
    """Follow the same layers by hooks, in `compute`'s memory format and precision."""
    net = copy.deepcopy(net).to(memory_format=compute.memory_format)
    masks = torch.Generator().manual_seed(0)
    dropout = inject(net, rate=RATE, kind="element", mask_batch=mask_batch, generator=masks)

    def draw(images: Tensor) -> Tensor:
        with compute.autocast() if compute.bf16 else nullcontext(), dropout.on():
            return net(images).float().softmax(dim=1)

    return draw, dropout


def seconds(draw: Draw, images: Tensor, batch: int, draws: int) -> float:
    """Time of `draws` passes over all images."""
    began = time.perf_counter()
    with torch.inference_mode():
        for _ in range(draws):
            for part in images.split(batch):
                draw(part)
    return time.perf_counter() - began


def uncertainties(draw: Draw, images: Tensor, repeats: int, draws: int) -> NDArray[np.float64]:
    """u (repeats, n) of `draws` passes each."""
    found = []
    with torch.inference_mode():
        for _ in range(repeats):
            stats = MCStats(len(images), CLASSES)
            for _ in range(draws):
                stats.add(draw(images).numpy())
            found.append(stats.u_n)
    return np.stack(found)


def measure(args: argparse.Namespace, ways: dict[str, tuple[Draw, torch.memory_format]]) -> None:
    """Print medians over rounds in which the ways take turns."""
    images = torch.randn(args.images, 3, args.px, args.px)
    batches = {way: images.contiguous(memory_format=form) for way, (_, form) in ways.items()}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for way, (draw, _) in ways.items():
        seconds(draw, batches[way][: args.batch], args.batch, 1)
    for _ in range(args.rounds):
        for way, (draw, _) in ways.items():
            taken[way].append(seconds(draw, batches[way], args.batch, args.draws))
    say(f"{args.backbone}, stem {args.stem}, {args.images} images of {args.px} px, {args.draws} draws")
    loop = median(taken["nn.Dropout"])
    for way, values in taken.items():
        rate = args.images * args.draws / median(values)
        say(f"{way:14} {median(values):7.2f} s {rate:7.0f} images/s   {loop / median(values):.2f} x nn.Dropout")


def compare_laws(args: argparse.Namespace, ways: dict[str, tuple[Draw, torch.memory_format]]) -> None:
    """Print the share of tiles whose u follows another law than the loop's."""
    images = torch.randn(args.law_images, 3, args.px, args.px)
    found = {way: uncertainties(draw, images, args.repeats, args.law_draws) for way, (draw, _) in ways.items()}
    # the loop against itself shows what chance does
    found["nn.Dropout again"] = uncertainties(ways["nn.Dropout"][0], images, args.repeats, args.law_draws)
    loop = found.pop("nn.Dropout")
    for way, u in found.items():
        p = np.array([ks_2samp(u[:, tile], loop[:, tile]).pvalue for tile in range(len(images))])
        say(
            f"u of {args.law_draws} draws, {args.repeats} repeats, {way}: {100 * (p < 0.01).mean():.1f} % of "
            f"{len(images)} tiles have p < 0.01; mean u {u.mean():.4f}, loop {loop.mean():.4f}"
        )


def main() -> None:
    """Measure, and compare laws if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="densenet121")
    parser.add_argument("--stem", default="small")
    for option, default in {
        "--px": 32,
        "--images": 512,
        "--batch": 128,
        "--draws": 25,
        "--rounds": 3,
        "--mask-batch": 16,
        "--threads": 2,
        "--law-images": 32,
        "--law-draws": 3,
        "--repeats": 100,
    }.items():
        parser.add_argument(option, type=int, default=default)
    parser.add_argument("--law", action="store_true", help="compare the laws of u too")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    net = settled(args.backbone, args.px, args.stem)
    auto, fp32 = choose_compute("cpu", "auto"), choose_compute("cpu", "fp32")
    fast, dropout = by_ours(net, args.mask_batch, fp32)
    if any(layer.calls or layer.kind == "classifier input" for layer in dropout.layers):
        parser.error("the loop knows modules only; take a backbone without functional layers")
    ways = {
        "nn.Dropout": (by_modules(net, dropout.where), torch.contiguous_format),
        "ours, fp32": (fast, fp32.memory_format),
    }
    if auto.bf16:
        ways["ours, bf16"] = (by_ours(net, args.mask_batch, auto)[0], auto.memory_format)
    else:
        say("this CPU does not compute in bf16; only fp32 is measured")
    measure(args, ways)
    if args.law:
        compare_laws(args, ways)


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()

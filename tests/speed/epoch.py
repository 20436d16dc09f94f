"""What an epoch of Wise costs: with its tracker, without, and without dropout, in one run, taking turns.

Run: ``python tests/speed/epoch.py [--case resnet10t:64:imagenet] [--images 512] [--rounds 5] [--precision auto]``.
A case is backbone, tile side in pixels and stem; without ``--case`` there are two. Three networks of preset
``recommended`` train an epoch each in every round: Wise as it is, the same with its tracker switched off, and the same
without dropout. The order is reversed from round to round. Prints the median time of each, the medians over the rounds
of the two ratios beside their goals, and the share of its time that Wise waited for batches.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np
import torch

from w2wpath.config import NetSettings
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.network import Network

CASES = ("resnet10t:64:imagenet", "densenet121:32:small")
CLASSES = 3
GOALS = {"untracked": 1.05, "dropout-free": 1.2}


def networks(case: str, images: int, precision: str, scope: str) -> dict[str, Network]:
    """Three networks that differ in the tracker or in dropout alone."""
    backbone, px, stem = case.split(":")
    settings = NetSettings(backbone=backbone, stem=stem, dropout_scope=scope, device="cpu", precision=precision)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (images, int(px), int(px), 3), dtype=np.uint8)
    labels = random.integers(0, CLASSES, images).astype(np.int16)
    tiles = Tiles(pixels, CLASSES, settings, choose_compute("cpu", precision))
    print(f"{case}, dropout after {scope}, {tiles.compute}, {images} images")  # noqa: T201 - a script
    found = {
        name: Network(tiles, np.arange(images), labels, 0, bayesian=name != "dropout-free", epochs=100)
        for name in ("wise", "untracked", "dropout-free")
    }
    found["untracked"].tracking = False
    return found


def measure(runs: dict[str, Network], rounds: int) -> tuple[dict[str, list[float]], float]:
    """Seconds of an epoch of each network in every round, and the share that the first waited for batches."""
    for run in runs.values():
        run.epoch()
    waited = -runs["wise"].waited_s
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        for name in list(runs) if turn % 2 == 0 else reversed(runs):
            began = time.perf_counter()
            runs[name].epoch()
            seconds[name].append(time.perf_counter() - began)
    return seconds, (waited + runs["wise"].waited_s) / sum(seconds["wise"])


def main() -> None:
    """Measure every case and print its ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="backbone:px:stem; may be given more than once")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--scope", choices=("all", "no-conv", "head"), default="no-conv", help="layers dropout follows")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for case in given.case or CASES:
        runs = networks(case, given.images, given.precision, given.scope)
        seconds, waited = measure(runs, given.rounds)
        for name, times in seconds.items():
            print(f"  {name}: {median(times):.3f} s an epoch")  # noqa: T201 - a script
        for name, goal in GOALS.items():
            ratio = median(a / b for a, b in zip(seconds["wise"], seconds[name], strict=True))
            print(f"  wise / {name}: {ratio:.3f}, goal at most {goal}")  # noqa: T201 - a script
        print(f"  waiting for batches: {waited:.2%} of the time")  # noqa: T201 - a script


if __name__ == "__main__":
    main()

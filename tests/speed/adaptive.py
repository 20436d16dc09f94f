"""What adaptive draws save and what they change: ``python tests/speed/adaptive.py [EPOCHS [SCOPE]]``.

A small Wise learns 2,000 digits and 200 letters with random labels (MNIST, if ``../shared/data/mnist`` is there; made
patterns else), and reads 600 digits and 120 letters that it never saw, in batches of 64 as a heatmap does. Prints,
for z = 2, 2.5 and 3, the mean number of draws, and how often "u above the threshold" is what it would be had the same
draws been carried on to T = 25, and what independent fixed runs of T = 25 say. The agreement of those runs with each
other is the ceiling of the last. Then how much less time adaptive draws take. No truth is used.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from w2wpath.w2wnet.nets.adaptive import Draw, Draws, adaptive_draws, fixed_draws
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.mcdropout import MCDropout, inject
from w2wpath.w2wnet.split import two_means

MNIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
K, SIDE, T, BATCH, ROUNDS, EPOCHS = 10, 28, 25, 64, 3, 50
TRAIN, TRAIN_ALIEN, TEST, TEST_ALIEN = 2000, 200, 600, 120
TIMED = ("centroid", 2.5)
Images = NDArray[np.uint8]


def mnist() -> tuple[Images, NDArray[np.int64], Images]:
    """Return training images with labels, and test images."""
    digits, letters = np.load(MNIST / "mnist.npz"), np.load(MNIST / "letters_az.npz")
    draw = np.random.default_rng(0)
    one, other = draw.permutation(len(digits["x_train"]))[:TRAIN], draw.permutation(len(digits["x_test"]))[:TEST]
    aliens = letters["x"][draw.permutation(len(letters["x"]))[: TRAIN_ALIEN + TEST_ALIEN]]
    train = np.concatenate([digits["x_train"][one], aliens[:TRAIN_ALIEN]])
    labels = np.concatenate([digits["y_train"][one], draw.integers(0, K, TRAIN_ALIEN)])
    return train, labels.astype(np.int64), np.concatenate([digits["x_test"][other], aliens[TRAIN_ALIEN:]])


def made() -> tuple[Images, NDArray[np.int64], Images]:
    """Return the same of made patterns: a smooth one for each class, and noise as aliens."""
    draw = np.random.default_rng(0)
    pattern = np.kron(draw.integers(60, 200, (K, 7, 7)), np.ones((4, 4)))

    def images(labels: NDArray[np.int64], aliens: int) -> Images:
        own = pattern[labels] + draw.normal(0, 90, (len(labels), SIDE, SIDE))
        return np.concatenate([own, draw.normal(128, 90, (aliens, SIDE, SIDE))]).clip(0, 255).astype(np.uint8)

    labels = draw.integers(0, K, TRAIN + TRAIN_ALIEN)
    return images(labels[:TRAIN], TRAIN_ALIEN), labels, images(draw.integers(0, K, TEST), TEST_ALIEN)


def batch_of(images: Images) -> Tensor:
    """Return what the network takes."""
    grey = (torch.from_numpy(images).float() / 255 - 0.13) / 0.31
    return grey[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def trained(epochs: int, scope: str, batch: Tensor, labels: NDArray[np.int64]) -> tuple[nn.Module, MCDropout]:
    """Train a small Wise as preset ``recommended`` does."""
    torch.manual_seed(0)
    net = build("conv5", K, SIDE).to(memory_format=torch.channels_last)
    masks = torch.Generator().manual_seed(0)
    dropout = inject(net, rate=0.3, kind="element", mask_batch=16, generator=masks, scope=scope)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.001)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    target = torch.from_numpy(labels)
    with dropout.on():
        for _ in range(epochs):
            for rows in torch.randperm(len(batch)).split(BATCH):
                loss = functional.cross_entropy(net(batch[rows]), target[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimiser.step()
            falling.step()
    return net.eval(), dropout


def read(net: nn.Module, dropout: MCDropout, batch: Tensor, seed: int, way: Callable[[Draw, int], Draws]) -> Draws:
    """Draw in batches, each `way`."""

    def passes(part: Tensor, place: int) -> Draw:
        def draw(rows: NDArray[np.intp], t: int) -> NDArray[np.float32]:
            mixed = np.random.SeedSequence([seed, place, t]).generate_state(1, np.uint64)[0]
            dropout.generator.manual_seed(int(mixed >> np.uint64(1)))
            with torch.inference_mode(), dropout.on():
                said: NDArray[np.float32] = net(part[torch.from_numpy(rows)]).softmax(dim=1).numpy()
            return said

        return draw

    found = [way(passes(part, place), len(part)) for place, part in enumerate(batch.split(BATCH))]
    names = ("mean_nk", "u_n", "epistemic_n", "draws_n")
    return Draws(*(np.concatenate([getattr(one, name) for one in found]) for name in names))


def record(net: nn.Module, dropout: MCDropout, batch: Tensor, seed: int) -> NDArray[np.float32]:
    """Return T passes (t, n, k), of which an adaptive run can be shown the first ones only."""
    dropout.generator.manual_seed(seed)
    with torch.inference_mode(), dropout.on():
        passes = [torch.cat([net(part).softmax(dim=1) for part in batch.split(BATCH)]).numpy() for _ in range(T)]
    return np.stack(passes)


def main() -> None:
    """Train, find the threshold on the training side, compare."""
    there = (MNIST / "mnist.npz").is_file()
    train, labels, test = mnist() if there else made()
    epochs = int(sys.argv[1]) if len(sys.argv) > 1 else EPOCHS
    scope = sys.argv[2] if len(sys.argv) > 2 else "no-conv"
    net, dropout = trained(epochs, scope, batch_of(train), labels)
    fixed = lambda draw, n: fixed_draws(draw, n, K, draws=T)  # noqa: E731 - a way to draw, as below
    split = two_means(read(net, dropout, batch_of(train), 1, fixed).u_n)
    batch = batch_of(test)
    references = [read(net, dropout, batch, seed, fixed).u_n for seed in (2, 3, 4)]
    recorded = record(net, dropout, batch, 7)
    full = fixed_draws(lambda rows, t: recorded[t, rows], len(test), K, draws=T).u_n
    what = "MNIST and letters" if there else "made patterns"
    _say(f"{what}, conv5, dropout {scope}, {epochs} epochs, {len(test)} tiles, T = {T}")
    for name, threshold in (("boundary", split.boundary), ("centroid", split.high)):
        above = [u_n > threshold for u_n in references]
        ceiling = np.mean([(one == other).mean() for one, other in itertools.combinations(above, 2)])
        _say(f"threshold {name} {threshold:.3f}: {above[0].mean():.1%} above; ceiling {ceiling:.2%}")
        for z in (2.0, 2.5, 3.0):

            def adaptive(draw: Draw, n: int, around: float = threshold, z: float = z) -> Draws:
                return adaptive_draws(draw, n, K, threshold=around, draws=T, z=z)

            ended = adaptive(lambda rows, t: recorded[t, rows], len(test))
            same = ((ended.u_n > threshold) == (full > threshold)).mean()
            said = read(net, dropout, batch, 5, adaptive)
            agreement = np.mean([((said.u_n > threshold) == one).mean() for one in above])
            ratio = (
                _ratio(lambda way: read(net, dropout, batch, 6, way), fixed, adaptive) if (name, z) == TIMED else None
            )
            took = "" if ratio is None else f", time of fixed over adaptive {ratio:.2f}"
            _say(
                f"  z {z}: {said.draws_n.mean():.1f} draws; agreement with the same draws, all {T}, {same:.2%}, "
                f"with independent ones {agreement:.2%}{took}"
            )


def _ratio(run: Callable[[Callable[[Draw, int], Draws]], Draws], *ways: Callable[[Draw, int], Draws]) -> float:
    """Return the median time of the first way over that of the second; they take turns."""
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for way, taken in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            run(way)
            taken.append(time.perf_counter() - began)
    return sorted(seconds[0])[ROUNDS // 2] / sorted(seconds[1])[ROUNDS // 2]


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    main()

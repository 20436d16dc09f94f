"""One network in training: epochs, draws, and a state that it can return to bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from w2wpath.config import NetSettings
from w2wpath.errors import NonFiniteScoreError
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.nets.augment import Augmentation
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.baselines import with_low_pass
from w2wpath.w2wnet.nets.compiled import Compiled
from w2wpath.w2wnet.nets.data import Batches, Normalisation, Tiles
from w2wpath.w2wnet.nets.feeder import Feeder
from w2wpath.w2wnet.nets.mcdropout import MCDropout, inject
from w2wpath.w2wnet.nets.parts import Parts, cut
from w2wpath.w2wnet.nets.snapshot import restored, taken

INFERENCE_BATCH = 256
INFERENCE_PIXELS = 256 * 96 * 96
"""At most so many tiles and pixels at a time in inference, so that large tiles fit into the memory of a small machine
(which ends a process that takes too much, instead of telling it)."""


@dataclass(frozen=True)
class _Epoch:
    """What an epoch needs, on the device and in the order of training, so that no step waits for the device."""

    labels: Tensor
    augmentation: Augmentation
    said: Tensor
    losses: Tensor


class Network:
    """A backbone with its optimiser, its random state and, for Wise, its MC dropout.

    Parameters
    ----------
    tiles, rows, labels
        All tiles, the rows of them to train on, and a label (n,) for each row. Nothing else is learned from.
    seed
        Fixes weights, order, augmentation and masks.
    bayesian
        Drop activations, in training and in :meth:`draw`.
    epochs
        Length of the learning-rate schedule.
    name
        What messages call it.
    say
        Called with a line that the user should read.

    Attributes
    ----------
    net
        The module, never compiled: its weights are the ones to save.
    normalisation
        Measured on the training rows.
    dropout
        None in a deterministic network.
    tracking
        Off, :meth:`epoch` returns None.
    waited_s
        Seconds that it has waited for batches.
    """

    def __init__(
        self,
        tiles: Tiles,
        rows: Rows,
        labels: NDArray[np.int16],
        seed: int,
        *,
        bayesian: bool,
        epochs: int,
        name: str = "network",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        settings, compute = tiles.settings, tiles.compute
        self._tiles, self._settings, self._rows, self._name = tiles, settings, rows, name
        self._labels = labels.astype(np.int64)
        self._epochs, self._epoch = epochs, 0
        self.tracking = True
        self.net = _fresh(tiles, seed)
        self._random = np.random.default_rng(seed)
        self._masks = torch.Generator(compute.device).manual_seed(seed)
        self.normalisation = Normalisation.of(tiles.images, rows, standardise=settings.standardise)
        self._batches = Batches(tiles.images, self.normalisation, compute)
        self._feed = Feeder(tiles.images, workers=settings.loader_workers, pin=compute.device.type == "cuda")
        self.dropout = _with_dropout(self.net, settings, self._masks) if bayesian else None
        self._compiled = Compiled(self.net, settings.backbone) if settings.compile else None
        self._optimiser = torch.optim.SGD(
            self.net.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        who = f"{name} ({settings.backbone}, {tiles.tile_px} px, {compute})"
        micro, most = settings.micro_batch, _inference_batch(tiles.tile_px, settings.mask_batch)
        self._training = Parts(micro or settings.batch_size, 2, micro is not None, say, f"{who}, training")
        self._inference = Parts(most, 1, False, say, f"{who}, inference")

    @property
    def waited_s(self) -> float:
        """Seconds that it has waited for batches."""
        return self._feed.waited_s

    def epoch(self) -> NDArray[np.float32] | None:
        """Train one epoch; return the softmax (n, k) that its forwards gave each training row.

        The forwards are those of training (S2): with dropout, augmentation and the batch's own BatchNorm statistics.

        Raises
        ------
        NonFiniteScoreError
            The loss became infinite or NaN.
        DeviceError
            Memory does not suffice for two tiles.
        """
        n = len(self._rows)
        self.net.train()
        order = self._random.permutation(n)
        batches = cut(n, self._settings.batch_size)
        epoch = self._begin(order, len(batches))
        with closing(self._feed([self._rows[order[at]] for at in batches])) as fed:
            for i, (at, tiles) in enumerate(zip(batches, fed, strict=True)):
                self._set_rate(self._epoch + i / len(batches))
                self._step(epoch, i, at, self._batches.uploaded(tiles))
        self._epoch += 1
        if not torch.isfinite(epoch.losses).all():
            raise NonFiniteScoreError(
                f"{self._name}: the loss of epoch {self._epoch} is not finite, the training diverged. {self._cure()}"
            )
        if not self.tracking:
            return None
        said = np.empty(epoch.said.shape, dtype=np.float32)
        said[order] = epoch.said.cpu().numpy()
        return said

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        """Return one pass (len(rows), k) with dropout active and BatchNorm at its running statistics (R4)."""
        return self._infer(rows, dropping=True)

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Return probabilities (len(rows), k) of the deterministic network."""
        return self._infer(rows, dropping=False)

    def state(self) -> bytes:
        """Return weights, momentum, random states, epoch and parts of a batch, as safetensors bytes (K18)."""
        # masks are drawn part by part, so a run that goes on must cut its batches alike
        counts = {"epoch": self._epoch, "training": self._training.size, "inference": self._inference.size}
        return taken(self.net, self._optimiser, self._masks, self._random, counts, str(self._tiles.compute))

    def load(self, state: bytes) -> None:
        """Return to what :meth:`state` said; the next epochs and draws are those that followed it, bit by bit.

        Raises
        ------
        RunError
            It was trained on another kind of device, or in another precision.
        """
        compute = str(self._tiles.compute)
        counts = restored(state, self.net, self._optimiser, self._masks, self._random, compute)
        self._epoch = counts["epoch"]
        self._training.size, self._inference.size = counts["training"], counts["inference"]

    def _begin(self, order: NDArray[np.intp], steps: int) -> _Epoch:
        device = self._tiles.compute.device
        return _Epoch(
            labels=torch.from_numpy(self._labels[order]).to(device),
            augmentation=Augmentation.draw(self._settings.augment, len(order), self._random, device),
            said=torch.empty((len(order), self._tiles.n_classes), device=device),
            losses=torch.zeros(steps, device=device),
        )

    def _step(self, epoch: _Epoch, index: int, at: slice, tiles: Tensor) -> None:
        """Learn from one batch, whose gradient is the sum of those of its parts."""

        def attempt(size: int) -> None:
            for part in cut(len(tiles), size):
                here = slice(at.start + part.start, at.start + part.stop)
                images = self._batches.normalised(epoch.augmentation(tiles[part], here))
                logits = self._forward(images, dropping=self.dropout is not None)
                loss = functional.cross_entropy(logits, epoch.labels[here], reduction="sum") / len(tiles)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                epoch.losses[index] += loss.detach()
                if self.tracking:
                    epoch.said[here] = logits.detach().softmax(dim=1)

        remembered = self._remember()

        def rewind() -> None:
            self._recall(*remembered)
            epoch.losses[index] = 0.0

        self._optimiser.zero_grad(set_to_none=True)
        self._training.run(len(tiles), attempt, rewind)
        self._optimiser.step()

    def _remember(self) -> tuple[Tensor, list[Tensor]]:
        """Return what a forward changes: the state of the masks, and BatchNorm's buffers."""
        # nothing is repeated where the user has set the size
        buffers = [] if self._training.fixed else [buffer.clone() for buffer in self.net.buffers()]
        return self._masks.get_state(), buffers

    def _recall(self, masks: Tensor, buffers: list[Tensor]) -> None:
        self._optimiser.zero_grad(set_to_none=True)
        self._masks.set_state(masks)
        for buffer, before in zip(self.net.buffers(), buffers, strict=True):
            buffer.copy_(before)

    @torch.no_grad()
    def _infer(self, rows: Rows, *, dropping: bool) -> NDArray[np.float32]:
        if not len(rows):
            return np.empty((0, self._tiles.n_classes), dtype=np.float32)
        training, most = self.net.training, self._inference.size
        self.net.eval()
        try:
            with closing(self._feed([rows[i : i + most] for i in range(0, len(rows), most)])) as fed:
                told = [self._tell(self._batches.uploaded(tiles), dropping=dropping) for tiles in fed]
        finally:
            self.net.train(training)
        said: NDArray[np.float32] = torch.cat(told).cpu().numpy()
        bad = int((~np.isfinite(said).all(axis=1)).sum())
        if bad:
            raise NonFiniteScoreError(
                f"{self._name}: no finite probabilities for {bad} of {len(said)} tiles after epoch {self._epoch}, "
                f"the training diverged. {self._cure()}"
            )
        return said

    def _tell(self, tiles: Tensor, *, dropping: bool) -> Tensor:
        def attempt(size: int) -> Tensor:
            told = [
                self._forward(self._batches.normalised(tiles[i : i + size]), dropping=dropping)
                for i in range(0, len(tiles), size)
            ]
            return torch.cat(told).softmax(dim=1)

        masks = self._masks.get_state()
        return self._inference.run(len(tiles), attempt, lambda: self._set_masks(masks))

    def _set_masks(self, state: Tensor) -> None:
        self._masks.set_state(state)

    def _forward(self, images: Tensor, *, dropping: bool) -> Tensor:
        dropout = self.dropout if dropping else None
        with self._tiles.compute.autocast(), nullcontext() if dropout is None else dropout.on():
            if self._compiled is None:
                return self.net(images).float()  # type: ignore[no-any-return]  # nn.Module calls are Any
            if dropout is None or dropout.rate == 0.0:
                return self._compiled(images).float()
            return self._compiled.dropping(images, self._masks).float()

    def _set_rate(self, epoch: float) -> None:
        settings = self._settings
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(epoch / self._epochs, 1.0)))
        for group in self._optimiser.param_groups:
            group["lr"] = settings.lr * (cosine if settings.schedule == "cosine" else 1.0)

    def _cure(self) -> str:
        other = ", or use --precision fp32" if self._tiles.compute.bf16 else ""
        return f"Lower --lr ({self._settings.lr:g}){other}."


def _fresh(tiles: Tiles, seed: int) -> nn.Module:
    """Return a new backbone on the device. Its weights are drawn on the CPU, so they are the same everywhere."""
    settings, compute = tiles.settings, tiles.compute
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build(settings.backbone, tiles.n_classes, tiles.tile_px, stem=settings.stem, weights=settings.weights)
    if settings.low_pass_sigma is not None:
        with_low_pass(net, settings.low_pass_sigma)
    return net.to(compute.device).to(memory_format=compute.memory_format)


def _with_dropout(net: nn.Module, settings: NetSettings, masks: torch.Generator) -> MCDropout:
    return inject(
        net,
        rate=settings.dropout_rate,
        kind=settings.dropout_kind,
        mask_batch=settings.mask_batch,
        generator=masks,
        scope=settings.dropout_scope,
        logits=settings.dropout_logits,
    )


def _inference_batch(tile_px: int, mask_batch: int) -> int:
    """Return how many tiles go through at a time in inference: whole groups of tiles that share a mask, if they fit."""
    most = max(1, min(INFERENCE_BATCH, INFERENCE_PIXELS // tile_px**2))
    return most - most % mask_batch if most > mask_batch else most

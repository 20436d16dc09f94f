"""Train Wise and Wiped on tiles of a store: the learners that the core is handed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional

from w2wpath.config import NetSettings
from w2wpath.progress import Progress, Silent
from w2wpath.tiles.store import TileStore, TileTable
from w2wpath.w2wnet.learner import Rows
from w2wpath.w2wnet.nets.backbones import build
from w2wpath.w2wnet.nets.data import Batches, Normalisation, load_images
from w2wpath.w2wnet.nets.device import Compute, choose_compute
from w2wpath.w2wnet.nets.mcdropout import MCDropout, inject

INFERENCE_BATCH = 256


@dataclass(frozen=True)
class Tiles:
    """What every network of one command shares: decoded tiles, classes, settings, device."""

    images: NDArray[np.uint8]
    n_classes: int
    settings: NetSettings
    compute: Compute

    @classmethod
    def of(cls, store: TileStore, table: TileTable, settings: NetSettings) -> Tiles:
        """Decode the tiles of `table` and choose the device."""
        compute = choose_compute(settings.device, settings.precision)
        return cls(load_images(store, table), len(table.classes), settings, compute)

    @property
    def tile_px(self) -> int:
        """Side of a tile in pixels."""
        return int(self.images.shape[1])


class Network:
    """A backbone with its optimiser, its random state and, for Wise, its MC dropout."""

    def __init__(self, tiles: Tiles, rows: Rows, labels: NDArray[np.int16], seed: int, *, bayesian: bool, epochs: int):
        settings = tiles.settings
        self._tiles, self._rows, self._labels = tiles, rows, labels.astype(np.int64)
        self._epochs, self._epoch = epochs, 0
        # weights are drawn on the CPU from a fork of the generator, so the same seed gives the same net everywhere
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = build(settings.backbone, tiles.n_classes, tiles.tile_px)
        self.net: nn.Module = net.to(tiles.compute.device).to(memory_format=tiles.compute.memory_format)
        self._random = np.random.default_rng(seed)
        self._masks = torch.Generator(tiles.compute.device).manual_seed(seed)
        self.normalisation = Normalisation.of(tiles.images[rows])
        self._batches = Batches(tiles.images, self.normalisation, tiles.compute)
        self.dropout: MCDropout | None = None
        if bayesian:
            self.dropout = inject(
                self.net,
                rate=settings.dropout_rate,
                kind=settings.dropout_kind,
                mask_batch=settings.mask_batch,
                generator=self._masks,
            )
        self._optimiser = torch.optim.SGD(
            self.net.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )

    def epoch(self) -> NDArray[np.float32]:
        """Train one epoch; return the softmax (n, k) that its forwards gave each training row."""
        settings = self._tiles.settings
        self.net.train()
        said = np.empty((len(self._rows), self._tiles.n_classes), dtype=np.float32)
        order = self._random.permutation(len(self._rows))
        turns = self._random.integers(8, size=len(order)) if settings.augment == "flips" else None
        batches = _split(order, settings.batch_size)
        for i, batch in enumerate(batches):
            self._set_rate(self._epoch + i / len(batches))
            images = self._batches(self._rows[batch], None if turns is None else turns[batch])
            labels = torch.from_numpy(self._labels[batch]).to(self._tiles.compute.device)
            logits = self._forward(images, dropping=self.dropout is not None)
            loss = functional.cross_entropy(logits, labels)
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._optimiser.step()
            said[batch] = logits.detach().softmax(dim=1).cpu().numpy()
        self._epoch += 1
        return said

    def draw(self, rows: Rows) -> NDArray[np.float32]:
        """Return one pass (len(rows), k) with dropout active and BatchNorm at its running statistics (R4)."""
        return self._infer(rows, dropping=True)

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Return probabilities (len(rows), k) of the deterministic network."""
        return self._infer(rows, dropping=False)

    def state(self) -> bytes:
        """Return weights, momentum, random states and epoch, as safetensors bytes."""
        tensors: dict[str, Tensor] = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        for i, slot in self._optimiser.state_dict()["state"].items():
            if slot.get("momentum_buffer") is not None:
                tensors[f"momentum.{i}"] = slot["momentum_buffer"]
        tensors["masks"] = self._masks.get_state()
        tensors["epoch"] = torch.tensor(self._epoch)
        order = json.dumps(self._random.bit_generator.state).encode()
        tensors["order"] = torch.tensor(list(order), dtype=torch.uint8)
        return save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()})

    def load(self, state: bytes) -> None:
        """Return to what :meth:`state` said."""
        tensors = load_tensors(state)
        self.net.load_state_dict({n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")})
        saved = self._optimiser.state_dict()
        saved["state"] = {
            int(n.removeprefix("momentum.")): {"momentum_buffer": t}
            for n, t in tensors.items()
            if n.startswith("momentum.")
        }
        self._optimiser.load_state_dict(saved)
        self._masks.set_state(tensors["masks"])
        self._epoch = int(tensors["epoch"])
        self._random.bit_generator.state = json.loads(bytes(tensors["order"].tolist()))

    def _infer(self, rows: Rows, *, dropping: bool) -> NDArray[np.float32]:
        self.net.eval()
        said = [
            self._forward(self._batches(batch), dropping=dropping).softmax(dim=1).cpu().numpy()
            for batch in _inference_batches(rows)
        ]
        return np.concatenate(said) if said else np.empty((0, self._tiles.n_classes), dtype=np.float32)

    def _forward(self, images: Tensor, *, dropping: bool) -> Tensor:
        with torch.set_grad_enabled(self.net.training), self._tiles.compute.autocast():
            if self.dropout is not None and dropping:
                with self.dropout.on():
                    return self.net(images).float()  # type: ignore[no-any-return]  # nn.Module calls are Any
            return self.net(images).float()  # type: ignore[no-any-return]  # nn.Module calls are Any

    def _set_rate(self, epoch: float) -> None:
        settings = self._tiles.settings
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(epoch / self._epochs, 1.0)))
        for group in self._optimiser.param_groups:
            group["lr"] = settings.lr * (cosine if settings.schedule == "cosine" else 1.0)


def _split(order: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    """Cut `order` into batches of nearly equal size, so that BatchNorm never meets a batch of one."""
    return np.array_split(order, max(1, min(math.ceil(len(order) / size), len(order) // 2)))


def _inference_batches(rows: Rows) -> list[Rows]:
    return [rows[i : i + INFERENCE_BATCH] for i in range(0, len(rows), INFERENCE_BATCH)]


class WiseLearner:
    """Starts Wise networks: the backbone with MC dropout."""

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles

    def start(self, rows: Rows, labels: NDArray[np.int16], seed: int) -> Network:
        """Begin a fresh Wise on training `rows`."""
        epochs = self._tiles.settings.max_epochs
        return Network(self._tiles, rows, labels, seed, bayesian=True, epochs=epochs)


class WipedFitter:
    """Trains Wiped networks: the same backbone without dropout, from new random weights (R21)."""

    def __init__(self, tiles: Tiles, progress: Progress | None = None) -> None:
        self._tiles = tiles
        self._progress = progress or Silent()

    def fit(self, rows: Rows, labels: NDArray[np.int16], seed: int, epochs: int, what: str = "Wiped") -> Network:
        """Train a deterministic network on `rows`."""
        network = Network(self._tiles, rows, labels, seed, bayesian=False, epochs=epochs)
        with self._progress.track(what, epochs) as step:
            for epoch in range(epochs):
                right = float((network.epoch().argmax(axis=1) == labels).mean())
                step(1, f"epoch {epoch + 1}, training accuracy {right:.3f}")
        return network

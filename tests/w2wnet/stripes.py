"""A world of stripes, and a small real Wise to learn it: for the checks by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from w2wpath.config import NetSettings
from w2wpath.progress import Silent
from w2wpath.w2wnet.fit import WiseFit, fit_wise
from w2wpath.w2wnet.nets.data import Tiles
from w2wpath.w2wnet.nets.device import choose_compute
from w2wpath.w2wnet.nets.training import WiseLearner

PX, CLASSES, ALIEN = 12, 3, 3
SMALL = NetSettings(
    backbone="conv5",
    batch_size=32,
    mask_batch=8,
    max_epochs=15,
    draws=8,
    median_window=3,
    std_window=5,
    augment="none",
    quality=False,
    device="cpu",
    precision="fp32",
)


@dataclass(frozen=True)
class World:
    """Images, and the labels they are given: all that a learner sees."""

    images: np.ndarray
    labels: np.ndarray


def stripes(shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stripes (n, 12, 12, 3) across, upright or diagonal (0, 1, 2), or along the other diagonal (3).

    Brightness and contrast are those of every other image; phase, wavelength and noise are drawn.
    """
    y, x = np.mgrid[0:PX, 0:PX]
    along = np.stack([y, x, (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)])[shown]
    wavelength, phase = rng.uniform(3.5, 5, (len(shown), 1, 1)), rng.uniform(0, 2 * np.pi, (len(shown), 1, 1))
    wave = np.sin(2 * np.pi * along / wavelength + phase)
    wave = (wave - wave.mean(axis=(1, 2), keepdims=True)) / wave.std(axis=(1, 2), keepdims=True)
    grey = 128 + 45 * wave + rng.normal(0, 15, wave.shape)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=3)


def make_world(good: int, aliens: int, seed: int) -> tuple[World, np.ndarray]:
    """Make a world and, apart from it, its truth: which images are aliens."""
    rng = np.random.default_rng(seed)
    shown = rng.permutation(np.concatenate([np.arange(good) % CLASSES, np.full(aliens, ALIEN)]))
    labels = np.where(shown == ALIEN, rng.integers(CLASSES, size=len(shown)), shown).astype(np.int16)
    return World(stripes(shown, rng), labels), shown == ALIEN


def learner(world: World, classes: int = CLASSES, settings: NetSettings = SMALL) -> WiseLearner:
    return WiseLearner(Tiles(world.images, classes, settings, choose_compute("cpu", "fp32")))


def fitted(world: World) -> WiseFit:
    rows = np.arange(len(world.labels))
    return fit_wise(learner(world), rows, world.labels, CLASSES, 0, SMALL, Silent(), "Wise")[1]


def three_se(positive_n: np.ndarray) -> float:
    """Three standard errors of the AUROC of a score that knows nothing (Mann-Whitney)."""
    positives = int(positive_n.sum())
    negatives = len(positive_n) - positives
    return 3 * float(np.sqrt((positives + negatives + 1) / (12 * positives * negatives)))

"""What training does to tiles: flips, quarter turns, a jitter of the stains. Batches at a time, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from w2wpath.errors import ConfigError

STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
"""Optical density in red, green and blue of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001). On slides
without DAB the third takes up the residue of the other two."""
SCALE_SIGMA, SHIFT_SIGMA = 0.05, 0.02
"""Standard deviation of a stain's factor, and of what is added to it (in natural optical density)."""
TISSUE_DENSITY = 0.15
"""Mean optical density of a pixel from which it takes the whole shift. Below, the shift fades, so white stays white."""


def turned(tiles: Tensor, turns: Tensor) -> Tensor:
    """Turn and flip tiles (b, px, px, 3), each by its element (0 to 7) of the square's symmetries; 0 leaves it.

    Bit 4 swaps rows and columns, then bit 2 reverses the rows and bit 1 the columns.
    """
    # tile by tile is the fastest on a CPU (3 channels are too few for its vectors); elsewhere one kernel a step is
    return _turned_singly(tiles, turns) if tiles.device.type == "cpu" else _turned_at_once(tiles, turns)


def _turned_singly(tiles: Tensor, turns: Tensor) -> Tensor:
    result = torch.empty_like(tiles)
    for out, tile, turn in zip(result, tiles, turns.tolist(), strict=True):
        swapped = tile.transpose(0, 1) if turn & 4 else tile
        axes = [axis for axis, bit in ((0, 2), (1, 1)) if turn & bit]
        out.copy_(swapped.flip(axes) if axes else swapped)
    return result


def _turned_at_once(tiles: Tensor, turns: Tensor) -> Tensor:
    def where(bit: int) -> Tensor:
        return (turns & bit).bool().view(-1, 1, 1, 1)

    tiles = torch.where(where(4), tiles.transpose(1, 2), tiles)
    tiles = torch.where(where(2), tiles.flip(1), tiles)
    return torch.where(where(1), tiles.flip(2), tiles)


def stained(tiles: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Change the amount of each stain: ``c -> scale * c + shift``.

    Parameters
    ----------
    tiles
        RGB (b, h, w, 3), 0 to 255.
    scale, shift
        One value a tile and stain (b, 3). A scale of 1 and a shift of 0 change nothing, bit for bit.

    Returns
    -------
    Tensor
        RGB float32 (b, h, w, 3), 0 to 255. White stays white, and optical density moves along the stains alone.
    """
    b, h, w, _ = tiles.shape
    light = tiles.permute(0, 3, 1, 2).contiguous().float().flatten(2)
    density = light.clamp(min=1.0).div_(255.0).log_().neg_()
    stains = torch.tensor(STAINS, dtype=torch.float32, device=tiles.device)
    # only the change is computed, so that no change is exactly none: density @ unmix @ (scale - 1) @ stains
    change = torch.linalg.inv(stains) @ torch.diag_embed(scale - 1.0) @ stains
    tissue = density.mean(dim=1, keepdim=True).div_(TISSUE_DENSITY).clamp_(max=1.0)
    darker = torch.baddbmm(tissue * (shift @ stains).unsqueeze(2), change.transpose(1, 2), density)
    return (light * darker.neg_().exp_()).clamp_(max=255.0).view(b, 3, h, w).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Augmentation:
    """What one epoch does to its tiles, drawn beforehand: one row for every tile in the order of training.

    Attributes
    ----------
    turns
        Symmetry (n,) of each tile; None turns none.
    stains
        Scale and shift (n, 2, 3) of each tile's stains; None changes no colour.
    """

    turns: Tensor | None = None
    stains: Tensor | None = None

    @classmethod
    def draw(cls, kind: str, n: int, random: np.random.Generator, device: torch.device) -> Augmentation:
        """Draw for `n` tiles; `kind` is ``none``, ``mirror``, ``flips`` or ``flips+stain``.

        The numbers come from the CPU, so they are the same on every device.
        """
        if kind == "none":
            return cls()
        if kind not in ("mirror", "flips", "flips+stain"):
            raise ConfigError(f"augment must be one of none, mirror, flips, flips+stain; got {kind!r}.")
        if kind == "mirror":  # the columns reversed or not: what has an up and a down keeps it
            return cls(torch.from_numpy(random.integers(2, size=n)).to(device))
        turns = torch.from_numpy(random.integers(8, size=n)).to(device)
        if kind == "flips":
            return cls(turns)
        jitter = random.normal([[1.0], [0.0]], [[SCALE_SIGMA], [SHIFT_SIGMA]], (n, 2, 3))
        return cls(turns, torch.from_numpy(jitter.astype(np.float32)).to(device))

    def __call__(self, tiles: Tensor, at: slice) -> Tensor:
        """Return `tiles` (b, px, px, 3), the ones at `at` in the order of training, changed."""
        if self.turns is not None:
            tiles = turned(tiles, self.turns[at])
        if self.stains is not None:
            scale, shift = self.stains[at].unbind(dim=1)
            tiles = stained(tiles, scale, shift)
        return tiles

"""Tiles whose class hinges on how strongly they are stained: the same tissue, stained a little otherwise, gets another.

Laboratories and days stain differently, and training has seen a few of them. Where a tile changes its class under a
change of stain no further than twice the usual jitter of training, the class is no matter of the tissue alone.
Uncertainty need not show it: a network can be sure before and after.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from w2wpath.w2wnet.nets.augment import SCALE_SIGMA, SHIFT_SIGMA, stained

REACH = 2.0
"""Standard deviations of the jitter in training."""
DIRECTIONS = ((1, 1, 1), (-1, -1, -1), (1, -1, 0), (-1, 1, 0))
"""Signs of the change of haematoxylin, eosin and residue: darker, paler, bluer, redder. Each has its opposite here, so
that a slide that is off by one of them is tried the way back too."""


def restained(tiles: Tensor) -> Iterator[Tensor]:
    """Yield tiles (b, h, w, 3), RGB 0 to 255, stained otherwise in each of DIRECTIONS; uint8 of the same shape."""
    for direction in DIRECTIONS:
        sign = torch.tensor([direction], dtype=torch.float32, device=tiles.device).expand(len(tiles), 3)
        changed = stained(tiles, 1.0 + REACH * SCALE_SIGMA * sign, REACH * SHIFT_SIGMA * sign)
        yield changed.clamp(0, 255).round().to(torch.uint8)

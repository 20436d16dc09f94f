"""The interface of a rival: which networks it needs, and what it makes of them.

A module of this package that has a table ``RIVALS`` adds its rivals to every study and benchmark
(:mod:`~w2wpath.benchmarks.rivals.every`): a new method is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Kind = Literal["wise", "net", "trace"]
"""A Wise; a deterministic network; one that tells how it learned its training tiles."""


@dataclass(frozen=True)
class Piece:
    """A network that a rival needs: trained on `train`, asked about `test`, both (n,) masks of the training side."""

    kind: Kind
    name: str
    train: Mask
    test: Mask
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Rival:
    """A method of others that scores a fold's training tiles.

    Attributes
    ----------
    parts
        In how many parts the training side is dealt, by patient.
    pieces
        What it needs, from the part (n,) of each tile.
    judge
        From the cells of those pieces (of :mod:`~w2wpath.benchmarks.study.cells`), given labels (n,) and parts (n,):
        which tiles it leaves out, None where it has no cut of its own, and a score (n,), high where spurious.
    told_count
        It has no cut of its own, so it is told how many tiles are spurious, in its favour, and nothing else.
    package
        What must be installed for it; "" for nothing.
    """

    parts: int
    pieces: Callable[[NDArray[np.intp]], list[Piece]]
    judge: Callable[[Sequence[Any], NDArray[np.int16], NDArray[np.intp]], tuple[Mask | None, Floats]]
    told_count: bool = False
    package: str = ""

"""How many tiles go through a network at a time, and what happens when memory does not suffice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch

from w2wpath.errors import DeviceError
from w2wpath.w2wnet.nets.device import is_out_of_memory

T = TypeVar("T")


def cut(n: int, size: int) -> list[slice]:
    """Cut 0..n into parts of nearly equal size, at most `size`, but never below 2: BatchNorm needs two tiles.

    So an odd `n` in parts of 2 has one of 3.
    """
    parts = max(1, min(math.ceil(n / size), n // 2))
    edges = [n * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


@dataclass
class Parts:
    """The largest number of tiles that go through a network at a time.

    Attributes
    ----------
    size
        Tiles at a time. Halved each time that memory does not suffice, down to `least`.
    least
        2 in training, since BatchNorm needs two tiles; 1 otherwise.
    fixed
        The user has set it, so it is not changed.
    say
        Called with one line when `size` has become smaller.
    who
        The network, as messages name it: who it is, of which tiles, and where.
    """

    size: int
    least: int
    fixed: bool
    say: Callable[[str], None]
    who: str

    def run(self, n: int, attempt: Callable[[int], T], rewind: Callable[[], None]) -> T:
        """Return ``attempt(size)``, where `n` tiles are to be done in parts of at most `size`.

        When memory does not suffice, `size` is halved, `rewind` is called, and all `n` are done again.

        Raises
        ------
        DeviceError
            Memory does not suffice for the least number of tiles, or for the number that the user has set.
        """
        before = min(self.size, n)
        while (done := self._try(attempt)) is None:
            self._halve(n)
            rewind()
        if self.size < before:
            self.say(f"{self.who}: memory does not suffice for {before} tiles at a time; {self.size} are taken now.")
        return done[0]

    def _try(self, attempt: Callable[[int], T]) -> tuple[T] | None:
        try:
            return (attempt(self.size),)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # outside the handler, so that nothing refers to the activations any more
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _halve(self, n: int) -> None:
        at_a_time = min(self.size, n)
        if self.fixed and at_a_time > self.least:
            raise DeviceError(
                f"{self.who}: memory does not suffice for {at_a_time} tiles at a time. "
                "Lower --micro-batch, or leave it out to have the number found."
            )
        if at_a_time < 2 * self.least:
            few = f"{at_a_time} tile{'' if at_a_time == 1 else 's'}"
            raise DeviceError(
                f"{self.who}: memory does not suffice for {few} at a time, the fewest possible. "
                "Use smaller tiles, a smaller --backbone, or --device cpu."
            )
        self.size = at_a_time // 2

"""How long work reports itself, and is asked to stop: seams that the command line fills, and libraries leave empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Step = Callable[[int, str], None]
"""``step(done, note)``: `done` more units are finished; `note` is shown beside the bar."""

StopAsked = Callable[[], bool]
"""Tells whether long work shall stop where it can be taken up again."""


class Stopped(BaseException):
    """Work stopped because it was asked to; nothing is wrong. Its text says where."""


def never() -> bool:
    """Ask for no stop; the default of every library call."""
    return False


class Progress(Protocol):
    """Shows how far long work has come."""

    def track(self, what: str, total: int) -> AbstractContextManager[Step]:
        """Open one bar named `what` of `total` units; it closes with the context."""
        ...

    def say(self, line: str) -> None:
        """Show one line that the user should read now."""
        ...


class Silent:
    """Reports nothing; the default of every library call."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Step]:
        """Open a bar that nobody sees."""
        yield lambda done, note: None

    def say(self, line: str) -> None:
        """Drop the line."""

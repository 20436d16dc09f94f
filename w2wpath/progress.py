"""How long work reports itself: a seam that the command line fills with bars, and libraries leave silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Step = Callable[[int, str], None]
"""``step(done, note)``: `done` more units are finished; `note` is shown beside the bar."""


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

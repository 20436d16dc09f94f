"""SIGTERM and SIGINT let long work finish the epoch in hand, so that nothing of it is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from w2wpath.progress import StopAsked, Stopped

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping() -> Iterator[StopAsked]:
    """Give what tells whether a signal came; leave with code 128 + signal where the work stopped for it.

    A second signal ends the process at once, as without this.
    """
    came: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, before[signal.Signals(number)])
        # print may be in the middle of a line, and is not made to be called again meanwhile
        os.write(sys.stderr.fileno(), b"stopping after this epoch; once more stops at once\n")

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield lambda: bool(came)
    except Stopped as stopped:
        typer.echo(f"stopped {stopped}; run the same command again to go on", err=True)
        raise typer.Exit(128 + came[0]) from None
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])

"""What commands say: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from w2wpath.progress import Progress, Step

PLAIN_EVERY_S = 5.0
"""Seconds between the lines that stand in for a bar where stderr is not a terminal."""


class Bars:
    """Bars with the time left, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Step]:
        """Show one bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        # the fields are texts of ours and file names: markup in them must not be interpreted
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Rich(*columns, console=self._console) as bars:
            task = bars.add_task(what, total=total, note="")
            yield lambda done, note: bars.update(task, advance=done, note=note)

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        self._console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


class Lines:
    """Plain lines for logs: one every few seconds, and one at the end."""

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Step]:
        """Show a line now and then."""
        began = shown = time.monotonic()
        done_so_far, last_note = 0, ""

        def step(done: int, note: str) -> None:
            nonlocal shown, done_so_far, last_note
            done_so_far += done
            last_note = note
            now = time.monotonic()
            if now - shown >= PLAIN_EVERY_S and done_so_far < total:
                shown = now
                left = (now - began) / done_so_far * (total - done_so_far) if done_so_far else None
                time_left = f", {_clock(left)} left" if left is not None else ""
                self.say(f"{what}: {done_so_far}/{total}{time_left}{_after(note)}")

        yield step
        self.say(f"{what}: {done_so_far}/{total} in {_clock(time.monotonic() - began)}{_after(last_note)}")

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the command line speaks


def make_progress() -> Progress:
    """Return bars on a terminal, plain lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()


def tell(line: str = "") -> None:
    """Print one line of result to stdout."""
    print(line)  # noqa: T201 - the command line speaks


def warn(line: str) -> None:
    """Print one warning to stderr."""
    print(f"warning: {line}", file=sys.stderr)  # noqa: T201 - the command line speaks


def tell_json(summary: Mapping[str, Any]) -> None:
    """Print a machine-readable summary to stdout; NaN, which JSON has not, becomes null."""
    tell(json.dumps(_finite(summary), indent=1, default=str, allow_nan=False))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as aligned text; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float) for row in rows) and bool(rows) for i in range(len(header))]

    def line(parts: Sequence[str]) -> str:
        padded = (part.rjust(w) if r else part.ljust(w) for part, w, r in zip(parts, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *(line(row) for row in cells)])


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def _after(note: str) -> str:
    return f" ({note})" if note else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

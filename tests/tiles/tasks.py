"""Tasks for worker processes, which import them by name."""

from __future__ import annotations

import os
from pathlib import Path

from w2wpath.tiles.cohort import Job, Outcome, tile_slide


def tile_or_die(job: Job) -> Outcome:
    """Kill the process where the annotations are called so; else tile."""
    if job.entry.rois.name == "deadly.geojson":
        os._exit(9)
    return tile_slide(job)


def double(value: int) -> int:
    """Double; refuse 3."""
    if value == 3:
        raise ValueError("three")
    return 2 * value


def die_once(mark: str) -> str:
    """Kill the process that comes first; the next one finds the mark."""
    if not Path(mark).exists():
        Path(mark).touch()
        os._exit(9)
    return "second try"


def die(value: object) -> None:
    """Kill every process that takes it."""
    os._exit(9)


def process(value: object) -> int:
    """Tell in which process it runs."""
    return os.getpid()

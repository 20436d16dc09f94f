"""Make the cells of a study or a benchmark that are not there, each network once, and tell how long is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from w2wpath.benchmarks.study.cells import Work, copy, identity, is_made, make
from w2wpath.errors import W2wError
from w2wpath.progress import Progress
from w2wpath.tiles.distribute import WorkerLost, each

LOST = (
    "every worker process that took it died (out of memory?). Run the same command again, with fewer --workers: a "
    "Wise goes on at its last epoch."
)


def make_all(
    works: Sequence[Work],
    clock: TimeLeft,
    workers: int,
    progress: Progress,
    what: str,
    told: Callable[[Work], str] = lambda work: work.name,
    scheduler: str | None = None,
) -> dict[str, str]:
    """Make cells that are not there, by processes where there are several; return what went wrong, by cell as `told`.

    With a `scheduler` they are its tasks; its workers see the same files. Rows often ask for the same network: a list
    that removes nothing is that of row ``all``. It is trained once.
    """
    alike: dict[str, list[Work]] = {}
    made: dict[str, Work] = {}
    for work in works:
        if is_made(work):
            made[identity(work)] = work
        else:
            alike.setdefault(identity(work), []).append(work)
    missing = sum(len(group) for group in alike.values())
    if missing:
        progress.say(f"{what}: {missing} cells to make now, {len(works) - missing} are there")
    failed: dict[str, str] = {}
    for same in [one for one in alike if one in made]:
        failed |= _copied(made[same], alike.pop(same), progress, told)
    left = [group[0] for group in alike.values()]
    alone = scheduler is None and (workers <= 1 or len(left) <= 1)
    task = partial(make, progress=progress) if alone else make
    for work, result in each(task, list(left), workers=workers, scheduler=scheduler):
        left.remove(work)
        group = alike[identity(work)]
        if isinstance(result, BaseException):
            if not isinstance(result, (W2wError, WorkerLost)):
                raise result
            why = LOST if isinstance(result, WorkerLost) else str(result)
            failed |= {told(one): why for one in group}
            progress.say(f"{told(work)}: failed. {why}")
            continue
        clock.took(work, result)
        progress.say(f"{told(work)}: {result:.0f} s; {len(left)} left now{clock.told(left)}")
        failed |= _copied(work, group[1:], progress, told)
    return failed


def _copied(made: Work, works: Sequence[Work], progress: Progress, told: Callable[[Work], str]) -> dict[str, str]:
    failed: dict[str, str] = {}
    for work in works:
        try:
            copy(made, work)
        except W2wError as error:
            failed[told(work)] = str(error)
            progress.say(f"{told(work)}: failed. {error}")
        else:
            progress.say(f"{told(work)}: the same network as {told(made)}")
    return failed


class TimeLeft:
    """Estimates the time left from the cells done so far, each kind by itself."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._took: dict[str, list[float]] = {}

    def took(self, work: Work, seconds: float) -> None:
        """Note what a cell took."""
        self._took.setdefault(work.kind, []).append(seconds)

    def told(self, left: Sequence[Work]) -> str:
        """Tell the time that these cells will take; nothing where there is none left."""
        known = {kind: float(np.mean(seconds)) for kind, seconds in self._took.items()}
        rest = sum(known.get(work.kind, max(known.values())) for work in left) / self._workers
        return f", about {rest / 60:.0f} min" if left else ""

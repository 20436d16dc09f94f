"""Make the cells of a study or a benchmark that are not there, each network once, and tell how long is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from w2wpath.benchmarks.study.cells import Work, copy, identity, is_made, make, training
from w2wpath.errors import W2wError
from w2wpath.progress import Progress
from w2wpath.tiles.distribute import WorkerLost, each
from w2wpath.w2wnet.estimate import Pace, in_words

LOST = (
    "every worker process that took it died (out of memory?). Run the same command again, with fewer --workers: a "
    "Wise goes on at its last epoch."
)
FORWARDS = Pace(epoch_s=3.0, draw_s=1.0)
"""A step of training costs its forward and the two products of the backward pass."""


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

    The longest begin first, so that none is left for one process at the end while others idle. With a `scheduler` they
    are its tasks; its workers see the same files. Rows often ask for the same network: a list that removes nothing is
    that of row ``all``. Sets do, whose training tiles are the same. It is trained once.
    """
    missing: list[Work] = []
    made: dict[str, Work] = {}
    for work in works:
        if is_made(work):
            made[identity(work)] = work
        else:
            missing.append(work)
    if missing:
        progress.say(f"{what}: {len(missing)} cells to make now, {len(works) - len(missing)} are there")
    failed: dict[str, str] = {}
    alike: dict[str, dict[str, list[Work]]] = {}
    for work in missing:
        same = identity(work)
        if same in made:
            failed |= _copied(made[same], [work], progress, told)
        else:
            alike.setdefault(training(work), {}).setdefault(same, []).append(work)
    networks = [_with_twins([cells[0] for cells in group.values()]) for group in alike.values()]
    left = sorted(networks, key=forwards, reverse=True)
    alone = scheduler is None and (workers <= 1 or len(left) <= 1)
    task = partial(make, progress=progress) if alone else make
    for work, result in each(task, list(left), workers=workers, scheduler=scheduler):
        left.remove(work)
        group = alike[training(work)]
        if isinstance(result, BaseException):
            if not isinstance(result, (W2wError, WorkerLost)):
                raise result
            why = LOST if isinstance(result, WorkerLost) else str(result)
            failed |= {told(one): why for cells in group.values() for one in cells}
            progress.say(f"{told(work)}: failed. {why}")
            continue
        clock.took(work, result)
        progress.say(f"{told(work)}: {result:.0f} s; {len(left)} left now{clock.told(left)}")
        for twin in work.twins:
            progress.say(f"{told(twin)}: the same network as {told(work)}")
        for cells in group.values():
            failed |= _copied(cells[0], cells[1:], progress, told)
    return failed


def _with_twins(works: Sequence[Work]) -> Work:
    return replace(works[0], twins=tuple(works[1:]))


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


def forwards(work: Work) -> float:
    """Return what a cell costs with its twins, in forwards of one tile; of a Wise that never stops early, the most."""
    train, unseen = len(work.train), sum(len(one.test) for one in (work, *work.twins))
    if work.kind == "wise":
        return FORWARDS.fold_s(train, unseen, work.settings)
    return work.epochs * train * FORWARDS.epoch_s + unseen * FORWARDS.draw_s


class TimeLeft:
    """Estimates the time left from the cells done so far and what they cost."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._seconds = self._forwards = 0.0

    def took(self, work: Work, seconds: float) -> None:
        """Note what a cell took."""
        self._seconds += seconds
        self._forwards += forwards(work)

    def told(self, left: Sequence[Work]) -> str:
        """Tell the time that these cells will take; nothing where there is none left."""
        if not left:
            return ""
        costs = [forwards(work) for work in left]
        # no cell is shared by processes
        rest = max(sum(costs) / self._workers, max(costs)) * self._seconds / self._forwards
        return f", {in_words(rest)}"

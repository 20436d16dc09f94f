"""One task a slide: here, in processes of this machine, or on a dask.distributed scheduler."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from w2wpath.errors import ConfigError

T = TypeVar("T")
DEATHS_ALLOWED = 2
"""Workers that may die over a task before it is given up."""


class WorkerLost(Exception):
    """The processes that worked on a task died, more often than is allowed."""


def each(
    function: Callable[[T], Any], items: Sequence[T], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[tuple[T, Any]]:
    """Yield every item with what `function` returned for it, or the exception it raised, as they are done.

    A worker that dies costs its task a new try elsewhere; a task that kills its workers again yields
    :class:`WorkerLost`, and the others go on.

    Parameters
    ----------
    function
        Importable by name, its items and results can be pickled.
    workers
        Processes of this machine; 1 works in this process.
    scheduler
        Address of a dask.distributed scheduler, as ``tcp://host:8786``; `workers` is then not used.

    Raises
    ------
    ConfigError
        No scheduler answers at the address.
    """
    if scheduler is None and (workers <= 1 or len(items) <= 1):
        for item in items:
            yield item, _tried(function, item)
        return
    with _client(min(workers, len(items)), scheduler) as client:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        of_future = {client.submit(function, item, pure=False): item for item in items}
        for future in as_completed(of_future, loop=client.loop, raise_errors=False):
            error = future.exception()
            result = future.result() if error is None else error
            yield of_future[future], WorkerLost(str(result)) if isinstance(result, KilledWorker) else result


def worker_number() -> int | None:
    """Return which of `workers` this process is, from 0; None where it is none of them."""
    distributed = sys.modules.get("distributed")  # a worker has it loaded; loading it to ask would take a second
    try:
        name = None if distributed is None else distributed.get_worker().name
    except ValueError:
        return None
    return name if isinstance(name, int) else None


def _tried(function: Callable[[T], Any], item: T) -> Any:
    try:
        return function(item)
    except Exception as error:
        return error


def _client(workers: int, scheduler: str | None) -> Any:
    import logging

    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            return Client(scheduler, timeout="10s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ConfigError(
                f"--scheduler {scheduler}: no scheduler answers ({error}). Start one with `dask scheduler`, "
                "or use --workers."
            ) from None
    with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS_ALLOWED}):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # slides are read in bounded memory; a pause or kill by estimate would only get in the way
            silence_logs=logging.CRITICAL,
        )
    client = Client(cluster, set_as_default=False)
    client.register_plugin(_deaf())
    return _Local(cluster, client)


def _deaf() -> Any:
    """Return a plugin that makes workers ignore what a terminal or a queue tells every process of a command.

    The command itself hears it, and ends its workers; a worker that ends by itself would not be replaced.
    """
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)

    return Deaf()


class _Local:
    """A client that ends its cluster with itself."""

    def __init__(self, cluster: Any, client: Any) -> None:
        self._cluster, self._client = cluster, client

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *error: object) -> None:
        self._client.close()
        self._cluster.close()

"""The engine that makes reports: Dask, with an existing scheduler or workers on this machine.

Dask replaces a worker that dies, and gives its task to another one.
"""

from __future__ import annotations

import queue
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from cilium_analysis.errors import FleetUnavailable, ParameterError
from cilium_analysis.texts import clipped, line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from distributed import Client, Future

    Work = Callable[[Mapping[str, Any]], dict[str, Any]]

#: How long to wait for a scheduler, or for a worker when there is none [s].
PATIENCE = 60.0
#: Time between two checks whether there are workers [s].
PAUSE = 5.0
#: Least memory limit of a worker: a report and its libraries need more [bytes].
LEAST_MEMORY = 512 * 2**20
_REASON = 300
#: A worker that Dask pauses for its memory would stay paused. What Dask shows over HTTP is not for
#: everybody.
_LOCAL: dict[str, Any] = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.scheduler.allowed-failures": 2,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}


class Engine(Protocol):
    """Runs functions of plain values on workers."""

    def submit(self, work: Work, task: Mapping[str, Any], *, key: str, priority: int) -> None:
        """Submit a function; of two that wait, the one of higher priority runs first."""
        ...

    def completed(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Give the key of each function as it ends, and its answer, or why there is none.

        Ends when all have ended, also those that were submitted while iterating.
        """
        ...


class Dask:
    """Runs functions on the workers of a Dask scheduler.

    Parameters
    ----------
    client
        Connected to the scheduler.
    patience
        How long to wait for a worker when there is none left [s].
    """

    def __init__(self, client: Client, *, patience: float = PATIENCE) -> None:
        self._client = client
        self._patience = patience
        self._running: dict[str, Future] = {}
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._last_seen = time.monotonic()

    def submit(self, work: Work, task: Mapping[str, Any], *, key: str, priority: int) -> None:
        """Submit a function, as `Engine.submit`."""
        future = self._client.submit(work, dict(task), key=key, priority=priority, pure=False)
        self._running[key] = future
        future.add_done_callback(lambda _: self._ended.put(key))

    def completed(self) -> Iterator[tuple[str, dict[str, Any] | str]]:
        """Give what has ended, as `Engine.completed`. Gives up when no worker is left."""
        while self._running:
            try:
                key = self._ended.get(timeout=PAUSE)
            except queue.Empty:
                if self._seconds_without_worker() > self._patience:
                    left, self._running = self._running, {}
                    for key, future in left.items():
                        future.cancel()
                        yield key, f"the engine has had no worker for {self._patience:.0f} s"
                continue
            if (future := self._running.pop(key, None)) is not None:
                yield key, _answer(future)

    def _seconds_without_worker(self) -> float:
        try:
            workers = len(self._client.nthreads())
        except Exception:  # of any kind, if the scheduler is gone
            workers = 0
        if workers:
            self._last_seen = time.monotonic()
        return time.monotonic() - self._last_seen


def _answer(future: Future) -> dict[str, Any] | str:
    """Give the answer of a function, or why there is none: the functions never raise."""
    from distributed.scheduler import KilledWorker

    try:
        return dict(future.result(timeout=PATIENCE))
    except KilledWorker:
        return "the workers that made this report died one after the other: see their logs"
    except BaseException as problem:
        if isinstance(problem, KeyboardInterrupt | SystemExit):
            raise
        if future.cancelled():
            return "the engine has dropped this report: its scheduler is gone, or was restarted"
        text = clipped(line(str(problem)), _REASON)
        return f"a worker could not begin: {type(problem).__name__}: {text}"


@contextmanager
def connected(scheduler: str) -> Iterator[Dask]:
    """Use an existing Dask cluster.

    Parameters
    ----------
    scheduler
        Its address. For ``tls://`` Dask's own configuration names the certificates.

    Raises
    ------
    ParameterError
        If this is not an address, or Dask is not installed.
    FleetUnavailable
        If the scheduler does not answer, or has no worker.
    """
    distributed = _distributed()
    if not scheduler.startswith(("tcp://", "tls://", "ws://", "wss://", "ucx://")):
        raise ParameterError(
            f"--scheduler {scheduler!r} is no address of a scheduler: write tcp://host:8786"
        )
    try:
        client = distributed.Client(
            scheduler, timeout=PATIENCE / 4, set_as_default=False, name="cilium-analysis"
        )
    except (OSError, TimeoutError, ValueError) as problem:
        said = clipped(line(str(problem)), _REASON)
        raise FleetUnavailable(f"no Dask scheduler answers at {scheduler}: {said}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise FleetUnavailable(
                f"the scheduler at {scheduler} has no worker after {PATIENCE:.0f} s: start some"
            ) from None
        yield Dask(client)


@contextmanager
def local(*, workers: int, memory_limit: str) -> Iterator[Dask]:
    """Use workers on this machine, for as long as a block lasts.

    They listen on loopback only, and trust only each other's certificates: a scheduler runs any
    code that it is sent.

    Parameters
    ----------
    workers
        How many reports to make at a time.
    memory_limit
        Of each worker, such as ``2GiB``.

    Raises
    ------
    ParameterError
        If the limit is not valid, or Dask is not installed.
    """
    distributed = _distributed()
    import dask
    from dask.utils import parse_bytes
    from distributed.security import Security

    try:
        most = int(parse_bytes(memory_limit))
    except ValueError:
        most = -1
    if most < LEAST_MEMORY:
        raise ParameterError(
            f"--memory-limit {memory_limit!r} is no amount of memory, or less than a report needs:"
            " write it as 2GiB"
        )
    with (
        dask.config.set(_LOCAL),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=most,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield Dask(client)


def memory_of_this_worker() -> int:
    """Give the memory limit of the worker that runs this [bytes]; 0 if it has none."""
    from distributed import get_worker

    try:
        return int(get_worker().memory_manager.memory_limit or 0)
    except (AttributeError, ValueError):
        return 0


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ParameterError(
            "for a fleet, the package distributed is needed: pip install 'cilium-analysis[fleet]'"
        ) from None
    return distributed

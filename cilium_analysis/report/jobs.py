"""The jobs of a run, side by side: recording, and each notebook once what it needs is recorded."""

from __future__ import annotations

import heapq
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, Semaphore
from typing import TYPE_CHECKING

from cilium_analysis.report.execute import Executed, execute, unfinished
from cilium_analysis.report.kernel import Kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

#: What takes longest is not left for last, when there is nothing more to run beside it; but the
#: incident needs what the others load.
_LONGEST = ("agent_health", "drop_reasons", "endpoint_growth", "incident")


class Jobs:
    """Notebooks that run a few at a time: each is its own kernel process, which a thread waits for.

    Parameters
    ----------
    notebooks
        Their files.
    parameters
        Checked already.
    directory
        Where they run and are saved.
    number
        How many processes work at a time; who records in this one is one of them.
    progress
        Whether to show progress bars.
    """

    def __init__(
        self,
        notebooks: Sequence[Path],
        parameters: Mapping[str, str],
        directory: Path,
        *,
        number: int,
        progress: bool,
    ) -> None:
        # papermill changes the working directory of all threads for moments.
        self._files = {file.stem: file.absolute() for file in notebooks}
        self._parameters, self._directory = parameters, directory.absolute()
        self._progress = progress
        self._kernels = Kernels()
        self._pool = ThreadPoolExecutor(max_workers=number)
        self._slots = Semaphore(number)
        self._ready: list[tuple[int, str]] = []
        self._lock = Lock()
        self._jobs: list[Future[Executed]] = []

    def run(self, record: Callable[[Callable[[str], None]], None]) -> list[Executed]:
        """Record, and run the notebooks; give them in their order.

        Where somebody stops that, those that are done are kept; if none is, or not all is
        recorded, nothing is.

        Parameters
        ----------
        record
            Records what they need; is given what to call with each topic that can be run.

        Raises
        ------
        KeyboardInterrupt
            If somebody stopped it and nothing is kept.
        """
        recorded, done = False, {}
        try:
            self._kernels.prepare()
            self._record(record)
            recorded = True
            for job in self._jobs:
                job.result()
        except KeyboardInterrupt:
            # Not those that break off because their kernels are stopped now.
            done = self._done()
            if not (recorded and done):
                raise
        else:
            done = self._done()
        finally:
            self._stop()
        return [
            done.get(name) or unfinished(file, self._directory)
            for name, file in self._files.items()
        ]

    def _record(self, record: Callable[[Callable[[str], None]], None]) -> None:
        with self._slots:
            try:
                record(self._start)
            except BaseException:
                self._kernels.stop()  # before others get the slot
                raise

    def _start(self, topic: str) -> None:
        urgency = _LONGEST.index(topic) if topic in _LONGEST else len(_LONGEST)
        with self._lock:
            heapq.heappush(self._ready, (urgency, topic))
        self._jobs.append(self._pool.submit(self._next))

    def _next(self) -> Executed:
        """Run the notebook that is to be run first of those that can be."""
        with self._slots:
            with self._lock:
                _, topic = heapq.heappop(self._ready)
            self._kernels.load(topic, self._parameters, self._directory)
            return execute(
                self._files[topic],
                self._parameters,
                self._directory,
                kernels=self._kernels,
                progress=self._progress,
            )

    def _done(self) -> dict[str, Executed]:
        done = [job.result() for job in self._jobs if job.done()]
        return {one.topic: one for one in done}

    def _stop(self) -> None:
        self._kernels.stop()
        self._pool.shutdown(cancel_futures=True)
        # IPython leaves its checkpoints where notebooks run.
        shutil.rmtree(self._directory / ".ipynb_checkpoints", ignore_errors=True)

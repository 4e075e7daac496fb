"""Work in the background: what is begun later overtakes what was begun before, and can be stopped.

The thread that works never touches a widget: what it has is posted to where widgets live, and
shown there only if nothing newer was begun meanwhile.
"""

from __future__ import annotations

from functools import partial
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Post = Callable[[Callable[[], None]], object]


def posted(post: Post, call: Callable[..., None]) -> Callable[..., None]:
    """Have a function called where results are shown, so that one thing happens after another."""

    def later(*given: Any) -> None:
        post(partial(call, *given))

    return later


class Job:
    """One thing that is being done, until it is done, fails, or is given up."""

    def __init__(self) -> None:
        self._stopped = Event()
        self._give_up: list[Callable[[], None]] = []

    @property
    def stopped(self) -> bool:
        """Whether nobody wants it any more."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Go no further if nobody wants it any more.

        Raises
        ------
        Interrupted
            If so.
        """
        if self.stopped:
            raise Interrupted("stopped")

    def pause(self, seconds: float) -> None:
        """Wait between two tries, or break off as `check` does."""
        self._stopped.wait(seconds)
        self.check()

    def on_stop(self, give_up: Callable[[], None]) -> None:
        """Say what is to be done, in another thread, to end what is under way."""
        self._give_up.append(give_up)
        if self.stopped:
            give_up()

    def stop(self) -> None:
        """Give it up."""
        self._stopped.set()
        for give_up in self._give_up:
            give_up()


class Runner:
    """Does one thing at a time in the background; a newer one takes the place of an older.

    Parameters
    ----------
    post
        Calls a function where results are shown, such as the thread of the kernel's event loop.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._job: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being done."""
        return self._job is not None

    def start(
        self,
        work: Callable[[Job], Iterable[Any]],
        *,
        show: Callable[[Any], None],
        end: Callable[[Exception | None], None],
    ) -> None:
        """Begin something, and give up what was begun before.

        Parameters
        ----------
        work
            Runs in a thread, and yields what there is to show.
        show
            Gets each of it, where `post` calls.
        end
            Is called there when all is done, or with the error that ended it; not if it was
            stopped or overtaken.
        """
        self.stop()
        self._job = job = Job()
        name = "cilium-analysis-explorer"
        Thread(target=self._run, args=(job, work, show, end), name=name, daemon=True).start()

    def stop(self) -> bool:
        """Give up what is being done, at once; tells whether anything was."""
        job, self._job = self._job, None
        if job is not None:
            job.stop()
        return job is not None

    def _run(
        self,
        job: Job,
        work: Callable[[Job], Iterable[Any]],
        show: Callable[[Any], None],
        end: Callable[[Exception | None], None],
    ) -> None:
        problem: Exception | None = None
        try:
            for piece in work(job):
                job.check()
                self._post(partial(self._show, job, show, piece))
        except Interrupted:
            return
        except Exception as error:
            problem = error
        self._post(partial(self._end, job, end, problem))

    def _show(self, job: Job, show: Callable[[Any], None], piece: Any) -> None:
        if job is self._job:
            show(piece)

    def _end(
        self, job: Job, end: Callable[[Exception | None], None], problem: Exception | None
    ) -> None:
        if job is self._job:
            self._job = None
            end(problem)

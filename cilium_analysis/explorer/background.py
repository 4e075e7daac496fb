"""Work in the background: newer work replaces older work, and all of it can be stopped.

The thread that works never touches a widget: it posts its results to the thread of the widgets,
where they are shown only if no newer work has begun.
"""

from __future__ import annotations

from functools import partial
from threading import Event, Thread, get_ident
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import CiliumAnalysisError, Interrupted
from cilium_analysis.texts import line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Post = Callable[[Callable[[], None]], object]


def posted(post: Post, call: Callable[..., None]) -> Callable[..., None]:
    """Have a function called in the thread that shows results, after what was posted before."""

    def later(*given: Any) -> None:
        post(partial(call, *given))

    return later


def describe(problem: Exception) -> str:
    """Give the message of an error in one line; one that is not of this package is unexpected."""
    text = line(str(problem)) or type(problem).__name__
    return text if isinstance(problem, CiliumAnalysisError) else f"Unexpected: {text}"


class Quiet:
    """While a block lasts, changes in its thread are the explorer's own, not the user's.

    JupyterLab handles what is typed in a thread of its own where the kernel can do that
    (subshells, JEP 91), while results are shown in another.
    """

    def __init__(self) -> None:
        self._thread: int | None = None

    def __enter__(self) -> None:
        self._thread = get_ident()

    def __exit__(self, *_: object) -> None:
        self._thread = None

    def __bool__(self) -> bool:
        """Tell whether a change made now is the explorer's own."""
        return self._thread == get_ident()

    def unless(self, chosen: Callable[[Any], object]) -> Callable[[Mapping[str, Any]], None]:
        """Give an observer that passes on a new value only if the user chose it."""

        def observer(change: Mapping[str, Any]) -> None:
            if not self:
                chosen(change["new"])

        return observer


class Job:
    """One piece of work, until it is done, fails, or is stopped."""

    def __init__(self) -> None:
        self._stopped = Event()
        self._give_up: list[Callable[[], None]] = []

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopped.is_set()

    def check(self) -> None:
        """Go no further if it was stopped.

        Raises
        ------
        Interrupted
            If so.
        """
        if self.stopped:
            raise Interrupted("stopped")

    def pause(self, seconds: float) -> None:
        """Wait between two tries; stops as `check` does."""
        self._stopped.wait(seconds)
        self.check()

    def on_stop(self, give_up: Callable[[], None]) -> None:
        """Register what ends the work under way; it is called in another thread."""
        self._give_up.append(give_up)
        if self.stopped:
            give_up()

    def stop(self) -> None:
        """Stop the work."""
        self._stopped.set()
        for give_up in self._give_up:
            give_up()


class Runner:
    """Does one piece of work at a time; newer work replaces older work.

    Parameters
    ----------
    post
        Calls a function in the thread that shows results, such as that of the kernel's event
        loop.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._job: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return self._job is not None

    def start(
        self,
        work: Callable[[Job], Iterable[Any]],
        *,
        show: Callable[[Any], None],
        end: Callable[[Exception | None], None],
    ) -> None:
        """Begin some work, and stop what was begun before.

        Parameters
        ----------
        work
            Runs in a thread, and yields what there is to show.
        show
            Gets each result, in the thread that `post` calls in.
        end
            Is called there when all is done, or with the error that ended it; not if the work was
            stopped or replaced.
        """
        self.stop()
        self._job = job = Job()

        def shown(piece: Any) -> None:
            if job is self._job:
                show(piece)

        def ended(problem: Exception | None) -> None:
            if job is self._job:
                self._job = None
                end(problem)

        def run() -> None:
            problem: Exception | None = None
            try:
                for piece in work(job):
                    job.check()
                    self._post(partial(shown, piece))
            except Interrupted:
                return
            except Exception as error:
                problem = error
            self._post(partial(ended, problem))

        Thread(target=run, name="cilium-analysis-explorer", daemon=True).start()

    def stop(self) -> bool:
        """Stop the work at once; tells whether there was any."""
        job, self._job = self._job, None
        if job is not None:
            job.stop()
        return job is not None

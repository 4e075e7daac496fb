"""A moment after which nothing is waited for: of one request, or of a whole run."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

Found = TypeVar("Found")


@dataclass(frozen=True, order=True)
class Deadline:
    """A moment after which nothing is waited for. The earlier of two is the smaller.

    Parameters
    ----------
    at
        By the clock that nobody sets, `time.monotonic` [s]; never if infinite.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Give the moment so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def until(cls, moment: datetime) -> Self:
        """Give the deadline for an aware time, as one process tells it to another."""
        return cls.after(moment.timestamp() - time.time())

    @property
    def left(self) -> float:
        """Time until then [s]; negative once it has passed."""
        return self.at - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return self.left <= 0


NEVER = Deadline()


def within(
    work: Callable[[], Found], deadline: Deadline, *, give_up: Callable[[int], None]
) -> Found:
    """Give what some work returns, if it does so before a deadline.

    It runs in a thread of its own, since nothing else ends the wait for a server that drips its
    answer, or for a name that does not resolve.

    Parameters
    ----------
    work
        What may take too long.
    deadline
        After which nobody waits for it.
    give_up
        Is told the thread that nobody waits for any more, also after Ctrl-C.

    Raises
    ------
    TimeoutError
        If it did not return in time.
    """
    done: Future[Found] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as problem:
            done.set_exception(problem)

    thread = Thread(target=run, name="cilium-analysis-request", daemon=True)
    thread.start()
    try:
        return done.result(None if math.isinf(deadline.at) else max(deadline.left, 0.0))
    finally:
        if not done.done():
            give_up(thread.ident or 0)

"""Calls that wait for a server, several at a time."""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

Name = TypeVar("Name")
Found = TypeVar("Found")


def together(
    names: Iterable[Name], call: Callable[[Name], Found], *, number: int
) -> Generator[tuple[Name, Found], None, None]:
    """Call a function for each name, so many at a time; give each answer when it is there.

    The first error is raised at once, and so is an interrupt: nobody waits then for threads that
    wait for a server. They end with the answer that they wait for.

    Parameters
    ----------
    names
        What to call it with.
    call
        Is called in threads, whose context variables are those of the caller.
    number
        How many calls there are at the same time; with 1 there are no threads.
    """
    waiting: SimpleQueue[Name] = SimpleQueue()
    done: SimpleQueue[tuple[Name, Found] | BaseException] = SimpleQueue()
    wanted = list(names)
    for name in wanted:
        waiting.put(name)

    def work() -> None:
        try:
            for name in _taken(waiting):
                done.put((name, call(name)))
        except BaseException as problem:
            done.put(problem)

    threads = _started(work, min(number, len(wanted)))
    try:
        for _ in wanted:
            if not threads:
                name = waiting.get_nowait()
                yield name, call(name)
                continue
            answer = done.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        for _ in _taken(waiting):
            pass


def _taken(waiting: SimpleQueue[Name]) -> Iterator[Name]:
    with suppress(Empty):
        while True:
            yield waiting.get_nowait()


def _started(work: Callable[[], None], number: int) -> int:
    """Start so many threads, or as many as memory allows; none for one call at a time."""
    started = 0
    with suppress(RuntimeError):
        for _ in range(number if number > 1 else 0):
            Thread(target=copy_context().run, args=(work,), daemon=True).start()
            started += 1
    return started

"""Calls several at a time: answers as they come, the first error at once, nothing after it."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest

from cilium_analysis.together import together

WHO: ContextVar[str] = ContextVar("who")


@pytest.mark.parametrize("number", [0, 1, 3, 50])
def test_each_name_is_called_once(number: int) -> None:
    called: list[int] = []

    def call(name: int) -> int:
        called.append(name)
        return name * name

    found = dict(together(range(20), call, number=number))
    assert found == {n: n * n for n in range(20)}
    assert sorted(called) == list(range(20))


def test_so_many_are_under_way_at_a_time() -> None:
    three = threading.Barrier(3, timeout=10)
    assert len(list(together("abcdef", lambda _: three.wait(), number=3))) == 6


def test_nothing_is_called_without_a_name() -> None:
    assert list(together([], lambda _: 1 / 0, number=4)) == []


def test_threads_have_the_context_of_who_calls() -> None:
    WHO.set("caller")
    assert [who for _, who in together("abc", lambda _: WHO.get(), number=2)] == ["caller"] * 3


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_is_raised_at_once_and_ends_it(number: int, error: type[BaseException]) -> None:
    begun, ends = [], threading.Event()

    def call(name: int) -> int:
        begun.append(name)
        if name == 0:
            raise error
        assert ends.wait(10)
        return name

    with pytest.raises(error):
        list(together(range(9), call, number=number))
    assert set(begun) <= {0, 1}
    ends.set()


def test_who_looks_at_no_more_answers_has_no_more_asked() -> None:
    begun: list[int] = []
    may = threading.Semaphore(1)

    def call(name: int) -> None:
        begun.append(name)
        assert may.acquire(timeout=10)

    before = set(threading.enumerate())
    answers = together(range(1000), call, number=2)
    next(answers)
    answers.close()
    may.release(1000)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert len(begun) <= 4

"""What a source has answered is asked for once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Event

import pandas as pd
import pytest

from cilium_analysis import frames
from cilium_analysis.errors import QueryRejected
from cilium_analysis.memory import SETTLING, Remembering
from cilium_analysis.window import Window
from tests.sources import MemorySource, grid

WINDOW = Window(
    datetime(2026, 3, 21, 8, tzinfo=UTC),
    datetime(2026, 3, 21, 9, tzinfo=UTC),
    timedelta(seconds=30),
)
LATER = Window(WINDOW.end, WINDOW.end + WINDOW.length, WINDOW.step)
UP = grid(WINDOW, {("a",): 1.0, ("b",): 2.0}, "node")
PATIENCE = 20


class Counting(MemorySource):
    """Counts what it is asked, and waits to be let go."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.asked: list[str] = []
        self.reached, self.gate = Event(), Event()
        self.gate.set()

    def _answer(self, promql: str, window: Window | None) -> pd.DataFrame:
        self.asked.append(promql)
        self.reached.set()
        assert self.gate.wait(PATIENCE)
        return super()._answer(promql, window).copy()


def test_the_same_question_is_asked_once_and_costs_nothing_again() -> None:
    source = Counting({"up": UP}, warnings=("partial answer",))
    memory = Remembering(source)
    first, again = memory.range("up", WINDOW), memory.range("up", WINDOW)
    pd.testing.assert_frame_equal(first, UP)
    pd.testing.assert_frame_equal(again, UP)
    assert source.asked == ["up"]
    asked, free = memory.journal
    assert (free.series, free.samples, free.warnings) == (2, 242, ("partial answer",))
    assert (asked.bytes, asked.seconds) == (100, 0.5)
    assert (free.bytes, free.seconds) == (0, 0.0)
    assert memory.journal is source.journal


def test_other_queries_windows_steps_and_moments_are_other_questions() -> None:
    source = Counting({"up": UP})
    memory = Remembering(source)
    coarser = Window(WINDOW.start, WINDOW.end, timedelta(seconds=60))
    for promql, window in (("up", WINDOW), ("up ", WINDOW), ("up", LATER), ("up", coarser)):
        memory.range(promql, window)
    for moment in (WINDOW.start, WINDOW.end, WINDOW.end):
        memory.instant("up", moment)
    assert len(source.asked) == 6


def test_the_zone_of_the_reader_is_no_other_question() -> None:
    source = Counting({"up": UP})
    memory = Remembering(source)
    memory.range("up", WINDOW)
    memory.range("up", Window(WINDOW.start, WINDOW.end, WINDOW.step, timezone="Asia/Tokyo"))
    assert source.asked == ["up"]


def test_what_a_user_does_to_a_frame_stays_with_the_user() -> None:
    memory = Remembering(Counting({"up": UP}))
    for _ in range(2):
        frame = memory.range("up", WINDOW)
        frame.iloc[0, 0] = 99.0
        frame.columns.names = ["changed"]
        frame.index.name = "changed"
        del frame[frame.columns[0]]
    pd.testing.assert_frame_equal(memory.range("up", WINDOW), UP)


def test_two_threads_that_ask_the_same_ask_once() -> None:
    source = Counting({"up": UP})
    memory = Remembering(source)
    source.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(memory.range, "up", WINDOW) for _ in range(4)]
        assert source.reached.wait(PATIENCE)
        source.gate.set()
        for frame in [one.result(PATIENCE) for one in asking]:
            pd.testing.assert_frame_equal(frame, UP)
    assert source.asked == ["up"]
    assert len(memory.journal) == 4
    assert sum(record.bytes for record in memory.journal) == 100


def test_a_refusal_is_not_remembered() -> None:
    source = Counting({"up": UP}, error=QueryRejected("no"))
    memory = Remembering(source)
    for _ in range(2):
        with pytest.raises(QueryRejected):
            memory.range("up", WINDOW)
    source.error = None
    pd.testing.assert_frame_equal(memory.range("up", WINDOW), UP)
    assert len(source.asked) == 3


def test_who_waits_for_one_that_is_stopped_asks_for_himself() -> None:
    source = Counting({"up": UP}, error=KeyboardInterrupt())
    memory = Remembering(source)
    source.gate.clear()

    def stopped() -> None:
        with pytest.raises(KeyboardInterrupt):
            memory.range("up", WINDOW)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(stopped)
        assert source.reached.wait(PATIENCE)
        source.reached.clear()
        second = pool.submit(stopped)
        source.gate.set()
        first.result(PATIENCE)
        second.result(PATIENCE)
    source.error = None
    pd.testing.assert_frame_equal(memory.range("up", WINDOW), UP)
    assert len(source.asked) == 3


def test_what_was_not_used_for_longest_is_forgotten_first() -> None:
    answers = {name: grid(WINDOW, {("a",): 1.0}, "node") for name in "abc"}
    one = Remembering(Counting(answers))
    one.range("a", WINDOW)
    source = Counting(answers)
    memory = Remembering(source, most=one.size * 2)
    for name in "abacab":
        memory.range(name, WINDOW)
    assert source.asked == ["a", "b", "c", "b"]
    assert 0 < memory.size <= memory.most
    memory.forget()
    assert memory.size == 0


def test_what_is_larger_than_the_memory_is_answered_all_the_same() -> None:
    source = Counting({"up": UP})
    memory = Remembering(source, most=10)
    for _ in range(2):
        pd.testing.assert_frame_equal(memory.range("up", WINDOW), UP)
    assert len(source.asked) == 2
    assert memory.size == 0


def test_an_answer_about_the_present_is_asked_for_again_when_it_has_settled() -> None:
    now = [WINDOW.end + timedelta(seconds=1)]
    source = Counting({"up": UP})
    memory = Remembering(source, clock=lambda: now[0])
    for later in (0, 60):
        now[0] += timedelta(seconds=later)
        memory.range("up", WINDOW)
    assert len(source.asked) == 1
    now[0] += SETTLING
    for _ in range(2):
        memory.range("up", WINDOW)
    assert len(source.asked) == 2


def test_an_empty_answer_is_an_answer() -> None:
    source = Counting()
    memory = Remembering(source)
    for _ in range(2):
        pd.testing.assert_frame_equal(memory.range("absent", WINDOW), frames.empty())
    assert source.asked == ["absent"]

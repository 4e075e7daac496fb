"""The answers of a source, kept in memory for a session, so that each query is asked once."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING

from cilium_analysis.source import Record, Relay, computes, followed, note

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

    #: The last tells whether a recording may compute the answer.
    Key = tuple[str, Window | datetime, bool]

#: After its end, a window still gains samples for so long: scrapes are written late, and the
#: newest 30 s of VictoriaMetrics are not real.
SETTLING = timedelta(minutes=2)


class Remembering(Relay):
    """A source that passes on the answers of another, and remembers them.

    A query that is repeated is answered from memory, and recorded in the journal at no cost; one
    that two threads ask at the same time is asked once. Refusals and failures are not remembered.
    An answer about the last two minutes is asked for once more when they have passed.

    Parameters
    ----------
    source
        Whose answers to remember.
    most
        Size of all remembered answers [bytes]; the least recently used is forgotten first.
    clock
        Gives the time.
    """

    def __init__(
        self,
        source: Source,
        *,
        most: int = 1 << 29,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(source)
        self.most = most
        self._clock = clock
        self._lock = Lock()
        self._held: OrderedDict[Key, _Answer] = OrderedDict()
        self._asked: dict[Key, Future[_Answer | None]] = {}

    def __repr__(self) -> str:
        return f"Remembering({self.source!r})"

    @property
    def size(self) -> int:
        """Size of all remembered answers [bytes]."""
        with self._lock:
            return sum(answer.size for answer in self._held.values())

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Answer a range query from memory, or pass it on; errors are those of the source."""
        key = (promql, window, computes())
        return self._answer(key, lambda: self.source.range(promql, window), window)

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Answer an instant query from memory, or pass it on; errors are those of the source."""
        key = (promql, moment, False)
        return self._answer(key, lambda: self.source.instant(promql, moment), None)

    def forget(self) -> None:
        """Forget all answers."""
        with self._lock:
            self._held.clear()

    def _answer(
        self, key: Key, ask: Callable[[], pd.DataFrame], window: Window | None
    ) -> pd.DataFrame:
        own: Future[_Answer | None] = Future()
        try:
            while True:
                with self._lock:
                    answer = self._kept(key)
                    asked = self._asked.setdefault(key, own) if answer is None else own
                if answer is None and asked is own:
                    return self._ask(key, ask, window, own)
                # If another thread was stopped, it has no answer: this one asks then.
                answer = answer or asked.result()
                if answer is not None:
                    note(self, replace(answer.record, bytes=0, seconds=0.0))
                    return answer.frame.copy()
        finally:
            # Whatever stopped this, Ctrl-C too, no thread may wait for it any longer.
            self._leave(key, own)

    def _ask(
        self,
        key: Key,
        ask: Callable[[], pd.DataFrame],
        window: Window | None,
        own: Future[_Answer | None],
    ) -> pd.DataFrame:
        """Ask the source; threads that wait for the same get the answer, or the error."""
        at = self._clock()
        try:
            with followed() as said:
                frame = ask()
        except Exception as problem:
            own.set_exception(problem)
            raise
        samples = int(frame.notna().to_numpy().sum())
        records = [*said.records] or [Record(key[0], window, frame.shape[1], samples, 0, 0.0)]
        answer = _Answer(frame, records[-1], _size(frame), at)
        self._keep(key, answer)
        own.set_result(answer)
        return frame.copy()

    def _leave(self, key: Key, own: Future[_Answer | None]) -> None:
        with self._lock:
            if self._asked.get(key) is own:
                del self._asked[key]
        if not own.done():
            own.set_result(None)

    def _kept(self, key: Key) -> _Answer | None:
        """Look an answer up; the lock is held."""
        answer = self._held.get(key)
        if answer is None:
            return None
        settled = (key[1] if isinstance(key[1], datetime) else key[1].end) + SETTLING
        if answer.at < settled <= self._clock():
            del self._held[key]
            return None
        self._held.move_to_end(key)
        return answer

    def _keep(self, key: Key, answer: _Answer) -> None:
        if answer.size > self.most:
            return
        with self._lock:
            self._held[key] = answer
            size = sum(one.size for one in self._held.values())
            while size > self.most:
                size -= self._held.popitem(last=False)[1].size


@dataclass(frozen=True)
class _Answer:
    """A frame that is not shared, its record, its size [bytes], and the time of asking."""

    frame: pd.DataFrame
    record: Record
    size: int
    at: datetime


def _size(frame: pd.DataFrame) -> int:
    """Give the size of a label frame; its values are one block, which is faster than by column."""
    labels = int(frame.columns.memory_usage(deep=True))
    return frame.to_numpy().nbytes + int(frame.index.memory_usage()) + labels

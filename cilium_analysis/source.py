"""What answers queries, a server or a bundle, and the journal that each keeps of its answers."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from cilium_analysis.errors import AnswerIncomplete, QueryRejected, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from datetime import datetime

    import pandas as pd

    from cilium_analysis.window import Window

Key = TypeVar("Key", bound="Hashable")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Record:
    """One answer, for the journal.

    Parameters
    ----------
    promql
        The query as it was sent.
    window
        Of a range query; None for a query at one instant.
    series, samples
        Counts of what came back.
    bytes
        Of the answer's body as JSON, before any compression.
    seconds
        From asking to the finished frame [s].
    warnings
        All the server said beside the data (warnings and infos), and what was left out:
        truncation, partial answers, histograms.
    """

    promql: str
    window: Window | None
    series: int
    samples: int
    bytes: int
    seconds: float
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Give the record as JSON-ready values; times as ISO 8601 in UTC."""
        plain = asdict(self) | {"warnings": list(self.warnings), "window": None}
        if self.window is not None:
            plain["window"] = window_as_json(self.window)
        return plain


@dataclass
class Said:
    """What a source said while somebody followed it.

    Parameters
    ----------
    records
        Of its answers, each once, in the order in which they came.
    refusals
        What it refused, as `cilium_analysis.topics.answers.Refusal`; likewise.
    """

    records: dict[Record, None] = field(default_factory=dict)
    refusals: dict[Any, None] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the server said beside its answers, each thing once."""
        return tuple(sorted({text for record in self.records for text in record.warnings}))


#: Who follows what sources say in this thread.
_FOLLOWERS: ContextVar[tuple[Said, ...]] = ContextVar("followers", default=())


@contextmanager
def followed() -> Iterator[Said]:
    """Collect what sources say in this thread until the block ends; other threads do not count."""
    said = Said()
    token = _FOLLOWERS.set((*_FOLLOWERS.get(), said))
    try:
        yield said
    finally:
        _FOLLOWERS.reset(token)


def tell(*, records: Iterable[Record] = (), refusals: Iterable[Any] = ()) -> None:
    """Tell those who follow in this thread what a source said, now or when it was first asked."""
    for said in _FOLLOWERS.get():
        said.records |= dict.fromkeys(records)
        said.refusals |= dict.fromkeys(refusals)


def note(source: Source, record: Record) -> None:
    """Write an answer into the journal of its source, and tell those who follow."""
    source.journal.append(record)
    tell(records=[record])


def window_as_json(window: Window) -> dict[str, Any]:
    """Give a window as JSON-ready values, as findings, bundles and runs store it."""
    return {
        "start": iso(window.start),
        "end": iso(window.end),
        "step_seconds": window.step.total_seconds(),
    }


def iso(moment: datetime) -> str:
    """Write an aware UTC time as ``2026-03-21T08:00:00Z``, with milliseconds if it has any."""
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


class Source(Protocol):
    """What topics load their frames from. `Prometheus` and `Bundle` are such sources."""

    @property
    def name(self) -> str:
        """Where the numbers come from, for people; without credentials."""
        ...

    @property
    def server(self) -> Mapping[str, str]:
        """What the server says of itself: ``application``, ``version``, …; empty if unknown."""
        ...

    @property
    def journal(self) -> list[Record]:
        """One record per answer so far, in the order of asking."""
        ...

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Evaluate a query at every point of a window: a label frame."""
        ...

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Evaluate a query at one moment: a label frame of one row (none if nothing is there)."""
        ...

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        """List the exemplars of the series that a query selects: ``time``, ``value``, labels."""
        ...


@contextmanager
def weighed(source: Source, promql: str = "") -> Iterator[None]:
    """Tell a query that is too much for a server from a server that is lost.

    Whoever asks much can do without one answer, but not without a server.

    Parameters
    ----------
    source, promql
        What is asked what.

    Raises
    ------
    QueryRejected
        If the query is not answered, and others are.
    """
    try:
        yield
    except (AnswerIncomplete, ServerUnavailable) as problem:
        if not getattr(source, "is_alive", bool)():
            raise
        refused = QueryRejected(f"{problem}; other queries are answered")
        refused.promql, refused.reason = promql, problem.why
        raise refused from None


def at_once(source: Source) -> int:
    """Give how many questions a source takes at the same time: one of a recording."""
    while isinstance(source, Relay):
        source = source.source
    return int(getattr(source, "concurrency", 1))


_is_shared = False


def share() -> None:
    """Share from now on what is found out about a recording among all who read it.

    For a process that others are forked from, whose recordings do not change.
    """
    global _is_shared
    _is_shared = True


def _recording(source: Source) -> Path | None:
    while isinstance(source, Relay):
        source = source.source
    directory = getattr(source, "directory", None)
    return directory.resolve() if _is_shared and isinstance(directory, Path) else None


class Once(Generic[Key, Found]):
    """Finds out once per source what several topics need, whichever thread comes first.

    Those who follow are told of the answers that it rests on each time.

    Parameters
    ----------
    only_shared
        Whether it is found out each time unless it is shared, see `share`.
    """

    def __init__(self, *, only_shared: bool = False) -> None:
        self._only_shared = only_shared
        self._lock = Lock()
        self._of_sources: WeakKeyDictionary[Source, _Held[Key, Found]] = WeakKeyDictionary()
        self._of_recordings: dict[Path, _Held[Key, Found]] = {}

    def __call__(
        self,
        source: Source,
        key: Key,
        ask: Callable[[], Found],
        *,
        fits: Callable[[Key], bool] | None = None,
    ) -> Found:
        """Give what was found out, the newest first, or find it out.

        Parameters
        ----------
        source
            What is asked.
        key
            What it is about.
        ask
            Asks the source.
        fits
            Tells whether what was found out about another key will do.
        """
        recording = _recording(source)
        if recording is None and self._only_shared:
            return ask()
        with self._lock:
            held = (
                self._of_sources.setdefault(source, _Held())
                if recording is None
                else self._of_recordings.setdefault(recording, _Held())
            )
        with held.lock:
            for known in reversed(held.found):
                if fits(known) if fits else known == key:
                    found, said = held.found[known]
                    there = set(source.journal) if recording else {}
                    for record in said.records if recording else ():
                        if record not in there:
                            source.journal.append(record)
                    tell(records=said.records, refusals=said.refusals)
                    return found
            with followed() as said:
                found = ask()
            held.found[key] = found, said
            return found

    def holds(self, found: object) -> bool:
        """Tell whether something was found out about a recording, and is shared."""
        each = (one for held in self._of_recordings.values() for one, _ in held.found.values())
        return any(one is found for one in each)


@dataclass
class _Held(Generic[Key, Found]):
    lock: RLock = field(default_factory=RLock)
    found: dict[Key, tuple[Found, Said]] = field(default_factory=dict)


#: Whether a recording gives only what was recorded, in this thread.
_AS_RECORDED: ContextVar[bool] = ContextVar("as_recorded", default=False)


@contextmanager
def as_recorded() -> Iterator[None]:
    """While the block lasts, recordings compute nothing in this thread: all topics ask so.

    What people ask by themselves, `cilium_analysis.bundle.Bundle` may compute from what it holds.
    A report never rests on that.
    """
    token = _AS_RECORDED.set(True)
    try:
        yield
    finally:
        _AS_RECORDED.reset(token)


def computes() -> bool:
    """Tell whether a recording may compute an answer now, see `as_recorded`."""
    return not _AS_RECORDED.get()


@dataclass(frozen=True)
class Sums:
    """A cheaper way to the answer of a query about what counters gained in each step.

    Parameters
    ----------
    promql
        The query; what it gives are sums over counters.
    total
        The same sums of the counters themselves.
    broken
        At the end of some steps: how many counters vanished or began again in them.
    steps
        How many steps.
    unsteady
        Points of time at which a target came, went, or started again since the one before.
    """

    promql: str
    total: str
    broken: str
    steps: int
    unsteady: pd.DatetimeIndex


#: The cheaper way to what is asked for next, in this thread.
_SUMS: ContextVar[Sums | None] = ContextVar("sums", default=None)


@contextmanager
def summed(sums: Sums) -> Iterator[None]:
    """While the block lasts, a server may answer a query in this thread by sums."""
    token = _SUMS.set(sums)
    try:
        yield
    finally:
        _SUMS.reset(token)


def sums_for(promql: str) -> Sums | None:
    """Give the cheaper way to the answer of a query, if there is one, see `summed`."""
    sums = _SUMS.get()
    return sums if sums is not None and sums.promql == promql else None


def recorded_range(source: Source, promql: str, window: Window) -> pd.DataFrame:
    """Ask a range query, which a recording answers only if it was recorded."""
    with as_recorded():
        return source.range(promql, window)


class Relay:
    """A source that passes questions on to another; what is more to it, its kinds add.

    Parameters
    ----------
    source
        What really answers.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        """Name of the source that really answers."""
        return self.source.name

    @property
    def server(self) -> Mapping[str, str]:
        """What the server that really answers says of itself."""
        return self.source.server

    @property
    def journal(self) -> list[Record]:
        """Journal of the source that really answers."""
        return self.source.journal

    @property
    def recorded(self) -> tuple[Window, ...]:
        """Windows that a recording was made for; none of a server."""
        return tuple(getattr(self.source, "recorded", ()))

    def is_alive(self) -> bool:
        """Tell whether the source that really answers does so."""
        return bool(getattr(self.source, "is_alive", bool)())

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Pass a range query on."""
        return self.passed(lambda: self.source.range(promql, window))

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Pass an instant query on."""
        return self.passed(lambda: self.source.instant(promql, moment))

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        """Pass a question for exemplars on."""
        return self.passed(lambda: self.source.exemplars(promql, window))

    def passed(self, ask: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Give what the other source answers."""
        return ask()

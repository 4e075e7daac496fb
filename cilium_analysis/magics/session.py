"""What the magics of a session share: source, window, memory, and the names to complete."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from cilium_analysis.bundle import Bundle
from cilium_analysis.config import SOURCE_VARIABLE, read_config
from cilium_analysis.connection import connect
from cilium_analysis.errors import CiliumAnalysisError, SourceError, UsageError
from cilium_analysis.memory import Remembering
from cilium_analysis.metrics import find, known
from cilium_analysis.metrics.known import CONTEXT
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.times import format_duration
from cilium_analysis.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cilium_analysis.source import Source

#: Types of the variables that ``--source`` can name.
SOURCES = (Prometheus, Bundle, Remembering)
#: The longest that a completion waits for a source [s]; a later one finds the answer ready.
PATIENCE = 0.8
#: For so long an answer is used again [s].
_FRESH = 300.0
#: For so long a source that failed is not asked again [s].
_AFTER_FAILURE = 20.0
#: Labels that scraping adds to Cilium's own, depending on how Prometheus is set up.
_SCRAPED = ("instance", "job", "k8s_app", "namespace", "node", "pod")
_HUBBLE_CONTEXT = ("destination", "source")
_HISTOGRAM = ("_bucket", "_count", "_sum")


@dataclass(frozen=True)
class Choice:
    """Where and when a query is asked; empty where nothing was chosen.

    Parameters
    ----------
    source
        An address as for `cilium_analysis.connect`, or the name of a variable that holds a source.
    start, end, step, timezone
        As for `Window.parse`.
    """

    source: str = ""
    start: str = ""
    end: str = ""
    step: str = ""
    timezone: str = ""

    def over(self, other: Choice) -> Choice:
        """Give this choice, and the other's where this one is empty.

        A start of its own does not take the other's end, which would be of another window.
        """
        base = replace(other, end="", step="") if self.start and not self.end else other
        own = {name: text for name, text in vars(self).items() if text}
        return replace(base, **own)


@dataclass
class Session:
    """What stays between two queries."""

    choice: Choice = field(default_factory=Choice)
    _sources: dict[str, Remembering] = field(default_factory=dict)
    _vocabularies: dict[tuple[int, Choice], Vocabulary] = field(default_factory=dict)

    def source(self, address: str, names: Mapping[str, Any]) -> Remembering:
        """Give a source that remembers its answers.

        Parameters
        ----------
        address
            As in `Choice`; if empty, that of the environment variable ``CILIUM_ANALYSIS_SOURCE``,
            or of the file ``cilium-analysis.toml`` beside the notebook.
        names
            The user's variables.

        Raises
        ------
        SourceError
            If there is no such source, or none is named.
        """
        held = names.get(address)
        if isinstance(held, SOURCES):
            return self._remembering(f"variable {id(held)}", held)
        if not address:
            # Never the sample for want of another.
            config = read_config(Path())
            address = os.environ.get(SOURCE_VARIABLE, "") or (config.source if config else "")
        if not address:
            hint = "%promql --source http://prometheus:9090 (or a bundle's directory, or sample)"
            raise SourceError(f"no source is chosen: begin with {hint}")
        if address not in self._sources:
            return self._remembering(address, connect(address))
        return self._sources[address]

    def _remembering(self, key: str, source: Source) -> Remembering:
        if key not in self._sources:
            own = source if isinstance(source, Remembering) else Remembering(source)
            self._sources[key] = own
        return self._sources[key]

    def vocabulary(self, choice: Choice, names: Mapping[str, Any]) -> Vocabulary:
        """Give the names to complete; without a source, the known ones of Cilium.

        Parameters
        ----------
        choice
            Where and when the query is asked.
        names
            The user's variables.
        """
        try:
            source = self.source(choice.source, names).source
        except UsageError:
            return Vocabulary(None)
        key = (id(source), choice)
        if key not in self._vocabularies:
            lists = source if isinstance(source, Lists) else None
            self._vocabularies[key] = Vocabulary(lists, lambda: _window_or_none(choice, source))
        return self._vocabularies[key]


def _window_or_none(choice: Choice, source: Source) -> Window | None:
    try:
        return window(choice, source)
    except UsageError:
        return None


def window(choice: Choice, source: Source) -> Window:
    """Give the window of a choice; by default that of a bundle, or the last two hours.

    Raises
    ------
    WindowError
        If it cannot be read.
    """
    inner = source.source if isinstance(source, Remembering) else source
    if isinstance(inner, Bundle) and not choice.start:
        held = inner.window
        return Window.parse(
            held.start.isoformat(),
            choice.end or held.end.isoformat(),
            step=choice.step or format_duration(held.step),
            timezone=choice.timezone or held.timezone,
        )
    return Window.parse(
        choice.start or "-2h",
        choice.end or "now",
        step=choice.step,
        timezone=choice.timezone or "UTC",
    )


@runtime_checkable
class Lists(Protocol):
    """A source that lists its names; `Prometheus` and `Bundle` do."""

    def label_names(self, *, match: str = "", window: Window | None = None) -> list[str]:
        """List the names of labels."""
        ...

    def label_values(
        self, name: str, *, match: str = "", window: Window | None = None
    ) -> list[str]:
        """List the values of a label."""
        ...


@dataclass
class Vocabulary:
    """The names to complete: those of the source, and the known ones of Cilium's metrics.

    The source is asked in the background, so that a completion never waits for long.

    Parameters
    ----------
    source
        That lists its names; None if there is none, or it cannot.
    window
        Gives the window in which the names occur.
    clock
        Gives seconds.
    """

    source: Lists | None
    window: Callable[[], Window | None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    _held: dict[tuple[str, str], tuple[float, Future[list[str]]]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def metrics(self) -> list[str]:
        """Give the names of series: the source's own, or those of Cilium if it lists none."""
        listed = self._values("__name__", "")
        if listed:
            return listed
        return [
            f"{metric.name}{end}"
            for metric in known().values()
            for end in (_HISTOGRAM if metric.kind == "histogram" else ("",))
        ]

    def labels(self, metric: str) -> list[str]:
        """Give the names of labels, of a metric if one is named."""
        source = self.source
        listed = (
            self._ask(("", metric), lambda: source.label_names(match=metric, window=self.window()))
            if source is not None
            else []
        )
        return sorted((set(listed) or _known_labels(metric)) - {"__name__"})

    def values(self, label: str, metric: str) -> list[str]:
        """Give the values of a label, with a metric if one is named."""
        return self.metrics() if label == "__name__" else self._values(label, metric)

    def _values(self, label: str, metric: str) -> list[str]:
        source = self.source
        if source is None:
            return []
        return self._ask(
            (label, metric),
            lambda: source.label_values(label, match=metric, window=self.window()),
        )

    def _ask(self, key: tuple[str, str], ask: Callable[[], list[str]]) -> list[str]:
        """Ask in the background, and wait a little; nothing if there is no answer by then."""
        now = self.clock()
        with self._lock:
            until, answer = self._held.get(key, (0.0, None))
            if answer is None or (answer.done() and until < now):
                answer = Future()
                self._held[key] = (now + _FRESH, answer)
                Thread(target=self._fill, args=(key, answer, ask), daemon=True).start()
        try:
            return answer.result(PATIENCE)
        except TimeoutError:
            return []

    def _fill(
        self, key: tuple[str, str], answer: Future[list[str]], ask: Callable[[], list[str]]
    ) -> None:
        try:
            found = ask()
        except (CiliumAnalysisError, OSError, ValueError):
            # A completion cannot show an error; the query that is run will.
            found = []
            with self._lock:
                self._held[key] = (self.clock() + _AFTER_FAILURE, answer)
        answer.set_result(found)


def _known_labels(metric: str) -> set[str]:
    found = find(metric)
    chosen = [found] if found else [] if metric else list(known().values())
    names = {label for one in chosen for label in one.labels}
    more = {*_SCRAPED} | ({*_HUBBLE_CONTEXT} if CONTEXT in names else set())
    return (names - {CONTEXT}) | more | ({"le"} if metric.endswith("_bucket") else set())

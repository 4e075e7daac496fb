"""Names that a source knows, for completion: asked for in the background, never waited for long."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cilium_analysis.errors import CiliumAnalysisError
from cilium_analysis.metrics import find, known
from cilium_analysis.metrics.known import CONTEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cilium_analysis.window import Window

#: The longest that a completion waits for a source [s]; the answer is there for the next one.
PATIENCE = 0.8
#: So long an answer is taken for what still is [s].
_FRESH = 300.0
#: So long a source that did not answer is left alone [s].
_SULKING = 20.0
#: What scraping adds to Cilium's own labels, in one style of it or another.
_SCRAPED = ("instance", "job", "k8s_app", "namespace", "node", "pod")
_HUBBLE_CONTEXT = ("destination", "source")
_HISTOGRAM = ("_bucket", "_count", "_sum")


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
    """What there is to complete: from the source, and from what is known of Cilium's metrics.

    Parameters
    ----------
    source
        That lists its names; None if there is none, or it cannot.
    window
        Gives the time that they are looked for in.
    clock
        Tells seconds.
    """

    source: Lists | None
    window: Callable[[], Window | None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    _held: dict[tuple[str, str], tuple[float, Future[list[str]]]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def metrics(self) -> list[str]:
        """Give the names of series: the source's own, or those of Cilium if it does not say."""
        source = self.source
        if source is not None:
            listed = self._ask(("__name__", ""), lambda: self._values(source, "__name__", ""))
            if listed:
                return listed
        return [name for metric in known().values() for name in _series(metric.name, metric.kind)]

    def labels(self, metric: str) -> list[str]:
        """Give the names of labels, of a metric if one is named."""
        source, listed = self.source, list[str]()
        if source is not None:
            listed = self._ask(("", metric), lambda: self._names(source, metric))
        names = set(listed) or _known_labels(metric)
        return sorted(names - {"__name__"})

    def values(self, label: str, metric: str) -> list[str]:
        """Give the values of a label, with a metric if one is named."""
        source = self.source
        if label == "__name__":
            return self.metrics()
        if source is None:
            return []
        return self._ask((label, metric), lambda: self._values(source, label, metric))

    def _names(self, source: Lists, metric: str) -> list[str]:
        return source.label_names(match=metric, window=self.window())

    def _values(self, source: Lists, label: str, metric: str) -> list[str]:
        return source.label_values(label, match=metric, window=self.window())

    def _ask(self, key: tuple[str, str], ask: Callable[[], list[str]]) -> list[str]:
        """Ask in the background, and wait a little; nothing if the answer is not there yet."""
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
            # Completion is no place for errors: whoever runs the query will see them.
            found = []
            with self._lock:
                self._held[key] = (self.clock() + _SULKING, answer)
        answer.set_result(found)


def _series(name: str, kind: str) -> Iterable[str]:
    return (f"{name}{end}" for end in _HISTOGRAM) if kind == "histogram" else (name,)


def _known_labels(metric: str) -> set[str]:
    found = find(metric)
    chosen = [found] if found else [] if metric else list(known().values())
    names = {label for one in chosen for label in one.labels}
    more = {*_SCRAPED} | ({*_HUBBLE_CONTEXT} if CONTEXT in names else set())
    return (names - {CONTEXT}) | more | ({"le"} if metric.endswith("_bucket") else set())

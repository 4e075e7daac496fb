"""What a source has nothing of: found out with a few questions, and then not asked for.

All topics together ask about three hundred queries. Of a server without any metric of Cilium, that
would be three hundred times the same answer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames, incident
from cilium_analysis.errors import BudgetExceeded, QueryRejected
from cilium_analysis.queries import Query, parse_matchers, selected
from cilium_analysis.source import Once, Record, Relay, note
from cilium_analysis.targets.asking import METRICS, in_bins
from cilium_analysis.targets.histograms import HISTOGRAMS
from cilium_analysis.topics import TOPICS, setup, verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cilium_analysis.question import Question
    from cilium_analysis.source import Source
    from cilium_analysis.topics.setup import Setup
    from cilium_analysis.window import Window

#: Names in a query: servers and proxies limit its length.
_AT_ONCE = 80
_OURS = ("cilium_", "hubble_")
#: Targets of Cilium without any metric are known too, and asked about.
_UP = 'up{job=~".*(cilium|envoy|hubble).*",<match>}', 'up{instance=~".+:(9962|9965)",<match>}'

_ABSENT: Once[tuple[Window, Window, str], frozenset[str]] = Once()


class Sparing(Relay):
    """A source that is not asked for metrics of Cilium if it has none; all else is passed on.

    Parameters
    ----------
    source
        A server; a bundle is asked for all, as its answers cost nothing.
    window, baseline, match
        As for a topic's ``load``.
    """

    def __init__(self, source: Source, window: Window, baseline: Window, *, match: str) -> None:
        super().__init__(source)
        self._about = (window, baseline, match)

    def range(self, promql: str, window: Window) -> pd.DataFrame:
        """Answer a range query, or give no series."""
        if self._vain(promql):
            note(self, Record(promql, window, 0, 0, 0, 0.0))
            return frames.empty()
        return super().range(promql, window)

    def instant(self, promql: str, moment: datetime) -> pd.DataFrame:
        """Answer an instant query, or give no series."""
        if self._vain(promql):
            note(self, Record(promql, None, 0, 0, 0, 0.0))
            return frames.empty()
        return super().instant(promql, moment)

    def exemplars(self, promql: str, window: Window) -> pd.DataFrame:
        """Answer a question for exemplars, or give none."""
        if self._vain(promql):
            note(self, Record(promql, window, 0, 0, 0, 0.0))
            return pd.DataFrame({"time": pd.DatetimeIndex([], tz="UTC"), "value": []})
        return super().exemplars(promql, window)

    def _vain(self, promql: str) -> bool:
        window, baseline, match = self._about
        names = selected(promql)
        return bool(names) and names <= absent(self.source, window, baseline, match=match)


def absent(source: Source, window: Window, baseline: Window, *, match: str) -> frozenset[str]:
    """Give the metrics of which a server has nothing; it is asked once.

    Parameters
    ----------
    source, window, baseline, match
        As for a topic's ``load``.

    Returns
    -------
    frozenset of str
        All metrics of Cilium that any topic asks for; or none, where a single one of them, or a
        target of Cilium, is there in the window or the baseline, where the server refuses to tell,
        and of a bundle.
    """
    if getattr(source, "recorded", ()):
        return frozenset()

    def ask() -> frozenset[str]:
        try:
            return frozenset() if _has_any(source, window, baseline, match) else _all_names()
        except (BudgetExceeded, QueryRejected):
            return frozenset()

    return _ABSENT(source, (window, baseline, match), ask)


def _has_any(source: Source, window: Window, baseline: Window, match: str) -> bool:
    """Tell whether a server has any metric or target of Cilium, the likeliest places first."""
    usual = [name for names in METRICS.values() for name in names]
    matchers = parse_matchers(match)

    def ask(each: Iterable[str]) -> Query:
        return Query(" or ".join(f"max({one})" for one in each), "1", "whether anything is there")

    at_end = ask(f"{name}{{<match>}}" for name in usual).render(match=matchers, step=window.step)
    if source.instant(at_end, window.end).shape[1]:
        return True
    together = baseline.end == window.start
    windows = [replace(window, start=baseline.start)] if together else [window, baseline]
    selectors = [*(f"{name}{{<match>}}" for name in sorted(_all_names())), *_UP]
    for first in range(0, len(selectors), _AT_ONCE):
        part = selectors[first : first + _AT_ONCE]
        counted = ask(f"count_over_time({selector}[<range>])" for selector in part)
        for bins in dict.fromkeys(map(in_bins, windows)):
            promql = counted.render(match=matchers, step=bins.step)
            if source.range(promql, bins).shape[1]:
                return True
    return False


@cache
def _all_names() -> frozenset[str]:
    """List the metrics of Cilium that any topic may ask for."""
    queries = [q for topic in TOPICS.values() for q in topic.module.QUERIES.values()]
    queries += incident.QUERIES.values()
    found = {name for query in queries for name in selected(query.promql)}
    found |= {*HISTOGRAMS, *(name for names in METRICS.values() for name in names)}
    return frozenset(name for name in found if name.startswith(_OURS))


def setup_of(question: Question) -> Setup:
    """Load what the check of the setup needs, with few questions where nothing is there."""
    window, baseline, match = question.window, question.baseline, question.match
    source = Sparing(question.source, window, baseline, match=match)
    loaded: Setup = setup.load(source, window, baseline, match=match)
    return loaded


def without_metrics(question: Question, data: Setup | None = None) -> str:
    """Say that the window has no metrics of Cilium, and when there are some.

    Parameters
    ----------
    question
        Whose source is asked for other times.
    data
        As of `setup_of`, where it is loaded already.

    Returns
    -------
    str
        A sentence; empty if there are some, or if the server refused to tell.
    """
    source, window, match = question.source, question.window, question.match
    if not absent(source, window, question.baseline, match=match):
        loaded = data or setup_of(question)
        if not setup.unknown(loaded) or verdict.refused(loaded.remarks):
            return ""
    found = setup.newest(source, window, match=match)
    recorded = bool(getattr(source, "recorded", ()))
    return setup.nothing(window, found, match=match, recorded=recorded)

"""What is looked at to find an incident: a few sums over all nodes, in long steps.

They say when something was unusual, and roughly what. What it was, where, and how much of it, the
topics say of the window that is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Query
from cilium_analysis.source import at_once, followed
from cilium_analysis.statistics.rises import Rises
from cilium_analysis.together import together
from cilium_analysis.topics import loading
from cilium_analysis.topics.dns.outcomes import FINE
from cilium_analysis.topics.hubble import Counter
from cilium_analysis.topics.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

_AGENT = "cilium_process_start_time_seconds{<match>}"
#: Steps by the number of nodes up to which they are taken; the last one of more.
STEPS = ((100, timedelta(minutes=1)), (300, timedelta(minutes=2)), (0, timedelta(minutes=5)))
#: Values of a label that are looked at one by one, those with the most counts.
MOST_VALUES = 20
#: A BPF map is nearly full from this share on.
FULL = 0.9
_COUNTS = Rises()
#: Query, label, the beginning of its value, and what that is in words.
_OTHERS = (
    ("flags", "flag", "RST", "TCP resets"),
    ("regenerated", "outcome", "fail", "failed regenerations of endpoints"),
    ("errors", "level", "error", "errors in the agents' logs"),
)
#: Of nodes and agents already a few are worth a look.
_FEW = Rises(least=2.0, evidence=8.0)
#: Queries of which a few are worth a look, and what they are in words.
_FEW_OF = {
    "unreachable": "unreachable nodes",
    "endpoints": "unreachable health endpoints",
    "started": "restarts of agents",
    "failed": "failed scrapes of agents",
    "full": "BPF maps that are nearly full",
}


def _counter(selector: str, about: str, *labels: str, there: str = "") -> Query:
    counter = Counter(selector, labels, "1", about, spare=True, there=there, with_parties=False)
    return counter.over_nodes


def _highest(selector: str, *, where: str = "") -> str:
    return f"max by (<target>) (max_over_time({selector}[<range>])){where}"


QUERIES: Mapping[str, Query] = {
    "drops": _counter("cilium_drop_count_total", "packets dropped", "reason", there=_AGENT),
    "forwarded": _counter("cilium_forward_count_total", "packets forwarded", there=_AGENT),
    "seen": _counter("hubble_drop_total", "drops that Hubble saw", "reason"),
    "requests": _counter("hubble_http_requests_total", "HTTP requests", "status"),
    "responses": _counter("hubble_http_responses_total", "HTTP responses (v1)", "status"),
    "took": _counter("hubble_http_request_duration_seconds_sum", "time taken by HTTP requests"),
    "timed": _counter("hubble_http_request_duration_seconds_count", "HTTP requests timed"),
    "queries": _counter("hubble_dns_queries_total", "DNS queries", "rcode"),
    "answers": _counter("hubble_dns_responses_total", "DNS responses", "rcode"),
    "proxied": _counter("cilium_policy_l7_total", "requests at the proxy", "rule", there=_AGENT),
    "flags": _counter("hubble_tcp_flags_total", "TCP flags", "flag"),
    "regenerated": _counter(
        "cilium_endpoint_regenerations_total", "endpoint regenerations", "outcome", there=_AGENT
    ),
    "errors": _counter("cilium_errors_warnings_total", "errors in logs", "level", there=_AGENT),
    "unreachable": Query(
        f"sum({_highest('cilium_unreachable_nodes{<match>}')})",
        "nodes",
        "nodes that agents could not reach",
        spare=True,
    ),
    "endpoints": Query(
        f"sum({_highest('cilium_unreachable_health_endpoints{<match>}')})",
        "nodes",
        "nodes whose health endpoint agents could not reach",
        spare=True,
    ),
    "full": Query(
        f"count({_highest('cilium_bpf_map_pressure{<match>}')} > {FULL:g})",
        "agents",
        "agents with a BPF map that is nearly full",
        spare=True,
    ),
    "agents": Query(f"count({_highest(_AGENT)})", "agents", "agents that were scraped", spare=True),
    "operators": Query(
        f"count({_highest('cilium_operator_process_start_time_seconds{<match>}')})",
        "operators",
        "operators that were scraped",
        spare=True,
    ),
    "started": Query(
        f"count(max by (<target>) ({_AGENT} > (time() - <seconds>)))",
        "agents",
        "agents that started",
        spare=True,
    ),
}


@dataclass(frozen=True)
class Unusual:
    """Something that was unusual.

    Parameters
    ----------
    what
        In words, in the plural.
    start, end
        When: half-open.
    """

    what: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class _Counts:
    """Counts to look for rises in.

    Parameters
    ----------
    what
        As of `Unusual`.
    counts
        Per step; NaN where nothing is known.
    exposure
        How much could be counted, of any unit; None where that does not matter.
    few
        Whether a few are worth a look.
    """

    what: str
    counts: pd.Series
    exposure: pd.Series | None = None
    few: bool = False


def step_for(nodes: int, interval: timedelta) -> timedelta:
    """Give the step for so many nodes, in which each is scraped at least once."""
    step = next((step for most, step in STEPS if nodes <= most), STEPS[-1][1])
    minute = timedelta(minutes=1)
    return max(step, -(-interval // minute) * minute)


def unusual(source: Source, window: Window, *, match: str) -> tuple[list[Unusual], list[str]]:
    """Look for what was unusual in a window, against its own quieter half.

    Parameters
    ----------
    source
        A server.
    window
        Much longer than what is looked for.
    match
        Label matchers of the user.

    Returns
    -------
    list of Unusual
        In order of time.
    list of str
        What could not be looked at, as the server refused it.
    """
    reader = Reader(source, window, match)
    queries = dict(QUERIES)
    if scraped := reader.targets.presence.get("agent"):
        promql = f"count(({scraped.promql}) == 0)"
        queries["failed"] = Query(promql, "agents", "agents that were not scraped", spare=True)
    lacking = []

    def ask(name: str) -> pd.DataFrame:
        query = queries[name]
        seconds = f"{window.step.total_seconds():g}"
        query = replace(query, promql=query.promql.replace("<seconds>", seconds))
        with followed() as said:
            found = loading.inside(reader.values(query), window)
        if said.refusals:
            lacking.append(query.about)
        return found

    answers = dict(together(queries, ask, number=at_once(source)))
    found = [each for one in _Answers(answers).counts() for each in _rises(one, window)]
    return sorted(found, key=lambda each: (each.start, each.end)), sorted(lacking)


@dataclass(frozen=True)
class _Answers:
    """Answers to `QUERIES`, from which counts are made."""

    frames: Mapping[str, pd.DataFrame]

    @cached_property
    def agents(self) -> pd.Series:
        """Steps in which agents were scraped."""
        # What counters gained goes on for minutes when they are not scraped any more.
        counted = self.frames["agents"]
        names = ("drops", "forwarded") if counted.empty else ("agents",)
        return _known(self.frames[name] for name in names)

    @cached_property
    def hubble(self) -> pd.Series:
        """Steps in which Hubble was scraped."""
        names = ("seen", "requests", "responses", "queries", "answers", "flags")
        return _known(self.frames[name] for name in names)

    def each(self, name: str, label: str, known: pd.Series) -> Iterator[tuple[str, pd.Series]]:
        """Give counts by the values of a label, the largest first."""
        summed = frames.group(self.frames[name], [label])
        sums = summed.sum().sort_values(ascending=False, kind="stable")
        for key in sums.index[:MOST_VALUES]:
            yield str(key[0]), _filled(summed[key], known)

    def total(self, name: str, known: pd.Series) -> pd.Series:
        """Give all counts of an answer together."""
        return _filled(self.frames[name].sum(axis=1, min_count=1), known)

    def counts(self) -> Iterator[_Counts]:
        """Give all that rises are looked for in."""
        yield from self._drops()
        yield from self._http()
        yield from self._dns()
        for name, what in _FEW_OF.items():
            if name in self.frames:
                yield _Counts(what, self.total(name, self.agents), few=True)
        yield from self._missing()
        yield from self._others()
        yield from self._traffic()

    def _drops(self) -> Iterator[_Counts]:
        if self.frames["drops"].shape[1]:
            forwarded = self.total("forwarded", self.agents)
            for reason, counts in self.each("drops", "reason", self.agents):
                yield _Counts(f"drops of {reason}", counts, forwarded)
            return
        for reason, counts in self.each("seen", "reason", self.hubble):
            yield _Counts(f"drops of {reason}", counts)

    def _http(self) -> Iterator[_Counts]:
        # Of v1, requests have no status, and responses are apart.
        both = [self.total(name, self.hubble) for name in ("requests", "responses")]
        whole = both[0].add(both[1], fill_value=0.0)
        for name in ("requests", "responses"):
            for status, counts in self.each(name, "status", self.hubble):
                if status[:1] in ("4", "5", "0"):
                    yield _Counts(f"HTTP responses {status}", counts, whole)
        milliseconds = 1000.0 * self.total("took", self.hubble)
        yield _Counts("slow HTTP responses", milliseconds, self.total("timed", self.hubble))
        for rule, counts in self.each("proxied", "rule", self.agents):
            if rule == "denied":
                proxied = self.total("proxied", self.agents)
                yield _Counts("requests that the proxy denied", counts, proxied)

    def _dns(self) -> Iterator[_Counts]:
        asked, answered = (self.total(name, self.hubble) for name in ("queries", "answers"))
        for name in ("answers", "queries"):
            for code, counts in self.each(name, "rcode", self.hubble):
                if code not in ("", FINE):
                    yield _Counts(f"DNS responses with {code}", counts, asked)
        gone = (asked - answered).clip(lower=0.0)
        yield _Counts("DNS queries without a response", gone, asked)

    def _missing(self) -> Iterator[_Counts]:
        operators = self.total("operators", self.agents)
        gone = (operators.median() - operators).clip(lower=0.0)
        yield _Counts("missing operators", gone, few=True)
        known = self.agents if self.agents.any() else self.hubble
        there = known.where(known).ffill().notna() & known.where(known).bfill().notna()
        yield _Counts("missing scrapes", (~known).astype(float).where(there), few=True)

    def _traffic(self) -> Iterator[_Counts]:
        """Give what only matters if it is several times the usual."""
        yield _Counts("forwarded packets", self.total("forwarded", self.agents))
        for name in ("requests", "queries"):
            what = "HTTP requests" if name == "requests" else "DNS queries"
            yield _Counts(what, self.total(name, self.hubble))

    def _others(self) -> Iterator[_Counts]:
        for name, label, value, what in _OTHERS:
            known = self.hubble if name == "flags" else self.agents
            for key, counts in self.each(name, label, known):
                if key.startswith(value):
                    yield _Counts(what, counts, self.total(name, known))


def _known(parts: Iterable[pd.DataFrame]) -> pd.Series:
    """Tell in which steps anything is known."""
    known = [part.notna().any(axis=1) for part in parts]
    return pd.concat(known, axis=1).fillna(False).any(axis=1)


def _filled(values: pd.Series, known: pd.Series) -> pd.Series:
    """Make what is missing 0 where others are known."""
    filled = values.reindex(known.index)
    return filled.mask(filled.isna() & known, 0.0)


def _rises(of: _Counts, window: Window) -> Iterator[Unusual]:
    values = of.counts.to_numpy(dtype="float64")
    search = (_FEW if of.few else _COUNTS).at(window.step)
    for first, last in search.find(values, np.full(1, np.nan), exposure=_exposure(of)):
        index = of.counts.index
        start = index[first].to_pydatetime() - window.step
        yield Unusual(of.what, start, index[last - 1].to_pydatetime())


def _exposure(of: _Counts) -> NDArray[np.float64] | None:
    """Give how much more each step could count than usual."""
    if of.exposure is None:
        return None
    values = of.exposure.reindex(of.counts.index).to_numpy(dtype="float64")
    usual = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    return np.clip(np.nan_to_num(values / usual, nan=1.0), 0.1, 10.0) if usual > 0.0 else None


def grouped(found: Sequence[Unusual], *, bridge: timedelta) -> list[list[Unusual]]:
    """Put together what overlaps, or is no farther apart than the bridge, in order of time."""
    groups: list[list[Unusual]] = []
    for each in sorted(found, key=lambda one: one.start):
        if groups and each.start <= max(one.end for one in groups[-1]) + bridge:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups

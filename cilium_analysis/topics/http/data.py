"""What the question about HTTP is answered from: queries as data, and their frames.

Hubble's metrics ``http`` (v1) and ``httpV2`` share names but not meanings
(pkg/hubble/metrics/http/handler.go): v2 counts a request when it is answered, with its status; v1
counts requests without a status, and responses apart, from the server's point of view, so that
source and destination are swapped. Here both become the same: requests by the status that they
got, from their client to their server; `unanswered` finds those of v1 that got none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.errors import NotPrometheus, QueryRejected
from cilium_analysis.queries import Query, parse_matchers
from cilium_analysis.topics import hubble, loading
from cilium_analysis.topics.http import durations
from cilium_analysis.topics.http.statuses import unanswered, with_status
from cilium_analysis.topics.parties import CONTEXT, name_parties, spellings, swapped
from cilium_analysis.topics.remarks import Remarks, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

QUERIES: Mapping[str, Query] = {
    "requests": Query(
        f"max by (<target>, method, protocol, reporter, status, {CONTEXT})"
        " (max_over_time(hubble_http_requests_total{<match>}[<range>]))",
        "requests",
        "HTTP requests; with a status (httpV2) those answered",
    ),
    "responses": Query(
        f"max by (<target>, method, protocol, reporter, status, {CONTEXT})"
        " (max_over_time(hubble_http_responses_total{<match>}[<range>]))",
        "responses",
        "HTTP responses, with source and destination swapped (http, v1)",
    ),
    "durations": durations.EACH,
    "refused": Query(
        f"max by (<target>, {CONTEXT})"
        " (max_over_time(hubble_drop_total"
        '{protocol="HTTP",reason="DROP_REASON_UNKNOWN",<match>}[<range>]))',
        "requests",
        "requests that a layer 7 policy denied, as Hubble saw them",
        spare=True,
    ),
    # Up to Cilium 1.14.5 there is no proxy_type, and DNS is among them.
    "proxy": Query(
        "max by (<target>, proxy_type, rule)"
        " (max_over_time(cilium_policy_l7_total{<match>}[<range>]))",
        "requests",
        "layer 7 requests that each proxy received, forwarded, denied or could not parse",
        spare=True,
    ),
    "redirects": Query(
        "max by (<target>, protocol_l7) (last_over_time(cilium_proxy_redirects{<match>}[<range>]))",
        "redirects",
        "ports of endpoints whose traffic the policies send through a proxy",
        spare=True,
    ),
}
#: Of those, what is counted.
COUNTERS = ("requests", "responses", "refused", "proxy")
#: The same of many nodes together, per step.
OVER_NODES: Mapping[str, Query] = {
    "durations": durations.OVER_NODES,
    **{
        name: Query(
            hubble.growth(
                selector,
                f"<cluster>, {labels}",
                there="hubble_http_requests_total{<match>}" if name == "refused" else "",
            ),
            QUERIES[name].unit,
            about,
            spare=QUERIES[name].spare,
        )
        for name, selector, labels, about in (
            (
                "requests",
                "hubble_http_requests_total{<match>}",
                f"method, protocol, reporter, status, {CONTEXT}",
                "HTTP requests per step, on all nodes together",
            ),
            (
                "responses",
                "hubble_http_responses_total{<match>}",
                f"method, protocol, reporter, status, {CONTEXT}",
                "HTTP responses per step, on all nodes together",
            ),
            (
                "refused",
                'hubble_drop_total{protocol="HTTP",reason="DROP_REASON_UNKNOWN",<match>}',
                CONTEXT,
                "requests denied per step, on all nodes together",
            ),
            (
                "proxy",
                "cilium_policy_l7_total{<match>}",
                "proxy_type, rule",
                "layer 7 requests that the proxies handled per step, on all nodes together",
            ),
        )
    },
}
#: Of what exemplars are kept, if they are at all (httpV2:exemplars=true, OpenMetrics, and
#: --enable-feature=exemplar-storage); a value is the duration of that one request [s], or 1.
EXEMPLARS: Mapping[str, Query] = {
    "slow": Query(
        "hubble_http_request_duration_seconds_bucket{<match>}", "s", "traces of single requests"
    ),
    "failed": Query(
        'hubble_http_requests_total{status=~"[45]..|0+",<match>}',
        "requests",
        "traces of single requests that failed",
    ),
}
KEYS = ("source", "destination", "method", "status")


@dataclass(frozen=True)
class Http:
    """Everything about the HTTP requests in a window and its baseline.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    counts, usual
        Label frames (``destination``, ``method``, ``node``, ``source``, ``status``) of requests
        per step [requests], in the window and in the baseline, as one reporter saw them; the time
        of a row is the end of its step. The status of those without a response is ``0``.
    durations, usual_durations
        Label frames (``destination``, ``le``, ``source``) of requests answered within ``le``
        seconds per step.
    refused, usual_refused
        Label frames (``destination``, ``source``) of requests denied by policy per step.
    protocols, usual_protocols
        Label frames (``protocol``) of requests answered per step, by version of HTTP.
    proxy, usual_proxy
        Label frames (``node``, ``proxy_type``, ``rule``) of what the proxies did per step:
        ``fqdn`` is the DNS proxy; up to Cilium 1.14.5 the type is empty, and DNS is among it.
    redirects, usual_redirects
        Label frames (``node``, ``protocol_l7``) of the redirects to a proxy.
    exemplars
        One row per exemplar in the window: ``time``, ``value``, ``of`` (a name of `EXEMPLARS`),
        the labels of the series and of the exemplar.
    statusless
        Number of requests in the window of which no label tells how they ended.
    apart
        Whether requests and responses are counted apart (http, v1).
    unpaired
        Number of requests in the window, counted apart from responses with other parties.
    hubble_seen, agents_seen
        Whether any target of Hubble's metrics, and of the agents', is known in the window.
    twice
        Pairs of source and destination that both ends reported, so that one was left out.
    warnings
        What the server said about the answers.
    remarks
        What is to be said about the targets.
    crowd_note
        What it means for the answers that there are very many nodes.
    """

    source: str
    window: Window
    baseline: Window
    counts: pd.DataFrame
    usual: pd.DataFrame
    durations: pd.DataFrame
    usual_durations: pd.DataFrame
    refused: pd.DataFrame
    usual_refused: pd.DataFrame
    protocols: pd.DataFrame
    usual_protocols: pd.DataFrame
    proxy: pd.DataFrame
    usual_proxy: pd.DataFrame
    redirects: pd.DataFrame
    usual_redirects: pd.DataFrame
    exemplars: pd.DataFrame
    statusless: float = 0.0
    apart: bool = False
    unpaired: float = 0.0
    hubble_seen: bool = True
    agents_seen: bool = True
    twice: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    crowd_note: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """The counters of one window, read."""

    counts: pd.DataFrame
    durations: pd.DataFrame
    refused: pd.DataFrame
    protocols: pd.DataFrame
    proxy: pd.DataFrame
    redirects: pd.DataFrame
    statusless: float
    apart: bool
    unpaired: float
    hubble_seen: bool
    agents_seen: bool
    twice: tuple[tuple[str, str], ...]
    crowd_note: tuple[str, ...]


@told
def load(source: Source, window: Window, baseline: Window, *, match: str = "") -> Http:
    """Fetch what the question needs.

    Parameters
    ----------
    source
        A server or a bundle.
    window, baseline
        With the same step.
    match
        Label matchers that narrow every query, such as ``cluster="prod"``.

    Raises
    ------
    ParameterError
        If the matchers cannot be read.
    PrometheusError, BundleError
        If the source does not answer.
    """
    now, then = (_span(source, each, match=match) for each in (window, baseline))
    return Http(
        source=source.name,
        window=window,
        baseline=baseline,
        counts=now.counts,
        usual=then.counts,
        durations=now.durations,
        usual_durations=then.durations,
        refused=now.refused,
        usual_refused=then.refused,
        protocols=now.protocols,
        usual_protocols=then.protocols,
        proxy=now.proxy,
        usual_proxy=then.proxy,
        redirects=now.redirects,
        usual_redirects=then.redirects,
        exemplars=_exemplars(source, window, match=match),
        statusless=now.statusless,
        apart=now.apart,
        unpaired=now.unpaired,
        hubble_seen=now.hubble_seen,
        agents_seen=now.agents_seen,
        twice=now.twice,
        crowd_note=now.crowd_note,
    )


def _span(source: Source, window: Window, *, match: str) -> _Span:
    reader = hubble.reader(source, window, match=match)
    grown = {name: reader.gained(QUERIES[name], OVER_NODES[name]) for name in COUNTERS}
    old = set(frames.values(grown["responses"], "node"))
    known, statusless = with_status(grown["requests"], old)
    full = spellings(*grown.values())
    keep = (*KEYS, "node", "protocol", "reporter")
    answered = _together([known, swapped(grown["responses"])], keep, full)
    gone, unpaired = unanswered(grown["requests"], grown["responses"], old, spelled=full)
    # Both are named already.
    parts = [frames.with_levels(part, keep) for part in (answered, gone) if part.shape[1]]
    ended = frames.group(pd.concat(parts, axis=1), keep) if parts else answered
    reporters = _reporters(ended)
    took = _unswapped(reader.gained(QUERIES["durations"], OVER_NODES["durations"]), old)
    timed = name_parties(took, ("le", "reporter"), spelled=full)
    once = [_of_reporters(each, reporters) for each in (ended, answered)]
    return _Span(
        counts=frames.group(once[0], [*KEYS, "node"]),
        protocols=frames.group(once[1], ["protocol"]),
        durations=frames.group(_of_reporters(timed, reporters), ["source", "destination", "le"]),
        refused=name_parties(grown["refused"], (), spelled=full),
        proxy=frames.group(grown["proxy"], ["node", "proxy_type", "rule"]),
        redirects=_redirects(reader),
        statusless=statusless,
        apart=bool(old),
        unpaired=unpaired,
        hubble_seen=bool(reader.servers.starts.shape[1]),
        agents_seen=bool(reader.agents.starts.shape[1]),
        twice=_twice(answered),
        crowd_note=reader.crowd_note,
    )


def _redirects(reader: hubble.Reader) -> pd.DataFrame:
    levels = reader.rarely(QUERIES["redirects"])
    return loading.inside(frames.with_levels(levels, ["node", "protocol_l7"]), reader.window)


def _exemplars(source: Source, window: Window, *, match: str) -> pd.DataFrame:
    """Ask for exemplars; a server that knows none is no reason to stop."""
    found = []
    for name, query in EXEMPLARS.items():
        promql = query.render(match=parse_matchers(match), step=window.step)
        try:
            found.append(source.exemplars(promql, window).assign(of=name))
        except (QueryRejected, NotPrometheus):
            continue
    filled = [table for table in found if len(table)]
    return pd.concat(filled, ignore_index=True).fillna("") if filled else pd.DataFrame()


def _unswapped(took: pd.DataFrame, old: set[str]) -> pd.DataFrame:
    """Turn the durations of v1 round; they have no status that would tell."""
    chosen = [node in old for node in frames.values(took, "node")]
    if not any(chosen):
        return took
    turned = swapped(took.loc[:, chosen])
    return pd.concat([took.loc[:, [not c for c in chosen]], turned], axis=1)


def _together(
    parts: list[pd.DataFrame], keep: tuple[str, ...], full: Mapping[str, str]
) -> pd.DataFrame:
    """Name the parties of several frames and put them side by side."""
    others = tuple(name for name in keep if name not in ("source", "destination"))
    named = [name_parties(part, others, spelled=full) for part in parts if part.shape[1]]
    if not named:
        return frames.empty(keep)
    return frames.group(pd.concat(named, axis=1), keep)


def _reporters(answered: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Choose one reporter per pair: the one that saw more; the server if both saw as much.

    With layer 7 rules at both ends every request is counted at both. Each of them may have lost
    a few, so that one within a hundredth of the other saw as much.
    """
    chosen = {}
    for pair, seen in _seen(answered).items():
        most = max(seen.values())
        chosen[pair] = max(seen, key=lambda name: (seen[name] >= 0.99 * most, name == "server"))
    return chosen


def _seen(answered: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    sums = frames.group(answered, ["source", "destination", "reporter"]).sum()
    seen: dict[tuple[str, str], dict[str, float]] = {}
    for key, total in sums.items():
        labels = dict(zip(sums.index.names, key, strict=True))  # type: ignore[call-overload]
        pair = (labels["source"], labels["destination"])
        seen.setdefault(pair, {})[labels["reporter"]] = float(total)
    return seen


def _twice(answered: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    found = _seen(answered)
    return tuple(sorted(p for p, seen in found.items() if sum(n > 0 for n in seen.values()) > 1))


def _of_reporters(frame: pd.DataFrame, chosen: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    table = frames.labels(frame).reindex(columns=["source", "destination", "reporter"])
    keep = [
        chosen.get((source, destination), reporter) == reporter
        for source, destination, reporter in table.itertuples(index=False)
    ]
    return frame.loc[:, keep]

"""What the question about DNS is answered from: queries as data, and their frames.

Hubble counts a query with its client as the source, and a response with the DNS server as the
source; a query that a policy denies is counted among the queries, with the rcode ``Policy
denied`` (pkg/hubble/metrics/dns/handler.go). Here all are from the client to the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.queries import Query
from cilium_analysis.topics import hubble, loading, versions
from cilium_analysis.topics.dns import outcomes
from cilium_analysis.topics.dns.outcomes import DENIED, UNKNOWN
from cilium_analysis.topics.parties import column, spellings, swapped
from cilium_analysis.topics.remarks import Remarks, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.source import Source
    from cilium_analysis.window import Window

#: With some numbers of context labels ``rcode`` is exported under the name ``type``.
_CODES = ("rcode", "type")

ASKED = hubble.Metric(
    "hubble_dns_queries_total",
    ("ips_returned", "qtypes", "query", *_CODES),
    "queries",
    "DNS queries that a layer 7 policy lets Hubble see",
)
ANSWERED = hubble.Metric(
    "hubble_dns_responses_total",
    ("ips_returned", "qtypes", "query", *_CODES),
    "responses",
    "DNS responses that a layer 7 policy lets Hubble see, from server to client",
)
RECORDS = hubble.Metric(
    "hubble_dns_response_types_total",
    ("qtypes", "query", "type"),
    "records",
    "records in DNS responses",
)

PROXY_TIMES = "cilium_proxy_upstream_reply_seconds"
_TIMES = PROXY_TIMES + "_{}{{{}<match>}}"
_UPSTREAM = 'scope="upstreamTime",'
_THERE = "cilium_process_start_time_seconds{<match>}"

QUERIES: Mapping[str, Query] = {
    "versions": versions.VERSIONS,
    "lost": hubble.LOST,
    "queries": ASKED.whole,
    "queries_summed": ASKED.growth(*_CODES),
    "responses": ANSWERED.whole,
    "responses_summed": ANSWERED.growth(*_CODES),
    "queries_over_nodes": ASKED.over_nodes,
    "responses_over_nodes": ANSWERED.over_nodes,
    "records": RECORDS.growth("type"),
    "proxy_times": Query(
        f"sum by (<cluster>, error, le, scope) (max by (<target>, error, le, scope)"
        f" ({loading.gained(_TIMES.format('bucket', ''), there=_THERE)}))",
        "lookups",
        "lookups whose step in the DNS proxy took up to so many seconds",
    ),
    **{
        f"proxy_upstream_{part}": Query(
            f"sum by (<target>) ({loading.gained(_TIMES.format(part, _UPSTREAM), there=_THERE)})",
            unit,
            about,
        )
        for part, unit, about in (
            ("sum", "s", "time that each node's DNS proxy waited for DNS servers"),
            ("count", "lookups", "lookups that each node's DNS proxy sent on to DNS servers"),
        )
    },
}

KEYS = ("rcode", "source", "destination", "query")
_LEVELS = (*KEYS, "node")


@dataclass(frozen=True)
class Dns:
    """Everything about DNS in a window and its baseline.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    counts, usual
        Label frames (``destination``, ``node``, ``query``, ``rcode``, ``source``) of lookups
        answered, or denied by policy, per step [responses], in the window and in the baseline;
        the source is the client, the destination the DNS server; the time of a row is the end
        of its step.
    asked, usual_asked
        Label frames (the same, ``rcode`` always empty) of queries sent on per step [queries].
    records
        Label frame (``type``) of records in responses per step in the window.
    types, usual_types
        Label frames (``kind``, ``ips_returned``, ``qtypes``, ``rcode``) of ``queries`` and
        ``responses`` per step.
    proxy_times, usual_proxy_times
        Label frames (``error``, ``le``, ``scope``) of lookups per step whose step in the DNS
        proxies took up to ``le`` seconds.
    waited
        Label frame (``node``, ``part``) of the ``count`` of lookups that each DNS proxy sent on,
        and the ``sum`` of the time they took [s], per step in the window.
    seen, usual_seen
        Frames of bool, one column per node: whether its Hubble was scraped in the step.
    agents
        Frame of bool, one column per node: whether its agent was scraped in the step.
    restarts
        ``time`` and ``node`` of every start of an agent in the window.
    lost
        Label frame (``node``, ``source``) of events that Hubble lost per step in the window.
    code_label
        Label under which Hubble exports the response codes; ``rcode`` but for a fault of Cilium.
    both_ends
        Whether queries are counted where they leave and where they arrive.
    summed
        Whether the series were too many, so that names and parties are left out.
    refused
        Whether even their sums were too much for the server or the budget.
    warnings
        What the server said about the answers.
    remarks
        What is to be said about the targets.
    crowd_note
        What it means for the answers that there are very many nodes.
    versions
        Of Cilium, as far as the data tells them.
    """

    source: str
    window: Window
    baseline: Window
    counts: pd.DataFrame
    usual: pd.DataFrame
    asked: pd.DataFrame
    usual_asked: pd.DataFrame
    records: pd.DataFrame
    types: pd.DataFrame
    usual_types: pd.DataFrame
    proxy_times: pd.DataFrame
    usual_proxy_times: pd.DataFrame
    waited: pd.DataFrame
    seen: pd.DataFrame
    usual_seen: pd.DataFrame
    agents: pd.DataFrame
    restarts: pd.DataFrame
    lost: pd.DataFrame
    code_label: str = "rcode"
    both_ends: bool = False
    summed: bool = False
    refused: bool = False
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    crowd_note: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Span:
    """The counters of one window, read."""

    counts: pd.DataFrame
    asked: pd.DataFrame
    types: pd.DataFrame
    code_label: str
    both_ends: bool
    summed: bool
    refused: bool


@told
def load(source: Source, window: Window, baseline: Window, *, match: str = "") -> Dns:
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
    reader, before = (hubble.reader(source, each, match=match) for each in (window, baseline))
    now, then = _span(reader), _span(before)
    records = reader.summed(RECORDS, least=["type"]).increase
    return Dns(
        source=source.name,
        window=window,
        baseline=baseline,
        counts=now.counts,
        usual=then.counts,
        asked=now.asked,
        usual_asked=then.asked,
        records=frames.group(records, ["type"]),
        types=now.types,
        usual_types=then.types,
        proxy_times=_proxy_times(reader),
        usual_proxy_times=_proxy_times(before),
        waited=_waited(reader),
        seen=reader.seen,
        usual_seen=before.seen,
        agents=reader.agents.seen(window),
        restarts=reader.agents.restarts(window),
        lost=reader.lost(),
        code_label=next((s.code_label for s in (now, then) if s.code_label != "rcode"), "rcode"),
        both_ends=now.both_ends,
        summed=now.summed or then.summed,
        refused=now.refused or then.refused,
        crowd_note=reader.crowd_note,
        versions=versions.ask(source, window, match=match),
    )


def _span(reader: hubble.Reader) -> _Span:
    queries, responses = (reader.counted(metric, least=_CODES) for metric in (ASKED, ANSWERED))
    label = outcomes.under(queries.increase, responses.increase)
    asked = outcomes.coded(queries.increase, label)
    answered = outcomes.coded(responses.increase, label, missing=UNKNOWN)
    ways = set(column(frames.labels(asked), "traffic_direction"))
    summed = queries.summed or responses.summed
    if summed:
        # Queries with their parties beside responses without would look unanswered.
        asked, answered = (frames.group(f, ["node", "rcode"]) for f in (asked, answered))
    denied = [rcode == DENIED for rcode in column(frames.labels(asked), "rcode")]
    keep, full = ("node", "query", "rcode"), spellings(asked, answered)
    counts = hubble.parties(swapped(answered), keep, spelled=full)
    if any(denied):
        refused = hubble.parties(asked.loc[:, denied], keep, spelled=full)
        counts = frames.group(pd.concat([counts, refused], axis=1), _LEVELS)
    sent = hubble.parties(asked.loc[:, [not d for d in denied]], ("node", "query"), spelled=full)
    return _Span(
        types=_types(asked, answered),
        counts=counts,
        asked=frames.relabel(sent, "rcode", [""] * sent.shape[1]),
        code_label=label,
        both_ends={"egress", "ingress"} <= ways,
        summed=summed,
        refused=queries.refused or responses.refused,
    )


def _types(asked: pd.DataFrame, answered: pd.DataFrame) -> pd.DataFrame:
    """Put what was asked for beside what was answered, by type, result and number of addresses."""
    by = ["ips_returned", "kind", "qtypes", "rcode"]
    parts = (("queries", asked), ("responses", answered))
    kinds = [frames.relabel(frame, "kind", [kind] * frame.shape[1]) for kind, frame in parts]
    return pd.concat([frames.group(frame, by) for frame in kinds], axis=1)


def _proxy_times(reader: hubble.Reader) -> pd.DataFrame:
    found = reader.rarely(QUERIES["proxy_times"])
    return loading.inside(frames.group(found, ["error", "le", "scope"]), reader.window)


def _waited(reader: hubble.Reader) -> pd.DataFrame:
    parts = []
    for part in ("count", "sum"):
        found = reader.rarely(QUERIES[f"proxy_upstream_{part}"])
        parts.append(frames.relabel(found, "part", [part] * found.shape[1]))
    both = pd.concat([frames.group(frame, ["node", "part"]) for frame in parts], axis=1)
    return loading.inside(both, reader.window)

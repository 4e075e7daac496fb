"""What the question about DNS is answered from: queries as data, and their frames.

Hubble counts a query with its client as the source, and a response with the DNS server as the
source; a query that a policy denies is counted among the queries, with the rcode ``Policy
denied`` (pkg/hubble/metrics/dns/handler.go). Here all are from the client to the server.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.topics import hubble, loading, versions
from cilium_analysis.topics.dns import outcomes
from cilium_analysis.topics.dns.findings import findings
from cilium_analysis.topics.dns.outcomes import DENIED, UNKNOWN
from cilium_analysis.topics.metric import Metric, gained
from cilium_analysis.topics.model import Compared, Loader, Part
from cilium_analysis.topics.parties import column, spellings, swapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.queries import Query
    from cilium_analysis.topics.reader import Reader

#: With some numbers of context labels ``rcode`` is exported under the name ``type``.
_CODES = ("rcode", "type")

ASKED = hubble.Counter(
    "hubble_dns_queries_total",
    ("ips_returned", "qtypes", "query", *_CODES),
    "queries",
    "DNS queries that a layer 7 policy lets Hubble see",
)
ANSWERED = hubble.Counter(
    "hubble_dns_responses_total",
    ("ips_returned", "qtypes", "query", *_CODES),
    "responses",
    "DNS responses that a layer 7 policy lets Hubble see, from server to client",
)
RECORDS = hubble.Counter(
    "hubble_dns_response_types_total",
    ("qtypes", "query", "type"),
    "records",
    "records in DNS responses",
)

PROXY_TIMES = "cilium_proxy_upstream_reply_seconds"
_UPSTREAM = PROXY_TIMES + '_{}{{scope="upstreamTime",<match>}}'
_THERE = "cilium_process_start_time_seconds{<match>}"

TIMES = gained(
    f"{PROXY_TIMES}_bucket",
    "lookups whose step in the DNS proxy took up to so many seconds",
    "error le scope",
    unit="lookups",
    use="shown",
)
#: Parts of the histogram of the time until the DNS servers' answers, by node.
WAITED: Mapping[str, Metric] = {
    part: Metric(
        f"sum by (<target>) ({loading.gained(_UPSTREAM.format(part), there=_THERE)})",
        unit,
        about,
        kind="gained",
        use="shown",
    )
    for part, unit, about in (
        ("count", "lookups", "lookups that each node's DNS proxy sent on to DNS servers"),
        ("sum", "s", "time that each node's DNS proxy waited for DNS servers"),
    )
}

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
    "proxy_times": TIMES,
    **{f"proxy_upstream_{part}": metric for part, metric in WAITED.items()},
}

KEYS = ("rcode", "source", "destination", "query")
_LEVELS = (*KEYS, "node")


@dataclass(frozen=True, kw_only=True)
class Lookups(Part):
    """What was counted; the time of a row is the end of its step.

    The source is the client, the destination the DNS server.

    Parameters
    ----------
    counts
        Label frame (``destination``, ``node``, ``query``, ``rcode``, ``source``) of lookups
        answered, or denied by policy, per step [responses].
    asked
        Label frame (the same, ``rcode`` always empty) of queries sent on per step [queries].
    types
        Label frame (``kind``, ``ips_returned``, ``qtypes``, ``rcode``) of ``queries`` and
        ``responses`` per step.
    proxy_times
        Label frame (``error``, ``le``, ``scope``) of lookups per step whose step in the DNS
        proxies took up to ``le`` seconds.
    scraped, agents
        Frames of bool, one column per node: whether its Hubble, and its agent, was scraped in
        the step.
    restarts
        ``time`` and ``node`` of every start of an agent.
    code_label
        Label under which Hubble exports the response codes; ``rcode`` but for a fault of Cilium.
    both_ends
        Whether queries are counted where they leave and where they arrive.
    summed
        Whether the series were too many, so that names and parties are left out.
    refused
        Whether even their sums were too much for the server or the budget.
    records
        Label frame (``type``) of records in responses per step; asked of the window
        only, as it is only shown.
    waited
        Label frame (``node``, ``part``) of the ``count`` of lookups that each DNS proxy sent on,
        and the ``sum`` of the time they took [s], per step; asked of the window only.
    lost
        Label frame (``node``, ``source``) of events that Hubble lost per step; asked of the
        window only, as caveats are about it.
    """

    counts: pd.DataFrame
    asked: pd.DataFrame
    types: pd.DataFrame
    proxy_times: pd.DataFrame
    scraped: pd.DataFrame
    agents: pd.DataFrame
    restarts: pd.DataFrame
    code_label: str
    both_ends: bool
    summed: bool
    refused: bool
    records: pd.DataFrame = field(default_factory=frames.empty)
    waited: pd.DataFrame = field(default_factory=frames.empty)
    lost: pd.DataFrame = field(default_factory=frames.empty)

    @property
    def visible(self) -> bool:
        """Whether Hubble counted any lookup."""
        return bool(self.counts.shape[1] or self.asked.shape[1])


@dataclass(frozen=True, kw_only=True)
class Dns(Compared[Lookups, Lookups]):
    """Everything about DNS in a window and its baseline."""

    @property
    def code_label(self) -> str:
        """Label under which Hubble exports the response codes in either of the two."""
        labels = (each.code_label for each in (self.now, self.baseline))
        return next((label for label in labels if label != "rcode"), "rcode")

    @property
    def summed(self) -> bool:
        """Whether names and parties are left out of either of the two."""
        return self.now.summed or self.baseline.summed

    @property
    def refused(self) -> bool:
        """Whether either of the two was too much for the server or the budget."""
        return self.now.refused or self.baseline.refused


def _ask(reader: Reader, before: Reader) -> Dns:
    now = replace(
        _lookups(reader),
        records=frames.group(reader.read(RECORDS.growth("type")), ["type"]),
        waited=_waited(reader),
        lost=hubble.lost(reader),
    )
    return Dns(
        source=reader.source.name,
        now=now,
        baseline=_lookups(before),
        crowd_note=reader.crowd_note,
        versions=reader.versions,
    )


load = Loader(_ask, findings)


def _lookups(reader: Reader) -> Lookups:
    queries, responses = (
        hubble.read_or_summed(reader, counter, least=_CODES) for counter in (ASKED, ANSWERED)
    )
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
    return Lookups(
        window=reader.window,
        counts=counts,
        asked=frames.relabel(sent, "rcode", [""] * sent.shape[1]),
        types=_types(asked, answered),
        proxy_times=frames.group(reader.read(TIMES), ["error", "le", "scope"]),
        scraped=reader.hubble.scraped(reader.window),
        agents=reader.agents.scraped(reader.window),
        restarts=reader.agents.restarts(reader.window),
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


def _waited(reader: Reader) -> pd.DataFrame:
    parts = []
    for part, metric in WAITED.items():
        found = reader.read(metric)
        parts.append(frames.relabel(found, "part", [part] * found.shape[1]))
    return pd.concat([frames.group(frame, ["node", "part"]) for frame in parts], axis=1)

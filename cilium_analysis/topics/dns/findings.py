"""Findings about DNS: which failures of lookups a person should act on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.topics import held, rises, verdict
from cilium_analysis.topics.dns.codes import (
    ABSENT,
    DENIED,
    FINE,
    NO_RESPONSE,
    UNKNOWN,
)
from cilium_analysis.topics.dns.tables import ended
from cilium_analysis.topics.dns.unknown import unknown
from cilium_analysis.topics.telling import (
    between,
    beyond,
    blind,
    doubts,
    only,
    place,
    short,
    total,
    trifling,
)

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.dns.data import Dns

#: Failures of this share of all responses, or of this share of one client's, are critical if
#: they last, for the codes that leave a client without an answer to work with.
CRITICAL_SHARE = 0.05
CRITICAL_SHARE_OF_CLIENT = 0.2
CRITICAL_LENGTH = timedelta(minutes=2)
GRAVE = ("Server Failure", NO_RESPONSE)
#: A code that becomes so many times commoner among the responses has risen; less is traffic.
COMMONER = 2.0
#: Others that fail at this share of a party's rate, or more often, fail like it.
ALIKE = 0.5
#: Queries without a response of a smaller share are in flight, or lost by Hubble.
MISSING_SHARE = 0.01

NEXT = {
    "Server Failure": "Look at the log of the DNS servers (CoreDNS: plugin errors, forward) and at"
    " their upstream servers; see whether one name or all are affected.",
    ABSENT: "See which name is looked up and who began to: a name that went away, a"
    " typing error in a new release, or search domains (ndots) tried in vain.",
    "Query Refused": "See whether the DNS servers allow this client and this zone, and whether"
    " they are overloaded.",
    DENIED: "See which names the clients' policies allow (toFQDNs, rules: dns matchPattern), and"
    " which change of policy or of the client came first.",
    NO_RESPONSE: "See whether the DNS servers run and answer, whether drops or unreachable nodes"
    " lie between, and whether Cilium's DNS proxy is overloaded.",
}
ELSE = "Look up the code, and see the log of the DNS servers."


@dataclass(frozen=True)
class _Rise:
    """One rise of one result code, with what tells whose it is."""

    rcode: str
    first: int
    last: int
    labels: dict[str, str]
    nodes: tuple[str, ...]
    elsewhere: bool
    counts: pd.DataFrame
    usual: pd.DataFrame


@dataclass(frozen=True)
class _Ends:
    """How all lookups ended, in the window and in the baseline: also without a response."""

    now: pd.DataFrame
    usual: pd.DataFrame


@held.found
def findings(data: Dns) -> Findings:
    """Say what about DNS is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``dns_failures`` for every rise above the baseline; ``missing_metrics`` if neither agents
        nor Hubble can be seen. Empty when nothing is unusual, or DNS is not visible.
    """
    ends = _Ends(ended(data.asked, data.counts), ended(data.usual_asked, data.usual))
    found = [_finding(data, ends, rise) for rise in _rises(data, ends)]
    if not _anything(data):
        before = data.usual_seen.shape[1]
        found.append(blind("hubble_dns_responses_total", "DNS", data.window, before=before))
    return verdict.told(data, found, topic="dns", unknown=unknown(data))


def _anything(data: Dns) -> bool:
    return any(frame.shape[1] for frame in (data.counts, data.asked, data.seen, data.agents))


def _rises(data: Dns, ends: _Ends) -> list[_Rise]:
    codes = {str(code) for code in ends.now.columns.get_level_values("rcode")} - {FINE, UNKNOWN}
    return [rise for code in sorted(codes) for rise in _rises_of(data, ends, code)]


def _rises_of(data: Dns, ends: _Ends, rcode: str) -> list[_Rise]:
    counts, usual = (only(frame, {"rcode": rcode}) for frame in (ends.now, ends.usual))
    incidents = rises.find(
        counts,
        usual,
        party="source",
        alike=("query",),
        sight=rises.Sight.of(data.seen, data.counts, data.asked),
        usual_sight=rises.Sight.of(data.usual_seen, data.usual, data.usual_asked),
    )
    found = [_rise(rcode, incident, ends.now) for incident in incidents]
    return [rise for rise in found if _commoner(data, ends, rise)]


def _rise(rcode: str, incident: rises.Incident, lookups: pd.DataFrame) -> _Rise:
    """Say whose a rise is, and keep what is about them."""
    named = incident.named(("source", "destination", "query"))
    during = lookups.iloc[incident.first : incident.last]
    named = {name: text for name, text in named.items() if _alone(incident, name, text, during)}
    mine = replace(incident, counts=only(incident.counts, named), usual=only(incident.usual, named))
    nodes = rises.fewest(excess := mine.excess("node"))
    others, labels = beyond(excess, nodes), {"rcode": rcode} | named
    return _Rise(rcode, mine.first, mine.last, labels, nodes, others, mine.counts, mine.usual)


def _alone(incident: rises.Incident, name: str, text: str, lookups: pd.DataFrame) -> bool:
    """Tell whether the others of a label end so more rarely than the one that has most of it.

    The name that is asked for most has most of any outage; that does not make it the place.
    """
    excess = incident.excess(name)
    asked = frames.totals(lookups, [name]).reindex(excess.index).fillna(0.0)
    others = excess.index != text
    mine = float(excess[text]) / max(float(asked[text]), 1.0)
    rest = float(excess[others].sum()) / max(float(asked[others].sum()), 1.0)
    return rest < ALIKE * mine


def _commoner(data: Dns, ends: _Ends, rise: _Rise) -> bool:
    """Tell whether the code is commoner than before for that client, or only traffic rose."""
    if rise.rcode == NO_RESPONSE:
        grave = _share(ends, rise) >= MISSING_SHARE and _really(data, rise)
        return grave and _times_commoner(ends, rise) >= COMMONER
    return _times_commoner(ends, rise) >= COMMONER


def _times_commoner(ends: _Ends, rise: _Rise) -> float:
    now, usual = (only(frame, _client(rise)) for frame in (ends.now, ends.usual))
    now = now.iloc[rise.first : rise.last]
    of_code = [total(only(frame, {"rcode": rise.rcode})) for frame in (now, usual)]
    before = of_code[1] / (total(usual) or 1.0)
    return of_code[0] / (total(now) or 1.0) / before if before else math.inf


def _client(rise: _Rise) -> dict[str, str]:
    return {name: text for name, text in rise.labels.items() if name == "source"}


def _really(data: Dns, rise: _Rise) -> bool:
    """Tell whether so many responses are missing in all: a client may go by two names."""
    rows = slice(rise.first, rise.last)
    scale = (rise.last - rise.first) / max(len(data.usual), 1)
    net = _open(data.asked.iloc[rows], data.counts.iloc[rows])
    net -= _open(data.usual_asked, data.usual) * scale
    return net >= 0.5 * (total(rise.counts.iloc[rows]) - total(rise.usual) * scale)


def _open(asked: pd.DataFrame, counts: pd.DataFrame) -> float:
    return total(asked) - total(counts) + total(only(counts, {"rcode": DENIED}))


def _share(ends: _Ends, rise: _Rise, labels: dict[str, str] | None = None) -> float:
    """Give the share of a rise in all lookups meanwhile, or in those with some labels."""
    whole = total(only(ends.now, labels or {}).iloc[rise.first : rise.last])
    return total(rise.counts.iloc[rise.first : rise.last]) / whole if whole else 0.0


def _finding(data: Dns, ends: _Ends, rise: _Rise) -> Finding:
    index = ends.now.index
    start, end = index[rise.first] - data.window.step, index[rise.last - 1]
    inside = total(rise.counts.iloc[rise.first : rise.last])
    amount = inside + rises.spilled(rise.counts, rise.usual, rise.first, rise.last)
    value = inside / (end - start).total_seconds()
    before = total(rise.usual) / data.baseline.length.total_seconds()
    if not (data.usual.shape[1] or data.usual_asked.shape[1]):
        before = math.nan
    share = _share(ends, rise)
    rates = f"{short(value)}/s instead of {short(before)}, {amount:,.0f} in all"
    where = place(rise.nodes, _nodes(data), elsewhere=rise.elsewhere)
    return Finding(
        kind="dns_failures",
        severity=_severity(ends, rise, share, amount, end - start),
        title=f"{_subject(rise)} {where}: {rates}, {_shares(ends, rise)}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=rise.labels,
        value=value,
        baseline_value=before,
        unit="responses/s",
        total=amount,
        share=share,
        trust_reasons=_doubts(data, rise, start, end, amount),
        query=_query(rise.labels, data.code_label),
        next_step=NEXT.get(rise.rcode, ELSE),
    )


def _nodes(data: Dns) -> int:
    frames_of_nodes = (data.counts, data.asked)
    named = {n for frame in frames_of_nodes for n in frame.columns.get_level_values("node")}
    return len(named - {""}) or data.seen.shape[1]


def _severity(ends: _Ends, rise: _Rise, share: float, amount: float, length: timedelta) -> Severity:
    of_client = _share(ends, rise, _client(rise))
    # A name that does not exist fails always, whoever asks for it: its client's lookups count.
    names = ("source",) if rise.rcode == ABSENT else ("source", "destination", "query")
    labels = {name: rise.labels[name] for name in names if name in rise.labels}
    if trifling(amount, _share(ends, rise, labels)):
        return Severity.INFO
    large = share >= CRITICAL_SHARE or (_client(rise) and of_client >= CRITICAL_SHARE_OF_CLIENT)
    lasting = length >= CRITICAL_LENGTH and rise.last - rise.first > 1
    grave = large and lasting and rise.rcode in GRAVE
    return Severity.CRITICAL if grave else Severity.WARNING


def _subject(rise: _Rise) -> str:
    """Say which lookups fail, and how: from whom to which server, and of which name."""
    name = f" of {rise.labels['query']}" if "query" in rise.labels else ""
    how = "without a response" if rise.rcode == NO_RESPONSE else f"failed with “{rise.rcode}”"
    if rise.rcode == DENIED:
        how = "denied by policy"
    return f"DNS lookups{name}{between(rise.labels)} {how}"


def _shares(ends: _Ends, rise: _Rise) -> str:
    """Say which part of all lookups a rise is, and of those from its client."""
    text = f"{_share(ends, rise):.1%} of all lookups meanwhile"
    client = _client(rise)
    return f"{text}, {_share(ends, rise, client):.1%} of this client's" if client else text


def _doubts(
    data: Dns, rise: _Rise, start: pd.Timestamp, end: pd.Timestamp, amount: float
) -> tuple[str, ...]:
    """Collect what speaks against the numbers of this rise."""
    # A lost event can look like a missing response; it cannot make a response fail.
    said = doubts(
        data.seen,
        data.restarts,
        data.lost,
        amount=amount if rise.rcode == NO_RESPONSE else math.inf,
        nodes=rise.nodes,
        start=start,
        end=end,
    )
    if not (data.usual.shape[1] or data.usual_asked.shape[1]):
        said.append("no data in the baseline: compared with the quieter half of the window")
    return (*said, *(f"server: {text}" for text in data.warnings))


def _query(labels: dict[str, str], code_label: str) -> str:
    """Write PromQL that shows a rise; the server answers, so its client is the destination."""
    ends = "destination, destination_namespace, destination_workload"
    if labels["rcode"] == NO_RESPONSE:
        return (
            f'sum(rate(hubble_dns_queries_total{{{code_label}=""}}[5m]))'
            " - sum(rate(hubble_dns_responses_total[5m]))"
        )
    name, who = "hubble_dns_responses_total", ends
    if labels["rcode"] == DENIED:
        name, who = "hubble_dns_queries_total", ends.replace("destination", "source")
    named = {"query": labels.get("query"), code_label: labels["rcode"]}
    matchers = ",".join(str(Matcher(name, "=", text)) for name, text in named.items() if text)
    return f"sum by ({who}) (rate({name}{{{matchers}}}[5m]))"

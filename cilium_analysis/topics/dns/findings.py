"""Findings about DNS: failing lookups that a person should act on, and when DNS is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.queries import Matcher
from cilium_analysis.texts import percent
from cilium_analysis.topics import caveats, verdict
from cilium_analysis.topics.bursts import Burst, Scraped, find, spilled
from cilium_analysis.topics.dns.outcomes import (
    ABSENT,
    DENIED,
    FINE,
    NO_RESPONSE,
    UNKNOWN,
    ended,
)
from cilium_analysis.topics.model import found_once
from cilium_analysis.topics.telling import (
    between,
    only,
    place,
    short,
    total,
    trifling,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

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

#: Of CoreDNS, as kubeadm and the managed clusters label it.
_LOG = "`kubectl -n kube-system logs -l k8s-app=kube-dns --tail=200`"
NEXT = {
    "Server Failure": f"Look at the log of the DNS servers ({_LOG}: errors of plugins, forward) and"
    " at their upstream servers; see whether one name or all are affected.",
    ABSENT: "See which name is looked up and who began to: a name that went away, a"
    " typing error in a new release, or search domains (ndots) tried in vain.",
    "Query Refused": "See whether the DNS servers allow this client and this zone, and whether"
    " they are overloaded.",
    DENIED: "See which names the clients' policies allow (toFQDNs, rules: dns matchPattern), and"
    " which change of policy or of the client came first.",
    NO_RESPONSE: "See whether the DNS servers run (`kubectl -n kube-system get pods -l"
    f" k8s-app=kube-dns -o wide`) and what they log ({_LOG}), whether drops or unreachable nodes"
    " lie between, and whether Cilium's DNS proxy is overloaded.",
}
ELSE = f"Look up the code, and see the log of the DNS servers ({_LOG})."


@dataclass(frozen=True)
class _Ended:
    """All lookups by how they ended, in the window and in the baseline."""

    now: pd.DataFrame
    baseline: pd.DataFrame


@found_once
def findings(data: Dns) -> Findings:
    """Say what about DNS is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``dns_failures`` for every burst above the baseline; ``missing_metrics`` if neither agents
        nor Hubble were scraped. Empty when nothing is unusual, or DNS is not visible.
    """
    lookups = _Ended(
        ended(data.now.asked, data.now.counts), ended(data.baseline.asked, data.baseline.counts)
    )
    codes = {str(code) for code in lookups.now.columns.get_level_values("rcode")} - {FINE, UNKNOWN}
    found = [
        _finding(data, lookups, burst)
        for code in sorted(codes)
        for burst in _bursts(data, lookups, code)
    ]
    if not any(
        frame.shape[1]
        for frame in (data.now.counts, data.now.asked, data.now.scraped, data.now.agents)
    ):
        before = data.baseline.scraped.shape[1]
        metric = "hubble_dns_responses_total"
        found.append(verdict.no_hubble(data.window, "DNS", metric, before=before))
    return verdict.told(data, found, topic="dns", unknown=unknown(data))


def unknown(data: Dns) -> tuple[str, ...]:
    """Give the reasons why it is not known whether lookups fail; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks):
        return refused
    if not data.now.visible:
        had = ", though some was in the baseline" if data.baseline.visible else ""
        return (f"no DNS is visible in this window{had}",)
    codes = set(data.now.counts.columns.get_level_values("rcode"))
    return (
        *(("no label tells the code of any response",) if codes == {UNKNOWN} else ()),
        *verdict.rarely_scraped(data.now.scraped, "Hubble's servers"),
        *verdict.no_baseline(data.baseline.counts, data.baseline.asked, what="no DNS"),
    )


def _bursts(data: Dns, lookups: _Ended, rcode: str) -> list[Burst]:
    """Find the bursts of one code that make it commoner among the lookups."""
    counts, baseline = (only(frame, {"rcode": rcode}) for frame in (lookups.now, lookups.baseline))
    bursts = find(
        counts,
        baseline,
        by="source",
        alike=("query",),
        scraped=Scraped.of(data.now.scraped, data.now.counts, data.now.asked),
        baseline_scraped=Scraped.of(
            data.baseline.scraped, data.baseline.counts, data.baseline.asked
        ),
    )
    found = []
    for burst in bursts:
        during = lookups.now.iloc[burst.first : burst.last]
        named = burst.named(("source", "destination", "query")).items()
        own = {name: text for name, text in named if _alone(burst, name, text, during)}
        found.append(burst.among({"rcode": rcode} | own))
    return [burst for burst in found if _commoner(data, lookups, burst)]


def _alone(burst: Burst, name: str, text: str, lookups: pd.DataFrame) -> bool:
    """Tell whether the others of a label end so more rarely than the one that has most of it.

    The name that is asked for most has most of any outage; that does not make it the place.
    """
    excess = burst.excess(name)
    asked = frames.totals(lookups, [name]).reindex(excess.index).fillna(0.0)
    others = excess.index != text
    mine = float(excess[text]) / max(float(asked[text]), 1.0)
    rest = float(excess[others].sum()) / max(float(asked[others].sum()), 1.0)
    return rest < ALIKE * mine


def _commoner(data: Dns, lookups: _Ended, burst: Burst) -> bool:
    """Tell whether the code is commoner than before for that client, or only traffic rose."""
    if burst.labels["rcode"] == NO_RESPONSE:
        small = _share(lookups, burst) < MISSING_SHARE
        if small or not _missing_in_all(data, burst):
            return False
    now, baseline = (only(frame, _client(burst)) for frame in (lookups.now, lookups.baseline))
    code = {"rcode": burst.labels["rcode"]}
    before = total(only(baseline, code)) / (total(baseline) or 1.0)
    share = burst.inside(only(now, code)) / (burst.inside(now) or 1.0)
    return not before or share / before >= COMMONER


def _client(burst: Burst) -> dict[str, str]:
    """Give the client, as a label, if one has most of a burst."""
    return {name: text for name, text in burst.labels.items() if name == "source"}


def _missing_in_all(data: Dns, burst: Burst) -> bool:
    """Tell whether so many responses are missing in all: a client may go by two names."""
    denied = {"rcode": DENIED}
    scale = (burst.last - burst.first) / max(len(data.baseline.counts), 1)
    left = burst.inside(data.now.asked) - burst.inside(data.now.counts)
    left += burst.inside(only(data.now.counts, denied))
    before = (
        total(data.baseline.asked)
        - total(data.baseline.counts)
        + total(only(data.baseline.counts, denied))
    )
    return left - before * scale >= 0.5 * (
        burst.inside(burst.counts) - total(burst.baseline) * scale
    )


def _share(lookups: _Ended, burst: Burst, labels: dict[str, str] | None = None) -> float:
    """Give the share of a burst in all lookups in that time, or in those with some labels."""
    whole = burst.inside(only(lookups.now, labels or {}))
    return burst.inside(burst.counts) / whole if whole else 0.0


def _finding(data: Dns, lookups: _Ended, burst: Burst) -> Finding:
    index = lookups.now.index
    start, end = index[burst.first] - data.window.step, index[burst.last - 1]
    inside = burst.inside(burst.counts)
    amount = inside + spilled(burst.counts, burst.baseline, burst.first, burst.last)
    value = inside / (end - start).total_seconds()
    before = total(burst.baseline) / data.baseline.length.total_seconds()
    if not data.baseline.visible:
        before = math.nan
    share = _share(lookups, burst)
    rates = f"{short(value)}/s instead of {short(before)}, {amount:,.0f} in all"
    nodes = {
        node for f in (data.now.counts, data.now.asked) for node in frames.values(f, "node")
    } - {""}
    where = place(burst.nodes, len(nodes) or data.now.scraped.shape[1], elsewhere=burst.elsewhere)
    part = f"{share:.1%} of all lookups in that time"
    if _client(burst):
        part += f", {_share(lookups, burst, _client(burst)):.1%} of this client's"
    return Finding(
        kind="dns_failures",
        severity=_severity(lookups, burst, share, amount, end - start),
        title=f"{_subject(burst)} {where}: {rates}, {part}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels=dict(burst.labels),
        nodes=burst.nodes,
        value=value,
        baseline_value=before,
        unit="responses/s",
        total=amount,
        share=share,
        trust_reasons=_caveats(data, burst, start, end, amount),
        query=_query(burst.labels, data.code_label),
        next_step=NEXT.get(burst.labels["rcode"], ELSE),
        brief=f"{amount:,.0f} {_subject(burst)} {where} ({percent(share)} of all lookups"
        " in that time)",
    )


def _severity(
    lookups: _Ended, burst: Burst, share: float, amount: float, length: timedelta
) -> Severity:
    of_client = _share(lookups, burst, _client(burst))
    # A name that does not exist always fails: its share is one of all lookups of its client.
    names = ("source",) if burst.labels["rcode"] == ABSENT else ("source", "destination", "query")
    labels = {name: burst.labels[name] for name in names if name in burst.labels}
    if trifling(amount, _share(lookups, burst, labels)):
        return Severity.INFO
    large = share >= CRITICAL_SHARE or (_client(burst) and of_client >= CRITICAL_SHARE_OF_CLIENT)
    lasting = length >= CRITICAL_LENGTH and burst.last - burst.first > 1
    grave = large and lasting and burst.labels["rcode"] in GRAVE
    return Severity.CRITICAL if grave else Severity.WARNING


def _subject(burst: Burst) -> str:
    """Say which lookups fail, and how: name, client, server and result."""
    name = f" of {burst.labels['query']}" if "query" in burst.labels else ""
    rcode = burst.labels["rcode"]
    how = "denied by policy" if rcode == DENIED else f"failed with “{rcode}”"
    if rcode == NO_RESPONSE:
        how = "without a response"
    return f"DNS lookups{name}{between(burst.labels)} {how}"


def _caveats(
    data: Dns, burst: Burst, start: pd.Timestamp, end: pd.Timestamp, amount: float
) -> tuple[str, ...]:
    """Give the caveats about the numbers of this burst."""
    found = caveats.of_hubble(
        data.now.scraped,
        data.now.restarts,
        data.now.lost,
        # A lost event can look like a missing response; it cannot make a response fail.
        amount=amount if burst.labels["rcode"] == NO_RESPONSE else math.inf,
        nodes=burst.nodes,
        start=start,
        end=end,
    )
    if not data.baseline.visible:
        found.append(caveats.NO_BASELINE)
    return (*found, *(f"server: {text}" for text in data.warnings))


def _query(labels: Mapping[str, str], code_label: str) -> str:
    """Write PromQL that shows a burst; the destination of a response is the client."""
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

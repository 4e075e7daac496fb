"""Findings about TCP: connections that are reset, and SYNs that nobody answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics import rises
from cilium_analysis.topics.flows.tables import of_flag, unanswered
from cilium_analysis.topics.flows.traffic import doubts_about, sight, usually
from cilium_analysis.topics.telling import between, only, place, short, total

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.flows.data import Flows

#: Failures at this rate [flows/s] for this long are worth a warning.
WARNING_RATE = 1.0
WARNING_LENGTH = timedelta(minutes=2)
#: Failures that become so many times commoner among the connections; less is traffic.
COMMONER = 2.0
#: What a SYN without a SYN-ACK goes by, where ``RST`` stands for a reset.
NO_ANSWER = "no SYN-ACK"
_WORDS = {"RST": "TCP connections reset", NO_ANSWER: "TCP connections not answered (no SYN-ACK)"}
_ENDS = (
    "source, source_namespace, source_workload,"
    " destination, destination_namespace, destination_workload"
)
_QUERIES = {
    "RST": f'sum by ({_ENDS}) (rate(hubble_tcp_flags_total{{flag="RST"}}[5m]))',
    NO_ANSWER: 'sum(rate(hubble_tcp_flags_total{flag="SYN"}[5m]))'
    ' - sum(rate(hubble_tcp_flags_total{flag="SYN-ACK"}[5m]))',
}
_NEXT = {
    "RST": "See whether the server listens, restarts or refuses (its log and readiness), and"
    " whether the client gives up early; a proxy or a load balancer between them resets too.",
    NO_ANSWER: "See whether the server's pods run and are ready, whether drops or policy denials"
    " began at the same time, and whether the way back exists (routes, firewalls, NAT).",
}


def failures(data: Flows) -> list[Finding]:
    """Find rises of resets, and of SYNs without an answer.

    Parameters
    ----------
    data
        As from `cilium_analysis.topics.flows.load`.
    """
    resets = _rises(data, "RST", of_flag(data.now, "RST"), of_flag(data.usual, "RST"))
    missing = _rises(data, NO_ANSWER, unanswered(data.now), unanswered(data.usual))
    return [_failure(data, r) for r in [*resets, *(m for m in missing if _really(data, m))]]


@dataclass(frozen=True)
class _Rise:
    """One rise of failures, with what is about its parties."""

    flag: str
    first: int
    last: int
    parties: dict[str, str]
    nodes: tuple[str, ...]
    counts: pd.DataFrame
    usual: pd.DataFrame

    @property
    def inside(self) -> pd.DataFrame:
        """Give the counts while it lasted."""
        return self.counts.iloc[self.first : self.last]


def _rises(data: Flows, flag: str, counts: pd.DataFrame, usual: pd.DataFrame) -> list[_Rise]:
    if not counts.shape[1]:
        return []
    incidents = rises.find(
        counts,
        usual,
        party="source",
        alike=("destination",),
        sight=sight(data.now),
        usual_sight=sight(data.usual),
    )
    found = [_rise(flag, incident) for incident in incidents]
    return [rise for rise in found if _commoner(data, rise)]


def _rise(flag: str, incident: rises.Incident) -> _Rise:
    """Say whose a rise is, and keep what is about them."""
    named = incident.named(("source", "destination"))
    mine = replace(incident, counts=only(incident.counts, named), usual=only(incident.usual, named))
    nodes = rises.fewest(mine.excess("node"))
    return _Rise(flag, mine.first, mine.last, named, nodes, mine.counts, mine.usual)


def _commoner(data: Flows, rise: _Rise) -> bool:
    """Tell whether more connections fail than before, or only more are made."""
    opened = total(of_flag(data.now, "SYN").iloc[rise.first : rise.last])
    usually = total(of_flag(data.usual, "SYN"))
    if not opened or not usually:
        return True
    return total(rise.inside) / opened >= COMMONER * total(rise.usual) / usually


def _really(data: Flows, rise: _Rise) -> bool:
    """Tell whether so many SYN-ACKs are missing in all: an end may go by two names."""
    rows = slice(rise.first, rise.last)
    net, usual = (
        total(of_flag(counts, "SYN").iloc[span]) - total(of_flag(counts, "SYN-ACK").iloc[span])
        for counts, span in ((data.now, rows), (data.usual, slice(None)))
    )
    scale = (rise.last - rise.first) / max(len(data.usual.flags), 1)
    return net - usual * scale >= 0.5 * (total(rise.inside) - total(rise.usual) * scale)


def _failure(data: Flows, rise: _Rise) -> Finding:
    start, end = data.span(rise.first, rise.last)
    amount = total(rise.inside)
    value = amount / (end - start).total_seconds()
    before = usually(data, rise.usual)
    lasting = value >= WARNING_RATE and end - start >= WARNING_LENGTH
    return Finding(
        kind="tcp_failures",
        severity=Severity.WARNING if lasting else Severity.INFO,
        title=f"{_WORDS[rise.flag]}{between(rise.parties)} {place(rise.nodes, data.nodes)}:"
        f" {short(value)} flows/s instead of {short(before)}, {amount:,.0f} in all",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels={"protocol": "TCP", "flag": rise.flag} | rise.parties,
        value=value,
        baseline_value=before,
        unit="flows/s",
        total=amount,
        trust_reasons=doubts_about(data, rise.first, rise.last, nodes=rise.nodes, amount=amount),
        query=_QUERIES[rise.flag],
        next_step=_NEXT[rise.flag],
    )

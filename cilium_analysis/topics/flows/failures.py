"""Findings about TCP: connections that are reset, and SYNs that nobody answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.frames import totals
from cilium_analysis.topics import rises
from cilium_analysis.topics.flows.exchanges import ENDS, fallen
from cilium_analysis.topics.flows.handshakes import of_flag
from cilium_analysis.topics.flows.traffic import doubts_about, sight, usually
from cilium_analysis.topics.telling import between, beyond, only, place, short, total

if TYPE_CHECKING:
    import pandas as pd

    from cilium_analysis.topics.flows.data import Flows
    from cilium_analysis.topics.flows.exchanges import Exchange

#: Failures for this long are worth a warning, at this rate [flows/s] and share of the connections,
WARNING_LENGTH = timedelta(minutes=2)
WARNING_RATE = 1.0
WARNING_SHARE = 0.02
#: or, of whatever rate, where most of the connections fail.
MOST = 0.5
#: Failures that become so many times commoner among the connections; less is traffic.
COMMONER = 2.0
#: Connections are counted where their clients' verdicts are known for this share of the failures.
COUNTED_FROM = 0.98
#: Ends with so much of the failures are named.
NAMED_FROM = 0.1
#: Where verdicts of policies are not known, answers that fall are looked for over this time.
FALL_LENGTH = timedelta(minutes=2)
#: What a SYN without a SYN-ACK goes by, where ``RST`` stands for a reset.
NO_ANSWER = "no SYN-ACK"
_WORDS = {"RST": "TCP connections reset", NO_ANSWER: "TCP connections not answered (no SYN-ACK)"}
_UNITS = {"RST": ("resets", "connections"), NO_ANSWER: ("SYNs without SYN-ACK", "SYNs")}
_SIDES = ("source", "destination")
_ENDS = (
    "source, source_namespace, source_workload,"
    " destination, destination_namespace, destination_workload"
)
_QUERIES = {
    "RST": f'sum by ({_ENDS}) (rate(hubble_tcp_flags_total{{flag="RST"}}[5m]))',
    NO_ANSWER: 'sum(rate(hubble_tcp_flags_total{flag="SYN"}[5m]))'
    ' - (sum(rate(hubble_flows_processed_total{type="PolicyVerdict",verdict="FORWARDED",'
    'protocol="TCP"}[5m])) or vector(0))'
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
    return [_failure(data, rise) for rise in [*_resets(data), *_unanswered(data)]]


@dataclass(frozen=True)
class _Rise:
    """One rise of failures, with what is about its parties.

    Parameters
    ----------
    flag
        ``RST`` or `NO_ANSWER`.
    first, last
        Its first step, and the one after its last.
    parties, nodes
        Whose it is, and where.
    counts, usual
        Label frames of the failures in the window and in the baseline.
    opened, usually_opened
        Label frames of the SYNs that they belong to.
    """

    flag: str
    first: int
    last: int
    parties: dict[str, str]
    nodes: tuple[str, ...]
    elsewhere: bool
    counts: pd.DataFrame
    usual: pd.DataFrame
    opened: pd.DataFrame
    usually_opened: pd.DataFrame

    def inside(self, frame: pd.DataFrame) -> float:
        """Add up what was counted while it lasted."""
        return total(frame.iloc[self.first : self.last])

    @property
    def share(self) -> float:
        """Failures per connection while it lasted; NaN if none is known."""
        opened = self.inside(self.opened)
        return self.inside(self.counts) / opened if opened else math.nan

    @property
    def commoner(self) -> bool:
        """Whether more connections fail than before, or only more are made."""
        usual = total(self.usually_opened)
        if math.isnan(self.share) or not usual:
            return True
        return self.share >= COMMONER * total(self.usual) / usual


def _resets(data: Flows) -> list[_Rise]:
    now, usual = data.now.handshakes, data.usual.handshakes
    found = _found(data, of_flag(data.now, "RST"), of_flag(data.usual, "RST"))
    rises_ = [
        _rise("RST", incident, _either_way(now, incident), _either_way(usual, incident))
        for incident in found
    ]
    return [rise for rise in rises_ if rise.commoner]


def _either_way(exchange: Exchange, incident: rises.Incident) -> pd.DataFrame:
    """Give the SYNs between the parties of a reset, which may come from either end."""
    ends = set(incident.named(_SIDES).values())
    opened = exchange.opened
    if exchange.naming == ENDS and ends:
        sides = zip(*(frames.values(opened, side) for side in _SIDES), strict=True)
        mine = opened.loc[:, [ends <= set(pair) for pair in sides]]
        return mine if total(mine) else opened
    return opened


def _unanswered(data: Flows) -> list[_Rise]:
    """Find where fewer SYNs are answered than usual, however often one of them is counted."""
    often = data.usual.handshakes.often()
    now, usual = (each.handshakes.beyond(often) for each in (data.now, data.usual))
    known, missing = data.now.handshakes.told is not None, now.missing
    if not known:
        around = max(1, round(FALL_LENGTH / data.window.step))
        missing = missing.where(fallen(now, usual, around=around), 0.0)
    incidents = _found(data, missing, usual.missing)
    found = [_rise(NO_ANSWER, incident, now.opened, usual.opened) for incident in incidents]
    true = [rise for rise in found if rise.commoner and _really(rise, now, usual)]
    return [_as_counted(data, rise) for rise in true] if known else true


def _found(data: Flows, counts: pd.DataFrame, usual: pd.DataFrame) -> list[rises.Incident]:
    if not counts.shape[1]:
        return []
    return rises.find(
        counts,
        usual,
        party="source",
        alike=("destination",),
        sight=sight(data.now),
        usual_sight=sight(data.usual),
    )


def _rise(
    flag: str, incident: rises.Incident, opened: pd.DataFrame, usually: pd.DataFrame
) -> _Rise:
    """Say whose a rise is, and keep what is about them."""
    named = incident.named(_SIDES)
    mine = replace(incident, counts=only(incident.counts, named), usual=only(incident.usual, named))
    nodes = rises.fewest(excess := mine.excess("node"))
    if flag == NO_ANSWER:
        opened, usually = only(opened, named), only(usually, named)
    span, others = (mine.first, mine.last), beyond(excess, nodes)
    return _Rise(flag, *span, named, nodes, others, mine.counts, mine.usual, opened, usually)


def _really(rise: _Rise, now: Exchange, usual: Exchange) -> bool:
    """Tell whether so many SYN-ACKs are missing in all: an end may go by two names."""
    scale = (rise.last - rise.first) / max(len(usual.opened), 1)
    net = rise.inside(now.opened) - rise.inside(now.answered)
    before = (total(usual.opened) - total(usual.answered)) * scale
    return net - before >= 0.5 * (rise.inside(rise.counts) - total(rise.usual) * scale)


def _as_counted(data: Flows, rise: _Rise) -> _Rise:
    """Give a rise the plain counts of its parties: each SYN that is a packet, once."""
    now, usual = data.now.handshakes, data.usual.handshakes
    return replace(
        rise,
        counts=only(now.missing, rise.parties),
        usual=only(usual.missing, rise.parties),
        opened=only(now.opened, rise.parties),
        usually_opened=only(usual.opened, rise.parties),
    )


def _failure(data: Flows, rise: _Rise) -> Finding:
    start, end = data.span(rise.first, rise.last)
    amount = rise.inside(rise.counts)
    value = amount / (end - start).total_seconds()
    before = usually(data, rise.usual)
    where = place(rise.nodes, data.nodes, elsewhere=rise.elsewhere)
    said = list(doubts_about(data, rise.first, rise.last, nodes=rise.nodes, amount=amount))
    if rise.flag == NO_ANSWER and data.now.handshakes.told is None:
        said.append("how many of the SYNs are verdicts of policies is not known: an estimate")
    return Finding(
        kind="tcp_failures",
        severity=_severity(value, rise.share, end - start),
        title=f"{_WORDS[rise.flag]}{between(rise.parties)} {where}:"
        f" {_amount(rise)}, {short(value)}/s instead of {short(before)}"
        f"{_connections(data, rise)}{_mostly(rise)}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels={"protocol": "TCP", "flag": rise.flag} | rise.parties,
        value=value,
        baseline_value=before,
        unit="flows/s",
        total=amount,
        trust_reasons=tuple(said),
        query=_QUERIES[rise.flag],
        next_step=_NEXT[rise.flag],
    )


def _severity(value: float, share: float, length: timedelta) -> Severity:
    """Judge failures by their rate and by their share of the connections."""
    many = value >= WARNING_RATE and not share < WARNING_SHARE
    lasting = length >= WARNING_LENGTH and (many or share >= MOST)
    return Severity.WARNING if lasting else Severity.INFO


def _amount(rise: _Rise) -> str:
    """Say how many failures there are, and of how many connections."""
    what, whole = _UNITS[rise.flag]
    amount, opened = rise.inside(rise.counts), rise.inside(rise.opened)
    if amount > opened:
        return f"{amount:,.0f} {what}"
    return f"{amount:,.0f} {what}, {amount / opened:.1%} of {opened:,.0f} {whole}"


def _connections(data: Flows, rise: _Rise) -> str:
    """Say how many connections failed, where the verdicts at their clients count them all."""
    now = data.now.handshakes
    if rise.flag != NO_ANSWER or now.tried is None:
        return ""
    tried, made, lost = (
        frame.iloc[rise.first : rise.last].sum()
        for frame in (only(now.tried, rise.parties), only(now.made, rise.parties), rise.counts)
    )
    tried = tried[tried > 0]
    whole, failed = tried.sum(), tried.sum() - made.reindex(tried.index).fillna(0.0).sum()
    covered = lost.reindex(tried.index).fillna(0.0).sum()
    if failed <= 0 or covered < COUNTED_FROM * lost.sum():
        return ""
    return f"; {failed:,.0f} of {whole:,.0f} connections failed"


def _mostly(rise: _Rise) -> str:
    """Name the ends with most of a rise, where no single source and destination has it."""
    if len(rise.parties) == len(_SIDES):
        return ""
    pairs = totals(rise.counts.iloc[rise.first : rise.last], _SIDES)
    pairs = pairs[pairs >= NAMED_FROM * pairs.sum()].sort_values(ascending=False, kind="stable")
    most = pairs.rename("amount").reset_index().head(rises.MOST_NAMED)
    said = [
        f"{row['source']} to {row['destination']} ({row['amount']:,.0f})"
        for _, row in most.iterrows()
        if row["source"] and row["destination"]
    ]
    return f"; most from {', '.join(said)}" if said else ""

"""Findings about flows: connections that fail, and when flows are unknown.

TCP connections fail by resets, or by SYNs without a SYN-ACK. Level shifts of the traffic are in
`traffic`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.frames import totals
from cilium_analysis.topics import bursts, commands, verdict
from cilium_analysis.topics.flows.exchanges import ENDS, fallen
from cilium_analysis.topics.flows.traffic import caveats_of, scraped, shifts, usually
from cilium_analysis.topics.model import found_once
from cilium_analysis.topics.telling import between, only, place, short, total

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
#: What nothing is found in.
_SHOWN = ("hubble_icmp_total", "hubble_port_distribution_total", "hubble_flows_to_world_total")
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
    "RST": "See whether the server listens, restarts or refuses{pods}, and whether the client gives"
    " up early; a proxy or a load balancer between them resets too.",
    NO_ANSWER: "See whether the server's pods run and are ready{pods}, whether drops or policy"
    " denials began at the same time, and whether the way back exists (routes, firewalls, NAT).",
}


@found_once
def findings(data: Flows) -> Findings:
    """Say what about flows is worth acting on.

    Parameters
    ----------
    data
        As from `load`.

    Returns
    -------
    Findings
        ``tcp_failures`` where resets or SYNs without an answer burst, ``traffic_shift`` where the
        forwarded traffic is far from its baseline; ``missing_metrics`` if neither agents nor
        Hubble were scraped. Empty when nothing is unusual.
    """
    bursts = [*_resets(data), *_unanswered(data)]
    found = [*(_finding(data, burst) for burst in bursts), *shifts(data)]
    if not data.now.there and not data.now.scraped.shape[1] and not data.now.agents.shape[1]:
        metric, before = "hubble_flows_processed_total", data.baseline.scraped.shape[1]
        found.append(verdict.no_hubble(data.window, "flows", metric, before=before))
    return verdict.told(data, found, topic="flows", unknown=unknown(data))


def unknown(data: Flows) -> tuple[str, ...]:
    """Give the reasons why it is not known whether flows are unusual; none if it is.

    Parameters
    ----------
    data
        As from `load`.
    """
    if refused := verdict.refused(data.remarks, shown=_SHOWN):
        return refused
    if data.remarks.workloads and not data.now.there:
        return (f"Hubble saw no flows of {data.remarks.workloads} in this window",)
    if not data.now.there:
        had = ", though there were some in the baseline" if data.baseline.there else ""
        return (f"no flow metrics of Hubble in this window{had}",)
    baseline = data.baseline
    return (
        *verdict.rarely_scraped(data.now.scraped, "Hubble's servers"),
        *verdict.no_baseline(baseline.flows, baseline.flags, baseline.icmp, what="no flow metrics"),
    )


@dataclass(frozen=True, kw_only=True)
class _Burst(bursts.Burst):
    """One burst of failures of connections.

    Parameters
    ----------
    flag
        ``RST`` or `NO_ANSWER`.
    opened, usually_opened
        Label frames of the SYNs that the failures belong to, in the window and in the baseline.
    """

    flag: str
    opened: pd.DataFrame
    usually_opened: pd.DataFrame

    @property
    def share(self) -> float:
        """Failures per connection while it lasted; NaN if none is known."""
        opened = self.inside(self.opened)
        return self.inside(self.counts) / opened if opened else math.nan

    @property
    def commoner(self) -> bool:
        """Whether more connections fail than before, or only more are made."""
        baseline = total(self.usually_opened)
        if math.isnan(self.share) or not baseline:
            return True
        return self.share >= COMMONER * total(self.baseline) / baseline


def _resets(data: Flows) -> list[_Burst]:
    now, baseline = data.now.handshakes, data.baseline.handshakes
    reset = {"flag": "RST"}
    found = [
        _named("RST", burst, _either_way(now, burst), _either_way(baseline, burst))
        for burst in _found(data, only(data.now.flags, reset), only(data.baseline.flags, reset))
    ]
    return [burst for burst in found if burst.commoner]


def _either_way(exchange: Exchange, burst: bursts.Burst) -> pd.DataFrame:
    """Give the SYNs between source and destination of resets, which may come from either."""
    ends = set(burst.named(_SIDES).values())
    opened = exchange.opened
    if exchange.naming == ENDS and ends:
        sides = zip(*(frames.values(opened, side) for side in _SIDES), strict=True)
        mine = opened.loc[:, [ends <= set(pair) for pair in sides]]
        return mine if total(mine) else opened
    return opened


def _unanswered(data: Flows) -> list[_Burst]:
    """Find where fewer SYNs are answered than usual, however often one of them is counted."""
    often = data.baseline.handshakes.often()
    now, baseline = (each.handshakes.beyond(often) for each in (data.now, data.baseline))
    known, missing = data.now.handshakes.told is not None, now.missing
    if not known:
        around = max(1, round(FALL_LENGTH / data.window.step))
        missing = missing.where(fallen(now, baseline, around=around), 0.0)
    found = [
        _named(NO_ANSWER, burst, now.opened, baseline.opened)
        for burst in _found(data, missing, baseline.missing)
    ]
    true = [burst for burst in found if burst.commoner and _missing_in_all(burst, now, baseline)]
    return [_as_counted(data, burst) for burst in true] if known else true


def _found(data: Flows, counts: pd.DataFrame, baseline: pd.DataFrame) -> list[bursts.Burst]:
    if not counts.shape[1]:
        return []
    return bursts.find(
        counts,
        baseline,
        by="source",
        alike=("destination",),
        scraped=scraped(data.now),
        baseline_scraped=scraped(data.baseline),
    )


def _named(flag: str, burst: bursts.Burst, opened: pd.DataFrame, usually: pd.DataFrame) -> _Burst:
    """Give a burst with its source and destination, and only their counts."""
    mine = burst.among(burst.named(_SIDES))
    if flag == NO_ANSWER:
        opened, usually = only(opened, mine.labels), only(usually, mine.labels)
    return _Burst(**vars(mine), flag=flag, opened=opened, usually_opened=usually)


def _missing_in_all(burst: _Burst, now: Exchange, baseline: Exchange) -> bool:
    """Tell whether so many SYN-ACKs are missing in all: an end may go by two names."""
    scale = (burst.last - burst.first) / max(len(baseline.opened), 1)
    net = burst.inside(now.opened) - burst.inside(now.answered)
    before = (total(baseline.opened) - total(baseline.answered)) * scale
    return net - before >= 0.5 * (burst.inside(burst.counts) - total(burst.baseline) * scale)


def _as_counted(data: Flows, burst: _Burst) -> _Burst:
    """Give a burst the plain counts of its source and destination: each SYN packet once."""
    now, baseline = data.now.handshakes, data.baseline.handshakes
    return replace(
        burst,
        counts=only(now.missing, burst.labels),
        baseline=only(baseline.missing, burst.labels),
        opened=only(now.opened, burst.labels),
        usually_opened=only(baseline.opened, burst.labels),
    )


def _finding(data: Flows, burst: _Burst) -> Finding:
    start, end = data.times(burst.first, burst.last)
    amount = burst.inside(burst.counts)
    value = amount / (end - start).total_seconds()
    before = usually(data, burst.baseline)
    where = place(burst.nodes, data.nodes, elsewhere=burst.elsewhere)
    said = list(caveats_of(data, burst.first, burst.last, nodes=burst.nodes, amount=amount))
    if burst.flag == NO_ANSWER and data.now.handshakes.told is None:
        said.append("how many of the SYNs are verdicts of policies is not known: an estimate")
    return Finding(
        kind="tcp_failures",
        severity=_severity(value, burst.share, end - start),
        title=f"{_WORDS[burst.flag]}{between(burst.labels)}, seen {where}:"
        f" {_amount(burst)}, {short(value)}/s instead of {short(before)}"
        f"{_connections(data, burst)}{_mostly(burst)}",
        start=start.to_pydatetime(),
        end=end.to_pydatetime(),
        labels={"protocol": "TCP", "flag": burst.flag, **burst.labels},
        nodes=burst.nodes,
        value=value,
        baseline_value=before,
        unit="flows/s",
        total=amount,
        trust_reasons=tuple(said),
        query=_QUERIES[burst.flag],
        next_step=_NEXT[burst.flag].format(
            pods=commands.pods_of(burst.labels.get("destination", ""))
        ),
        brief=f"{_amount(burst)}{between(burst.labels)}, seen {where}",
    )


def _severity(value: float, share: float, length: timedelta) -> Severity:
    """Judge failures by their rate and by their share of the connections."""
    many = value >= WARNING_RATE and not share < WARNING_SHARE
    lasting = length >= WARNING_LENGTH and (many or share >= MOST)
    return Severity.WARNING if lasting else Severity.INFO


def _amount(burst: _Burst) -> str:
    """Say how many failures there are, and of how many connections."""
    what, whole = _UNITS[burst.flag]
    amount, opened = burst.inside(burst.counts), burst.inside(burst.opened)
    if amount > opened:
        return f"{amount:,.0f} {what}"
    if amount == opened:
        return f"all {amount:,.0f} {what}"
    return f"{amount:,.0f} {what}, {amount / opened:.1%} of {opened:,.0f} {whole}"


def _connections(data: Flows, burst: _Burst) -> str:
    """Say how many connections failed, where the verdicts at their clients count them all."""
    now = data.now.handshakes
    if burst.flag != NO_ANSWER or now.tried is None:
        return ""
    tried, made, lost = (
        frame.iloc[burst.first : burst.last].sum()
        for frame in (only(now.tried, burst.labels), only(now.made, burst.labels), burst.counts)
    )
    tried = tried[tried > 0]
    whole, failed = tried.sum(), tried.sum() - made.reindex(tried.index).fillna(0.0).sum()
    covered = lost.reindex(tried.index).fillna(0.0).sum()
    if failed <= 0 or covered < COUNTED_FROM * lost.sum():
        return ""
    return f"; {failed:,.0f} of {whole:,.0f} connections failed"


def _mostly(burst: _Burst) -> str:
    """Name the ends with most of a burst, where no single source and destination has it."""
    if len(burst.labels) == len(_SIDES):
        return ""
    pairs = totals(burst.counts.iloc[burst.first : burst.last], _SIDES)
    pairs = pairs[pairs >= NAMED_FROM * pairs.sum()].sort_values(ascending=False, kind="stable")
    most = pairs.rename("amount").reset_index().head(bursts.MOST_NAMED)
    said = [
        f"{row['source']} to {row['destination']} ({row['amount']:,.0f})"
        for _, row in most.iterrows()
        if row["source"] and row["destination"]
    ]
    return f"; most from {', '.join(said)}" if said else ""

"""Was it the network? What can be seen of every hop between two workloads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import pandas as pd

from cilium_analysis import accounts
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.incident.findings import every
from cilium_analysis.incident.links import denial
from cilium_analysis.topics import TOPICS
from cilium_analysis.topics.reasons import from_hubble
from cilium_analysis.topics.telling import total
from cilium_analysis.topics.workloads import Workloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_analysis.findings import Finding, Findings
    from cilium_analysis.incident.data import Incident

Answer = Literal["yes", "no", "not visible"]
#: Without these nobody can say that it was not the network.
NEEDED = ("drop_reasons", "flows", "node_connectivity")


@dataclass(frozen=True)
class Hop:
    """A hop on the way, or what decides about it.

    Parameters
    ----------
    name
        In words.
    topic
        That shows it.
    kinds
        Of findings that are about it.
    counted
        Says what was counted there.
    network
        Whether trouble there is the network's, and not the server's own.
    only
        Tells which of these findings are about it.
    """

    name: str
    topic: str
    kinds: tuple[str, ...]
    counted: Callable[[Incident], str]
    network: bool = True
    only: Callable[[Finding], bool] = bool


def _lookups(data: Incident) -> str:
    return f"{total(data.topics['dns'].now.asked):,.0f} lookups"


def _drops(data: Incident, *, denied: bool) -> str:
    sums = totals(data.topics["drop_reasons"].now.hubble, ["reason"])
    mine = [from_hubble(str(r)).startswith("Policy denied") is denied for r in sums.index]
    return f"{sums[mine].sum():,.0f} drop events of Hubble"


def _flagged(data: Incident, flag: str) -> float:
    return float(totals(data.topics["flows"].now.flags, ["flag"]).get(flag, 0.0))


def _opened(data: Incident) -> str:
    return f"{_flagged(data, 'SYN'):,.0f} SYNs"


def _resets(data: Incident) -> str:
    return f"{_flagged(data, 'RST'):,.0f} resets, {_flagged(data, 'SYN'):,.0f} SYNs"


def _nodes(data: Incident) -> str:
    nodes = sorted(data.topics["flows"].remarks.nodes) if "flows" in data.topics else []
    return f"looked at {_listed(nodes)}" if nodes else "looked at all nodes"


def _requests(data: Incident) -> str:
    counts = totals(data.topics["http_status"].now.counts, ["status"])
    failed = counts[[str(status).startswith("5") for status in counts.index]].sum()
    return f"{counts.sum():,.0f} requests, {failed:,.0f} of them answered with 5xx"


def _reset(finding: Finding) -> bool:
    return finding.labels.get("flag") == "RST"


def _unanswered(finding: Finding) -> bool:
    return not _reset(finding)


def _allowed(finding: Finding) -> bool:
    return not denial(finding)


_AGENTS = ("agent_restart", "agent_errors", "scrape_gap", "map_pressure")
_ANSWERS = ("http_errors", "http_latency")
#: In the order in which a request meets them.
HOPS = (
    Hop("Names that the source looks up", "dns", ("dns_failures",), _lookups),
    Hop(
        "Policies on the way",
        "drop_reasons",
        ("drop_spike",),
        partial(_drops, denied=True),
        only=denial,
    ),
    Hop(
        "Other packets dropped",
        "drop_reasons",
        ("drop_spike",),
        partial(_drops, denied=False),
        only=_allowed,
    ),
    Hop("TCP connections without an answer", "flows", ("tcp_failures",), _opened, only=_unanswered),
    Hop("Reachability of their nodes", "node_connectivity", ("node_unreachable",), _nodes),
    Hop("Latency between nodes", "node_connectivity", ("node_latency",), _nodes),
    Hop("Agents on their nodes", "agent_health", _AGENTS, _nodes),
    Hop("Rules of the layer 7 proxy", "http_status", ("http_denied",), _requests),
    Hop(
        "TCP connections that an end reset",
        "flows",
        ("tcp_failures",),
        _resets,
        network=False,
        only=_reset,
    ),
    Hop("Answers of the server", "http_status", _ANSWERS, _requests, network=False),
)


def hops(data: Incident) -> pd.DataFrame:
    """Say of each hop between two workloads whether trouble was seen there.

    Parameters
    ----------
    data
        As from `load`, narrowed to a pair.

    Returns
    -------
    pandas.DataFrame
        ``hop``, ``trouble`` (``yes``, ``no``, ``not visible``), ``evidence``; one row per `HOPS`.

    Raises
    ------
    ParameterError
        If the question is not about a pair of workloads.
    """
    _pair(data)
    found = every(data)
    rows = [(hop.name, *_seen(data, hop, found)) for hop in HOPS]
    return pd.DataFrame(rows, columns=["hop", "trouble", "evidence"])


def with_answer(data: Incident, found: Findings, table: pd.DataFrame) -> Findings:
    """Give the findings with the answer to whether it was the network.

    Parameters
    ----------
    data
        As for `hops`.
    found
        As from `cilium_analysis.incident.findings`.
    table
        As from `hops`.
    """
    rows = list(zip(HOPS, table["trouble"], table["evidence"], strict=True))
    trouble = [(hop, evidence) for hop, answer, evidence in rows if answer == "yes"]
    hidden = [hop for hop, answer, _ in rows if answer == "not visible"]
    unseen = _listed([hop.name for hop in hidden])
    network = [f"{hop.name}: {evidence}." for hop, evidence in trouble if hop.network]
    server = [f"{hop.name}: {evidence}." for hop, evidence in trouble if not hop.network]
    if network:
        said = ["Yes, it had a part in it.", *network]
    elif any(hop.topic in NEEDED for hop in hidden):
        said = [f"Not known. Not visible: {unseen}."]
    else:
        said = ["No trouble was seen on the way.", *([f"Not visible: {unseen}."] if hidden else [])]
    question = f"Was it the network, from {_pair(data).text}?"
    return replace(found, answer=" ".join([question, *said, *server]))


def _pair(data: Incident) -> Workloads:
    return Workloads.pair(next(iter(data.topics.values())).remarks.workloads)


def _seen(data: Incident, hop: Hop, found: list[Finding]) -> tuple[Answer, str]:
    mine = [each for each in found if each.kind in hop.kinds and hop.only(each)]
    serious = [each for each in mine if each.severity >= Severity.WARNING]
    zone = data.window.timezone
    said = "; ".join(
        f"{accounts.brief(f)}, {accounts.when(f, data.window, zone)}" for f in serious or mine
    )
    if serious:
        return "yes", said
    if hop.topic not in data.topics:
        return "not visible", "not in this recording"
    if reasons := TOPICS[hop.topic].unknown(data.topics[hop.topic]):
        return "not visible", "; ".join(reasons)
    counted = hop.counted(data)
    return "no", f"{counted}; a note: {said}" if mine else f"{counted}; nothing unusual"


def _listed(names: list[str], *, most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

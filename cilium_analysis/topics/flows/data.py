"""What the question about flows is answered from: queries as data, and their frames.

Hubble counts events: one packet shows up at each point that reports it, and at both ends; of a
connection mostly its first and last packets are reported (monitor aggregation). So these are
neither packets nor connections, and only changes and shares mean something.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_analysis import frames
from cilium_analysis.topics import hubble, versions
from cilium_analysis.topics.flows.exchanges import Raw, exchanges
from cilium_analysis.topics.flows.findings import findings
from cilium_analysis.topics.model import Compared, Loader, Part
from cilium_analysis.topics.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cilium_analysis.queries import Query
    from cilium_analysis.source import Source
    from cilium_analysis.topics.flows.exchanges import Exchange
    from cilium_analysis.window import Window

COUNTERS: Mapping[str, hubble.Counter] = {
    "flows": hubble.Counter(
        "hubble_flows_processed_total",
        ("protocol", "subtype", "type", "verdict"),
        "flows",
        "flow events that Hubble handled",
    ),
    "flags": hubble.Counter(
        "hubble_tcp_flags_total",
        ("family", "flag"),
        "flows",
        "forwarded flow events with SYN, SYN-ACK, FIN or RST",
    ),
    "icmp": hubble.Counter(
        "hubble_icmp_total",
        ("family", "type"),
        "flows",
        "ICMP flow events by message type",
    ),
    "ports": hubble.Counter(
        "hubble_port_distribution_total",
        ("port", "protocol"),
        "flows",
        "forwarded flow events by destination port, without replies",
    ),
    "policy": hubble.Counter(
        "hubble_policy_verdicts_total",
        ("action", "direction", "match"),
        "verdicts",
        "policy verdicts",
    ),
    "world": hubble.Counter(
        "hubble_flows_to_world_total",
        ("port", "protocol", "verdict"),
        "flows",
        "flow events toward addresses outside the cluster, without replies",
    ),
}

QUERIES: Mapping[str, Query] = {
    "versions": versions.VERSIONS,
    "lost": hubble.LOST,
    **{name: counter.whole for name, counter in COUNTERS.items()},
    **{f"{name}_summed": counter.growth(*counter.labels) for name, counter in COUNTERS.items()},
    **{f"{name}_over_nodes": counter.over_nodes for name, counter in COUNTERS.items()},
}

#: What answers a SYN or an echo request; its source is who was asked.
ANSWERS = {"flags": ("flag", ("SYN-ACK",)), "icmp": ("type", ("EchoReply",))}
#: By metric: the label that tells requests from answers, its values, and the protocols.
_ASKED = {
    "flags": ("flag", "SYN", "SYN-ACK", ("TCP",)),
    "icmp": ("type", "EchoRequest", "EchoReply", ("ICMPv4", "ICMPv6")),
}


@dataclass(frozen=True, kw_only=True)
class Counts(Part):
    """What each counter gained per step, from who asked to who was asked.

    Parameters
    ----------
    flows
        Label frame (``destination``, ``node``, ``protocol``, ``source``, ``subtype``, ``type``,
        ``verdict``) of flow events; the time of a row is the end of its step.
    flags
        Label frame (``family``, ``flag``, …) of TCP flags; SYN-ACKs are turned round, so that
        their source is who sent the SYN.
    icmp
        Label frame (``family``, ``type``, …) of ICMP messages; echo replies are turned round.
    ports
        Label frame (``port``, ``protocol``, …).
    policy
        Label frame (``action``, ``direction``, ``match``, …) of policy verdicts.
    world
        Label frame (``port``, ``protocol``, ``verdict``, …) of flow events that leave the cluster.
    handshakes, echoes
        SYNs and SYN-ACKs, and echo requests and replies, as far as their ends pair up.
    scraped, agents
        Frames of bool, one column per node: whether its Hubble, and its agent, was scraped in
        the step.
    restarts
        ``time`` and ``node`` of every start of an agent.
    lost
        Label frame (``node``, ``source``) of events that Hubble lost per step; asked of the
        window only, as caveats are about it.
    """

    flows: pd.DataFrame
    flags: pd.DataFrame
    icmp: pd.DataFrame
    ports: pd.DataFrame
    policy: pd.DataFrame
    world: pd.DataFrame
    handshakes: Exchange
    echoes: Exchange
    scraped: pd.DataFrame
    agents: pd.DataFrame
    restarts: pd.DataFrame
    lost: pd.DataFrame = field(default_factory=frames.empty)

    @property
    def there(self) -> bool:
        """Tell whether any of the counters is there."""
        every = (self.flows, self.flags, self.icmp, self.ports, self.policy, self.world)
        return any(frame.shape[1] for frame in every)


@dataclass(frozen=True, kw_only=True)
class Flows(Compared[Counts, Counts]):
    """Everything about flows in a window and its baseline.

    Parameters
    ----------
    summed, refused
        The counters with too many series: without parties, and left out altogether.
    """

    summed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """Count the nodes."""
        every = (self.now.flows, self.now.flags)
        named = {node for f in every for node in f.columns.get_level_values("node")} - {""}
        return len(named | set(self.now.scraped.columns))

    def times(self, first: int, last: int) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Give the times from the first step's begin to the end of the one before the last."""
        index = self.now.flows.index
        return index[first] - self.window.step, index[last - 1]


def _ask(reader: Reader, before: Reader) -> Flows:
    now, then = (
        {
            name: hubble.read_or_summed(each, counter, least=counter.labels)
            for name, counter in COUNTERS.items()
        }
        for each in (reader, before)
    )
    handshakes, echoes = (exchanges([_raw(read, n) for read in (now, then)]) for n in _ASKED)
    summed = [name for name in COUNTERS if now[name].summed or then[name].summed]
    refused = [name for name in COUNTERS if now[name].refused or then[name].refused]
    counts = [
        Counts(
            window=each.window,
            **_named(read, summed),
            handshakes=handshakes[place],
            echoes=echoes[place],
            scraped=each.hubble.scraped(each.window),
            agents=each.agents.scraped(each.window),
            restarts=each.agents.restarts(each.window),
        )
        for place, (each, read) in enumerate(((reader, now), (before, then)))
    ]
    return Flows(
        source=reader.source.name,
        now=replace(counts[0], lost=hubble.lost(reader)),
        baseline=counts[1],
        summed=tuple(COUNTERS[name].name for name in summed if name not in refused),
        refused=tuple(COUNTERS[name].name for name in refused),
        crowd_note=reader.crowd_note,
        versions=reader.versions,
    )


def seen(source: Source, window: Window, *, match: str = "") -> pd.DataFrame:
    """Give all flow events of a window: label frame with ``node`` and the labels of both ends.

    Parameters
    ----------
    source, window, match
        As for `load`.
    """
    return hubble.read(Reader(source, window, match), COUNTERS["flows"])


load = Loader(_ask, findings)


def _raw(read: Mapping[str, hubble.Counted], name: str) -> Raw:
    """Pick requests, answers, and the verdicts of policies that count as requests."""
    label, asked, answered, protocols = _ASKED[name]
    counted, flows = read[name].increase, read["flows"].increase
    told = None if counted.shape[1] and not flows.shape[1] else flows
    # Only what is forwarded counts as a request; verdicts of layer 7 rules are redirections.
    verdicts = {"type": ("PolicyVerdict",), "verdict": ("FORWARDED",), "protocol": protocols}
    return Raw(
        asked=_where(counted, {label: (asked,)}),
        answered=_where(counted, {label: (answered,)}),
        told=told if told is None else _where(told, verdicts),
    )


def _where(frame: pd.DataFrame, chosen: Mapping[str, tuple[str, ...]]) -> pd.DataFrame:
    kept = np.ones(frame.shape[1], dtype=bool)
    for label, texts in chosen.items():
        kept &= np.isin(np.array(frames.values(frame, label), dtype=object), texts)
    return frame.loc[:, kept]


def _named(read: Mapping[str, hubble.Counted], summed: list[str]) -> dict[str, Any]:
    """Name the parties; where one window has none of them, the other must not have any either."""
    named = {}
    for name, counter in COUNTERS.items():
        increase = read[name].increase
        if name in summed:
            increase = frames.group(increase, ["node", *counter.labels])
        if name in ANSWERS:
            increase = hubble.reversed_where(increase, *ANSWERS[name])
        named[name] = hubble.parties(increase, ["node", *counter.labels])
    return named

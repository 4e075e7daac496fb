"""What the question about flows is answered from: queries as data, and their frames.

Hubble counts events: one packet shows up at each point that reports it, and at both ends; of a
connection mostly its first and last packets are reported (monitor aggregation). So these are
neither packets nor connections, and only changes and shares mean something.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.topics import hubble, versions
from cilium_analysis.topics.flows.exchanges import Raw, exchanges
from cilium_analysis.topics.remarks import Remarks, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from cilium_analysis.queries import Query
    from cilium_analysis.source import Source
    from cilium_analysis.topics.flows.exchanges import Exchange
    from cilium_analysis.window import Window

METRICS: Mapping[str, hubble.Metric] = {
    "flows": hubble.Metric(
        "hubble_flows_processed_total",
        ("protocol", "subtype", "type", "verdict"),
        "flows",
        "flow events that Hubble handled",
    ),
    "flags": hubble.Metric(
        "hubble_tcp_flags_total",
        ("family", "flag"),
        "flows",
        "forwarded flow events with SYN, SYN-ACK, FIN or RST",
    ),
    "icmp": hubble.Metric(
        "hubble_icmp_total",
        ("family", "type"),
        "flows",
        "ICMP flow events by message type",
    ),
    "ports": hubble.Metric(
        "hubble_port_distribution_total",
        ("port", "protocol"),
        "flows",
        "forwarded flow events by destination port, without replies",
    ),
    "policy": hubble.Metric(
        "hubble_policy_verdicts_total",
        ("action", "direction", "match"),
        "verdicts",
        "policy verdicts",
    ),
    "world": hubble.Metric(
        "hubble_flows_to_world_total",
        ("port", "protocol", "verdict"),
        "flows",
        "flow events toward addresses outside the cluster, without replies",
    ),
}

QUERIES: Mapping[str, Query] = {
    "versions": versions.VERSIONS,
    "lost": hubble.LOST,
    **{name: metric.whole for name, metric in METRICS.items()},
    **{f"{name}_summed": metric.growth(*metric.labels) for name, metric in METRICS.items()},
    **{f"{name}_over_nodes": metric.over_nodes for name, metric in METRICS.items()},
}

#: What answers a SYN or an echo request; its source is who was asked.
ANSWERS = {"flags": ("flag", ("SYN-ACK",)), "icmp": ("type", ("EchoReply",))}
#: By metric: the label that tells requests from answers, its values, and the protocols.
_ASKED = {
    "flags": ("flag", "SYN", "SYN-ACK", ("TCP",)),
    "icmp": ("type", "EchoRequest", "EchoReply", ("ICMPv4", "ICMPv6")),
}


@dataclass(frozen=True)
class Counts:
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
    seen
        Frame of bool, one column per node: whether its Hubble was scraped in the step.
    """

    flows: pd.DataFrame
    flags: pd.DataFrame
    icmp: pd.DataFrame
    ports: pd.DataFrame
    policy: pd.DataFrame
    world: pd.DataFrame
    handshakes: Exchange
    echoes: Exchange
    seen: pd.DataFrame

    @property
    def there(self) -> bool:
        """Tell whether any of the counters is there."""
        every = (self.flows, self.flags, self.icmp, self.ports, self.policy, self.world)
        return any(frame.shape[1] for frame in every)


@dataclass(frozen=True)
class Flows:
    """Everything about flows in a window and its baseline.

    Parameters
    ----------
    source
        Name of the source.
    window, baseline
        What is looked at, and what it is compared with.
    now, usual
        What was counted in the window and in the baseline.
    agents
        Frame of bool, one column per node: whether its agent was scraped in the step.
    restarts
        ``time`` and ``node`` of every start of an agent in the window.
    lost
        Label frame (``node``, ``source``) of events that Hubble lost per step in the window.
    summed, refused
        The counters with too many series: without parties, and left out altogether.
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
    now: Counts
    usual: Counts
    agents: pd.DataFrame
    restarts: pd.DataFrame
    lost: pd.DataFrame
    summed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    remarks: Remarks = field(default_factory=Remarks)
    crowd_note: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @property
    def nodes(self) -> int:
        """Count the nodes."""
        every = (self.now.flows, self.now.flags)
        named = {node for f in every for node in f.columns.get_level_values("node")} - {""}
        return len(named | set(self.now.seen.columns))

    def span(self, first: int, last: int) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Give the times from the first step's begin to the end of the one before the last."""
        index = self.now.flows.index
        return index[first] - self.window.step, index[last - 1]


@told
def load(source: Source, window: Window, baseline: Window, *, match: str = "") -> Flows:
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
    now, then = (
        {name: each.counted(metric, least=metric.labels) for name, metric in METRICS.items()}
        for each in (reader, before)
    )
    handshakes, echoes = (exchanges([_raw(read, n) for read in (now, then)]) for n in _ASKED)
    summed = [name for name in METRICS if now[name].summed or then[name].summed]
    refused = [name for name in METRICS if now[name].refused or then[name].refused]
    return Flows(
        source=source.name,
        window=window,
        baseline=baseline,
        now=Counts(
            **_named(now, summed), handshakes=handshakes[0], echoes=echoes[0], seen=reader.seen
        ),
        usual=Counts(
            **_named(then, summed), handshakes=handshakes[1], echoes=echoes[1], seen=before.seen
        ),
        agents=reader.agents.seen(window),
        restarts=reader.agents.restarts(window),
        lost=reader.lost(),
        summed=tuple(METRICS[name].name for name in summed if name not in refused),
        refused=tuple(METRICS[name].name for name in refused),
        crowd_note=reader.crowd_note,
        versions=versions.ask(source, window, match=match),
    )


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


def _named(read: Mapping[str, hubble.Counted], summed: list[str]) -> dict[str, pd.DataFrame]:
    """Name the parties; where one window has none of them, the other must not have any either."""
    named = {}
    for name, metric in METRICS.items():
        increase = read[name].increase
        if name in summed:
            increase = frames.group(increase, ["node", *metric.labels])
        if name in ANSWERS:
            increase = hubble.reversed_where(increase, *ANSWERS[name])
        named[name] = hubble.parties(increase, ["node", *metric.labels])
    return named

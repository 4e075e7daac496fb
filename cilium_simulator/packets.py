"""Hubble's events of packets: flows, TCP flags, ICMP, ports, and the verdicts of policies.

A verdict is an event of its own that carries the first packet of a connection, so that its SYN or
echo request counts once more (pkg/hubble/metrics/tcp/handler.go looks at the verdict FORWARDED, not
at the type of the event).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from cilium_simulator.events import Connections, Flows, Selected, TcpFlags, Unanswered
from cilium_simulator.traffic import intensity, swell

if TYPE_CHECKING:
    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.scrape import Labels
    from cilium_simulator.traffic import Drops

REPORT_EVERY = 5  # seconds until a SYN that is sent again is reported again, bpf/lib/conntrack.h
NOBODY = ("", "", "ingress")

Peers = tuple[str, str, str]


class Count(Protocol):
    """Counts events under the labels of source, destination and direction."""

    def __call__(
        self,
        name: str,
        own: Labels,
        events: np.ndarray,
        *,
        peers: Peers = NOBODY,
        prior: float = 0,
    ) -> None:
        """Add the events to a counter."""


class Packets:
    """What passes one node."""

    def __init__(self, scenario: Scenario, node: Node, count: Count, age: int) -> None:
        """Take how to count, and for how many seconds the agent has run already."""
        self.scenario, self.node, self._count, self.age = scenario, node, count, age
        self.seconds, self.up = scenario.seconds, node.up(scenario.seconds)
        # Of its own, so that what it decides stirs nothing else.
        self.rng = np.random.default_rng([scenario.seed, 9, *node.name.encode()])

    def forwarded(self, rng: np.random.Generator) -> None:
        """Count the flows that are forwarded."""
        name, factor = "hubble_flows_processed_total", swell(self.scenario, self.node.name)
        for protocol, subtype, rate in (
            ("TCP", "to-endpoint", 60.0),
            ("TCP", "to-stack", 30.0),
            ("UDP", "to-endpoint", 8.0),
        ):
            mean = rate * float(rng.uniform(0.5, 1.5))
            events = rng.poisson(mean * factor) * self.up
            own = {"protocol": protocol, "type": "Trace", "subtype": subtype}
            self._count(name, own | {"verdict": "FORWARDED"}, events, prior=round(mean * self.age))

    def count(self, rng: np.random.Generator) -> None:
        """Count flags, messages, ports and verdicts."""
        self._tcp(rng)
        self._icmp_and_ports()

    def attempted(self, drop: Drops) -> None:
        """Count SYNs where the denied client runs: on the next node, which forwards them."""
        nodes = self.scenario.nodes
        client = nodes[(nodes.index(drop.node) + 1) % len(nodes)]
        if drop.attempts is None or drop.direction != "INGRESS" or client != self.node.name:
            return
        peers, tried = (drop.source, drop.destination, "egress"), drop.attempts
        again = np.roll(tried, REPORT_EVERY)
        again[:REPORT_EVERY] = 0
        own = {"flag": "SYN", "family": "IPv4"}
        self._count("hubble_tcp_flags_total", own, tried + again, peers=peers)
        self._verdict("TCP", tried, peers=peers)

    def _verdict(
        self, protocol: str, events: np.ndarray, *, peers: Peers = NOBODY, prior: float = 0
    ) -> None:
        """Count what a policy allows: one event per connection, with its first packet."""
        own = {"direction": peers[2], "match": "l3-l4", "action": "forwarded"}
        self._count("hubble_policy_verdicts_total", own, events, peers=peers, prior=prior)
        own = {"protocol": protocol, "type": "PolicyVerdict", "subtype": "", "verdict": "FORWARDED"}
        self._count("hubble_flows_processed_total", own, events, peers=peers, prior=prior)
        name, own = "hubble_tcp_flags_total", {"flag": "SYN", "family": "IPv4"}
        if protocol != "TCP":
            name, own = "hubble_icmp_total", {"type": "EchoRequest", "family": "IPv4"}
        self._count(name, own, events, peers=peers, prior=prior)

    def _tcp(self, rng: np.random.Generator) -> None:
        """Count the flags of forwarded packets: normally each SYN gets its SYN-ACK and FINs."""
        opened = rng.poisson(rng.uniform(4, 10) * swell(self.scenario, self.node.name)) * self.up
        answered = rng.binomial(opened, 0.998)
        resets = rng.binomial(opened, 0.01)
        flags = {"SYN": opened, "SYN-ACK": answered, "FIN": 2 * (answered - resets), "RST": resets}
        for flag, events in flags.items():
            old = round(float(np.maximum(events, 0).mean()) * self.age)
            own = {"flag": flag, "family": "IPv4"}
            self._count("hubble_tcp_flags_total", own, np.maximum(events, 0), prior=old)
        told = self.rng.binomial(opened, self.scenario.selected)
        self._verdict("TCP", told, prior=round(float(told.mean()) * self.age))
        for event in self.scenario.of(TcpFlags, Flows, Connections):
            if not event.hits(self.node.name):
                continue
            extra = rng.poisson(intensity(event, self.seconds)) * self.up
            peers = (event.source, event.destination, "ingress")
            if isinstance(event, Flows):
                self._flows_of(event, extra, peers, protocol=event.protocol)
            elif isinstance(event, Connections):
                self._connections(event, extra, peers)
            else:
                own = {"flag": event.flag, "family": "IPv4"}
                self._count("hubble_tcp_flags_total", own, extra, peers=peers)

    def _connections(self, event: Connections, opened: np.ndarray, peers: Peers) -> None:
        """Count connections of an event, from both ends of which this node sees what passes."""
        swollen = swell(self.scenario, self.node.name, source=peers[0], destination=peers[1])
        opened = opened + self.rng.poisson(opened * (swollen - 1))
        answered = opened.copy()
        for other in self.scenario.of(Unanswered, Selected):
            if not other.hits(self.node.name) or other.destination != event.destination:
                continue
            span = slice(other.start, other.end)
            if isinstance(other, Selected):
                told = np.zeros_like(opened)
                told[span] = opened[span]
                prior = round(event.rate * self.age) if other.start == event.start == 0 else 0
                self._verdict("TCP", told, peers=peers, prior=prior)
            else:
                answered[span] -= self.rng.binomial(opened[span], other.share)
        old = round(event.rate * self.age) if event.start == 0 else 0
        back = (event.destination, event.source, "egress")
        for flag, events, ends in (("SYN", opened, peers), ("SYN-ACK", answered, back)):
            own = {"flag": flag, "family": "IPv4"}
            self._count("hubble_tcp_flags_total", own, events, peers=ends, prior=old)
        self._flows_of(event, opened, peers)

    def _flows_of(
        self,
        event: Flows | Connections,
        events: np.ndarray,
        peers: Peers,
        *,
        protocol: str = "TCP",
    ) -> None:
        """Count forwarded flows of an event; of one from the start on, also those before."""
        prior = round(event.rate * self.age) if event.start == 0 else 0
        own = {"protocol": protocol, "type": "Trace", "subtype": "to-endpoint"}
        own["verdict"] = "FORWARDED"
        self._count("hubble_flows_processed_total", own, events, peers=peers, prior=prior)

    def _icmp_and_ports(self) -> None:
        """Count health probes by ICMP, and requests by port; from random numbers of their own."""
        rng = np.random.default_rng([self.scenario.seed, *self.node.name.encode()])
        asked = rng.poisson(0.2, self.seconds) * self.up
        for kind, events in (("EchoRequest", asked), ("EchoReply", rng.binomial(asked, 0.999))):
            own, old = {"type": kind, "family": "IPv4"}, round(0.2 * self.age)
            self._count("hubble_icmp_total", own, events, prior=old)
        share = self.scenario.selected
        self._verdict(
            "ICMPv4", self.rng.binomial(asked, share), prior=round(0.2 * share * self.age)
        )
        for protocol, port, rate in (("TCP", "443", 6.0), ("TCP", "8080", 9.0), ("UDP", "53", 4.0)):
            events = rng.poisson(rate, self.seconds) * self.up
            own, old = {"protocol": protocol, "port": port}, round(rate * self.age)
            self._count("hubble_port_distribution_total", own, events, prior=old)
        own = {"protocol": "TCP", "verdict": "FORWARDED"}
        leaving, old = self.rng.poisson(2.0, self.seconds) * self.up, round(2.0 * self.age)
        self._count("hubble_flows_to_world_total", own, leaving, prior=old)

"""What cilium-health of one node says about all nodes, and all addresses of each.

Up to 1.17 (pkg/metrics/metrics.go): a gauge per target. From 1.17 on: counts of paths without a
target, and a histogram in which a failed probe is 10 s (pkg/health/server/server.go).

Up to 1.17 all addresses are probed at once, every 60 s. Later ones are spread over a round, whose
length grows with their number, and shown when it ends (pkg/health/server/prober.go).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import counting
from cilium_simulator.events import Latency, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.scrape import Labels, Series, Target

#: of the first version that spreads its probes
SPREAD = (1, 18, 0)
FAILED = 10.0
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: Since Cilium 1.20, as recorded from it (tests/data/real-cilium).
NEW_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8)
TYPES = ("node", "endpoint")
PROTOCOLS = ("http", "icmp")


def address_type(place: int) -> str:
    """Name the kind of a node's address, of which the first is the primary one."""
    return "secondary" if place else "primary"


def probe_seconds(scenario: Scenario) -> int:
    """Tell how long a round of probes takes."""
    if scenario.version < SPREAD:
        return 60
    addresses = len(TYPES) * len(scenario.nodes) * (1 + scenario.secondary)
    return round((10 + 100 * scenario.probe_ratio) * float(np.log1p(addresses)))


class Health:
    """The health server of one node; what it shows is as old as its last round of probes."""

    def __init__(
        self, scenario: Scenario, node: Node, nodes: list[Node], rng: np.random.Generator
    ) -> None:
        """Draw the latencies to all targets."""
        self.scenario, self.node, self.nodes = scenario, node, nodes
        self.every, self.rng = probe_seconds(scenario), rng
        self.phase = int(rng.integers(0, self.every))
        self.rounds = np.arange(self.phase, scenario.seconds, self.every)
        self.known = {n.name: self._known(n) for n in nodes}
        self.places = range(1 + scenario.secondary)
        self.paths = {
            (n.name, kind, place): self._reached(n, kind, address_type(place))
            for n in nodes
            for kind in TYPES
            for place in self.places
        }
        #: a node is reached if all its addresses are
        self.reached = {
            (n.name, kind): np.all([self.paths[n.name, kind, i] for i in self.places], axis=0)
            for n in nodes
            for kind in TYPES
        }
        self.latency = {
            (n.name, kind, protocol, place): rng.lognormal(np.log(0.0008), 0.4, len(self.rounds))
            + self._slower(n)
            for place in self.places
            for n in nodes
            for kind in TYPES
            for protocol in PROTOCOLS
        }

    def _known(self, target: Node) -> np.ndarray:
        known: np.ndarray = (self.rounds >= target.joined) & (self.rounds < target.left)
        return known

    def _reached(self, target: Node, kind: str, address: str) -> np.ndarray:
        reached = np.ones(len(self.rounds), dtype=bool)
        probed = self._probed()
        for start, end in target.down:
            reached &= ~((probed >= start) & (probed < end))
        for event in self.scenario.of(Unreachable):
            concerned = event.type in ("", kind) and event.address_type in ("", address)
            if concerned and self._cut(event, target):
                reached &= ~((probed >= event.start) & (probed < event.end))
        return reached

    def _probed(self) -> np.ndarray:
        """Draw when an address was probed, for each round that shows it."""
        if self.scenario.version < SPREAD:
            return self.rounds
        probed: np.ndarray = self.rounds - self.every * self.rng.random(len(self.rounds))
        return probed

    def _cut(self, event: Unreachable, target: Node) -> bool:
        """Tell whether an event keeps this node from reaching a target.

        With an `observer` only that node does not reach the others, which reach it.
        """
        near, far = self.node.name in event.nodes, target.name in event.nodes
        if event.observer:
            return far and self.node.name == event.observer
        # Who is cut off still reaches itself, and nobody else.
        return far != near

    def _slower(self, target: Node) -> np.ndarray:
        """Add what makes a node slow, to and from everybody but itself."""
        extra = np.zeros(len(self.rounds))
        for event in self.scenario.of(Latency):
            if (target.name in event.nodes) != (self.node.name in event.nodes):
                extra[(self.rounds >= event.start) & (self.rounds < event.end)] += event.added
        return extra

    def series(self, target: Target) -> Iterator[Series]:
        """Yield the connectivity metrics of this agent's version."""
        last = np.clip((target.seconds - self.phase) // self.every, 0, len(self.rounds) - 1)
        index = last.astype(np.int64)
        if self.scenario.version < (1, 18, 0):
            yield from self._per_target(target, index)
        if self.scenario.version >= (1, 17, 0):
            yield from self._paths(target, index)
            yield from self._histogram(target)
        down = self._count("node", reached=False)[index]
        yield from target.series("cilium_unreachable_nodes", "gauge", {}, down)
        missed = self._count("endpoint", reached=False)[index]
        yield from target.series("cilium_unreachable_health_endpoints", "gauge", {}, missed)
        known = down + self._count("node", reached=True)[index]
        yield from target.series("cilium_nodes_all_num", "gauge", {}, known)

    def _count(self, kind: str, *, reached: bool) -> np.ndarray:
        """Count in each round the known nodes that were reached, or were not."""
        hits = [self.known[n.name] & (self.reached[n.name, kind] == reached) for n in self.nodes]
        total: np.ndarray = np.sum(hits, axis=0)
        return total

    def _addresses(self, kind: str, *, reached: bool) -> np.ndarray:
        """Count in each round the addresses of known nodes that were reached, or were not."""
        hits = [
            self.known[n.name] & (self.paths[n.name, kind, place] == reached)
            for n in self.nodes
            for place in self.places
        ]
        total: np.ndarray = np.sum(hits, axis=0)
        return total

    def _source(self) -> Labels:
        return {"source_cluster": "default", "source_node_name": self.node.name}

    def _per_target(self, target: Target, index: np.ndarray) -> Iterator[Series]:
        for other in self.nodes:
            near = other.name == self.node.name
            own = self._source() | {
                "target_cluster": "default",
                "target_node_name": other.name,
                "target_node_type": "local_node" if near else "remote_intra_cluster",
            }
            known = self.known[other.name][index]
            for kind in TYPES:
                labels = {**own, "type": kind}
                name = "cilium_node_connectivity_status"
                reached = self.reached[other.name, kind][index]
                yield from target.series(name, "gauge", labels, reached, known)
                for place, protocol in product(self.places, PROTOCOLS):
                    ip = f"fd00:10::{place}:{other.ip.replace('.', ':')}" if place else other.ip
                    shown = self.latency[other.name, kind, protocol, place][index]
                    # The old gauge keeps what the last probe took, which gave up sooner.
                    shown = np.where(self.paths[other.name, kind, place][index], shown, 5.0)
                    name = "cilium_node_connectivity_latency_seconds"
                    full = {**labels, "protocol": protocol, "address_type": address_type(place)}
                    full |= {"target_node_ip": ip}
                    yield from target.series(name, "gauge", full, shown, known)

    def _own(self) -> Labels:
        return self._source() if self.scenario.version < (1, 19, 0) else {}

    def _paths(self, target: Target, index: np.ndarray) -> Iterator[Series]:
        for kind in TYPES:
            good = self._addresses(kind, reached=True)[index]
            bad = self._addresses(kind, reached=False)[index]
            for status, paths in (("reachable", good), ("unreachable", bad), ("unknown", 0 * bad)):
                own = self._own() | {"type": kind, "status": status}
                name = "cilium_node_health_connectivity_status"
                yield from target.series(name, "gauge", own, paths)

    def _histogram(self, target: Target) -> Iterator[Series]:
        for kind, protocol in product(TYPES, PROTOCOLS):
            for address in dict.fromkeys(address_type(place) for place in self.places):
                own = self._own() | {"type": kind, "protocol": protocol, "address_type": address}
                took = [
                    self._took(other, kind, protocol, place)
                    for other in self.nodes
                    for place in self.places
                    if address_type(place) == address
                ]
                bounds = NEW_BUCKETS if self.scenario.version >= (1, 20) else BUCKETS
                for bound in (*bounds, np.inf):
                    hits = np.sum([(x <= bound) for x in took], axis=0)
                    labels = {**own, "le": "+Inf" if bound == np.inf else f"{bound:g}"}
                    yield from self._sum_up(target, "_bucket", labels, hits)
                known = np.sum([np.isfinite(x) for x in took], axis=0)
                yield from self._sum_up(target, "_count", own, known)
                total = np.nansum(np.array(took), axis=0)
                yield from self._sum_up(target, "_sum", own, total)

    def _took(self, other: Node, kind: str, protocol: str, place: int) -> np.ndarray:
        """Return what each round recorded for an address, NaN while its node was not known."""
        took = np.where(
            self.paths[other.name, kind, place],
            self.latency[other.name, kind, protocol, place],
            FAILED,
        )
        return np.where(self.known[other.name], took, np.nan)

    def _sum_up(
        self, target: Target, ending: str, own: Labels, rounds: np.ndarray
    ) -> Iterator[Series]:
        arrivals = np.zeros(self.scenario.seconds)
        arrivals[self.rounds] = rounds
        age = max(-self.node.runs[0].start, 0) // self.every
        prior = float(rounds[0]) * age
        values = counting.in_process(arrivals, self.node, target.seconds, prior=prior)
        name = f"cilium_node_health_connectivity_latency_seconds{ending}"
        yield from target.series(name, "histogram", own, values)

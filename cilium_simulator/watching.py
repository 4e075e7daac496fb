"""What an agent exposes about what it is told: objects, nodes, services, and their policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import counting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.scrape import Labels, Series, Target

#: scope, action, whether the object is as it was before, events/s
KUBERNETES = (
    ("Pod", "create", False, 0.01),
    ("Pod", "update", False, 0.04),
    ("Pod", "update", True, 0.02),
    ("Node", "update", True, 0.05),
    ("Service", "update", False, 0.003),
    ("EndpointSlice", "update", False, 0.03),
    ("Namespace", "update", True, 0.002),
    ("CiliumNetworkPolicy", "update", False, 0.004),
    ("NetworkPolicy", "update", False, 0.002),
)
SERVICES = (("update", 0.02), ("add", 0.001), ("delete", 0.001))
NODES = (("update", "custom-resource", 0.01),)
IDENTITY_SECONDS = 0.02  # until a new identity is in all policies
IDENTITY_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 1.0, 10.0)
IDENTITY_SINCE = (1, 18, 0)
ENFORCED = 3  # endpoints of a node that policies select, for ingress
ENFORCEMENTS = ("both", "egress", "ingress", "none", "audit-both", "audit-egress", "audit-ingress")


class Watch:
    """What one agent is told; from random numbers of its own."""

    def __init__(self, scenario: Scenario, node: Node) -> None:
        """Draw what is peculiar to this node."""
        self.scenario, self.node = scenario, node
        rng = np.random.default_rng([scenario.seed, 91, scenario.nodes.index(node.name)])
        seconds = scenario.seconds
        self.received = [
            (_objects(scope, action, same), rng.poisson(rate, seconds))
            for scope, action, same, rate in KUBERNETES
        ]
        self.services = [({"action": a}, rng.poisson(rate, seconds)) for a, rate in SERVICES]
        self.told = [
            ({"event_type": kind, "source": source}, rng.poisson(rate, seconds))
            for kind, source, rate in NODES
        ]
        self.identities = rng.poisson(0.01, seconds)
        self.age = max(-node.runs[0].start, 0)

    def series(self, target: Target, endpoints: np.ndarray) -> Iterator[Series]:
        """Yield everything; endpoints are those at the moments of the scrapes."""
        processed = "cilium_kubernetes_events_total"
        for own, arrivals in self.received:
            name = "cilium_kubernetes_events_received_total"
            yield from self._counter(target, name, own, arrivals)
            if own["equal"] == "false":
                done = {"scope": own["scope"], "action": own["action"], "status": "success"}
                yield from self._counter(target, processed, done, arrivals)
        for name, counted in (
            ("cilium_services_events_total", self.services),
            ("cilium_nodes_all_events_received_total", self.told),
        ):
            for own, arrivals in counted:
                yield from self._counter(target, name, own, arrivals)
        yield from self._enforcement(target, endpoints)
        if self.scenario.version >= IDENTITY_SINCE:
            yield from self._identity_updates(target)

    def _counter(
        self, target: Target, name: str, own: Labels, arrivals: np.ndarray
    ) -> Iterator[Series]:
        prior = round(float(arrivals.mean()) * self.age)
        values = counting.in_process(arrivals, self.node, target.seconds, prior=prior)
        yield from target.series(name, "counter", own, values, values > 0)

    def _enforcement(self, target: Target, endpoints: np.ndarray) -> Iterator[Series]:
        chosen = np.minimum(endpoints, ENFORCED)
        for kind in ENFORCEMENTS:
            count = {"ingress": chosen, "none": endpoints - chosen}.get(kind, 0 * endpoints)
            name = "cilium_policy_endpoint_enforcement_status"
            yield from target.series(name, "gauge", {"enforcement": kind}, count)

    def _identity_updates(self, target: Target) -> Iterator[Series]:
        name, own = "cilium_policy_incremental_update_duration", {"scope": "global"}
        done = counting.in_process(self.identities, self.node, target.seconds)
        yield from timed(target, name, own, done, IDENTITY_SECONDS, IDENTITY_BOUNDS)


def _objects(scope: str, action: str, same: bool) -> Labels:
    return {"scope": scope, "action": action, "valid": "true", "equal": str(same).lower()}


def timed(
    target: Target,
    name: str,
    own: Labels,
    done: np.ndarray,
    seconds: float,
    bounds: tuple[float, ...],
) -> Iterator[Series]:
    """Yield a histogram of what always takes as long."""
    there = done > 0
    yield from target.series(f"{name}_count", "histogram", own, done, there)
    yield from target.series(f"{name}_sum", "histogram", own, done * seconds, there)
    for bound in (*(f"{b:g}" for b in bounds), "+Inf"):
        within = done if float(bound) >= seconds else 0 * done
        yield from target.series(f"{name}_bucket", "histogram", own | {"le": bound}, within, there)

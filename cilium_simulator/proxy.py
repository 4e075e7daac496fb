"""What an agent exposes about its layer 7 proxies: rules, redirects, and the DNS proxy's times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import counting
from cilium_simulator.watching import timed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.scrape import Series, Target
    from cilium_simulator.traffic import Lookups, Requests

TYPED_SINCE = (1, 14, 6)
#: mean seconds of the steps of a lookup through the DNS proxy, pkg/proxy/proxy.go and dns.go
DNS_SECONDS = {
    "totalTime": 0.006,
    "upstreamTime": 0.004,
    "processingTime": 0.0015,
    "semaphoreTime": 0.0,
    "policyCheckTime": 0.0002,
    "policyGenerationTime": 0.0003,
    "dataplaneTime": 0.001,
}
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ERRORS = {"Policy denied": "denied", "no response": "timeout"}


class Proxies:
    """The layer 7 proxies of one node."""

    def __init__(
        self, scenario: Scenario, node: Node, requests: list[Requests], lookups: list[Lookups]
    ) -> None:
        """Pick what passes through them."""
        self.scenario, self.node = scenario, node
        self.requests = [r for r in requests if r.node == node.name]
        self.lookups = [x for x in lookups if x.node == node.name]

    def series(self, target: Target) -> Iterator[Series]:
        """Yield everything."""
        rules = {"envoy": self._rules(), "fqdn": self._dns_rules()}
        if self.scenario.version < TYPED_SINCE:
            rules = {"": {k: rules["envoy"][k] + rules["fqdn"][k] for k in rules["envoy"]}}
        for kind, counted in rules.items():
            for rule, arrivals in counted.items():
                yield from self._rule(target, kind, rule, arrivals)
        yield from self._redirects(target)
        for error in ("allow", *ERRORS.values()):
            yield from self._times(target, error)

    def _rules(self) -> dict[str, np.ndarray]:
        denied = self._sum([r.arrivals for r in self.requests if r.denied])
        passed = self._sum([r.arrivals for r in self.requests if not r.denied])
        return {"received": denied + passed, "forwarded": passed, "denied": denied}

    def _dns_rules(self) -> dict[str, np.ndarray]:
        denied = self._sum([x.arrivals for x in self.lookups if x.rcode == "Policy denied"])
        passed = self._sum([x.arrivals for x in self.lookups if x.rcode != "Policy denied"])
        return {"received": denied + passed, "forwarded": passed, "denied": denied}

    def _sum(self, arrivals: list[np.ndarray]) -> np.ndarray:
        total: np.ndarray = np.sum([np.zeros(self.scenario.seconds), *arrivals], axis=0)
        return total

    def _rule(self, target: Target, kind: str, rule: str, arrivals: np.ndarray) -> Iterator[Series]:
        usual = 0.0 if rule == "denied" else float(arrivals.mean())
        prior = round(usual * max(-self.node.runs[0].start, 0))
        values = counting.in_process(arrivals, self.node, target.seconds, prior=prior)
        if not kind:
            yield from target.series(f"cilium_policy_l7_{rule}_total", "counter", {}, values)
        own = {"rule": rule} | ({"proxy_type": kind} if kind else {})
        yield from target.series("cilium_policy_l7_total", "counter", own, values, values > 0)

    def _redirects(self, target: Target) -> Iterator[Series]:
        for protocol, number in (
            ("http", len({r.destination for r in self.requests})),
            ("dns", len({x.source for x in self.lookups})),
        ):
            levels = np.full(len(target.seconds), float(number))
            own = {"protocol_l7": protocol}
            yield from target.series("cilium_proxy_redirects", "gauge", own, levels, levels > 0)

    def _times(self, target: Target, error: str) -> Iterator[Series]:
        mine = [x.arrivals for x in self.lookups if ERRORS.get(x.rcode, "allow") == error]
        done = counting.in_process(self._sum(mine), self.node, target.seconds)
        for scope, seconds in DNS_SECONDS.items():
            own = {"error": error, "protocol_l7": "dns", "scope": scope}
            name = "cilium_proxy_upstream_reply_seconds"
            yield from timed(target, name, own, done, seconds, BOUNDS)

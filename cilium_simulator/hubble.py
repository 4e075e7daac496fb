"""What the Hubble server of one node exposes on port 9965 (pkg/hubble/metrics of Cilium)."""

from __future__ import annotations

from collections import defaultdict
from math import erf, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import counting
from cilium_simulator.events import RING, LostEvents
from cilium_simulator.packets import Packets
from cilium_simulator.reasons import HUBBLE
from cilium_simulator.traffic import intensity
from cilium_simulator.workloads import FOREVER, Pod, Pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.scrape import Labels, Series, Target
    from cilium_simulator.traffic import Drops, Lookups, Requests

TWICE = 0.95  # share of denied packets that make a policy verdict beside the drop
SEEN = 0.995  # the rest is lost in the ring buffer
GONE_AFTER = 60  # seconds a series outlives the pod it names, pkg/hubble/metrics/metrics.go, 1.14
PROXY = ("hubble_http", "hubble_dns")  # seen by the proxy, not by way of the perf ring
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SPREAD = 0.6  # of the logarithm of HTTP durations

Key = tuple[tuple[str, str], ...]


class Counters:
    """Events per label set: what two streams share is one series."""

    def __init__(self, seconds: int) -> None:
        """Start empty."""
        self._seconds = seconds
        self._events: dict[Key, np.ndarray] = {}
        self._prior: dict[Key, float] = defaultdict(float)
        self._until: dict[Key, int] = defaultdict(int)

    def add(self, own: Labels, events: np.ndarray, prior: float, until: int) -> None:
        """Count events under labels that exist until a moment."""
        key = tuple(sorted(own.items()))
        self._events[key] = self._events.get(key, np.zeros(self._seconds)) + events
        self._prior[key] += prior
        self._until[key] = max(self._until[key], until)

    def series(self, target: Target, node: Node, name: str, kind: str) -> Iterator[Series]:
        """Yield what the scrapes saw."""
        for key, events in self._events.items():
            prior = self._prior[key]
            values = counting.in_process(events, node, target.seconds, prior=prior)
            present = (values > 0) & (target.seconds < self._until[key])
            yield from target.series(name, kind, dict(key), values, present)


class Hubble:
    """The Hubble server of one node."""

    def __init__(
        self,
        scenario: Scenario,
        node: Node,
        drops: list[Drops],
        requests: list[Requests],
        lookups: list[Lookups],
        pods: Pods,
        rng: np.random.Generator,
    ) -> None:
        """Turn packets into events once."""
        self.scenario, self.node, self.pods = scenario, node, pods
        self.counters: dict[str, tuple[str, Counters]] = {}
        self.age = max(-node.runs[0].start, 0)
        # Of its own, so that what it decides stirs nothing else.
        self.rng = np.random.default_rng([scenario.seed, 7, *node.name.encode()])
        for drop in [d for d in drops if d.node == node.name]:
            self._drop(drop, rng)
        for request in [r for r in requests if r.node == node.name]:
            self._request(request)
        for lookup in [x for x in lookups if x.node == node.name]:
            self._lookup(lookup)
        packets = Packets(scenario, node, self._count, self.age)
        packets.forwarded(rng)
        self.counters["hubble_lost_events_total"] = ("counter", self._lost(rng))
        packets.count(rng)
        for drop in [d for d in drops if d.attempts is not None]:
            packets.attempted(drop)

    def series(self, target: Target) -> Iterator[Series]:
        """Yield everything this server exposes."""
        yield from target.up_series()
        for name, (kind, counters) in self.counters.items():
            yield from counters.series(target, self.node, name, kind)

    def _count(
        self,
        name: str,
        own: Labels,
        events: np.ndarray,
        *,
        peers: tuple[str, str, str] = ("", "", "ingress"),
        prior: float = 0,
        kind: str = "counter",
        bare: bool = False,
    ) -> None:
        """Add events under the labels of the configured context, split by pod where it names any.

        `peers` are source, destination and traffic direction; `bare` ones are known by app only.
        """
        counters = self.counters.setdefault(name, (kind, Counters(self.scenario.seconds)))[1]
        if not name.startswith(PROXY):
            events = self._reached(events)
        for context, start, end in self._contexts(*peers, bare=bare):
            share = np.zeros_like(events)
            span = slice(max(start, 0), min(max(end, 0), len(events)))
            share[span] = events[span]
            old = prior if start <= 0 else 0
            if old or share.any():
                until = FOREVER if end >= FOREVER else end + GONE_AFTER
                counters.add(own | context, share, old, until)

    def _reached(self, events: np.ndarray) -> np.ndarray:
        """Leave out what was lost before Hubble could count it."""
        for event in self.scenario.of(LostEvents):
            if event.hits(self.node.name) and event.buffer != RING:
                span, kept = slice(event.start, event.end), events.copy()
                kept[span] = self.rng.binomial(events[span], 1 - event.share)
                events = kept
        return events

    def _lost(self, rng: np.random.Generator) -> Counters:
        """Count what was lost: now and then some, and what events say."""
        seconds, up = self.scenario.seconds, self.node.up(self.scenario.seconds)
        counters = Counters(seconds)
        own = {"source": "perf_event_ring_buffer"}
        counters.add(own, rng.poisson(0.0005, seconds) * up, 0, FOREVER)
        for event in self.scenario.of(LostEvents):
            if event.hits(self.node.name):
                lost = self.rng.poisson(intensity(event, seconds)) * up
                counters.add({"source": event.buffer}, lost, 0, FOREVER)
        return counters

    def _contexts(
        self, source: str, destination: str, way: str, *, bare: bool
    ) -> Iterator[tuple[Labels, int, int]]:
        """Yield the context labels and the span in which they hold."""
        context = self.scenario.context
        if bare:
            apps = (source.partition("/")[2], destination.partition("/")[2])
            yield dict(zip(("source_app", "destination_app"), apps, strict=True)), -FOREVER, FOREVER
            return
        if "pod" not in context:
            yield self._plain(source, destination, way), -FOREVER, FOREVER
            return
        here = self.node.name
        near, far = (destination, source) if way == "ingress" else (source, destination)
        for local in self._pods(near, here):
            for remote in self._pods(far, ""):
                start, end = max(local.start, remote.start), min(local.end, remote.end)
                if start < end:
                    first, second = (remote, local) if way == "ingress" else (local, remote)
                    yield self._named(source, first, destination, second, way), start, end

    def _pods(self, workload: str, node: str) -> list[Pod]:
        return self.pods.of(workload, node) if workload else [Pod("", -FOREVER, FOREVER)]

    def _plain(self, source: str, destination: str, way: str) -> Labels:
        if self.scenario.context == "none":
            return {}
        if self.scenario.context == "workload":
            return {"source": source, "destination": destination}
        (a, _, b), (c, _, d) = source.partition("/"), destination.partition("/")
        if self.scenario.context == "source-app":
            return {"source_app": b}
        return {
            "source_namespace": a,
            "source_workload": b,
            "destination_namespace": c,
            "destination_workload": d,
            "traffic_direction": way,
        }

    def _named(self, source: str, first: Pod, destination: str, second: Pod, way: str) -> Labels:
        if self.scenario.context == "pod-workload":
            return {"source": _join(source.partition("/")[0], first), "destination": destination}
        if self.scenario.context == "pod":
            a, b = source.partition("/")[0], destination.partition("/")[0]
            return {"source": _join(a, first), "destination": _join(b, second)}
        names = {"source_pod": first.name, "destination_pod": second.name}
        return self._plain(source, destination, way) | names

    def _drop(self, drop: Drops, rng: np.random.Generator) -> None:
        """Count a drop: an event each, and for a denied packet the policy verdict as well."""
        way = drop.direction.lower()
        peers = (drop.source, drop.destination, way)
        prior = drop.prior * self.age // max(-self.node.joined, 1)
        denied = drop.reason in ("Policy denied", "Policy denied by denylist")
        single = rng.binomial(drop.arrivals, SEEN)
        verdicts = rng.binomial(single, TWICE) if denied else 0 * single
        own = {"reason": HUBBLE[drop.reason], "protocol": drop.protocol}
        events = single + verdicts
        old = round(prior * (1 + TWICE * denied))
        self._count("hubble_drop_total", own, events, peers=peers, prior=old)
        flows = {"protocol": drop.protocol, "verdict": "DROPPED"}
        name = "hubble_flows_processed_total"
        self._count(name, flows | {"type": "Drop", "subtype": ""}, single, peers=peers, prior=prior)
        if denied:
            own = {"direction": way, "match": "none", "action": "dropped"}
            self._count("hubble_policy_verdicts_total", own, verdicts, peers=peers, prior=prior)
            flows |= {"type": "PolicyVerdict", "subtype": ""}
            self._count(name, flows, verdicts, peers=peers, prior=prior)

    def _request(self, request: Requests) -> None:
        peers = (request.source, request.destination, "ingress")
        usual = 0.0 if request.denied or request.event else float(request.arrivals.mean())
        prior = round(usual * self.age)
        for reporter in request.reporters:
            own = {"method": request.method, "reporter": reporter}
            self._http(request, own, peers, prior)
        flows = {"protocol": "HTTP", "type": "L7", "subtype": "HTTP"}
        flows["verdict"] = "DROPPED" if request.denied else "FORWARDED"
        name = "hubble_flows_processed_total"
        self._count(name, flows, request.arrivals, peers=peers, prior=prior)
        if request.denied:
            # An L7 denial has no datapath reason, and is not in cilium_drop_count_total.
            own_drop = {"reason": "DROP_REASON_UNKNOWN", "protocol": "HTTP"}
            self._count("hubble_drop_total", own_drop, request.arrivals, peers=peers)

    def _http(
        self, request: Requests, own: Labels, peers: tuple[str, str, str], prior: float
    ) -> None:
        """Count a request the way of httpV2, or of http with its swapped responses."""
        protocol = {"protocol": "HTTP/1.1"}
        status = {"status": request.status}
        name, arrivals = "hubble_http_requests_total", request.arrivals
        if self.scenario.http == "v2":
            self._count(name, own | protocol | status, arrivals, peers=peers, prior=prior)
            self._duration(request, own, peers, prior)
            return
        self._count(name, own | protocol, arrivals, peers=peers, prior=prior)
        back = (peers[1], peers[0], "egress")
        name = "hubble_http_responses_total"
        self._count(name, own | protocol | status, arrivals, peers=back, prior=prior)
        self._duration(request, own, back, prior)

    def _duration(
        self, request: Requests, own: Labels, peers: tuple[str, str, str], prior: float
    ) -> None:
        name = "hubble_http_request_duration_seconds"
        total = np.cumsum(request.arrivals)
        for bound in (*BUCKETS, np.inf):
            share = _below(bound, request.latency)
            # Rounding the running total keeps every bucket whole and rising.
            events = np.diff(np.floor(total * share), prepend=0)
            labels = own | {"le": "+Inf" if bound == np.inf else f"{bound:g}"}
            old = float(np.floor(prior * share))
            self._count(f"{name}_bucket", labels, events, peers=peers, prior=old, kind="histogram")
        mean = request.latency * float(np.exp(SPREAD**2 / 2))
        count, spent = request.arrivals, request.arrivals * mean
        kind = "histogram"
        self._count(f"{name}_count", own, count, peers=peers, prior=prior, kind=kind)
        self._count(f"{name}_sum", own, spent, peers=peers, prior=prior * mean, kind=kind)

    def _lookup(self, lookup: Lookups) -> None:
        """Count a lookup: the question from its client, the answer from the DNS server."""
        usual = 0.0 if lookup.event else float(lookup.arrivals.mean())
        prior = round(usual * self.age)
        server = "kube-system/coredns"
        own = {"qtypes": "A", "query": lookup.query if self.scenario.dns_query else ""}
        # A query that a policy denies has its code at once, and no response.
        code = lookup.rcode if lookup.rcode == "Policy denied" else ""
        name = self.scenario.dns_code
        asked = own | {name: code, "ips_returned": "0"}
        ips = "1" if lookup.rcode == "No Error" else "0"
        answered = own | {name: lookup.rcode, "ips_returned": ips}
        there = (lookup.source, server, "egress")
        back = (server, lookup.source, "ingress")
        count, bare = lookup.arrivals, self.scenario.dns_bare
        self._count("hubble_dns_queries_total", asked, count, peers=there, prior=prior, bare=bare)
        if lookup.rcode in ("Policy denied", "no response"):
            return
        self._count(
            "hubble_dns_responses_total", answered, count, peers=back, prior=prior, bare=bare
        )
        if lookup.rcode == "No Error":
            name, records = "hubble_dns_response_types_total", own | {"type": "A"}
            self._count(name, records, count, peers=back, prior=prior, bare=bare)


def _join(namespace: str, pod: Pod) -> str:
    return f"{namespace}/{pod.name}" if pod.name else ""


def _below(bound: float, median: float) -> float:
    """Return the share of log-normal durations up to a bound."""
    if bound == np.inf:
        return 1.0
    return 0.5 * (1 + erf(log(bound / median) / (SPREAD * sqrt(2))))

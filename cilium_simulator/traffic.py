"""True packets and requests per second: what happens, before anybody counts it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import events
from cilium_simulator.events import DNS_CLIENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.events import Event, Rated, Shaped
    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario, Service

#: reason, direction, protocol, source, destination, packets/s per node of ordinary drops
BACKGROUND = (
    ("Unsupported L3 protocol", "EGRESS", "Unknown", "", "", 0.05),
    ("Stale or unroutable IP", "INGRESS", "TCP", "monitoring/prometheus", "default/web", 0.02),
    ("CT: Truncated or invalid header", "INGRESS", "TCP", "", "default/api", 0.008),
    ("Invalid source ip", "EGRESS", "ICMPv6", "", "", 0.005),
    ("Policy denied", "EGRESS", "UDP", "batch/report", "kube-system/coredns", 0.01),
    ("Policy denied", "INGRESS", "TCP", "default/crawler", "default/api", 0.01),
)
# Search domains make names that do not exist an ordinary thing.
DNS_ANSWERS = (
    ("No Error", "api.default.svc.cluster.local.", 0.90),
    ("Non-Existent Domain", "api.default.svc.cluster.local.cluster.local.", 0.098),
    ("Server Failure", "billing.example.org.", 0.002),
)
# The work of a day rises and falls with the office: least at 02:00, most at 14:00 UTC.
DAY_SWING = 0.6
DAY_PEAK = 14 * 3600


@dataclass(frozen=True)
class Drops:
    """Packets of one kind that one node really dropped, in each second."""

    node: str
    reason: str
    direction: str
    protocol: str
    source: str
    destination: str
    arrivals: np.ndarray
    #: packets dropped between the node's last boot and the start of the simulation
    prior: int
    size: int
    event: Event | None = None
    #: connections of which these packets are the SYNs, by the second of the first one
    attempts: np.ndarray | None = None


@dataclass(frozen=True)
class Requests:
    """HTTP requests of one kind answered at one node, in each second."""

    node: str
    source: str
    destination: str
    method: str
    status: str
    latency: float
    arrivals: np.ndarray
    #: the proxy refused them; the application never saw them
    denied: bool = False
    reporters: tuple[str, ...] = ("server",)
    event: Event | None = None


@dataclass(frozen=True)
class Lookups:
    """DNS lookups of one kind that the proxy of one node saw answered, in each second."""

    node: str
    source: str
    rcode: str
    query: str
    arrivals: np.ndarray
    event: Event | None = None


def pattern(scenario: Scenario, rng: np.random.Generator) -> np.ndarray:
    """Return the factor by which traffic differs from its mean, for each second."""
    factor = np.ones(scenario.seconds)
    if scenario.daily:
        clock = scenario.epoch + np.arange(scenario.seconds)
        factor += DAY_SWING * np.cos(2 * np.pi * (clock - DAY_PEAK) / 86400)
    if scenario.burstiness:
        # Real drops come in clumps: a gamma mixture varies more than Poisson, its mean stays.
        shape = 1 / scenario.burstiness
        minutes = rng.gamma(shape, 1 / shape, scenario.seconds // 60 + 1)
        factor = factor * np.repeat(minutes, 60)[: scenario.seconds]
    return factor


def swell(scenario: Scenario, node: str, *, source: str = "", destination: str = "") -> np.ndarray:
    """Return the factor by which events of the kind `load` multiply traffic, for each second.

    One that names an end is only about the services that have it.
    """
    factor = np.ones(scenario.seconds)
    for event in scenario.of(events.Load):
        if (
            event.hits(node)
            and event.source in ("", source)
            and event.destination in ("", destination)
        ):
            span = slice(event.start, event.end)
            factor[span] *= 1 + (event.factor - 1) * shape(event)
    return factor


def drops(scenario: Scenario, nodes: list[Node], rng: np.random.Generator) -> list[Drops]:
    """Simulate every dropped packet: the ordinary ones and those of events."""
    streams = []
    for node in nodes:
        up = node.up(scenario.seconds)
        streams += list(_background(scenario, node, up, rng))
        for event in scenario.of(events.Drops):
            if event.hits(node.name):
                streams.append(_of_event(scenario, event, node, up, rng))
    return [s for s in streams if s.prior or s.arrivals.any()]


def _background(
    scenario: Scenario, node: Node, up: np.ndarray, rng: np.random.Generator
) -> Iterator[Drops]:
    for reason, direction, protocol, source, destination, rate in BACKGROUND:
        # Nodes differ: some never see a reason at all.
        mean = rate * scenario.noise * float(rng.gamma(2.0, 0.5))
        if rng.random() < 0.2 or not mean:
            continue
        # Of more traffic more is dropped.
        traffic = pattern(scenario, rng) * swell(scenario, node.name)
        arrivals = rng.poisson(mean * traffic) * up
        prior = int(rng.poisson(mean * -node.joined)) if node.joined < 0 else 0
        size = int(rng.integers(54, 120))
        labels = (node.name, reason, direction, protocol, source, destination)
        yield Drops(*labels, arrivals, prior, size)


def intensity(event: Rated, seconds: int) -> np.ndarray:
    """Return the mean packets per second of an event: a step, or a ramp up to its rate."""
    curve = np.zeros(seconds)
    curve[event.start : event.end] = event.rate * shape(event)
    return curve


def shape(event: Shaped) -> np.ndarray:
    """Return how far an event has come, 0 to 1, in each of its seconds."""
    length = event.end - event.start
    return np.linspace(0, 1, length) if event.shape == "ramp" else np.ones(length)


def _taken(
    event: events.Http | events.Dns, arrivals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pick what an event with a share turns into its own."""
    taken = np.zeros_like(arrivals)
    span = slice(event.start, event.end)
    taken[span] = rng.binomial(arrivals[span], event.share * shape(event))
    return taken


def _of_event(
    scenario: Scenario, event: events.Drops, node: Node, up: np.ndarray, rng: np.random.Generator
) -> Drops:
    if event.packets:
        arrivals = np.zeros(scenario.seconds, dtype=np.int64)
        length = event.end - event.start
        arrivals[event.start : event.end] = rng.multinomial(
            event.packets, np.full(length, 1 / length)
        )
    else:
        arrivals = rng.poisson(intensity(event, scenario.seconds))
    labels = (node.name, event.reason, event.direction, event.protocol)
    ends, attempts = (event.source, event.destination), None
    if scenario.retries and event.protocol == "TCP" and event.reason.startswith("Policy denied"):
        arrivals, attempts = _retried(scenario, event, arrivals, node.name)
        attempts = attempts * up
    return Drops(*labels, *ends, arrivals * up, 0, 66, event, attempts)


def _retried(
    scenario: Scenario, event: events.Drops, arrivals: np.ndarray, node: str
) -> tuple[np.ndarray, np.ndarray]:
    """Make packets the SYNs of connections: one a second each, as long as the event lasts."""
    rng = np.random.default_rng([scenario.seed, event.start, *node.encode()])
    attempts = rng.binomial(arrivals, 1 / scenario.retries)
    sent = np.convolve(attempts, np.ones(scenario.retries, dtype=np.int64))[: len(attempts)]
    sent[event.end :] = 0
    return sent, attempts


def requests(scenario: Scenario, nodes: list[Node], rng: np.random.Generator) -> list[Requests]:
    """Simulate every HTTP request that the proxy sees."""
    streams: list[Requests] = []
    for node in nodes:
        up = node.up(scenario.seconds)
        for service in scenario.services:
            workers = [n.name for n in nodes if n.name.startswith("worker")]
            if node.name in (service.nodes or workers):
                streams += _of_service(scenario, service, node, up, rng)
        for event in scenario.of(events.Http):
            if not event.hits(node.name):
                continue
            if event.share:
                streams = list(_changed(event, node.name, streams, rng))
            else:
                arrivals = rng.poisson(intensity(event, scenario.seconds)) * up
                labels = (node.name, event.source, event.destination, event.method or "GET")
                latency = event.latency or 0.02
                streams.append(Requests(*labels, event.status, latency, arrivals, event=event))
    return [s for s in streams if s.arrivals.any()]


def _changed(
    event: events.Http, node: str, streams: list[Requests], rng: np.random.Generator
) -> Iterator[Requests]:
    """Give the requests of a node when some of the usual ones went another way."""
    for stream in streams:
        ends = event.source in ("", stream.source) and event.destination in ("", stream.destination)
        usual = stream.node == node and not stream.denied and stream.event is None
        if not (usual and ends):
            yield stream
            continue
        taken = _taken(event, stream.arrivals, rng)
        yield replace(stream, arrivals=stream.arrivals - taken)
        yield replace(
            stream,
            status=event.status or stream.status,
            latency=event.latency or stream.latency,
            arrivals=taken,
            event=event,
        )


def _of_service(
    scenario: Scenario, service: Service, node: Node, up: np.ndarray, rng: np.random.Generator
) -> Iterator[Requests]:
    ends = {"source": service.source, "destination": service.destination}
    wave = pattern(scenario, rng) * swell(scenario, node.name, **ends)
    policies = [e for e in scenario.of(events.Policy) if e.destination == service.destination]
    for method, share in service.methods.items():
        for status, part in service.statuses.items():
            arrivals = rng.poisson(service.rate * share * part * wave) * up
            labels = (node.name, service.source, service.destination, method)
            for policy in policies:
                refused = _refused(policy, method, arrivals, rng)
                arrivals = arrivals - refused
                # Envoy refuses without asking the application, so it is quick.
                both = service.reporters
                yield Requests(*labels, "403", 0.002, refused, True, both, policy)
            yield Requests(*labels, status, service.latency, arrivals, False, service.reporters)


def _refused(
    policy: events.Policy, method: str, arrivals: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Pick what a policy refuses while it holds: other methods, and other paths of its own."""
    span = slice(policy.start, policy.end)
    allowed = not policy.methods or method in policy.methods
    refused = np.zeros_like(arrivals)
    refused[span] = rng.binomial(arrivals[span], policy.refused if allowed else 1.0)
    return refused


def lookups(scenario: Scenario, nodes: list[Node], rng: np.random.Generator) -> list[Lookups]:
    """Simulate the DNS lookups that a layer 7 rule makes visible."""
    streams: list[Lookups] = []
    for node in nodes if scenario.dns else []:
        up = node.up(scenario.seconds)
        for client in DNS_CLIENTS:
            wave = scenario.dns * pattern(scenario, rng) * swell(scenario, node.name)
            for rcode, query, share in DNS_ANSWERS:
                arrivals = rng.poisson(wave * share) * up
                streams.append(Lookups(node.name, client, rcode, query, arrivals))
        for event in scenario.of(events.Dns):
            if not event.hits(node.name):
                continue
            if event.share:
                streams = list(_failed(event, node.name, streams, rng))
            else:
                arrivals = rng.poisson(intensity(event, scenario.seconds)) * up
                labels = (node.name, event.source, event.rcode, event.query)
                streams.append(Lookups(*labels, arrivals, event))
    return [s for s in streams if s.arrivals.any()]


def _failed(
    event: events.Dns, node: str, streams: list[Lookups], rng: np.random.Generator
) -> Iterator[Lookups]:
    """Give the lookups of a node when some of the usual ones end otherwise."""
    for stream in streams:
        wanted = event.source in ("", stream.source) and event.query in ("", stream.query)
        if stream.node != node or stream.event is not None or not wanted:
            yield stream
            continue
        taken = _taken(event, stream.arrivals, rng)
        yield replace(stream, arrivals=stream.arrivals - taken)
        yield replace(stream, rcode=event.rcode, arrivals=taken, event=event)

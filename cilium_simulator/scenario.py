"""What a simulated cluster is told to be and to suffer; read from TOML."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilium_simulator import expected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = Path(__file__).parent / "scenarios"
STYLES = ("annotations", "servicemonitor", "kube-prometheus-stack")
CONTEXTS = ("none", "workload", "pod", "labels", "labels-pod", "pod-workload", "source-app")
KINDS = (
    "drops",
    "policy",
    "http",
    "dns",
    "tcp",
    "selected",
    "lost_events",
    "agent_restart",
    "agent_replaced",
    "node_reboot",
    "node_joins",
    "node_leaves",
    "scrape_gap",
    "unreachable",
    "latency",
    "endpoints",
    "not_ready",
    "rollout",
    "map_pressure",
    "agent_errors",
    "regeneration_failures",
    "operator_errors",
    "operator_down",
    "load",
)
UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class ScenarioError(ValueError):
    """A scenario contradicts itself; the message names the scenario and the entry."""


@dataclass(frozen=True)
class Event:
    """Something that happens; seconds count from the start of the simulation.

    Not every field means something for every kind: `rate` [1/s per node], `packets` (an exact
    total per node instead of a rate), `shape` step or ramp, `size` (endpoints, a fill ratio, the
    latency [s] of HTTP requests, or the share of a policy's allowed methods that it refuses because
    of their path, or the added seconds of probes), `status` (of HTTP, or the response code of DNS),
    `method` (for a policy: those it allows), `name` (policy, map, subsystem, DNS query, TCP flag,
    or the component whose scrapes fail). An `http` or `dns` event with a `share` turns that share
    of the usual requests or lookups into its own, instead of adding some; one of HTTP without a
    `status` leaves theirs. `load` multiplies traffic by its `size`: that of the services it names,
    or all. A `tcp` event has the `name` of a flag that is counted more often; or `flows`, or
    `connections`, each of them a SYN and its SYN-ACK; or `unanswered`, the `share` of the
    connections to its destination that get none. `selected`: a policy that allows all traffic
    selects the destination. `lost_events` loses `rate` events at the place that `name` says, and
    where that is before Hubble counts, their `share` of all events.
    """

    kind: str
    start: int
    end: int
    nodes: tuple[str, ...] = ()
    reason: str = "Policy denied"
    direction: str = "INGRESS"
    source: str = ""
    destination: str = ""
    protocol: str = "TCP"
    rate: float = 0.0
    packets: int = 0
    shape: str = "step"
    status: str = ""
    #: whose probes fail when something is `unreachable`: primary or secondary; empty: all
    address: str = ""
    method: str = "GET"
    size: float = 0.0
    share: float = 0.0
    name: str = ""


@dataclass(frozen=True)
class Service:
    """HTTP traffic between two workloads before anything happens."""

    source: str
    destination: str
    rate: float
    methods: Mapping[str, float] = field(default_factory=lambda: {"GET": 1.0})
    statuses: Mapping[str, float] = field(default_factory=lambda: {"200": 1.0})
    latency: float = 0.02
    nodes: tuple[str, ...] = ()
    #: with layer 7 rules at both ends, server and client, each request counts twice
    reporters: tuple[str, ...] = ("server",)


@dataclass(frozen=True)
class Scenario:
    """A whole simulation; `records` are the spans, in seconds, that a Prometheus was there."""

    name: str
    nodes: tuple[str, ...]
    version: tuple[int, int, int]
    style: str
    interval: int
    seed: int
    start: datetime
    seconds: int
    records: tuple[tuple[int, int], ...]
    noise: float = 1.0
    burstiness: float = 0.0
    #: further addresses of every node and health endpoint, as dual stack gives them
    secondary: int = 0
    #: how rarely later versions probe, from 0 to 1 (Helm: connectivityProbeFrequencyRatio)
    probe_ratio: float = 0.5
    daily: bool = False
    context: str = "labels"
    #: "v2", or "v1" for the deprecated `http` metrics of Hubble
    http: str = "v2"
    #: DNS lookups [1/s per node and client] that a layer 7 rule shows; without one there are none
    dns: float = 0.0
    #: the `query` option of Hubble's dns metrics
    dns_query: bool = False
    #: what the response code of DNS is called: "type" where Cilium overwrites the label's name
    dns_code: str = "rcode"
    #: flows of the DNS proxy name the app of each end and nothing else
    dns_bare: bool = False
    #: share of the ordinary connections and echoes whose server a policy selects
    selected: float = 0.5
    #: SYNs that a client sends, one a second, before it gives up a connection that a policy denies;
    #: 0: each dropped packet is one of its own
    retries: int = 0
    services: tuple[Service, ...] = ()
    events: tuple[Event, ...] = ()
    #: what an analysis should find, where the scenario is made to judge one
    truth: expected.Expected | None = None

    @property
    def epoch(self) -> int:
        """The start in Unix seconds."""
        return int(self.start.timestamp())

    @property
    def end(self) -> datetime:
        """The end of the simulation."""
        return datetime.fromtimestamp(self.epoch + self.seconds, UTC)

    def of(self, *kinds: str) -> list[Event]:
        """Return the events of these kinds, in time order."""
        return sorted((e for e in self.events if e.kind in kinds), key=lambda e: e.start)

    def with_(self, **changes: Any) -> Scenario:
        """Return a checked copy with some fields changed."""
        return check(replace(self, **changes))


def names() -> list[str]:
    """List the scenarios that are written down."""
    return sorted(p.stem for p in FOLDER.glob("*.toml"))


def load(name: str | Path) -> Scenario:
    """Read a scenario by its name or its file."""
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.exists():
        raise ScenarioError(f"no scenario {name}; there are: {', '.join(names())}")
    return parse(tomllib.loads(path.read_text(encoding="utf-8")), path.stem)


def parse(document: Mapping[str, Any], name: str) -> Scenario:
    """Build a scenario from the tables of its file."""
    cluster = dict(document["cluster"])
    start = cluster.pop("start")
    nodes = cluster.pop("nodes")
    seconds = _seconds(cluster.pop("duration"), start)
    chosen = tuple(nodes) if isinstance(nodes, list) else node_names(nodes)
    records = tuple((_seconds(a, start), _seconds(b, start)) for a, b in cluster.pop("records", []))
    scenario = Scenario(
        name=name,
        nodes=chosen,
        version=parse_version(cluster.pop("version")),
        style=cluster.pop("scrape_style"),
        interval=_seconds(cluster.pop("scrape_interval"), start),
        seed=cluster.pop("seed"),
        start=start,
        seconds=seconds,
        records=records or ((0, seconds),),
        services=tuple(_service(s) for s in document.get("service", [])),
        events=tuple(_event(e, start, seconds, chosen) for e in document.get("event", [])),
        truth=_truth(document, start, chosen),
        **cluster,
    )
    return check(scenario)


def _truth(
    document: Mapping[str, Any], start: datetime, nodes: Sequence[str]
) -> expected.Expected | None:
    if "truth" not in document:
        return None
    return expected.parse(
        document["truth"], seconds=lambda x: _seconds(x, start), places=lambda x: places(x, nodes)
    )


def node_names(count: int) -> tuple[str, ...]:
    """Name the nodes of a cluster of this size."""
    return ("control-plane", *(f"worker-{i}" for i in range(1, count)))


def places(address: str, nodes: Sequence[str]) -> tuple[str, ...]:
    """Turn an address into names of nodes, so that a scenario fits a cluster of any size.

    ``#0`` is the first worker and ``#-1`` the last, ``!#0`` are all other workers, ``30%`` is that
    share of the workers, at least one, from the first on; anything else is a name.
    """
    workers = nodes[1:]
    if address.endswith("%"):
        return tuple(workers[: max(1, round(len(workers) * float(address[:-1]) / 100))])
    if address.startswith("!"):
        out = places(address[1:], nodes)
        return tuple(name for name in workers if name not in out)
    return (workers[int(address[1:])],) if address.startswith("#") else (address,)


def parse_version(text: str) -> tuple[int, int, int]:
    """Read "1.15.2"."""
    major, minor, *patch = (int(x) for x in text.split("."))
    return major, minor, patch[0] if patch else 0


def _seconds(value: datetime | str | int, start: datetime) -> int:
    """Read a moment or a length: a date, "1h30m", or seconds."""
    if isinstance(value, datetime):
        return int((value - start).total_seconds())
    if isinstance(value, int):
        return value
    parts = re.findall(r"(\d+)([dhms])", value)
    if "".join(n + u for n, u in parts) != value:
        raise ScenarioError(f"not a length of time: {value}")
    return sum(int(number) * UNITS[unit] for number, unit in parts)


def _service(table: Mapping[str, Any]) -> Service:
    lists = {k: tuple(table[k]) for k in ("nodes", "reporters") if k in table}
    return Service(**{**table, **lists})


def _event(table: Mapping[str, Any], start: datetime, seconds: int, names: Sequence[str]) -> Event:
    """Build an event; without an end or a duration it lasts until the simulation ends."""
    entry = dict(table)
    unknown = set(entry) - {f.name for f in fields(Event)} - {"node", "duration"}
    if unknown:
        raise ScenarioError(f"unknown field {sorted(unknown)} in event {table}")
    begin = _seconds(entry.pop("start"), start)
    end = _seconds(entry.pop("end"), start) if "end" in entry else seconds
    if "duration" in entry:
        end = begin + _seconds(entry.pop("duration"), start)
    addresses = entry.pop("nodes", [entry.pop("node")] if "node" in entry else [])
    nodes = tuple(name for address in addresses for name in places(address, names))
    if entry.get("kind") == "unreachable" and "source" in entry:
        (entry["source"],) = places(entry["source"], names)
    return Event(start=begin, end=end, nodes=nodes, **entry)


def check(scenario: Scenario) -> Scenario:
    """Refuse what cannot be simulated."""
    for problem in _problems(scenario):
        raise ScenarioError(f"{scenario.name}: {problem}")
    return scenario


def _problems(s: Scenario) -> list[str]:
    found = []
    if s.style not in STYLES:
        found.append(f"scrape_style {s.style} is none of {STYLES}")
    if s.context not in CONTEXTS:
        found.append(f"context {s.context} is none of {CONTEXTS}")
    if s.start.tzinfo is None:
        found.append("start needs a time zone")
    if s.context == "workload" and s.version < (1, 15, 0):
        found.append("context workload came with Cilium 1.15")
    for e in s.events:
        if e.kind not in KINDS:
            found.append(f"event {e.kind} is none of {KINDS}")
        if not 0 <= e.start < e.end <= s.seconds:
            found.append(f"event {e.kind} from {e.start} to {e.end} is not within the simulation")
        if unknown := set(e.nodes) - set(s.nodes):
            found.append(f"event {e.kind} names unknown nodes {sorted(unknown)}")
    return found + (expected.problems(s.truth, s.events, s.seconds) if s.truth else [])

"""The kinds of events: what may happen in a simulated cluster, one dataclass each.

A file names a kind as `KINDS` does. What each does to the metrics is in the module that makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from cilium_simulator.fields import WORKLOAD, about, listed, told
from cilium_simulator.reasons import HUBBLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_simulator.scenario import Scenario, Service

MAPS: Final = ("ct4_global", "lb4_services_v2", "ipcache", "cilium_policy_*")
NAT_MAP: Final = "snat_v4_external"
#: the ring is written after Hubble has counted
RING: Final = "hubble_ring_buffer"
BUFFERS: Final = ("perf_event_ring_buffer", "observer_events_queue", RING)
DNS_CLIENTS: Final = ("default/frontend", "default/web", "batch/report")
PROTOCOLS: Final = ("TCP", "UDP", "SCTP", "ICMPv4", "ICMPv6")
#: the kinds by their names
KINDS: Final[dict[str, type[Event]]] = {}
_PER_NODE: Final = "1/s per node"


@dataclass(frozen=True)
class Event:
    """Something that happens; its times are seconds from the start of the simulation."""

    kind: ClassVar[str] = ""
    #: nodes may be named, must be, or must not
    on: ClassVar[Literal["any", "named", "cluster"]] = "any"
    #: it has no end
    is_moment: ClassVar[bool] = False

    start: int = told("when it begins", unit="s", written="time")
    end: int = told("when it ends: `end`, or `duration` after its start", unit="s", written="time")
    nodes: tuple[str, ...] = told("the nodes concerned", default=())

    def __init_subclass__(cls, kind: str = "") -> None:
        """Register a kind."""
        if kind:
            cls.kind = kind
            KINDS[kind] = cls

    @property
    def labels(self) -> dict[str, str]:
        """What it names: every text that is set."""
        texts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "shape"}
        return {name: text for name, text in texts.items() if isinstance(text, str) and text}

    @property
    def workloads(self) -> list[str]:
        """The workloads that it names."""
        named = [f.name for f in fields(self) if about(f).written == WORKLOAD]
        return [name for name in (getattr(self, each) for each in named) if name]

    def hits(self, node: str) -> bool:
        """Tell whether it happens on a node."""
        return not self.nodes or node in self.nodes

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield what is wrong with it in a scenario, beside its values."""
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Shaped(Event):
    """An event that begins at once, or bit by bit."""

    shape: str = told(
        "whether it is all there from its start on, or rises from nothing until its end",
        default="step",
        choices=("step", "ramp"),
    )


@dataclass(frozen=True, kw_only=True)
class Rated(Shaped):
    """An event of so many packets, requests or lookups per second."""

    rate: float = told("how many", default=0.0, unit=_PER_NODE, least=0)


@dataclass(frozen=True, kw_only=True)
class Drops(Rated, kind="drops"):
    """Packets are dropped: so many per second, or so many in all."""

    reason: str = told(
        "why, as `cilium_drop_count_total` spells it",
        default="Policy denied",
        choices=tuple(HUBBLE),
    )
    direction: str = told("which way", default="INGRESS", choices=("INGRESS", "EGRESS"))
    source: str = told("who sends them", default="", written=WORKLOAD)
    destination: str = told("who would get them", default="", written=WORKLOAD)
    protocol: str = told("of the packets", default="TCP", choices=PROTOCOLS)
    rate: float = told("how many packets", default=0.0, unit=_PER_NODE, least=0)
    packets: int = told(
        "instead of a rate: how many in all", default=0, unit="packets per node", least=0
    )

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that it drops nothing, or has two amounts."""
        yield from _either(rate=self.rate, packets=self.packets)


@dataclass(frozen=True, kw_only=True)
class Policy(Event, kind="policy"):
    """A CiliumNetworkPolicy holds that refuses HTTP requests with 403; add `drops` for the rest."""

    on = "cluster"

    name: str = told("of the policy", written=WORKLOAD.replace("workload", "policy"))
    destination: str = told("the workload that it selects", written=WORKLOAD)
    methods: tuple[str, ...] = told("HTTP methods that it allows; empty: all", default=("GET",))
    refused: float = told(
        "share of the requests of an allowed method that it refuses because of their path",
        default=0.0,
        least=0,
        most=1,
    )

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that its name lacks the namespace."""
        if self.name.count("/") != 1 or not all(self.name.split("/")):
            yield f'name = "{self.name}" is not a policy as "namespace/name"'


@dataclass(frozen=True, kw_only=True)
class Http(Rated, kind="http"):
    """HTTP requests are answered otherwise, or more slowly: some of the usual ones, or more."""

    source: str = told("the client; empty with a share: all", default="", written=WORKLOAD)
    destination: str = told("the server; empty with a share: all", default="", written=WORKLOAD)
    method: str = told("of requests that are added: GET if it is left out", default="")
    status: str = told("of the answers; empty with a share: as ever", default="")
    latency: float = told(
        "median duration; 0: as ever, and 20 ms of requests that are added",
        default=0.0,
        unit="s",
        least=0,
    )
    rate: float = told("how many requests are added", default=0.0, unit=_PER_NODE, least=0)
    share: float = told(
        "instead of a rate: the part of the usual requests that this happens to",
        default=0.0,
        least=0,
        most=1,
    )

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that it changes nothing."""
        yield from _either(rate=self.rate, share=self.share)
        if self.share and not (self.status or self.latency):
            yield "it changes nothing: give status or latency"
        if self.share:
            yield from _unserved(self.source, self.destination, scenario.services)


@dataclass(frozen=True, kw_only=True)
class Dns(Rated, kind="dns"):
    """DNS lookups end otherwise: some of the usual ones, or more."""

    source: str = told("the client; empty with a share: all", default="", written=WORKLOAD)
    rcode: str = told(
        'the response code, such as "Server Failure" or "Non-Existent Domain"; "no response": none'
        ' in time; "Policy denied": the proxy refuses'
    )
    query: str = told("the name that is looked up; empty with a share: all", default="")
    rate: float = told("how many lookups are added", default=0.0, unit=_PER_NODE, least=0)
    share: float = told(
        "instead of a rate: the part of the usual lookups that this happens to",
        default=0.0,
        least=0,
        most=1,
    )

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that it changes nothing."""
        yield from _either(rate=self.rate, share=self.share)
        if not scenario.dns:
            yield "no lookups are shown in this cluster: give it dns, such as dns = 1.0"
        if self.share and self.source not in ("", *DNS_CLIENTS):
            yield f"{self.source} looks up nothing; there are: {listed(DNS_CLIENTS)}"


@dataclass(frozen=True, kw_only=True)
class TcpFlags(Rated, kind="tcp_flags"):
    """More TCP packets with one flag pass: SYN without an answer, or resets."""

    flag: str = told("the flag", choices=("SYN", "SYN-ACK", "FIN", "RST"))
    source: str = told("who sends them", default="", written=WORKLOAD)
    destination: str = told("who gets them", default="", written=WORKLOAD)
    rate: float = told("how many packets", unit=_PER_NODE, least=0)


@dataclass(frozen=True, kw_only=True)
class Flows(Rated, kind="flows"):
    """Packets pass from one workload to another, and Hubble counts their flows."""

    source: str = told("who sends them", default="", written=WORKLOAD)
    destination: str = told("who gets them", default="", written=WORKLOAD)
    protocol: str = told("of the packets", default="TCP", choices=PROTOCOLS)
    rate: float = told("how many flows", unit=_PER_NODE, least=0)


@dataclass(frozen=True, kw_only=True)
class Connections(Rated, kind="connections"):
    """One workload opens TCP connections to another: a SYN, its SYN-ACK, and a flow each."""

    source: str = told("who opens them", written=WORKLOAD)
    destination: str = told("who accepts them", written=WORKLOAD)
    rate: float = told("how many connections", unit=_PER_NODE, least=0)


@dataclass(frozen=True, kw_only=True)
class Unanswered(Event, kind="unanswered"):
    """Some of the `connections` to a workload get no SYN-ACK."""

    destination: str = told("who does not answer", written=WORKLOAD)
    share: float = told("the part of them", least=0, most=1)

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that nobody connects to it."""
        yield from _unconnected(self.destination, scenario)


@dataclass(frozen=True, kw_only=True)
class Selected(Event, kind="selected"):
    """A policy that allows everything selects a workload, so that `connections` make verdicts."""

    destination: str = told("the workload", written=WORKLOAD)

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that nobody connects to it."""
        yield from _unconnected(self.destination, scenario)


@dataclass(frozen=True, kw_only=True)
class LostEvents(Rated, kind="lost_events"):
    """Events of the datapath are lost before Hubble has seen them, or its readers."""

    buffer: str = told("where, as `hubble_lost_events_total` spells its source", choices=BUFFERS)
    rate: float = told("how many losses are counted", unit=_PER_NODE, least=0)
    share: float = told(
        f"the part of all events that Hubble does not count; with {RING} it counts all",
        default=0.0,
        least=0,
        most=1,
    )


@dataclass(frozen=True, kw_only=True)
class AgentRestart(Event, kind="agent_restart"):
    """An agent restarts in its pod, and answers again at the end."""


@dataclass(frozen=True, kw_only=True)
class AgentReplaced(Event, kind="agent_replaced"):
    """The pod of an agent is replaced, and the new one answers at the end."""


@dataclass(frozen=True, kw_only=True)
class NodeReboot(Event, kind="node_reboot"):
    """A node reboots: its BPF maps and pods are gone, and it is back at the end."""


@dataclass(frozen=True, kw_only=True)
class NodeJoins(Event, kind="node_joins"):
    """A node joins the cluster, and was not there before."""

    on = "named"
    is_moment = True


@dataclass(frozen=True, kw_only=True)
class NodeLeaves(Event, kind="node_leaves"):
    """A node leaves the cluster for good."""

    on = "named"
    is_moment = True


@dataclass(frozen=True, kw_only=True)
class ScrapeGap(Event, kind="scrape_gap"):
    """Scrapes fail; without nodes and component, Prometheus itself is down."""

    component: str = told(
        "whose scrapes; empty: all", default="", choices=("agent", "hubble", "operator")
    )


@dataclass(frozen=True, kw_only=True)
class Unreachable(Event, kind="unreachable"):
    """Nodes cannot be reached, and reach no others."""

    on = "named"

    observer: str = told(
        "the only node that does not reach them; empty: no node does, and they reach none",
        default="",
        written="node",
    )
    type: str = told("what is not reached; empty: both", default="", choices=("node", "endpoint"))
    address_type: str = told(
        "which addresses; empty: all", default="", choices=("primary", "secondary")
    )


@dataclass(frozen=True, kw_only=True)
class Latency(Event, kind="latency"):
    """Probes from and to nodes take longer."""

    on = "named"

    added: float = told("how much longer", unit="s", least=0)


@dataclass(frozen=True, kw_only=True)
class Endpoints(Shaped, kind="endpoints"):
    """Endpoints are added to a node, and stay."""

    count: int = told("how many; below 0: so many are removed", unit="endpoints per node")


@dataclass(frozen=True, kw_only=True)
class NotReady(Event, kind="not_ready"):
    """Endpoints of a node wait for their identity."""

    count: int = told("how many", unit="endpoints per node", least=0)


@dataclass(frozen=True, kw_only=True)
class Rollout(Event, kind="rollout"):
    """All pods of a workload are replaced at once."""

    on = "cluster"
    is_moment = True

    destination: str = told("the workload", written=WORKLOAD)


@dataclass(frozen=True, kw_only=True)
class MapPressure(Shaped, kind="map_pressure"):
    """A BPF map fills up, and stays so; events of one map add up."""

    map_name: str = told("the map", choices=(*MAPS, NAT_MAP))
    fill: float = told(
        "how full it is in the end; below 0: emptied by more than the event before filled it",
        least=-1,
        most=1,
    )


@dataclass(frozen=True, kw_only=True)
class AgentErrors(Rated, kind="agent_errors"):
    """Agents log errors."""

    subsystem: str = told(
        "which part of the agent; controllers, k8s-client and kvstore show in their own metrics",
        default="endpoint",
    )
    rate: float = told("how many errors", unit=_PER_NODE, least=0)


@dataclass(frozen=True, kw_only=True)
class RegenerationFailures(Rated, kind="regeneration_failures"):
    """Regenerations of endpoints fail."""

    rate: float = told("how many fail", unit=_PER_NODE, least=0)


@dataclass(frozen=True, kw_only=True)
class OperatorErrors(Event, kind="operator_errors"):
    """The operator logs errors."""

    on = "cluster"

    rate: float = told("how many errors", unit="1/s", least=0)


@dataclass(frozen=True, kw_only=True)
class OperatorDown(Event, kind="operator_down"):
    """The operator does not run."""

    on = "cluster"


@dataclass(frozen=True, kw_only=True)
class Load(Shaped, kind="load"):
    """Traffic is a multiple of the usual: all of it, or that between the workloads it names."""

    factor: float = told("times the usual", least=0)
    source: str = told("only from this workload", default="", written=WORKLOAD)
    destination: str = told("only to this workload", default="", written=WORKLOAD)

    def contradictions(self, scenario: Scenario) -> Iterator[str]:
        """Yield that no such traffic exists."""
        if self.source or self.destination:
            usual: list[Service | Connections] = [*scenario.services, *scenario.of(Connections)]
            yield from _unserved(self.source, self.destination, usual)


def _either(**amounts: float) -> Iterator[str]:
    """Yield that there is no amount, or more than one."""
    if sum(bool(amount) for amount in amounts.values()) != 1:
        yield f"give one of {' and '.join(amounts)}, above 0"


def _unserved(
    source: str, destination: str, usual: Sequence[Service | Connections]
) -> Iterator[str]:
    """Yield that no usual traffic has these ends."""
    ends = [(one.source, one.destination) for one in usual]
    if not any(source in ("", near) and destination in ("", far) for near, far in ends):
        known = listed([f"{near} to {far}" for near, far in ends]) or "none"
        yield f"nothing goes from {source or 'any'} to {destination or 'any'}; there are: {known}"


def _unconnected(destination: str, scenario: Scenario) -> Iterator[str]:
    """Yield that no event opens connections to a workload."""
    known = sorted({one.destination for one in scenario.of(Connections)})
    if destination not in known:
        yield f"no event `connections` goes to {destination}; to: {listed(known) or 'none'}"

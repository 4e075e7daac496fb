"""What a simulated cluster is told to be and to suffer; read from TOML.

The kinds of events are in `cilium_simulator.events`, how values are checked is in
`cilium_simulator.fields`, and what an analysis should find is in `cilium_simulator.expected`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from cilium_simulator import expected
from cilium_simulator.events import KINDS, Event
from cilium_simulator.fields import (
    WORKLOAD,
    ScenarioError,
    entry,
    frozen,
    intervals,
    key,
    listed,
    missing,
    numbered,
    parse_version,
    places,
    problems,
    refuse,
    seconds,
    shown,
    tables,
    told,
    unknown,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FOLDER: Final = Path(__file__).parent / "scenarios"
STYLES: Final = ("annotations", "servicemonitor", "kube-prometheus-stack")
CONTEXTS: Final = ("none", "workload", "pod", "labels", "labels-pod", "pod-workload", "source-app")
#: each node probes all others, so that a cluster of twice as many is four times as large
MOST_NODES: Final = 500
#: what a server can store, and remote write encodes
YEARS: Final = range(2000, 2100)
_YEARS: Final = "it does not lie in the years 2000 to 2099"
_START: Final = datetime(2026, 3, 2, 8, tzinfo=UTC)
#: what a file may hold
TABLES: Final = ("description", "cluster", "service", "event", "truth")
E = TypeVar("E", bound=Event)
F = TypeVar("F", bound=Event)
G = TypeVar("G", bound=Event)


@dataclass(frozen=True)
class Service:
    """HTTP traffic between two workloads before anything happens."""

    source: str = told("the client", written=WORKLOAD)
    destination: str = told("the server", written=WORKLOAD)
    rate: float = told("how many requests", unit="1/s per node", least=0)
    methods: Mapping[str, float] = told(
        "the methods, each with its share", factory=lambda: {"GET": 1.0}, least=0, most=1
    )
    statuses: Mapping[str, float] = told(
        "the status codes, each with its share", factory=lambda: {"200": 1.0}, least=0, most=1
    )
    latency: float = told("median duration of a request", default=0.02, unit="s", least=0.001)
    nodes: tuple[str, ...] = told("where its servers run; empty: on all workers", default=())
    reporters: tuple[str, ...] = told(
        "whose proxies count: with layer 7 rules at both ends, each request counts twice",
        default=("server",),
        choices=("server", "client"),
    )


@dataclass(frozen=True)
class Scenario:
    """A whole simulation: the cluster, who scrapes it, its traffic, and what happens."""

    name: str
    nodes: tuple[str, ...] = told(
        "how many nodes, of which the first is the control plane, or a list of their names",
        default=("control-plane", "worker-1", "worker-2", "worker-3"),
        written="whole number, or list of texts",
    )
    version: tuple[int, int, int] = told(
        "of Cilium, 1.13 or newer", default=(1, 17, 3), written="text"
    )
    style: str = told(
        "how Prometheus finds its targets, which decides their labels",
        default="servicemonitor",
        choices=STYLES,
        key="scrape_style",
    )
    interval: int = told(
        "how often a target is scraped",
        default=30,
        least=1,
        unit="s",
        key="scrape_interval",
        written="time",
    )
    seed: int = told("of the random numbers; the same seed, the same cluster", default=1, least=0)
    start: datetime = told(
        "when it begins, with its zone",
        default=_START,
        written="date and time",
    )
    seconds: int = told(
        "how long it lasts",
        default=4 * 3600,
        least=60,
        most=7 * 86400,
        unit="s",
        key="duration",
        written="time",
    )
    records: tuple[tuple[int, int], ...] = told(
        "the intervals in which Prometheus is there; empty: always",
        default=(),
        unit="s",
        written="list of pairs of times",
    )
    noise: float = told("how many ordinary drops there are, times the usual", default=1.0, least=0)
    burstiness: float = told(
        "how much traffic comes in clumps: the variance of its minutes", default=0.0, least=0
    )
    secondary: int = told(
        "further addresses of every node and health endpoint, as dual stack gives them",
        default=0,
        least=0,
    )
    probe_ratio: float = told(
        "how rarely Cilium 1.18 and newer probe (Helm: `connectivityProbeFrequencyRatio`)",
        default=0.5,
        least=0,
        most=1,
    )
    daily: bool = told("whether traffic rises and falls with the day", default=False)
    context: str = told(
        "the context that Hubble's metrics are configured with", default="labels", choices=CONTEXTS
    )
    http: str = told(
        "the version of Hubble's metrics of HTTP, `httpV2` or the deprecated `http`",
        default="v2",
        choices=("v2", "v1"),
    )
    dns: float = told(
        "DNS lookups that a layer 7 rule shows; 0: there is no such rule",
        default=0.0,
        unit="1/s per node and client",
        least=0,
    )
    dns_query: bool = told("whether Hubble's metrics of DNS have the label query", default=False)
    dns_code: str = told(
        "what Hubble calls the response code, whose name Cilium sometimes overwrites",
        default="rcode",
        choices=("rcode", "type"),
    )
    dns_bare: bool = told(
        "whether flows of the DNS proxy name the app of each end and nothing else", default=False
    )
    selected: float = told(
        "share of the ordinary connections and echoes whose server a policy selects",
        default=0.5,
        least=0,
        most=1,
    )
    retries: int = told(
        "SYNs that a client sends, one a second, before it gives up a connection that a policy"
        " denies; 0: each dropped packet is one of its own",
        default=0,
        least=0,
    )
    services: tuple[Service, ...] = ()
    events: tuple[Event, ...] = ()
    #: what an analysis should find, where the scenario is made to judge one
    truth: expected.Expected | None = None
    #: what happens, in one line
    description: str = ""

    @property
    def epoch(self) -> int:
        """The start in Unix seconds."""
        return int(self.start.timestamp())

    @property
    def end(self) -> datetime:
        """The end of the simulation."""
        return datetime.fromtimestamp(self.epoch + self.seconds, UTC)

    @property
    def recorded(self) -> tuple[tuple[int, int], ...]:
        """The intervals in which Prometheus is there."""
        return self.records or ((0, self.seconds),)

    @property
    def window(self) -> tuple[datetime, datetime]:
        """What a report should look at: the second half of what was recorded last."""
        if self.truth:
            first, last = self.truth.window
        else:
            first, last = self.recorded[-1]
            last = min(last, self.seconds)
            first = max(first, 0) + (last - max(first, 0)) // 2
        start, end = (datetime.fromtimestamp(self.epoch + each, UTC) for each in (first, last))
        return start, end

    @overload
    def of(self, kind: type[E], /) -> list[E]: ...

    @overload
    def of(self, kind: type[E], other: type[F], /) -> list[E | F]: ...

    @overload
    def of(self, kind: type[E], other: type[F], third: type[G], /) -> list[E | F | G]: ...

    def of(self, *kinds: type[Any]) -> list[Any]:
        """Return the events of these kinds, in time order."""
        return sorted((e for e in self.events if isinstance(e, kinds)), key=lambda e: e.start)

    def with_(self, **changes: Any) -> Scenario:
        """Return a checked copy with some fields changed."""
        return check(replace(self, **changes))

    def ending(self, end: datetime) -> Scenario:
        """Return a copy that is moved in time so that it ends then, to the second."""
        if end.year not in YEARS:
            raise ScenarioError(f"{self.name}: {_YEARS}")
        return self.with_(start=end.replace(microsecond=0) - timedelta(seconds=self.seconds))


def names() -> list[str]:
    """List the scenarios that are written down."""
    return sorted(p.stem for p in FOLDER.glob("*.toml"))


def load(name: str | Path) -> Scenario:
    """Read a scenario by its name or its file.

    Raises
    ------
    ScenarioError
        If there is no such scenario, or it cannot be simulated.
    """
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise ScenarioError(f"no scenario {name}; there are: {', '.join(names())}; or a file.toml")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} is not TOML: {error}") from None
    return parse(document, path.stem)


def parse(document: Mapping[str, Any], name: str) -> Scenario:
    """Build a scenario from the tables of its file.

    Raises
    ------
    ScenarioError
        With the name, the entry, and what is allowed.
    """
    where = f"{name}: "
    refuse(where, unknown(document, TABLES))
    named = {kind: tables(document, kind, where) for kind in ("service", "event")}
    (cluster,) = tables({"cluster": [document.get("cluster", {})]}, "cluster", where)
    made = _cluster(dict(cluster), name)
    made = replace(made, description=str(document.get("description", "")))
    services, events = [], []
    for place, table in numbered(where, "service", named["service"]):
        refuse(place, unknown(table, [f.name for f in fields(Service)]))
        refuse(place, missing(table, Service))
        services.append(Service(**frozen(table)))
    for place, table in numbered(where, "event", named["event"]):
        events.append(_event(table, made, place))
    try:
        truth = _truth(document, made.start, made.nodes)
    except (KeyError, TypeError, ValueError) as error:
        says = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ScenarioError(f"{where}truth: {says}") from None
    return made.with_(services=tuple(services), events=tuple(events), truth=truth)


def _cluster(table: dict[str, Any], name: str) -> Scenario:
    """Read the table [cluster]; services and events are not in it yet."""
    where = f"{name}: cluster: "
    known = {key(f): f.name for f in fields(Scenario) if f.metadata}
    refuse(where, unknown(table, list(known)))
    given = {known[k]: value for k, value in frozen(table).items()}
    start = given.get("start", _START)
    if not isinstance(start, datetime) or start.tzinfo is None:
        raise ScenarioError(f"{where}start = {shown(start)} is not a time: 2026-03-02T08:00:00Z")
    if isinstance(count := given.get("nodes"), int):
        refuse(where, _size(count))
        given["nodes"] = node_names(count)
    try:
        given |= {k: seconds(given[k], start) for k in ("interval", "seconds") if k in given}
        if "version" in given:
            given["version"] = parse_version(given["version"])
        if "records" in given:
            given["records"] = intervals(given["records"], start)
    except ScenarioError as error:
        raise ScenarioError(f"{where}{error}") from None
    return Scenario(name=name, **given)


def _size(count: int) -> Iterator[str]:
    if count < 2:
        yield f"nodes = {count} is less than 2, a control plane and a worker"
    if count > MOST_NODES:
        yield f"nodes = {count} is more than {MOST_NODES}"


def _event(table: Mapping[str, Any], made: Scenario, where: str) -> Event:
    """Build an event; without an end or a duration it lasts until the simulation ends."""
    rest, name = dict(table), table.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        raise ScenarioError(f"{where}kind = {shown(name or '')} is none of {', '.join(KINDS)}")
    kind = KINDS[name]
    allowed = [f.name for f in fields(kind)] + ["duration", "node"]
    gone = ["end", "duration"] if kind.is_moment else []
    gone += ["node", "nodes"] if kind.on == "cluster" else []
    rest.pop("kind")
    refuse(where, unknown(rest, sorted(set(allowed) - set(gone), key=allowed.index)))
    refuse(where, missing({"end": 0} | rest, kind))
    for one, other in (("end", "duration"), ("node", "nodes")):
        if one in rest and other in rest:
            raise ScenarioError(f"{where}give one of {one} and {other}")
    try:
        begin = seconds(rest.pop("start"), made.start)
        end = seconds(rest.pop("end"), made.start) if "end" in rest else made.seconds
        if "duration" in rest:
            end = begin + seconds(rest.pop("duration"), made.start)
        addresses = rest.pop("nodes", [rest.pop("node")] if "node" in rest else [])
        addresses = addresses if isinstance(addresses, list) else [addresses]
        nodes = tuple(name for each in addresses for name in places(each, made.nodes))
        if "observer" in rest:
            rest["observer"] = ", ".join(places(rest["observer"], made.nodes))
    except ValueError as error:
        raise ScenarioError(f"{where}{error}") from None
    return kind(start=begin, end=end, nodes=nodes, **frozen(rest))


def _truth(
    document: Mapping[str, Any], start: datetime, nodes: Sequence[str]
) -> expected.Expected | None:
    if "truth" not in document:
        return None
    return expected.parse(
        document["truth"], seconds=lambda x: seconds(x, start), places=lambda x: places(x, nodes)
    )


def node_names(count: int) -> tuple[str, ...]:
    """Name the nodes of a cluster of this size."""
    return ("control-plane", *(f"worker-{i}" for i in range(1, count)))


def check(scenario: Scenario) -> Scenario:
    """Return the scenario.

    Raises
    ------
    ScenarioError
        If it cannot be simulated.
    """
    refuse(f"{scenario.name}: ", _problems(scenario))
    return scenario


def _problems(s: Scenario) -> Iterator[str]:
    yield from (f"cluster: {problem}" for problem in _of_cluster(s))
    for number, service in enumerate(s.services, start=1):
        found = list(problems(service)) or list(_strangers(service.nodes, s))
        yield from (entry("service", number, len(s.services), "") + each for each in found)
    for number, event in enumerate(s.events, start=1):
        place = entry("event", number, len(s.events), event.kind)
        yield from (place + each for each in _of_event(event, s))
    if s.truth:
        yield from (f"truth: {each}" for each in expected.problems(s.truth, s.events, s.seconds))


def _of_cluster(s: Scenario) -> Iterator[str]:
    found = list(problems(s))
    yield from found or _size(len(s.nodes))
    if len(set(s.nodes)) < len(s.nodes):
        yield "two nodes have the same name"
    if s.start.tzinfo is None:
        yield "start needs a time zone"
    if s.start.year not in YEARS:
        yield _YEARS
    if s.version < (1, 13, 0):
        yield f"version {'.'.join(map(str, s.version))} is older than 1.13"
    if s.context == "workload" and s.version < (1, 15, 0):
        yield "context workload came with Cilium 1.15"
    for start, end in s.records:
        if not start < end:
            yield f"records from {start} to {end} s: the end is not after the start"


def _of_event(event: Event, s: Scenario) -> Iterator[str]:
    found = list(problems(event))
    yield from found
    if found:
        return
    if not 0 <= event.start < event.end <= s.seconds:
        yield (
            f"from {event.start} s to {event.end} s is not within the simulation,"
            f" 0 s to {s.seconds} s"
        )
    yield from _strangers(event.nodes, s)
    yield from _strangers((getattr(event, "observer", ""),), s)
    if event.on == "named" and not event.nodes:
        yield f"it needs node or nodes; there are: {listed(s.nodes)}"
    if event.on == "cluster" and event.nodes:
        yield "it is about the whole cluster: leave out nodes"
    yield from event.contradictions(s)


def _strangers(named: Sequence[str], s: Scenario) -> Iterator[str]:
    if out := [name for name in named if name and name not in s.nodes]:
        yield f"unknown node {listed(out)}; there are: {listed(s.nodes)}"

"""What an analysis of a scenario must find, as the table `[truth]` of its file says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cilium_simulator.events import Event

KINDS = (
    "drop_spike",
    "node_unreachable",
    "node_latency",
    "endpoint_growth",
    "endpoint_not_ready",
    "endpoint_limit",
    "regeneration_failures",
    "http_errors",
    "http_denied",
    "http_latency",
    "dns_failures",
    "tcp_failures",
    "traffic_shift",
    "map_pressure",
    "agent_restart",
    "agent_errors",
    "operator_errors",
    "policy_change",
    "kubernetes_event",
    "scrape_gap",
    "counter_artefact",
    "missing_metrics",
)


@dataclass(frozen=True)
class Sought:
    """A finding that is right: of this kind, with at least these labels."""

    kind: str
    labels: tuple[tuple[str, str], ...] = ()
    #: position of the event that it begins and ends with; None where no moment can be named
    event: int | None = None
    #: positions of the events whose packets, requests or lookups it should count; none: no total
    total: tuple[int, ...] = ()

    def fits(self, kind: str, labels: Mapping[str, str]) -> bool:
        """Tell whether a finding is this one."""
        return kind == self.kind and all(labels.get(k) == v for k, v in self.labels)

    def translated(self, nodes: Mapping[str, str]) -> Sought:
        """Call nodes by other names."""
        labels = tuple((k, nodes.get(v, v) if k == "node" else v) for k, v in self.labels)
        return replace(self, labels=labels)


@dataclass(frozen=True)
class Expected:
    """What to ask, and the right answer; seconds count from the start of the simulation."""

    window: tuple[int, int]
    #: as `report --baseline` takes it
    baseline: str = "previous"
    #: any of these must be ranked first; none on a quiet day
    finding: tuple[Sought, ...] = ()
    #: what follows from the cause, or is true besides: not false, but not the first either
    also: tuple[Sought, ...] = ()
    #: how finely the metrics can show the onset at all, where the scrape interval is finer [s]
    resolution: int = 0

    def translated(self, nodes: Mapping[str, str]) -> Expected:
        """Call nodes by other names."""
        finding, also = (
            tuple(sought.translated(nodes) for sought in group)
            for group in (self.finding, self.also)
        )
        return replace(self, finding=finding, also=also)


def parse(
    table: Mapping[str, Any],
    *,
    seconds: Callable[[Any], int],
    places: Callable[[str], Sequence[str]],
) -> Expected:
    """Read the table; `seconds` reads moments, `places` turns a node's address into names."""
    rest = dict(table)
    start, end = (seconds(moment) for moment in rest.pop("window"))
    found = {
        name: tuple(_sought(entry, places) for entry in rest.pop(name, []))
        for name in ("finding", "also")
    }
    resolution, baseline = seconds(rest.pop("resolution", 0)), rest.pop("baseline", "previous")
    if rest:
        raise ValueError(f"unknown field {sorted(rest)} in the truth")
    return Expected((start, end), baseline, found["finding"], found["also"], resolution)


def _sought(entry: Mapping[str, Any], places: Callable[[str], Sequence[str]]) -> Sought:
    labels = dict(entry)
    kind, event, total = labels.pop("kind"), labels.pop("event", None), labels.pop("total", [])
    if "node" in labels:
        (labels["node"],) = places(labels["node"])
    return Sought(kind, tuple(sorted(labels.items())), event, tuple(total))


def problems(expected: Expected, events: Sequence[Event], seconds: int) -> list[str]:
    """List what contradicts the scenario."""
    start, end = expected.window
    found = [] if 0 <= start < end <= seconds else [f"the window {start} to {end} is not within"]
    for sought in (*expected.finding, *expected.also):
        if sought.kind not in KINDS:
            found.append(f"finding {sought.kind} is none of {KINDS}")
        for position in (*sought.total, *([] if sought.event is None else [sought.event])):
            if not 0 <= position < len(events):
                found.append(f"finding {sought.kind} names event {position}: there is none")
            elif events[position].end <= start or events[position].start >= end:
                found.append(f"finding {sought.kind} is about an event outside the window")
    return found

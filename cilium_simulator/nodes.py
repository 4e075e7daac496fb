"""When each node, its agent process and its agent pod live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator.events import AgentReplaced, AgentRestart, NodeJoins, NodeLeaves, NodeReboot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cilium_simulator.events import Event
    from cilium_simulator.scenario import E, Scenario

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes draws name suffixes from
#: how long it usually takes until the agent is back [s]
DEFAULT_DOWN = {AgentRestart: 20, AgentReplaced: 40, NodeReboot: 150}


@dataclass(frozen=True)
class Run:
    """One life of an agent process; seconds from the start of the simulation."""

    pod: str
    start: int
    end: int
    #: since when the BPF maps of this run count; they outlive the agent but not a reboot
    boot: int
    #: when the copy of the BPF counters is brought up to date first (Cilium 1.14 and older)
    first_sync: int


@dataclass(frozen=True)
class Node:
    """One node and all that ran on it."""

    name: str
    ip: str
    joined: int
    left: int
    runs: tuple[Run, ...]
    #: spans in which the node itself is down
    down: tuple[tuple[int, int], ...]

    def up(self, seconds: int) -> np.ndarray:
        """Tell for each second whether the node forwards packets at all."""
        alive = np.zeros(seconds, dtype=bool)
        alive[max(self.joined, 0) : max(min(self.left, seconds), 0)] = True
        for start, end in self.down:
            alive[start:end] = False
        return alive

    def agent_up(self, seconds: np.ndarray) -> np.ndarray:
        """Tell for each of these moments whether an agent answers."""
        spans = [(seconds >= r.start) & (seconds < r.end) for r in self.runs]
        alive: np.ndarray = np.any(spans, axis=0)
        return alive


def suffix(rng: np.random.Generator, length: int = 5) -> str:
    """Draw the random end of a pod name."""
    return "".join(rng.choice(list(ALPHABET), length))


def address(index: int) -> str:
    """Give the address of a node by its position in the cluster."""
    return f"10.10.{index // 200}.{10 + index % 200}"


def build(scenario: Scenario, rng: np.random.Generator) -> list[Node]:
    """Lay out the life of every node."""
    return [_node(scenario, i, rng) for i in range(len(scenario.nodes))]


def _mine(events: Sequence[E], name: str) -> list[E]:
    return [e for e in events if e.hits(name)]


def _node(scenario: Scenario, index: int, rng: np.random.Generator) -> Node:
    name = scenario.nodes[index]
    joins, leaves = _mine(scenario.of(NodeJoins), name), _mine(scenario.of(NodeLeaves), name)
    joined = joins[0].start if joins else -int(rng.integers(3, 30)) * 86400
    left = leaves[0].start if leaves else scenario.seconds + 1
    breaks = _mine(scenario.of(AgentRestart, AgentReplaced, NodeReboot), name)
    return Node(
        name=name,
        ip=address(index),
        joined=joined,
        left=left,
        runs=tuple(_runs(scenario, joined, left, breaks, rng)),
        down=tuple((e.start, _back(scenario, e)) for e in breaks if isinstance(e, NodeReboot)),
    )


def _back(scenario: Scenario, event: Event) -> int:
    """When the agent answers again; an event without an end gets the usual time."""
    given = event.end != scenario.seconds
    return event.end if given else min(event.start + DEFAULT_DOWN[type(event)], scenario.seconds)


def _runs(
    scenario: Scenario, joined: int, left: int, breaks: Sequence[Event], rng: np.random.Generator
) -> list[Run]:
    pod, boot = f"cilium-{suffix(rng)}", joined
    begin = joined + int(rng.integers(30, 60)) if joined >= 0 else int(joined * rng.uniform(0.2, 1))
    runs = []
    for event in breaks:
        runs.append(Run(pod, begin, event.start, boot, _first_sync(scenario, begin, rng)))
        begin = _back(scenario, event)
        if isinstance(event, NodeReboot):
            boot = begin
        if isinstance(event, AgentReplaced):
            pod = f"cilium-{suffix(rng)}"
    runs.append(Run(pod, begin, left, boot, _first_sync(scenario, begin, rng)))
    return runs


def _first_sync(scenario: Scenario, begin: int, rng: np.random.Generator) -> int:
    """Delay the first copy by about one scrape.

    The metrics port answers before the agent is through its start, and only then does the
    controller that copies the map begin (pkg/maps/metricsmap/metricsmap.go up to 1.14).
    """
    return begin + max(5, round(rng.uniform(0.9, 1.6) * scenario.interval))

"""Draw valid scenarios at random, for tests of properties that must hold in all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from cilium_simulator.events import KINDS, Drops, Event, Policy, Rollout
from cilium_simulator.reasons import HUBBLE
from cilium_simulator.scenario import CONTEXTS, STYLES, Scenario, Service, check, node_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

VERSIONS = ((1, 13, 4), (1, 14, 5), (1, 14, 13), (1, 15, 2), (1, 16, 5), (1, 17, 3), (1, 18, 2))
LATER = ((1, 19, 1), (1, 20, 0))
INTERVALS = (10, 15, 30, 60)
WORKLOADS = ("default/web", "default/api", "default/db", "batch/report", "monitoring/prometheus")
BREAKS = ("agent_restart", "agent_replaced", "node_reboot")
T = TypeVar("T")


def random_scenario(seed: int, *, hours: float = 1.5) -> Scenario:
    """Draw a scenario: 3 to 12 nodes, any version, style and interval, up to five events."""
    rng = np.random.default_rng([seed, 0xC1])
    nodes = node_names(int(rng.integers(3, 13)))
    seconds = int(hours * 3600)
    version = _pick(rng, VERSIONS + LATER)
    contexts = [c for c in CONTEXTS if c != "workload" or version >= (1, 15, 0)]
    scenario = Scenario(
        name=f"random-{seed}",
        nodes=nodes,
        version=version,
        style=_pick(rng, STYLES),
        interval=_pick(rng, INTERVALS),
        seed=seed,
        start=datetime(2026, 3, 1, 6, tzinfo=UTC) + timedelta(hours=int(rng.integers(0, 500))),
        seconds=seconds,
        noise=float(rng.uniform(0, 3)),
        burstiness=float(_pick(rng, (0.0, 0.2))),
        daily=bool(rng.random() < 0.5),
        context=_pick(rng, tuple(contexts)),
        services=(Service("default/frontend", "default/web", 3.0),) if rng.random() < 0.5 else (),
        events=tuple(_events(rng, nodes, seconds)),
    )
    return check(scenario)


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _span(rng: np.random.Generator, seconds: int, *, shortest: int = 30) -> tuple[int, int]:
    """Draw a span that leaves the first quarter as a baseline."""
    start = int(rng.integers(seconds // 4, seconds * 3 // 4))
    return start, start + int(rng.integers(shortest, seconds // 4))


def _events(rng: np.random.Generator, nodes: tuple[str, ...], seconds: int) -> Iterator[Event]:
    """Draw drops, and then troubles, at most one to a node so that they do not contradict."""
    for _ in range(int(rng.integers(0, 4))):
        yield _drops(rng, nodes, seconds)
    fate = ("scrape_gap", "unreachable", "node_leaves", "node_joins", *BREAKS)
    for node in rng.permutation(nodes[1:])[: int(rng.integers(0, 3))]:
        yield _trouble(rng, str(node), _pick(rng, fate), seconds)
    if rng.random() < 0.3:
        start, _ = _span(rng, seconds)
        yield Rollout(start, seconds, destination="default/web")
    if rng.random() < 0.2:
        start, end = _span(rng, seconds, shortest=300)
        where = "default/web"
        yield Policy(start, end, name="default/narrow", destination=where, refused=0.1)


def _drops(rng: np.random.Generator, nodes: tuple[str, ...], seconds: int) -> Drops:
    start, end = _span(rng, seconds)
    how: dict[str, Any] = {
        "rate": float(rng.uniform(0.5, 40)),
        "shape": _pick(rng, ("step", "ramp")),
    }
    if rng.random() < 0.4:
        end = start + int(rng.integers(2, 60))
        how = {"packets": int(rng.integers(20, 5000))}
    count = int(rng.integers(1, len(nodes)))
    source, destination = rng.choice(WORKLOADS, 2, replace=False)
    return Drops(
        start,
        end,
        nodes=tuple(str(n) for n in rng.permutation(nodes)[:count]),
        reason=_pick(rng, tuple(HUBBLE)),
        direction=_pick(rng, ("INGRESS", "EGRESS")),
        protocol=_pick(rng, ("TCP", "UDP")),
        source=str(source),
        destination=str(destination),
        **how,
    )


def _trouble(rng: np.random.Generator, node: str, kind: str, seconds: int) -> Event:
    start, end = _span(rng, seconds, shortest=120)
    if kind in BREAKS:
        end = start + int(rng.integers(15, 200))
    if kind in ("node_leaves", "node_joins"):
        end = seconds
    return KINDS[kind](start, end, nodes=(node,))

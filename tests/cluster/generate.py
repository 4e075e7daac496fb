"""Draw valid scenarios at random, for tests of properties that must hold in all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from tests.cluster.reasons import HUBBLE
from tests.cluster.scenario import CONTEXTS, STYLES, Event, Scenario, Service, check, node_names

VERSIONS = ((1, 13, 4), (1, 14, 5), (1, 14, 13), (1, 15, 2), (1, 16, 5), (1, 17, 3), (1, 18, 2))
LATER = ((1, 19, 1), (1, 20, 0))
INTERVALS = (10, 15, 30, 60)
WORKLOADS = ("default/web", "default/api", "default/db", "batch/report", "monitoring/prometheus")
BREAKS = ("agent_restart", "agent_replaced", "node_reboot")


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
        records=((0, seconds),),
        noise=float(rng.uniform(0, 3)),
        burstiness=float(_pick(rng, (0.0, 0.2))),
        daily=bool(rng.random() < 0.5),
        context=_pick(rng, tuple(contexts)),
        services=(Service("default/frontend", "default/web", 3.0),) if rng.random() < 0.5 else (),
        events=tuple(_events(rng, nodes, seconds)),
    )
    return check(scenario)


def _pick[T](rng: np.random.Generator, choices: tuple[T, ...]) -> T:
    return choices[int(rng.integers(len(choices)))]

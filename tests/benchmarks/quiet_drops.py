"""Quiet clusters of any size and load, and how often their drops are told as warnings.

``python -m tests.benchmarks.quiet_drops [CLUSTERS]`` prints that rate.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from cilium_analysis import frames
from cilium_analysis.findings import Finding, Severity
from cilium_analysis.topics import drops
from cilium_analysis.topics.drops.data import Counts
from cilium_analysis.window import Window

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
STEPS = WINDOW.points - 1
SECONDS = WINDOW.step.total_seconds()
#: reasons of which a few packets are ordinary, and of which they are not
REASONS = (
    ("Stale or unroutable IP", "EGRESS"),
    ("Unsupported L3 protocol", "INGRESS"),
    ("Invalid source ip", "INGRESS"),
    ("Policy denied", "INGRESS"),
    ("CT: Map insertion failed", "EGRESS"),
    ("No mapping for NAT masquerade", "EGRESS"),
)
Key = tuple[str, str, str]
Array = np.ndarray


class Cluster:
    """Counts per step of a window and its baseline, which both come one after the other.

    Parameters
    ----------
    nodes
        How many.
    load
        Packets forwarded by each of them [1/s].
    """

    def __init__(self, nodes: int, load: float, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes = [f"worker-{n}" for n in range(nodes)]
        self.load = load
        self.traffic = np.ones((2 * STEPS, nodes))
        self.counts: dict[Key, Array] = {}

    def add(self, reason: str, direction: str, node: int, counts: Array) -> None:
        key = (direction, self.nodes[node], reason)
        self.counts[key] = self.counts.get(key, np.zeros(2 * STEPS)) + counts

    def trickles(self) -> None:
        """Every node drops a little, in proportion to the traffic it has."""
        chosen = self.rng.choice(len(REASONS), size=self.rng.integers(1, 4), replace=False)
        for which in chosen:
            rate = 10.0 ** self.rng.uniform(-6.0, -3.5) * self.load
            lumps = self.rng.choice([1, 3])
            for node in range(len(self.nodes)):
                own = rate * self.rng.lognormal(0.0, 0.7) * SECONDS / lumps
                events = self.rng.poisson(own * self.traffic[:, node])
                self.add(*REASONS[which], node, events * lumps)

    def grows(self, most: float) -> None:
        """All traffic, or that of some nodes, doubles or more at some time in the window."""
        part = self.rng.random(len(self.nodes)) < self.rng.choice([0.1, 1.0])
        since = STEPS + self.rng.integers(0, STEPS)
        self.traffic[since:, part] *= min(self.rng.choice([2.0, 2.0, 4.0, 8.0]), most)

    def rollouts(self) -> None:
        """Some rollouts lose 20 to 60 packets each, within some minutes."""
        for _ in range(self.rng.integers(1, 4)):
            reason = REASONS[self.rng.integers(len(REASONS))]
            since = STEPS + int(self.rng.integers(0, STEPS - 20))
            for _ in range(self.rng.integers(20, 61)):
                when = np.zeros(2 * STEPS)
                when[since + self.rng.integers(0, 16)] = 1.0
                self.add(*reason, int(self.rng.integers(len(self.nodes))), when)

    def lost(self, reason: str, node: int, *, minute: int, minutes: float, rate: float) -> None:
        """Lose packets at a rate [1/s] from a minute of the window on."""
        first = STEPS + int(minute * 60 / SECONDS)
        counts = np.zeros(2 * STEPS)
        length = max(1, int(minutes * 60 / SECONDS))
        counts[first : first + length] = self.rng.poisson(rate * SECONDS, length)
        self.add(reason, "INGRESS", node, counts)

    def drops(self, *, forwarded: bool = True) -> drops.Drops:
        """Give them as they are loaded."""
        baseline = WINDOW.baseline()
        keys = [dict(zip(("direction", "node", "reason"), key, strict=True)) for key in self.counts]
        values = np.stack(list(self.counts.values()), axis=1) if keys else np.empty((2 * STEPS, 0))
        passed = [
            {"direction": way, "node": n} for way in ("EGRESS", "INGRESS") for n in self.nodes
        ]
        mean = self.load * SECONDS * np.tile(self.traffic, 2)
        traffic = self.rng.poisson(mean).astype(float) if forwarded else np.empty((2 * STEPS, 0))
        parts = {}
        for name, window, rows in (
            ("now", WINDOW, slice(STEPS, None)),
            ("baseline", baseline, slice(0, STEPS)),
        ):
            times = round(window.start.timestamp() * 1000) + 30_000 * np.arange(1, STEPS + 1)
            parts[name] = Counts(
                window=window,
                counts=frames.build(times, values[rows], keys),
                volumes=frames.empty(["direction", "node", "reason"]),
                forwarded=frames.build(times, traffic[rows], passed if forwarded else []),
                scraped=pd.DataFrame(True, index=frames.time_index(times), columns=self.nodes),
                events=pd.DataFrame({"time": [], "event": [], "amount": [], "node": []}),
                restarts=pd.DataFrame({"time": pd.to_datetime([], utc=True), "node": []}),
                hubble=frames.empty(["reason"]),
            )
        return drops.Drops(source="memory", now=parts["now"], baseline=parts["baseline"])


def quiet(seed: int, *, most: float = 8.0) -> Cluster:
    """A cluster on which nothing happens that anyone should act on.

    Parameters
    ----------
    seed
        Of everything.
    most
        How many times its traffic may become.
    """
    rng = np.random.default_rng(seed)
    nodes = int(np.round(5.0 * 40.0 ** rng.random()))
    found = Cluster(nodes, load=10.0 ** rng.uniform(1.5, 4.5), seed=seed)
    kind = seed % 4
    if kind in (1, 3):
        found.grows(most)
    found.trickles()
    if kind in (2, 3):
        found.rollouts()
    return found


def warnings(data: drops.Drops) -> list[Finding]:
    return [each for each in drops.findings(data) if each.severity > Severity.INFO]


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    told = 0
    for seed in range(number):
        cluster = quiet(seed)
        found = warnings(cluster.drops())
        told += bool(found)
        for finding in found:
            print(
                seed, len(cluster.nodes), f"{cluster.load:.0f}/s", finding.severity, finding.title
            )
    print(f"{told} of {number} quiet windows have a warning: {told / number:.3f} a window")

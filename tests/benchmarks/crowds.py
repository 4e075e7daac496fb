"""What all topics cost on 10, 100 and 1,000 nodes, for six hours and six before at 1 min."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cilium_simulator import crowd
from tests.benchmarks.cases import Figure
from tests.servers import crowded

if TYPE_CHECKING:
    from collections.abc import Iterator

SIX_HOURS = timedelta(hours=6)
MOST_SAMPLES = 20_000_000
#: of a query, as Prometheus allows by default (--query.timeout) [s]
MOST_SECONDS = 120.0
SIZES = (10, 100, 1000)
#: Up to Cilium 1.17 agents expose six series per pair of nodes: 6 million for 1,000 nodes, which
#: is more than one machine should hold for a benchmark. What the server adds up grows with the
#: square, what it answers must not.
PAIRED_SIZES = (10, 30, 100)


def asking() -> Iterator[Figure]:
    """Ask everything, in the form of Cilium 1.18 and later; a server with its default limits."""
    before: tuple[int, int] | None = None
    for nodes, found in _costs((1, 18, 2), SIZES, ()):
        samples = sum(cost.samples for cost in found.values())
        slowest = max(cost.slowest for cost in found.values())
        linear = before is None or samples <= 1.05 * before[1] * nodes / before[0]
        before = (nodes, samples)
        yield Figure(
            f"all topics, {nodes:,} nodes, 6 h and 6 h before at 1 min",
            f"{samples / 1e6:.2f} M samples",
            f"{sum(c.queries for c in found.values())} queries,"
            f" {sum(c.series for c in found.values()):,} series,"
            f" {sum(c.bytes for c in found.values()) / 1e6:.0f} MB,"
            f" {sum(c.seconds for c in found.values()):.0f} s, slowest {slowest:.1f} s",
            f"≤ {MOST_SAMPLES / 1e6:.0f} M, growth at most linear, each query ≤ 120 s",
            samples <= MOST_SAMPLES and linear and slowest <= MOST_SECONDS,
        )


def pairs() -> Iterator[Figure]:
    """Ask about connectivity where every pair of nodes has series of its own (up to 1.17)."""
    for nodes, found in _costs((1, 15, 2), PAIRED_SIZES, ("node_connectivity",)):
        cost = found["node_connectivity"]
        yield Figure(
            f"node_connectivity, {nodes} nodes with {6 * nodes**2:,} series",
            f"{cost.samples:,} samples",
            f"{cost.queries} queries, {cost.seconds:.1f} s, slowest {cost.slowest:.1f} s;"
            f" 1,000 nodes not measured: {(1000 / nodes) ** 2:,.0f} × the series",
            "",
            None,
        )


def _costs(
    version: tuple[int, int, int], sizes: tuple[int, ...], topics: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, crowded.Cost]]]:
    told = crowd.scenario(version)
    window = crowded.last(told, SIX_HOURS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated = crowded.simulated(told, folder / "simulated")
        for nodes in sizes:
            with crowded.serve(simulated, nodes, folder / f"{nodes}") as server:
                bundle = folder / f"bundle-{nodes}"
                asked = {"topics": topics} if topics else {}
                yield nodes, crowded.costs(server.url, window, bundle, **asked)

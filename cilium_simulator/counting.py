"""From arrivals to what a counter shows at a scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cilium_simulator.nodes import Node, Run


def cumulate(arrivals: np.ndarray) -> np.ndarray:
    """Return the total before each second, and after the last: one more entry than arrivals."""
    return np.concatenate([[0], np.cumsum(arrivals)])


def at(total: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Read a total at moments; what arrives in a second is counted when the second is over."""
    whole = np.floor(seconds).astype(np.int64)
    shown: np.ndarray = total[np.clip(whole, 0, len(total) - 1)]
    return shown


def _each_run(node: Node, seconds: np.ndarray) -> list[tuple[Run, np.ndarray]]:
    return [(r, (seconds >= r.start) & (seconds < r.end)) for r in node.runs]


def in_process(
    arrivals: np.ndarray, node: Node, seconds: np.ndarray, *, prior: float = 0
) -> np.ndarray:
    """Count since the agent process started; `prior` is what it had before the simulation."""
    total = cumulate(arrivals)
    shown = np.zeros(len(seconds))
    for run, mine in _each_run(node, seconds):
        base = prior if run.start < 0 else -total[min(run.start, len(total) - 1)]
        shown[mine] = at(total, seconds[mine]) + base
    return shown


def pinned(arrivals: np.ndarray, node: Node, seconds: np.ndarray, *, prior: int = 0) -> np.ndarray:
    """Count since the node booted: the map is pinned and outlives the agent.

    pkg/maps/metricsmap/metricsmap.go since 1.15 reads it at every scrape.
    """
    total = cumulate(arrivals)
    shown = np.zeros(len(seconds))
    for run, mine in _each_run(node, seconds):
        base = prior if run.boot < 0 else -total[min(run.boot, len(total) - 1)]
        shown[mine] = at(total, seconds[mine]) + base
    return shown


def copied(
    arrivals: np.ndarray, node: Node, seconds: np.ndarray, *, prior: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Count as Cilium 1.14 and older: a copy of the pinned map, refreshed every 5 s.

    The copy lives in the process. After a restart it is 0 until the controller that refreshes it
    runs for the first time, then it jumps back. Returns the values and where the series is there.
    """
    moments = seconds.copy()
    fresh = np.ones(len(seconds), dtype=bool)
    for run, mine in _each_run(node, seconds):
        since = seconds[mine] - run.first_sync
        moments[mine] = np.maximum(run.first_sync + np.floor(since / 5) * 5, run.start)
        fresh[mine] = since >= 0
    known = pinned(arrivals, node, moments, prior=prior)
    return np.where(fresh, known, 0.0), known > 0

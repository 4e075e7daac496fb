"""How long the explorer takes from a choice to what is drawn, in the kernel."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import numpy as np

from cilium_analysis import frames
from cilium_analysis.explorer import Explorer
from cilium_analysis.explorer.state import TOPICS
from cilium_analysis.question import ask
from tests.benchmarks.cases import Figure
from tests.servers.served import ClusterServers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 9
STEPS = 720
#: nodes, reasons and directions: 500 series
SHAPE = (50, 5, 2)


def figures() -> Iterator[Figure]:
    """Redraw what is known, then ask for what is not."""
    explorer, calls = _opened("sample")
    _settle(explorer, calls)
    _crowd(explorer)
    yield from redrawing(explorer)
    with tempfile.TemporaryDirectory() as folder:
        servers = ClusterServers(Path(folder))
        try:
            yield from asking(servers("sample").url)
        finally:
            servers.stop()


def _opened(source: str) -> tuple[Explorer, Queue[Callable[[], None]]]:
    """Open an explorer whose results are shown in this thread, as in a kernel's."""
    window = ("2026-03-21 08:00", "2026-03-21 10:00")
    calls: Queue[Callable[[], None]] = Queue()
    question = ask(source=source, start=window[0], end=window[1], step="30s")
    return Explorer(question, post=calls.put), calls


def _settle(explorer: Explorer, calls: Queue[Callable[[], None]]) -> None:
    while explorer.session.busy:
        calls.get()()


def _crowd(explorer: Explorer) -> None:
    """Put 500 series of 720 points in place of the drops."""
    session = explorer.session
    loaded = session.loaded["drop_reasons"]
    window = replace(
        loaded.asked.window, end=loaded.asked.window.start + STEPS * loaded.asked.window.step
    )
    rng = np.random.default_rng(0)
    series = [
        {"node": f"worker-{n}", "reason": f"Reason {r}", "direction": f"WAY {d}"}
        for n, r, d in product(*map(range, SHAPE))
    ]
    begin = round(window.start.timestamp() * 1000)
    times = begin + 30_000 * np.arange(1, STEPS + 1, dtype=np.int64)
    counts = frames.build(times, rng.poisson(3.0, (STEPS, len(series))).astype(float), series)
    data = replace(loaded.data, window=window, baseline=window, counts=counts, usual=counts)
    session.loaded["drop_reasons"] = replace(loaded, data=data)


def redrawing(explorer: Explorer) -> Iterator[Figure]:
    """Group and filter what is known already."""
    groups, reasons, nodes = (
        cycle(["node", "direction", "reason"]),
        cycle(["Reason 1", "Reason 2"]),
        cycle(["worker-1", "worker-2"]),
    )
    changes: dict[str, Callable[[], None]] = {
        "explorer: group 500 × 720 otherwise": lambda: explorer._group(
            "drop_reasons", next(groups)
        ),
        "explorer: filter 500 × 720": lambda: explorer._filter("reason", (next(reasons),)),
        "explorer: filter all four topics by node": lambda: explorer._filter(
            "node", (next(nodes),)
        ),
    }
    for what, change in changes.items():
        change()
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            change()
            taken.append(time.perf_counter() - began)
        middle = statistics.median(taken)
        yield Figure(what, f"{1000 * middle:.0f} ms", "", "≤ 300 ms", middle <= 0.3)


def asking(url: str) -> Iterator[Figure]:
    """Choose windows that nobody has asked for, until the topic in focus, and all, are drawn."""
    explorer, calls = _opened(url)
    _settle(explorer, calls)
    session = explorer.session
    assert session.scope is not None
    first, whole = [], []
    for minutes in range(5):
        extent = session.scope.extent
        start = extent.start + (0.4 + minutes / 100) * extent.length
        began = time.perf_counter()
        explorer._dragged(start, start + 0.3 * extent.length)
        while not session.fresh(session.state.topic):
            calls.get()()
        first.append(time.perf_counter() - began - _server(explorer, [session.state.topic]))
        _settle(explorer, calls)
        whole.append(time.perf_counter() - began - _server(explorer, list(TOPICS)))
    for what, taken in (("the topic in focus", first), ("all four topics", whole)):
        middle = statistics.median(taken)
        yield Figure(
            f"explorer: a new window, {what}, beyond the server's time",
            f"{middle:.2f} s",
            "",
            "≤ 1 s",
            middle <= 1.0,
        )


def _server(explorer: Explorer, topics: list[str]) -> float:
    """Give how long the server's answers took [s]."""
    return sum(explorer.session.loaded[topic].seconds[1] for topic in topics)

"""A Prometheus that holds large answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from cilium_analysis.window import Window
from cilium_simulator import remote_write
from cilium_simulator.scrape import Series
from tests.servers.prometheus import PrometheusServer

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP: Final = timedelta(seconds=30)
START: Final = datetime(2026, 3, 16, tzinfo=UTC)
#: 1,000 series over a day: 2.88 million samples
DAY: Final = Window(START, START + 2879 * STEP, STEP)
#: 720 series over five days: 10.4 million samples, more points than one request may ask for
LONG: Final = Window(START, START + 14399 * STEP, STEP)
DAY_QUERY: Final = "bench_day_total"
LONG_QUERY: Final = "bench_long_total"


def counters(name: str, window: Window, count: int) -> Iterator[Series]:
    """Counters that grow by whole packets, with the labels of a drop counter."""
    random = np.random.default_rng(7)
    step = round(window.step.total_seconds() * 1000)
    times = round(window.start.timestamp() * 1000) + step * np.arange(window.points)
    for number in range(count):
        labels = {
            "reason": f"Reason {number % 50}",
            "direction": ("INGRESS", "EGRESS")[number % 2],
            "node": f"worker-{number // 50}",
            "instance": f"10.0.{number // 50}.1:9962",
        }
        values = np.cumsum(random.poisson(9, window.points)).astype(np.float64)
        yield Series(name, "counter", labels, times, values)


def serve() -> PrometheusServer:
    """Start a Prometheus and fill it; takes about a minute."""
    server = PrometheusServer("prometheus-2", remote_write=True)
    series = [*counters(DAY_QUERY, DAY, 1000), *counters(LONG_QUERY, LONG, 720)]
    for body in remote_write.requests(series, float_le=False):
        server.get("/api/v1/write", body, remote_write.HEADERS)
    return server

"""A live exporter that a real Prometheus scrapes, for what only scraping shows.

Staleness needs a target that stops exposing a series; exemplars need OpenMetrics, which Hubble
speaks when hubble.metrics.enableOpenMetrics is set (label traceID, httpV2:exemplars=true).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from typing import TYPE_CHECKING, Self

from cilium_simulator.openmetrics import label_set, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from cilium_simulator.scrape import Labels

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class Counter:
    """A live counter and the trace that last raised it."""

    value: float = 0.0
    exemplar: tuple[str, float, float] | None = None


@dataclass
class Exposition:
    """The counters of one target."""

    counters: dict[Key, Counter] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, labels: Labels, amount: float = 1.0, *, trace: str = "") -> None:
        """Raise a counter, which is born by that; `name` ends with _total."""
        with self.lock:
            counter = self.counters.setdefault(_key(name, labels), Counter())
            counter.value += amount
            if trace:
                counter.exemplar = (trace, amount, time.time())

    def delete(self, name: str, labels: Labels) -> None:
        """Take a series away, as Hubble does a minute after its pod is gone."""
        with self.lock:
            del self.counters[_key(name, labels)]

    def reset(self) -> None:
        """Forget everything, as an agent does that restarts."""
        with self.lock:
            self.counters.clear()

    def text(self, *, openmetrics: bool) -> str:
        """Write what a scrape gets."""
        with self.lock:
            return "".join(self._lines(openmetrics=openmetrics))

    def _lines(self, *, openmetrics: bool) -> Iterator[str]:
        histograms = {n.removesuffix("_bucket") for n, _ in self.counters if n.endswith("_bucket")}
        for family, names in groupby(self._sorted(histograms), key=lambda key: key[0]):
            kind = "histogram" if family in histograms else "counter"
            yield f"# TYPE {family.removesuffix('_total') if openmetrics else family} {kind}\n"
            for _, (name, labels) in names:
                counter = self.counters[name, labels]
                yield f"{name}{label_set(dict(labels))} {number(counter.value)}"
                yield f"{self._exemplar(counter) if openmetrics else ''}\n"
        if openmetrics:
            yield "# EOF\n"

    def _sorted(self, histograms: set[str]) -> list[tuple[str, Key]]:
        """Put the series of a histogram under its name, and families in order."""
        keys = []
        for name, labels in self.counters:
            base = name.rpartition("_")[0]
            keys.append((base if base in histograms else name, (name, labels)))
        return sorted(keys, key=lambda key: key[0])

    def _exemplar(self, counter: Counter) -> str:
        if counter.exemplar is None:
            return ""
        trace, amount, moment = counter.exemplar
        return f" # {label_set({'traceID': trace})} {number(amount)} {moment:.3f}"


def _key(name: str, labels: Labels) -> Key:
    return name, tuple(sorted(labels.items()))


class LiveExporter:
    """Serve an exposition over HTTP on a free loopback port until `stop`.

    `failing` makes every scrape answer 503, which gives a gap and ends all series.
    """

    def __init__(self, *, openmetrics: bool = True) -> None:
        """Start to serve."""
        self.metrics = Exposition()
        self.failing = False
        self.openmetrics = openmetrics
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Host and port, as a scrape configuration wants them."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def config(self, interval: str = "1s", **labels: str) -> str:
        """Write a prometheus.yml that scrapes this exporter as Cilium's ServiceMonitor does."""
        job = labels.pop("job", "hubble-metrics")
        pairs = "".join(f"\n        {k}: {v}" for k, v in labels.items())
        return (
            f"global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\n"
            f"scrape_configs:\n  - job_name: {job}\n    honor_labels: true\n"
            f"    static_configs:\n      - targets: ['{self.address}']\n"
            + (f"        labels:{pairs.replace(chr(10), chr(10) + '  ')}\n" if pairs else "")
        )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if exporter.failing:
                    self.send_error(503)
                    return
                wanted = "openmetrics" in self.headers.get("Accept", "")
                speaks = wanted and exporter.openmetrics
                body = exporter.metrics.text(openmetrics=speaks).encode()
                self.send_response(200)
                self.send_header("Content-Type", OPENMETRICS if speaks else PLAIN)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def stop(self) -> None:
        """Stop to serve."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        """Hand out the serving exporter."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it however the block ended."""
        self.stop()

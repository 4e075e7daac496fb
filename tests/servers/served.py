"""Real servers that hold a simulated cluster, kept for a test session."""

from __future__ import annotations

import fcntl
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

from cilium_analysis.window import Window
from cilium_simulator import remote_write
from cilium_simulator.scenario import Scenario, load
from cilium_simulator.simulation import simulate
from cilium_simulator.truth import Truth
from tests.servers.prometheus import PrometheusServer
from tests.servers.victoria import VictoriaServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.process import ServerProcess

#: the ids by which tests choose a server, and the folder of its program
KINDS = {
    "prometheus-2": "prometheus-2",
    "prometheus-3": "prometheus-3",
    "victoria": "victoria-1",
    "victoria-1.79": "victoria-1.79",
}


#: servers that run at the same time; no test uses as many
AT_ONCE = 10


@dataclass(frozen=True)
class ClusterServer:
    """A running server that holds one scenario, and what really happened there."""

    kind: str
    scenario: Scenario
    truth: Truth
    server: ServerProcess

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        return self.server.url


def start(kind: str) -> ServerProcess:
    """Start an empty server that accepts remote writes."""
    if kind.startswith("victoria"):
        return VictoriaServer(KINDS[kind])
    return PrometheusServer(KINDS[kind], remote_write=True, exemplars=True)


def feed(server: ServerProcess, requests: Path) -> None:
    """Send everything a cluster's Prometheus would have scraped."""
    for body in remote_write.read(requests):
        server.get("/api/v1/write", body, remote_write.HEADERS)
    if isinstance(server, VictoriaServer):
        server.flush()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time make a file; the others wait and then find it."""
    with path.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@dataclass
class ClusterServers:
    """Starts servers for scenarios and keeps those used last, until `stop`.

    The files of a scenario are made once below `folder`, which the processes of a test run share.
    """

    folder: Path
    servers: dict[tuple[str, str], ClusterServer] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    def __call__(
        self, scenario: str | Scenario, kind: str = "prometheus-2", *, fresh: bool = False
    ) -> ClusterServer:
        """Return the server of a scenario.

        With `fresh` it is one of your own, to be halted or changed at will; it too is stopped at
        the end of the session.
        """
        chosen = load(scenario) if isinstance(scenario, str) else scenario
        key = (kind, self._name(chosen) + (f"-{next(self.numbers)}" if fresh else ""))
        found = self.servers.pop(key, None) or self._serve(chosen, kind)
        self.servers[key] = found  # the last is the one used last
        self._spare()
        return found

    def _spare(self) -> None:
        """Stop what was not used for longest: a server takes hundreds of megabytes."""
        while len(self.servers) > AT_ONCE:
            self.servers.pop(next(iter(self.servers))).server.stop()

    def _name(self, scenario: Scenario) -> str:
        digest = hashlib.sha256(repr(scenario).encode()).hexdigest()[:12]
        return f"{scenario.name}-{digest}"

    def _serve(self, scenario: Scenario, kind: str) -> ClusterServer:
        requests = self.files(scenario, float_le=kind == "prometheus-3")
        server = start(kind)
        try:
            feed(server, requests)
        except BaseException:
            server.stop()
            raise
        return ClusterServer(kind, scenario, Truth.read(requests.parent / "truth.json"), server)

    def files(self, scenario: Scenario, *, float_le: bool) -> Path:
        """Make the files of a scenario unless they are there, and return the requests."""
        folder = self.folder / self._name(scenario)
        folder.mkdir(parents=True, exist_ok=True)
        requests = folder / ("write-3.bin" if float_le else "write-2.bin")
        with locked(folder / "made"):
            if not requests.exists():
                cluster = simulate(scenario)
                cluster.truth.write(folder / "truth.json")
                cluster.write_requests(requests, float_le=float_le)
        return requests

    def stop(self) -> None:
        """Stop all servers."""
        for one in self.servers.values():
            one.server.stop()
        self.servers.clear()


def whole(served: ClusterServer, *, settle: int = 10) -> Window:
    """All of a scenario but its first minutes, in which nothing is known yet."""
    begin = served.scenario.start + timedelta(minutes=settle)
    return Window.parse(begin.isoformat(), served.scenario.end.isoformat(), step="30s")

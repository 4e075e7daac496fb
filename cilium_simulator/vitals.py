"""What an agent exposes about itself: memory, files, maps, conntrack, and the APIs it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import counting
from cilium_simulator.events import AgentErrors
from cilium_simulator.traffic import intensity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario
    from cilium_simulator.scrape import Labels, Series, Target

MIB = 2**20
FILES_LIMIT = 1048576
#: mean durations [s] of what is timed below
API_SECONDS, KUBERNETES_SECONDS, CONTROLLER_SECONDS, GC_SECONDS = 0.0002, 0.008, 0.003, 0.04
POLICY_SECONDS = 0.25
DELAY_BOUNDS = (0.05, 0.1, 0.5, 1.0, 5.0)


class Vitals:
    """The agent of one node, apart from its traffic; drawn from random numbers of its own.

    Errors of the subsystems ``controllers``, ``k8s-client`` and ``kvstore`` show in the metrics of
    that subsystem too.
    """

    def __init__(self, scenario: Scenario, node: Node) -> None:
        """Draw what is peculiar to this node."""
        self.scenario, self.node = scenario, node
        rng = np.random.default_rng([scenario.seed, 77, scenario.nodes.index(node.name)])
        seconds = scenario.seconds
        self.memory = rng.uniform(180, 260) + np.cumsum(rng.normal(0, 0.02, seconds))
        self.files = np.floor(rng.uniform(90, 130) + 4 * rng.random(seconds))
        self.calls = {
            name: rng.poisson(rate, seconds)
            for name, rate in (
                ("health", 0.2),
                ("kubernetes", 0.3),
                ("conflicts", 0.003),
                ("controllers", 0.5),
                ("stumbles", 0.001),
                ("maps", 0.4),
                ("policies", 0.005),
            )
        }
        self.failed = {
            name: self._arrivals(name, rng) for name in ("controllers", "k8s-client", "kvstore")
        }

    def events(self, subsystem: str) -> list[AgentErrors]:
        """List what makes a subsystem of this agent fail."""
        found = [e for e in self.scenario.of(AgentErrors) if e.subsystem == subsystem]
        return [e for e in found if e.hits(self.node.name)]

    def _arrivals(self, name: str, rng: np.random.Generator) -> np.ndarray:
        total = np.zeros(self.scenario.seconds)
        for event in self.events(name):
            total += rng.poisson(intensity(event, self.scenario.seconds))
        return total

    def series(self, target: Target) -> Iterator[Series]:
        """Yield everything."""
        yield from self._gauges(target)
        yield from self._counters(target)
        yield from self._durations(target)

    def _gauges(self, target: Target) -> Iterator[Series]:
        ones = np.ones(len(target.seconds))
        place = np.floor(target.seconds).astype(np.int64)
        failing = np.zeros(self.scenario.seconds)
        for event in self.events("controllers"):
            failing[event.start : event.end] += 2
        runs = self.scenario.seconds / 720
        for name, own, values in (
            ("cilium_process_resident_memory_bytes", {}, np.floor(self.memory[place] * MIB)),
            ("cilium_process_virtual_memory_bytes", {}, 1900 * MIB * ones),
            ("cilium_process_open_fds", {}, self.files[place]),
            ("cilium_process_max_fds", {}, FILES_LIMIT * ones),
            ("cilium_bpf_maps_virtual_memory_max_bytes", {}, 224817152 * ones),
            ("cilium_bpf_progs_virtual_memory_max_bytes", {}, 2953216 * ones),
            ("cilium_controllers_failing", {}, failing[place]),
            (
                "cilium_datapath_conntrack_gc_entries",
                {"family": "ipv4", "protocol": "TCP", "status": "alive"},
                900 + np.floor(target.seconds / 720) % max(runs, 1),
            ),
        ):
            yield from target.series(name, "gauge", own, values)

    def _counters(self, target: Target) -> Iterator[Series]:
        shown: dict[tuple[str, tuple[tuple[str, str], ...]], np.ndarray] = {}
        kubernetes = "cilium_k8s_client_api_calls_total"
        host = {"host": "10.96.0.1:443"}
        for name, own, arrivals in (
            ("cilium_controllers_runs_total", {"status": "success"}, self.calls["controllers"]),
            (
                "cilium_controllers_runs_total",
                {"status": "failure"},
                self.calls["stumbles"] + self.failed["controllers"],
            ),
            (kubernetes, {**host, "method": "GET", "return_code": "200"}, self.calls["kubernetes"]),
            (kubernetes, {**host, "method": "PUT", "return_code": "409"}, self.calls["conflicts"]),
            (
                kubernetes,
                {**host, "method": "GET", "return_code": "500"},
                self.failed["k8s-client"],
            ),
            (
                "cilium_bpf_map_ops_total",
                {"map_name": "ipcache", "operation": "update", "outcome": "success"},
                self.calls["maps"],
            ),
            (
                "cilium_datapath_conntrack_gc_runs_total",
                {"family": "ipv4", "protocol": "TCP", "status": "completed"},
                self._every(720),
            ),
        ):
            values = counting.in_process(arrivals, self.node, target.seconds)
            shown[name, tuple(own.items())] = values
        for (name, labels), values in shown.items():
            yield from target.series(name, "counter", dict(labels), values, values > 0)

    def _every(self, seconds: int) -> np.ndarray:
        marks = np.zeros(self.scenario.seconds)
        marks[::seconds] = 1
        return marks

    def _durations(self, target: Target) -> Iterator[Series]:
        for name, own, arrivals, seconds in (
            (
                "cilium_agent_api_process_time_seconds",
                {"method": "GET", "path": "/v1/healthz", "return_code": "200"},
                self.calls["health"],
                API_SECONDS,
            ),
            (
                "cilium_k8s_client_api_latency_time_seconds",
                {"method": "GET", "path": "/version"},
                self.calls["kubernetes"],
                KUBERNETES_SECONDS,
            ),
            (
                "cilium_controllers_runs_duration_seconds",
                {"status": "success"},
                self.calls["controllers"],
                CONTROLLER_SECONDS,
            ),
            (
                "cilium_datapath_conntrack_gc_duration_seconds",
                {"family": "ipv4", "protocol": "TCP", "status": "completed"},
                self._every(720),
                GC_SECONDS,
            ),
            (
                "cilium_kvstore_operations_duration_seconds",
                {"action": "get", "kind": "read", "outcome": "fail", "scope": "identities"},
                self.failed["kvstore"],
                1.0,
            ),
        ):
            done = counting.in_process(arrivals, self.node, target.seconds)
            yield from _timed(target, name, own, done, seconds)
        name, own = "cilium_policy_implementation_delay", {"source": "k8s"}
        done = counting.in_process(self.calls["policies"], self.node, target.seconds)
        yield from _timed(target, name, own, done, POLICY_SECONDS)
        for bound in (*(f"{b:g}" for b in DELAY_BOUNDS), "+Inf"):
            within = done if float(bound) >= POLICY_SECONDS else 0 * done
            labels = own | {"le": bound}
            yield from target.series(f"{name}_bucket", "histogram", labels, within, done > 0)


def _timed(
    target: Target, name: str, own: Labels, done: np.ndarray, seconds: float
) -> Iterator[Series]:
    yield from target.series(f"{name}_count", "histogram", own, done, done > 0)
    yield from target.series(f"{name}_sum", "histogram", own, done * seconds, done > 0)

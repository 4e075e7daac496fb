"""What cilium-operator (port 9963) and kube-state-metrics expose."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator.events import OperatorDown, OperatorErrors
from cilium_simulator.scrape import Scraper, Series, Target, lives

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cilium_simulator.events import Event
    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario

POD = "cilium-operator-5c9d7b6f8-x7k2p"
IDENTITIES = 180


def _up(events: Sequence[Event], seconds: np.ndarray) -> np.ndarray:
    """Tell when no event keeps the operator down."""
    up = np.ones(len(seconds), dtype=bool)
    for event in events:
        up &= (seconds < event.start) | (seconds >= event.end)
    return up


def _began(events: Sequence[Event], seconds: np.ndarray) -> np.ndarray:
    """Tell when the process began that runs at these moments."""
    began = np.full(len(seconds), -9.0 * 86400)
    for event in events:
        began[seconds >= event.end] = event.end
    return began


def operator_series(scenario: Scenario, scraper: Scraper, node: Node) -> Iterator[Series]:
    """Yield the metrics of the one operator that leads; it lives on the first node."""
    span = [(POD, 0, min(node.left, scenario.seconds))]
    broken = scenario.of(OperatorDown)
    for target in scraper.targets("operator", node, span, partial(_up, broken)):
        t = target.seconds
        ones = np.ones(len(t))
        begun = _began(broken, t)
        age = t - begun
        started = scenario.epoch + begun
        # A warning a few times a day, and what an event adds.
        errors = np.floor(age / 40000)
        failed = sum(
            np.floor(np.clip(t - e.start, 0, e.end - e.start) * e.rate)
            for e in scenario.of(OperatorErrors)
        )
        yield from target.up_series()
        for name, kind, own, values in (
            ("cilium_operator_process_start_time_seconds", "gauge", {}, started),
            ("cilium_operator_process_cpu_seconds_total", "counter", {}, 0.01 * age),
            ("cilium_operator_process_resident_memory_bytes", "gauge", {}, 96 * 2**20 * ones),
            (
                "cilium_operator_identity_gc_runs",
                "gauge",
                {"outcome": "success"}
                | ({"identity_type": "crd"} if scenario.version >= (1, 17, 0) else {}),
                np.floor(age / 900),
            ),
            ("cilium_operator_unmanaged_pods", "gauge", {}, 0 * ones),
            (
                "cilium_operator_identity_gc_entries",
                "gauge",
                {"status": "alive"},
                IDENTITIES * ones,
            ),
            ("cilium_operator_errors_warnings_total", "counter", _WARNING, errors),
            ("cilium_operator_errors_warnings_total", "counter", _ERROR, 0 * ones + failed),
        ):
            present = values > 0 if kind == "counter" else None
            yield from target.series(name, kind, own, values, present)


_WARNING = {"level": "warning", "subsystem": "k8s-client"}
_ERROR = {"level": "error", "subsystem": "controller"}


def kube_state_series(scenario: Scenario, scraper: Scraper, nodes: list[Node]) -> Iterator[Series]:
    """Yield the joins that kube-state-metrics offers, with the labels of its own ServiceMonitor."""
    pod = "kube-prometheus-stack-kube-state-metrics-7d8f9c6b5-h2qzt"
    span = [(pod, 0, scenario.seconds)]
    for bare in scraper.targets("operator", nodes[0], span, lambda s: np.ones(len(s), dtype=bool)):
        labels = {
            "job": "kube-state-metrics",
            "instance": "10.0.1.17:8080",
            "namespace": "monitoring",
            "service": "kube-prometheus-stack-kube-state-metrics",
            "pod": pod,
            "container": "kube-state-metrics",
            "endpoint": "http",
        }
        target = Target(labels, bare.times, bare.up, bare.seconds, bare.forgotten)
        yield from target.up_series()
        for node in nodes:
            yield from _infos(target, node)


def _infos(target: Target, node: Node) -> Iterator[Series]:
    ones, t = np.ones(len(target.seconds)), target.seconds
    own = {"node": node.name, "internal_ip": node.ip, "kernel_version": "6.1.0-18-cloud-amd64"}
    known = (t >= node.joined) & (t < node.left)
    yield from target.series("kube_node_info", "gauge", own, ones, known)
    for pod, start, end in lives(node):
        own = {"node": node.name, "namespace": "kube-system", "pod": pod}
        own |= {"host_ip": node.ip, "pod_ip": node.ip, "created_by_name": "cilium"}
        there = (t >= start) & (t < end)
        yield from target.series("kube_pod_info", "gauge", own, ones, there)

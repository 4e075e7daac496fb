"""What a Prometheus adds: targets, their labels, scrape times, `up`, and the end of series.

Labels per style are those of examples/kubernetes/addons/prometheus/monitoring-example.yaml
("annotations") and of the ServiceMonitors in install/kubernetes/cilium ("servicemonitor").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator.events import ScrapeGap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cilium_simulator.events import Event
    from cilium_simulator.nodes import Node
    from cilium_simulator.scenario import Scenario

Labels = dict[str, str]
PORTS = {"agent": 9962, "hubble": 9965, "operator": 9963}
MONITOR = {
    "agent": {
        "job": "cilium-agent",
        "service": "cilium-agent",
        "container": "cilium-agent",
        "endpoint": "metrics",
        "k8s_app": "cilium",
    },
    "hubble": {
        "job": "hubble-metrics",
        "service": "hubble-metrics",
        "container": "cilium-agent",
        "endpoint": "hubble-metrics",
    },
    "operator": {
        "job": "cilium-operator",
        "service": "cilium-operator",
        "container": "cilium-operator",
        "endpoint": "metrics",
        "io_cilium_app": "operator",
    },
}
ANNOTATED = {
    "agent": {
        "job": "kubernetes-pods",
        "k8s_app": "cilium",
        "app_kubernetes_io_name": "cilium-agent",
        "app_kubernetes_io_part_of": "cilium",
        "controller_revision_hash": "6d9c5b8f7c",
        "pod_template_generation": "1",
    },
    "hubble": {
        "job": "kubernetes-endpoints",
        "service": "hubble-metrics",
        "k8s_app": "hubble",
        "app_kubernetes_io_name": "hubble",
        "app_kubernetes_io_part_of": "cilium",
    },
    "operator": {
        "job": "kubernetes-pods",
        "io_cilium_app": "operator",
        "name": "cilium-operator",
        "app_kubernetes_io_name": "cilium-operator",
        "app_kubernetes_io_part_of": "cilium",
        "pod_template_hash": "7f8c9d6b5",
    },
}


@dataclass(frozen=True)
class Series:
    """One stored series; times in milliseconds of Unix time, `stale` where it was marked ended."""

    name: str
    kind: str
    labels: Labels
    times: np.ndarray
    values: np.ndarray
    stale: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True)
class Target:
    """One scrape target while its labels stay the same."""

    labels: Labels
    #: when it was scraped [ms of Unix time], and whether it answered
    times: np.ndarray
    up: np.ndarray
    #: the same moments in seconds from the start of the simulation
    seconds: np.ndarray
    #: when Prometheus marks the series of a target that it no longer knows
    forgotten: int | None

    def series(
        self,
        name: str,
        kind: str,
        own: Labels,
        values: np.ndarray,
        present: np.ndarray | None = None,
    ) -> Iterator[Series]:
        """Store what the target exposed at its scrapes, if it ever exposed it."""
        there = self.up if present is None else self.up & present
        if not there.any():
            return
        yield Series(
            name,
            kind,
            # honorLabels is true in Cilium's ServiceMonitors: the metric's own label wins.
            {**self.labels, **own},
            self.times[there],
            np.asarray(values, dtype=np.float64)[there],
            self._stale(there),
        )

    def _stale(self, there: np.ndarray) -> np.ndarray:
        """Mark a series at the first scrape that lacks it, or when its target is forgotten."""
        marks: np.ndarray = self.times[1:][there[:-1] & ~there[1:]]
        if there[-1] and self.forgotten is not None:
            marks = np.append(marks, self.forgotten)
        return marks

    def up_series(self) -> Iterator[Series]:
        """Store what Prometheus itself says about the target."""
        stale = np.array([] if self.forgotten is None else [self.forgotten], dtype=np.int64)
        up = self.up.astype(np.float64)
        yield Series("up", "gauge", self.labels, self.times, up, stale)


class Scraper:
    """Builds the targets of a scenario."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Choose an offset within the interval for every target, as Prometheus does."""
        self.scenario = scenario
        self._rng = rng

    def targets(
        self,
        component: str,
        node: Node,
        lives: list[tuple[str, int, int]],
        answers: Callable[[np.ndarray], np.ndarray],
    ) -> Iterator[Target]:
        """Yield one target per pod of (name, from, until) that served a component on a node."""
        ms, offset = self._times()
        for pod, start, end in lives:
            mine = ms[(ms >= start * 1000) & (ms < end * 1000)]
            if not len(mine):
                continue
            seconds = mine / 1000
            up = answers(seconds) & ~self._unreachable(seconds, component, node.name)
            forgotten = self._forgotten(end, offset)
            labels = self._labels(component, node, pod)
            yield Target(labels, mine + self.scenario.epoch * 1000, up, seconds, forgotten)

    def _times(self) -> tuple[np.ndarray, int]:
        interval = self.scenario.interval * 1000
        offset = int(self._rng.integers(0, interval))
        times = np.arange(offset, self.scenario.seconds * 1000, interval)
        # Within 2 ms Prometheus writes the exact grid; now and then it is busier than that.
        late = self._rng.random(len(times)) < 0.03
        times = times + late * self._rng.integers(3, 60, len(times))
        return times[self._recorded(times / 1000)], offset

    def _recorded(self, seconds: np.ndarray) -> np.ndarray:
        """Tell when Prometheus was there at all."""
        spans = [(seconds >= a) & (seconds < b) for a, b in self.scenario.recorded]
        there: np.ndarray = np.any(spans, axis=0)
        for event in self.scenario.of(ScrapeGap):
            if not event.nodes and not event.component:
                there &= ~_during(event, seconds)
        return there

    def _unreachable(self, seconds: np.ndarray, component: str, node: str) -> np.ndarray:
        """Tell when this target failed to answer although its process lives."""
        lost = np.zeros(len(seconds), dtype=bool)
        for event in self.scenario.of(ScrapeGap):
            mine = event.hits(node) and event.component in ("", component)
            if mine and (event.nodes or event.component):
                lost |= _during(event, seconds)
        return lost

    def _forgotten(self, end: int, offset: int) -> int | None:
        """Prometheus marks the series of a removed target two intervals after its last scrape."""
        interval = self.scenario.interval * 1000
        last = (end * 1000 - 1 - offset) // interval * interval + offset
        mark = last + 2 * interval
        there = self._recorded(np.array([mark / 1000]))[0]
        inside = mark < self.scenario.seconds * 1000
        return mark + self.scenario.epoch * 1000 if inside and there else None

    def _labels(self, component: str, node: Node, pod: str) -> Labels:
        labels = {"instance": f"{node.ip}:{PORTS[component]}", "namespace": "kube-system"}
        if self.scenario.style == "annotations":
            # Services are found by endpoint there, and that job copies neither pod nor node.
            extra = {} if component == "hubble" else {"pod": pod}
            return {**labels, **ANNOTATED[component], **extra}
        labels |= {**MONITOR[component], "pod": pod}
        # Only the chart's relabelings for agent, hubble and envoy name the node.
        return labels if component == "operator" else {**labels, "node": node.name}


def _during(event: Event, seconds: np.ndarray) -> np.ndarray:
    inside: np.ndarray = (seconds >= event.start) & (seconds < event.end)
    return inside


def lives(node: Node) -> list[tuple[str, int, int]]:
    """List the agent pods of a node: one that restarts stays a target, a replaced one does not."""
    merged: list[tuple[str, int, int]] = []
    for run in node.runs:
        if merged and merged[-1][0] == run.pod:
            merged[-1] = (run.pod, merged[-1][1], run.end)
        else:
            merged.append((run.pod, run.start, run.end))
    return merged

"""Put a scenario's parts together: nodes, traffic, what is exposed, what is scraped, the truth."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cilium_simulator import nodes as node_lives
from cilium_simulator import openmetrics, remote_write, traffic, truth
from cilium_simulator.agent import Agent
from cilium_simulator.connectivity import Health
from cilium_simulator.hubble import Hubble
from cilium_simulator.kubernetes import Moment
from cilium_simulator.operator import kube_state_series, operator_series
from cilium_simulator.proxy import Proxies
from cilium_simulator.scenario import Scenario, load
from cilium_simulator.scrape import Scraper, Series, lives
from cilium_simulator.watching import Watch
from cilium_simulator.workloads import Pods

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cilium_simulator.nodes import Node
    from cilium_simulator.truth import Truth


@dataclass(frozen=True)
class Cluster:
    """A simulated cluster: every stored series, and the truth."""

    scenario: Scenario
    nodes: list[Node]
    series: list[Series]
    truth: Truth

    @property
    def samples(self) -> int:
        """Count all samples."""
        return sum(len(s.times) for s in self.series)

    def find(self, name: str, **labels: str) -> list[Series]:
        """Return the series of a metric that have these labels."""
        wanted = labels.items()
        return [s for s in self.series if s.name == name and wanted <= s.labels.items()]

    def write(self, folder: Path) -> None:
        """Write metrics.om, truth.json and kubernetes.json into a new directory, whole or not.

        Raises
        ------
        FileExistsError
            If the directory exists.
        """
        if folder.exists():
            raise FileExistsError(f"{folder} exists already: choose another directory")
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.new")
        unfinished.mkdir(parents=True)
        try:
            openmetrics.write(self.series, unfinished / "metrics.om")
            self.truth.write(unfinished / "truth.json")
            end = Moment(self.scenario, self.scenario.seconds)
            shown = {"time": end.time.isoformat(), "config": end.config(), **end.objects()}
            (unfinished / "kubernetes.json").write_text(json.dumps(shown, indent=1), "utf-8")
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def write_requests(self, path: Path, *, float_le: bool) -> None:
        """Write what a server is to be fed with; `float_le` as Prometheus 3 stores buckets."""
        remote_write.write(self.series, path, float_le=float_le)


def simulate(scenario: Scenario | str) -> Cluster:
    """Run a scenario; the same one gives the same cluster."""
    chosen = load(scenario) if isinstance(scenario, str) else scenario
    # A stream of random numbers per part keeps a change in one from stirring all others.
    rngs = [np.random.default_rng([chosen.seed, part]) for part in range(7)]
    nodes = node_lives.build(chosen, rngs[0])
    drops = traffic.drops(chosen, nodes, rngs[1])
    requests = traffic.requests(chosen, nodes, rngs[2])
    lookups = traffic.lookups(chosen, nodes, rngs[6])
    series = list(_series(chosen, nodes, drops, requests, lookups, rngs[3:6]))
    true = truth.build(chosen, nodes, drops, requests, lookups)
    return Cluster(chosen, nodes, series, true)


def _series(
    scenario: Scenario,
    nodes: list[Node],
    drops: list[traffic.Drops],
    requests: list[traffic.Requests],
    lookups: list[traffic.Lookups],
    rngs: list[np.random.Generator],
) -> Iterator[Series]:
    scraper, pods = Scraper(scenario, rngs[0]), Pods(scenario, rngs[1])
    for node in nodes:
        proxies = Proxies(scenario, node, requests, lookups)
        watch = Watch(scenario, node)
        agent = Agent(scenario, node, drops, proxies, watch, rngs[2])
        health = Health(scenario, node, nodes, rngs[2])
        for target in scraper.targets("agent", node, lives(node), node.agent_up):
            yield from agent.series(target)
            yield from health.series(target)
        hubble = Hubble(scenario, node, drops, requests, lookups, pods, rngs[2])
        for target in scraper.targets("hubble", node, lives(node), node.agent_up):
            yield from hubble.series(target)
    yield from operator_series(scenario, scraper, nodes[0])
    if scenario.style == "kube-prometheus-stack":
        yield from kube_state_series(scenario, scraper, nodes)

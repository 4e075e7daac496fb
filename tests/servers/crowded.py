"""A real Prometheus that holds a cluster of as many nodes as wanted, and what topics cost there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cilium_analysis.bundle import Recorder
from cilium_analysis.capture import TOPICS, load
from cilium_analysis.connection import connect
from cilium_analysis.window import Window
from cilium_simulator import crowd, openmetrics
from cilium_simulator.simulation import simulate
from tests.servers import blocks
from tests.servers.prometheus import PrometheusServer, blocks_from_openmetrics

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cilium_simulator.scenario import Scenario

KIND = "prometheus-3"
STEP = timedelta(minutes=1)


@dataclass(frozen=True)
class Cost:
    """What the server had to answer for one topic."""

    queries: int
    series: int
    samples: int
    bytes: int
    seconds: float
    slowest: float


def simulated(told: Scenario, folder: Path) -> Path:
    """Write the blocks of the few simulated nodes, to be multiplied."""
    folder.mkdir(parents=True)
    openmetrics.write(simulate(told).series, folder / "metrics.om")
    blocks_from_openmetrics(folder / "metrics.om", folder / "blocks", kind=KIND)
    return folder / "blocks"


def serve(simulated: Path, nodes: int, folder: Path) -> PrometheusServer:
    """Start a Prometheus with its default limits that holds so many nodes."""
    shutil.copytree(simulated, folder)
    for block in sorted(folder.iterdir()):
        blocks.multiply(block, crowd.Clones(nodes))
    return PrometheusServer(KIND, data=folder)


def last(told: Scenario, length: timedelta) -> Window:
    """Give the window of this length at the end of a scenario, in steps of a minute."""
    return Window(told.end - length, told.end, STEP)


def costs(
    url: str, window: Window, folder: Path, topics: Sequence[str] = TOPICS
) -> dict[str, Cost]:
    """Ask everything that a report on these topics asks."""
    source, found = connect(url), {}
    asked: set[tuple[str, Window | None]] = set()
    baseline = window.baseline()
    with Recorder(source, folder, window=window, baseline=baseline, topics=topics) as recorder:
        # The question about incidents asks what all others ask: what is left for it comes last.
        for topic in sorted(topics, key="incident".__eq__):
            began = len(source.journal)
            load(topic, recorder, window, baseline)
            # What was kept from another topic is in the journal too, but cost nothing.
            mine = [
                record
                for record in source.journal[began:]
                if (record.promql, record.window) not in asked
            ]
            asked |= {(record.promql, record.window) for record in mine}
            found[topic] = Cost(
                len(mine),
                sum(record.series for record in mine),
                sum(record.samples for record in mine),
                sum(record.bytes for record in mine),
                sum(record.seconds for record in mine),
                max((record.seconds for record in mine), default=0.0),
            )
    return found

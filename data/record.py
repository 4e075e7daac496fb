"""Record the sample bundle from a real Prometheus that serves the simulated cluster.

Run as ``python -m data.record`` from the root of the repository; see ``data/README.md``. The other
sample is recorded by ``data/record_real.py``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cilium_analysis import Window, connect, kube
from cilium_analysis.bundle import Recorder
from cilium_analysis.capture import TOPICS, load, record_for_any_workloads
from cilium_analysis.kube import Cluster, Kubernetes
from cilium_analysis.source import Relay
from cilium_simulator.kubernetes import Moment
from cilium_simulator.scenario import load as load_scenario
from tests.kube_api import PATHS, KubeApi, write_kubeconfig
from tests.servers.served import ClusterServers

TARGET = Path(__file__).parent / "sample"
WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
BASELINES = ("previous", "1d")
#: What START_HERE asks, and what people ask first: series as they are, to group as one likes.
EXPLORED = (
    "sum by (reason) (rate(cilium_drop_count_total[5m]))",
    "sum by (status) (rate(hubble_http_requests_total[5m]))",
    "cilium_drop_count_total",
    "cilium_endpoint",
    "cilium_node_connectivity_status",
    "hubble_drop_total",
    "hubble_http_requests_total",
)


class Sample(Relay):
    """A source under the name that says what it is: not a server of that address."""

    name = "sample (a simulated cluster, Cilium 1.15.2)"


def kubernetes(folder: Path) -> Cluster:
    """Read the simulated cluster's objects at the end of the window, by the real client."""
    scenario = load_scenario("sample")
    moment = Moment(scenario, int((WINDOW.end - scenario.start).total_seconds()))
    objects = {PATHS[kind]: found for kind, found in moment.objects().items()}
    with KubeApi(objects, config=moment.config()) as api:
        access = Kubernetes(str(write_kubeconfig(folder / "kubeconfig", api.url)))
        read = kube.load(access, window=WINDOW, since=WINDOW.baseline(BASELINES[0]).start)
    return replace(read, server=Sample.name, read=moment.time)


def replace_by(record: Callable[[Path], None], target: Path) -> None:
    """Record a bundle anew, and put it in the place of the one that is there."""
    fresh = target.with_name(f"{target.name}.new")
    record(fresh)
    if target.exists():
        shutil.rmtree(target)
    fresh.rename(target)
    sys.stdout.write(f"{target}\n")


def record(target: Path) -> None:
    """Record every topic, against each of the baselines."""
    with TemporaryDirectory() as folder:
        servers = ClusterServers(Path(folder))
        try:
            cluster = kubernetes(Path(folder))
            source = Sample(connect(servers("sample", "prometheus-2").url))
            first = WINDOW.baseline(BASELINES[0])
            with Recorder(source, target, window=WINDOW, baseline=first, topics=TOPICS) as recorder:
                recorder.keep_kubernetes(cluster.as_json())
                for name in BASELINES:
                    for topic in TOPICS:
                        load(topic, recorder, WINDOW, WINDOW.baseline(name))
                    record_for_any_workloads(recorder, WINDOW, WINDOW.baseline(name))
                for promql in EXPLORED:
                    recorder.range(promql, WINDOW)
        finally:
            servers.stop()


if __name__ == "__main__":
    replace_by(record, TARGET)

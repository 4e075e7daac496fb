"""Real servers hold what the simulated cluster would have given a Prometheus."""

from __future__ import annotations

import json
import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cilium_simulator.exporter import LiveExporter
from cilium_simulator.scenario import load
from tests.conftest import installed_or_skip
from tests.servers.install import HOW_TO_GET, program
from tests.servers.prometheus import NotInstalled, PrometheusServer, blocks_from_openmetrics
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cilium_simulator.simulation import Cluster
    from tests.servers.process import ServerProcess
    from tests.servers.served import ClusterServer

DROPS = "cilium_drop_count_total"


def ask(server: ServerProcess, query: str, moment: float) -> list[dict[str, Any]]:
    words = urllib.parse.urlencode({"query": query, "time": f"{moment:.3f}"})
    answer = json.loads(server.get(f"/api/v1/query?{words}"))
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def value(server: ServerProcess, query: str, moment: float) -> float | None:
    found = ask(server, query, moment)
    return float(found[0]["value"][1]) if found else None


def test_promtool_accepts_the_file(cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    if program("prometheus-2", "promtool") is None:
        installed_or_skip(NotInstalled(f"no promtool, get it with: {HOW_TO_GET}"))
    made = cluster("burst_between_scrapes")
    made.write(tmp_path / "files")
    blocks_from_openmetrics(tmp_path / "files" / "metrics.om", tmp_path / "blocks")
    with PrometheusServer(data=tmp_path / "blocks") as server:
        end = made.scenario.epoch + made.scenario.seconds
        assert value(server, f"sum({DROPS})", end) == 1600


@pytest.mark.slow
def test_a_server_holds_every_sample(
    cluster: Callable[..., Cluster],
    cluster_server: Callable[..., ClusterServer],
    server_kind: str,
) -> None:
    served = cluster_server("restart_1_15", server_kind)
    made = cluster("restart_1_15")
    end = made.scenario.epoch + made.scenario.seconds
    held = ask(served.server, "{__name__=~'.+'}[3h]", end)
    points = [v for series in held for _, v in series["values"]]
    # VictoriaMetrics shows the staleness markers of raw samples as NaN.
    assert len([v for v in points if v != "NaN"]) == made.samples
    marks = sum(len(s.stale) for s in made.series)
    assert points.count("NaN") == (marks if server_kind == "victoria" else 0)
    total = sum(s.values[-1] for s in made.find(DROPS, node="worker-1"))
    assert value(served.server, f"sum({DROPS}{{node='worker-1'}})", end) == total
    assert cluster_server("restart_1_15", server_kind) is served


def test_an_ended_series_is_gone_at_once(
    cluster: Callable[..., Cluster], cluster_server: Callable[..., ClusterServer], server_kind: str
) -> None:
    made = cluster("series_end")
    served = cluster_server("series_end", server_kind)
    (left,) = made.find("cilium_endpoint", node="worker-4")
    query, last = "cilium_endpoint{node='worker-4'}", left.times[-1] / 1000
    assert value(served.server, query, last + 10) is not None
    assert value(served.server, query, left.stale[0] / 1000 + 1) is None


@pytest.fixture
def scraped() -> Iterator[tuple[LiveExporter, PrometheusServer]]:
    with LiveExporter() as exporter:
        exporter.metrics.add("hubble_drop_total", {"reason": "POLICY_DENIED"}, 3)
        try:
            server = PrometheusServer(config=exporter.config(node="worker-1"), exemplars=True)
        except NotInstalled as error:
            installed_or_skip(error)
            return
        with server:
            yield exporter, server


@pytest.mark.slow
def test_a_deleted_series_goes_stale(scraped: tuple[LiveExporter, PrometheusServer]) -> None:
    exporter, server = scraped
    query = "hubble_drop_total{node='worker-1',job='hubble-metrics'}"
    until(lambda: value(server, query, time.time()) == 3)
    exporter.metrics.delete("hubble_drop_total", {"reason": "POLICY_DENIED"})
    until(lambda: value(server, query, time.time()) is None)
    exporter.metrics.add("hubble_drop_total", {"reason": "POLICY_DENIED"}, 5)
    until(lambda: value(server, query, time.time()) == 5)
    exporter.failing = True
    until(lambda: value(server, "up", time.time()) == 0)
    assert value(server, query, time.time()) is None


@pytest.mark.slow
def test_exemplars_are_kept(scraped: tuple[LiveExporter, PrometheusServer]) -> None:
    exporter, server = scraped
    labels = {"method": "GET", "status": "200"}
    exporter.metrics.add("hubble_http_requests_total", labels, trace="abc123")

    def found() -> list[dict[str, object]]:
        words = urllib.parse.urlencode(
            {"query": "hubble_http_requests_total", "start": time.time() - 60, "end": time.time()}
        )
        answer = json.loads(server.get(f"/api/v1/query_exemplars?{words}"))
        kept: list[dict[str, object]] = answer["data"]
        return kept

    until(lambda: bool(found()))
    assert "abc123" in json.dumps(found())


def test_a_scenario_can_be_moved_in_time(cluster_server: Callable[..., ClusterServer]) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    moved = load("burst_between_scrapes").with_(start=start)
    served = cluster_server(moved)
    end = start + timedelta(minutes=50)
    assert value(served.server, f"sum({DROPS})", end.timestamp()) == 1600
    assert served.truth.dropped(start, end).sum() == 1600


def test_a_server_of_ones_own_may_be_halted(cluster_server: Callable[..., ClusterServer]) -> None:
    served = cluster_server("burst_between_scrapes", fresh=True)
    assert served is not cluster_server("burst_between_scrapes")
    end = served.scenario.end.timestamp()
    served.server.halt()
    with pytest.raises(OSError, match="refused"):
        value(served.server, "up", end)
    served.server.restart()
    assert value(served.server, f"sum({DROPS})", end) == 1600

"""A query that the server refuses costs what depends on it, is named, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cilium_analysis.question import Question, ask
from cilium_analysis.topics import TOPICS, setup
from tests.field.asking import command, served
from tests.field.standin import standing_before
from tests.servers.served import ClusterServer

SAID = "the query exceeded the maximum number of series (limit: 100000 series)"


def refusing(query: str, **more: Any) -> dict[str, Any]:
    """Refuse queries with this text, as Mimir does where they select too many series."""
    body = {"status": "error", "errorType": "execution", "error": f"{SAID} (err-mimir-max-series)"}
    return {"query": query, "status": 422, "body": body, **more}


@pytest.fixture(scope="module")
def cluster(cluster_server: Callable[..., ClusterServer]) -> ClusterServer:
    return cluster_server("http_errors")


def times(cluster: ClusterServer) -> dict[str, str]:
    """The second half of what was simulated; the first is its baseline."""
    start, end = cluster.scenario.start, cluster.scenario.end
    return {"start": (start + (end - start) / 2).isoformat(), "end": end.isoformat()}


def question(cluster: ClusterServer, url: str) -> Question:
    return ask(source=url, step="30s", **times(cluster))


def load(cluster: ClusterServer, topic: str, *refused: str) -> Any:
    with standing_before(cluster.url, [refusing(each) for each in refused]) as url:
        asked = question(cluster, url)
        return TOPICS[topic].load(asked.source, asked.window, asked.baseline)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topic", "metric", "about"),
    [
        ("drop_reasons", "cilium_drop_count_total", "packets dropped"),
        ("node_connectivity", "cilium_node_connectivity_status", ""),
        ("endpoint_growth", "cilium_endpoint{", ""),
        ("agent_health", "cilium_errors_warnings_total", "logs"),
        ("http_status", "hubble_http_requests_total", "HTTP requests"),
        ("dns", "hubble_dns_responses_total", ""),
        ("flows", "hubble_flows_processed_total", ""),
    ],
)
def test_a_topic_whose_metric_is_refused_is_unknown_and_says_why(
    cluster: ClusterServer, topic: str, metric: str, about: str
) -> None:
    data = load(cluster, topic, metric)
    found = TOPICS[topic].findings(data)
    assert found.is_unknown
    assert "Nothing unusual" not in repr(found)
    reasons = " ".join(found.unknown[0].reasons)
    assert about in reasons
    assert SAID in reasons
    # Not told is not missing.
    assert not [each for each in found if each.kind == "missing_metrics"]
    notes = "\n".join(TOPICS[topic].notes(data))
    assert SAID in notes
    # Nor is it switched off.
    name = metric.rstrip("{")
    absent = [f"{name} is not", f"{name} (gone", "metrics are not there", "no connectivity metrics"]
    assert not [words for words in absent if words in notes]
    assert "No packet was dropped" not in notes


def test_what_a_topic_can_do_without_is_a_note(cluster: ClusterServer) -> None:
    data = load(cluster, "drop_reasons", "hubble_drop_total", "cilium_drop_bytes_total")
    found = TOPICS["drop_reasons"].findings(data)
    assert not found.is_unknown
    notes = TOPICS["drop_reasons"].notes(data)
    assert any("refused to tell of drop events seen by Hubble" in note for note in notes)
    assert any("refused to tell of bytes of the packets dropped" in note for note in notes)
    assert "Sources and destinations of dropped packets are unknown." in notes


def test_what_the_server_does_not_count_is_not_missing(cluster: ClusterServer) -> None:
    data = load(cluster, "setup_check", "count(cilium_process_start_time_seconds")
    states = set(setup.checks(data)["state"])
    assert "unknown: the server refused to tell" in states
    assert not [state for state in states if state.startswith("missing")]
    assert not setup.checks(data)["how to switch it on"].any()
    assert setup.judge(data).startswith("unknown: the server refused to tell of series of each")
    assert not [each for each in setup.findings(data) if each.kind == "missing_metrics"]


@pytest.mark.slow
def test_what_one_topic_was_refused_is_not_said_of_another(cluster: ClusterServer) -> None:
    with standing_before(cluster.url, [refusing("hubble_dns_responses_total")]) as url:
        asked = question(cluster, url)
        for topic in ("dns", "flows", "drop_reasons"):
            data = TOPICS[topic].load(asked.source, asked.window, asked.baseline)
            assert bool(TOPICS[topic].unknown(data)) == (topic == "dns"), topic


@pytest.mark.slow
def test_a_report_is_made_of_what_was_not_refused(tmp_path: Path) -> None:
    with served("c09_limit") as (url, truth):
        told = command(url, truth["topics"], output=tmp_path, process=False)
    assert told.code == 0
    found = told.one("drop_spike")
    assert found["total"] == 48_000
    assert found["trust"] == "good", found["trust_reasons"]
    assert "sources and destinations of dropped packets are unknown" in told.said().lower()
    assert SAID in told.said()


@pytest.mark.slow
def test_a_run_fails_where_everything_is_refused(cluster: ClusterServer, tmp_path: Path) -> None:
    with standing_before(cluster.url, [refusing("")]) as url:
        asked = times(cluster)
        found = command(url, ["drop_reasons"], output=tmp_path, process=False, **asked)
    assert found.code == 1
    (line,) = [line for line in found.printed.splitlines() if "rejects" in line]
    assert SAID in line
    assert not list(tmp_path.iterdir())

"""The window around an incident, by a time or by an alert, against what really happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cilium_analysis import connect
from cilium_analysis.around import Around, locate
from cilium_analysis.around.signals import Unusual, grouped, step_for
from cilium_analysis.bundle import Bundle
from cilium_analysis.cli import main
from cilium_analysis.errors import ParameterError, WindowError
from cilium_analysis.question import ask
from tests.field.asking import available
from tests.field.make import START, Metrics, agent, burst, counter, hubble, scrapes, steady, vitals
from tests.incidents import variant
from tests.servers.prometheus import PrometheusServer
from tests.servers.served import ClusterServer

Serve = Callable[..., ClusterServer]
MINUTE = timedelta(minutes=1)


def truth(served: ClusterServer) -> tuple[datetime, datetime]:
    """When what is to be found really began and ended."""
    expected = served.scenario.truth
    assert expected is not None
    events = [sought.event for sought in expected.finding if sought.event is not None] or [0]
    incidents = [served.truth.incidents[number] for number in events]
    return min(each.onset for each in incidents), max(each.end for each in incidents)


def at(served: ClusterServer, moment: datetime, *, now: datetime | None = None) -> Around:
    end = now or served.scenario.end
    return locate(connect(served.url), time=moment.isoformat(), now=end)


INCIDENTS = {
    "policy_narrow_l4": "drops of Policy denied",
    "policy_narrow_l7": "HTTP responses 403",
    "dns_down": "DNS queries without a response",
    "node_cut_off": "unreachable nodes",
    "backend_missing": "HTTP responses 503",
    "slow_backend": "slow HTTP responses",
    "operator_down": "missing operators",
    "scrape_outage": "failed scrapes of agents",
    "surge": "forwarded packets",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "what"), INCIDENTS.items())
def test_the_window_has_the_whole_incident_with_room(
    name: str, what: str, cluster_server: Serve
) -> None:
    served = cluster_server(variant(name, 0))
    began, ended = truth(served)
    half = (ended - began) / 2
    for moment in (began - 20 * MINUTE, began + MINUTE, began + half, ended + 20 * MINUTE):
        found = at(served, moment)
        assert began - 40 * MINUTE <= found.start <= began - 20 * MINUTE, found.said
        assert ended + 20 * MINUTE <= found.end <= ended + 45 * MINUTE, found.said
        assert what in found.said


@pytest.mark.slow
def test_a_time_in_a_long_incident_finds_both_its_ends(cluster_server: Serve) -> None:
    served = cluster_server(variant("asked_too_late", 0))
    began, ended = truth(served)
    assert ended - began > timedelta(hours=1)
    found = at(served, ended - 10 * MINUTE)
    assert found.start <= began - 20 * MINUTE
    assert found.end >= ended + 20 * MINUTE


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["quiet_day", "quiet_rollouts", "quiet_node_pool", "quiet_morning"]
)
def test_a_quiet_day_gives_an_hour(name: str, cluster_server: Serve) -> None:
    served = cluster_server(variant(name, 0))
    found = at(served, served.scenario.start + timedelta(hours=3))
    assert "an hour, as nothing unusual was found" in found.said


@pytest.mark.slow
def test_what_still_goes_on_ends_now(cluster_server: Serve, server_kind: str) -> None:
    served = cluster_server("sample", server_kind)
    now = datetime(2026, 3, 21, 9, 25, tzinfo=UTC)
    found = at(served, datetime(2026, 3, 21, 9, 10, tzinfo=UTC), now=now)
    assert (found.start, found.end) == (datetime(2026, 3, 21, 8, 30, tzinfo=UTC), now)
    assert found.said.endswith("were unusual from 09:00 to the end, where it goes on")


def test_where_nothing_was_unusual_it_is_an_hour(cluster_server: Serve) -> None:
    served = cluster_server("sample")
    moment = datetime(2026, 3, 21, 7, 2, tzinfo=UTC)
    found = at(served, moment, now=moment + 45 * MINUTE)
    assert found.said == (
        "Around 07:02: 2026-03-21 06:30 to 07:30 UTC, an hour, as nothing unusual was found from"
        " 2026-03-21 01:02 to 07:47 UTC"
    )


def test_the_hour_ends_now_at_the_latest(cluster_server: Serve) -> None:
    served = cluster_server("sample")
    now = datetime(2026, 3, 21, 8, 3, tzinfo=UTC)
    found = at(served, now - 2 * MINUTE, now=now)
    assert "an hour, as nothing unusual was found" in found.said
    assert (found.end - found.start, found.end <= now) == (timedelta(hours=1), True)


def test_the_clock_is_that_of_the_reader_and_few_queries_are_asked(cluster_server: Serve) -> None:
    source = connect(cluster_server("sample").url)
    now = datetime(2026, 3, 21, 11, tzinfo=UTC)
    found = locate(source, time="2026-03-21 18:10", timezone="Asia/Tokyo", now=now)
    assert found.said.startswith("Around 18:10: 2026-03-21 17:30 to 19:15 Asia/Tokyo, as ")
    assert "drops of Policy denied" in found.said
    assert found.said.endswith("were unusual from 18:00 to 18:42")
    assert len(source.journal) < 30
    early = locate(source, time="2026-03-21 08:07", now=now)
    assert early.said.startswith("Around 08:07: 2026-03-21 08:05 to 10:15 UTC, as drops of ")
    relative = locate(connect(source.name), time="-110m", now=now)
    assert (relative.start, relative.end) == (found.start, found.end)


def test_a_server_without_metrics_gives_an_hour(prometheus2: PrometheusServer) -> None:
    now = datetime(2026, 3, 21, 11, tzinfo=UTC)
    found = locate(connect(prometheus2.url), time="2026-03-21 09:00", now=now)
    assert "an hour, as no metrics of Cilium were found from" in found.said
    assert found.end - found.start == timedelta(hours=1)


def test_the_bundle_is_taken_as_it_is() -> None:
    question = ask(source="sample", baseline="", around="2026-03-21 09:10")
    assert question.window == ask(source="sample", baseline="").window
    assert question.located.startswith(
        "Around 09:10: all that the bundle holds, 2026-03-21 08:00 to 10:00 UTC; unusual from 09:00"
        " to 09:42: Drops “Policy denied”"
    )
    with pytest.raises(WindowError, match="the bundle is not of this time, but of 2026-03-21"):
        ask(source="sample", around="2026-03-21 12:10")


# Pure


def _unusual(first: int, last: int) -> Unusual:
    start = datetime(2026, 3, 21, 9, tzinfo=UTC)
    return Unusual("x", start + first * MINUTE, start + last * MINUTE)


def test_what_is_near_is_of_one_group() -> None:
    parts = [_unusual(0, 10), _unusual(5, 50), _unusual(12, 20), _unusual(81, 90)]
    assert [len(group) for group in grouped(parts, bridge=30 * MINUTE)] == [3, 1]
    assert [len(group) for group in grouped(parts, bridge=31 * MINUTE)] == [4]


@pytest.mark.parametrize(
    ("nodes", "interval", "minutes"), [(6, 15, 1), (6, 90, 2), (250, 30, 2), (1000, 30, 5)]
)
def test_more_nodes_are_asked_in_longer_steps(nodes: int, interval: int, minutes: int) -> None:
    assert step_for(nodes, timedelta(seconds=interval)) == minutes * MINUTE


# Alerts

HOSTILE = 'a"} or vector(1) # \\ ü\n{x="'
#: Minutes of the window in which each alert fires.
FIRED = {
    "PacketsDropped": [(10, 20), (65, 80)],
    "Slow": [(30, 32)],
    HOSTILE: [(40, 50)],
    "Elsewhere": [(5, 119)],
}
BEGIN = datetime.fromtimestamp(START, UTC)
NOW = BEGIN + timedelta(hours=2)


@pytest.fixture(scope="module")
def alerting() -> Iterator[str]:
    """A server with drops, and the alerts that rules wrote there."""
    metrics = Metrics()
    for number in (1, 2):
        target = agent(number)
        vitals(metrics, target, at=scrapes())
        denied = target | {"direction": "INGRESS", "reason": "Policy denied"}
        rate = burst(5.0, 60, 75) if number == 1 else steady(0.0)
        counter(metrics, "cilium_drop_count_total", denied, rate, base=100.0, at=scrapes())
    alone = hubble(3, cluster="hub")
    flow = {"protocol": "TCP", "type": "Trace", "subtype": "to-endpoint", "verdict": "FORWARDED"}
    counter(metrics, "hubble_flows_processed_total", alone | flow, steady(5.0), at=scrapes())
    seen = alone | {"protocol": "TCP", "reason": "POLICY_DENIED"}
    counter(metrics, "hubble_drop_total", seen, burst(5.0, 20, 40), at=scrapes())
    for name, fired in FIRED.items():
        labels = {"alertname": name, "alertstate": "firing", "severity": "page"}
        labels |= {"cluster": "eu" if name == "Elsewhere" else "us"}
        for first, last in fired:
            times = range(START + 60 * first, START + 60 * last + 1, 60)
            metrics.add("ALERTS", labels, [(time, 1.0) for time in times])
            if name == "Slow":
                pending = labels | {"alertstate": "pending"}
                metrics.add("ALERTS", pending, [(time + 1800, 1.0) for time in times])
    with available(metrics) as url:
        yield url


def alert(url: str, name: str, *, match: str = "", now: datetime = NOW) -> Around:
    return locate(connect(url), alert=name, match=match, now=now)


def test_the_last_time_of_an_alert_is_found_with_what_it_was_about(alerting: str) -> None:
    found = alert(alerting, "PacketsDropped")
    assert found.said == (
        "Around the alert PacketsDropped (fired from 2026-11-20 11:04 to 11:20 UTC): 2026-11-20"
        " 10:30 to 11:50 UTC, as drops of Policy denied were unusual from 11:00 to 11:16"
    )


def test_hubble_alone_shows_drops(alerting: str) -> None:
    moment = (BEGIN + 30 * MINUTE).isoformat()
    found = locate(connect(alerting), time=moment, match='cluster="hub"', now=NOW)
    assert "as drops of POLICY_DENIED were unusual from 10:20 to 10:4" in found.said


def test_what_is_too_far_from_a_time_is_named_and_not_denied(alerting: str) -> None:
    found = locate(connect(alerting), time=(BEGIN - 60 * MINUTE).isoformat(), now=NOW)
    assert found.said == (
        "Around 09:00: 2026-11-20 08:30 to 09:30 UTC, an hour, as nothing unusual was within 1h of"
        " it; the nearest: drops of Policy denied were unusual from 11:00 to 11:16"
    )


def test_an_alert_about_nothing_that_is_known_is_its_own_window(alerting: str) -> None:
    found = alert(alerting, "Slow", now=BEGIN + 55 * MINUTE)
    assert found.start <= BEGIN + (30 - 25) * MINUTE
    assert found.end == BEGIN + 55 * MINUTE
    assert "unusual" not in found.said


def test_an_alert_that_still_fires_says_so(alerting: str) -> None:
    found = alert(alerting, "Elsewhere")
    assert "and still fires" in found.said
    assert found.end == NOW


def test_the_name_of_an_alert_is_only_a_name(alerting: str) -> None:
    found = alert(alerting, HOSTILE)
    assert f"{BEGIN + 39 * MINUTE:%H:%M} to {BEGIN + 50 * MINUTE:%H:%M}" in found.said
    with pytest.raises(ParameterError, match="no alert"):
        alert(alerting, 'x"} or vector(1) #')
    with pytest.raises(ParameterError, match="no alert"):
        alert(alerting, ".*")


def test_an_unknown_alert_names_those_that_fired(alerting: str) -> None:
    with pytest.raises(ParameterError, match="did you mean PacketsDropped"):
        alert(alerting, "PacketDropped")
    with pytest.raises(ParameterError, match=r"in the last 7 days: choose from Elsewhere, Packets"):
        alert(alerting, "Nonsense")
    with pytest.raises(ParameterError, match=r'with \{cluster="eu"\}: choose from Elsewhere$'):
        alert(alerting, "PacketsDropped", match='cluster="eu"')
    with pytest.raises(ParameterError, match="no alert fired in the last 7 days: this server may"):
        alert(alerting, "PacketsDropped", now=NOW - timedelta(days=1))


# The command


@pytest.mark.slow
def test_the_command_says_which_window_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began, metrics = int(time.time()) - 3 * 3600, Metrics()
    labels = {"alertname": "Slow", "alertstate": "firing"}
    metrics.add("ALERTS", labels, [(began + 60 * each, 1.0) for each in range(15)])
    with available(metrics) as url:
        how = ["dns", "--source", url, "--output", str(tmp_path / "kept")]
        for about in (["--around", "-2h"], ["--alert", "Slow"]):
            assert main(["capture", *about, *how]) == 0
            first = capsys.readouterr().err.splitlines()[0]
            assert first.startswith("cilium-analysis: Around ")
            how[-1] += "-too"
        assert first.startswith("cilium-analysis: Around the alert Slow (fired from ")
        window = Bundle(tmp_path / "kept-too").window
        assert window.start.timestamp() <= began - 20 * 60
        assert window.end.timestamp() >= began + 34 * 60
        assert main(["capture", "--alert", "Sl\x1b[2Jow\n", *how]) == 2
        said = capsys.readouterr().err
    assert "did you mean Slow?" in said
    assert said.count("\n") == 1
    assert "\x1b" not in said

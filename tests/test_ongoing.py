"""Whether an incident is over: only data after its end can tell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from cilium_analysis import accounts, connect, incident
from cilium_analysis.findings import Severity
from cilium_analysis.window import Window
from tests.test_model import SWEEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from cilium_simulator.scenario import Scenario
    from tests.servers.served import ClusterServer

KINDS = {"drop_spike", "http_errors", "dns_failures", "tcp_failures"}
END = pd.Timestamp(SWEEP.start) + pd.Timedelta(seconds=SWEEP.seconds)


def scenario(*, interval: int, last: int) -> Scenario:
    """Give incidents that last until so many seconds before the data end."""
    events = tuple(
        replace(event, end=SWEEP.seconds - last)
        for event in SWEEP.events
        if event.kind in ("drops", "http", "dns", "tcp_flags")
    )
    return SWEEP.with_(events=events, interval=interval, name=f"ongoing-{interval}-{last}")


def found(server: ClusterServer, *, extra: int) -> tuple[incident.Incident, Window]:
    end = END + pd.Timedelta(seconds=extra)
    window = Window.parse((END - pd.Timedelta(minutes=80)).isoformat(), end.isoformat(), step="30s")
    source = connect(server.url)
    return incident.load(source, window, window.baseline("previous")), window


@pytest.mark.slow
@pytest.mark.parametrize("interval", [15, 60])
@pytest.mark.parametrize("extra", [-45, 0, 30, 300])
def test_what_lasts_as_long_as_the_data_is_not_said_to_be_over(
    cluster_server: Callable[..., ClusterServer], interval: int, extra: int
) -> None:
    # A window that ends now is always ahead of the newest scrape.
    data, window = found(cluster_server(scenario(interval=interval, last=0)), extra=extra)
    lasting = [each for each in incident.findings(data) if each.severity >= Severity.WARNING]
    members = [each for lead in lasting for each in (lead, *lead.evidence) if each.kind in KINDS]
    assert {each.kind for each in members} == KINDS
    for each in members:
        said = accounts.when(each, window, "UTC")
        assert "ongoing" in said
        assert "over" not in said
        assert extra <= 0 or extra < 2 * interval or "when the data end at 11:00" in said
        assert extra > 0 or "data" not in said


@pytest.mark.slow
@pytest.mark.parametrize("interval", [15, 60])
def test_what_ended_before_the_data_end_is_over(
    cluster_server: Callable[..., ClusterServer], interval: int
) -> None:
    data, window = found(cluster_server(scenario(interval=interval, last=300)), extra=300)
    members = [e for lead in incident.findings(data) for e in (lead, *lead.evidence)]
    mine = [each for each in members if each.kind in KINDS]
    assert {each.kind for each in mine} == KINDS
    assert all(", over)" in accounts.when(each, window, "UTC") for each in mine)

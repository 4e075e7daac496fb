"""Bursts with quiet minutes between them are findings of their own, on a live server."""

from __future__ import annotations

import pytest

from cilium_analysis import connect
from cilium_analysis.findings import Finding, Findings, Severity
from cilium_analysis.topics import drops, http
from cilium_analysis.window import Window
from tests.conftest import installed_or_skip
from tests.field.asking import serving
from tests.field.make import (
    END,
    MINUTE,
    START,
    Metrics,
    Rate,
    agent,
    counter,
    hubble,
    iso,
    minutes,
    scrapes,
    vitals,
)
from tests.servers.prometheus import NotInstalled

#: Two bursts [minutes of the window], the first one with 20 a second, the second one with 50.
FIRST, LENGTH = 40, 10
RATES = (20.0, 50.0)
OWN = {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server"} | {
    "source_namespace": "shop",
    "source_workload": "front",
    "destination_namespace": "shop",
    "destination_workload": "cart",
}


def bursts(quiet: int) -> Rate:
    """Give the rate of two bursts with so many quiet minutes between them."""
    second = FIRST + LENGTH + quiet
    return lambda at: (
        RATES[0] * minutes(at, FIRST, FIRST + LENGTH)
        + RATES[1] * minutes(at, second, second + LENGTH)
    )


def flapping(at: int) -> float:
    """Give 20 a second for a minute, then nothing for 9 minutes, for most of the window."""
    return 20.0 * (minutes(at, 10, 110) and (at - START) % (10 * MINUTE) < MINUTE)


def sporadic(at: int) -> float:
    """Give one a second for a second now and then: the pauses are what chance makes."""
    return float(minutes(at, 30, 90) and (at * 2654435761) % 2**32 < 2**32 / 60)


def told(rate: Rate, every: int) -> list[Findings]:
    """Give the findings about drops, and about requests answered with 503, at one such rate."""
    at = scrapes(every=every)
    metrics = Metrics()
    vitals(metrics, agent(1), hubble(1), at=at)
    reason = {"direction": "INGRESS", "reason": "Policy denied"}
    counter(metrics, "cilium_drop_count_total", agent(1) | reason, rate, base=1000, at=at)
    forwarded = agent(1) | {"direction": "INGRESS"}
    counter(metrics, "cilium_forward_count_total", forwarded, lambda _: 200.0, base=1000, at=at)
    for status, each in (("200", lambda _: 200.0), ("503", rate)):
        requests = hubble(1) | OWN | {"status": status}
        counter(metrics, "hubble_http_requests_total", requests, each, base=1000, at=at)
    window = Window.parse(iso(START), iso(END), step=f"{max(every, 30)}s")
    try:
        with serving(metrics) as url:
            source = connect(url)
            return [
                drops.findings(drops.load(source, window, window.baseline())),
                http.findings(http.load(source, window, window.baseline())),
            ]
    except NotInstalled as error:
        installed_or_skip(error)


def severe(found: Findings) -> list[Finding]:
    return sorted((f for f in found if f.severity >= Severity.WARNING), key=lambda f: f.start)


@pytest.mark.slow
@pytest.mark.parametrize("every", [15, 60])
@pytest.mark.parametrize("quiet", [8, 12])
def test_two_bursts_with_quiet_minutes_between_them_are_two(quiet: int, every: int) -> None:
    for topic in told(bursts(quiet), every):
        found = severe(topic)
        assert len(found) == 2, [f.title for f in found]
        for finding, rate, begin in zip(found, RATES, (FIRST, FIRST + LENGTH + quiet), strict=True):
            start = START + MINUTE * begin
            assert finding.severity is Severity.CRITICAL
            assert abs(finding.start.timestamp() - start) <= max(every, 30)
            assert abs(finding.end.timestamp() - start - MINUTE * LENGTH) <= max(every, 30)
            assert finding.value == pytest.approx(rate, rel=0.12)
            # Of all drops of the window; of all requests meanwhile.
            whole = sum(RATES) if finding.kind == "drop_spike" else 200 + rate
            assert finding.share == pytest.approx(rate / whole, rel=0.12)
        total = sum(finding.total or 0.0 for finding in found)
        assert total == pytest.approx(MINUTE * LENGTH * sum(RATES), rel=0.01)


@pytest.mark.parametrize("every", [15, 60])
def test_a_short_pause_is_part_of_one_event(every: int) -> None:
    for topic in told(bursts(4), every):
        (finding,) = severe(topic)
        assert finding.total == pytest.approx(MINUTE * LENGTH * sum(RATES), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("every", [15, 60])
@pytest.mark.parametrize("rate", [flapping, sporadic])
def test_what_comes_and_goes_is_one(rate: Rate, every: int) -> None:
    for topic in told(rate, every):
        (finding,) = topic
        true = sum(rate(second) for second in range(START, END))
        assert finding.total == pytest.approx(true, rel=0.02)

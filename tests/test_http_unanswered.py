"""Requests without a response, where Hubble counts requests and responses apart (http, v1)."""

from __future__ import annotations

import numpy as np
import pytest

from cilium_analysis import connect
from cilium_analysis.findings import Severity
from cilium_analysis.frames import totals
from cilium_analysis.topics import http
from cilium_analysis.window import Window
from tests.conftest import installed_or_skip
from tests.field.asking import serving
from tests.field.make import END, START, Metrics, burst, counter, hubble, iso, steady, vitals
from tests.servers.prometheus import NotInstalled
from tests.sources import grid
from tests.test_http_statuses import LABELS, WIDE, answers, load

ASKED = LABELS.replace("status ", "")
HALF = WIDE.points // 2


def data_of(
    asked: dict[tuple[str, str], np.ndarray], answered: dict[tuple[str, str], np.ndarray]
) -> http.Http:
    """Load counts per step, by source and destination as Hubble names them."""
    return load(
        answers(
            requests=grid(
                WIDE, {("GET", "n", "i", *k): np.cumsum(v) for k, v in asked.items()}, ASKED
            ),
            responses=grid(
                WIDE,
                {("GET", "200", "n", "i", *k): np.cumsum(v) for k, v in answered.items()},
                LABELS,
            ),
        )
    )


def gone(data: http.Http) -> dict[object, float]:
    """Give the requests without a response by source and destination."""
    mine = data.now.counts.loc[:, data.now.counts.columns.get_level_values("status") == "0"]
    sums = totals(mine, ["source", "destination"])
    return dict(sums[sums > 0])


MANY = np.full(WIDE.points, 40.0)
SOME = np.where(np.arange(WIDE.points) > HALF, 30.0, 40.0)
OURS = ("shop/front", "shop/cart")
BACK = OURS[::-1]


def test_requests_without_a_response_have_failed() -> None:
    data = data_of({OURS: MANY}, {BACK: SOME})
    (finding,) = http.findings(data)
    missing = float((MANY - SOME).sum())
    assert finding.kind == "http_errors"
    assert finding.severity is Severity.CRITICAL
    assert finding.labels["status"] == "0"
    assert finding.title.startswith(
        "Requests from shop/front to shop/cart without a response: 0.333/s (25.0% of all requests"
    )
    assert finding.total == pytest.approx(missing)
    assert "responses are counted apart" in finding.trust_reasons[0]
    assert gone(data) == {OURS: pytest.approx(missing)}
    (row,) = http.by_destination(data).to_dict("records")
    assert row["errors"] == pytest.approx(missing)
    assert http.by_status(data)["requests"].sum() == pytest.approx(40.0 * 120)
    assert http.rates(data)["no response"].sum() * 30 == pytest.approx(missing)


def test_a_destination_that_answers_nobody_any_more_is_found() -> None:
    other = ("shop/front", "shop/mail")
    dead = np.where(np.arange(WIDE.points) > HALF, 0.0, 40.0)
    data = data_of({OURS: MANY, other: MANY}, {BACK: dead, other[::-1]: MANY})
    (finding,) = http.findings(data)
    assert finding.severity is Severity.CRITICAL
    assert finding.labels["destination_workload"] == "cart"
    assert finding.share == pytest.approx(1.0)
    # Whoever never answered in the window has no series of responses.
    never = data_of({OURS: MANY, other: MANY}, {other[::-1]: MANY})
    assert gone(never) == {OURS: pytest.approx(40.0 * 120)}
    assert never.now.unpaired == 0


def test_a_response_may_come_later() -> None:
    slow = np.concatenate([np.zeros(3), MANY[3:-20], np.full(3, 80.0), MANY[-17:]])
    late = np.concatenate([MANY[:40], np.zeros(2), np.full(2, 80.0), MANY[44:]])
    for answered in (slow, late):
        data = data_of({OURS: MANY}, {BACK: answered})
        assert gone(data) == {}
        assert list(http.findings(data)) == []


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (("shop/front", ""), ("shop/cart", "")),
        (("", "shop/cart"), ("", "shop/front")),
        (("shop/front", "10.0.0.7"), ("shop/cart", "10.0.0.8")),
    ],
    ids=["source only", "destination only", "each end otherwise"],
)
def test_what_cannot_be_paired_is_said_and_not_counted(
    asked: tuple[str, str], answered: tuple[str, str]
) -> None:
    data = data_of({asked: MANY}, {answered: SOME})
    assert gone(data) == {}
    assert list(http.findings(data)) == []
    assert data.now.unpaired == pytest.approx(40.0 * 120)
    assert any("4,800 requests got a response is unknown" in note for note in http.notes(data))


def test_without_any_parties_the_sums_tell() -> None:
    data = data_of({("", ""): MANY}, {("", ""): SOME})
    (finding,) = http.findings(data)
    assert finding.total == pytest.approx(float((MANY - SOME).sum()))
    assert data.now.unpaired == 0


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 20.0, 2000.0])
def test_what_is_in_flight_or_lost_by_hubble_is_no_finding(rate: float) -> None:
    """Half a percent of either is lost, and a tenth of the responses come in the next step."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        sent = rng.poisson(rate * 30, WIDE.points)
        late = rng.binomial(sent, 0.1)
        came = sent - late + np.concatenate([[0], late[:-1]])
        data = data_of({OURS: rng.binomial(sent, 0.995)}, {BACK: rng.binomial(came, 0.995)})
        assert not [f for f in http.findings(data) if f.severity >= Severity.WARNING]
        counted = totals(data.now.counts, ["status"])
        assert counted.get("0", 0.0) <= 0.01 * counted["200"] + 20


@pytest.mark.parametrize("fails", [0.0, 6.0])
def test_on_a_live_server_they_are_counted(fails: float) -> None:
    """Of 30 requests a second that ask, some get no response for 20 minutes."""
    metrics = Metrics()
    vitals(metrics, hubble(1) | {"job": "cilium-agent"}, hubble(1))
    own = hubble(1) | {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server"}
    ends = {"source": "shop/front", "destination": "shop/cart"}
    back = dict(zip(ends, list(ends.values())[::-1], strict=True))
    lost = burst(fails, 40, 60)
    counter(metrics, "hubble_http_requests_total", own | ends, steady(30.0), base=1000)
    name, status = "hubble_http_responses_total", {"status": "200"}
    counter(metrics, name, own | back | status, lambda at: 30.0 - lost(at), base=900)
    window = Window.parse(iso(START), iso(END), step="30s")
    try:
        with serving(metrics) as url:
            data = http.load(connect(url), window, window.baseline())
    except NotInstalled as error:
        installed_or_skip(error)
    found = list(http.findings(data))
    assert len(found) == bool(fails)
    assert totals(data.now.counts, ["status"]).sum() == pytest.approx(30 * 7200, rel=0.01)
    for finding in found:
        assert finding.severity is Severity.CRITICAL
        assert finding.total == pytest.approx(fails * 1200, rel=0.01)
        assert finding.share == pytest.approx(0.2, rel=0.05)
        assert abs(finding.start.timestamp() - START - 2400) <= 30
        assert abs(finding.end.timestamp() - START - 3600) <= 30

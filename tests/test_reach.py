"""How far a finding reaches: "over" only where it was still looked at after its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from cilium_analysis import connect, incident
from cilium_analysis.cards import Signal
from cilium_analysis.findings import Finding
from cilium_analysis.incident.signals import signals
from cilium_analysis.question import ask_source
from tests.field.asking import available
from tests.field.make import (
    END,
    LONG_AGO,
    MINUTE,
    START,
    Metrics,
    agent,
    burst,
    constant,
    counter,
    drops,
    hubble,
    iso,
    minutes,
    scrapes,
    steady,
    vitals,
)

OPERATOR = {"job": "cilium-operator", "instance": "10.0.0.9:9963", "pod": "cilium-operator-1"}


def node(metrics: Metrics, number: int, at: Sequence[int]) -> dict[str, str]:
    """Add a node in good health, and give the labels of its agent."""
    target = agent(number)
    vitals(metrics, target, hubble(number), at=at)
    constant(metrics, "cilium_endpoint_state", target | {"endpoint_state": "ready"}, 9, at)
    forwarded = target | {"direction": "INGRESS"}
    counter(metrics, "cilium_forward_count_total", forwarded, steady(200.0), at=at)
    return target


def operator(metrics: Metrics, at: Sequence[int]) -> None:
    constant(metrics, "up", OPERATOR, 1, at)
    constant(metrics, "cilium_operator_process_start_time_seconds", OPERATOR, LONG_AGO, at)


def told(metrics: Metrics) -> tuple[dict[str, Finding], dict[str, Signal]]:
    """Give the findings of an incident by their kind, and what is drawn of those that lead."""
    with available(metrics) as url:
        asked = ask_source(connect(url), start=iso(START), end=iso(END))
        data = incident.load(asked.source, asked.window, asked.baseline)
        found = incident.findings(data)
        drawn = signals(data, found)
    every = [each for story in found for each in (story, *story.evidence)]
    leads = {story.kind: drawn[rank] for rank, story in enumerate(found, 1) if rank in drawn}
    return {each.kind: each for each in every}, leads


@pytest.mark.parametrize("back", [True, False])
def test_what_failed_on_a_node_that_vanished_is_not_over(back: bool) -> None:
    """HTTP and DNS failed on worker-2 alone, which is no label of the finding."""
    metrics, last = Metrics(), 72 if back else 999
    ends = {"source": "shop/cart", "destination": "shop/web", "reporter": "server"}
    ends |= {"source_namespace": "shop", "source_workload": "cart", "method": "GET"}
    ends |= {"destination_namespace": "shop", "destination_workload": "web"}
    lookup = {"source": "kube-system/coredns", "destination": "shop/cart", "query": "db.shop.svc."}
    for number in (1, 2):
        at = [t for t in scrapes() if number == 1 or not minutes(t, 64, last)]
        node(metrics, number, at)
        seen = hubble(number)
        requests, responses = "hubble_http_requests_total", "hubble_dns_responses_total"
        counter(metrics, requests, seen | ends | {"status": "200"}, steady(20.0), at=at)
        fine = seen | lookup | {"rcode": "No Error", "ips_returned": "1"}
        counter(metrics, responses, fine, steady(20.0), at=at)
        if number == 2:
            failed = seen | lookup | {"rcode": "Server Failure", "ips_returned": "0"}
            counter(metrics, responses, failed, burst(30.0, 60, 80), at=at)
            bad = seen | ends | {"status": "503"}
            counter(metrics, requests, bad, burst(30.0, 60, 80), at=at)
    found, drawn = told(metrics)
    for kind in ("http_errors", "dns_failures"):
        each = found[kind]
        assert "node" not in each.labels
        if back:
            assert (each.ongoing, each.known_until) == (False, None)
            assert abs(each.end.timestamp() - (START + 80 * MINUTE)) <= 30
            continue
        assert each.ongoing
        assert each.known_until is not None
        assert abs(each.known_until.timestamp() - (START + 64 * MINUTE)) <= 30
    if not back:
        signal = drawn["dns_failures"]
        after = datetime.fromtimestamp(START + 65 * MINUTE, UTC)
        late = [v for t, v in zip(signal.times, signal.values, strict=True) if t > after]
        assert late
        assert all(math.isnan(value) for value in late)


@pytest.mark.parametrize("every", [30, 300])
def test_how_often_others_are_scraped_does_not_matter(every: int) -> None:
    metrics = Metrics()
    for number in (1, 2):
        target = node(metrics, number, scrapes())
        drops(metrics, target, burst(40.0, 105, 115.5, beside=0.1), at=scrapes())
    operator(metrics, scrapes(every=every))
    found, _ = told(metrics)
    assert found["drop_spike"].ongoing is False


def test_an_operator_is_known_as_long_as_it_is_scraped() -> None:
    metrics = Metrics()
    for number in (1, 2):
        node(metrics, number, scrapes(last=START + 60 * MINUTE))
    operator(metrics, scrapes())
    errors = OPERATOR | {"level": "error", "subsystem": "operator"}
    name = "cilium_operator_errors_warnings_total"
    counter(metrics, name, errors, burst(5.0, 70, 80, beside=0.001), at=scrapes())
    found, _ = told(metrics)
    each = found["operator_errors"]
    assert (each.ongoing, each.known_until) == (False, None)
    assert abs(each.start.timestamp() - (START + 70 * MINUTE)) <= 30

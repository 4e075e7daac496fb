"""Cases of the same kinds as those of `cases`: what changes in the window, and who is called how.

Unless a case says otherwise, the incident is that of `siblings`.
"""

from __future__ import annotations

from typing import Any

from tests.field.make import (
    DAY,
    END,
    FIRST,
    MINUTE,
    START,
    Labels,
    Metrics,
    agent,
    burst,
    case,
    constant,
    counter,
    drops,
    hubble,
    minutes,
    scrapes,
    steady,
    truth,
    vitals,
)
from tests.field.siblings import ALWAYS, HTTP, INCIDENT, LOST, node_of


@case()
def s19_pairs_of_clusters(m: Metrics, variant: str) -> dict[str, Any]:
    """Two clusters with the same nodes, each scraped by a pair of servers of its own: `env` tells
    the clusters apart, and all four servers have another `prometheus_replica`."""
    for place, born in (("blue", 9), ("green", 4)):
        for n in (1, 2, 3):
            for number, offset in enumerate((7, 22)):
                server = {"env": place, "prometheus_replica": f"{place}-{number}"}
                target = agent(n) | server
                hit = (place, n) == ("green", 2)
                at = scrapes(offset=offset)
                vitals(m, target, born=START - born * DAY, at=at)
                rate = INCIDENT if hit else steady(ALWAYS)
                drops(m, target, rate, base=born * 1000 * n, at=at)
    return truth(
        "24,060 packets on worker-2 of green, each once, and without any doubt.",
        packets_in_incident=LOST,
        where={"env": "green", "node": "worker-2"},
    )


@case("longer", "shorter", topics=("drop_reasons", "endpoint_growth", "http_status"))
def s20_interval(m: Metrics, variant: str) -> dict[str, Any]:
    """The scrape interval is configured anew at 10:30, from 15 to 60 s or from 60 to 15 s."""
    change = START + 30 * MINUTE
    before, after = (15, 60) if variant == "longer" else (60, 15)
    for n in (1, 2, 3):
        at = [time for time in scrapes(every=before, offset=3 + n) if time < change]
        at += [time for time in scrapes(every=after, offset=3 + n) if time >= change]
        node_of(m, agent(n), hit=n == 2, base=1000 * n, at=at)
        count = [(time, 80 if n == 2 and time > START + 40 * MINUTE else 20) for time in at]
        m.add("cilium_endpoint", agent(n), count)
        constant(m, "up", hubble(n), 1, at)
        good, bad = (hubble(n) | HTTP | {"status": status} for status in ("200", "500"))
        counter(m, "hubble_http_requests_total", good, steady(20.0), base=7, at=at)
        failed = burst(5.0 if n == 2 else 0.0, 80, 100, beside=0.01)
        counter(m, "hubble_http_requests_total", bad, failed, base=3, at=at)
    return truth(
        """24,060 packets and 60 new endpoints on worker-2 from 10:40 on, 6,012 answers 500 from
        11:20 to 11:40. No scrape is missing.""",
        packets_in_incident=LOST,
        errors_in_incident=6012,
    )


@case(topics=("drop_reasons", "http_status"))
def s21_replaced_node(m: Metrics, variant: str) -> dict[str, Any]:
    """worker-2 is taken away at 10:30, and worker-9 gets its address at 10:33. The incident is on
    worker-9, whose counters began at 0."""
    gone, comes = START + 30 * MINUTE, START + 33 * MINUTE
    for n, name, first, last in (
        (1, 1, FIRST, END + 1),
        (3, 3, FIRST, END + 1),
        (2, 2, FIRST, gone),
        (2, 9, comes, END + 1),
    ):
        node, new = {"node": f"worker-{name}"}, name == 9
        target, side = agent(n) | node, hubble(n) | node
        at = [time for time in scrapes() if first <= time < last]
        vitals(m, target, side, born=comes - 20 if new else START - 9 * DAY, at=at)
        rate = burst(20.0 if new else 0.0, 40, 60, beside=ALWAYS)
        lost = drops(Metrics(), {}, rate, base=80_000)
        failed = counter(Metrics(), "any", {}, burst(5.0 if new else 0.0, 40, 60, beside=0.01))
        good = counter(Metrics(), "any", {}, steady(20.0))
        for metric, labels, values in (
            (
                "cilium_drop_count_total",
                target | {"direction": "INGRESS", "reason": "Policy denied"},
                lost,
            ),
            ("hubble_http_requests_total", side | HTTP | {"status": "500"}, failed),
            ("hubble_http_requests_total", side | HTTP | {"status": "200"}, good),
        ):
            past = values[at[0]] if new else 0
            m.add(metric, labels, [(time, values[time] - past) for time in at])
    return truth(
        """24,060 packets and 6,012 answers 500 on worker-9, 10:40 to 11:00. worker-2 was gone by
        then, and rebooted never.""",
        packets_in_incident=LOST,
        node="worker-9",
    )


@case(topics=("node_connectivity",))
def s22_server_stopped(m: Metrics, variant: str) -> dict[str, Any]:
    """worker-3 is cut off from 10:40 to 11:00. Prometheus itself does not run from 10:45 on for
    three and a half minutes, so that nothing is scraped."""
    stopped = START + 45 * MINUTE
    at = [time for time in scrapes() if not stopped <= time < stopped + 210]
    for n in (1, 2, 3, 4):
        vitals(m, agent(n), at=at)
        for other in (1, 2, 3, 4):
            for kind in ("node", "endpoint"):
                _path(m, n, other, kind, at)
    return truth(
        """worker-3 and the three others do not reach each other, 10:40 to 11:00. Its agent
        answered whenever anything was scraped.""",
        node="worker-3",
    )


def _path(m: Metrics, source: int, target: int, kind: str, at: list[int]) -> None:
    cut = source != target and 3 in (source, target)
    where = {
        "source_cluster": "default",
        "source_node_name": f"worker-{source}",
        "target_cluster": "default",
        "target_node_name": f"worker-{target}",
        "target_node_type": "local_node" if source == target else "remote_intra_cluster",
        "type": kind,
    }
    values = [(time, float(not (cut and minutes(time, 40, 60)))) for time in at]
    m.add("cilium_node_connectivity_status", agent(source) | where, values)


@case("starts", "none", topics=("endpoint_growth",))
def s23_late_targets(m: Metrics, variant: str) -> dict[str, Any]:
    """Two of four agents are scraped only from 10:50 on, although they run for a month. `none`:
    the start of processes is not stored."""
    for n in (1, 2, 3, 4):
        at = [time for time in scrapes() if n < 3 or time >= START + 50 * MINUTE]
        constant(m, "up", agent(n), 1, at)
        if variant == "starts":
            constant(m, "cilium_process_start_time_seconds", agent(n), START - 30 * DAY, at)
        constant(m, "cilium_endpoint", agent(n), 20, at)
        constant(m, "cilium_endpoint_state", agent(n) | {"endpoint_state": "ready"}, 20, at)
    return truth(
        "No growth. worker-3 and worker-4 are in the data from 10:50 on, and not for longer.",
        since="2026-11-20T10:50:00Z",
    )


@case(topics=("drop_reasons", "http_status"))
def s24_hosts_and_addresses(m: Metrics, variant: str) -> dict[str, Any]:
    """The agents are scraped by their hosts' names, and Hubble by addresses; kube-state-metrics
    knows both. No label names the node."""
    for n in (1, 2, 3):
        name = f"worker-{n}.prod.example.com"
        target = {"job": "cilium-agent", "instance": f"{name}:9962"}
        side: Labels = hubble(n, node=False)
        node_of(m, target, hit=n == 2, base=100 * n)
        constant(m, "up", side, 1, scrapes())
        good, bad = ({**side, **HTTP, "status": status} for status in ("200", "500"))
        counter(m, "hubble_http_requests_total", good, steady(20.0), base=7)
        failed = burst(5.0 if n == 2 else 0.0, 40, 60, beside=0.01)
        counter(m, "hubble_http_requests_total", bad, failed, base=3)
        state = {"instance": "10.1.2.3:8080", "job": "kube-state-metrics"}
        info = state | {"node": name, "internal_ip": f"10.0.0.{n}"}
        constant(m, "kube_node_info", info, 1, scrapes())
    return truth(
        "24,060 packets and 6,012 answers 500 on worker-2.prod.example.com, which is one node.",
        packets_in_incident=LOST,
        node="worker-2.prod.example.com",
    )


@case(topics=("drop_reasons", "http_status"))
def s25_clusters_by_two_labels(m: Metrics, variant: str) -> dict[str, Any]:
    """Two clusters with the same nodes. The agents carry `cluster`, Hubble `k8s_cluster`."""
    for place, born in (("blue", 9), ("green", 4)):
        for n in (1, 2, 3):
            at = scrapes(offset=3 * n + born)
            target, side = agent(n) | {"cluster": place}, hubble(n) | {"k8s_cluster": place}
            hit = (place, n) == ("green", 2)
            vitals(m, target, side, born=START - born * DAY, at=at)
            rate = INCIDENT if hit else steady(ALWAYS)
            drops(m, target, rate, base=born * 1000 * n, at=at)
            good, bad = (side | HTTP | {"status": status} for status in ("200", "500"))
            base = 100 * born + n
            counter(m, "hubble_http_requests_total", good, steady(20.0 + n), base=base, at=at)
            failed = burst(5.0 if hit else 0.0, 40, 60, beside=0.01)
            counter(m, "hubble_http_requests_total", bad, failed, base=base, at=at)
    return truth(
        "24,060 packets and 6,012 answers 500 on worker-2 of green: one node of two clusters.",
        packets_in_incident=LOST,
        node="green/worker-2",
    )


@case("up", "none")
def s26_failing_scrapes(m: Metrics, variant: str) -> dict[str, Any]:
    """For an hour every second scrape of worker-2 fails. `none`: `up` is not stored."""
    for n in (1, 2, 3):
        every = scrapes()
        failed = {t for number, t in enumerate(every) if minutes(t, 30, 90) and number % 2}
        at = [t for t in every if n != 2 or t not in failed]
        drops(m, agent(n), INCIDENT if n == 2 else steady(ALWAYS), base=1000 * n, at=at)
        constant(m, "cilium_process_start_time_seconds", agent(n), START - 9 * DAY, at)
        if variant == "up":
            m.add("up", agent(n), [(t, float(t in at)) for t in every])
    return truth(
        "24,060 packets on worker-2, which was scraped half of the time only.",
        packets_in_incident=LOST,
        node="worker-2",
    )

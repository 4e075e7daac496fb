"""Cases of the same kinds as those of `cases`: what a counter gained, rare scrapes, and what is
worth acting on. Other labels, other metrics, other topics."""

from __future__ import annotations

from typing import Any

from tests.field.make import (
    DAY,
    END,
    FIRST,
    LONG_AGO,
    MINUTE,
    START,
    Labels,
    Metrics,
    Rate,
    agent,
    at_once,
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
from tests.field.siblings import ALWAYS, CART, FRONT, HTTP, INCIDENT, LOST

PROBES = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 1, 10)


@case(topics=("drop_reasons",))
def s10_renamed_reason(m: Metrics, variant: str) -> dict[str, Any]:
    """The agents are upgraded from 10:50 on, one after another, and spell a reason otherwise from
    then on ("Invalid source ip", "Invalid source IP"). The pinned counters go on."""
    for n in (1, 2, 3, 4):
        change = START + 50 * MINUTE + 90 * n
        born = {time: START - DAY if time < change else change - 20 for time in scrapes()}
        m.add("cilium_process_start_time_seconds", agent(n), born.items())
        constant(m, "up", agent(n), 1, scrapes())
        lost = drops(Metrics(), {}, steady(ALWAYS), base=70_000 * n)
        for reason, since, until in (
            ("Invalid source ip", FIRST, change),
            ("Invalid source IP", change, END + 1),
        ):
            where = agent(n) | {"direction": "EGRESS", "reason": reason}
            part = [(time, value) for time, value in lost.items() if since <= time < until]
            m.add("cilium_drop_count_total", where, part)
    return truth(
        "0.05 packets a second on each of 4 nodes, 1,440 in all, no rise: no finding of drops.",
        packets=1440,
    )


@case("http", "dns", topics=("http_status", "dns"))
def s11_first_burst(m: Metrics, variant: str) -> dict[str, Any]:
    """Lookups and requests fail for the first time ever, all within one scrape; start times of
    processes are not stored. Other series of the same targets were always there."""
    for n in (1, 2):
        target = agent(n, node=False)
        side = hubble(n, node=False)
        constant(m, "up", target, 1, scrapes())
        constant(m, "up", side, 1, scrapes())
        good = side | HTTP | {"status": "200"}
        counter(m, "hubble_http_requests_total", good, steady(20.0), base=10**5)
        lookup = side | FRONT | CART | {"qtypes": "A", "query": "db.shop."}
        answered = lookup | {"rcode": "No Error", "ips_returned": "1"}
        counter(m, "hubble_dns_responses_total", answered, steady(10.0), base=10**4)
        counter(m, "hubble_dns_queries_total", lookup, steady(10.0), base=10**4)
        if n == 2:
            name = {"http": "hubble_http_requests_total", "dns": "hubble_dns_responses_total"}
            what = {
                "http": HTTP | {"status": "502"},
                "dns": lookup | {"rcode": "Server Failure", "ips_returned": "0"},
            }[variant]
            rate = at_once(9000, START + 40 * MINUTE)
            failed = counter(Metrics(), "any", {}, rate)
            m.add(name[variant], side | what, [(t, v) for t, v in failed.items() if v])
    return truth("9,000 failures at 10:40, between two scrapes, of 10.0.0.2.", failures=9000)


@case(topics=("http_status",))
def s12_hubble_switched_on(m: Metrics, variant: str) -> dict[str, Any]:
    """Hubble's metrics are switched on in the window, which restarts the agents one after another
    from 10:30 on. One of 20 requests fails, as it always did: only nobody counted."""
    for n in (1, 2, 3, 4, 5):
        restart = START + 30 * MINUTE + 75 * n
        born = {time: START - 9 * DAY if time < restart else restart for time in scrapes()}
        m.add("cilium_process_start_time_seconds", agent(n), born.items())
        constant(m, "up", agent(n), 1, scrapes())
        at = [time for time in scrapes() if time > restart]
        constant(m, "up", hubble(n), 1, at)
        for status, share in (("200", 0.95), ("500", 0.05)):
            values = [(time, int(20 * share * (time - restart))) for time in at]
            m.add("hubble_http_requests_total", hubble(n) | HTTP | {"status": status}, values)
    return truth(
        """95 good and 5 failed requests a second since 10:32, no rise: nothing was counted before,
        which must be said.""",
        failed_per_second=5,
    )


@case("window", "never", topics=("node_connectivity", "endpoint_growth"))
def s13_le_of_agents(m: Metrics, variant: str) -> dict[str, Any]:
    """Prometheus is upgraded from 2 to 3 at 10:30: le="1" and le="10" of the agents' histograms
    (duration of probes, of regenerations) become le="1.0" and le="10.0". Nothing happens."""
    upgrade = START + 30 * MINUTE if variant == "window" else END + 1
    for n in (1, 2, 3):
        vitals(m, agent(n))
        constant(m, "cilium_endpoint_state", agent(n) | {"endpoint_state": "ready"}, 20, scrapes())
        for kind in ("node", "endpoint"):
            one = agent(n) | {"type": kind, "protocol": "icmp", "address_type": "primary"}
            name = "cilium_node_health_connectivity_latency_seconds"
            histogram(m, name, one, per_second=0.05, upgrade=upgrade)
            for state, count in (("reachable", 2), ("unreachable", 0)):
                status = {"type": kind, "status": state}
                gauge = "cilium_node_health_connectivity_status"
                constant(m, gauge, agent(n) | status, count, scrapes())
        scope = agent(n) | {"scope": "total", "status": "success"}
        name = "cilium_endpoint_regeneration_time_stats_seconds"
        histogram(m, name, scope, per_second=0.5, upgrade=upgrade)
    return truth(
        """Half of the probes and regenerations take less than 0.0005 s, before and after; no
        finding.""",
        p50=0.0005,
    )


def histogram(m: Metrics, name: str, labels: Labels, *, per_second: float, upgrade: float) -> None:
    """Add a histogram, half of it below the second bound, and a few above the last but one."""
    shares = (0.1, 0.5, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0, 1.0)
    whole = [(time, 10**6 + per_second * (time - FIRST)) for time in scrapes()]
    for bound, share in zip((*PROBES, None), shares, strict=True):
        for time, count in whole:
            le = "+Inf" if bound is None else f"{bound:g}"
            le += ".0" if time >= upgrade and le.isdigit() else ""
            m.add(f"{name}_bucket", {**labels, "le": le}, [(time, round(count * share))])
    m.add(f"{name}_count", labels, [(time, round(count)) for time, count in whole])
    m.add(f"{name}_sum", labels, [(time, count * 0.001) for time, count in whole])


@case("60", "120", "300", topics=("endpoint_growth", "dns", "flows"))
def s14_slow_scrape(m: Metrics, variant: str) -> dict[str, Any]:
    """As c08, of other metrics: scrapes every 60, 120 or 300 s, each target at another moment.
    Endpoints of worker-2 grow from 20 to 80 at 10:40 and stay; lookups fail from 11:20 to 11:40."""
    every = int(variant)
    for n in (1, 2, 3, 4):
        at = scrapes(every=every, offset=7 + 31 * (n - 1))
        vitals(m, agent(n), hubble(n), at=at)
        count = [(time, 80 if n == 2 and time > START + 40 * MINUTE else 20) for time in at]
        m.add("cilium_endpoint", agent(n), count)
        m.add("cilium_endpoint_state", agent(n) | {"endpoint_state": "ready"}, count)
        lookup = hubble(n) | FRONT | CART | {"qtypes": "A", "query": "db.shop."}
        answered = lookup | {"rcode": "No Error", "ips_returned": "1"}
        failed = lookup | {"rcode": "Server Failure", "ips_returned": "0"}
        counter(m, "hubble_dns_queries_total", lookup, steady(10.0), base=10**4, at=at)
        counter(m, "hubble_dns_responses_total", answered, steady(10.0), base=10**4, at=at)
        rate = burst(5.0, 80, 100, beside=0.001)
        counter(m, "hubble_dns_responses_total", failed, rate, base=100, at=at)
        for flag in ("SYN", "SYN-ACK"):
            ends = (FRONT | CART) if flag == "SYN" else _turned(FRONT | CART)
            flow = hubble(n) | ends | {"flag": flag, "family": "IPv4"}
            counter(m, "hubble_tcp_flags_total", flow, steady(20.0), base=10**5, at=at)
    return truth(
        f"""Endpoints of worker-2 grow from 20 to 80 at 10:40; 24,000 lookups of db.shop. end in
        SERVFAIL, 11:20 to 11:40; every handshake succeeds. Times may be off by the interval,
        {every} s; that scrapes are missing must not be said.""",
        endpoints=(20, 80),
        failures=24_000,
        scrape_interval_seconds=every,
    )


def _turned(ends: dict[str, str]) -> dict[str, str]:
    """Give the labels of the way back."""
    other = {"source": "destination", "destination": "source"}
    return {
        f"{other[name.partition('_')[0]]}_{name.partition('_')[2]}": value
        for name, value in ends.items()
    }


@case("60", "120", topics=("node_connectivity",))
def s15_slow_health(m: Metrics, variant: str) -> dict[str, Any]:
    """Cilium 1.18 and later, scraped rarely: the agents count reachable and unreachable nodes, and
    name no target. worker-3 is cut off from 10:40 to 11:00."""
    every = int(variant)
    for n in (1, 2, 3, 4):
        at = scrapes(every=every, offset=7 + 31 * (n - 1))
        vitals(m, agent(n), at=at)
        for kind in ("node", "endpoint"):
            for state in ("reachable", "unreachable"):
                values = []
                for time in at:
                    cut = minutes(time, 40, 60)
                    lost = (3 if n == 3 else 1) if cut else 0
                    values.append((time, lost if state == "unreachable" else 4 - lost))
                status = agent(n) | {"type": kind, "status": state}
                m.add("cilium_node_health_connectivity_status", status, values)
        m.add(
            "cilium_unreachable_nodes",
            agent(n),
            [(time, (3 if n == 3 else 1) * minutes(time, 40, 60)) for time in at],
        )
    return truth(
        """worker-3 cut off from the three others, 10:40 to 11:00, to within the interval; nothing
        is missing.""",
        node="worker-3",
        scrape_interval_seconds=every,
    )


@case("3", "20", "100", "doubled")
def s16_quiet(m: Metrics, variant: str) -> dict[str, Any]:
    """Nothing to act on. A workload is rolled out on all nodes from 10:40 on, within 8 minutes,
    and each node loses 1 to 3 packets to connections that end ("Stale or unroutable IP"), 20 to
    60 in all on 20 nodes. `doubled`: all traffic doubles at 11:00, and trickles of drops with
    it."""
    doubled = variant == "doubled"
    nodes = 20 if doubled else int(variant)
    total = 0
    for n in range(1, nodes + 1):
        at = scrapes(every=60 if nodes > 50 else 30, offset=7 + n % 23)
        vitals(m, agent(n), at=at)
        load = burst(1000.0, 60, 120, beside=1000.0) if doubled else steady(1000.0)
        way = agent(n) | {"direction": "INGRESS", "reason": ""}
        counter(m, "cilium_forward_count_total", way, load, base=10**8 * n, at=at)
        trickle = burst(0.02, 60, 120, beside=0.02) if doubled else steady(0.001 * (n % 3))
        reason = "Unsupported L3 protocol"
        drops(m, agent(n), trickle, base=900 * n, at=at, direction="EGRESS", reason=reason)
        if doubled and n <= 4:
            _doubled_requests(m, n, load)
        if not doubled:
            lost = 1 + n % 3
            moment = START + 40 * MINUTE + 480 * n // nodes
            drops(
                m, agent(n), at_once(lost, moment), base=3, at=at, reason="Stale or unroutable IP"
            )
            total += lost
    return truth(
        "No warning: a handful of packets of a rollout, of a million forwarded each second."
        if not doubled
        else "No warning: twice the drops of twice the traffic, 0.02 of 1,000 packets.",
        packets_of_rollout=total,
    )


def _doubled_requests(m: Metrics, n: int, load: Rate) -> None:
    """Add requests and lookups that follow the load, as do those of them that fail."""
    side = hubble(n)
    constant(m, "up", side, 1, scrapes())
    for status, share in (("200", 0.02), ("500", 0.00004)):
        answers = side | HTTP | {"status": status}
        counter(m, "hubble_http_requests_total", answers, _part(load, share), base=10**5)
    lookup = side | FRONT | CART | {"qtypes": "A", "query": "db.shop."}
    counter(m, "hubble_dns_queries_total", lookup, _part(load, 0.01), base=10**5)
    for code, share in (("No Error", 0.01), ("Non-Existent Domain", 0.0005)):
        answers = lookup | {"rcode": code, "ips_returned": "0"}
        counter(m, "hubble_dns_responses_total", answers, _part(load, share), base=10**5)


def _part(rate: Rate, share: float) -> Rate:
    return lambda at: share * rate(at)


@case(topics=("drop_reasons",))
def s17_hubble_only(m: Metrics, variant: str) -> dict[str, Any]:
    """Only Hubble's metrics are scraped, none of the agents'."""
    for n in (1, 2, 3):
        constant(m, "up", hubble(n), 1, scrapes())
        who = FRONT | CART | {"protocol": "TCP", "reason": "POLICY_DENIED"}
        seen = INCIDENT if n == 2 else steady(ALWAYS)
        counter(m, "hubble_drop_total", hubble(n) | who, seen, base=500)
        flow = hubble(n) | FRONT | CART | {"flag": "SYN", "family": "IPv4"}
        counter(m, "hubble_tcp_flags_total", flow, steady(30.0), base=10**6)
    return truth(
        """24,060 events of packets from shop/front to shop/cart dropped on worker-2, 10:40 to
        11:00. That these are Hubble's events, not the datapath's count, is said.""",
        events=LOST,
        node="worker-2",
    )


@case("denied", "zero", "none", topics=("http_status",))
def s18_failed_requests(m: Metrics, variant: str) -> dict[str, Any]:
    """Requests fail from 10:40 to 11:00: denied by a layer 7 policy (403 and counted as dropped),
    or without any answer (status 0, or no status)."""
    status = {"denied": "403", "zero": "0", "none": ""}[variant]
    for n in (1, 2):
        vitals(m, agent(n), hubble(n))
        good = hubble(n) | HTTP | {"status": "200"}
        counter(m, "hubble_http_requests_total", good, steady(20.0), base=10**5)
        bad = hubble(n) | HTTP | ({"status": status} if status else {})
        failed = burst(5.0, 40, 60, beside=0.001)
        counter(m, "hubble_http_requests_total", bad, failed, base=40)
        if variant == "denied":
            proxy = agent(n) | {"proxy_type": "envoy"}
            counter(m, "cilium_policy_l7_total", proxy | {"rule": "denied"}, failed, base=4)
            counter(m, "cilium_policy_l7_total", proxy | {"rule": "received"}, steady(25), base=9)
            who = hubble(n) | FRONT | CART | {"protocol": "HTTP", "reason": "DROP_REASON_UNKNOWN"}
            counter(m, "hubble_drop_total", who, failed, base=40)
    return truth(
        """12,000 requests from shop/front to shop/cart fail, 10:40 to 11:00: source first.""",
        failures=12_000,
    )


@case(topics=("http_status",))
def s28_rare_scrapes_restart(m: Metrics, variant: str) -> dict[str, Any]:
    """Scrapes every 300 s. The agent of worker-2 restarts at 10:42, amid the failures. At the next
    scrape of Hubble's counters, the new count of failures is already above the old one."""
    restart = START + 42 * MINUTE
    for n in (1, 2):
        at = scrapes(every=300, offset=97)
        anew = restart if n == 2 else END + 1
        born = [(t, LONG_AGO if t < anew else anew) for t in scrapes(every=300)]
        m.add("cilium_process_start_time_seconds", agent(n), born)
        constant(m, "up", hubble(n), 1, at)
        for status, rate, base in (
            ("200", steady(20.0), 10**6),
            ("500", burst(20.0 if n == 2 else 0.0, 40, 60, beside=0.001), 2_000),
        ):
            old = counter(Metrics(), "", {}, rate, base=base, at=sorted({*at, anew}))
            samples = [(t, v if t < anew else v - old[anew]) for t, v in old.items() if t in at]
            m.add("hubble_http_requests_total", hubble(n) | HTTP | {"status": status}, samples)
    return truth(
        "24,000 answers 500 on worker-2, but for 460 at most that nothing scraped before 10:42.",
        failures=24_000,
        unseen=460,
    )

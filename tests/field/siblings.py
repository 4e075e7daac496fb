"""Cases of the same kinds as those of `cases`: which targets exist, and which are stored twice.

Other labels, other metrics, other topics. Unless a case says otherwise, the incident is the same:
20 packets a second from 10:40 to 11:00 on one node, and 0.05 a second always on each.
"""

from __future__ import annotations

from typing import Any

from tests.field.make import (
    DAY,
    END,
    FIRST,
    HOUR,
    MINUTE,
    START,
    Labels,
    Metrics,
    agent,
    burst,
    case,
    constant,
    counted,
    counter,
    drops,
    hubble,
    scrapes,
    steady,
    truth,
    vitals,
)

ALWAYS = 0.05
#: With what is dropped always, on one node in these 20 minutes.
INCIDENT = burst(20.0, 40, 60, beside=ALWAYS)
LOST = 24_060
CART = {"destination_namespace": "shop", "destination_workload": "cart"}
FRONT = {"source_namespace": "shop", "source_workload": "front"}
HTTP = FRONT | CART | {"method": "GET", "protocol": "HTTP/1.1", "reporter": "server"}


def node_of(
    m: Metrics,
    target: Labels,
    *,
    hit: bool,
    base: int,
    at: list[int] | None = None,
    start_times: bool = True,
) -> dict[int, int]:
    """Add an agent's vitals and drops; gives the drops."""
    times = scrapes() if at is None else at
    if start_times:
        vitals(m, target, at=times)
    else:
        constant(m, "up", target, 1, times)
    constant(m, "cilium_endpoint_state", {**target, "endpoint_state": "ready"}, 12, times)
    return drops(m, target, INCIDENT if hit else steady(ALWAYS), base=base, at=times)


@case("plain", "node")
def s01_federated(m: Metrics, variant: str) -> dict[str, Any]:
    """A Prometheus federates another one without honor_labels: job and instance are those of the
    federated server, the agent's own are in exported_job and exported_instance. `node`: the
    chart's node label is there too."""
    outer = {"job": "federate", "instance": "prometheus-edge:9090"}
    constant(m, "up", outer, 1, scrapes())
    total = 0
    for n in (1, 2, 3):
        inner = {"exported_job": "cilium-agent", "exported_instance": f"10.0.0.{n}:9962"}
        target = outer | inner | ({"node": f"worker-{n}"} if variant == "node" else {})
        at = scrapes()
        constant(m, "cilium_process_start_time_seconds", target, START - 30 * DAY, at)
        constant(m, "cilium_endpoint_state", target | {"endpoint_state": "ready"}, 12, at)
        rate = INCIDENT if n == 2 else steady(ALWAYS)
        total += counted(drops(m, target, rate, base=100_000 * n))
    return truth(
        """24,060 packets on one node of three, 10:40 to 11:00: worker-2, or 10.0.0.2 where no
        name is known. prometheus-edge is no node.""",
        packets=total,
        packets_in_incident=LOST,
        node="worker-2" if variant == "node" else "10.0.0.2",
    )


@case("up", "alone")
def s02_aggregated(m: Metrics, variant: str) -> dict[str, Any]:
    """Adaptive metrics: instance, pod and node are aggregated away when samples are stored, so
    that one series is the cluster's sum. It falls at 11:10, when a node leaves with 80,000
    packets counted. `up`: the targets' own up is stored as it is."""
    parts = [
        drops(Metrics(), {}, INCIDENT if n == 2 else steady(ALWAYS), base=base)
        for n, base in ((1, 300_000), (2, 120_000), (3, 80_000))
    ]
    leaves = START + 70 * MINUTE
    summed = {
        time: sum(part[time] for part in (parts if time < leaves else parts[:2]))
        for time in parts[0]
    }
    job = {"job": "cilium-agent", "cluster": "prod"}
    m.add(
        "cilium_drop_count_total",
        job | {"direction": "INGRESS", "reason": "Policy denied"},
        summed.items(),
    )
    constant(m, "cilium_endpoint_state", job | {"endpoint_state": "ready"}, 36, scrapes())
    for n in (1, 2, 3) if variant == "up" else ():
        at = [time for time in scrapes() if n < 3 or time < leaves]
        constant(m, "up", agent(n, cluster="prod"), 1, at)
    return truth(
        """About 24,180 packets somewhere in the cluster, 10:40 to 11:00; at which node is not in
        the data, and must be said. The fall at 11:10 is no reset: no packet is dropped then.""",
        packets_in_incident=24_000 + 3 * 60,
        falls_at="2026-11-20T11:10:00Z",
    )


@case("port", "job", "pod")
def s03_renamed_targets(m: Metrics, variant: str) -> dict[str, Any]:
    """The agents' scraping is configured anew at 10:50: another port (kube-rbac-proxy before it),
    another job, or a pod label. The agents run on; their counters go on under other labels."""
    more = {"job": "kube-system/cilium"} if variant == "job" else {}
    change = START + 50 * MINUTE
    total = 0
    for n in (1, 2, 3, 4):
        pod = {"pod": f"cilium-{n}x"} if variant == "pod" else {}
        port = 19962 if variant == "port" else 9962
        first = agent(n, node=False)
        second = agent(n, node=False, port=port) | more | pod
        lost = drops(Metrics(), {}, steady(ALWAYS), base=50_000 * n)
        seen = counter(Metrics(), "any", {}, steady(20.0), base=10**6 * n)
        total += counted(lost)
        for target, at in (
            (first, [time for time in scrapes() if time < change]),
            (second, [time for time in scrapes() if time >= change]),
        ):
            vitals(m, target, at=at)
            where = target | {"direction": "INGRESS", "reason": "Policy denied"}
            m.add("cilium_drop_count_total", where, [(time, lost[time]) for time in at])
            side = {"job": "hubble-metrics", "instance": f"10.0.0.{n}:9965"} | (
                {} if target is first else more | pod
            )
            constant(m, "up", side, 1, at)
            good = side | HTTP | {"status": "200"}
            m.add("hubble_http_requests_total", good, [(time, seen[time]) for time in at])
    return truth(
        """0.05 packets a second on each of 4 nodes before and after, 1,440 in all, and 80
        requests a second; no rise, no finding.""",
        packets=total,
        requests_per_second=80,
    )


@case("location", "k8s_cluster", "env", topics=("drop_reasons", "endpoint_growth", "http_status"))
def s04_clusters(m: Metrics, variant: str) -> dict[str, Any]:
    """Two clusters in one Prometheus, with the same nodes' names and addresses. One label tells
    them apart, and it is called as the variant."""
    for place, base in (("blue", 900_000), ("green", 40)):
        for n in (1, 2, 3):
            which = {variant: place}
            hit = (place, n) == ("green", 2)
            vitals(m, agent(n) | which, hubble(n) | which)
            drops(m, agent(n) | which, INCIDENT if hit else steady(ALWAYS), base=base)
            count = [(time, 80 if hit and time > START + 40 * MINUTE else 20) for time in scrapes()]
            m.add("cilium_endpoint", agent(n) | which, count)
            state = agent(n) | which | {"endpoint_state": "ready"}
            m.add("cilium_endpoint_state", state, count)
            seen = hubble(n) | which | HTTP
            counter(m, "hubble_http_requests_total", seen | {"status": "200"}, steady(20.0), base=9)
            failed = burst(5.0 if hit else 0.0, 40, 60, beside=0.01)
            counter(m, "hubble_http_requests_total", seen | {"status": "500"}, failed, base=base)
    return truth(
        """24,060 packets, 60 new endpoints and 6,000 answers 500 on worker-2 of green, from 10:40
        on; worker-2 of blue has none of it. The report says that there are two clusters.""",
        packets_in_incident=LOST,
        errors_in_incident=6012,
        endpoints=(20, 80),
        where={variant: "green", "node": "worker-2"},
    )


@case("label", "federated", topics=("drop_reasons", "endpoint_growth", "http_status"))
def s05_replicas(m: Metrics, variant: str) -> dict[str, Any]:
    """Everything is stored twice: by a pair of Prometheus servers under a label of their own, some
    seconds apart, or once directly and once by federation from another server."""
    for n in (1, 2, 3):
        for number, offset in enumerate((7, 22)):
            at = scrapes(offset=offset)
            if variant == "label":
                one = agent(n) | {"monitor": f"prom-{number}"}
                two = hubble(n) | {"monitor": f"prom-{number}"}
            else:
                one = _federated(agent(n)) if number else agent(n)
                two = _federated(hubble(n)) if number else hubble(n)
            constant(m, "cilium_process_start_time_seconds", one, START - 20 * DAY, at)
            if variant == "label" or not number:
                constant(m, "up", one, 1, at)
                constant(m, "up", two, 1, at)
            drops(m, one, INCIDENT if n == 2 else steady(ALWAYS), base=1000 * n, at=at)
            count = [(time, 80 if n == 2 and time > START + 40 * MINUTE else 20) for time in at]
            m.add("cilium_endpoint", one, count)
            m.add("cilium_endpoint_state", one | {"endpoint_state": "ready"}, count)
            good, bad = (two | HTTP | {"status": status} for status in ("200", "500"))
            counter(m, "hubble_http_requests_total", good, steady(20.0), base=7, at=at)
            failed = burst(5.0 if n == 2 else 0.0, 40, 60, beside=0.01)
            counter(m, "hubble_http_requests_total", bad, failed, base=3, at=at)
    return truth(
        """24,060 packets, 60 new endpoints and 6,012 answers 500 on worker-2, from 10:40 on, each
        once; 3 nodes.""",
        packets_in_incident=LOST,
        errors_in_incident=6012,
        endpoints=(20, 80),
        node="worker-2",
        nodes=3,
    )


def _federated(labels: dict[str, str]) -> dict[str, str]:
    """Give the labels under which another Prometheus federates a target's series."""
    own = {f"exported_{name}": labels[name] for name in ("job", "instance")}
    rest = {name: value for name, value in labels.items() if name not in ("job", "instance")}
    return rest | own | {"job": "federate", "instance": "prometheus-edge:9090"}


@case("two_names", "two_addresses")
def s06_node_info(m: Metrics, variant: str) -> dict[str, Any]:
    """kube_node_info cannot be trusted: one address has two names (two clusters' nodes), or one
    name has two addresses at the same time. The agents have no node label."""
    for n in (1, 2, 3):
        target = agent(n, node=False)
        node_of(m, target, hit=n == 2, base=5000 * n)
        state = {"instance": "10.1.2.3:8080", "job": "kube-state-metrics"}
        names = (
            ((f"a-{n}", f"10.0.0.{n}"), (f"b-{n}", f"10.0.0.{n}"))
            if variant == "two_names"
            else (("infra", f"10.0.0.{n}"),)
        )
        for name, address in names:
            info = state | {"node": name, "internal_ip": address}
            constant(m, "kube_node_info", info, 1, scrapes())
    return truth(
        "24,060 packets on 10.0.0.2, 10:40 to 11:00. Its name is not known; the nodes are three.",
        packets_in_incident=LOST,
        node="10.0.0.2",
        nodes=3,
    )


@case()
def s07_hubble_without_node(m: Metrics, variant: str) -> dict[str, Any]:
    """The agents' job has the chart's node label, Hubble's job has none."""
    for n in (1, 2, 3):
        node_of(m, agent(n), hit=n == 2, base=100 * n)
        side = hubble(n, node=False)
        constant(m, "up", side, 1, scrapes())
        who = FRONT | CART | {"protocol": "TCP", "reason": "POLICY_DENIED"}
        seen = burst(40.0 if n == 2 else 0.0, 40, 60, beside=2 * ALWAYS)
        counter(m, "hubble_drop_total", side | who, seen, base=50)
    return truth(
        """24,060 packets from shop/front to shop/cart on worker-2, 10:40 to 11:00; 10.0.0.2 is no
        other node.""",
        packets_in_incident=LOST,
        node="worker-2",
        nodes=3,
    )


@case(topics=("endpoint_growth",))
def s08_proxied(m: Metrics, variant: str) -> dict[str, Any]:
    """All agents are scraped through one proxy: only `pod` tells them apart, as in c01; endpoints
    grow on one of them."""
    for n, pod in enumerate(("cilium-aaaaa", "cilium-bbbbb", "cilium-ccccc"), start=1):
        target = {"instance": "proxy.monitoring:443", "job": "agents", "pod": pod}
        constant(m, "up", target, 1, scrapes())
        count = [
            (time, 30 * n + (40 if n == 3 and time > START + 40 * MINUTE else 0))
            for time in scrapes()
        ]
        m.add("cilium_endpoint", target, count)
        m.add("cilium_endpoint_state", target | {"endpoint_state": "ready"}, count)
    return truth(
        """Endpoints of cilium-ccccc grow from 90 to 130 at 10:40; the other two stay at 30 and 60:
        180 in all before, 220 after.""",
        endpoints_in_all=(180, 220),
        pod="cilium-ccccc",
    )


@case()
def s09_many_nodes_twice(m: Metrics, variant: str) -> dict[str, Any]:
    """120 nodes, so many that a server is asked for sums, each stored twice by a pair of servers
    whose label nobody removes; Hubble's drops with both ends."""
    total = 0
    for n in range(1, 121):
        for number, offset in enumerate((7, 31)):
            which = {"replica": f"r{number}"}
            at = scrapes(every=60, offset=offset, first=FIRST + HOUR)
            constant(m, "up", agent(n) | which, 1, at)
            constant(m, "cilium_process_start_time_seconds", agent(n) | which, 1e9, at)
            hit = n == 77
            lost = drops(m, agent(n) | which, INCIDENT if hit else steady(0), base=10 * n, at=at)
            total += 0 if number else counted(lost, until=END)
            if n in (76, 77):
                who = FRONT | CART | {"protocol": "TCP", "reason": "POLICY_DENIED"}
                seen = burst(40.0 if hit else 0.0, 40, 60, beside=0.1)
                counter(m, "hubble_drop_total", hubble(n) | which | who, seen, base=5, at=at)
    return truth(
        "24,060 packets from shop/front to shop/cart on worker-77, 10:40 to 11:00, each once.",
        packets=total,
        packets_in_incident=LOST,
        node="worker-77",
    )


@case("instance", "none")
def s27_collectors(m: Metrics, variant: str) -> dict[str, Any]:
    """A collector on each node scrapes localhost, and writes the machine's name into a label of its
    own (`host_name`, as OpenTelemetry calls it). `none`: there is no instance."""
    for n in (1, 2, 3):
        where = {"instance": "localhost:9962"} if variant == "instance" else {}
        target = {"job": "cilium-agent", "host_name": f"machine-{n}", **where}
        node_of(m, target, hit=n == 2, base=100_000 * n)
        who = FRONT | CART | {"protocol": "TCP", "reason": "POLICY_DENIED"}
        seen = burst(40.0 if n == 2 else 0.0, 40, 60, beside=0.1)
        counter(m, "hubble_drop_total", target | {"job": "hubble"} | who, seen, base=900 * n)
    return truth(
        "24,060 packets on machine-2, 10:40 to 11:00; the other two lose 360 each in two hours.",
        packets=LOST + 300 + 2 * 360,
        packets_in_incident=LOST,
        node="machine-2",
    )


@case(topics=("drop_reasons", "http_status"))
def s29_many_nodes_gap(m: Metrics, variant: str) -> dict[str, Any]:
    """101 nodes, so many that a server is asked for sums. Four of them drop packets, and requests
    fail on them; one of these four is not scraped for six of the 20 minutes."""
    for n in range(1, 102):
        at = scrapes(every=60, offset=7 + n % 40)
        at = [t for t in at if n != 3 or not START + 44 * MINUTE <= t < START + 50 * MINUTE]
        vitals(m, agent(n), hubble(n), at=at)
        for status, rate in (("200", steady(20.0)), ("500", burst(5.0, 40, 60))) if n <= 4 else ():
            own = hubble(n) | HTTP | {"status": status}
            counter(m, "hubble_http_requests_total", own, rate, base=900, at=at)
        if n <= 4:
            drops(m, agent(n), INCIDENT, base=1000 * n, at=at)
    return truth(
        """96,240 packets on 4 of 101 nodes, 10:40 to 11:00. 24,000 requests fail, of which sums of
        the server lack what worker-3 counted in the gap: a doubt that names it.""",
        packets_in_incident=4 * LOST,
        failures=24_000,
        node_with_gap="worker-3",
    )

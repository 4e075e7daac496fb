"""The cases: how the metrics were scraped, and what is true about them.

One function is one case. Its docstring says how the metrics come to be as they are; what it
returns says what really happened and what a user may expect to read. Unless a case says
otherwise, nothing happens beside its incident: "Policy denied" from minute 40 to 60 of the
window (10:40 to 11:00), 20 packets a second, so 24,000 packets, on one node.
"""

from __future__ import annotations

from typing import Any

from tests.field.make import (
    DAY,
    END,
    FIRST,
    MINUTE,
    START,
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

INCIDENT = burst(20.0, 40, 60)


@case()
def c01_gardener(m: Metrics, variant: str) -> dict[str, Any]:
    """All agents are scraped through the API server's proxy, as Gardener configures it, so that
    each has instance="kube-apiserver:443"; there is no node label, only `pod` tells them apart,
    and the start time of the process is dropped by a keep list."""
    total = 0
    for pod, base, rate in (
        ("cilium-aaaaa", 5000, steady(0.05)),
        ("cilium-bbbbb", 100_000, steady(0.02)),
        ("cilium-ccccc", 20, INCIDENT),
    ):
        target = {
            "instance": "kube-apiserver:443",
            "job": "cilium-agent-metrics",
            "pod": pod,
            "k8s_app": "cilium",
        }
        for labels in (target, target | {"job": "hubble-metrics"}):
            constant(m, "up", labels, 1, scrapes())
        constant(m, "cilium_endpoint_state", target | {"endpoint_state": "ready"}, 10, scrapes())
        total += counted(drops(m, target, rate, base=base))
    return truth(
        """24,000 packets of cilium-ccccc, 10:40 to 11:00; the other two agents lose a few all
        day. No node is known: say the pod, or say that the node is not known, but don't call
        kube-apiserver one.""",
        packets=total,
        packets_in_incident=24_000,
        pod="cilium-ccccc",
    )


@case(source="kube-state-metrics#1927")
def c14_exported_node(m: Metrics, variant: str) -> dict[str, Any]:
    """kube-state-metrics is scraped with a `node` target label and without honorLabels, so that
    kube_node_info has node="infra-1", where kube-state-metrics runs, and exported_node, the node it
    is about. The agents have no node label (Cilium 1.19: no source_node_name either)."""
    total = 0
    for n, base, rate in ((1, 5000, steady(0.05)), (2, 100_000, steady(0.02)), (3, 20, INCIDENT)):
        vitals(m, agent(n, node=False), hubble(n, node=False))
        total += counted(drops(m, agent(n, node=False), rate, base=base))
        info = {
            "instance": "10.1.2.3:8080",
            "job": "kube-state-metrics",
            "node": "infra-1",
            "exported_node": f"worker-{n}",
            "internal_ip": f"10.0.0.{n}",
        }
        constant(m, "kube_node_info", info, 1, scrapes())
    return truth(
        """24,000 packets on worker-3 (10.0.0.3), 10:40 to 11:00. infra-1 has no agent and lost
        nothing; the three nodes are three.""",
        packets=total,
        packets_in_incident=24_000,
        node="worker-3",
        address="10.0.0.3",
    )


@case()
def c04_clusters(m: Metrics, variant: str) -> dict[str, Any]:
    """One Prometheus holds two clusters whose nodes have the same addresses. The external label
    that tells them apart is called cluster_id, not cluster. No node label."""
    total = 0
    for cluster, base in (("eu", 500_000), ("us", 300)):
        for n in (1, 2, 3):
            labels = agent(n, node=False, cluster_id=cluster)
            vitals(m, labels, hubble(n, node=False, cluster_id=cluster))
            total += counted(
                drops(
                    m,
                    labels,
                    burst(20.0 if (cluster, n) == ("us", 2) else 0.0, 40, 60, beside=0.05),
                    base=base,
                )
            )
    return truth(
        """24,000 packets on 10.0.0.2 of cluster us, 10:40 to 11:00; 10.0.0.2 of cluster eu lost
        nothing then. Say which of the two, or say that cluster_id must be chosen (--match
        'cluster_id="us"'), never add or hide one of them silently.""",
        packets=total,
        packets_in_incident=24_000,
        packets_in_incident_and_beside=24_060,
        cluster_id="us",
        address="10.0.0.2",
    )


@case()
def c02_pod_instance(m: Metrics, variant: str) -> dict[str, Any]:
    """Targets are named instance=<pod>:<container>:<port name>; no node label. The DaemonSet is
    rolled out from 10:50 on: new pods, so new instances, one after another, while the drop
    counters in the pinned BPF map of each node go on from where they were."""
    for number, base in enumerate((120_000, 80_000, 45_000, 9000)):
        rollout = START + 50 * MINUTE + 2 * MINUTE * number
        for pod, first, last, born in (
            (f"cilium-old{number}", FIRST, rollout, START - 20 * DAY),
            (f"cilium-new{number}", rollout + 40, END, rollout + 20),
        ):
            target = {
                "instance": f"{pod}:cilium-agent:prometheus",
                "job": "kube-system/cilium",
                "namespace": "kube-system",
                "pod": pod,
                "container": "cilium-agent",
            }
            at = [time for time in scrapes() if first <= time < last]
            vitals(
                m,
                target,
                target | {"instance": f"{pod}:cilium-agent:hubble-metrics"},
                born=born,
                at=at,
            )
            constant(m, "cilium_endpoint_state", target | {"endpoint_state": "ready"}, 12, at)
            lost = {time: base + int((time - FIRST) * 0.02) for time in at}
            where = target | {"direction": "INGRESS", "reason": "Policy denied"}
            m.add("cilium_drop_count_total", where, lost.items())
            m.add(
                "cilium_drop_bytes_total",
                where,
                [(time, 60 * value) for time, value in lost.items()],
            )
    return truth(
        """0.02 packets a second on each of 4 nodes, before, during and after the rollout: 576
        packets, no rise, no finding of drops.""",
        packets=576,
        packets_per_second_and_node=0.02,
    )


@case("node", "plain")
def c29_switched_on(m: Metrics, variant: str) -> dict[str, Any]:
    """Metrics are switched on in the window (Helm prometheus.enabled=true), which restarts the
    agents one after another from 10:30 on. The nodes have been up for a month, and their pinned
    drop counters hold that month. `node`: with the chart's node label; `plain`: without."""
    for number, base in enumerate((120_000, 80_000, 45_000, 9000, 300_000)):
        node, restart = variant == "node", START + 30 * MINUTE + 75 * number
        target = agent(number + 1, node=node, pod=f"cilium-{number}x")
        at = scrapes(first=restart, offset=7 + 3 * number)
        vitals(m, target, hubble(number + 1, node=node), born=restart - 25, at=at)
        constant(m, "cilium_endpoint", target, 20, at)
        constant(m, "cilium_endpoint_state", target | {"endpoint_state": "ready"}, 20, at)
        for direction, reason in (
            ("INGRESS", "Policy denied"),
            ("EGRESS", "Unsupported L3 protocol"),
        ):
            m.add(
                "cilium_drop_count_total",
                target | {"direction": direction, "reason": reason},
                [(time, base + int((time - FIRST) * 0.02)) for time in at],
            )
        m.add(
            "cilium_forward_count_total",
            target | {"direction": "INGRESS", "reason": ""},
            [(time, 10**9 + (time - FIRST) * 500) for time in at],
        )
    return truth(
        """0.02 packets a second per node and reason since 10:30, about 1,080 in all, no rise. The
        first value of a pinned counter of an agent that was not scraped before is no growth. That
        there is no baseline may be said.""",
        packets=1080,
        packets_per_second_node_and_reason=0.02,
    )


@case()
def c03_two_jobs(m: Metrics, variant: str) -> dict[str, Any]:
    """The same agents are scraped by a ServiceMonitor, with the chart's node label, and once more
    because of the pods' prometheus.io annotations, without it. Cilium 1.18 or newer (no
    source_node_name), no kube-state-metrics."""
    total = 0
    for n in (1, 2, 3):
        first = agent(n, pod=f"cilium-{n}")
        second = agent(n, node=False, job="kubernetes-pods", pod=f"cilium-{n}", k8s_app="cilium")
        for labels, offset in ((first, 7), (second, 19)):
            at = scrapes(offset=offset)
            vitals(m, labels, at=at)
            values = drops(
                m, labels, burst(20.0 if n == 2 else 0.0, 40, 60, beside=0.05), base=100 * n, at=at
            )
        total += counted(values)
        for labels in (hubble(n), hubble(n, node=False, job="kubernetes-endpoints")):
            constant(m, "up", labels, 1, scrapes())
    return truth(
        """24,060 packets on worker-2, 10:40 to 11:00, once: worker-2 and 10.0.0.2 are the same
        node, and each packet counts once.""",
        packets=total,
        packets_in_incident=24_060,
        node="worker-2",
        nodes=3,
    )


@case("replica", topics=("http_status",), arguments=("--step", "60s"))
def c11_stored_twice(m: Metrics, variant: str) -> dict[str, Any]:
    """101 nodes, so many that a server is asked for sums, and Hubble stored twice: by a pair of
    Prometheus servers whose replica label (prometheus_replica) nobody removes. Only two nodes see
    the requests."""
    total = stored(
        m, {"replica": ({"prometheus_replica": "a"}, {"prometheus_replica": "b"})}[variant]
    )
    return truth(
        """10 answers 500 a second for 20 minutes, 12,000 in all, from shop/cart; each request
        counts once.""",
        requests=total,
        errors_in_incident=12_000,
        errors_per_second=10.0,
    )


def stored(m: Metrics, copies: tuple[dict[str, str], ...]) -> int:
    """Add Hubble's series of 101 nodes once for each of these additions to the labels; give what
    was counted in one copy."""
    who = {
        "source_namespace": "shop",
        "source_workload": "front",
        "destination_namespace": "shop",
        "destination_workload": "cart",
    }
    how = {"reporter": "server", "method": "GET", "protocol": "HTTP/1.1"}
    total = 0
    for number, extra in ((number, extra) for number in range(1, 102) for extra in copies):
        at, labels = scrapes(every=60, offset=7 + 11 * copies.index(extra)), hubble(number) | extra
        constant(m, "up", labels, 1, at)
        if number <= 2:
            constant(
                m, "cilium_process_start_time_seconds", agent(number) | extra, START - 10 * DAY, at
            )
            good = counter(
                m,
                "hubble_http_requests_total",
                labels | who | how | {"status": "200"},
                steady(20.0),
                base=5000,
                at=at,
            )
            bad = counter(
                m,
                "hubble_http_requests_total",
                labels | who | how | {"status": "500"},
                burst(5.0, 40, 60, beside=0.01),
                base=50,
                at=at,
            )
            total += counted(good) + counted(bad) if extra is copies[0] else 0
    return total

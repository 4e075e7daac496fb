"""More cases: what labels say, how metrics were scraped and stored, what stands before a server."""

from __future__ import annotations

from typing import Any

from tests.field.cases import INCIDENT
from tests.field.make import (
    DAY,
    END,
    FIRST,
    MINUTE,
    START,
    Metrics,
    agent,
    at_once,
    burst,
    case,
    constant,
    counted,
    counter,
    drops,
    hubble,
    minutes,
    scrapes,
    steady,
    truth,
    vitals,
)

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@case("window", "between", "base", "never", topics=("http_status",), source="kubernetes-mixin#1005")
def c05_le(m: Metrics, variant: str) -> dict[str, Any]:
    """Prometheus is upgraded from 2 to 3: what was stored as le="1" is le="1.0" from then on (5
    and 10 likewise), while targets and counters go on. `window`: at 10:30; `between`: where the
    window begins; `base`: in the baseline; `never`: not at all. The requests are slow from 11:10
    to 11:30."""
    slow_requests(
        m,
        {"window": START + 1803, "between": START - 3, "base": START - 3603, "never": END + 999}[
            variant
        ],
        slow=True,
    )
    return truth(
        """40 requests a second. Half of them take 0.035 s or less, and 95 of 100 at most 0.1 s;
        from 11:10 to 11:30 half take more than 2.2 s, and 99 of 100 at most 4.94 s. One finding
        of latency, and the same table of durations whenever the upgrade was.""",
        requests_per_second=40,
        usual_seconds={"p50": 0.035, "p95": 0.1, "p99": 0.5},
        incident_seconds={"p50": 2.2, "p95": 4.69, "p99": 4.94},
        incident={"start": "2026-11-20T11:10:00Z", "end": "2026-11-20T11:30:00Z"},
    )


def slow_requests(m: Metrics, upgrade: float, *, slow: bool) -> None:
    """Add requests of 2 nodes, 20 a second each, whose buckets are spelled otherwise after the
    upgrade."""
    usual = (0.01, 0.05, 0.3, 0.8, 0.95, 0.98, 0.99, 0.995, 1, 1, 1, 1)
    worse = (0, 0, 0, 0, 0, 0, 0.05, 0.1, 0.6, 1, 1, 1)
    name = "hubble_http_request_duration_seconds"
    who = {
        "source_namespace": "shop",
        "source_workload": "front",
        "destination_namespace": "shop",
        "destination_workload": "cart",
        "reporter": "server",
        "method": "GET",
    }
    for n in (1, 2):
        vitals(m, agent(n), hubble(n))
        labels, total, last = hubble(n) | who, 2_000_000.0, FIRST
        below = [total * share for share in usual]
        for time in scrapes():
            new = 20 * (time - last)
            shares = worse if slow and START + 70 * MINUTE < time <= START + 90 * MINUTE else usual
            total, last, below = (
                total + new,
                time,
                [value + new * share for value, share in zip(below, shares, strict=True)],
            )
            for bound, value in zip((*DURATION_BOUNDS, None), below, strict=True):
                le = (
                    "+Inf"
                    if bound is None
                    else f"{bound:.1f}"
                    if bound == int(bound) and time >= upgrade
                    else f"{bound:g}"
                )
                m.add(f"{name}_bucket", labels | {"le": le}, [(time, round(value))])
            m.add(f"{name}_count", labels, [(time, total)])
            m.add(f"{name}_sum", labels, [(time, total * 0.04)])
            m.add(
                "hubble_http_requests_total",
                labels | {"protocol": "HTTP/1.1", "status": "200"},
                [(time, total)],
            )


@case()
def c06_identity(m: Metrics, variant: str) -> dict[str, Any]:
    """Hubble is configured with sourceContext=identity;destinationContext=identity: source and
    destination are lists of an identity's labels, with commas between them; one of them is a CIDR
    of the world."""
    web = (
        "k8s:app.kubernetes.io/name=web,k8s:io.cilium.k8s.policy.cluster=default,"
        "k8s:io.cilium.k8s.policy.serviceaccount=web,"
        "k8s:io.kubernetes.pod.namespace=shop"
    )
    world = "cidr:203.0.113.7/32,reserved:world"
    out, back = INCIDENT, burst(20.0, 80, 100)
    for n in (1, 2):
        vitals(m, agent(n), hubble(n))
        drops(m, agent(n), out, base=10, direction="EGRESS")
        drops(m, agent(n), back, base=10)
        who = {"protocol": "TCP", "reason": "POLICY_DENIED"}
        counter(
            m,
            "hubble_drop_total",
            hubble(n) | who | {"source": web, "destination": world},
            out,
            base=1,
        )
        counter(
            m,
            "hubble_drop_total",
            hubble(n) | who | {"source": world, "destination": web},
            back,
            base=1,
        )
    return truth(
        """48,000 packets of shop/web to 203.0.113.7 (egress), 10:40 to 11:00, on both nodes;
        48,000 packets of 203.0.113.7 to shop/web (ingress), 11:20 to 11:40. The namespace is
        shop, the workload web; the address is no namespace.""",
        packets_egress=48_000,
        packets_ingress=48_000,
        workload="shop/web",
        address="203.0.113.7/32",
    )


@case(
    "60", "120", "300", topics=("drop_reasons", "node_connectivity", "http_status", "agent_health")
)
def c08_slow_scrape(m: Metrics, variant: str) -> dict[str, Any]:
    """Managed collectors scrape rarely: every 60, 120 or 300 s, each target at another moment.
    Four nodes with node label, Cilium 1.16. Nothing is missing: it is the interval."""
    every, total = int(variant), 0
    for n in (1, 2, 3, 4):
        at = scrapes(every=every, offset=7 + 31 * (n - 1))
        restart = START + 25 * MINUTE
        born = {time: restart if n == 4 and time >= restart else START - 9 * DAY for time in at}
        m.add("cilium_process_start_time_seconds", agent(n), born.items())
        constant(m, "up", agent(n), 1, at)
        constant(m, "up", hubble(n), 1, at)
        constant(m, "cilium_endpoint_state", agent(n) | {"endpoint_state": "ready"}, 10, at)
        m.add(
            "cilium_unreachable_nodes",
            agent(n),
            [(time, minutes(time, 40, 60) * (3 if n == 3 else 1)) for time in at],
        )
        for other in (1, 2, 3, 4):
            paths(m, n, other, at, cut=n != other and 3 in (n, other))
        total += counted(
            drops(
                m,
                agent(n),
                burst(20.0 if n == 2 else 0.0, 40, 60, beside=0.05),
                base=100 * n,
                at=at,
            )
        )
        seen = burst(40.0 if n == 2 else 0.0, 40, 60, beside=0.1)
        counter(
            m,
            "hubble_drop_total",
            hubble(n)
            | {
                "protocol": "TCP",
                "reason": "POLICY_DENIED",
                "source": "default/client",
                "destination": "default/web",
            },
            seen,
            base=1,
            at=at,
        )
        requests = {
            "source": "default/front",
            "destination": "default/cart",
            "method": "GET",
            "protocol": "HTTP/1.1",
            "reporter": "server",
        }
        counter(
            m,
            "hubble_http_requests_total",
            hubble(n) | requests | {"status": "200"},
            steady(20.0),
            base=10,
            at=at,
        )
        errors = burst(4.99, 80, 100, beside=0.01)
        counter(
            m,
            "hubble_http_requests_total",
            hubble(n) | requests | {"status": "500"},
            errors,
            base=10,
            at=at,
        )
    return truth(
        f"""24,060 packets on worker-2, 10:40 to 11:00; worker-3 cut off from the three others in
        the same time; the agent on worker-4 restarted once at 10:25; 24,000 answers 500, 11:20 to
        11:40. Times may be off by the interval, {every} s, and that may be said; that scrapes are
        missing must not be.""",
        packets=total,
        packets_in_incident=24_060,
        errors_in_incident=24_000,
        node_of_drops="worker-2",
        node_cut_off="worker-3",
        restarted={"node": "worker-4", "at": "2026-11-20T10:25:00Z"},
        scrape_interval_seconds=every,
    )


def paths(m: Metrics, source: int, target: int, at: list[int], *, cut: bool) -> None:
    """Add what one agent measures to one node (Cilium up to 1.17), cut off from 10:40 to 11:00 or
    never."""
    for kind in ("node", "endpoint"):
        labels = agent(source) | {
            "source_cluster": "default",
            "source_node_name": f"worker-{source}",
            "target_cluster": "default",
            "target_node_name": f"worker-{target}",
            "type": kind,
            "target_node_type": "local_node" if source == target else "remote_intra_cluster",
        }
        lost = {time: cut and minutes(time, 40, 60) for time in at}
        m.add(
            "cilium_node_connectivity_status",
            labels,
            [(time, not bad) for time, bad in lost.items()],
        )
        labels |= {
            "protocol": "icmp",
            "address_type": "primary",
            "target_node_ip": f"10.0.0.{target}",
        }
        m.add(
            "cilium_node_connectivity_latency_seconds",
            labels,
            [(time, 0.0 if bad else 0.0005) for time, bad in lost.items()],
        )


@case("burst", "steady")
def c17_no_port(m: Metrics, variant: str) -> dict[str, Any]:
    """As Azure's collector for advanced networking does: instance is the node's name, without a
    port, no node label, and a minimal keep list without the start time of processes. No packet
    had ever been dropped, so that there is no series of drops before the first one. `burst`: all
    within one scrape; `steady`: 20 a second."""
    for n in (1, 2, 3):
        name = f"pool1-vmss00000{n}"
        target = {"instance": name, "job": "networkobservability-cilium", "cluster": "prod"}
        seen = target | {"job": "networkobservability-hubble"}
        constant(m, "up", target, 1, scrapes())
        constant(m, "up", seen, 1, scrapes())
        counter(
            m,
            "cilium_forward_count_total",
            target | {"direction": "INGRESS", "reason": ""},
            steady(500.0),
            base=10**6,
        )
        counter(
            m,
            "hubble_tcp_flags_total",
            seen | {"flag": "SYN", "family": "IPv4", "source": "shop/front", "destination": ""},
            steady(20.0),
            base=10**4,
        )
        if n == 2:
            at = START + 40 * MINUTE
            rate = at_once(50_000, at) if variant == "burst" else INCIDENT
            scratch = Metrics()
            lost = {time: value for time, value in drops(scratch, target, rate).items() if value}
            m.add(
                "cilium_drop_count_total",
                target | {"direction": "INGRESS", "reason": "Policy denied"},
                lost.items(),
            )
            who = {
                "protocol": "TCP",
                "reason": "POLICY_DENIED",
                "source": "",
                "destination": "shop/cart",
            }
            m.add(
                "hubble_drop_total", seen | who, [(time, 2 * value) for time, value in lost.items()]
            )
    total = 50_000 if variant == "burst" else 24_000
    when = "at 10:40, between two scrapes" if variant == "burst" else "10:40 to 11:00"
    return truth(
        f"""{total:,} packets on pool1-vmss000002, {when}. Its target answered every scrape
        before, so the series began at 0.""",
        packets=total,
        packets_in_incident=total,
        node="pool1-vmss000002",
    )


@case(source="Mimir: err-mimir-max-series-per-query")
def c09_limit(m: Metrics, variant: str) -> dict[str, Any]:
    """A backend with a limit on series per query, as Mimir has, refuses Hubble's drops alone: with
    sourceContext=pod there are too many of them. The agents' own counters are answered."""
    for n in (1, 2):
        vitals(m, agent(n), hubble(n))
        drops(m, agent(n), INCIDENT, base=10)
        counter(
            m,
            "hubble_drop_total",
            hubble(n)
            | {
                "protocol": "TCP",
                "reason": "POLICY_DENIED",
                "source": "shop/front",
                "destination": "shop/cart",
            },
            steady(1.0),
            base=10,
        )
    text = (
        "the query exceeded the maximum number of series (limit: 100000 series)"
        " (err-mimir-max-series-per-query). Consider reducing the time range and/or number of"
        " series selected by the query."
    )
    return truth(
        """48,000 packets on worker-1 and worker-2, 10:40 to 11:00, as the agents count them; and
        that the server refused Hubble's series, so that it is not known whose packets they
        were.""",
        packets=48_000,
        packets_in_incident=48_000,
        refuses=[
            {
                "path": "/api/v1/query_range",
                "query": "hubble_drop_total",
                "status": 422,
                "body": {"status": "error", "errorType": "execution", "error": text},
            }
        ],
    )


@case("rbac", "apiserver", "501")
def c25_get_only(m: Metrics, variant: str) -> dict[str, Any]:
    """A gateway lets a role that may read do GET only: 403 of an authorizing proxy (`rbac`,
    verb=create), 403 of the API server's service proxy (`apiserver`), or 501. GET is answered."""
    vitals(m, agent(1), hubble(1))
    drops(m, agent(1), burst(20.0, 40, 60, beside=0.05), base=10)
    forbidden = (
        'services "prometheus:9090" is forbidden: User "reports" cannot create resource'
        ' "services/proxy" in API group "" in the namespace "monitoring"'
    )
    status, body = {
        "rbac": (
            403,
            "Forbidden (user=system:serviceaccount:ops:reports, verb=create,"
            " resource=prometheuses, subresource=api)\n",
        ),
        "apiserver": (
            403,
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": forbidden,
                "reason": "Forbidden",
                "code": 403,
            },
        ),
        "501": (501, "not implemented"),
    }[variant]
    return truth(
        "24,060 packets on worker-1, 10:40 to 11:00: what may be read is read, by GET.",
        packets=24_360,
        packets_in_incident=24_060,
        node="worker-1",
        refuses=[{"method": "POST", "status": status, "body": body}],
    )

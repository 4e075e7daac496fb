"""One incident, scraped in every way that the cases know: what the matrix of tests asks about.

Four nodes with Cilium 1.16. In the incident, for 20 minutes, worker-2 drops 20 packets a second and
shop/cart answers 5 requests a second with 500; 60 endpoints are added on worker-2 at its beginning
and stay; worker-3 is cut off from the others. A `Way` says under which labels Prometheus stores a
target, and how often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.field.make import DAY, HOUR, MINUTE, START, Labels, Metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

NODES = (1, 2, 3, 4)
#: Before the baseline, which is as long as the window [s].
LEAD = 15 * MINUTE
LENGTH = HOUR
#: When the incident begins and ends, from the window's start on [s].
FIRST, LAST = 20 * MINUTE, 40 * MINUTE
ALWAYS = 0.05
HTTP = {
    "source_namespace": "shop",
    "source_workload": "front",
    "destination_namespace": "shop",
    "destination_workload": "cart",
    "method": "GET",
    "protocol": "HTTP/1.1",
    "reporter": "server",
}
AGENT, HUBBLE = "cilium-agent", "hubble-metrics"
#: From job and number of the node to the labels of each copy that is stored.
Stored = Callable[[str, int], list[dict[str, str]]]


@dataclass(frozen=True)
class Way:
    """A way to scrape.

    Parameters
    ----------
    stored
        The labels of each copy of a target.
    names
        What worker-2 may be called.
    start_times
        Whether the start of processes is kept.
    other
        Labels by which a second, quiet cluster is stored beside; none if there is none.
    summed
        Whether all targets are stored as one series, their sum.
    information
        Of kube_node_info, by node; none if it is not there.
    refuses
        Part of a query that the server refuses.
    """

    stored: Stored
    names: tuple[str, ...] = ("worker-2",)
    start_times: bool = True
    other: dict[str, str] | None = None
    summed: bool = False
    information: Callable[[int], dict[str, str]] | None = None
    refuses: str = ""


def helm(job: str, n: int) -> dict[str, str]:
    """Give the labels that the chart's ServiceMonitors make."""
    port = 9962 if job == AGENT else 9965
    return {
        "job": job,
        "instance": f"10.0.0.{n}:{port}",
        "namespace": "kube-system",
        "pod": f"cilium-{n}x7kd",
        "node": f"worker-{n}",
    }


def plain(job: str, n: int) -> dict[str, str]:
    """Give the same without the node's name."""
    return _without(helm(job, n), "node")


def _without(labels: Labels, *names: str) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name not in names}


def _example(job: str, n: int) -> dict[str, str]:
    if job == HUBBLE:
        return _without(plain(job, n), "pod") | {"job": "kubernetes-endpoints"}
    return plain(job, n) | {"job": "kubernetes-pods", "k8s_app": "cilium"}


def _federated(job: str, n: int) -> dict[str, str]:
    inner = {"exported_job": job, "exported_instance": plain(job, n)["instance"]}
    outer = {"job": "federate", "instance": "prometheus-edge:9090"}
    return _without(plain(job, n), "job", "instance") | inner | outer


def _container(job: str, n: int) -> dict[str, str]:
    port = "prometheus" if job == AGENT else "hubble-metrics"
    return plain(job, n) | {
        "job": "kube-system/cilium",
        "instance": f"cilium-{n}x7kd:cilium-agent:{port}",
    }


def _azure(job: str, n: int) -> dict[str, str]:
    kind = "cilium" if job == AGENT else "hubble"
    return {"job": f"networkobservability-{kind}", "instance": f"worker-{n}", "cluster": "prod"}


def _google(job: str, n: int) -> dict[str, str]:
    place = {"project_id": "shop", "location": "europe-west1", "cluster": "prod"}
    return place | {"job": job, "namespace": "kube-system"} | {"instance": f"worker-{n}:metrics"}


NUMBER_OR_NAME = ("worker-2", "10.0.0.2")
WAYS = {
    "example": Way(lambda job, n: [_example(job, n)], NUMBER_OR_NAME),
    "helm": Way(lambda job, n: [helm(job, n)]),
    "api_server_proxy": Way(
        lambda job, n: [plain(job, n) | {"instance": "kube-apiserver:443"}],
        ("worker-2", "cilium-2x7kd"),
        start_times=False,
    ),
    "federation": Way(lambda job, n: [_federated(job, n)], NUMBER_OR_NAME),
    "adaptive": Way(
        lambda job, n: [{"job": job, "cluster": "prod"}], ("",), start_times=False, summed=True
    ),
    "container": Way(lambda job, n: [_container(job, n)], ("worker-2", "cilium-2x7kd")),
    "azure": Way(lambda job, n: [_azure(job, n)], start_times=False),
    "google": Way(lambda job, n: [_google(job, n)], refuses="__name__=~"),
    "two_jobs": Way(lambda job, n: [helm(job, n), plain(job, n) | {"job": f"pods-{job}"}]),
    "replica": Way(lambda job, n: [helm(job, n) | {"prometheus_replica": r} for r in "ab"]),
    "underscored": Way(lambda job, n: [helm(job, n) | {"__replica__": r} for r in "ab"]),
    "exported_node": Way(
        lambda job, n: [plain(job, n)],
        information=lambda n: {"node": "infra-1", "exported_node": f"worker-{n}"},
    ),
    "clusters": Way(
        lambda job, n: [helm(job, n) | {"tenant": "green"}],
        ("green/worker-2",),
        other={"tenant": "blue"},
    ),
    "agents_only_node": Way(lambda job, n: [helm(job, n) if job == AGENT else plain(job, n)]),
}


def incident(way: Way, *, every: int, start: int) -> Metrics:
    """Give what Prometheus stores of the incident in the hour from `start` [s since 1970] on."""
    made = Metrics()
    for n in NODES:
        for job in (AGENT, HUBBLE):
            for number, target in enumerate(way.stored(job, n)):
                offset = (7 + 31 * n + 11 * number) % every
                at = range(start - LENGTH - LEAD + offset, start + LENGTH + 1, every)
                _target(made, way, job, n, target, at, start)
                if way.other:
                    _target(made, way, job, n, target | way.other, at, start, quiet=True)
        if way.information:
            info = {"job": "kube-state-metrics", "instance": "10.1.2.3:8080"}
            info |= {"internal_ip": f"10.0.0.{n}"} | way.information(n)
            at = range(start - LENGTH - LEAD, start + LENGTH + 1, every)
            made.add("kube_node_info", info, [(time, 1.0) for time in at])
    return _summed(made, every) if way.summed else made


def _target(
    made: Metrics,
    way: Way,
    job: str,
    n: int,
    target: Labels,
    at: Sequence[int],
    start: int,
    *,
    quiet: bool = False,
) -> None:
    def gauge(name: str, value: Callable[[bool, bool], float], **labels: str) -> None:
        samples = []
        for time in at:
            now = not quiet and FIRST <= time - start < LAST
            samples.append((time, float(value(now, not quiet and time - start >= FIRST))))
        made.add(name, {**target, **labels}, samples)

    def counter(name: str, usual: float, more: float, **labels: str) -> None:
        more = 0.0 if quiet else more
        samples = []
        for time in at:
            within = min(max(time - start - FIRST, 0), LAST - FIRST)
            since = time - start + LENGTH + LEAD
            samples.append((time, float(1000 * n + int(usual * since) + int(more * within))))
        made.add(name, {**target, **labels}, samples)

    gauge("up", lambda now, since: 1)
    if job == HUBBLE:
        counter("hubble_http_requests_total", 20, 0, status="200", **HTTP)
        counter("hubble_http_requests_total", 0.01, 5 * (n == 2), status="500", **HTTP)
        return
    if way.start_times:
        gauge("cilium_process_start_time_seconds", lambda now, since: start - 9 * DAY)
    counter(
        "cilium_drop_count_total",
        ALWAYS,
        20 * (n == 2),
        reason="Policy denied",
        direction="INGRESS",
    )
    gauge("cilium_endpoint", lambda now, since: 80 if since and n == 2 else 20)
    state = "cilium_endpoint_state"
    gauge(state, lambda now, since: 80 if since and n == 2 else 20, endpoint_state="ready")
    for other in NODES:
        cut = n != other and 3 in (n, other)
        for kind in ("node", "endpoint"):
            gauge(
                "cilium_node_connectivity_status",
                lambda now, since, cut=cut: not (now and cut),  # type: ignore[misc]
                source_cluster="default",
                source_node_name=f"worker-{n}",
                target_cluster="default",
                target_node_name=f"worker-{other}",
                target_node_type="local_node" if n == other else "remote_intra_cluster",
                type=kind,
            )


def _summed(made: Metrics, every: int) -> Metrics:
    """Give the sum of the series that have the same labels, as recording at ingest stores it."""
    summed = Metrics()
    for name, series in made.series.items():
        # What a scrape says of itself is not aggregated; here it is not stored.
        for labels, samples in series.items() if name != "up" else ():
            by_time: dict[float, float] = {}
            for time, value in samples:
                place = time + -time % every
                by_time[place] = by_time.get(place, 0.0) + value
            summed.add(name, dict(labels), sorted(by_time.items()))
    return summed


def window(every: int) -> int:
    """Give where the window begins whose scrapes are so many seconds apart: a day for each."""
    return START - (1 + every) * DAY

"""Which components export metrics, by their configuration, and whether Prometheus finds them.

Keys and their Helm values are those of Cilium's chart
(install/kubernetes/cilium/templates/cilium-configmap.yaml, …/hubble/metrics-service.yaml). The
chart annotates for Prometheus only what no ServiceMonitor is switched on for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cilium_analysis.topics.setup.objects import AGENT, OPERATOR, labelled, service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.topics.setup.data import Setup
    from cilium_analysis.topics.setup.objects import Objects

State = Literal["scraped", "not scraped", "off", "scraped, though off", "unknown"]
Way = Literal["annotations", "Service", "nothing", "unknown"]

_EXAMPLE_JOBS = {"kubernetes-pods", "kubernetes-endpoints"}
_STACK = "kube-prometheus-stack"


@dataclass(frozen=True)
class Component:
    """Something that exports metrics.

    Parameters
    ----------
    name
        As in the table of targets.
    metrics
        Any of them shows that it is scraped.
    key
        Of cilium-config: the address or port that it serves metrics at.
    others
        More keys, any of which must be set.
    service
        Name of its headless Service, and of the port there.
    pods
        Labels of the pods that the chart annotates; none if it annotates the Service.
    helm
        Value that switches it on.
    monitor
        Helm value that makes its ServiceMonitor.
    """

    name: str
    metrics: tuple[str, ...]
    key: str
    service: tuple[str, str]
    helm: str
    monitor: str
    others: tuple[str, ...] = ()
    pods: Mapping[str, str] | None = None


COMPONENTS = (
    Component(
        "agent",
        ("cilium_process_start_time_seconds",),
        "prometheus-serve-addr",
        ("cilium-agent", "metrics"),
        "prometheus.enabled=true",
        "prometheus.serviceMonitor.enabled=true",
        pods=AGENT,
    ),
    Component(
        "operator",
        ("cilium_operator_process_start_time_seconds",),
        "operator-prometheus-serve-addr",
        ("cilium-operator", "metrics"),
        "operator.prometheus.enabled=true",
        "operator.prometheus.serviceMonitor.enabled=true",
        pods=OPERATOR,
    ),
    Component(
        "Hubble",
        ("hubble_lost_events_total", "hubble_flows_processed_total", "hubble_drop_total"),
        "hubble-metrics-server",
        ("hubble-metrics", "hubble-metrics"),
        "hubble.enabled=true, hubble.metrics.enabled with at least one metric",
        "hubble.metrics.serviceMonitor.enabled=true",
        others=("hubble-metrics", "hubble-dynamic-metrics-config-path"),
    ),
)


def component(name: str) -> Component | None:
    """Give a component by its name."""
    return next((one for one in COMPONENTS if one.name == name), None)


def configured(objects: Objects, one: Component) -> bool | None:
    """Tell whether cilium-config lets a component serve metrics; None if nothing tells."""
    config = objects.cilium_config
    if "cilium_config" in objects.unread or config.empty:
        return None
    if one.name == "Hubble" and config.get("enable-hubble") != "true":
        return False
    others = not one.others or any(config.get(key, "").strip() for key in one.others)
    return bool(config.get(one.key, "").strip()) and others


def scraped(data: Setup, one: Component) -> bool:
    """Tell whether Prometheus has anything of a component."""
    up = data.now.targets.loc[data.now.targets["component"] == one.name, "up"]
    return bool((up > 0).any()) or any(name in data.now.present.index for name in one.metrics)


def state(data: Setup, objects: Objects, one: Component) -> State:
    """Compare what is configured with what Prometheus has."""
    is_on = configured(objects, one)
    if is_on is None:
        return "unknown"
    if scraped(data, one):
        return "scraped" if is_on else "scraped, though off"
    return "not scraped" if is_on else "off"


def way(objects: Objects, one: Component) -> Way:
    """Tell by what Prometheus can find a component."""
    if one.pods is not None and "pods" not in objects.unread:
        pods = labelled(objects, one.pods)
        if any(found.get("scrape") == "true" for found in pods["prometheus"]):
            return "annotations"
    if "services" in objects.unread:
        return "unknown"
    name, port = one.service
    found = service(objects, name)
    if one.pods is None and any(row.get("scrape") == "true" for row in found["prometheus"]):
        return "annotations"
    if any(each.get("name") == port for ports in found["ports"] for each in ports):
        return "Service"
    return "unknown" if one.pods is not None and "pods" in objects.unread else "nothing"


def style(data: Setup, objects: Objects) -> str:
    """Name the way in which Prometheus finds Cilium, as far as it can be told."""
    jobs = set(data.now.targets["job"])
    if jobs & _EXAMPLE_JOBS:
        return "annotations, as in Cilium's monitoring-example.yaml"
    ways = {way(objects, one) for one in COMPONENTS}
    if "Service" in ways:
        return f"ServiceMonitors, of {_STACK}" if _has_stack(objects) else "ServiceMonitors"
    if "annotations" in ways:
        return "annotations" if jobs else "annotations, which no Prometheus heeds"
    if jobs:
        return f"in a way of its own (job {', '.join(sorted(jobs))})"
    return "not found out"


def _has_stack(objects: Objects) -> bool:
    """Its operator is labelled so by the chart (templates/prometheus-operator/deployment.yaml)."""
    return any(labels.get("app", "") == f"{_STACK}-operator" for labels in objects.pods["labels"])


def envoy(data: Setup, objects: Objects) -> tuple[State, str]:
    """Tell whether Envoy's own metrics are scraped, and what leads to them.

    It exports inside the agents' pods (``proxy-prometheus-port``) or from a DaemonSet of its own.
    """
    services, port = objects.services, objects.cilium_config.get("proxy-prometheus-port", "")
    led = [
        f"{row['name']} {'with' if row['prometheus'].get('scrape') == 'true' else 'without'}"
        " annotation"
        for _, row in services[services["name"].isin(["cilium-agent", "cilium-envoy"])].iterrows()
        if any(each.get("name") == "envoy-metrics" for each in row["ports"])
    ]
    seen = "; ".join([f"proxy-prometheus-port={port}"] * bool(port) + [f"Service {s}" for s in led])
    up = data.now.targets.loc[data.now.targets["component"] == "Envoy", "up"]
    if (up > 0).any():
        return "scraped", seen
    if seen:
        return "not scraped", seen
    unread = {"services", "cilium_config"} & set(objects.unread)
    return ("unknown", "") if unread else ("off", "neither a port nor a Service for its metrics")


def remedy(data: Setup, objects: Objects, one: Component) -> str:
    """Say what to do about a component that Prometheus does not have; empty if nothing."""
    found = state(data, objects, one)
    if found == "off":
        return f"It is not switched on: set it (Helm: {one.helm})."
    if found == "scraped, though off":
        return f"cilium-config lacks it: a restart of the pods may end it (Helm: {one.helm})."
    if found != "not scraped":
        return ""
    value = str(objects.cilium_config[one.key]).strip()
    served = f"It is switched on (cilium-config: {one.key}={value}), but not scraped"
    return f"{served}: {_search(objects, one)}"


def _search(objects: Objects, one: Component) -> str:
    """Say where the way from Prometheus to a component may be broken."""
    stack = f" (of {_STACK}: with its label release, by serviceMonitor.labels)"
    pods = _selected(objects, one)
    if pods == 0:
        return f"the Service {one.service[0]} selects no pod; look at its selector."
    match way(objects, one):
        case "annotations":
            return (
                "it is annotated with prometheus.io/scrape, so let Prometheus heed annotations, or"
                f" make a ServiceMonitor (Helm: {one.monitor})."
            )
        case "Service":
            return (
                f"the Service {one.service[0]} is there, so see that a ServiceMonitor is too (Helm:"
                f" {one.monitor}) and that Prometheus selects it{stack}, and that the port is open."
            )
        case "nothing":
            return (
                "neither an annotation nor a Service leads to it; make a ServiceMonitor (Helm:"
                f" {one.monitor}), or let Helm write the annotations again."
            )
        case _:
            return "see the page Status → Targets of Prometheus."


def _selected(objects: Objects, one: Component) -> int | None:
    """Count the pods that a component's Service selects; None if nothing tells."""
    found = service(objects, one.service[0])
    if {"pods", "services"} & set(objects.unread) or found.empty:
        return None
    return selected(objects, found.iloc[0]["namespace"], found.iloc[0]["selector"])


def selected(objects: Objects, namespace: str, selector: Mapping[str, str]) -> int:
    """Count the pods that a Service's selector means."""
    pods = objects.pods[objects.pods["namespace"] == namespace]
    return sum(bool(selector) and selector.items() <= own.items() for own in pods["labels"])

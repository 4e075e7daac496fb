"""What Kubernetes shows about the monitoring, beside what Prometheus has.

HTTP and DNS are visible only where policies with layer 7 rules select the traffic
(https://docs.cilium.io/en/stable/observability/visibility/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cilium_analysis.topics.setup import exposure
from cilium_analysis.topics.setup.checks import CHECKS
from cilium_analysis.topics.setup.objects import (
    AGENT,
    cluster_notes,
    differ,
    labelled,
    names_of_targets,
    not_scraped,
    service,
    some,
    without_agent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_analysis.topics.setup.data import Setup
    from cilium_analysis.topics.setup.exposure import Component
    from cilium_analysis.topics.setup.objects import Objects

_COLUMNS = ["what", "state", "seen", "what to do"]
#: By protocol of layer 7: its name, and Hubble's metrics of it.
_PROTOCOLS = {
    "http": ("HTTP", ("hubble_http_requests_total",)),
    "dns": ("DNS", ("hubble_dns_queries_total", "hubble_dns_responses_total")),
}
_POLICIES = ("cilium_policies", "cilium_clusterwide_policies")
_SHOWN = 4

Row = tuple[str, str, str, str]


def objects_of(data: Setup) -> Objects | None:
    """Give the Kubernetes objects, if they were read and are not those of another cluster."""
    if data.cluster is None or is_another(data):
        return None
    return data.cluster


def is_another(data: Setup) -> bool:
    """Tell whether the objects seem to be of another cluster than the metrics."""
    if data.cluster is None:
        return False
    return differ(names_of_targets(data.now.targets), data.cluster.nodes)


def kubernetes(data: Setup) -> pd.DataFrame:
    """Compare Kubernetes with Prometheus, one row per thing.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``state`` (``unknown`` where it could not be read), ``seen`` (what in Kubernetes
        tells so), ``what to do`` (empty if nothing). No rows if Kubernetes was not read.
    """
    rows: list[Row] = []
    if data.cluster is not None and is_another(data):
        rows = [("same cluster", "no", data.cluster.server, "choose another context")]
    elif data.cluster is not None:
        rows = list(_rows(data, data.cluster))
    return pd.DataFrame(rows, columns=_COLUMNS)


def remedy(data: Setup, name: str) -> str:
    """Say what to do about a component that Prometheus lacks; empty if Kubernetes does not tell."""
    objects, one = objects_of(data), exposure.component(name)
    return exposure.remedy(data, objects, one) if objects is not None and one else ""


def notes(data: Setup) -> list[str]:
    """Say in words what Kubernetes adds, and what it could not."""
    if data.cluster is None:
        return []
    said = list(data.cluster.notes)
    # The notes of the cluster may say so already, with the nodes of another query.
    if not any("of different clusters" in note for note in said):
        metrics, unread = names_of_targets(data.now.targets), data.cluster.unread
        said += cluster_notes(metrics, data.cluster.nodes, unread=unread)
    objects = objects_of(data)
    said += _visibility_notes(data, objects) if objects is not None else []
    return list(dict.fromkeys(said))


def _rows(data: Setup, objects: Objects) -> Iterator[Row]:
    for one in exposure.COMPONENTS:
        found = exposure.state(data, objects, one)
        yield one.name, found, _seen(objects, one), exposure.remedy(data, objects, one)
    yield "Envoy", *exposure.envoy(data, objects), ""
    yield "way of scraping", exposure.style(data, objects), _annotated(objects), ""
    yield _hubble_service(objects)
    yield from _hubble_metrics(data, objects)
    yield from _switched_off(objects)
    for protocol, (name, _) in _PROTOCOLS.items():
        yield f"{name} at layer 7", *_visible(objects, protocol)
    yield from _nodes(data, objects)


def _seen(objects: Objects, one: Component) -> str:
    """Quote the keys of cilium-config that decide about a component."""
    if "cilium_config" in objects.unread:
        return "cilium-config could not be read"
    known = objects.cilium_config
    keys = [key for key in (one.key, *one.others) if key in known.index]
    texts = [f"{key}={_short(key, str(known[key]))}" for key in keys]
    return "; ".join(texts) or f"cilium-config without {one.key}"


def _short(key: str, value: str) -> str:
    """Write a value in one line; of Hubble's metrics only the names, without their options."""
    words = value.split()
    return " ".join([w.partition(":")[0] for w in words] if key == "hubble-metrics" else words)


def _annotated(objects: Objects) -> str:
    ways = {one.name: exposure.way(objects, one) for one in exposure.COMPONENTS}
    return ", ".join(f"{name}: {found}" for name, found in ways.items())


def _hubble_service(objects: Objects) -> Row:
    name = "Service hubble-metrics"
    if "services" in objects.unread:
        return name, "unknown", "services could not be read", ""
    found = service(objects, "hubble-metrics")
    if found.empty:
        return name, "none", "", "made with Helm: hubble.metrics.enabled with at least one metric"
    if "pods" in objects.unread:
        return name, "there", "pods could not be read", ""
    row = found.iloc[0]
    count = exposure.selected(objects, row["namespace"], row["selector"])
    chosen = ", ".join(f"{key}={value}" for key, value in row["selector"].items())
    if count:
        return name, f"selects {count} pods", chosen, ""
    return name, "selects no pod", chosen, "its selector must be that of the agents' pods"


def _hubble_metrics(data: Setup, objects: Objects) -> Iterator[Row]:
    """Tell the metrics of Hubble that are configured from those that are not."""
    hubble = exposure.component("Hubble")
    assert hubble is not None  # noqa: S101
    listed = objects.cilium_config.get("hubble-metrics", "").split()
    if not exposure.configured(objects, hubble) or not listed:
        return
    names = {text.partition(":")[0] for text in listed}
    for check in CHECKS:
        option = check.helm.partition("hubble.metrics.enabled: ")[2]
        if not option:
            continue
        wanted = option.partition(":")[0].partition(",")[0]
        has = bool({wanted, wanted.removesuffix("V2")} & names)
        there = any(metric in data.now.present.index for metric in check.metrics)
        if has and there:
            continue
        yield _hubble_metric(check.name, check.helm, has=has, there=there)
    if {"http", "httpV2"} & names and not data.now.exemplars:
        is_open = objects.cilium_config.get("enable-hubble-open-metrics") == "true"
        value = f"enable-hubble-open-metrics={str(is_open).lower()}"
        todo = "" if is_open else "Helm: hubble.metrics.enableOpenMetrics=true"
        yield "exemplars", "none", value, todo


def _hubble_metric(name: str, helm: str, *, has: bool, there: bool) -> Row:
    if has:
        return name, "configured", "no series: nothing of it was seen", ""
    if there:
        return name, "there, though not configured", "hubble-metrics lacks it", ""
    return name, "not configured", "hubble-metrics lacks it", f"Helm: {helm}"


def _switched_off(objects: Objects) -> Iterator[Row]:
    """List the agents' metrics that the configuration takes away."""
    taken = [one[1:] for one in objects.cilium_config.get("metrics", "").split() if one[:1] == "-"]
    if taken:
        yield "metrics taken away", some(taken, 5), "metrics", "Helm: prometheus.metrics"


def _nodes(data: Setup, objects: Objects) -> Iterator[Row]:
    if {"pods", "nodes"} & set(objects.unread):
        yield "nodes and agents", "unknown", "nodes or pods could not be read", ""
        return
    agents = labelled(objects, AGENT)["node"].nunique()
    without, blind = without_agent(data, objects), not_scraped(data, objects)
    seen = f"{len(objects.nodes)} nodes, agents on {agents}"
    if not agents:
        yield "nodes and agents", "no agent", "no pod is labelled k8s-app=cilium", ""
    elif without:
        yield (
            "nodes and agents",
            f"no agent on {some(without, 5)}",
            seen,
            "see the DaemonSet's events",
        )
    else:
        yield "nodes and agents", "an agent on every node", seen, ""
    if blind:
        yield "nodes and targets", f"not scraped: {some(blind, 5)}", seen, "see Status → Targets"


def _visible(objects: Objects, protocol: str) -> tuple[str, str, str]:
    """Say whether a protocol is visible, of which pods, and what would make it visible."""
    if _proxy_is_off(objects):
        todo = "Helm: l7Proxy=true, and a policy with such rules"
        return "not visible", "the layer 7 proxy is off", todo
    policies = pd.concat([getattr(objects, table) for table in _POLICIES], ignore_index=True)
    has_rules = [
        protocol in rules.split(",") and valid != "False"
        for rules, valid in zip(policies["l7"], policies["valid"], strict=True)
    ]
    found = policies[np.array(has_rules, dtype=bool)][["namespace", "selects"]].drop_duplicates()
    if len(found):
        names = [
            f"{row['namespace'] or 'all namespaces'}: {row['selects']}"
            for _, row in found.sort_values(["namespace", "selects"]).iterrows()
        ]
        more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        return "visible where a policy selects it", "; ".join(names[:_SHOWN]) + more, ""
    if set(_POLICIES) & set(objects.unread):
        return "unknown", "policies could not be read", ""
    todo = (
        f"a CiliumNetworkPolicy with rules.{protocol} that selects the traffic; it also restricts"
        " what is allowed"
    )
    return "no policy", "no CiliumNetworkPolicy has such rules", todo


def _proxy_is_off(objects: Objects) -> bool:
    return bool(objects.cilium_config.get("enable-l7-proxy") == "false")


def _visibility_notes(data: Setup, objects: Objects) -> list[str]:
    """Say why a protocol is not visible, or why it is without a policy."""
    said = []
    for protocol, (name, metrics) in _PROTOCOLS.items():
        there = any(metric in data.now.present.index for metric in metrics)
        none = _visible(objects, protocol)[0] in ("not visible", "no policy")
        if none and not there:
            why = (
                "the layer 7 proxy is off (Helm: l7Proxy=true)"
                if _proxy_is_off(objects)
                else "no layer 7 policy selects any traffic"
            )
            said.append(f"{name} is not visible because {why}; there may be any amount of it.")
        elif none:
            said.append(
                f"{name} is in the metrics though no policy with such rules is there now: the"
                " policy was deleted, or annotations (up to Cilium 1.15), Ingress or the Gateway"
                " API make it visible."
            )
    return said

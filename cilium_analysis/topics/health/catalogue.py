"""The metrics of all agents together, of operators and meshed clusters; and all as `QUERIES`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cilium_analysis.topics.health.agents import AGENTS, SEARCHED, SLOW
from cilium_analysis.topics.metric import (
    Metric,
    by,
    counter,
    durations,
    gained,
    gauge,
    metric,
    reduced,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cilium_analysis.topics.metric import Process, Use

#: What is missing where a section has no metrics at all.
SECTIONS: Mapping[str, str] = {
    "agent": "process metrics of the agents (Helm: prometheus.enabled=true)",
    "errors": "errors and warnings in the agents' logs",
    "maps": "fill of the BPF maps (off by default before Cilium 1.14; absent while maps are empty)",
    "map operations": "operations on BPF maps",
    "conntrack": "garbage collection of the connection tracking maps",
    "api": "the rate limits of the agents' API",
    "kubernetes": "calls to the Kubernetes API",
    "controllers": "controllers of the agents",
    "modules": "the health of the agents' modules (Cilium 1.15 and later)",
    "kvstore": "the key-value store (only where one or a cluster mesh is in use)",
    "policy": "changes of policies, and the delay until they are in the datapath",
    "nodes": "the nodes that each agent knows",
    "operator": "process metrics of the operator (Helm: operator.prometheus.enabled; off by"
    " default before Cilium 1.15)",
    "operator errors": "errors and warnings in the operator's logs (Cilium 1.16 and later)",
    "identities": "garbage collection of identities (only with identities as CRDs)",
    "ipam": "address management by the operator (only with ENI, Azure or AlibabaCloud)",
    "cloud": "calls to the cloud's API (only with ENI, Azure or AlibabaCloud)",
    "clustermesh": "a cluster mesh",
}

#: Counters of all agents together: labels with many values, added up by the server.
TOTALS: Mapping[str, Mapping[str, Metric]] = {
    "policy": {
        "policy_identity_buckets": gained(
            "cilium_policy_incremental_update_duration_bucket",
            "new identities that reached all policies within so many seconds (Cilium 1.18 and"
            " later)",
            "le scope",
        ),
    },
}


def _addresses() -> Metric:
    """Declare the addresses by type: of each node since Cilium 1.14, in all until 1.19."""
    selector = "cilium_operator_ipam_{}ips{{<match>}}"
    news = [
        f"label_replace({reduced(selector.format(f'{kind}_'), inside='target_node', over='last')},"
        f' "type", "{kind}", "", "")'
        for kind in ("available", "used", "needed")
    ]
    old = reduced(selector.format(""), "type", over="last")
    about = "addresses in the whole cluster, by type"
    return Metric(" or ".join((*news, old)), "addresses", about, labels=("type",))


def _of_cloud(name: str) -> dict[str, Metric]:
    """Declare the calls to a cloud's API, and the waits before them."""
    prefix, calls = f"cilium_operator_{name}_api", f"calls to the API of {name}"
    counted, labels = f"{prefix}_duration_seconds_count", "response_code"
    waits = f"waits before {calls}, imposed by the client itself"
    return {
        f"{name}_count": counter(counted, calls, labels, inside="operation"),
        **durations(
            f"{name}_wait", f"{prefix}_rate_limit_duration_seconds", waits, inside="operation"
        ),
    }


_OPERATOR = "cilium_operator_process_"
_MESH = "cilium_clustermesh_remote_cluster"
_KVSTOREMESH = "cilium_kvstoremesh_remote_cluster"

OPERATORS: Mapping[str, Mapping[str, Metric]] = {
    "cloud": {**_of_cloud("ec2"), **_of_cloud("azure"), **_of_cloud("alibabacloud")},
    "operator": {
        "operators": gauge(
            f"{_OPERATOR}start_time_seconds", "s since 1970", "when each operator started"
        ),
        "operator_cpu": counter(f"{_OPERATOR}cpu_seconds_total", "CPU time of the operators"),
        "operator_memory": gauge(
            f"{_OPERATOR}resident_memory_bytes", "bytes", "memory that the operators hold"
        ),
        "unmanaged_pods": gauge(
            "cilium_operator_unmanaged_pods", "pods", "pods that Cilium does not manage"
        ),
    },
    "operator errors": {
        "operator_errors": counter(
            "cilium_operator_errors_warnings_total",
            "errors and warnings in the operators' logs",
            "level subsystem subsys module",
        ),
    },
    "identities": {
        # Gauges that only grow; identity_type since Cilium 1.17.
        "identity_runs": counter(
            "cilium_operator_identity_gc_runs",
            "garbage collections of identities",
            "outcome",
            inside="identity_type",
        ),
        "identity_entries": metric(
            "gauge",
            "cilium_operator_identity_gc_entries",
            "identities",
            "identities after a garbage collection",
            "status",
            inside="identity_type",
            over="last",
        ),
    },
    "ipam": {
        "addresses": _addresses(),
        "ipam_nodes": metric(
            "gauge",
            "cilium_operator_ipam_nodes",
            "nodes",
            "nodes by how their addresses suffice",
            "category",
            over="last",
        ),
        # interface_candidates counts what available_interfaces did until Cilium 1.19.
        "ipam_interfaces": Metric(
            f"{reduced('cilium_operator_ipam_interface_candidates{<match>}', over='last')}"
            f" or {reduced('cilium_operator_ipam_available_interfaces{<match>}', over='last')}",
            "interfaces",
            "interfaces with addresses to spare",
        ),
        "ipam_resyncs": counter(
            "cilium_operator_ipam_resync_total", "resyncs with the cloud's API"
        ),
        "ipam_creations": counter(
            "cilium_operator_ipam_interface_creation_ops", "interfaces created", "status subnet_id"
        ),
    },
    "clustermesh": {
        "mesh_clusters": gauge(
            "cilium_clustermesh_remote_clusters",
            "clusters",
            "clusters that each agent is meshed with",
        ),
        "mesh_ready": Metric(
            f"min by ({by('target_cluster')})"
            f" (min_over_time({_MESH}_readiness_status{{<match>}}[<range>]))",
            "1",
            "whether each remote cluster was ready, as each agent saw it",
            labels=("target_cluster",),
        ),
        # Gauges that only grow.
        "mesh_failures": counter(
            f"{_MESH}_failures",
            "failures with remote clusters, as the agents saw them",
            "target_cluster",
        ),
        "kvstoremesh_ready": Metric(
            f"min by ({by('target_cluster')})"
            f" (min_over_time({_KVSTOREMESH}_readiness_status{{<match>}}[<range>]))",
            "1",
            "whether each remote cluster was ready, as kvstoremesh saw it",
            labels=("target_cluster",),
        ),
        "kvstoremesh_failures": counter(
            f"{_KVSTOREMESH}_failures",
            "failures with remote clusters, as kvstoremesh saw them",
            "target_cluster",
        ),
    },
}


#: Sections whose counters belong to the operator's process,
_OF_OPERATORS = frozenset({"operator", "operator errors", "identities", "ipam", "cloud"})
#: and to one whose start is not known.
_OF_OTHERS = frozenset({"clustermesh"})


def _queries() -> Iterator[tuple[str, Metric]]:
    for declared in (AGENTS, TOTALS, OPERATORS):
        for section, metrics in declared.items():
            process: Process = (
                "operator"
                if section in _OF_OPERATORS
                else "other"
                if section in _OF_OTHERS
                else "agent"
            )
            for name, each in metrics.items():
                shown = declared is TOTALS or (declared is AGENTS and name not in SEARCHED)
                use: Use = "shown" if shown else "slow" if name in SLOW else "searched"
                yield name, replace(each, section=section, process=process, use=use)


#: Every query of this topic by its name.
QUERIES: Mapping[str, Metric] = dict(_queries())

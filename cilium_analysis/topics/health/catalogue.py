"""The metrics of agents, operators and meshed clusters; one loop asks for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cilium_analysis.topics.health.agents import AGENTS, SEARCHED, SUBSYSTEM
from cilium_analysis.topics.health.metrics import (
    Metric,
    asked,
    by,
    counter,
    durations,
    gauge,
    metric,
)
from cilium_analysis.topics.health.totals import TOTALS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What is missing where a section has no metrics at all.
SECTIONS: Mapping[str, str] = {
    "agent": "process metrics of the agents (Helm: prometheus.enabled=true)",
    "errors": "errors and warnings in the agents' logs",
    "maps": "fill of the BPF maps (off by default before Cilium 1.14; absent while maps are empty)",
    "map operations": "operations on BPF maps",
    "syscalls": "durations of BPF system calls (off by default; Helm: prometheus.metrics with"
    " +cilium_bpf_syscall_duration_seconds)",
    "conntrack": "garbage collection of the connection tracking maps",
    "api": "calls to the agents' API",
    "kubernetes": "calls to the Kubernetes API",
    "controllers": "controllers of the agents",
    "modules": "the health of the agents' modules (Cilium 1.15 and later)",
    "kvstore": "the key-value store (only where one or a cluster mesh is in use)",
    "policy": "changes of policies, and the delay until they are in the datapath",
    "watched": "events of Kubernetes objects, nodes and services",
    "operator": "process metrics of the operator (Helm: operator.prometheus.enabled; off by"
    " default before Cilium 1.15)",
    "operator errors": "errors and warnings in the operator's logs (Cilium 1.16 and later)",
    "identities": "garbage collection of identities (only with identities as CRDs)",
    "ipam": "address management by the operator (only with ENI, Azure or AlibabaCloud)",
    "cloud": "calls to the cloud's API (only with ENI, Azure or AlibabaCloud)",
    "clustermesh": "a cluster mesh",
}


def _addresses() -> Metric:
    """Ask for the addresses by type: of each node since Cilium 1.14, in all until 1.19."""
    kinds = ("available", "used", "needed")
    each = {
        kind: asked(
            f"cilium_operator_ipam_{kind}_ips{{<match>}}", (), ("target_node",), over="last"
        )
        for kind in kinds
    }
    news = [f'label_replace({each[kind]}, "type", "{kind}", "", "")' for kind in kinds]
    old = asked("cilium_operator_ipam_ips{<match>}", ("type",), over="last")
    return Metric(
        " or ".join((*news, old)),
        "addresses",
        "addresses in the whole cluster, by type",
        section="ipam",
        labels=("type",),
    )


_OPERATOR = "cilium_operator_process_"
_MESH = "cilium_clustermesh_remote_cluster"
_KVSTOREMESH = "cilium_kvstoremesh_remote_cluster"

QUERIES: Mapping[str, Metric] = {
    **{name: replace(metric, shown_only=name not in SEARCHED) for name, metric in AGENTS.items()},
    **{name: replace(metric, shown_only=True) for name, metric in TOTALS.items()},
    "operators": gauge(
        "operator",
        f"{_OPERATOR}start_time_seconds",
        "s since 1970",
        "when each operator started",
    ),
    "operator_cpu": counter(
        "operator", f"{_OPERATOR}cpu_seconds_total", "CPU time of the operators"
    ),
    "operator_memory": gauge(
        "operator", f"{_OPERATOR}resident_memory_bytes", "bytes", "memory that the operators hold"
    ),
    "operator_errors": counter(
        "operator errors",
        "cilium_operator_errors_warnings_total",
        "errors and warnings in the operators' logs",
        "level",
        *SUBSYSTEM,
    ),
    "unmanaged_pods": gauge(
        "operator",
        "cilium_operator_unmanaged_pods",
        "pods",
        "pods that Cilium does not manage",
    ),
    # Gauges that only grow; identity_type since Cilium 1.17.
    "identity_runs": counter(
        "identities",
        "cilium_operator_identity_gc_runs",
        "garbage collections of identities",
        "outcome",
        inside=("identity_type",),
    ),
    "identity_entries": metric(
        "gauge",
        "identities",
        "cilium_operator_identity_gc_entries",
        "identities",
        "identities after a garbage collection",
        "status",
        inside=("identity_type",),
        over="last",
    ),
    "addresses": _addresses(),
    "ipam_nodes": metric(
        "gauge",
        "ipam",
        "cilium_operator_ipam_nodes",
        "nodes",
        "nodes by how their addresses suffice",
        "category",
        over="last",
    ),
    # interface_candidates counts what available_interfaces did until Cilium 1.19.
    "ipam_interfaces": Metric(
        f"{asked('cilium_operator_ipam_interface_candidates{<match>}', (), over='last')}"
        f" or {asked('cilium_operator_ipam_available_interfaces{<match>}', (), over='last')}",
        "interfaces",
        "interfaces with addresses to spare",
        section="ipam",
    ),
    "ipam_resyncs": counter(
        "ipam", "cilium_operator_ipam_resync_total", "resyncs with the cloud's API"
    ),
    "ipam_creations": counter(
        "ipam",
        "cilium_operator_ipam_interface_creation_ops",
        "interfaces created",
        "status",
        "subnet_id",
    ),
    **{
        name: metric
        for cloud in ("ec2", "azure", "alibabacloud")
        for name, metric in (
            durations(
                cloud,
                "cloud",
                f"cilium_operator_{cloud}_api_duration_seconds",
                f"calls to the API of {cloud}",
                "response_code",
                inside=("operation",),
            )
            | durations(
                f"{cloud}_wait",
                "cloud",
                f"cilium_operator_{cloud}_api_rate_limit_duration_seconds",
                f"waits before calls to the API of {cloud}, imposed by the client itself",
                inside=("operation",),
            )
        ).items()
    },
    "mesh_clusters": gauge(
        "clustermesh",
        "cilium_clustermesh_remote_clusters",
        "clusters",
        "clusters that each agent is meshed with",
    ),
    "mesh_ready": Metric(
        f"min by ({by(('target_cluster',))})"
        f" (min_over_time({_MESH}_readiness_status{{<match>}}[<range>]))",
        "1",
        "whether each remote cluster was ready, as each agent saw it",
        section="clustermesh",
        labels=("target_cluster",),
    ),
    # Gauges that only grow.
    "mesh_failures": counter(
        "clustermesh",
        f"{_MESH}_failures",
        "failures with remote clusters, as the agents saw them",
        "target_cluster",
    ),
    "kvstoremesh_ready": Metric(
        f"min by ({by(('target_cluster',))})"
        f" (min_over_time({_KVSTOREMESH}_readiness_status{{<match>}}[<range>]))",
        "1",
        "whether each remote cluster was ready, as kvstoremesh saw it",
        section="clustermesh",
        labels=("target_cluster",),
    ),
    "kvstoremesh_failures": counter(
        "clustermesh",
        f"{_KVSTOREMESH}_failures",
        "failures with remote clusters, as kvstoremesh saw them",
        "target_cluster",
    ),
}

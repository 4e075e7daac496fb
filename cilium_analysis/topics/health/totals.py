"""The metrics of all agents together, as data: labels with many values, added up by the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics.health.metrics import Metric, gained

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVENTS = "cilium_kubernetes_events"
_API = "cilium_agent_api_process_time_seconds"
_KUBERNETES = "cilium_k8s_client_api_latency_time_seconds"
_KVSTORE = "cilium_kvstore_operations_duration_seconds"

TOTALS: Mapping[str, Metric] = {
    "events": gained(
        "watched",
        f"{_EVENTS}_total",
        "events of Kubernetes objects that agents handled",
        "action",
        "scope",
        "status",
    ),
    "events_received": gained(
        "watched",
        f"{_EVENTS}_received_total",
        "events of Kubernetes objects that agents received",
        "action",
        "equal",
        "scope",
        "valid",
    ),
    "node_events": gained(
        "watched",
        "cilium_nodes_all_events_received_total",
        "events of nodes that agents received",
        "event_type",
        "source",
    ),
    "service_events": gained(
        "watched",
        "cilium_services_events_total",
        "events of services that agents handled",
        "action",
    ),
    "api_paths_count": gained(
        "api", f"{_API}_count", "calls to the agents' API, by path", "method", "path", "return_code"
    ),
    "api_paths_seconds": gained(
        "api",
        f"{_API}_sum",
        "time taken by calls to the agents' API, by path",
        "method",
        "path",
        "return_code",
        unit="s",
    ),
    "kubernetes_paths_count": gained(
        "kubernetes",
        f"{_KUBERNETES}_count",
        "calls to the Kubernetes API, by path",
        "method",
        "path",
    ),
    "kubernetes_paths_seconds": gained(
        "kubernetes",
        f"{_KUBERNETES}_sum",
        "time taken by calls to the Kubernetes API, by path",
        "method",
        "path",
        unit="s",
    ),
    "kubernetes_methods": gained(
        "kubernetes",
        "cilium_k8s_client_api_calls_total",
        "calls to the Kubernetes API, by method and return code",
        "method",
        "return_code",
    ),
    "kvstore_scopes_count": gained(
        "kvstore",
        f"{_KVSTORE}_count",
        "operations on the key-value store, by scope",
        "action",
        "scope",
    ),
    "kvstore_scopes_seconds": gained(
        "kvstore",
        f"{_KVSTORE}_sum",
        "time taken by operations on the key-value store, by scope",
        "action",
        "scope",
        unit="s",
    ),
    "kvstore_events": gained(
        "kvstore",
        "cilium_kvstore_events_queue_seconds_count",
        "events received from the key-value store",
        "action",
        "scope",
    ),
    "jobs_failed": gained(
        "modules",
        "cilium_hive_jobs_runs_failed",
        "runs of the modules' jobs that failed, by job (Cilium 1.19 and later)",
        "job_name",
        "module_id",
    ),
    "policy_sources": gained(
        "policy",
        "cilium_policy_change_total",
        "changes of policies, by what changed and where it came from (Cilium 1.14 and later)",
        "operation",
        "outcome",
        "source",
    ),
    "map_names": gained(
        "map operations",
        "cilium_bpf_map_ops_total",
        "operations on BPF maps, by map",
        "map_name",
        "operation",
        "outcome",
    ),
    "conntrack_dumps": gained(
        "conntrack",
        "cilium_datapath_conntrack_dump_resets_total",
        "dumps of the connection tracking maps that began anew, by area",
        "area",
        "family",
        "name",
    ),
    "policy_identity_buckets": gained(
        "policy",
        "cilium_policy_incremental_update_duration_bucket",
        "new identities that reached all policies within so many seconds (Cilium 1.18 and later)",
        "le",
        "scope",
    ),
}

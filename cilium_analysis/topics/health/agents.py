"""The metrics of each agent, by the section of what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cilium_analysis.topics.metric import (
    Metric,
    by,
    counter,
    durations,
    gauge,
    metric,
    reduced,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


#: Names of the label that tells where in the process something was logged.
SUBSYSTEM = ("subsystem", "subsys", "module")
#: Name of the policy maps of all endpoints in old versions, as later versions give it.
OLD_POLICY_MAPS = "policy_*"
_PROCESS = "cilium_process_"


def _pressure() -> Metric:
    """Declare the fill of maps; up to Cilium 1.14 every endpoint's policy map has a series."""
    policy = 'cilium_bpf_map_pressure{{map_name{}"policy_[0-9]+",<match>}}'
    return Metric(
        f"{reduced(policy.format('!~'), 'map_name')}"
        f' or label_replace({reduced(policy.format("=~"))}, "map_name", "{OLD_POLICY_MAPS}", "",'
        ' "")',
        "ratio",
        "how full BPF maps are; absent at 0, and policy maps below 0.1",
        labels=("map_name",),
    )


def _policy_failures() -> Metric:
    """Declare the changes of policies that failed, by their name of any version."""
    new = reduced(
        'cilium_policy_change_total{outcome!="success",<match>}', inside="operation outcome source"
    )
    old = reduced("cilium_policy_import_errors_total{<match>}")
    about = "changes of policies that agents could not take over"
    return Metric(f"{new} or {old}", "1", about, kind="counter")


def _degraded() -> Metric:
    """Declare degraded modules; the operator's, which have the same name, are left out."""
    degraded = reduced('cilium_hive_status{status="degraded",<match>}')
    operators = "cilium_operator_process_start_time_seconds{<match>}"
    return Metric(
        f"{degraded} unless on (<target>) max by (<target>) ({operators})",
        "modules",
        "modules of each agent that are degraded (Cilium 1.15 and later)",
    )


#: The metrics of each agent that findings are looked for in; all others are only shown.
SEARCHED = frozenset(
    {
        "starts",
        "first_starts",
        "errors",
        "pressure",
        "map_failures",
        "kubernetes_failures",
        "controllers_failing",
        "controller_failures",
        "kvstore_count",
        "kvstore_quorum",
        "kvstore_sync",
        "modules_degraded",
        "job_failures",
        "policy_failures",
        "requests_rejected",
    }
)
#: Those among them that are levels and move slowly.
SLOW = frozenset({"pressure", "controllers_failing", "modules_degraded"})

AGENTS: Mapping[str, Mapping[str, Metric]] = {
    "agent": {
        "starts": gauge(
            f"{_PROCESS}start_time_seconds",
            "s since 1970",
            "when each agent started; no value while it was not scraped",
            "pod",
        ),
        "first_starts": Metric(
            f"min by ({by('pod')})"
            f" (min_over_time({_PROCESS}start_time_seconds{{<match>}}[<range>]))"
            f" < max by ({by('pod')})"
            f" (max_over_time({_PROCESS}start_time_seconds{{<match>}}[<range>]))",
            "s since 1970",
            "when each agent started that was scraped first, in a step that saw two starts",
            labels=("pod",),
        ),
        "versions": gauge("cilium_version", "1", "which Cilium each agent is", "version"),
        "forwarded": metric(
            "pinned",
            "cilium_forward_count_total",
            "packets",
            "packets forwarded since each node booted",
            "direction",
        ),
        "forwarded_bytes": metric(
            "pinned",
            "cilium_forward_bytes_total",
            "bytes",
            "bytes forwarded since each node booted",
            "direction",
        ),
        "cpu": counter(f"{_PROCESS}cpu_seconds_total", "CPU time of the agents"),
        "memory": gauge(f"{_PROCESS}resident_memory_bytes", "bytes", "memory that the agents hold"),
        "files": gauge(f"{_PROCESS}open_fds", "files", "files that the agents have open"),
        "files_limit": gauge(f"{_PROCESS}max_fds", "files", "files that the agents may have open"),
    },
    "errors": {
        "errors": counter(
            "cilium_errors_warnings_total",
            "errors and warnings in the agents' logs",
            "level subsystem subsys module",
        ),
    },
    "maps": {
        "pressure": _pressure(),
    },
    "map operations": {
        "map_operations": counter(
            "cilium_bpf_map_ops_total",
            "operations on BPF maps",
            "operation outcome",
            inside="map_name",
        ),
        "map_failures": counter(
            'cilium_bpf_map_ops_total{outcome="fail",operation="update",<match>}',
            "updates of BPF maps that failed",
            "map_name",
        ),
    },
    "conntrack": {
        "conntrack_entries": metric(
            "gauge",
            "cilium_datapath_conntrack_gc_entries",
            "entries",
            "entries of the connection tracking maps after a garbage collection",
            "family protocol status",
            over="last",
        ),
    },
    "api": {
        "requests_limited": counter(
            "cilium_api_limiter_processed_requests_total",
            "requests that passed the rate limits of the agents' API, by outcome",
            "outcome",
            inside="api_call return_code",
        ),
        # pkg/rate/api_limiter.go; a request that fails for another reason has the outcome "fail".
        "requests_rejected": counter(
            'cilium_api_limiter_processed_requests_total{outcome=~"fail-.+|request-cancelled",<match>}',
            "requests that the rate limits of the agents' API rejected",
            inside="api_call outcome return_code",
        ),
    },
    "kubernetes": {
        **durations(
            "kubernetes",
            "cilium_k8s_client_api_latency_time_seconds",
            "calls to the Kubernetes API",
            "method",
            inside="path",
        ),
        "kubernetes_codes": counter(
            "cilium_k8s_client_api_calls_total",
            "calls to the Kubernetes API, by return code",
            "return_code",
            inside="host method",
        ),
        "kubernetes_failures": counter(
            'cilium_k8s_client_api_calls_total{return_code!~"2..",<match>}',
            "calls to the Kubernetes API that were refused or failed, by return code",
            "return_code",
            inside="host method",
        ),
        **durations(
            "kubernetes_wait",
            "cilium_k8s_client_rate_limiter_duration_seconds",
            "waits before calls to the Kubernetes API, imposed by the client itself",
            inside="method path",
        ),
    },
    "controllers": {
        "controllers_failing": gauge(
            "cilium_controllers_failing", "controllers", "controllers that fail"
        ),
        "controller_runs": counter(
            "cilium_controllers_runs_total", "runs of controllers", "status"
        ),
        "controller_failures": counter(
            'cilium_controllers_runs_total{status="failure",<match>}',
            "runs of controllers that failed",
            "status",
        ),
        **durations(
            "controller",
            "cilium_controllers_runs_duration_seconds",
            "runs of controllers",
            "status",
        ),
    },
    "modules": {
        "modules_degraded": _degraded(),
        "job_runs": counter(
            "cilium_hive_jobs_runs_total",
            "runs of the modules' jobs (Cilium 1.19 and later)",
            inside="job_name module_id",
        ),
        "job_failures": counter(
            "cilium_hive_jobs_runs_failed",
            "runs of the modules' jobs that failed (Cilium 1.19 and later)",
            inside="job_name module_id",
        ),
    },
    "kvstore": {
        **durations(
            "kvstore",
            "cilium_kvstore_operations_duration_seconds",
            "operations on the key-value store",
            "action outcome",
            inside="kind scope",
        ),
        "kvstore_quorum": counter(
            "cilium_kvstore_quorum_errors_total",
            "quorum errors of the key-value store",
            inside="error",
        ),
        "kvstore_sync": counter(
            "cilium_kvstore_sync_errors_total",
            "failed writes to the key-value store",
            inside="scope source_cluster",
        ),
    },
    "policy": {
        "policy_changes": counter(
            "cilium_policy_change_total",
            "changes of policies that agents took over, by outcome (Cilium 1.14 and later)",
            "outcome",
            inside="operation source",
        ),
        "policy_failures": _policy_failures(),
        **durations(
            "policy",
            "cilium_policy_implementation_delay",
            "policies becoming effective in the datapath",
            "source",
        ),
        "policy_buckets": counter(
            "cilium_policy_implementation_delay_bucket",
            "policies that became effective within so many seconds",
            "le",
            inside="source",
        ),
        **durations(
            "policy_identity",
            "cilium_policy_incremental_update_duration",
            "new identities reaching all policies (Cilium 1.18 and later)",
            "scope",
        ),
    },
    "nodes": {
        "nodes_known": metric(
            "gauge", "cilium_nodes_all_num", "nodes", "nodes that each agent knows", over="last"
        ),
    },
}

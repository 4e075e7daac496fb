"""What a well-equipped cluster exports, and how to switch on what is missing. Data only.

Helm values are those of Cilium's chart (install/kubernetes/cilium/values.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass

_CONTEXT = (
    "labelsContext=source_namespace,source_workload,destination_namespace,destination_workload"
)


@dataclass(frozen=True)
class Check:
    """One thing that may or may not be exported.

    Parameters
    ----------
    name
        For the table.
    metrics
        Any of them will do.
    answers
        The question that cannot be answered without it.
    helm
        Values that switch it on.
    born_late
        Whether its series begin with the first event, so that their absence may mean that
        nothing has happened yet.
    """

    name: str
    metrics: tuple[str, ...]
    answers: str
    helm: str
    born_late: bool = False
    of: str = ""


def _hubble(name: str, metrics: tuple[str, ...], answers: str, *, option: str) -> Check:
    return Check(
        name, metrics, answers, f"hubble.metrics.enabled: {option}", born_late=True, of="Hubble"
    )


OPERATOR = Check(
    "operator",
    ("cilium_operator_process_start_time_seconds",),
    "operator health, IPAM, identity garbage collection",
    "operator.prometheus.enabled=true",
)
CHECKS = (
    Check(
        "agent",
        ("cilium_process_start_time_seconds",),
        "drops, endpoints, connectivity, agent health",
        "prometheus.enabled=true",
    ),
    OPERATOR,
    Check(
        "drop counters",
        ("cilium_drop_count_total",),
        "how many packets were dropped, and why",
        "prometheus.enabled=true; prometheus.metrics must not remove them",
        born_late=True,
        of="agent",
    ),
    Check(
        "node connectivity",
        # Beside the pairs of nodes, of which there are too many to be counted.
        ("cilium_unreachable_nodes", "cilium_node_health_connectivity_status"),
        "which nodes could not reach which",
        "healthChecking=true, endpointHealthChecking.enabled=true",
        of="agent",
    ),
    Check(
        "map pressure",
        ("cilium_bpf_map_pressure",),
        "which BPF map fills up",
        "prometheus.metrics: +cilium_bpf_map_pressure (up to 1.13)",
        born_late=True,
        of="agent",
    ),
    Check(
        "layer 7 policies",
        ("cilium_policy_l7_total",),
        "whether the proxy sees any HTTP or DNS",
        "a CiliumNetworkPolicy with rules.http or rules.dns that selects the traffic",
        born_late=True,
        of="agent",
    ),
    Check(
        "Hubble",
        ("hubble_lost_events_total", "hubble_flows_processed_total", "hubble_drop_total"),
        "whose packets, flows, DNS, HTTP",
        "hubble.enabled=true, hubble.metrics.enabled with at least one metric",
        born_late=True,
    ),
    _hubble("Hubble drop", ("hubble_drop_total",), "whose packets", option=f"drop:{_CONTEXT}"),
    _hubble("Hubble flow", ("hubble_flows_processed_total",), "flows", option=f"flow:{_CONTEXT}"),
    _hubble(
        "Hubble tcp", ("hubble_tcp_flags_total",), "handshakes, resets", option=f"tcp:{_CONTEXT}"
    ),
    _hubble(
        "Hubble icmp", ("hubble_icmp_total",), "missing echo replies", option=f"icmp:{_CONTEXT}"
    ),
    _hubble(
        "Hubble port distribution",
        ("hubble_port_distribution_total",),
        "ports",
        option=f"port-distribution:{_CONTEXT}",
    ),
    _hubble(
        "Hubble policy",
        ("hubble_policy_verdicts_total",),
        "verdicts of policies",
        option=f"policy:{_CONTEXT}",
    ),
    _hubble(
        "Hubble dns",
        ("hubble_dns_queries_total", "hubble_dns_responses_total"),
        "DNS",
        option=f"dns:query;{_CONTEXT}, and a policy with rules.dns",
    ),
    _hubble(
        "Hubble http",
        ("hubble_http_requests_total",),
        "HTTP",
        option=f"httpV2:exemplars=true;{_CONTEXT}, and a policy with rules.http",
    ),
)

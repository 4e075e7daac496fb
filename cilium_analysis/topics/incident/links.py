"""What tends to show as what: which kinds of findings one root change brings about. Data only.

Nothing here proves a cause. The order is how Cilium's parts depend on each other
(docs.cilium.io, "Component Overview" and "Troubleshooting"): agents before their datapath, the
datapath before connections, connections and names before requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.findings import Finding

#: Kinds from the root of things to their surface; a story is told from its deepest kind on.
DEPTH: Mapping[str, int] = {
    kind: depth
    for depth, kinds in enumerate(
        (
            ("policy_change", "kubernetes_event"),
            ("agent_restart",),
            ("node_unreachable", "map_pressure", "endpoint_limit"),
            ("endpoint_growth",),
            ("dns_failures",),
            ("drop_spike", "http_denied"),
            ("operator_errors", "agent_errors", "regeneration_failures"),
            ("http_errors", "endpoint_not_ready", "node_latency"),
            ("http_latency", "tcp_failures"),
            ("scrape_gap", "missing_metrics", "counter_artefact"),
            ("traffic_shift",),
        )
    )
    for kind in kinds
}

_CONNECTIONS = ("http_errors", "http_latency", "tcp_failures", "traffic_shift")


@dataclass(frozen=True)
class Link:
    """Where one kind of finding may show as others.

    Parameters
    ----------
    shown_as
        Kinds that often follow.
    reasons
        Drop reasons, or answers to lookups, for which that holds, as they begin; any if there are
        none.
    but
        Those for which it does not.
    """

    shown_as: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


#: Packets that a policy or a load balancer refuses are refused wherever nodes can be reached.
REFUSED = ("Policy denied", "Denied by LB src range check", "Service backend not found")
#: What a full map of BPF does to packets, by the map: connections, addresses, services.
FULL = (
    "CT: ",
    "No conntrack map found",
    "No mapping for NAT masquerade",
    "No nat map found",
    "Service backend not found",
    "Unknown connection tracking state",
)
#: How nodes are wired to each other, in the datapath's words: packets dropped so are why a node
#: cannot be reached, and not because it cannot.
WIRING = (
    "Authentication required",
    "Encapsulation traffic is prohibited",
    "Error retrieving tunnel",
    "Incorrect VNI from VTEP",
    "No node ID found",
    "No tunnel/encapsulation endpoint",
    "Traffic is unencrypted",
)
#: What a server says to a lookup that has reached it: no lost packet brings that about.
ANSWERED = ("Non-Existent Domain", "Query Refused")

LINKS: Mapping[str, tuple[Link, ...]] = {
    # The proxy of a policy refuses names; packets that a policy drops get no answer.
    "policy_change": (
        Link(("drop_spike", "dns_failures"), ("Policy denied", "Query Refused", "no response")),
        Link(("http_denied", "tcp_failures", "regeneration_failures", "endpoint_not_ready")),
    ),
    "agent_restart": (
        Link(
            (
                "scrape_gap",
                "drop_spike",
                "node_unreachable",
                "endpoint_not_ready",
                "regeneration_failures",
                "agent_errors",
                "counter_artefact",
                "node_latency",
                *_CONNECTIONS,
            )
        ),
        Link(("dns_failures",), but=ANSWERED),
    ),
    "node_unreachable": (
        Link(("drop_spike",), but=(*WIRING, *REFUSED)),
        Link(
            (
                "scrape_gap",
                "node_latency",
                "endpoint_not_ready",
                "agent_errors",
                "operator_errors",
                *_CONNECTIONS,
            )
        ),
        Link(("dns_failures",), but=ANSWERED),
    ),
    "map_pressure": (
        Link(("drop_spike",), FULL),
        Link(
            (
                "endpoint_limit",
                "agent_errors",
                "endpoint_not_ready",
                "regeneration_failures",
                *_CONNECTIONS,
            )
        ),
        Link(("dns_failures",), but=ANSWERED),
    ),
    "endpoint_growth": (Link(("map_pressure", "endpoint_not_ready")),),
    # What is full is what hurts; what filled it is told beside it.
    "endpoint_limit": (
        Link(
            (
                "endpoint_growth",
                "endpoint_not_ready",
                "operator_errors",
                "agent_errors",
                "regeneration_failures",
            )
        ),
    ),
    "dns_failures": (Link(_CONNECTIONS),),
    "drop_spike": (
        Link(("node_unreachable", "node_latency"), but=REFUSED),
        Link(("dns_failures",), but=ANSWERED),
        Link(_CONNECTIONS),
    ),
    "http_denied": (Link(("http_errors", "tcp_failures", "traffic_shift")),),
    "operator_errors": (Link(("endpoint_limit", "endpoint_not_ready")),),
    "agent_errors": (Link(("regeneration_failures", "endpoint_not_ready")),),
    "regeneration_failures": (Link(("endpoint_not_ready", "agent_errors")),),
    "node_latency": (Link(("http_latency", "tcp_failures")),),
    "http_errors": (Link(("http_latency", "tcp_failures", "traffic_shift")),),
    "http_latency": (Link(("http_errors", "tcp_failures", "traffic_shift")),),
    "tcp_failures": (Link(("http_errors", "http_latency", "traffic_shift")),),
    "traffic_shift": (Link(("http_latency", "map_pressure")),),
    "missing_metrics": (Link(("missing_metrics", "scrape_gap")),),
    "scrape_gap": (Link(("scrape_gap", "missing_metrics")),),
}


def said(finding: Finding) -> str:
    """Give the reason of drops, or the answer to lookups, in the finding's own words."""
    return finding.labels.get("reason") or finding.labels.get("rcode") or ""


def denial(finding: Finding) -> bool:
    """Tell whether a policy says no: to packets, to requests, or to lookups.

    Hubble counts the requests that a proxy refused as drops of HTTP, too.
    """
    reason = said(finding).replace("_", " ").capitalize()
    of_proxy = finding.kind == "drop_spike" and finding.labels.get("protocol") == "HTTP"
    return finding.kind == "http_denied" or reason.startswith("Policy denied") or of_proxy


def may_show_as(finding: Finding, other: Finding) -> bool:
    """Tell whether findings of one kind tend to show as another.

    Parameters
    ----------
    finding, other
        Two findings.
    """
    reason = said(other) or said(finding)
    return not (_was_missing(finding) or _was_missing(other)) and any(
        other.kind in link.shown_as
        and (not link.reasons or reason.startswith(link.reasons))
        and not (link.but and reason.startswith(link.but))
        for link in LINKS.get(finding.kind, ())
    )


def _was_missing(finding: Finding) -> bool:
    """Tell whether metrics are missing that nothing shows to have been there before."""
    return finding.kind == "missing_metrics" and not finding.baseline_value > 0

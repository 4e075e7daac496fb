"""Which findings may come from one change: by their kinds, and by their workloads and nodes. Pure.

Nothing here proves a cause. The order of kinds is how Cilium's parts depend on each other
(docs.cilium.io, "Component Overview" and "Troubleshooting"): agents before their datapath, the
datapath before connections, connections and names before requests.

Topics name workloads by the labels of their metrics: ``source``, ``source_workload``, ``workload``
beside a ``direction``, ``node``. Only what these mean can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cilium_analysis.topics.parties import RESERVED, meet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.findings import Finding

#: Kinds from causes to symptoms; the deepest kind of a story leads it.
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
    """Kinds of findings that another kind may bring about.

    Parameters
    ----------
    shown_as
        Kinds that often follow.
    reasons
        How drop reasons, or result codes of lookups, begin for which that holds; empty for any.
    but
        How those begin for which it does not.
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
    # What is full leads the story; what filled it is evidence.
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
    """Give the reason of drops, or the result code of lookups, as the finding has it."""
    return finding.labels.get("reason") or finding.labels.get("rcode") or ""


def denial(finding: Finding) -> bool:
    """Tell whether a policy denies packets, requests or lookups.

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


@dataclass(frozen=True)
class Ends:
    """Both ends of the traffic that a finding is about, and its nodes; empty where not known.

    Parameters
    ----------
    sources, destinations
        Workloads as ``namespace/workload``, or what Hubble knows them by.
    nodes
        Names of nodes.
    """

    sources: frozenset[str] = frozenset()
    destinations: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()

    @property
    def workloads(self) -> frozenset[str]:
        """Workloads at either end."""
        return self.sources | self.destinations

    @property
    def anywhere(self) -> Ends:
        """The same without nodes, for what passes several: packets, and those who refuse them."""
        return replace(self, nodes=frozenset())

    def __str__(self) -> str:
        """Name the ends, source first, then the nodes."""
        source, destination = (", ".join(sorted(s)) for s in (self.sources, self.destinations))
        between = f"{source} to {destination}" if source and destination else source or destination
        return ", ".join(filter(None, (between, *sorted(self.nodes))))


def ends(finding: Finding) -> Ends:
    """Give the workloads at both ends of a finding, and its nodes.

    Parameters
    ----------
    finding
        Of any topic. A workload without a side is the source of egress, else the destination.
    """
    labels = finding.labels
    sides = {side: _named(labels, f"{side}_", side) for side in ("source", "destination")}
    if own := _named(labels, "", ""):
        side = "source" if labels.get("direction", "").upper() == "EGRESS" else "destination"
        sides[side] = sides[side] or own
    nodes = frozenset(filter(None, labels.get("node", "").split(", ")))
    return Ends(_workloads(sides["source"]), _workloads(sides["destination"]), nodes)


def unlike(one: Ends, other: Ends) -> bool:
    """Tell whether two findings are about different workloads, or else about different nodes.

    Workloads decide where both findings name any: source and destination are on nodes of their
    own.
    """
    if one.workloads and other.workloads:
        return not meet(one.workloads, other.workloads)
    return bool(one.nodes and other.nodes) and not one.nodes & other.nodes


def refused_together(one: Ends, other: Ends) -> bool:
    """Tell whether one policy may deny the traffic of both: at the same server, or client."""
    if unlike(one, other):
        return False
    sides = ((one.destinations, other.destinations), (one.sources, other.sources))
    known = [meet(mine, others) for mine, others in sides if mine and others]
    return any(known) or not known


def reaches(cause: Ends, effect: Ends) -> bool:
    """Tell whether failures at the ends of one finding may show at those of another.

    They show to the same client, at the same server, and where the client of the one is the
    server of the other: a server that cannot reach its backend fails its own clients.
    """
    if unlike(cause, effect):
        return False
    if not (cause.workloads and effect.workloads):
        return True
    return meet(cause.sources, effect.workloads) or meet(cause.destinations, effect.destinations)


def _named(labels: Mapping[str, str], prefix: str, whole: str) -> str:
    """Give the name of one end: namespace and workload, or what stands under one label."""
    parts = (labels.get(f"{prefix}{part}", "") for part in ("namespace", "workload"))
    name = "/".join(filter(None, parts)) or labels.get(whole, "")
    cluster = labels.get("cluster", "")
    return f"{name} ({cluster})" if name and cluster else name


def _workloads(name: str) -> frozenset[str]:
    """Give what a name says of a workload: nothing, if it is of something reserved."""
    parts = name.split(",")
    reserved = all(part.removeprefix("reserved:") in RESERVED for part in parts)
    return frozenset() if not name or reserved else frozenset([name])

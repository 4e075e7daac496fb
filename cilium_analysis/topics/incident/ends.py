"""Who and where a finding is about, by whatever labels it says so. Pure.

Topics name places by the labels of their metrics: ``source``, ``source_workload``, ``workload``
beside a ``direction``, ``node``. Only what these mean can be compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cilium_analysis.topics.parties import namespace_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cilium_analysis.findings import Finding

#: Parties that are no workload: half of all traffic may come from the same one (pkg/identity).
_RESERVED = frozenset(
    ("health", "host", "ingress", "init", "kube-apiserver", "remote-node", "unmanaged")
) | {"unknown", "world", "world-ipv4", "world-ipv6"}
#: The end of a pod's name behind that of its workload: drawn for a Deployment, a DaemonSet or a
#: Job (k8s.io/apimachinery pkg/util/rand), or counted for a StatefulSet.
_DRAWN = "[bcdfghjklmnpqrstvwxz2456789]"
_OF_POD = re.compile(rf"-({_DRAWN}{{6,10}}-)?{_DRAWN}{{5}}|-[0-9]+")


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


def same(one: str, other: str) -> bool:
    """Tell whether two names may be of one workload.

    One may be of a pod, lack its namespace, or be of the namespace alone. Slashes of CIDRs and of
    the labels of an identity are part of the name.
    """
    spaces, names = zip(namespace_of(one), namespace_of(other), strict=True)
    if not all(spaces) and any(spaces) and (one in spaces or other in spaces):
        return True
    short, long = sorted(names, key=len)
    alike = short == long or (
        long.startswith(short) and _OF_POD.fullmatch(long, len(short)) is not None
    )
    return alike and (spaces[0] == spaces[1] or not all(spaces))


def meet(some: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether any of the names may be one of the others."""
    known = list(others)
    return any(same(one, other) for one in some for other in known)


def unlike(one: Ends, other: Ends) -> bool:
    """Tell whether two findings are about different parties, or else about different nodes.

    Who talks to whom decides where both findings say so: both ends of a connection are on nodes
    of their own.
    """
    if one.workloads and other.workloads:
        return not meet(one.workloads, other.workloads)
    return bool(one.nodes and other.nodes) and not one.nodes & other.nodes


def refused_together(one: Ends, other: Ends) -> bool:
    """Tell whether one policy may refuse the traffic of both: at the same server, or client."""
    if unlike(one, other):
        return False
    sides = ((one.destinations, other.destinations), (one.sources, other.sources))
    known = [meet(mine, others) for mine, others in sides if mine and others]
    return any(known) or not known


def reaches(cause: Ends, effect: Ends) -> bool:
    """Tell whether trouble at the ends of one finding may show at those of another.

    It shows to the same client, of the same server, and where the client of the one is the server
    of the other: whoever cannot reach its backend fails its own clients.
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
    reserved = all(part.removeprefix("reserved:") in _RESERVED for part in parts)
    return frozenset() if not name or reserved else frozenset([name])

"""Names of source and destination in Hubble's metrics, whichever context labels are configured.

Hubble's options sourceContext, destinationContext and labelsContext decide which labels there
are (pkg/hubble/metrics/api/context.go). The context ``identity`` is the list of the labels of an
identity, each with its source: ``k8s:app=web,k8s:io.kubernetes.pod.namespace=shop`` or
``cidr:203.0.113.7/32,reserved:world`` (pkg/labels/labels.go).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pandas as pd

from cilium_analysis import frames
from cilium_analysis.metrics.known import CONTEXT_LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: The context labels as they stand in the ``by (…)`` of a query.
CONTEXT = ", ".join(CONTEXT_LABELS)
#: Labels of one end that name it, the most telling first; a namespace belongs before each.
_NAMES = ("workload", "app", "pod", "ip")
#: A namespace as Kubernetes allows it: no address and no key of a label is one.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
#: The end of a pod's name behind that of its workload: drawn for a Deployment, a DaemonSet or a
#: Job (k8s.io/apimachinery pkg/util/rand), or counted for a StatefulSet.
_DRAWN = "[bcdfghjklmnpqrstvwxz2456789]"
_OF_POD = re.compile(rf"-({_DRAWN}{{6,10}}-)?{_DRAWN}{{5}}|-[0-9]+")
#: Where labels come from.
SOURCES = (
    "any",
    "cidr",
    "cidrgroup",
    "cilium-generated",
    "container",
    "fqdn",
    "k8s",
    "node",
    "reserved",
    "unspec",
)
#: Of those, where the labels of pods and containers come from.
PODS = ("any", "container", "k8s", "unspec")
NAMESPACE = "io.kubernetes.pod.namespace"
SERVICE_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
#: Labels that commonly name a workload, the most precise first.
APP = ("app.kubernetes.io/name", "k8s-app", "app", "name", "run", "app.kubernetes.io/instance")
#: Keys of labels that tell nothing of a workload among others, as they begin.
_COMMON = ("io.cilium.", "io.kubernetes.", "pod-template-", "controller-", "helm.sh/", "heritage")
#: Sources and destinations that are no workload: half of all traffic may be of one of them
#: (pkg/identity).
RESERVED = frozenset(
    ("health", "host", "ingress", "init", "kube-apiserver", "remote-node", "unmanaged")
) | {"unknown", "world", "world-ipv4", "world-ipv6"}
_API_SERVER = "kube-apiserver"


def name_parties(
    frame: pd.DataFrame, keep: tuple[str, ...], *, spelled: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Name both ends of what Hubble counted.

    Parameters
    ----------
    frame
        Label frame with context labels.
    keep
        Other labels to keep.
    spelled
        From `spellings`, where other frames prove what a bare name stands for; by default only
        this frame does.

    Returns
    -------
    pandas.DataFrame
        Label frame with the labels kept, ``source`` and ``destination``; an end that no label
        names is ``""``, and behind others their cluster is written where there are several.
        Series that no longer differ are added up.
    """
    table = frames.labels(frame)
    full = spellings(frame) if spelled is None else spelled
    named = frame
    for side in ("source", "destination"):
        ends = in_clusters(party(table, side, spelled=full), column(table, "node"))
        named = frames.relabel(named, side, ends)
    return frames.group(named, [*keep, "source", "destination"])


def in_clusters(names: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Write the cluster behind names, as ``shop/cart (eu)``.

    Parameters
    ----------
    names
        Of workloads.
    nodes
        Where each was seen: ``cluster/node`` where there are several clusters.
    """
    clusters = [node.rpartition("/")[0] for node in nodes]
    return [f"{n} ({c})" if n and c else n for n, c in zip(names, clusters, strict=True)]


def swapped(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a frame with source and destination exchanged, as for what answers are counted by."""
    turned = {"source": "destination", "destination": "source"}
    parts = [str(name).partition("_") for name in frame.columns.names]
    names = [turned.get(side, side) + mark + rest for side, mark, rest in parts]
    table = frames.labels(frame)
    table.columns = pd.Index(names)
    result = frame.copy(deep=False)
    result.columns = pd.MultiIndex.from_frame(table[sorted(names)])
    return result


def column(table: pd.DataFrame, name: str) -> list[str]:
    """Give a label of every series; ``""`` where there is none."""
    return [str(value) for value in table[name]] if name in table else [""] * len(table)


def party(table: pd.DataFrame, side: str, *, spelled: Mapping[str, str] | None = None) -> list[str]:
    """Name one end: workload or app within its namespace, else whatever context there is.

    Parameters
    ----------
    table
        Labels, one row per series.
    side
        ``source`` or ``destination``.
    spelled
        What bare names of workloads stand for, as from `spellings`.
    """
    full, contexts = spelled or {}, column(table, side)
    named = zip(*_labelled(table, side, _NAMES), strict=True)
    whole = [
        f"{space}/{name}" if space and name else full.get(name, name) or space
        for space, name in named
    ]
    return [text or readable(context) for text, context in zip(whole, contexts, strict=True)]


def spellings(*counted: pd.DataFrame) -> dict[str, str]:
    """Give the full names of workloads that some series name without their namespace.

    Flows of the DNS proxy, for one, may carry the app and not the namespace. A bare name stands
    for a workload where it occurs with one namespace only.

    Parameters
    ----------
    counted
        Label frames with context labels, of any metrics of the same clusters.
    """
    spaces: dict[str, set[str]] = defaultdict(set)
    for frame in counted:
        table = frames.labels(frame)
        for side in ("source", "destination"):
            pairs = zip(*_labelled(table, side, ("workload", "app")), strict=True)
            for space, name in set(pairs):
                if name:
                    spaces[name].add(space)
    return {
        name: f"{max(found)}/{name}"
        for name, found in spaces.items()
        if "" in found and len(found) == 2
    }


def namespace_of(name: str) -> tuple[str, str]:
    """Split the name of a party into namespace and workload.

    Parameters
    ----------
    name
        As `party` gives it.

    Returns
    -------
    tuple
        The namespace is ``""`` for what is in none: a CIDR keeps its slash.
    """
    space, slash, workload = name.partition("/")
    inside = slash and workload and "/" not in workload and _NAMESPACE.fullmatch(space)
    return (space, workload) if inside else ("", name)


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


def _labelled(
    table: pd.DataFrame, side: str, names: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Give the namespace and the most telling label of one end, for every series."""
    found = zip(*(column(table, f"{side}_{name}") for name in names), strict=True)
    return column(table, f"{side}_namespace"), [next(filter(None, row), "") for row in found]


@functools.lru_cache(maxsize=65536)
def readable(context: str) -> str:
    """Give the name of a party; what is no list of labels stays as it is.

    Parameters
    ----------
    context
        Value of Hubble's label ``source`` or ``destination``.

    Returns
    -------
    str
        ``namespace/workload`` of a pod, else a name of DNS, a CIDR, or a reserved name such as
        ``world``.
    """
    labels = [label.partition(":")[::2] for label in context.split(",")]
    if not all(rest and source in SOURCES for source, rest in labels):
        return context
    of = {source: [rest for known, rest in labels if known == source] for source in SOURCES}
    if _API_SERVER in of["reserved"]:
        return _API_SERVER
    own = dict(label.partition("=")[::2] for source in PODS for label in of[source])
    if own and (NAMESPACE in own or not of["reserved"]):
        return "/".join(part for part in (own.get(NAMESPACE, ""), _workload(own)) if part)
    if of["cidr"]:
        return max(map(_network, of["cidr"]), key=lambda text: int(text.rpartition("/")[2] or 0))
    return next((name for part in ("fqdn", "cidrgroup", "reserved") for name in of[part]), context)


def _workload(labels: dict[str, str]) -> str:
    """Name a workload by its app, else its service account, else its shortest telling label."""
    for key in APP:
        if labels.get(key):
            return labels[key]
    account = labels.get(SERVICE_ACCOUNT, "")
    if account not in ("", "default"):
        return account
    telling = {key: text for key, text in labels.items() if not key.startswith(_COMMON)}
    # A slash belongs between namespace and workload only.
    texts = [
        f"{key.rpartition('/')[2]}={text}" if text else key.rpartition("/")[2]
        for key, text in telling.items()
    ]
    return min(texts, key=lambda text: (len(text), text), default=account)


def _network(label: str) -> str:
    """Give a CIDR as people write it: in a label's key an IPv6 address has ``-`` for ``:``."""
    try:
        return str(ipaddress.ip_network(label.replace("-", ":"), strict=False))
    except ValueError:
        return label

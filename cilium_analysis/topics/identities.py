"""Security identities as Hubble writes them, as names that a person reads. Pure.

The context ``identity`` is the list of the labels of an identity, each with its source:
``k8s:app=web,k8s:io.kubernetes.pod.namespace=shop`` or ``cidr:203.0.113.7/32,reserved:world``
(pkg/hubble/metrics/api/context.go, pkg/labels/labels.go).
"""

from __future__ import annotations

import functools
import ipaddress

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
_API_SERVER = "kube-apiserver"


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

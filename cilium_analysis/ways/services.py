"""Which Services of a cluster are a Prometheus, or answer like one. Pure.

Labels are those of the charts and operators that most clusters have: kube-prometheus-stack,
kube-prometheus and its operator, the community's prometheus chart, Cilium's example, Thanos,
VictoriaMetrics, Mimir and Cortex.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_NAME, _PART = "app.kubernetes.io/name", "app.kubernetes.io/component"


@dataclass(frozen=True)
class _Kind:
    """How Services of a kind are labelled.

    Parameters
    ----------
    called
        For people.
    labels
        Any of these sets of labels will do.
    prefix
        Of the paths of its API.
    alike
        Whether each of its pods answers with all that there is.
    """

    called: str
    labels: tuple[Mapping[str, str], ...]
    prefix: str = ""
    alike: bool = False


#: What sees most, and each series once, comes first.
_KINDS = (
    _Kind(
        "Thanos Query",
        (
            {_NAME: "thanos-query"},
            {_NAME: "thanos", _PART: "query"},
            {_NAME: "thanos", _PART: "query-frontend"},
        ),
        alike=True,
    ),
    _Kind(
        "Mimir",
        ({_NAME: "mimir", _PART: "gateway"}, {_NAME: "mimir", _PART: "nginx"}),
        "/prometheus",
        alike=True,
    ),
    _Kind("Cortex", ({_NAME: "cortex", _PART: "nginx"},), "/prometheus", alike=True),
    _Kind(
        "VictoriaMetrics, vmselect",
        ({_NAME: "vmselect"}, {"app": "vmselect"}),
        "/select/0/prometheus",
        alike=True,
    ),
    _Kind("VictoriaMetrics", ({_NAME: "victoria-metrics-single"}, {_NAME: "vmsingle"})),
    _Kind("kube-prometheus-stack", ({"app": "kube-prometheus-stack-prometheus"},)),
    _Kind("kube-prometheus", ({_NAME: "prometheus", _PART: "prometheus"},)),
    _Kind(
        "Prometheus",
        (
            {_NAME: "prometheus", _PART: "server"},
            {"app": "prometheus", "component": "server"},
            {"app": "prometheus", "component": ""},
            {_NAME: "prometheus", _PART: "", "component": ""},
        ),
    ),
    _Kind("Prometheus Operator", ({"operated-prometheus": "true"},)),
)
#: Labels by which Prometheus Operator tells its servers apart.
_SERVER = ("operator.prometheus.io/name", "operator.prometheus.io/shard")
#: Ports of other APIs.
_OTHER = re.compile(r"grpc|reload|cluster|gossip|remote-write|memberlist", re.IGNORECASE)
#: Names of the ports in question, the likeliest first.
_PORTS = ("web", "http-web", "webui", "http", "http-query", "http-metrics", "prometheus")


@dataclass(frozen=True)
class Service:
    """A Service that answers like a Prometheus.

    Parameters
    ----------
    namespace, name
        Of the Service.
    port
        Of its API.
    called
        What it is, for people.
    prefix
        Of the paths of its API.
    tls
        Whether the port speaks TLS.
    alike
        Whether each of its pods is known to answer with all that there is.
    item
        As the API gives it; None if it was not read.
    """

    namespace: str
    name: str
    port: int
    called: str = ""
    prefix: str = ""
    tls: bool = False
    alike: bool = False
    item: object = field(default=None, repr=False, compare=False)

    @property
    def host(self) -> str:
        """Its name in the cluster's DNS, which a certificate of it is for."""
        return f"{self.name}.{self.namespace}.svc"

    @property
    def scheme(self) -> str:
        """Of the URLs of its API."""
        return "https" if self.tls else "http"

    @property
    def text(self) -> str:
        """Write it as ``namespace/name:port``."""
        return f"{self.namespace}/{self.name}:{self.port}"

    @property
    def shown(self) -> str:
        """Write it with what it is."""
        return f"{self.text} ({self.called})" if self.called else self.text


def known(items: Iterable[object]) -> list[Service]:
    """List the Services that answer like a Prometheus, those that see most first.

    Parameters
    ----------
    items
        Objects of kind Service, as the API gives them.
    """
    found = []
    for item in items:
        service = described(item)
        rank = _rank(item)
        if service is not None and rank is not None:
            found.append((rank, service.text, service))
    return [service for _, _, service in sorted(found, key=lambda each: each[:2])]


def described(item: object, *, port: int = 0) -> Service | None:
    """Describe a Service; None if it has no port for an API.

    Parameters
    ----------
    item
        As the API gives it.
    port
        To take; the likeliest if 0.
    """
    meta, ports = _mapping(item, "metadata"), _ports(item)
    wanted = [one for one in ports if not port or one.get("port") == port]
    if not wanted:
        return None
    one = wanted[0]
    rank = _rank(item)
    kind = _KINDS[rank] if rank is not None else _Kind("", ())
    tls = str(one.get("name", "")).startswith("https") or one.get("port") in (443, 8443)
    number = int(str(one["port"]))
    return Service(
        str(meta.get("namespace", "")),
        str(meta.get("name", "")),
        number,
        kind.called,
        kind.prefix,
        tls,
        kind.alike,
        item,
    )


def selector_of(item: object) -> str:
    """Write the labels by which a Service chooses its pods; empty if it chooses none.

    Parameters
    ----------
    item
        The Service, as the API gives it.
    """
    wanted = _mapping(_mapping(item, "spec"), "selector")
    return ",".join(f"{name}={value}" for name, value in sorted(wanted.items()))


def ready_pods(items: Iterable[object]) -> list[Mapping[str, Any]]:
    """List the pods that are ready: what has run longest first, as it may hold most, then by name.

    Parameters
    ----------
    items
        Pods, as the API gives them.
    """

    def is_ready(pod: object) -> bool:
        named = bool(_mapping(pod, "metadata").get("name"))
        conditions = _listed(_mapping(pod, "status"), "conditions")
        return named and any(
            each.get("type") == "Ready" and each.get("status") == "True" for each in conditions
        )

    ready = [dict(item) for item in items if isinstance(item, Mapping) and is_ready(item)]

    def order(pod: Mapping[str, Any]) -> tuple[str, str]:
        return str(pod["status"].get("startTime", "")), str(pod["metadata"]["name"])

    return sorted(ready, key=order)


def servers_of(items: Iterable[object]) -> list[str]:
    """Name the servers that pods are of, by the labels of Prometheus Operator.

    Shards have a part of the targets each, and two objects of kind Prometheus have targets of
    their own. Replicas are one and the same here.

    Parameters
    ----------
    items
        Pods, as the API gives them.
    """
    found = set()
    for item in items:
        labels = _mapping(_mapping(item, "metadata"), "labels")
        words = [str(labels.get(name, "")) for name in _SERVER]
        found.add(" shard ".join(filter(None, words)) or "one without such labels")
    return sorted(found)


def pod_port(item: object, pod: object, port: int) -> int:
    """Give the port of a pod that a Service's port leads to.

    Parameters
    ----------
    item, pod
        Both, as the API gives them.
    port
        Of the Service.
    """
    target = next((one.get("targetPort") for one in _ports(item) if one.get("port") == port), None)
    if isinstance(target, int):
        return target
    for container in _listed(_mapping(pod, "spec"), "containers"):
        for one in _listed(container, "ports"):
            number = one.get("containerPort")
            if one.get("name") == target and isinstance(number, int):
                return number
    return port


def _rank(item: object) -> int | None:
    """Give the position of a Service's kind; None if it is of none."""
    labels = _mapping(_mapping(item, "metadata"), "labels")
    for position, kind in enumerate(_KINDS):
        for wanted in kind.labels:
            if all(str(labels.get(name, "")) == value for name, value in wanted.items()):
                return position
    return None


def _ports(item: object) -> Sequence[Mapping[str, object]]:
    """Give the ports for an API, the likeliest first."""
    ports = _listed(_mapping(item, "spec"), "ports")
    fit = [
        one
        for one in ports
        if isinstance(one.get("port"), int)
        and one.get("protocol", "TCP") == "TCP"
        and not _OTHER.search(str(one.get("name", "")))
    ]

    def order(one: Mapping[str, object]) -> int:
        name = str(one.get("name", ""))
        return _PORTS.index(name) if name in _PORTS else len(_PORTS)

    return sorted(fit, key=order)


def _mapping(of: object, key: str) -> Mapping[str, object]:
    found = of.get(key) if isinstance(of, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _listed(of: object, key: str) -> list[Mapping[str, object]]:
    """Give the objects of a list."""
    found = of.get(key) if isinstance(of, Mapping) else None
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []

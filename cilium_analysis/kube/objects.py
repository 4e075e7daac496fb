"""Objects of the Kubernetes API -> rows of tables. Pure; nothing here trusts what it reads.

Fields are taken out of an object whatever stands there: each function returns its own type, and
something empty where the object has nothing that fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Row = dict[str, object]

_LARGEST = 2**63 - 1
_NEVER = datetime.min.replace(tzinfo=UTC)
_SCRAPE = "prometheus.io/"
_ROLE = "node-role.kubernetes.io/"
_ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
# A CronJob names its Jobs by the time in minutes, before Kubernetes 1.21 in seconds.
_CRON_JOB = re.compile(r"(.+)-\d{8,10}")
_HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}
_DIRECTIONS = ("egress", "ingress")
_PROTOCOLS = ("dns", "http", "kafka")


def event(thing: Mapping[str, object]) -> Row:
    """Read an Event, whichever of its two sets of times and counts its writer has filled."""
    kind, name = text(thing, "involvedObject", "kind"), text(thing, "involvedObject", "name")
    once = moment(thing, "eventTime")
    first = (
        moment(thing, "firstTimestamp") or once or moment(thing, "metadata", "creationTimestamp")
    )
    last = moment(thing, "series", "lastObservedTime") or moment(thing, "lastTimestamp") or once
    return {
        "namespace": text(thing, "involvedObject", "namespace"),
        "kind": kind,
        "name": name,
        "type": text(thing, "type"),
        "reason": text(thing, "reason"),
        "message": text(thing, "message"),
        "count": number(thing, "series", "count") or number(thing, "count") or 1,
        "first": first,
        "last": max(filter(None, (first, last)), default=None),
        "component": text(thing, "source", "component") or text(thing, "reportingComponent"),
        "node": name if kind == "Node" else text(thing, "source", "host"),
    }


def node(thing: Mapping[str, object]) -> Row:
    """Read a Node."""
    labels = pairs(thing, "metadata", "labels")
    addresses = objects(thing, "status", "addresses")
    inner = [text(one, "address") for one in addresses if one.get("type") == "InternalIP"]
    ready = condition(thing, "Ready")
    roles = [label.removeprefix(_ROLE) for label in labels if label.startswith(_ROLE)]
    return {
        "name": text(thing, "metadata", "name"),
        "internal_ip": next(iter(inner), ""),
        "addresses": [text(one, "address") for one in addresses if text(one, "address")],
        "ready": ready.get("status") == "True",
        "ready_changed": moment(ready, "lastTransitionTime"),
        "unschedulable": flag(thing, "spec", "unschedulable"),
        "kubelet_version": text(thing, "status", "nodeInfo", "kubeletVersion"),
        "kernel_version": text(thing, "status", "nodeInfo", "kernelVersion"),
        "zone": next((labels[name] for name in _ZONES if name in labels), ""),
        "roles": ",".join(sorted(filter(None, roles))),
        "created": moment(thing, "metadata", "creationTimestamp"),
    }


def namespace(thing: Mapping[str, object]) -> Row:
    """Read a Namespace."""
    return {
        "name": text(thing, "metadata", "name"),
        "phase": text(thing, "status", "phase"),
        "labels": pairs(thing, "metadata", "labels"),
        "created": moment(thing, "metadata", "creationTimestamp"),
    }


def pod(thing: Mapping[str, object]) -> Row:
    """Read a Pod; nothing of its environment variables, arguments or volumes."""
    kind, name = workload(thing)
    containers = objects(thing, "status", "containerStatuses")
    exits = [ended for one in containers if (ended := _ended(one))]
    latest = max(exits, key=lambda one: moment(one, "finishedAt") or _NEVER, default={})
    return {
        "namespace": text(thing, "metadata", "namespace"),
        "name": text(thing, "metadata", "name"),
        "node": text(thing, "spec", "nodeName"),
        "ip": text(thing, "status", "podIP"),
        "host_ip": text(thing, "status", "hostIP"),
        "phase": text(thing, "status", "phase"),
        "ready": condition(thing, "Ready").get("status") == "True",
        "restarts": sum(number(one, "restartCount") for one in containers),
        "last_exit": moment(latest, "finishedAt"),
        "last_exit_reason": text(latest, "reason"),
        "owner_kind": kind,
        "owner": name,
        "labels": pairs(thing, "metadata", "labels"),
        "prometheus": scraping(thing),
        "ports": [
            _port(port, "containerPort")
            for container in objects(thing, "spec", "containers")
            for port in objects(container, "ports")
        ],
        "created": moment(thing, "metadata", "creationTimestamp"),
    }


def service(thing: Mapping[str, object]) -> Row:
    """Read a Service."""
    return {
        "namespace": text(thing, "metadata", "namespace"),
        "name": text(thing, "metadata", "name"),
        "type": text(thing, "spec", "type"),
        "headless": text(thing, "spec", "clusterIP") == "None",
        "selector": pairs(thing, "spec", "selector"),
        "labels": pairs(thing, "metadata", "labels"),
        "prometheus": scraping(thing),
        "ports": [_port(port, "port") for port in objects(thing, "spec", "ports")],
        "created": moment(thing, "metadata", "creationTimestamp"),
    }


def configuration(thing: Mapping[str, object]) -> Row:
    """Read a ConfigMap: its ``data``, and when that was ``changed``."""
    return {"data": pairs(thing, "data"), "changed": written(thing, "f:data")}


def scraping(thing: Mapping[str, object]) -> dict[str, str]:
    """Return the annotations ``prometheus.io/…``: ``scrape``, ``port``, ``path``, …."""
    found = pairs(thing, "metadata", "annotations")
    return {k.removeprefix(_SCRAPE): v for k, v in found.items() if k.startswith(_SCRAPE)}


def workload(pod: Mapping[str, object]) -> tuple[str, str]:
    """Return kind and name of what owns a pod, as Hubble's labels name it; ``""`` if nothing does.

    The owner of the owner is not read: its name follows from the hash or the time that
    Kubernetes, Argo and OpenShift add to it, by the rules of Cilium
    (pkg/k8s/utils/workload.go, from Istio).
    """
    owners = objects(pod, "metadata", "ownerReferences")
    owner = next((one for one in owners if one.get("controller") is True), {})
    kind, name = text(owner, "kind"), text(owner, "name")
    labels = pairs(pod, "metadata", "labels")
    if kind == "ReplicaSet":
        for label, above in _HASHES.items():
            ending = "-" + labels.get(label, "")
            if len(ending) > 1 and name.endswith(ending):
                return above, name.removesuffix(ending)
    if kind == "ReplicationController" and labels.get("deploymentconfig"):
        return "DeploymentConfig", labels["deploymentconfig"]
    if kind == "Job" and (timed := _CRON_JOB.fullmatch(name)):
        return "CronJob", timed[1]
    return kind, name


def _ended(container: Mapping[str, object]) -> Mapping[str, object]:
    """Return how a container ended last; empty if it never has."""
    for state in ("state", "lastState"):
        ended = at(container, state, "terminated")
        if isinstance(ended, dict):
            return ended
    return {}


def _port(port: Mapping[str, object], key: str) -> dict[str, object]:
    protocol = text(port, "protocol") or "TCP"
    return {"name": text(port, "name"), "port": number(port, key), "protocol": protocol}


def cilium_policy(kind: str) -> Callable[[Mapping[str, object]], Row]:
    """Return the reader of a CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy."""

    def read(thing: Mapping[str, object]) -> Row:
        specs = [one for one in (at(thing, "spec"),) if isinstance(one, dict)]
        specs += [dict(one) for one in objects(thing, "specs")]
        denied = {way for way in _DIRECTIONS if any(objects(s, f"{way}Deny") for s in specs)}
        ways = {way for way in _DIRECTIONS if any(objects(s, way) for s in specs)} | denied
        return _common(thing, kind, "f:spec", "f:specs") | {
            "directions": ",".join(sorted(ways)),
            "l7": ",".join(sorted({one for spec in specs for one in _l7(spec)})),
            "denies": bool(denied),
            "selects": "; ".join(_selected(spec) for spec in specs),
            "valid": text(condition(thing, "Valid"), "status"),
        }

    return read


def network_policy(thing: Mapping[str, object]) -> Row:
    """Read a NetworkPolicy of networking.k8s.io."""
    ways = {way.lower() for way in texts(thing, "spec", "policyTypes")}
    if not ways:
        # The defaults of the API.
        ways = {"ingress"} | ({"egress"} if objects(thing, "spec", "egress") else set())
    return _common(thing, "NetworkPolicy", "f:spec") | {
        "directions": ",".join(way for way in _DIRECTIONS if way in ways),
        "l7": "",
        "denies": False,
        "selects": selector(at(thing, "spec", "podSelector")),
        "valid": "",
    }


def selector(thing: object) -> str:
    """Write a label selector as ``kubectl --selector`` reads it; ``*`` selects everything.

    Parameters
    ----------
    thing
        With ``matchLabels`` and ``matchExpressions``.
    """
    equal = [f"{name}={value}" for name, value in pairs(thing, "matchLabels").items()]
    return ",".join(equal + [_expression(e) for e in objects(thing, "matchExpressions")]) or "*"


def _expression(thing: Mapping[str, object]) -> str:
    key, values = text(thing, "key"), ",".join(texts(thing, "values"))
    operator = text(thing, "operator")
    known = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})"}
    return (known | {"Exists": key, "DoesNotExist": f"!{key}"}).get(operator, f"{key} {operator}")


def _common(thing: Mapping[str, object], kind: str, *parts: str) -> Row:
    return {
        "kind": kind,
        "namespace": text(thing, "metadata", "namespace"),
        "name": text(thing, "metadata", "name"),
        "created": moment(thing, "metadata", "creationTimestamp"),
        "changed": written(thing, *parts),
        "generation": number(thing, "metadata", "generation"),
    }


def _l7(spec: Mapping[str, object]) -> set[str]:
    """Return the protocols that a policy's rules parse."""
    rules = [
        at(port, "rules")
        for way in _DIRECTIONS
        for rule in objects(spec, way)
        for port in objects(rule, "toPorts")
    ]
    known = {name for name in _PROTOCOLS for rule in rules if at(rule, name)}
    return known | {found for rule in rules if (found := text(rule, "l7proto"))}


def _selected(spec: Mapping[str, object]) -> str:
    """Write which endpoints a rule selects, or which nodes."""
    if isinstance(spec.get("nodeSelector"), dict):
        return f"nodes: {selector(spec['nodeSelector'])}"
    return selector(spec.get("endpointSelector"))


def at(thing: object, *path: str) -> object:
    """Return the value at a path of keys; None if there is none."""
    for key in path:
        if not isinstance(thing, Mapping):
            return None
        thing = thing.get(key)
    return thing


def text(thing: object, *path: str) -> str:
    """Return the text at a path; ``""`` if there is none."""
    found = at(thing, *path)
    return found if isinstance(found, str) else ""


def number(thing: object, *path: str) -> int:
    """Return the whole number at a path; 0 if there is none that fits into 64 bits."""
    found = at(thing, *path)
    whole = isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _LARGEST
    return found if whole and isinstance(found, int) else 0


def flag(thing: object, *path: str) -> bool:
    """Return whether there is a ``true`` at a path."""
    return at(thing, *path) is True


def objects(thing: object, *path: str) -> list[Mapping[str, object]]:
    """Return the objects of the list at a path."""
    found = at(thing, *path)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def texts(thing: object, *path: str) -> list[str]:
    """Return the texts of the list at a path."""
    found = at(thing, *path)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def pairs(thing: object, *path: str) -> dict[str, str]:
    """Return the pairs of texts at a path, such as labels, in the order of their names."""
    found = at(thing, *path)
    if not isinstance(found, Mapping):
        return {}
    both = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, str)}
    return dict(sorted(both.items()))


def moment(thing: object, *path: str) -> datetime | None:
    """Return the time at a path in UTC, to the microsecond; None if there is none."""
    try:
        found = datetime.fromisoformat(text(thing, *path))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def condition(thing: object, kind: str) -> Mapping[str, object]:
    """Return the condition of this type in an object's status; empty if it has none."""
    found = (one for one in objects(thing, "status", "conditions") if one.get("type") == kind)
    return next(found, {})


def written(thing: object, *parts: str) -> datetime | None:
    """Return when some parts of an object were last written, by its managed fields.

    Parameters
    ----------
    thing
        An object of the API.
    parts
        Such as ``f:spec``. Writes to the status alone do not count.
    """
    times = [
        moment(entry, "time")
        for entry in objects(thing, "metadata", "managedFields")
        if not text(entry, "subresource")
        and any(at(entry, "fieldsV1", part) is not None for part in parts)
    ]
    return max((time for time in times if time), default=None)

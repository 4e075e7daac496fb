"""Objects of the Kubernetes API -> rows of tables. Pure; nothing here trusts what it reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cilium_analysis.kube.fields import (
    at,
    condition,
    flag,
    moment,
    number,
    objects,
    pairs,
    text,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, object]

_NEVER = datetime.min.replace(tzinfo=UTC)
_SCRAPE = "prometheus.io/"
_ROLE = "node-role.kubernetes.io/"
_ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
# A CronJob names its Jobs by the time in minutes, before Kubernetes 1.21 in seconds.
_CRON_JOB = re.compile(r"(.+)-\d{8,10}")
_HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}


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
    """Give the annotations that ask Prometheus to scrape: ``scrape``, ``port``, ``path``, …."""
    found = pairs(thing, "metadata", "annotations")
    return {k.removeprefix(_SCRAPE): v for k, v in found.items() if k.startswith(_SCRAPE)}


def workload(pod: Mapping[str, object]) -> tuple[str, str]:
    """Give kind and name of what owns a pod, as Hubble's labels name it; ``""`` if nothing does.

    The owner of the owner is not asked for: its name follows from the hash or the time that
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
    """Give how a container ended last; empty if it never has."""
    for state in ("state", "lastState"):
        ended = at(container, state, "terminated")
        if isinstance(ended, dict):
            return ended
    return {}


def _port(port: Mapping[str, object], key: str) -> dict[str, object]:
    protocol = text(port, "protocol") or "TCP"
    return {"name": text(port, "name"), "port": number(port, key), "protocol": protocol}

"""What the Kubernetes API of a simulated cluster shows at one moment, as its objects.

Nodes, agents, policies and restarts are those of the scenario. Only what a real cluster writes is
there: Cilium writes no Event when a policy changes, and a policy that was taken back is gone. The
names of the applications' pods are drawn here; metrics hold them only with `context` pod.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cilium_simulator import nodes as node_lives
from cilium_simulator.events import Policy, Rollout
from cilium_simulator.kubernetes_events import events, iso
from cilium_simulator.nodes import suffix
from cilium_simulator.operator import POD as OPERATOR
from cilium_simulator.scrape import PORTS, lives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node, Run
    from cilium_simulator.scenario import Scenario

Object = dict[str, Any]

POLICIES = 7  # as the agents' cilium_policy counts them when nothing happens
DAY = 86400
_SYSTEM = "kube-system"
_CONTEXT = ",".join(
    f"{side}_{what}" for side in ("source", "destination") for what in ("namespace", "workload")
)


@dataclass(frozen=True)
class Moment:
    """A simulated cluster at one moment.

    `at` counts seconds from the start of the simulation; the API server keeps events for
    `event_ttl` seconds (by default an hour in real ones, ``--event-ttl``).
    """

    scenario: Scenario
    at: int
    event_ttl: int = DAY

    @property
    def time(self) -> datetime:
        """The moment on the clock."""
        return datetime.fromtimestamp(self.scenario.epoch + self.at, UTC)

    @property
    def nodes(self) -> list[Node]:
        """The nodes as `cilium_simulator.simulation.simulate` draws them."""
        return node_lives.build(self.scenario, np.random.default_rng([self.scenario.seed, 0]))

    def objects(self) -> dict[str, list[Object]]:
        """Give the objects by kind."""
        pods = [*self._agents(), *self._operator(), *self._monitoring(), *self._applications()]
        services = list(self._services())
        spaces = sorted({one["metadata"]["namespace"] for one in (*pods, *services)})
        return {
            "Node": [self._node(node) for node in self._present()],
            "Namespace": [self._thing(-30 * DAY, name) for name in spaces],
            "Pod": pods,
            "Service": services,
            "CiliumNetworkPolicy": list(self._cilium_policies()),
            "CiliumClusterwideNetworkPolicy": [],
            "NetworkPolicy": list(self._network_policies()),
            "Event": [e for e in events(self.scenario, self.nodes) if self._is_kept(e)],
        }

    def config(self) -> dict[str, str]:
        """Give what the ConfigMap cilium-config holds, as the chart writes it."""
        http = "httpV2" if self.scenario.http == "v2" else "http"
        dns = "dns:query" if self.scenario.dns_query else "dns"
        listed = ["drop", "flow", "tcp", "icmp", "port-distribution", "policy", dns, http]
        return {
            "cluster-name": "default",
            "enable-policy": "default",
            "enable-l7-proxy": "true",
            "ipam": "cluster-pool",
            "prometheus-serve-addr": f":{PORTS['agent']}",
            "operator-prometheus-serve-addr": f":{PORTS['operator']}",
            "enable-metrics": "true",
            "enable-hubble": "true",
            "hubble-metrics-server": f":{PORTS['hubble']}",
            "hubble-metrics": " ".join(map(self._with_context, listed)),
            "enable-hubble-open-metrics": "false",
        }

    def _with_context(self, metric: str) -> str:
        options = {
            "none": "",
            "workload": "sourceContext=workload;destinationContext=workload",
            "pod": "sourceContext=pod;destinationContext=pod",
        }.get(self.scenario.context, f"labelsContext={_CONTEXT}")
        return f"{metric}{';' if ':' in metric else ':'}{options}" if options else metric

    # Nodes and agents

    def _present(self) -> list[Node]:
        return [node for node in self.nodes if node.joined <= self.at < node.left]

    def _node(self, node: Node) -> Object:
        is_down = any(start <= self.at < end for start, end in node.down)
        changed = max((end for _, end in node.down if end <= self.at), default=node.joined)
        ready = {"type": "Ready", "status": "Unknown" if is_down else "True"}
        role = {"node-role.kubernetes.io/control-plane": ""} if "control" in node.name else {}
        addresses = [("InternalIP", node.ip), ("Hostname", node.name)]
        return self._thing(node.joined, node.name, labels=role) | {
            "spec": {},
            "status": {
                "addresses": [{"type": kind, "address": text} for kind, text in addresses],
                "conditions": [ready | {"lastTransitionTime": self._iso(changed)}],
                "nodeInfo": {"kubeletVersion": "v1.29.2", "kernelVersion": "6.1.0-18-cloud-amd64"},
            },
        }

    def _agents(self) -> Iterator[Object]:
        labels = {
            "k8s-app": "cilium",
            "app.kubernetes.io/name": "cilium-agent",
            "app.kubernetes.io/part-of": "cilium",
            "controller-revision-hash": "6d9c5b8f7c",
        }
        for node in self._present():
            for name, start, end in lives(node):
                if start <= self.at < end:
                    runs = [r for r in node.runs if r.pod == name and r.start <= self.at]
                    yield self._pod(
                        _SYSTEM,
                        name,
                        node,
                        owner=("DaemonSet", "cilium"),
                        labels=labels,
                        runs=runs,
                        ports=[("prometheus", PORTS["agent"]), ("hubble-metrics", PORTS["hubble"])],
                        port=PORTS["agent"],
                    )

    def _operator(self) -> Iterator[Object]:
        node = self._present()[0]
        hash_ = OPERATOR.split("-")[-2]
        labels = {"io.cilium/app": "operator", "name": "cilium-operator"}
        yield self._pod(
            _SYSTEM,
            OPERATOR,
            node,
            owner=("ReplicaSet", f"cilium-operator-{hash_}"),
            labels=labels | {"pod-template-hash": hash_},
            ports=[("prometheus", PORTS["operator"])],
            port=PORTS["operator"],
        )

    def _monitoring(self) -> Iterator[Object]:
        """Yield what scrapes, where that shows."""
        stack = self.scenario.style == "kube-prometheus-stack"
        name = {"annotations": "prometheus", "servicemonitor": "prometheus-operator"}.get(
            self.scenario.style, "kube-prometheus-stack-operator"
        )
        labels = {"app": name} | ({"release": "kube-prometheus-stack"} if stack else {})
        space = "cilium-monitoring" if name == "prometheus" else "monitoring"
        yield self._deployed(space, name, self._present()[-1], labels, np.random.default_rng(1))

    # Applications

    def _workloads(self) -> dict[str, set[str]]:
        """List the workloads that the scenario names, and their nodes."""
        found: dict[str, set[str]] = {}
        for service in self.scenario.services:
            for name in (service.source, service.destination):
                found.setdefault(name, set()).update(service.nodes or self.scenario.nodes)
        for event in self.scenario.events:
            for name in event.workloads:
                found.setdefault(name, set(event.nodes[:1] or self.scenario.nodes[:1]))
        return dict(sorted(found.items()))

    def _applications(self) -> Iterator[Object]:
        rng = np.random.default_rng([self.scenario.seed, 7])
        by_name = {node.name: node for node in self._present()}
        for workload, names in self._workloads().items():
            space, _, short = workload.partition("/")
            rolled = [e.start for e in self.scenario.of(Rollout) if e.destination == workload]
            hashes = [suffix(rng, 10) for _ in range(len(rolled) + 1)]
            done = sum(start <= self.at for start in rolled)
            created = rolled[done - 1] if done else -10 * DAY
            annotations = self._visible(workload)
            for name in sorted(names & set(by_name)):
                yield self._deployed(
                    space,
                    short,
                    by_name[name],
                    {"run": short},
                    rng,
                    hash_=hashes[done],
                    created=created,
                    annotations=annotations,
                )

    def _visible(self, workload: str) -> dict[str, str]:
        """Make HTTP visible by annotation where a policy would let everything pass."""
        denied = {e.destination for e in self.scenario.of(Policy)}
        served = {s.destination for s in self.scenario.services}
        key = "policy.cilium.io/proxy-visibility"
        return {key: "<Ingress/80/TCP/HTTP>"} if workload in denied & served else {}

    def _deployed(
        self,
        space: str,
        short: str,
        node: Node,
        labels: dict[str, str],
        rng: np.random.Generator,
        *,
        hash_: str = "7d8f9c6b5",
        created: int = -10 * DAY,
        annotations: dict[str, str] | None = None,
    ) -> Object:
        return self._pod(
            space,
            f"{short}-{hash_}-{suffix(rng)}",
            node,
            owner=("ReplicaSet", f"{short}-{hash_}"),
            labels=labels | {"pod-template-hash": hash_},
            created=created,
            annotations=annotations,
        )

    # Policies

    def _cilium_policies(self) -> Iterator[Object]:
        spaces = sorted({name.partition("/")[0] for name in self._workloads()})
        for space in spaces if self.scenario.dns else []:
            rule = {"toPorts": [_ports("53", "ANY", dns=[{"matchPattern": "*"}])]}
            yield self._policy("allow-dns", space, {}, egress=[rule, {"toEntities": ["all"]}])
        denied = {e.destination for e in self.scenario.of(Policy)}
        for workload in sorted({s.destination for s in self.scenario.services} - denied):
            space, _, short = workload.partition("/")
            rule = {"toPorts": [_ports("80", "TCP", http=[{}])]}
            yield self._policy(f"{short}-http", space, {"run": short}, ingress=[rule])
        for event in self.scenario.of(Policy):
            if event.start <= self.at < event.end:
                yield self._narrow(event)

    def _narrow(self, event: Policy) -> Object:
        space, _, name = event.name.partition("/")
        allowed: list[Object] = [{"method": method, "path": "/"} for method in event.methods]
        rule = {"toPorts": [_ports("80", "TCP", http=allowed or [{"path": "/"}])]}
        chosen = {"run": event.destination.partition("/")[2]}
        return self._policy(name, space, chosen, created=event.start, ingress=[rule])

    def _policy(
        self,
        name: str,
        space: str,
        chosen: dict[str, str],
        *,
        created: int = -20 * DAY,
        **ways: Any,
    ) -> Object:
        chooser: Object = {"matchLabels": chosen} if chosen else {}
        spec: Object = {"endpointSelector": chooser, **ways}
        return self._thing(created, name, space, written="f:spec") | {"spec": spec}

    def _network_policies(self) -> Iterator[Object]:
        live = sum(e.start <= self.at < e.end for e in self.scenario.of(Policy))
        count = POLICIES + live - len(list(self._cilium_policies()))
        for number in range(1, count + 1):
            spec: Object = {"podSelector": {"matchLabels": {"app": f"tool-{number}"}}}
            spec |= {"policyTypes": ["Ingress"], "ingress": [{}]}
            thing = self._thing(-25 * DAY, f"tool-{number}", "tools", written="f:spec")
            yield thing | {"spec": spec}

    # Services

    def _services(self) -> Iterator[Object]:
        yield self._service("kubernetes", "default", {}, [("https", 443)])
        yield self._service("kube-dns", _SYSTEM, {"k8s-app": "kube-dns"}, [("dns", 53)])
        hubble = [("hubble-metrics", PORTS["hubble"])]
        asked = {} if self._monitored else _annotated(PORTS["hubble"])
        agents = {"k8s-app": "cilium"}
        yield self._service("hubble-metrics", _SYSTEM, agents, hubble, annotations=asked)
        if self._monitored:
            ports = [("metrics", PORTS["agent"])]
            yield self._service("cilium-agent", _SYSTEM, agents, ports, annotations={})
            ports = [("metrics", PORTS["operator"])]
            chosen = {"io.cilium/app": "operator"}
            yield self._service("cilium-operator", _SYSTEM, chosen, ports, annotations={})
        for workload in sorted({s.destination for s in self.scenario.services}):
            space, _, short = workload.partition("/")
            yield self._service(short, space, {"run": short}, [("http", 80)])

    @property
    def _monitored(self) -> bool:
        return self.scenario.style != "annotations"

    def _service(
        self,
        name: str,
        space: str,
        chosen: dict[str, str],
        ports: list[tuple[str, int]],
        *,
        annotations: dict[str, str] | None = None,
    ) -> Object:
        """Build a service; those with annotations, be it none, are headless."""
        address = "10.96.0.1" if annotations is None else "None"
        listed = [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports]
        spec = {"type": "ClusterIP", "clusterIP": address, "selector": chosen, "ports": listed}
        return self._thing(-30 * DAY, name, space, annotations=annotations) | {"spec": spec}

    def _is_kept(self, event: Object) -> bool:
        last = datetime.fromisoformat(event["lastTimestamp"])
        age = (self.time - last).total_seconds()
        return 0 <= age <= self.event_ttl

    # Parts of objects

    def _iso(self, seconds: int) -> str:
        return iso(self.scenario, seconds)

    def _thing(
        self,
        created: int,
        name: str,
        space: str = "",
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        written: str = "",
    ) -> Object:
        when = self._iso(created)
        meta: Object = {"name": name, "creationTimestamp": when, "generation": 1}
        meta |= {"namespace": space} if space else {}
        meta |= {"labels": labels} if labels else {}
        meta |= {"annotations": annotations} if annotations else {}
        if written:
            meta["managedFields"] = [
                {"manager": "kubectl", "time": when, "fieldsV1": {written: {}}}
            ]
        return {"metadata": meta}

    def _pod(
        self,
        space: str,
        name: str,
        node: Node,
        *,
        owner: tuple[str, str],
        labels: dict[str, str],
        runs: list[Run] | None = None,
        ports: list[tuple[str, int]] | None = None,
        port: int = 0,
        created: int = -10 * DAY,
        annotations: dict[str, str] | None = None,
    ) -> Object:
        began = runs[0].start if runs else created
        status = {"name": name.split("-")[0], "restartCount": 0}
        if runs and len(runs) > 1:
            ended = {"reason": "Error", "exitCode": 2, "finishedAt": self._iso(runs[-2].end)}
            status |= {"restartCount": len(runs) - 1, "lastState": {"terminated": ended}}
        is_ready = not runs or runs[-1].start <= self.at < runs[-1].end
        asked = _annotated(port) if port and not self._monitored else {}
        thing = self._thing(
            began, name, space, labels=labels, annotations=(annotations or {}) | asked
        )
        reference = {"kind": owner[0], "name": owner[1], "controller": True}
        thing["metadata"]["ownerReferences"] = [reference]
        listed = [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in ports or []]
        condition = {"type": "Ready", "status": "True" if is_ready else "False"}
        return thing | {
            "spec": {"nodeName": node.name, "containers": [{"ports": listed}]},
            "status": {
                "phase": "Running",
                "hostIP": node.ip,
                "podIP": node.ip if ports else "",
                "conditions": [condition],
                "containerStatuses": [status],
            },
        }


def _annotated(port: int) -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}


def _ports(port: str, protocol: str, **rules: Any) -> Object:
    return {"ports": [{"port": port, "protocol": protocol}], "rules": rules}

"""The Events that Kubernetes writes about a simulated cluster: its kubelets and controllers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cilium_simulator.events import Rollout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cilium_simulator.nodes import Node, Run
    from cilium_simulator.scenario import Scenario

Object = dict[str, Any]

_SYSTEM = "kube-system"
_PROBE = 'Get "http://127.0.0.1:9879/healthz": dial tcp 127.0.0.1:9879: connect: connection refused'


def iso(scenario: Scenario, seconds: int) -> str:
    """Write a moment of the simulation as the API does."""
    moment = datetime.fromtimestamp(scenario.epoch + seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def events(scenario: Scenario, nodes: list[Node]) -> Iterator[Object]:
    """Yield all events of a simulation, about nodes, agents and rollouts."""
    return _Writers(scenario).events(nodes)


@dataclass(frozen=True)
class _Writers:
    """What the kubelets and controllers write."""

    scenario: Scenario

    def events(self, nodes: list[Node]) -> Iterator[Object]:
        for node in nodes:
            yield from self._restarts(node)
            if node.joined > 0:
                yield self._event("Node", node.name, "RegisteredNode", node.joined, node=node)
        for event in self.scenario.of(Rollout):
            space, _, short = event.destination.partition("/")
            told = f"Scaled up replica set {short} to 1"
            yield self._event(
                "Deployment", short, "ScalingReplicaSet", event.start, told, space=space
            )

    def _restarts(self, node: Node) -> Iterator[Object]:
        for before, after in zip(node.runs, node.runs[1:], strict=False):
            boots = after.boot != before.boot
            began = after.start if boots else before.end + 1
            if boots:
                yield from self._reboot(node, before.end, after.start)
            if after.pod != before.pod:
                yield from self._replaced(node, before, after)
            yield from self._started(node, after, began)

    def _started(self, node: Node, run: Run, began: int) -> Iterator[Object]:
        """Yield those of a new container, whose probe fails until the agent answers."""
        version = ".".join(map(str, self.scenario.version))
        image = f'Container image "quay.io/cilium/cilium:v{version}" already present on machine'
        for reason, told in (
            ("Pulled", image),
            ("Created", "Created container cilium-agent"),
            ("Started", "Started container cilium-agent"),
        ):
            yield self._event("Pod", run.pod, reason, began, told, node=node)
        count = math.floor((run.start - began) / 2)
        if count > 0:
            yield self._event(
                "Pod",
                run.pod,
                "Unhealthy",
                began + 2,
                f"Startup probe failed: {_PROBE}",
                node=node,
                last=run.start,
                count=count,
                type_="Warning",
            )

    def _replaced(self, node: Node, before: Run, after: Run) -> Iterator[Object]:
        told = "Stopping container cilium-agent"
        yield self._event("Pod", before.pod, "Killing", before.end, told, node=node)
        for reason, did, pod in (
            ("SuccessfulDelete", "Deleted", before.pod),
            ("SuccessfulCreate", "Created", after.pod),
        ):
            yield self._event("DaemonSet", "cilium", reason, before.end, f"{did} pod: {pod}")
        told = f"Successfully assigned {_SYSTEM}/{after.pod} to {node.name}"
        yield self._event("Pod", after.pod, "Scheduled", before.end, told)

    def _reboot(self, node: Node, down: int, up: int) -> Iterator[Object]:
        """Yield those of a node, missed after 40 seconds, and of its boot."""
        if up - down > 40:
            told = f"Node {node.name} status is now: NodeNotReady"
            yield self._event("Node", node.name, "NodeNotReady", down + 40, told, node=node)
        told = f"Node {node.name} has been rebooted, boot id: 6f1c5d2e"
        yield self._event("Node", node.name, "Rebooted", up, told, node=node, type_="Warning")
        told = f"Node {node.name} status is now: NodeReady"
        yield self._event("Node", node.name, "NodeReady", up, told, node=node)

    def _event(
        self,
        kind: str,
        name: str,
        reason: str,
        first: int,
        message: str = "",
        *,
        node: Node | None = None,
        space: str = _SYSTEM,
        last: int | None = None,
        count: int = 1,
        type_: str = "Normal",
    ) -> Object:
        about = {"kind": kind, "name": name} | ({} if kind == "Node" else {"namespace": space})
        source = (
            {"component": "kubelet", "host": node.name} if node else {"component": "controller"}
        )
        return {
            "metadata": {"name": f"{name}.{reason.lower()}.{first}", "namespace": space},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "type": type_,
            "count": count,
            "firstTimestamp": iso(self.scenario, first),
            "lastTimestamp": iso(self.scenario, first if last is None else last),
            "source": source,
        }

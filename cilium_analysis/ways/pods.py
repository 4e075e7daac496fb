"""The pods that a Service leads to, of which each request may reach another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cilium_analysis.errors import SourceError
from cilium_analysis.kube.reading import Resource, Unread
from cilium_analysis.ways.services import pod_port, ready_pods, selector_of, servers_of

if TYPE_CHECKING:
    from cilium_analysis.ways.api_server import ApiServer
    from cilium_analysis.ways.services import Service

_PODS = Resource("pods", "pods", dict, "list_namespaced_pod")


@dataclass(frozen=True)
class Pod:
    """A pod that answers for a Service.

    Parameters
    ----------
    name, address
        Of the pod.
    port
        Of its API.
    """

    name: str
    address: str
    port: int

    @property
    def host(self) -> str:
        """Its address, as a URL has it."""
        return f"[{self.address}]" if ":" in self.address else self.address


def pods_of(server: ApiServer, service: Service) -> list[Pod]:
    """List the pods that are ready, as of `ready_pods`; none for a Service that chooses no pods.

    Parameters
    ----------
    server
        The API server.
    service
        As it was read.

    Raises
    ------
    SourceError
        If they hold different metrics, so that no answer is whole.
    Unread
        If they cannot be read.
    """
    if service.item is None:
        raise Unread("that takes the rights to get services and to list pods")
    selector = selector_of(service.item)
    if not selector:
        return []
    from kubernetes.client import CoreV1Api

    with server.reader() as reader:
        ask = partial(CoreV1Api(reader.api).list_namespaced_pod, service.namespace)
        listed = reader.ask(ask, _PODS, label_selector=selector).get("items")
    items = listed if isinstance(listed, list) else []
    apart = servers_of(items)
    if len(apart) > 1:
        raise SourceError(
            f"{service.text} leads to {len(apart)} servers that hold different metrics"
            f" ({', '.join(apart)}); name a Service that asks them all, such as that of a Thanos"
            " Query: --source kubernetes:NAMESPACE/SERVICE:PORT"
        )
    return [
        Pod(
            str(pod["metadata"]["name"]),
            str(pod["status"].get("podIP", "")),
            pod_port(service.item, pod, service.port),
        )
        for pod in ready_pods(items)
    ]

"""A port of this machine that leads to a pod of a cluster, as ``kubectl port-forward`` opens it."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import SourceError
from cilium_analysis.kube.reading import Resource, Unread
from cilium_analysis.ways.services import pod_port, ready_pod, selector_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cilium_analysis.ways.api_server import ApiServer
    from cilium_analysis.ways.services import Service

_SERVICE = Resource("services", "services", dict, "read_namespaced_service", verb="get")
_PODS = Resource("pods", "pods", dict, "list_namespaced_pod")
#: So much is passed on at a time [bytes].
_PIECE = 1 << 16


class Forward:
    """Listens on loopback, and passes each connection on to a port of a pod.

    Parameters
    ----------
    server
        The API server of the pod's cluster.
    namespace, pod, port
        Where to pass them on to.
    """

    def __init__(self, server: ApiServer, namespace: str, pod: str, port: int) -> None:
        self._server, self._pod, self._to = server, (pod, namespace), port
        self._one_at_a_time = Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        Thread(target=self._serve, name="cilium-analysis-forward", daemon=True).start()

    def close(self) -> None:
        """Listen no more; connections end with their users."""
        with suppress(OSError):
            # It wakes the thread that waits there, which closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._pass_on, args=(near,), daemon=True).start()

    def _pass_on(self, near: socket.socket) -> None:
        """Pass on in both directions, until either side ends; the user sees a lost connection."""
        with near:
            try:
                far = self._open()
            except Exception:  # whatever the libraries raise: there is nobody to tell but the user
                return
            back = Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()
            far.close()

    def _open(self) -> Any:
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.stream import portforward

        # The library changes its client for as long as it asks.
        with self._one_at_a_time:
            api = CoreV1Api(ApiClient(self._server.configuration))
            ask = api.connect_get_namespaced_pod_portforward
            return portforward(ask, *self._pod, ports=str(self._to)).socket(self._to)


def _copy(source: Any, target: Any) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def forward_to(server: ApiServer, service: Service) -> Forward:
    """Open a port that leads to a ready pod of a Service.

    Raises
    ------
    SourceError
        If there is no such pod, or it may not be looked for.
    """
    from kubernetes.client import CoreV1Api

    with server.reader() as reader:
        api = CoreV1Api(reader.api)

        def ask(resource: Resource, *names: str, **page: object) -> Mapping[str, object]:
            method = getattr(api, resource.method)
            return reader.ask(lambda **how: method(*names, **how), resource, **page)

        try:
            item = ask(_SERVICE, service.name, service.namespace)
            selector = selector_of(item)
            found = ask(_PODS, service.namespace, label_selector=selector) if selector else {}
        except Unread as problem:
            raise SourceError(str(problem)) from None
    pods = found.get("items")
    pod = ready_pod(pods if isinstance(pods, list) else [])
    if pod is None:
        raise SourceError(f"the Service {service.text} has no pod that is ready to forward to")
    name = str(pod["metadata"]["name"])
    return Forward(server, service.namespace, name, pod_port(item, pod, service.port))

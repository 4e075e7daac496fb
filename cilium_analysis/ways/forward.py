"""A port of this machine that leads to a pod of a cluster, as ``kubectl port-forward`` opens it."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from http import HTTPStatus
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from cilium_analysis.errors import SourceError
from cilium_analysis.kube.reading import Unread
from cilium_analysis.ways.pods import pods_of

if TYPE_CHECKING:
    from cilium_analysis.ways.api_server import ApiServer
    from cilium_analysis.ways.services import Service

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

    def try_out(self) -> None:
        """Open a connection that nobody uses, as later ones fail without a word.

        Raises
        ------
        SourceError
            If the API server refuses it.
        """
        try:
            self._open().close()
        except SourceError:
            raise
        except Exception as problem:  # kubernetes 36 raises an AttributeError for a refusal
            status = _status(problem)
            if status == HTTPStatus.FORBIDDEN:
                raise SourceError(
                    "cannot forward to pods (403): that needs the rights to get and to create"
                    f" pods/portforward in the namespace {self._pod[1]}"
                ) from None
            pod, why = "/".join(reversed(self._pod)), f" ({status})" if status else ""
            raise SourceError(f"cannot forward to the pod {pod}{why}") from None

    def _open(self) -> Any:
        try:
            return self._opened()
        except Exception as problem:
            if _status(problem) != HTTPStatus.UNAUTHORIZED:
                raise
        self._server.renew()
        return self._opened()

    def _opened(self) -> Any:
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.stream import portforward

        # The library changes its client for as long as it asks.
        with self._one_at_a_time:
            api = CoreV1Api(ApiClient(self._server.configuration))
            ask = api.connect_get_namespaced_pod_portforward
            return portforward(ask, *self._pod, ports=str(self._to)).socket(self._to)


def _status(problem: BaseException) -> int:
    """Give the status with which a WebSocket was refused; 0 if it was lost in another way."""
    found: BaseException | None = problem
    while found is not None:
        if status := getattr(found, "status_code", 0):
            return int(status)
        found = found.__context__
    return 0


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
        If there is no such pod, or it may not be looked for or forwarded to.
    """
    try:
        pods = pods_of(server, service)
    except Unread as problem:
        raise SourceError(str(problem)) from None
    if not pods:
        raise SourceError(f"the Service {service.text} has no pod that is ready to forward to")
    way = Forward(server, service.namespace, pods[0].name, pods[0].port)
    with ExitStack() as undo:
        undo.callback(way.close)
        way.try_out()
        undo.pop_all()
    return way

"""A stand-in for an API server that forwards ports of pods by WebSocket, as a real one does.

It speaks the protocol ``v4.channel.k8s.io`` (Kubernetes, pkg/kubelet, "portforward"): two channels
for each port, data and errors, each of which begins with the number of the port. All else is
answered by `tests.kube_api.KubeApi`.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

from tornado import httpserver, netutil, web, websocket

from tests.faults import Request

if TYPE_CHECKING:
    from tests.kube_api import KubeApi


class Forwarding:
    """Serves an API with ports of pods that lead to ports of this machine.

    Parameters
    ----------
    api
        Answers all else; it is closed with this.
    ports
        By the name of a pod and its port: a port of this machine, or None where nobody listens.
    """

    def __init__(self, api: KubeApi, ports: dict[tuple[str, int], int | None]) -> None:
        self.api, self.ports = api, ports
        #: Whether the user has the right to.
        self.may_forward = True
        self.opened = 0
        self.writers: list[asyncio.StreamWriter] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self.api.__enter__()
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self.api.__exit__(None, None, None)

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        path = r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/portforward"
        app = web.Application([(path, _Socket, {"of": self}), (r".*", _Other, {"of": self})])
        (listening,) = netutil.bind_sockets(0, "127.0.0.1")
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        httpserver.HTTPServer(app).add_sockets([listening])
        self._ready.set()
        self._loop.run_forever()
        # Whoever listens behind it waits for the end of each connection.
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for writer in self.writers:
            writer.transport.abort()
        self._loop.run_until_complete(asyncio.sleep(0))


class _Other(web.RequestHandler):
    def initialize(self, of: Forwarding) -> None:
        self.of = of

    def get(self) -> None:
        headers = {name.lower(): value for name, value in self.request.headers.items()}
        params = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        reply = self.of.api.answer(Request("GET", self.request.path, params, headers))
        self.set_status(reply.status)
        for name, value in reply.headers.items():
            self.set_header(name, value)
        self.set_header("Content-Type", reply.content_type)
        self.write(reply.body)


class _Socket(websocket.WebSocketHandler):
    def initialize(self, of: Forwarding) -> None:
        self.of = of

    async def get(self, *args: Any, **more: Any) -> None:
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.of.api.token and token != self.of.api.token:
            self.set_status(401)
        elif not self.of.may_forward:
            self.set_status(403)
            said = 'User "reader" cannot create resource "pods/portforward" in API group ""'
            self.finish({"kind": "Status", "status": "Failure", "message": said})
        else:
            await super().get(*args, **more)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "v4.channel.k8s.io" if "v4.channel.k8s.io" in subprotocols else None

    def check_origin(self, origin: str) -> bool:
        return True

    async def open(self, *args: Any, **_: Any) -> None:
        _, pod = args
        port = int(self.get_query_argument("ports"))
        self.of.opened += 1
        self.waiting: list[bytes] = []
        self.writer: asyncio.StreamWriter | None = None
        self.back: asyncio.Task[None] | None = None
        for channel in (0, 1):
            await self.write_message(bytes([channel]) + port.to_bytes(2, "little"), binary=True)
        here = self.of.ports.get((pod, port))
        if here is None:
            await self.write_message(b"\x01connection refused", binary=True)
            self.close()
            return
        reader, self.writer = await asyncio.open_connection("127.0.0.1", here)
        self.of.writers.append(self.writer)
        for piece in self.waiting:
            self.writer.write(piece)
        self.back = asyncio.get_running_loop().create_task(self._back(reader))

    async def _back(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(1 << 16):
            await self.write_message(b"\x00" + piece, binary=True)
        self.close()

    def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        if self.writer is None:
            self.waiting.append(message[1:])
        else:
            self.writer.write(message[1:])

    def on_close(self) -> None:
        if getattr(self, "back", None) is not None:
            self.back.cancel()  # type: ignore[union-attr]
        if getattr(self, "writer", None) is not None:
            self.writer.close()  # type: ignore[union-attr]

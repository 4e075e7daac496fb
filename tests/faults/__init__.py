"""An HTTP server that does what it is told: answer, fail, break off, ask to wait, lead astray.

It is a real server on a loopback port, so that nothing of the client is replaced in a test. It
answers from a script, or hands requests on to a real Prometheus.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

JSON = "application/json"
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
#: No test waits longer than this for another thread [s].
PATIENCE = 20.0


@dataclass(frozen=True)
class Request:
    """A request as it arrived; the parameters of the URL and of a form are one.

    Of several with the same name the last is in `params`, and all are in `query`.
    """

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    query: str = ""

    @property
    def counts(self) -> bool:
        """Whether it only counts the series that are to be fetched."""
        return self.params.get("query", "").startswith("count(")


@dataclass(frozen=True)
class Reply:
    """What to answer.

    Parameters
    ----------
    body, status, headers, content_type
        Of the reply. Without a content type there is no such header.
    ends
        ``whole``; ``cut``: the connection is closed after `at` bytes of the body, though more
        were announced; ``reset``: likewise, by a TCP reset; ``stall``: nothing more comes until
        `gate` is open.
    at
        How many bytes are sent before the end.
    chunk
        Send the body in chunks of so many bytes, with no announced length.
    gate
        Nothing is answered before it is open.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON
    ends: Literal["whole", "cut", "reset", "stall"] = "whole"
    at: int = 0
    chunk: int = 0
    gate: threading.Event | None = None


Answerer = Callable[[Request], Reply]


def success(data: object = None, **more: Any) -> Reply:
    """A whole answer, written as compactly as Prometheus does."""
    document = {"status": "success", "data": data, **more}
    return Reply(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())


def matrix(*series: tuple[Mapping[str, str], Mapping[float, str]], **more: Any) -> Reply:
    """A matrix of series: labels, and values by time."""
    rows = [
        {"metric": dict(labels), "values": [[t, v] for t, v in values.items()]}
        for labels, values in series
    ]
    return success({"resultType": "matrix", "result": rows}, **more)


def vector(*series: tuple[Mapping[str, str], float, str], **more: Any) -> Reply:
    """A vector of series: labels, time, value."""
    rows = [{"metric": dict(labels), "value": [t, v]} for labels, t, v in series]
    return success({"resultType": "vector", "result": rows}, **more)


def counted(request: Request, series: int) -> Reply:
    """Say how many series there are, to a request that counts."""
    if request.path.endswith("query_range"):
        return matrix(({}, {float(request.params["start"]): str(series)}))
    return vector(({}, float(request.params["time"]), str(series)))


def refusal(status: int, kind: str, why: str, **headers: str) -> Reply:
    """An error as Prometheus writes it."""
    document = {"status": "error", "errorType": kind, "error": why}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(json.dumps(document).encode(), status, named)


def page(status: int = 200, title: str = "Sign in", **headers: str) -> Reply:
    """A web page, as a proxy or a login service shows it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    text = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>{title}</body></html>"
    return Reply(text.encode(), status, named, HTML)


def text(status: int, body: str, **headers: str) -> Reply:
    """A bare message."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(body.encode(), status, named, TEXT)


def packed(reply: Reply) -> Reply:
    """The same, compressed."""
    headers = {**reply.headers, "Content-Encoding": "gzip"}
    return Reply(gzip.compress(reply.body), reply.status, headers, reply.content_type)


def forward(url: str) -> Answerer:
    """Hand every request on to a real server, with the same method, parameters and body."""

    def ask(request: Request) -> Reply:
        words = urlencode(request.params)
        form = words.encode() if request.method == "POST" else None
        target = url + request.path + (f"?{words}" if words and form is None else "")
        try:
            with urllib.request.urlopen(target, form, timeout=PATIENCE) as answer:
                return Reply(answer.read(), answer.status)
        except urllib.error.HTTPError as error:
            with error:
                kind = error.headers.get("Content-Type", TEXT)
                return Reply(error.read(), error.code, content_type=kind)

    return ask


def broken(answer: Answerer, ends: Literal["cut", "reset"], share: float = 0.5) -> Answerer:
    """Break off what another answers after a share of its bytes."""

    def ask(request: Request) -> Reply:
        whole = answer(request)
        return Reply(whole.body, whole.status, ends=ends, at=int(len(whole.body) * share))

    return ask


class Stub:
    """Answers from a script: one entry per request, the last entry for all that follow.

    Use it as a context manager. `requests` holds what arrived, `most` how many at one time.
    """

    def __init__(self, *script: Reply | Answerer, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.most = 0
        self._active = 0
        self._errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stub = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        """What was asked for, in order."""
        return [request.path for request in self.requests]

    @property
    def queries(self) -> list[str]:
        """The PromQL that arrived, in order."""
        return [request.params.get("query", "") for request in self.requests]

    def play(self, *script: Reply | Answerer) -> None:
        """Begin another script, and forget the requests."""
        with self._lock:
            self.script = list(script)
            self.requests.clear()

    def answer(self, request: Request) -> Reply:
        """Take the next entry of the script."""
        with self._lock:
            entry = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append(request)
            self._active += 1
            self.most = max(self.most, self._active)
        try:
            reply = entry if isinstance(entry, Reply) else entry(request)
            if reply.gate is not None and reply.ends != "stall":
                assert reply.gate.wait(PATIENCE), "the test has forgotten to open a gate"
            return reply
        finally:
            with self._lock:
                self._active -= 1

    def note(self, error: BaseException) -> None:
        """Keep what went wrong in here, so that it fails the test."""
        self._errors.append(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if error is None and self._errors:
            raise self._errors[0]


@contextmanager
def speaking(speak: Callable[[socket.socket], object]) -> Iterator[str]:
    """Listen on a port and say what is no HTTP, or HTTP in its own time; gives the address.

    `speak` has a connection whose request has begun to arrive; nothing is sent behind it.
    """
    held: list[socket.socket] = []

    def answer(connection: socket.socket) -> None:
        # The other side may hang up at any time.
        with suppress(OSError):
            connection.recv(1 << 16)
            speak(connection)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def listen(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                held.append(listener.accept()[0])
                threading.Thread(target=answer, args=(held[-1],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


def dripping(text: bytes, every: float, head: bytes = b"") -> Callable[[socket.socket], object]:
    """Say a head at once, and then a text byte by byte, with so many seconds between them."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(head)
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(every)

    return speak


class _Server(ThreadingHTTPServer):
    stub: Stub
    # Nobody waits for connections that a client keeps open.
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Let clients hang up; everything else is a fault of a test."""
        problem = sys.exception()
        if problem is not None and not isinstance(problem, OSError):
            self.stub.note(problem)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        where = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        params = parse_qsl(where.query) + parse_qsl(body.decode())
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._reply(
            self.server.stub.answer(
                Request(self.command, where.path, dict(params), headers, body, where.query)
            )
        )

    def _reply(self, reply: Reply) -> None:
        if reply.ends != "reset" or reply.at:
            self._head(reply)
        sent = reply.body if reply.ends == "whole" else reply.body[: reply.at]
        if reply.chunk:
            for begin in range(0, len(sent), reply.chunk):
                piece = sent[begin : begin + reply.chunk]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n" if reply.ends == "whole" else b"")
        else:
            self.wfile.write(sent)
        self._end(reply)

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        if reply.content_type:
            self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunk:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Connection" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()

    def _end(self, reply: Reply) -> None:
        if reply.ends == "stall" and reply.gate is not None:
            assert reply.gate.wait(PATIENCE), "the test has forgotten to open a gate"
        if reply.ends == "reset":
            # Closing a socket that must not linger makes the kernel send a reset.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        if reply.ends != "whole" or reply.headers.get("Connection") == "close":
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""

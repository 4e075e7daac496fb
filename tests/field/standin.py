"""Stands before a Prometheus and refuses what a case says; all else is passed on.

A refusal has any of `method`, `path` (its end) and `query` (part of the PromQL, spaces left out);
all of them must hold. `status` and `body` are the answer.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Refusal = dict[str, Any]


def refusal(
    refuses: Sequence[Refusal], method: str, path: str, asked: Mapping[str, Sequence[str]]
) -> Refusal | None:
    """Give the first refusal that holds for a request."""
    query = "".join(asked.get("query", [])).replace(" ", "")
    for each in refuses:
        if (
            each.get("method", method) == method
            and path.endswith(each.get("path", ""))
            and each.get("query", "") in query
        ):
            return each
    return None


class StandIn(ThreadingHTTPServer):
    """A server on a free port of this machine.

    Parameters
    ----------
    url
        Of the server behind it.
    refuses
        What it answers itself.
    """

    def __init__(self, url: str, refuses: Sequence[Refusal]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = url
        self.refuses = refuses

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, part = self.path.partition("?")
        asked = parse_qs(part) | parse_qs(sent.decode())
        found = refusal(self.server.refuses, self.command, path, asked)
        status, data = (found["status"], _body(found)) if found else self._passed_on(sent)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.do_GET()

    def _passed_on(self, sent: bytes) -> tuple[int, bytes]:
        kind = {"Content-Type": "application/x-www-form-urlencoded"} if sent else {}
        url = self.server.behind + self.path
        request = Request(url, data=sent or None, method=self.command, headers=kind)
        try:
            with urlopen(request, timeout=120) as answer:
                return int(answer.status), bytes(answer.read())
        except HTTPError as error:
            return error.code, error.read()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def _body(found: Refusal) -> bytes:
    body = found["body"]
    return (body if isinstance(body, str) else json.dumps(body)).encode()


@contextmanager
def standing_before(url: str, refuses: Sequence[Refusal]) -> Iterator[str]:
    """Run a stand-in before a server; gives its address, or the server's if nothing is refused."""
    if not refuses:
        yield url
        return
    with StandIn(url, refuses) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()

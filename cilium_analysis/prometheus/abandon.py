"""Requests that can be given up while the server still thinks about them."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest


class AbandonableAdapter(HTTPAdapter):
    """An adapter that knows its connections, so that another thread can break them off.

    Closing a session only closes connections that nobody uses: one on which a thread waits for a
    slow server stays open until the server answers.
    """

    def __init__(self, *, pool_maxsize: int) -> None:
        super().__init__(pool_maxsize=pool_maxsize)
        self._connections: WeakSet[Any] = WeakSet()
        self._abandoned = Event()

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> Any:
        """Give a pool whose connections note themselves when they open."""
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        kind = pool.ConnectionCls
        if not issubclass(kind, _Noted):
            name = f"Noted{kind.__name__}"
            known = {"opened": self._connections, "abandoned": self._abandoned}
            pool.ConnectionCls = type(name, (_Noted, kind), known)
        return pool

    def abandon(self) -> None:
        """Break all connections off, for good; requests fail as if the server had gone."""
        self._abandoned.set()
        for connection in list(self._connections):
            _cut(connection)


def _cut(connection: Any) -> None:
    held = getattr(connection, "sock", None)
    if isinstance(held, socket.socket):
        with suppress(OSError):
            # Past TLS, which another thread is reading: only the wire is cut.
            socket.socket.shutdown(held, socket.SHUT_RDWR)


class _Noted:
    """Mixed into urllib3's connections."""

    opened: WeakSet[Any]
    abandoned: Event

    def connect(self) -> None:
        """Open the connection, and note it."""
        super().connect()  # type: ignore[misc]
        self.opened.add(self)
        if self.abandoned.is_set():
            # Given up while this one was being opened: nobody else will break it off.
            _cut(self)

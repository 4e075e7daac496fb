"""Requests that can be given up while the server still thinks about them."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

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
        self._wires = _Wires()

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> Any:
        """Give a pool whose connections note themselves when they are used."""
        self._wires.used.pop(get_ident(), None)
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        kind = pool.ConnectionCls
        if not issubclass(kind, _Noted):
            name = f"Noted{kind.__name__}"
            pool.ConnectionCls = type(name, (_Noted, kind), {"wires": self._wires})
        return pool

    def abandon(self) -> None:
        """Break all connections off, for good; requests fail as if the server had gone."""
        self._wires.abandoned.set()
        for wire in list(self._wires.opened):
            _cut(wire)

    def give_up(self, thread: int) -> None:
        """Break off the connection that a thread uses."""
        wire = self._wires.used.get(thread)
        if wire is not None:
            _cut(wire)


class _Wires:
    """The sockets of an adapter, and which thread uses which."""

    def __init__(self) -> None:
        self.opened: WeakSet[socket.socket] = WeakSet()
        self.used: WeakValueDictionary[int, socket.socket] = WeakValueDictionary()
        self.abandoned = Event()

    def note(self, wire: object) -> None:
        # Not that of TLS within TLS, which is no socket.
        if isinstance(wire, socket.socket):
            self.opened.add(wire)
            self.used[get_ident()] = wire
            if self.abandoned.is_set():
                # Given up while this one was being opened: nobody else will break it off.
                _cut(wire)


def _cut(wire: socket.socket) -> None:
    with suppress(OSError):
        # Past TLS, which another thread is reading: only the wire is cut.
        socket.socket.shutdown(wire, socket.SHUT_RDWR)


class _Noted:
    """Mixed into urllib3's connections."""

    wires: _Wires
    sock: object

    def connect(self) -> None:
        """Open the connection, and note it."""
        super().connect()  # type: ignore[misc]
        self.wires.note(self.sock)

    def request(self, *given: Any, **named: Any) -> None:
        """Send a request, and note which connection it goes over."""
        # One that was open before, then the one that was opened for it.
        self.wires.note(self.sock)
        super().request(*given, **named)  # type: ignore[misc]

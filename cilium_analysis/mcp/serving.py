"""How the server is reached, over its standard input and output or HTTP, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings

from cilium_analysis.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from cilium_analysis.mcp.server import Server

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_stdio(server: Server) -> None:
    """Serve one client over standard input and output, until the input ends or a signal comes."""
    # What the thread that reads was about to hand over when the server ended is of no use.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    try:
        anyio.run(_stdio, server)
    finally:
        server.close()


async def _stdio(server: Server) -> None:
    lowlevel = server._lowlevel_server
    stopped = False

    async def stop_on_signal(scope: anyio.CancelScope) -> None:
        nonlocal stopped
        names = ("SIGINT", "SIGTERM", "SIGHUP")
        known = [getattr(signal, name) for name in names if hasattr(signal, name)]
        with anyio.open_signal_receiver(*known) as signals:
            async for _ in signals:
                stopped = True
                scope.cancel()

    async with anyio.create_task_group() as tasks:
        if sys.platform != "win32":
            tasks.start_soon(stop_on_signal, tasks.cancel_scope)
        lines: Any = _Lines()
        async with stdio_server(stdin=lines) as (reading, writing):
            await lowlevel.run(reading, writing, lowlevel.create_initialization_options())
        tasks.cancel_scope.cancel()
    if stopped:
        raise KeyboardInterrupt


class _Lines:
    """The lines of the standard input, read in a thread that nobody has to wait for.

    A thread that reads through `sys.stdin` holds a lock that the interpreter wants when it ends.
    """

    def __aiter__(self) -> AsyncIterator[str]:
        return self._read()

    async def _read(self) -> AsyncIterator[str]:
        send, receive = anyio.create_memory_object_stream[bytes](0)
        token = anyio.lowlevel.current_token()

        def pump() -> None:
            # When the server has ended, it is told so by one of several kinds of cancellation.
            with suppress(BaseException):
                while piece := os.read(0, 1 << 16):
                    anyio.from_thread.run(send.send, piece, token=token)
                anyio.from_thread.run_sync(send.close, token=token)

        Thread(target=pump, daemon=True, name="stdin").start()
        rest = b""
        async with receive:
            async for piece in receive:
                *whole, rest = (rest + piece).split(b"\n")
                for one in whole:
                    yield one.decode("utf-8", "replace")


def serve_http(
    server: Server,
    *,
    host: str,
    port: int,
    allowed: Sequence[str],
    tell: Callable[[str], None],
) -> None:
    """Serve over HTTP at ``/mcp``, to who names the host in an allowed way.

    Parameters
    ----------
    server
        With its tools.
    host, port
        To listen on.
    allowed
        Names that a client may ask for, besides those of loopback.
    tell
        Takes a line on where it listens.

    Raises
    ------
    ParameterError
        If it cannot listen there.
    """
    import uvicorn

    names = [f"{name}:*" for name in ("127.0.0.1", "localhost", "[::1]")]
    names += [each for name in allowed for each in (name, f"{name}:*")]
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=names,
        allowed_origins=[f"{scheme}://{name}" for scheme in ("http", "https") for name in names],
    )
    app = server.streamable_http_app(
        host=host, transport_security=security, json_response=True, stateless_http=True
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as problem:
        raise ParameterError(f"cannot listen on {host}:{port}: {problem.strerror}") from None
    tell(f"Listening on http://{f'[{host}]' if ':' in host else host}:{port}/mcp")
    # What is cut short at the end is no error to tell of.
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2)
    try:
        with listening:
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        server.close()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    return host in _LOOPBACK

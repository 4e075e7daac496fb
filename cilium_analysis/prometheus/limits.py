"""The limits of a request: a deadline, the memory for its answer, and how it is broken off."""

from __future__ import annotations

import math
import os
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread, get_ident
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet, WeakValueDictionary

from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from requests import PreparedRequest

Found = TypeVar("Found")

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
#: Limit and use of a container, in the files of cgroups version 2 and 1.
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
#: An answer that has to be parsed as a whole takes about eight times its size.
_SHARE = 8
#: Far more than any planned answer has, see `planning` [bytes].
_LARGEST = 1 << 30
#: Memory that is assumed where nothing tells it [bytes].
_UNKNOWN = 4 << 30


@dataclass(frozen=True, order=True)
class Deadline:
    """The end of all waiting: of one request, or of a whole run. The earlier of two is smaller.

    Parameters
    ----------
    at
        Time of `time.monotonic`, the clock that is never set [s]; never if infinite.
    """

    at: float = math.inf

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def until(cls, moment: datetime) -> Self:
        """Return the deadline at an aware time, as one process sends it to another."""
        return cls.after(moment.timestamp() - time.time())

    @property
    def left(self) -> float:
        """Time until then [s]; negative once it has passed."""
        return self.at - time.monotonic()

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return self.left <= 0


NEVER = Deadline()


def within(
    work: Callable[[], Found], deadline: Deadline, *, give_up: Callable[[int], None]
) -> Found:
    """Return the result of some work, if it returns before a deadline.

    It runs in a thread of its own, since nothing else ends the wait for a server that sends its
    answer slowly, or for a name that does not resolve.

    Parameters
    ----------
    work
        Function that may take too long.
    deadline
        End of the wait.
    give_up
        Called with the thread after an ended wait, also after Ctrl-C.

    Raises
    ------
    TimeoutError
        If it did not return in time.
    """
    done: Future[Found] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as problem:
            done.set_exception(problem)

    thread = Thread(target=run, name="cilium-analysis-request", daemon=True)
    thread.start()
    try:
        return done.result(None if math.isinf(deadline.at) else max(deadline.left, 0.0))
    finally:
        if not done.done():
            give_up(thread.ident or 0)


class AbandonableAdapter(HTTPAdapter):
    """An adapter whose connections another thread can break off.

    Closing a session closes idle connections only: one on which a thread waits for a slow server
    stays open until the server answers.
    """

    def __init__(self, *, pool_maxsize: int, **tls: Any) -> None:
        self._tls = tls
        super().__init__(pool_maxsize=pool_maxsize)
        self._wires = _Wires()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, with what TLS is like to this server."""
        super().init_poolmanager(*args, **kwargs | self._tls)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Give the pools of a proxy, likewise."""
        return super().proxy_manager_for(proxy, **kwargs | self._tls)

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> Any:
        """Return a pool whose connections are noted when they are used."""
        self._wires.used.pop(get_ident(), None)
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        kind = pool.ConnectionCls
        if not issubclass(kind, _Noted):
            name = f"Noted{kind.__name__}"
            pool.ConnectionCls = type(name, (_Noted, kind), {"wires": self._wires})
        return pool

    def abandon(self) -> None:
        """Break off all connections, for good; requests fail as if the server were down."""
        self._wires.abandoned.set()
        for wire in list(self._wires.opened):
            _cut(wire)

    def give_up(self, thread: int) -> None:
        """Break off the connection that a thread uses."""
        wire = self._wires.used.get(thread)
        if wire is not None:
            _cut(wire)


class _Wires:
    """The sockets of an adapter, and the thread that uses each."""

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
                # Abandoned while this one was being opened: nothing else will break it off.
                _cut(wire)


def _cut(wire: socket.socket) -> None:
    with suppress(OSError):
        # Past TLS, which another thread is reading: only the wire is cut.
        socket.socket.shutdown(wire, socket.SHUT_RDWR)


class _Noted:
    """Added to the classes of urllib3's connections."""

    wires: _Wires
    sock: object

    def connect(self) -> None:
        """Open the connection, and note it."""
        super().connect()  # type: ignore[misc]
        self.wires.note(self.sock)

    def request(self, *given: Any, **named: Any) -> None:
        """Send a request, and note which connection it goes over."""
        # The connection that is open, or else the one that `connect` opens for the request.
        self.wires.note(self.sock)
        super().request(*given, **named)  # type: ignore[misc]


def largest_answer() -> int:
    """Return the largest size of an answer by default [bytes]."""
    return min(_LARGEST, available() // _SHARE)


def available() -> int:
    """Return the free memory of the machine, or of this container if it has less [bytes]."""
    found = [_of_machine()]
    for limit, used in _LIMITS:
        # A container without a limit has no such file, or the word "max" in it.
        with suppress(OSError, ValueError):
            free = int((_GROUP / limit).read_text()) - int((_GROUP / used).read_text())
            found.append(max(free, 1))
    return min(found)


def _of_machine() -> int:
    with suppress(OSError, ValueError):
        words = _MEMORY.read_text().split()
        return int(words[words.index("MemAvailable:") + 1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    return _UNKNOWN

"""A slow or long link: a proxy on loopback that lets through so much, or so late."""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import suppress
from queue import Queue
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

_PIECE = 16_384


class SlowLink:
    """Forward connections to a server; what comes back is held to a rate, over all of them.

    Parameters
    ----------
    url
        Of the server.
    rate
        Of the way back [bytes/s].
    delay
        Of what is asked, as of a server that is so far away [s].
    """

    def __init__(self, url: str, *, rate: float = math.inf, delay: float = 0.0) -> None:
        """Listen on a free port."""
        self._delay = delay
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                for end in (near, far):  # else the system waits to send pieces together
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        pieces: Queue[tuple[float, bytes]] = Queue(maxsize=64)
        threading.Thread(target=self._deliver, args=(pieces, sink, slow), daemon=True).start()
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                pieces.put((time.monotonic(), piece))
        pieces.put((time.monotonic(), b""))

    def _deliver(self, pieces: Queue[tuple[float, bytes]], sink: socket.socket, slow: bool) -> None:
        """Hand pieces on; what is sent one after the other is under way at the same time."""
        with suppress(OSError):
            while True:
                sent, piece = pieces.get()
                if not piece:
                    break
                if slow:
                    self._wait(len(piece))
                else:
                    time.sleep(max(0.0, sent + self._delay - time.monotonic()))
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _wait(self, size: int) -> None:
        """Take the next slot of the link's time."""
        with self._lock:
            begin = max(self._free_at, time.monotonic())
            self._free_at = begin + size / self._rate
        time.sleep(max(0.0, self._free_at - time.monotonic()))

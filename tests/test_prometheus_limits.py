"""No request takes longer than it may, and no answer more memory, whatever a server does."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import requests

from cilium_analysis import connect
from cilium_analysis.errors import (
    BudgetExceeded,
    DeadlinePassed,
    ParameterError,
    PrometheusError,
    ServerUnavailable,
)
from cilium_analysis.prometheus import Deadline, Prometheus
from cilium_analysis.prometheus.limits import available, largest_answer
from cilium_analysis.window import Window
from tests.faults import PATIENCE, Reply, Stub, dripping, matrix, speaking, text

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:10Z", step="60s")
LIMIT = 0.6
#: For machines that are busy with other things [s].
SLACK = 3.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LONG = b" " * 100_000


def silent(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def saying(raw: bytes) -> Callable[[socket.socket], object]:
    """Answer every request on a connection by the same bytes."""

    def speak(connection: socket.socket) -> None:
        connection.sendall(raw)
        while connection.recv(1 << 16):
            connection.sendall(raw)

    return speak


SLOW = {
    "a byte of the head each 0.05 s": dripping(HEAD * 1000, 0.05),
    "a byte of the head each 5 s": dripping(HEAD, 5),
    "a byte of the body each 0.05 s": dripping(
        LONG, 0.05, HEAD + b"Content-Length: 100000\r\n\r\n"
    ),
    "a byte of the body each 5 s": dripping(LONG, 5, HEAD + b"Content-Length: 100000\r\n\r\n"),
    "a body to the end of the connection": dripping(LONG, 0.05, HEAD + b"\r\n"),
    "chunks": dripping(b"1\r\n \r\n" * 1000, 0.05, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"),
    "the body of an error": dripping(
        LONG, 0.05, b"HTTP/1.1 500 Oh\r\nContent-Length: 100000\r\n\r\n"
    ),
    "no answer": silent,
    "resets": resetting,
    "503": saying(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"),
    "429": saying(b"HTTP/1.1 429 Busy\r\nContent-Length: 4\r\nRetry-After: 1\r\n\r\nbusy"),
}


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["own session", "brought along"])
@pytest.mark.parametrize("speak", SLOW.values(), ids=SLOW)
def test_a_request_ends_in_time(speak: Callable[[socket.socket], object], own: bool) -> None:
    with speaking(speak) as url, requests.Session() as session:
        with Prometheus(url, None if own else session, timeout=LIMIT, retries=20) as client:
            began = time.monotonic()
            with pytest.raises(ServerUnavailable):
                client.range("x", WINDOW)
            assert time.monotonic() - began < 2 * LIMIT + SLACK
        if own:
            # Nothing goes on behind it.
            for thread in threading.enumerate():
                if thread.name == "cilium-analysis-request":
                    thread.join(PATIENCE)
                    assert not thread.is_alive()


def test_the_wait_that_a_server_asks_for_is_not_waited_beyond_the_limit() -> None:
    with Stub(text(429, "too many", Retry_After="5400")) as stub:
        with Prometheus(stub.url, timeout=20) as client:
            began = time.monotonic()
            with pytest.raises(ServerUnavailable) as caught:
                client.query("x")
            assert time.monotonic() - began < SLACK
        assert len(stub.requests) == 1
    assert "(429): too many; it asks to be asked again in 1h30m, at 20" in str(caught.value)


def test_a_run_ends_at_its_deadline() -> None:
    with speaking(silent) as url:
        with Prometheus(url, timeout=60, deadline=Deadline.after(LIMIT)) as client:
            for seconds in (LIMIT + SLACK, SLACK):
                began = time.monotonic()
                with pytest.raises(DeadlinePassed, match="allow the whole run more time") as error:
                    client.range("x", WINDOW)
                assert time.monotonic() - began < seconds
    assert isinstance(error.value, PrometheusError)
    assert str(error.value).endswith(" (query: x)")


def test_nothing_is_asked_after_the_deadline() -> None:
    with Stub(matrix()) as stub:
        source = connect(stub.url, timeout=5, deadline=Deadline.after(-1))
        with pytest.raises(DeadlinePassed):
            source.range("x", WINDOW)
        assert stub.requests == []


def test_the_server_is_told_the_time_that_is_left() -> None:
    with Stub(matrix()) as stub:
        with Prometheus(stub.url, timeout=60, deadline=Deadline.after(30)) as client:
            client.range("x", WINDOW)
        assert 20 < float(stub.requests[0].params["timeout"]) <= 30


def test_deadlines() -> None:
    assert Deadline().left == float("inf")
    assert Deadline.after(-1).passed
    assert min(Deadline(), Deadline.after(5)).left <= 5
    moment = datetime.now(UTC) + timedelta(seconds=100)
    assert 90 < Deadline.until(moment).left <= 100


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e12])
def test_what_is_no_timeout(timeout: float) -> None:
    with pytest.raises(ParameterError, match="a timeout of"):
        Prometheus("http://127.0.0.1:9", timeout=timeout)


# Memory.


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_that_is_too_large_is_refused(packed: bool) -> None:
    begin = WINDOW.start.timestamp()
    body = matrix(*[({"n": str(n)}, {begin: "1"}) for n in range(1000)]).body
    headers = {"Content-Encoding": "gzip"} if packed else {}
    sent = Reply(gzip.compress(body) if packed else body, headers=headers)
    with Stub(sent) as stub:
        with Prometheus(stub.url, max_bytes=len(body)) as client:
            assert client.range("x", WINDOW).shape[1] == 1000
        with Prometheus(stub.url, max_bytes=len(body) - 1) as client:
            with pytest.raises(BudgetExceeded, match="larger than the memory allowed") as error:
                client.range("x", WINDOW)
        assert len(stub.requests) == 2
    assert f"({len(body) - 1:,} bytes)" in str(error.value)


def bomb(times: int) -> bytes:
    """So many MiB of spaces, packed."""
    packer = zlib.compressobj(wbits=31)
    spaces = b" " * (1 << 20)
    return b"".join([*(packer.compress(spaces) for _ in range(times)), packer.flush()])


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 500])
def test_a_bomb_ends_with_an_error(status: int) -> None:
    reply = Reply(bomb(512), status, {"Content-Encoding": "gzip"})
    with Stub(reply) as stub, Prometheus(stub.url, max_bytes=1 << 22, retries=0) as client:
        with pytest.raises(PrometheusError) as caught:
            client.range("x", WINDOW)
    assert isinstance(caught.value, BudgetExceeded) == (status == 200)


def test_the_default_is_a_part_of_the_memory_there_is() -> None:
    assert 0 < largest_answer() <= 1 << 30
    assert largest_answer() < available()

"""Requests and their failures: what is tried again, what is not, and what an error says."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilium_analysis.errors import (
    AccessDenied,
    AnswerIncomplete,
    NotPrometheus,
    PrometheusError,
    QueryRejected,
    ServerUnavailable,
    SourceError,
    shortened,
)
from cilium_analysis.prometheus import Prometheus, packing
from cilium_analysis.prometheus.credentials import split_url
from cilium_analysis.prometheus.limits import NEVER, Deadline
from cilium_analysis.prometheus.slots import Slots
from cilium_analysis.retry import retry_after
from tests.clients import QUERY, SECRET, UP, WINDOW, assert_whole, failing
from tests.faults import (
    PATIENCE,
    TEXT,
    Reply,
    Request,
    Stub,
    matrix,
    packed,
    page,
    refusal,
    success,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def waits() -> list[float]:
    """What the client would have waited [s]."""
    return []


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub(UP) as server:
        yield server


@pytest.fixture
def client(stub: Stub, waits: list[float]) -> Iterator[Prometheus]:
    with Prometheus(stub.url, timeout=20, pause=waits.append) as prometheus:
        yield prometheus


# What is sent.


def test_a_query_is_a_form_below_the_prefix(stub: Stub) -> None:
    with Prometheus(stub.url + "/prometheus/", timeout=7.5) as client:
        assert_whole(client.query("a+b & c\n", time=1.5))
    (request,) = stub.requests
    assert request.method == "POST"
    assert request.path == "/prometheus/api/v1/query"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.params == {"query": "a+b & c\n", "time": "1.5", "timeout": "7.5"}


@pytest.mark.parametrize("prefix", ["", "/", "/a", "/a/", "/a/b//"])
def test_the_base_ends_in_one_slash(prefix: str) -> None:
    base, auth = split_url(f"https://host:9090{prefix}?x=1#y")
    assert base == f"https://host:9090{prefix.rstrip('/')}/"
    assert auth is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:9090",
        "ftp://host",
        "http://",
        "http:///api",
        "http://host:port",
        "http://host:99999",
        "http://[::1",
        f"http//user:{SECRET}@host",
        f"ftp://user:{SECRET}@host",
        f"http://user:{SECRET}@host:port",
    ],
)
def test_what_is_no_address_of_a_server(url: str) -> None:
    with pytest.raises(SourceError, match="http://host:9090") as caught:
        Prometheus(url)
    assert SECRET not in str(caught.value)


def test_an_address_of_ipv6_keeps_its_brackets() -> None:
    assert split_url("http://[::1]:9090/x") == ("http://[::1]:9090/x/", None)


# What is tried again.

BUSY = [
    text(429, "too many outstanding requests"),
    refusal(429, "too_many_requests", "too many outstanding requests"),
    page(502, "502 Bad Gateway"),
    text(503, "Service Unavailable", X_Prometheus_Stopping="false"),
    refusal(503, "timeout", "query timed out in expression evaluation"),
    page(504, "504 Gateway Time-out"),
    Reply(ends="reset"),
    Reply(UP.body, ends="reset", at=20),
    Reply(UP.body, ends="cut"),
    Reply(UP.body, ends="cut", at=20),
    Reply(UP.body, ends="cut", at=20, chunk=7),
    Reply(UP.body, ends="reset", at=20, chunk=7),
    Reply(UP.body, ends="cut", at=20, headers={"Connection": "close"}),
    Reply(packed(UP).body, ends="cut", at=30, headers={"Content-Encoding": "gzip"}),
    Reply(packed(UP).body[:-20], headers={"Content-Encoding": "gzip"}),
    Reply(b"nonsense", headers={"Content-Encoding": "gzip"}),
    Reply(b""),
]


@pytest.mark.parametrize("reply", BUSY)
def test_a_passing_trouble_is_not_seen(
    reply: Reply, stub: Stub, client: Prometheus, waits: list[float]
) -> None:
    stub.play(reply, reply, reply, reply, UP)
    assert_whole(client.query(QUERY))
    assert stub.queries == [QUERY] * 5
    assert len(waits) == 4
    for attempt, wait in enumerate(waits):
        assert 0.5 <= wait / (0.25 * 2**attempt) <= 1


@pytest.mark.parametrize("reply", BUSY)
def test_a_lasting_trouble_is_given_up(
    reply: Reply, stub: Stub, client: Prometheus, waits: list[float]
) -> None:
    stub.play(reply)
    error = failing(client)
    assert isinstance(error, (ServerUnavailable, AnswerIncomplete))
    assert len(stub.requests) == 5
    assert len(waits) == 4
    assert client.journal == []


@pytest.mark.parametrize("retries", [0, 1, 12])
def test_the_number_of_tries_is_the_caller_s(retries: int, stub: Stub, waits: list[float]) -> None:
    stub.play(text(503, "Service Unavailable"))
    with Prometheus(stub.url, retries=retries, pause=waits.append) as client:
        failing(client)
    assert len(stub.requests) == retries + 1
    assert len(waits) == retries
    assert max(waits, default=0) <= 8


def test_nobody_listens(waits: list[float]) -> None:
    with Stub(UP) as gone:
        url = gone.url
    with Prometheus(url, retries=2, pause=waits.append) as client:
        error = failing(client)
    assert isinstance(error, ServerUnavailable)
    assert len(waits) == 2
    assert re.fullmatch(
        rf"cannot reach {url}/: .*Connection refused; is it running, and reachable from here\?"
        r' \(query: up\{job="cilium"\}\)',
        str(error),
    )


def test_a_server_that_hangs(stub: Stub, waits: list[float]) -> None:
    with gate() as closed:
        stub.play(Reply(UP.body, gate=closed), Reply(UP.body, ends="stall", at=9, gate=closed))
        with Prometheus(stub.url, timeout=0.2, retries=1, pause=waits.append) as client:
            error = failing(client)
    assert isinstance(error, ServerUnavailable)
    assert "is too slow" in str(error)
    assert "ask for less, or allow more than the timeout of 0.2 s" in str(error)
    # The timeout is that of all tries.
    assert not waits


def gate() -> _Gate:
    return _Gate()


class _Gate:
    """An event that is set at last, however the test ends."""

    def __enter__(self) -> threading.Event:
        self.event = threading.Event()
        return self.event

    def __exit__(self, *_: object) -> None:
        self.event.set()


def later(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("0", 0),
        ("7", 7),
        (" 12 ", 12),
        ("86400", 86_400),
        ("9" * 400, 36_500 * 86_400),
        ("-5", 0),
        ("1.5", 0),
        ("", 0),
        ("soon", 0),
        ("\xb2", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 32 Oct 2099 07:28:00 GMT", 0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", 0),
    ],
)
def test_how_long_a_server_asks_to_wait(asked: str, wait: float) -> None:
    assert retry_after(asked) == wait


@pytest.mark.parametrize("zone", [" GMT", " -0000", ""])
def test_until_when_a_server_asks_to_wait(zone: str) -> None:
    moment = datetime(2099, 10, 21, 7, 28, tzinfo=UTC)
    left = (moment - datetime.now(UTC)).total_seconds()
    assert retry_after(f"Wed, 21 Oct 2099 07:28:00{zone}") == pytest.approx(left, abs=60)


@given(st.text())
def test_no_text_of_retry_after_does_harm(asked: str) -> None:
    assert 0 <= retry_after(asked) <= 36_500 * 86_400


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_s_wait_is_kept(
    status: int, stub: Stub, client: Prometheus, waits: list[float]
) -> None:
    date = format_datetime(later(20), usegmt=True)
    stub.play(
        refusal(status, "unavailable", "busy", Retry_After="9"),
        text(status, "busy", Retry_After=date),
        text(status, "busy", Retry_After="0"),
        UP,
    )
    assert_whole(client.query(QUERY))
    assert waits[0] == 9
    assert 1 < waits[1] <= 20
    # Nobody is asked again at once, whatever the server says.
    assert 0.5 <= waits[2] <= 1


def test_too_many_requests_become_fewer(stub: Stub) -> None:
    """Of four at a time, which the server says are too many, two are left."""
    together, later = threading.Barrier(4), threading.Barrier(2)

    def ask(request: Request) -> Reply:
        if len(stub.requests) <= 4:
            number = together.wait(PATIENCE)
            return text(429, "busy", Retry_After="0") if number == 0 else UP
        later.wait(PATIENCE)  # of three it would let one wait for ever
        return UP

    stub.play(ask)
    with (
        Prometheus(stub.url, concurrency=4, pause=lambda _: None) as client,
        ThreadPoolExecutor(9) as pool,
    ):
        for each in [pool.submit(client.query, QUERY) for _ in range(9)]:
            assert_whole(each.result(PATIENCE))
        assert client.transport.slots.most == 2
    assert len(stub.requests) == 10


@pytest.mark.slow
@pytest.mark.parametrize("crowded", ["refused", "broken off", "silent"])
def test_what_fails_beside_others_is_tried_alone(crowded: str, stub: Stub) -> None:
    """As a proxy does that lets one connection through, and a server that has one thread."""
    busy = threading.Lock()
    all_tried, over = threading.Barrier(3, busy.release), threading.Event()

    def ask(request: Request) -> Reply:
        beside_others = len(stub.requests) <= 3
        alone = busy.acquire(blocking=False)
        if beside_others:
            all_tried.wait(PATIENCE)
        elif alone:
            busy.release()
        if alone:
            return UP
        if crowded == "refused":
            return text(503, "limiting connections by zone")
        return Reply(UP.body, ends="cut", at=20, gate=over if crowded == "silent" else None)

    stub.play(ask)
    with (
        Prometheus(stub.url, retries=0, timeout=2, pause=lambda _: None) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        for each in [pool.submit(client.query, QUERY) for _ in range(3)]:
            assert_whole(each.result(PATIENCE))
        assert client.transport.slots.most == 1
    over.set()


def test_what_fails_alone_is_not_tried_once_more(stub: Stub) -> None:
    stub.play(text(503, "busy"))
    with Prometheus(stub.url, retries=0) as client:
        failing(client)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("most", [1, 3])
def test_no_slot_is_taken_twice(most: int) -> None:
    slots, held, highest = Slots(most), 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal held, highest
        with slots.taken(NEVER):
            with lock:
                held += 1
                highest = max(highest, held)
            with lock:
                held -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert highest <= most
    with slots.taken(NEVER), slots.taken(Deadline.after(0.01)):
        pass  # after its deadline nobody waits for a slot


def test_the_server_s_wait_is_the_least(stub: Stub, waits: list[float]) -> None:
    stub.play(text(503, "busy", Retry_After="1"))
    with Prometheus(stub.url, retries=6, pause=waits.append) as client:
        failing(client)
    assert waits[:3] == [1, 1, 1]
    assert waits[5] >= 4


# What is not.

REFUSED: list[tuple[Reply, type[PrometheusError], str]] = [
    (
        refusal(400, "bad_data", 'invalid parameter "query": 1:3: parse error: unexpected "}"'),
        QueryRejected,
        'bad_data: invalid parameter "query": 1:3: parse error: unexpected "}";'
        " mend the PromQL where the server points",
    ),
    (
        refusal(400, "bad_data", 'invalid parameter "step": zero or negative query resolution'),
        QueryRejected,
        "zero or negative query resolution",
    ),
    (
        text(400, "exceeded maximum resolution of 11,000 points per timeseries."),
        QueryRejected,
        "rejects the query: exceeded maximum resolution of 11,000 points per timeseries.;",
    ),
    (
        refusal(422, "execution", "query processing would load too many samples into memory"),
        QueryRejected,
        "too many samples into memory; ask for less: narrower matchers, an aggregation, a shorter"
        " window",
    ),
    (
        refusal(
            422,
            "execution",
            "the query exceeded the maximum number of series (limit: 100000 series)"
            " (err-mimir-max-series-per-query). To adjust the related per-tenant limit, …",
        ),
        QueryRejected,
        "ask for less: narrower matchers",
    ),
    (refusal(422, "422", "too many points"), QueryRejected, "rejects the query: too many points;"),
    (refusal(404, "not_found", "no such thing"), QueryRejected, "not_found: no such thing"),
    (refusal(406, "not_acceptable", "cannot encode"), QueryRejected, "cannot encode"),
    (refusal(200, "bad_data", "in spite of it"), QueryRejected, "bad_data: in spite of it"),
    (text(401, "no org id\n"), AccessDenied, "denies access (401): no org id; give credentials"),
    (text(401, "Unauthorized\n"), AccessDenied, "or a tenant, see"),
    (page(403, "Forbidden"), AccessDenied, "denies access (403): Forbidden;"),
    (
        Reply(b'{"message":"Missing Authentication Token"}', 403),
        AccessDenied,
        "Missing Authentication Token",
    ),
    (page(413, "Too large"), QueryRejected, "finds the request too long (413): have it, or"),
    (page(414, "URI too long"), QueryRejected, "finds the request too long (414): have it, or"),
    (text(408, "stream timeout"), ServerUnavailable, "(408): stream timeout; try again later"),
    (refusal(499, "canceled", "query was canceled"), ServerUnavailable, "canceled: query was"),
    (refusal(500, "internal", "disk full"), ServerUnavailable, "(500): internal: disk full;"),
    (refusal(500, "unavailable", "TSDB not ready"), ServerUnavailable, "TSDB not ready"),
    (text(507, "out of space"), ServerUnavailable, "out of space"),
    (page(521, "Web server is down"), ServerUnavailable, "Web server is down"),
]
FOREIGN: list[tuple[Reply, str]] = [
    (page(200), "200: Sign in"),
    (Reply(page(200).body), "200: Sign in"),
    (Reply(page(200).body, content_type=""), "200: Sign in"),
    (text(200, "pong"), "200: pong"),
    (Reply(b"Please sign in", content_type="text/html"), "200: Please sign in"),
    (Reply(b"[1,2]"), "200: [1,2]"),
    (Reply(b"null"), "200: null"),
    (Reply(b'{"version":"1"}'), "200"),
    (success(None), "no result in it"),
    (success([]), "no result in it"),
    (success({"result": []}), "no result in it"),
    (Reply(status=204, content_type=""), "no result in it"),
    (text(404, "404 page not found\n"), "404: 404 page not found"),
    (page(404, "Not Found"), "404: Not Found"),
    (page(400, "Bad Request"), "400: Bad Request"),
    (text(500, "panic"), "500: panic"),
    (page(501, "Unsupported method"), "501: Unsupported method"),
    (text(400, 'unsupported path requested: "/x/api/v1/query"\n'), "400: unsupported path"),
]


def assert_asked_once(stub: Stub, reply: Reply) -> None:
    """By POST; and by GET where it may be POST that was refused."""
    by_get = reply.status in (400, 403, 405, 501)
    assert [request.method for request in stub.requests] == ["POST", *["GET"] * by_get]


@pytest.mark.parametrize(("reply", "kind", "words"), REFUSED)
def test_an_error_is_final(
    reply: Reply,
    kind: type[PrometheusError],
    words: str,
    stub: Stub,
    client: Prometheus,
    waits: list[float],
) -> None:
    stub.play(reply)
    error = failing(client)
    assert type(error) is kind
    assert isinstance(error, RuntimeError)
    assert words in str(error)
    assert str(error).startswith(f"{stub.url}/ ")
    assert str(error).endswith(f" (query: {QUERY})")
    assert "\n" not in str(error)
    assert_asked_once(stub, reply)
    assert not waits


@pytest.mark.parametrize(("reply", "words"), FOREIGN)
def test_something_else_answers(
    reply: Reply, words: str, stub: Stub, client: Prometheus, waits: list[float]
) -> None:
    stub.play(reply)
    error = failing(client)
    assert type(error) is NotPrometheus
    assert words in str(error)
    assert "did not answer like Prometheus" in str(error)
    assert "\n" not in str(error)
    assert_asked_once(stub, reply)
    assert not waits


def test_a_long_query_and_a_long_reason_are_cut(stub: Stub, client: Prometheus) -> None:
    stub.play(refusal(400, "bad_data", "begin " + "why\n" * 5000 + " end"))
    error = str(failing(client, "sum(\n  " + "up + " * 5000 + "up\n)"))
    assert len(error) < 1000
    assert "\n" not in error
    for words in ("bad_data: begin why why", "why end;", "(query: sum( up + up", "up + up )"):
        assert words in error


@given(st.text())
def test_a_shortened_text_is_one_short_line(words: str) -> None:
    found = shortened(words)
    assert len(found) <= 303
    assert found == " ".join(words.split()) or " … " in found
    assert len(found.splitlines()) <= 1


def test_a_query_by_get_where_post_is_refused(stub: Stub, client: Prometheus) -> None:
    def read_only(request: Request) -> Reply:
        return UP if request.method == "GET" else text(405, "Method Not Allowed")

    stub.play(read_only)
    for _ in range(2):
        assert_whole(client.query("a+b & c", time="2026-03-21T08:00:00Z"))
    assert [request.method for request in stub.requests] == ["POST", "GET", "GET"]
    first, second, _ = stub.requests
    assert second.params == first.params
    assert second.body == b""


def test_many_learn_at_once_that_post_is_refused(stub: Stub, client: Prometheus) -> None:
    together = threading.Barrier(2)

    def read_only(request: Request) -> Reply:
        if request.method == "GET":
            return UP
        together.wait(PATIENCE)
        return text(405, "Method Not Allowed")

    stub.play(read_only)
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(client.query, [QUERY, QUERY]):
            assert_whole(found)
    assert sorted(request.method for request in stub.requests) == ["GET", "GET", "POST", "POST"]


def test_neither_post_nor_get(stub: Stub, client: Prometheus, waits: list[float]) -> None:
    stub.play(text(405, "Method Not Allowed"))
    assert type(failing(client)) is NotPrometheus
    assert [request.method for request in stub.requests] == ["POST", "GET"]
    assert not waits


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int, stub: Stub) -> None:
    with Stub(UP) as elsewhere:
        target = f"{elsewhere.url}/login?token={SECRET}"
        stub.play(text(status, "moved", Location=target))
        url = stub.url.replace("//", f"//user:{SECRET}@")
        with Prometheus(url, headers={"X-Api-Key": SECRET}) as client:
            error = failing(client)
        assert elsewhere.requests == []
    assert type(error) is NotPrometheus
    assert "redirects to http://127.0.0.1" in str(error)
    assert SECRET not in str(error)
    assert len(stub.requests) == 1


@pytest.mark.parametrize("location", ["/graph", "", "//"])
def test_a_redirect_to_anywhere_is_an_error(location: str, stub: Stub, client: Prometheus) -> None:
    stub.play(text(302, "", Location=location))
    error = failing(client)
    assert type(error) is NotPrometheus
    assert "redirects to another path" in str(error)


def test_a_redirect_to_nowhere_is_an_error(stub: Stub, client: Prometheus) -> None:
    stub.play(text(302, "", Location="http://["))
    assert str(failing(client)).startswith(f"cannot ask {stub.url}/: ")
    assert len(stub.requests) == 1


# How it is packed.


@pytest.mark.parametrize(
    ("compression", "sent"), [("auto", "identity"), ("gzip", "gzip"), ("identity", "identity")]
)
def test_a_server_on_this_machine_need_not_pack(
    compression: packing.Compression, sent: str, stub: Stub
) -> None:
    with Prometheus(stub.url, compression=compression) as client:
        assert_whole(client.query(QUERY))
    assert stub.requests[0].headers["accept-encoding"] == sent


@pytest.fixture
def far(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server on another machine, reached through a proxy, which is the stub."""
    monkeypatch.setenv("http_proxy", stub.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return "http://prometheus.example:9090"


def test_a_server_far_away_is_asked_to_pack(far: str, stub: Stub) -> None:
    stub.play(packed(UP), UP)
    with Prometheus(far) as client:
        assert_whole(client.query(QUERY))
        assert_whole(client.query(QUERY))
    assert [r.headers["accept-encoding"] for r in stub.requests] == ["gzip", "gzip"]
    assert stub.requests[0].headers["host"] == "prometheus.example:9090"


def encodings(stub: Stub, url: str, monkeypatch: pytest.MonkeyPatch, **limits: float) -> list[str]:
    """What is asked for in five requests, with other limits."""
    for name, value in {"_ENOUGH": 1, **limits}.items():
        monkeypatch.setattr(packing, name, value)

    def pack_or_not(request: Request) -> Reply:
        return packed(UP) if request.headers["accept-encoding"] == "gzip" else UP

    stub.play(pack_or_not)
    with Prometheus(url) as client:
        for _ in range(5):
            assert_whole(client.query(QUERY))
    return [request.headers["accept-encoding"] for request in stub.requests]


def test_packing_that_is_the_brake_is_given_up(
    far: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = encodings(stub, far, monkeypatch, _PACKING=0, _SLOW=0)
    assert found == ["gzip", *["identity"] * 4]


def test_a_slow_link_is_packed_for_good(
    far: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = float("inf")
    found = encodings(stub, far, monkeypatch, _PACKING=0, _SLOW=never)
    assert found == ["gzip", "identity", *["gzip"] * 3]
    assert encodings(stub, far, monkeypatch, _PACKING=never, _SLOW=never) == ["gzip"] * 5


def test_a_slow_link_to_this_machine_is_packed(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As through a port that kubectl forwards."""
    found = encodings(stub, stub.url, monkeypatch, _SLOW=float("inf"))
    assert found == ["identity", *["gzip"] * 4]


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_any_chunks(chunk: int, stub: Stub, client: Prometheus) -> None:
    begin = WINDOW.start.timestamp()
    samples = {begin + 60: "1", begin + 120.5: "NaN"}
    body = matrix(({"a": "é\"'"}, samples), warnings=["slow"]).body
    stub.play(Reply(body, chunk=chunk), Reply(body))
    found = client.range("x", WINDOW)
    pd.testing.assert_frame_equal(found, client.range("x", WINDOW))
    assert found.shape == (2, 1)
    assert [record.warnings for record in client.journal] == [("slow",)] * 2


def test_wrong_content_types_do_not_matter(stub: Stub, client: Prometheus) -> None:
    for kind in (TEXT, "application/octet-stream", "application/json; charset=utf-8", ""):
        stub.play(Reply(UP.body, content_type=kind))
        assert_whole(client.query(QUERY))

"""What is at an address instead of a Prometheus, or before one: what is asked, and what is said."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from cilium_analysis.errors import (
    CiliumAnalysisError,
    PrometheusError,
    QueryRejected,
)
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.window import Window
from tests.answers import patient
from tests.faults import (
    Reply,
    Request,
    Stub,
    matrix,
    page,
    refusal,
    speaking,
    success,
    text,
    vector,
)

WINDOW = Window.parse("2026-03-21T08:00Z", "2026-03-21T08:10Z", step="60s")
START = WINDOW.start.timestamp()
ONE = matrix(({"a": "b"}, {START: "1", START + 60: "2"}))
#: What belongs to libraries, and tells nobody anything.
INTERNAL = re.compile(
    r"urllib3|requests\.|http\.client|HTTPS?Connection|object at 0x|Error\(|Errno|_ssl\.c|Traceback"
    r"|NoneType|cilium_analysis\.|\b[A-Z][a-z]+(Error|Exception)\b"
)


def said(client: Prometheus) -> str:
    with pytest.raises(PrometheusError) as caught:
        client.range("x", WINDOW)
    assert not INTERNAL.search(str(caught.value))
    return str(caught.value)


# POST where only GET is let through.


def by_get_only(refused: Reply, answer: Reply) -> Callable[[Request], Reply]:
    return lambda request: answer if request.method == "GET" else refused


STATUS = {"kind": "Status", "status": "Failure", "message": "cannot create resource", "code": 403}
REFUSED = [
    text(400, "Bad Request"),
    refusal(400, "bad_data", 'invalid parameter "query": no expression found in input'),
    text(403, "Forbidden (verb=create)"),
    Reply(json.dumps(STATUS).encode(), 403),
    page(403, "Forbidden"),
    text(405, "Method Not Allowed"),
    text(501, "not implemented"),
    page(501, "Unsupported method"),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_where_post_is_refused_get_is_tried_and_kept_to(refused: Reply) -> None:
    with Stub(by_get_only(refused, ONE)) as stub, Prometheus(stub.url) as client:
        for _ in range(2):
            assert client.range("x", WINDOW).shape == (2, 1)
        assert [request.method for request in stub.requests] == ["POST", "GET", "GET"]
        assert stub.requests[0].params == stub.requests[1].params


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("by_get", [text(404, "nothing here"), page(403), text(400, "no")])
def test_where_get_fails_too_the_first_error_is_told(refused: Reply, by_get: Reply) -> None:
    with Stub(refused) as stub, Prometheus(stub.url) as client:
        wanted = said(client)
        stub.play(by_get_only(refused, by_get))
        assert said(client) == wanted
        stub.play(ONE)
        client.range("x", WINDOW)
        assert [request.method for request in stub.requests] == ["POST"]


def test_a_wrong_query_is_told_by_the_server_that_read_it() -> None:
    wrong = refusal(400, "bad_data", "1:2: parse error: unexpected end")
    with Stub(wrong) as stub, Prometheus(stub.url) as client:
        assert "bad_data: 1:2: parse error: unexpected end; mend the PromQL" in said(client)
        stub.play(by_get_only(text(403, "Forbidden (verb=create)"), wrong))
        assert "1:2: parse error" in said(client)
        assert "1:2: parse error" in said(client)
        assert [request.method for request in stub.requests] == ["POST", "GET", "GET"]


def test_a_wrong_query_is_sent_once_where_post_works() -> None:
    with Stub(ONE, refusal(400, "bad_data", "1:2: parse error")) as stub:
        with Prometheus(stub.url) as client:
            client.range("x", WINDOW)
            said(client)
        assert len(stub.requests) == 2


def test_a_gateway_that_is_busy_by_get_is_asked_again() -> None:
    answers = [text(503, "busy"), ONE]

    def ask(request: Request) -> Reply:
        return answers.pop(0) if request.method == "GET" else text(403, "Forbidden")

    with Stub(ask) as stub, Prometheus(stub.url, pause=lambda _: None) as client:
        assert client.range("x", WINDOW).shape == (2, 1)
        assert [request.method for request in stub.requests] == ["POST", "GET", "POST", "GET"]


# A query part of the address.


@pytest.mark.parametrize("refused", [None, text(405, "no")])
def test_the_query_part_of_an_address_is_always_sent(refused: Reply | None) -> None:
    """Also of a form, as the proxies of OpenShift's tenancy port want it."""
    seen: list[str] = []

    def note(request: Request) -> Reply:
        if refused is not None and request.method == "POST":
            return refused
        if request.path.endswith("query_range"):
            return ONE
        listed = request.path.endswith(("values", "labels", "series"))
        return success([] if listed else {}) if "/query" not in request.path else vector()

    with Stub(note) as stub, Prometheus(f"{stub.url}/prom?namespace=a%26b&x=1") as client:
        client.range("x", WINDOW)
        client.instant("x", WINDOW.start)
        client.query("x")
        client.query_range("x", 0, 60, 15)
        client.label_values("a")
        client.label_names()
        client.series("x")
        client.metadata()
        assert client.server == {}
        for request in stub.requests:
            assert request.params["namespace"] == "a&b"
            assert request.params["x"] == "1"
            seen.append(request.path)
            if request.method == "POST":
                assert b"namespace" not in request.body
        assert client.name == f"{stub.url}/prom?namespace=a%26b&x=1"
        assert client.api_url == f"{stub.url}/prom/"
    assert all(path.startswith("/prom/api/v1/") for path in seen)
    assert len(set(seen)) >= 7


@pytest.mark.parametrize(
    "part",
    [
        "token={}",
        "access_token={}",
        "X-Api-Key={}",
        "password={}",
        "sig={}",
        "x=eyJhbGciOiJIUzI1NiJ9.{}.e30",
        "tenant=6f1ed002ab5595859014ebf0951522d9{}",
    ],
)
def test_a_credential_in_an_address_is_sent_and_not_shown(part: str) -> None:
    secret = "opensesame"
    address = f"?namespace=shop&{part.format(secret)}"

    def quoting(request: Request) -> Reply:
        return text(500, f"failed: {request.params}")

    with Stub(quoting) as stub, Prometheus(stub.url + address, retries=0) as client:
        words = said(client) + client.name + repr(client) + repr(client.transport)
        assert secret in str(stub.requests[0].params)
    assert secret not in words
    assert "namespace=shop" in words
    with Prometheus("http://127.0.0.1:9" + address, retries=0) as client:
        assert secret not in said(client)


# What is said.


def test_https_at_a_port_of_http() -> None:
    with Stub(ONE) as stub, Prometheus(stub.url.replace("http", "https")) as client:
        assert f"it answers without TLS; write {stub.url}/" in said(client)


GO_S = text(400, "Client sent an HTTP request to an HTTPS server.\n")
NGINX_S = page(400, "400 The plain HTTP request was sent to HTTPS port")


@pytest.mark.parametrize("reply", [GO_S, NGINX_S])
def test_http_at_a_port_of_https(reply: Reply) -> None:
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        words = said(client)
        assert f"it speaks TLS; write {stub.url.replace('http', 'https')}/" in words


def test_http_at_a_port_of_tls_alone() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Stub(ONE, tls=context) as stub:
        with Prometheus(stub.url.replace("https", "http"), retries=0) as client:
            assert f"If it speaks TLS, write {stub.url}/" in said(client)
    alert = b"\x15\x03\x01\x00\x02\x02\x46\r\n"
    with speaking(lambda connection: connection.sendall(alert)) as url:
        with Prometheus(url, timeout=5, retries=0) as client:
            assert f"If it speaks TLS, write {url.replace('http', 'https')}/" in said(client)


def test_a_certificate_that_is_not_trusted_names_the_variable() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Stub(ONE, tls=context) as stub, Prometheus(stub.url) as client:
        words = said(client)
    assert "CILIUM_ANALYSIS_CA_FILE" in words
    assert "certificate" in words.partition("; ")[0]


def test_a_name_that_does_not_resolve() -> None:
    with Prometheus("http://no-such-host.invalid:9090", timeout=5, retries=0) as client:
        assert "the name no-such-host.invalid does not resolve" in said(client)


GRAFANA = {"message": "Not found", "traceID": ""}
AT_THE_DOOR: list[tuple[Reply, str]] = [
    (page(200, "Sign in to your account"), "give the address behind it, or a token in CILIUM_"),
    (page(200, "Grafana"), "this looks like Grafana: give the address of the Prometheus behind"),
    (Reply(json.dumps(GRAFANA).encode(), 404), "404: Not found); this looks like Grafana"),
    (text(302, "", Location="/login"), "This looks like a page to sign in"),
    (text(302, "", Location="https://sso.example/oauth2/auth?x=y"), "https://sso.example, which"),
    (Reply(json.dumps(STATUS).encode(), 403), "(403): cannot create resource; give credentials"),
    (Reply(b'{"status":"success"', 200), "broke off (no JSON: "),
    (Reply(b'{"status":500,"error":"Oops"}', 500), "did not answer like Prometheus (500: "),
    (Reply(b'{"status":"UP"}', 200), "did not answer like Prometheus (200"),
    (Reply(b'{"status":"error","error":{"a":[1]}}', 422), 'rejects the query: {"a": [1]};'),
    (Reply(b'{"status":"error","errorType":5,"error":5}', 422), "rejects the query: 5;"),
    (Reply(ONE.body, 206), "did not answer like Prometheus (206"),
    (vector(({}, 1, "1")), "a vector instead of a matrix"),
    (success({"resultType": "scalar", "result": [1, "1"]}), "a scalar instead of a matrix"),
    (success({"resultType": "string", "result": [1, "1"]}), "a string instead of a matrix"),
    (success({"resultType": "streams", "result": []}), 'a result of the type "streams"'),
    (success({"resultType": None, "result": []}), "a result of the type null"),
    (success({"resultType": "matrix", "result": None}), "no result in it"),
    (success({"resultType": "matrix"}), "no result in it"),
    (success({"result": []}), "no result in it"),
    (success({"resultType": "matrix", "result": [{"metric": {}}]}), "a series without samples"),
    (
        success({"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": []}]}),
        'a series without samples, {a="b"}',
    ),
]


@pytest.mark.parametrize(("reply", "words"), AT_THE_DOOR)
def test_what_answers_instead_is_named(reply: Reply, words: str) -> None:
    with Stub(reply) as stub, Prometheus(stub.url, pause=lambda _: None) as client:
        assert words in said(client)
        assert client.journal == []


@pytest.mark.parametrize(
    "speak",
    [
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
        lambda connection: connection.sendall(b"HTTP/1.1 9999 no\r\n\r\n"),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000),
    ],
)
def test_what_is_no_http(speak: Callable[[socket.socket], object]) -> None:
    with speaking(speak) as url, Prometheus(url, timeout=5, retries=0) as client:
        assert "did not answer like Prometheus: what it sends is not HTTP" in said(client)


@pytest.mark.parametrize("status", [200, 203])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_a_proxy_may_write_an_answer_anew(status: int, mark: bytes, kind: str) -> None:
    reply = Reply(mark + ONE.body, status, content_type=kind)
    with Stub(reply) as stub, Prometheus(stub.url) as client:
        assert client.range("x", WINDOW).iloc[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("beside", "wanted"),
    [
        ({"warnings": 5}, ("5",)),
        ({"warnings": "slow"}, ("slow",)),
        ({"warnings": {"a": 1}, "infos": [None, "x"]}, ('{"a": 1}', "null", "x")),
        ({"warnings": None, "infos": False, "error": ""}, ()),
        ({"error": "half of it", "errorType": "timeout"}, ("half of it",)),
    ],
)
def test_what_stands_beside_an_answer_is_a_warning(beside: Any, wanted: tuple[str, ...]) -> None:
    document = json.loads(ONE.body) | beside
    with Stub(Reply(json.dumps(document).encode())) as stub, Prometheus(stub.url) as client:
        client.range("x", WINDOW)
        assert client.journal[0].warnings == wanted


# Whatever answers.

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
near_misses = st.sampled_from(
    ["success", "error", "matrix", "vector", "scalar", "string", [START, "1"], {"a": "b"}]
)
anything = st.recursive(
    scalars | near_misses,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
rows = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("metric", "values", "value", "histograms"), anything)
)
sound = st.fixed_dictionaries(
    {
        "metric": st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
        "values": st.lists(st.tuples(st.just(START), st.sampled_from(["1", "NaN", "x", 1])))
        | anything,
    }
)
documents = st.fixed_dictionaries(
    {"status": st.just("success") | anything},
    optional={
        "data": anything
        | st.fixed_dictionaries(
            {},
            optional={
                "resultType": st.sampled_from(["matrix", "vector", "scalar", "string"]) | anything,
                "result": anything | st.lists(rows | sound, max_size=3),
            },
        ),
        "warnings": anything,
        "infos": anything,
        "error": anything,
        "errorType": anything,
        "isPartial": anything,
    },
)
ASKED: dict[str, Callable[[Prometheus], object]] = {
    "range": lambda client: client.range("x", WINDOW),
    "instant": lambda client: client.instant("x", WINDOW.start),
    "query": lambda client: client.query("x"),
    "query_range": lambda client: client.query_range("x", 0, 60, 15),
    "exemplars": lambda client: client.exemplars("x", WINDOW),
    "series": lambda client: client.series("x"),
    "values": lambda client: client.label_values("x"),
    "metadata": lambda client: client.metadata(),
    "server": lambda client: client.server,
}


@pytest.fixture(scope="module")
def stub() -> Any:
    with Stub(ONE) as server:
        yield server


@settings(patient, max_examples=60)
@given(
    document=documents,
    status=st.sampled_from([200, 200, 200, 203, 400, 403, 422, 500, 503]),
    asked=st.sampled_from(sorted(ASKED)),
)
def test_whatever_answers_is_an_answer_or_an_error_of_ours(
    document: Any, status: int, asked: str, stub: Stub
) -> None:
    stub.play(Reply(json.dumps(document).encode(), status))
    with Prometheus(stub.url, retries=0) as client:
        try:
            found = ASKED[asked](client)
        except CiliumAnalysisError as error:
            found = str(error)
            assert not INTERNAL.search(found)
    if isinstance(found, str):
        return
    assert status in (200, 203) or asked == "server"
    if asked == "range":
        assert isinstance(found, pd.DataFrame)
        held = document["data"]["result"]
        assert document["data"]["resultType"] == "matrix"
        assert found.shape[1] <= len(held)
        assert found.empty == (not any(row.get("values") for row in held))


@settings(max_examples=40, deadline=None)
@given(raw=st.binary(max_size=60), head=st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1."]))
def test_whatever_bytes_come_are_an_error_of_ours(raw: bytes, head: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(head + raw)

    with speaking(speak) as url, Prometheus(url, timeout=5, retries=0) as client:
        with pytest.raises(PrometheusError) as caught:
            client.range("x", WINDOW)
    assert type(caught.value) is not QueryRejected
    assert not INTERNAL.search(str(caught.value))

"""Who asks: credentials, certificates and headers are sent where they belong, and shown nowhere."""

from __future__ import annotations

import ssl
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
import requests
import trustme
from requests.auth import AuthBase

from cilium_analysis.errors import (
    AccessDenied,
    PrometheusError,
    ServerUnavailable,
)
from cilium_analysis.prometheus import Credentials, Prometheus
from tests.clients import QUERY, SECRET, UP, WINDOW, assert_whole, failing
from tests.conftest import installed_or_skip
from tests.faults import (
    Reply,
    Stub,
    refusal,
    text,
)
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.test_servers import HASH_OF_TEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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


@pytest.fixture
def far(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> str:
    """A server on another machine, reached through a proxy, which is the stub."""
    monkeypatch.setenv("http_proxy", stub.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return "http://prometheus.example:9090"


def basic_of(user: str, password: str) -> str:
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def shown(client: Prometheus) -> str:
    """Everything of a client that may be printed or stored."""
    journal = [record.as_json() for record in client.journal]
    return " ".join(map(repr, (client, client.name, client.transport, client.journal, journal)))


@pytest.mark.parametrize(
    ("info", "sent"),
    [
        (f"user:{SECRET}", basic_of("user", SECRET)),
        (f"user%40corp:{SECRET}%2F%3A%40", basic_of("user@corp", f"{SECRET}/:@")),
        ("user", basic_of("user", "")),
        ("user:", basic_of("user", "")),
        (":x", basic_of("", "x")),
        ("j%C3%BCrgen:%E2%82%AC%F0%9F%98%80", basic_of("jürgen", "€😀")),
    ],
)
def test_user_information_of_the_url(info: str, sent: str, stub: Stub) -> None:
    with Prometheus(stub.url.replace("//", f"//{info}@")) as client:
        client.instant(QUERY, WINDOW.start)
        assert stub.requests[0].headers["authorization"] == sent
        assert client.name == stub.url
        assert SECRET not in shown(client)
        assert "@" not in shown(client)
        stub.play(refusal(400, "bad_data", "no"))
        assert "@" not in str(failing(client))


def test_a_bearer_token_from_a_file_may_rotate(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "token"
    credentials = Credentials(bearer_token_file=str(file))
    with Prometheus(stub.url, credentials=credentials) as client:
        for token in (SECRET, "another.jwt-token_~+/="):
            file.write_text(f"{token}\n")
            client.instant(QUERY, WINDOW.start)
        assert SECRET not in shown(client) + repr(credentials)
    sent = [request.headers["authorization"] for request in stub.requests]
    assert sent == [f"Bearer {SECRET}", "Bearer another.jwt-token_~+/="]


def test_a_bearer_token_from_the_environment(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", SECRET)
    credentials = Credentials.from_environment()
    with Prometheus(stub.url, credentials=credentials) as client:
        client.query(QUERY)
        assert SECRET not in shown(client) + repr(credentials)
    assert stub.requests[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("source", ["file", "variable"])
def test_a_password(
    source: str, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("schlüssel €\n", encoding="utf-8")
    monkeypatch.setenv("CILIUM_ANALYSIS_USERNAME", "user")
    if source == "file":
        monkeypatch.setenv("CILIUM_ANALYSIS_PASSWORD_FILE", str(tmp_path / "password"))
    else:
        monkeypatch.setenv("CILIUM_ANALYSIS_PASSWORD", "schlüssel €")
    with Prometheus(stub.url, credentials=Credentials.from_environment()) as client:
        client.query(QUERY)
    assert stub.requests[0].headers["authorization"] == basic_of("user", "schlüssel €")


def test_every_reference_comes_from_the_environment() -> None:
    names = {
        "BEARER_TOKEN_FILE": "bearer_token_file",
        "USERNAME": "username",
        "PASSWORD_FILE": "password_file",
        "CLIENT_CERT": "client_cert",
        "CLIENT_KEY": "client_key",
        "CA_FILE": "ca_file",
        "TENANT": "tenant",
    }
    found = Credentials.from_environment({f"CILIUM_ANALYSIS_{n}": n for n in names})
    assert found == Credentials(**{field: name for name, field in names.items()})
    assert Credentials.from_environment({}) == Credentials()


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(bearer_token_file="/no/such/file"), "/no/such/file: No such file"),
        (Credentials(username="user", password_file="/no/such/file"), "/no/such/file: No such"),
        (Credentials(bearer_token_env="NO_SUCH"), "environment variable NO_SUCH: set it"),
        (Credentials(username="user", password_env="NO_SUCH"), "variable NO_SUCH: set it"),
        (Credentials(ca_file="/no/such/file"), "/no/such/file"),
        (Credentials(client_cert="/no/such/file"), "/no/such/file"),
    ],
)
def test_credentials_that_are_not_there(
    credentials: Credentials, words: str, waits: list[float]
) -> None:
    with Stub(UP, tls=authority_and_server()[1]) as stub:
        with Prometheus(stub.url, credentials=credentials, pause=waits.append) as client:
            error = failing(client)
        assert stub.requests == []
    assert type(error) is AccessDenied
    assert words in str(error)
    assert not waits


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"open-sesame\nsecond\n", b"open sesame", b"open-sesame\xff", "ü".encode()],
)
def test_what_is_no_token_is_neither_sent_nor_shown(
    content: bytes, stub: Stub, tmp_path: Path, client: Prometheus
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with Prometheus(stub.url, credentials=Credentials(bearer_token_file=str(file))) as client:
        error = failing(client)
    assert type(error) is AccessDenied
    assert str(file) in str(error)
    assert "sesame" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None
    assert stub.requests == []


def test_what_another_signs_badly_is_not_shown(stub: Stub) -> None:
    class Careless(AuthBase):
        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {SECRET}\n"
            return request

    with requests.Session() as session:
        session.auth = Careless()
        error = failing(Prometheus(stub.url, session))
    assert SECRET not in str(error)
    assert "a header holds what HTTP does not allow" in str(error)


@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f" {SECRET}", f"{SECRET}€"])
def test_a_header_that_cannot_be_sent_is_not_shown(
    value: str, stub: Stub, waits: list[float]
) -> None:
    headers = {"X-Api-Key": value}
    with Prometheus(stub.url, headers=headers, pause=waits.append) as client:
        error = failing(client)
        assert SECRET not in str(error) + shown(client)
    assert type(error) is AccessDenied
    assert "X-Api-Key" in str(error)
    assert stub.requests == []
    assert not waits


def test_headers_and_the_tenant(stub: Stub) -> None:
    credentials = Credentials(tenant="team-a|team-b")
    headers = {"X-Api-Key": SECRET, "Cache-Control": "no-store"}
    with Prometheus(stub.url, headers=headers, credentials=credentials) as client:
        client.instant(QUERY, WINDOW.start)
        assert SECRET not in shown(client)
        assert stub.requests[0].headers["x-scope-orgid"] == "team-a|team-b"
        assert stub.requests[0].headers["x-api-key"] == SECRET
        assert stub.requests[0].headers["cache-control"] == "no-store"
        stub.play(text(401, "no org id"))
        assert SECRET not in str(failing(client))


def test_no_tenant_and_no_credentials_unless_asked(client: Prometheus, stub: Stub) -> None:
    client.query(QUERY)
    assert "x-scope-orgid" not in stub.requests[0].headers
    assert "authorization" not in stub.requests[0].headers


def test_netrc_is_not_read(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "netrc"
    file.write_text(f"machine 127.0.0.1 login user password {SECRET}\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    # So it is read by requests on its own: the file is a good one.
    assert requests.get(stub.url, timeout=20).request.headers["Authorization"]
    stub.play(UP)
    with Prometheus(stub.url) as client:
        client.query(QUERY)
    assert "authorization" not in stub.requests[0].headers


def test_the_nearest_credentials_win(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    credentials = Credentials(
        bearer_token_file=str(tmp_path / "token"), username="user", password_env="HOME"
    )
    with requests.Session() as session:
        session.auth = ("of-the-session", "x")
        in_url = stub.url.replace("//", "//of-the-url:x@")
        for client in (
            Prometheus(in_url, session, credentials=credentials),
            Prometheus(stub.url, session, credentials=credentials),
            Prometheus(stub.url, session),
        ):
            client.query(QUERY)
    assert [request.headers["authorization"] for request in stub.requests] == [
        basic_of("of-the-url", "x"),
        "Bearer token",
        basic_of("of-the-session", "x"),
    ]


def test_the_session_s_own_headers_and_close(stub: Stub) -> None:
    closed = []

    class Session(requests.Session):
        def close(self) -> None:
            closed.append(True)
            super().close()

    session = Session()
    session.headers["X-Own"] = "kept"
    with Prometheus(stub.url, session) as client:
        client.query(QUERY)
    assert stub.requests[0].headers["x-own"] == "kept"
    assert closed == [True]


def test_the_password_of_a_proxy_is_not_shown(
    far: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = stub.url.replace("//", f"//user:{SECRET}@")
    monkeypatch.setenv("http_proxy", url)
    with Prometheus(far, retries=0) as client:
        client.query(QUERY)
        assert stub.requests[0].headers["proxy-authorization"] == basic_of("user", SECRET)
        stub.play(Reply(ends="reset"))
        assert SECRET not in str(failing(client))
        stub.play(text(407, "Proxy Authentication Required"))
        assert SECRET not in str(failing(client))
    with Stub(UP) as gone:
        monkeypatch.setenv("http_proxy", gone.url.replace("//", f"//user:{SECRET}@"))
    with Prometheus(far, retries=0) as client:
        error = failing(client)
    assert SECRET not in str(error)
    assert "cannot reach http://prometheus.example:9090/ through the proxy: " in str(error)


# TLS with real certificates.


def authority_and_server() -> tuple[trustme.CA, ssl.SSLContext]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return authority, context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def test_a_private_authority(server_side: ssl.SSLContext, ca_file: str) -> None:
    with Stub(UP, tls=server_side) as stub:
        with Prometheus(stub.url, credentials=Credentials(ca_file=ca_file)) as client:
            assert_whole(client.query(QUERY))


def test_a_private_authority_from_the_environment(
    server_side: ssl.SSLContext, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)
    with Stub(UP, tls=server_side) as stub:
        with Prometheus(stub.url) as client:
            assert_whole(client.query(QUERY))


def other_authority(folder: Path) -> str:
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    return str(folder / "other.pem")


def garbage(folder: Path) -> str:
    (folder / "garbage.pem").write_text("no certificate")
    return str(folder / "garbage.pem")


@pytest.mark.parametrize("make", [None, other_authority, garbage])
def test_a_certificate_that_nobody_vouches_for(
    make: Callable[[Path], str] | None,
    server_side: ssl.SSLContext,
    tmp_path: Path,
    waits: list[float],
) -> None:
    credentials = Credentials(ca_file=make(tmp_path) if make else "")
    url = f"user:{SECRET}@"
    with Stub(UP, tls=server_side) as stub:
        with Prometheus(
            stub.url.replace("//", f"//{url}"), credentials=credentials, pause=waits.append
        ) as client:
            error = failing(client)
        assert stub.requests == []
    assert type(error) is ServerUnavailable
    assert f"no TLS with {stub.url}/: " in str(error)
    assert "check the certificate, or name its authority (ca_file)" in str(error)
    assert not waits


def test_a_certificate_of_another_host(authority: trustme.CA, ca_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("prometheus.example").configure_cert(context)
    with Stub(UP, tls=context) as stub:
        with Prometheus(stub.url, credentials=Credentials(ca_file=ca_file)) as client:
            error = failing(client)
        assert stub.requests == []
    assert "127.0.0.1" in str(error)
    assert "no TLS" in str(error)


def test_plain_http_where_tls_is_wanted(stub: Stub, ca_file: str) -> None:
    url = stub.url.replace("http:", "https:")
    with Prometheus(url, credentials=Credentials(ca_file=ca_file)) as client:
        assert "no TLS" in str(failing(client))


def test_mutual_tls(
    authority: trustme.CA, server_side: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    server_side.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_side)
    own = authority.issue_cert("analyst@corp.example")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    both, key, cert = (str(tmp_path / f"{name}.pem") for name in ("both", "key", "cert"))
    with Stub(UP, tls=server_side) as stub:
        for credentials in (
            Credentials(ca_file=ca_file, client_cert=both),
            Credentials(ca_file=ca_file, client_cert=cert, client_key=key),
        ):
            with Prometheus(stub.url, credentials=credentials) as client:
                assert_whole(client.query(QUERY))
        stub.play(UP)
        for credentials in (
            Credentials(ca_file=ca_file),
            Credentials(ca_file=ca_file, client_cert=garbage(tmp_path)),
            Credentials(ca_file=ca_file, client_cert=cert),
        ):
            with Prometheus(stub.url, credentials=credentials, retries=0) as client:
                assert type(failing(client)) is ServerUnavailable
        assert stub.requests == []


# A server that is well guarded.


def test_tls_a_password_a_certificate_and_a_prefix_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    served, own = authority.issue_cert("127.0.0.1"), authority.issue_cert("analyst.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, certificate in (("server", served), ("own", own)):
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.crt")
    config = (
        f"tls_server_config:\n  cert_file: {tmp_path}/server.crt\n"
        f"  key_file: {tmp_path}/server.key\n"
        f"  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: {tmp_path}/ca.pem\n"
        f"basic_auth_users:\n  admin: {HASH_OF_TEST}\n"
    )
    try:
        server = PrometheusServer(
            "prometheus-3", web_config=config, auth="admin:test", route_prefix="/prometheus"
        )
    except NotInstalled as error:
        installed_or_skip(error)
        return
    (tmp_path / "password").write_text("test\n")
    for name, file in {
        "CA_FILE": "ca.pem",
        "CLIENT_CERT": "own.crt",
        "CLIENT_KEY": "own.key",
        "PASSWORD_FILE": "password",
    }.items():
        monkeypatch.setenv(f"CILIUM_ANALYSIS_{name}", str(tmp_path / file))
    monkeypatch.setenv("CILIUM_ANALYSIS_USERNAME", "admin")
    with server:
        with Prometheus(server.url, credentials=Credentials.from_environment()) as client:
            assert client.query("1") == 1.0
            assert client.name.endswith("/prometheus")
        wrong = Credentials(ca_file=str(tmp_path / "ca.pem"), username="admin")
        with Prometheus(server.url, credentials=wrong) as client:
            with pytest.raises(PrometheusError, match=r"denies access \(401\): Unauthorized"):
                client.query("1")

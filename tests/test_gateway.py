"""A real nginx before a real Prometheus: what gateways ask for, and what they say if it lacks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from cilium_analysis.cli import main
from cilium_analysis.doctor import examine
from cilium_analysis.errors import AccessDenied, PrometheusError, ServerUnavailable
from cilium_analysis.prometheus import Credentials, Prometheus
from tests.conftest import installed_or_skip
from tests.faults import Reply, Request, Stub
from tests.servers.nginx import Nginx
from tests.servers.prometheus import NotInstalled, PrometheusServer, find
from tests.servers.served import ClusterServer

SECRET = "open-sesame"


@pytest.fixture(autouse=True)
def installed() -> None:
    try:
        find("nginx", "nginx")
    except NotInstalled as error:
        installed_or_skip(error)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Path:
    """A directory with the authority, the gateway's certificate and one's own."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, host in (("gateway", "127.0.0.1"), ("me", "reports.example")):
        issued = authority.issue_cert(host)
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    return tmp_path


def client_of(url: str, folder: Path, config: str = "{}") -> Prometheus:
    file = folder / "http.yaml"
    file.write_text(config)
    return Prometheus(url, credentials=Credentials(http_config=str(file)), timeout=20, retries=0)


def before(server: PrometheusServer | ClusterServer, lines: str = "") -> str:
    """Let everything through to a server, but for what some lines say."""
    return f"location / {{ {lines} proxy_pass {server.url}; }}"


def test_a_certificate_of_ones_own(files: Path, prometheus3: PrometheusServer) -> None:
    asks = f"ssl_client_certificate {files}/ca.pem; ssl_verify_client on;"
    known = "tls_config: {ca_file: ca.pem, cert_file: me.pem}"
    with Nginx(asks + before(prometheus3), certificate=files / "gateway.pem") as gateway:
        with client_of(gateway.url, files, known) as client:
            assert client.query("vector(1)").iloc[0] == 1
        with client_of(gateway.url, files, "tls_config: {ca_file: ca.pem}") as client:
            with pytest.raises(PrometheusError, match="certificate") as caught:
                client.query("vector(1)")
        assert "CILIUM_ANALYSIS_CLIENT_CERT" in str(caught.value)
        stranger = trustme.CA().issue_cert("x").private_key_and_cert_chain_pem
        stranger.write_to_path(files / "me.pem")
        with client_of(gateway.url, files, known) as client:
            with pytest.raises(PrometheusError, match="certificate") as caught:
                client.query("vector(1)")
        assert "CILIUM_ANALYSIS_CLIENT_CERT" in str(caught.value)
        with client_of(gateway.url, files) as client:
            with pytest.raises(ServerUnavailable, match="no TLS with"):
                client.query("vector(1)")


def test_get_alone_and_a_part_of_the_query_that_is_required(
    tmp_path: Path, prometheus3: PrometheusServer
) -> None:
    asks = 'limit_except GET { deny all; } if ($arg_tenant != "team-a") { return 403; }'
    with Nginx(before(prometheus3, asks)) as gateway:
        with client_of(f"{gateway.url}/?tenant=team-a", tmp_path) as client:
            assert client.query("vector(1)").iloc[0] == 1
            assert client.query("vector(2)").iloc[0] == 2
        assert [each.split()[0] for each in gateway.seen].count("POST") == 1
        with client_of(gateway.url, tmp_path) as client:
            with pytest.raises(AccessDenied, match=r"denies access \(403\)"):
                client.query("vector(1)")


def test_a_query_that_is_too_long_for_the_gateway(
    tmp_path: Path, prometheus3: PrometheusServer
) -> None:
    """nginx takes 8 KiB of one line of a request, and so of an address."""
    query = " + ".join(["vector(1)"] * 1500)
    with Nginx(before(prometheus3, "limit_except GET { deny all; }")) as gateway:
        with client_of(gateway.url, tmp_path) as client:
            for _ in range(2):  # also once it is known that GET alone is let through
                with pytest.raises(
                    PrometheusError, match=r"\(414\): have it, or .*, take POST"
                ) as e:
                    client.query(query)
                said = str(e.value)
                client.query("vector(1)")
    assert len(said) < 1000
    with Nginx(before(prometheus3)) as gateway, client_of(gateway.url, tmp_path) as client:
        assert client.query(query).iloc[0] == 1500


def test_a_path_a_redirect_and_packed_answers(files: Path, prometheus3: PrometheusServer) -> None:
    inner = (
        f"gzip on; gzip_types application/json; gzip_min_length 1; gzip_proxied any;"
        f" location /prom/ {{ proxy_pass {prometheus3.url}/; }}"
        " location / { return 301 /login; }"
    )
    known = "tls_config: {ca_file: ca.pem}"
    with Nginx(inner, certificate=files / "gateway.pem") as gateway:
        with client_of(f"{gateway.url}/prom", files, known) as client:
            assert client.query("vector(1)").iloc[0] == 1
        with client_of(gateway.url, files, known) as client:
            with pytest.raises(PrometheusError, match="redirects to"):
                client.query("vector(1)")
        plain = gateway.url.replace("https", "http")
        with client_of(plain, files, known) as client:
            with pytest.raises(PrometheusError, match="TLS"):
                client.query("vector(1)")


def test_a_gateway_that_lets_few_through(tmp_path: Path, prometheus3: PrometheusServer) -> None:
    """`limit_req` answers 503 to what comes too fast; it is asked again, later."""
    beside = "limit_req_zone $server_name zone=few:1m rate=5r/s;"
    with Nginx(before(prometheus3, "limit_req zone=few;"), beside=beside) as gateway:
        with Prometheus(gateway.url, timeout=60) as client:
            for number in range(4):
                assert client.query(f"vector({number})").iloc[0] == number


def test_a_server_behind_it_that_is_gone_or_slow(tmp_path: Path) -> None:
    gone = "location / { proxy_pass http://127.0.0.1:9; }"
    with Nginx(gone) as gateway, client_of(gateway.url, tmp_path) as client:
        with pytest.raises(ServerUnavailable, match=r"\(502\)"):
            client.query("vector(1)")

    answered = threading.Event()
    with Stub(Reply(b"{}", gate=answered)) as stub:
        lines = f"location / {{ proxy_read_timeout 1s; proxy_pass {stub.url}; }}"
        with Nginx(lines) as gateway, client_of(gateway.url, tmp_path) as client:
            with pytest.raises(PrometheusError, match=r"\(504\)"):
                client.query("vector(1)")
        answered.set()


def signing_in(given: list[str]) -> Callable[[Request], Reply]:
    """A token endpoint, and a judge of tokens, as nginx' ``auth_request`` asks one."""

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            if request.headers.get("authorization", "").startswith("Basic "):
                given.append(f"{SECRET}-{len(given)}")
                document = {"access_token": given[-1], "token_type": "Bearer", "expires_in": 3600}
                return Reply(json.dumps(document).encode())
            return Reply(b'{"error": "invalid_client"}', 401)
        known = bool(given) and request.headers.get("authorization") == f"Bearer {given[-1]}"
        return Reply(b"", 200 if known else 401)

    return answer


def oauth(url: str) -> str:
    return (
        f"oauth2:\n  client_id: reports\n  client_secret: {SECRET}\n  token_url: {url}/token\n"
        "tls_config: {ca_file: ca.pem, cert_file: me.pem}\n"
    )


def guarded(server: PrometheusServer | ClusterServer, files: Path, judge: Stub) -> str:
    """All at once: a certificate, GET alone, a required part of the query, and a token."""
    asks = 'limit_except GET { deny all; } if ($arg_dedup != "true") { return 403; }'
    return (
        f"ssl_client_certificate {files}/ca.pem; ssl_verify_client on;"
        f" location = /judge {{ internal; proxy_pass {judge.url}/judge;"
        " proxy_pass_request_body off; proxy_set_header Content-Length ''; }"
        f" {before(server, f'auth_request /judge; {asks}')}"
    )


def test_a_token_that_ends_in_the_middle_is_renewed(
    files: Path, prometheus3: PrometheusServer
) -> None:
    given: list[str] = []
    with Stub(signing_in(given)) as judge:
        inner = guarded(prometheus3, files, judge)
        with Nginx(inner, certificate=files / "gateway.pem") as gateway:
            with client_of(f"{gateway.url}/?dedup=true", files, oauth(judge.url)) as client:
                assert client.query("vector(1)").iloc[0] == 1
                given.append("revoked")
                assert client.query("vector(2)").iloc[0] == 2
            assert len(given) == 3
            with client_of(
                f"{gateway.url}/?dedup=true", files, oauth("http://127.0.0.1:9")
            ) as lost:
                with pytest.raises(AccessDenied, match="cannot reach the token endpoint") as caught:
                    lost.query("vector(1)")
            assert SECRET not in str(caught.value)


@pytest.mark.slow
def test_a_report_through_all_of_it(
    files: Path,
    cluster_server: Callable[..., ClusterServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same findings as by the server's own address, and no secret in what is written."""
    served, given = cluster_server("sample"), list[str]()
    about = ["incident", "--start", "2026-03-21T08:00Z", "--end", "2026-03-21T10:00Z"]
    found = []
    with Stub(signing_in(given)) as judge:
        inner = guarded(served, files, judge)
        with Nginx(inner, certificate=files / "gateway.pem") as gateway:
            (files / "http.yaml").write_text(oauth(judge.url))
            sources = {"address": served.url, "gateway": f"{gateway.url}/?dedup=true"}
            for name, source in sources.items():
                if name == "gateway":
                    monkeypatch.setenv("CILIUM_ANALYSIS_HTTP_CONFIG", str(files / "http.yaml"))
                    steps = {step.name: step.state for step in examine(source)}
                    assert [steps[name] for name in ("TLS", "sign-in", "API")] == ["ok"] * 3
                output = tmp_path / name
                assert main(["report", *about, "--source", source, "--output", str(output)]) == 0
                (run,) = output.glob("2*")
                rows = json.loads((run / "findings.json").read_text())["findings"]
                found.append([(row["title"], row["total"], row["start"]) for row in rows])
            methods = [each.split()[0] for each in gateway.seen]
            # Each client tries it with its first questions, some of which are asked side by side.
            assert methods.count("POST") <= 8
            assert methods.count("GET") > 50
    assert found[0] == found[1]
    assert found[0]
    written = [path for path in (tmp_path / "gateway").rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert urlsplit(sources["gateway"]).query == "dedup=true"

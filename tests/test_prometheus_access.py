"""Ways to sign in as the field writes them: Prometheus' http_config, and commands for tokens."""

from __future__ import annotations

import json
import shlex
import ssl
import sys
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from cilium_analysis.connection import connect
from cilium_analysis.errors import AccessDenied, ParameterError, PrometheusError, ServerUnavailable
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_analysis.prometheus.tokens import expiry_of
from tests.faults import Reply, Request, Stub, refusal, vector

UP = vector(({"job": "cilium"}, 1.5, "1"))
QUERY = 'up{job="cilium"}'
SECRET = "open-sesame"
DENIED = Reply(b"no", 401, content_type="text/plain")


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub(UP) as server:
        yield server


def client_of(url: str, tmp_path: Path, config: str) -> Prometheus:
    """A client whose http_config is this."""
    file = tmp_path / "http.yaml"
    file.write_text(config)
    credentials = Credentials(http_config=str(file))
    return Prometheus(url, credentials=credentials, timeout=20, retries=0)


def asked(url: str, tmp_path: Path, config: str) -> None:
    with client_of(url, tmp_path, config) as client:
        assert client.query(QUERY).to_dict() == {'{job="cilium"}': 1.0}
        assert SECRET not in repr(client.transport) + repr(client)


# http_config


@pytest.mark.parametrize(
    ("config", "sent"),
    [
        (f"authorization: {{credentials: {SECRET}}}", f"Bearer {SECRET}"),
        ("authorization:\n  credentials_file: token", f"Bearer {SECRET}"),
        (f"authorization: {{type: Token, credentials: {SECRET}}}", f"Token {SECRET}"),
        ("bearer_token_file: token", f"Bearer {SECRET}"),
        (f"bearer_token: {SECRET}\nfollow_redirects: true", f"Bearer {SECRET}"),
        (f"basic_auth: {{username: ann, password: {SECRET}}}", "ann"),
        ("basic_auth:\n  username_file: user\n  password_file: token\n", "ann"),
        ("enable_http2: false", None),
    ],
)
def test_how_to_sign_in(config: str, sent: str | None, stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    (tmp_path / "user").write_text("ann\n")
    asked(stub.url, tmp_path, config)
    found = stub.requests[0].headers.get("authorization")
    if sent == "ann":
        assert found is not None
        assert b64decode(found.removeprefix("Basic ")).decode() == f"ann:{SECRET}"
    else:
        assert found == sent


def test_headers_are_added_and_masked(stub: Stub, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    config = "http_headers:\n  X-Team: {values: [a, b]}\n  X-Key: {files: [key]}\n"
    asked(stub.url, tmp_path, config)
    headers = stub.requests[0].headers
    assert (headers["x-team"], headers["x-key"]) == ("a, b", SECRET)
    stub.play(refusal(400, "bad_data", f"what is {SECRET}?"))
    with client_of(stub.url, tmp_path, config) as client, pytest.raises(PrometheusError) as caught:
        client.query(QUERY)
    assert SECRET not in str(caught.value)


BAD = {
    "unknown": ("authorisation: {}", ":1: unknown key 'authorisation' in an http_config: did"),
    "two": (f"bearer_token: {SECRET}\nbasic_auth: {{}}", ":2: there are bearer_token and basi"),
    "no mapping": (f"authorization: {SECRET}", ":1: authorization has to be a mapping"),
    "no user": (f"basic_auth:\n  password: {SECRET}", ":2: there is no username, and no usern"),
    "both": (
        f"basic_auth:\n  username: a\n  password: {SECRET}\n  password_file: /x",
        ":4: there are password and password_file: name one of the two",
    ),
    "basic": (f"authorization:\n  type: basic\n  credentials: {SECRET}", ":2: this is no type"),
    "no flag": ("tls_config:\n  insecure_skip_verify: yes", ":2: insecure_skip_verify is true or"),
    "inline": (f"tls_config:\n  key: {SECRET}", ":2: write it into a file, and name that as key_"),
    "authority": ("tls_config:\n  ca: none", ":2: `ca` holds no certificates in PEM"),
    "key": ("tls_config:\n  key_file: x", ":2: key_file needs cert_file"),
    "version": ("tls_config:\n  min_version: SSL3", ":2: min_version is one of TLS10, TLS11"),
    "header": (f"http_headers:\n  Host: {{values: [{SECRET}]}}", ":2: this is no header that"),
    "proxy": (f"proxy_url: {SECRET}", ":1: proxy_url is not a URL"),
    "no client": (f"oauth2:\n  client_secret: {SECRET}", ":2: oauth2 has no `client_id`"),
    "endpoint": (
        f"oauth2:\n  client_id: a\n  client_secret: {SECRET}\n  token_url: {SECRET}",
        ":4: token_url is not a URL",
    ),
    "no YAML": (f"bearer_token: [{SECRET}", "this is not YAML"),
    "alias": (f"bearer_token: *{SECRET}", ":1: this is not YAML: found undefined alias: put quot"),
    "tag": (f"bearer_token: !{SECRET}!a b", "found undefined tag handle: put quotes around a tex"),
    "token": (f"bearer_token: @{SECRET}", "cannot start any token: put quotes around a text"),
    "password in an endpoint": (
        f"oauth2:\n  client_id: a\n  token_url: https://a:{SECRET}@b/",
        ":3: token_url holds a name and perhaps a password: write them as client_id",
    ),
    "endpoint of another name": (
        "oauth2:\n  client_id: a\n  token_url: https://a/\n  tls_config: {server_name: b}",
        ":4: of a token endpoint server_name, min_version and max_version cannot be set",
    ),
    "empty": ("", "is empty: it needs `authorization`, `basic_auth` or `oauth2`"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_named_with_its_line_and_no_value(name: str, tmp_path: Path) -> None:
    config, said = BAD[name]
    with pytest.raises(ParameterError) as caught:
        client_of("http://localhost:1", tmp_path, config)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_http_config_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "http.yaml").write_text(f"bearer_token: {SECRET}")
    monkeypatch.setenv("CILIUM_ANALYSIS_HTTP_CONFIG", str(tmp_path / "http.yaml"))
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", "another")
    with pytest.raises(ParameterError, match="leave CILIUM_ANALYSIS_BEARER_TOKEN out"):
        connect("http://localhost:1")
    monkeypatch.delenv("CILIUM_ANALYSIS_BEARER_TOKEN")
    monkeypatch.setenv("CILIUM_ANALYSIS_TENANT", "team")
    with Stub(UP) as stub:
        source = connect(stub.url)
        assert isinstance(source, Prometheus)
        source.query(QUERY)
    headers = stub.requests[0].headers
    assert (headers["authorization"], headers["x-scope-orgid"]) == (f"Bearer {SECRET}", "team")
    monkeypatch.setenv("CILIUM_ANALYSIS_HTTP_CONFIG", str(tmp_path / "gone.yaml"))
    with pytest.raises(ParameterError, match=r"cannot read .*gone\.yaml: No such file"):
        connect("http://localhost:1")


def test_a_proxy_is_asked_unless_the_host_is_named(stub: Stub, tmp_path: Path) -> None:
    far = "http://prometheus.example:9090"
    asked(far, tmp_path, f"proxy_url: {stub.url}")
    assert stub.requests[0].headers["host"] == "prometheus.example:9090"
    with client_of(far, tmp_path, f"proxy_url: {stub.url}\nno_proxy: .example") as client:
        with pytest.raises(ServerUnavailable, match=r"prometheus\.example does not resolve"):
            client.query(QUERY)


# TLS with real certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def served_as(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_by_an_http_config(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = authority.cert_pem.bytes().decode().replace("\n", "\n    ")
    inline = f"tls_config:\n  ca: |\n    {pem}\n"
    named = "tls_config: {ca_file: ca.pem, server_name: prometheus.example}"
    with Stub(UP, tls=served_as(authority, "127.0.0.1")) as stub:
        asked(stub.url, tmp_path, "tls_config: {ca_file: ca.pem}")
        asked(stub.url, tmp_path, inline)
        asked(stub.url, tmp_path, "tls_config: {ca_file: ca.pem, min_version: TLS13}")
        asked(stub.url, tmp_path, "tls_config: {insecure_skip_verify: true}")
        for wrong in ("tls_config: {}", named):
            with client_of(stub.url, tmp_path, wrong) as client:
                with pytest.raises(ServerUnavailable, match="no TLS with"):
                    client.query(QUERY)
    with Stub(UP, tls=served_as(authority, "prometheus.example")) as stub:
        asked(stub.url, tmp_path, named)
        asked(stub.url, tmp_path, f"{inline}  server_name: prometheus.example\n")
        with client_of(stub.url, tmp_path, inline) as client:
            with pytest.raises(ServerUnavailable, match="no TLS with"):
                client.query(QUERY)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_authorities_that_are_named_replace_the_usual_ones(
    authority: trustme.CA, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = trustme.CA()
    usual.cert_pem.write_to_path(tmp_path / "usual.pem")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "usual.pem"))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "usual.pem"))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = authority.cert_pem.bytes().decode().replace("\n", "\n    ")
    ways = [f"ca: |\n    {pem}", "ca_file: ca.pem"]
    ways += [f"{way}\n  min_version: TLS12" for way in ways]
    with Stub(UP, tls=served_as(usual, "127.0.0.1")) as stub:
        asked(stub.url, tmp_path, "tls_config: {min_version: TLS12}")
        for way in ways:
            with client_of(stub.url, tmp_path, f"tls_config:\n  {way}\n") as client:
                with pytest.raises(ServerUnavailable, match="unable to get local issuer"):
                    client.query(QUERY)
    with Stub(UP, tls=served_as(authority, "127.0.0.1")) as stub:
        for way in ways:
            asked(stub.url, tmp_path, f"tls_config:\n  {way}\n")


def test_a_version_of_tls_that_the_server_lacks(authority: trustme.CA, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    old = served_as(authority, "127.0.0.1")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with Stub(UP, tls=old) as stub:
        config = "tls_config: {ca_file: ca.pem, min_version: TLS13}"
        with client_of(stub.url, tmp_path, config) as client:
            with pytest.raises(ServerUnavailable, match="no TLS with"):
                client.query(QUERY)
        asked(stub.url, tmp_path, "tls_config: {ca_file: ca.pem, max_version: TLS12}")


# Tokens that expire


@dataclass
class Desk:
    """A token endpoint, and a server that takes its newest token only."""

    lasts: float = 3600.0
    in_form: bool = False
    given: int = 0
    forms: list[dict[str, str]] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        if request.path == "/token":
            return self.give(request)
        wanted = f"Bearer {SECRET}-{self.given}"
        return UP if request.headers.get("authorization") == wanted else DENIED

    def give(self, request: Request) -> Reply:
        name, _, password = (
            b64decode(request.headers.get("authorization", "").removeprefix("Basic "))
            .decode()
            .partition(":")
        )
        if self.in_form:
            name = request.params.get("client_id", "")
            password = request.params.get("client_secret", "")
        if (name, password) != ("reports", SECRET):
            return Reply(json.dumps({"error": "invalid_client"}).encode(), 401)
        self.forms.append(dict(request.params))
        self.given += 1
        document = {"access_token": f"{SECRET}-{self.given}", "expires_in": self.lasts}
        return Reply(json.dumps(document).encode())


def oauth(url: str, secret: str = SECRET) -> str:
    return (
        f"oauth2:\n  client_id: reports\n  client_secret: {secret}\n  token_url: {url}/token\n"
        "  scopes: [metrics, read]\n  endpoint_params: {audience: prometheus}\n"
    )


@pytest.mark.parametrize("in_form", [False, True])
def test_a_token_of_an_endpoint_is_kept_and_renewed_when_it_is_refused(
    in_form: bool, tmp_path: Path
) -> None:
    desk = Desk(in_form=in_form)
    with Stub(desk.answer) as stub, client_of(stub.url, tmp_path, oauth(stub.url)) as client:
        client.query(QUERY)
        client.query(QUERY)
        assert desk.given == 1
        form = desk.forms[0]
        assert (form["grant_type"], form["scope"]) == ("client_credentials", "metrics read")
        assert form["audience"] == "prometheus"
        desk.given += 1  # somebody revoked it
        client.query(QUERY)
        assert desk.given == 3
        assert SECRET not in repr(client.transport)


def test_a_token_that_is_about_to_expire_is_not_sent(tmp_path: Path) -> None:
    desk = Desk(lasts=20.0)
    with Stub(desk.answer) as stub, client_of(stub.url, tmp_path, oauth(stub.url)) as client:
        client.query(QUERY)
        client.query(QUERY)
        assert desk.given == 2


def test_an_endpoint_that_gives_no_token(tmp_path: Path) -> None:
    with Stub(Desk().answer) as stub:
        with client_of(stub.url, tmp_path, oauth(stub.url, secret="wrong-one")) as client:
            with pytest.raises(AccessDenied) as caught:
                client.query(QUERY)
        assert "gives no token (401, invalid_client): look at client_id" in str(caught.value)
        assert "wrong-one" not in str(caught.value)
        url = stub.url
    with client_of("http://localhost:1", tmp_path, oauth(url)) as client:
        with pytest.raises(AccessDenied, match=r"cannot reach the token endpoint .* \(Connection"):
            client.query(QUERY)


def test_a_key_in_the_address_of_an_endpoint_is_not_shown(tmp_path: Path) -> None:
    with Stub(Reply(b"{}", 403)) as stub:
        config = oauth(stub.url).replace("/token", f"/token?api_key={SECRET}")
        with client_of(stub.url, tmp_path, config) as client:
            with pytest.raises(AccessDenied, match=r"endpoint .*/token gives no token") as caught:
                client.query(QUERY)
            assert SECRET not in str(caught.value) + repr(client.transport.access.auth)


def test_a_server_that_refuses_every_token_is_asked_twice(tmp_path: Path) -> None:
    with Stub(lambda r: Desk().give(r) if r.path == "/token" else DENIED) as stub:
        with client_of(stub.url, tmp_path, oauth(stub.url)) as client:
            with pytest.raises(AccessDenied, match=r"denies access \(401\)"):
                client.query(QUERY)
        paths = [request.path for request in stub.requests]
    # A token that is the same again is not sent again; POST and GET are tried.
    assert paths.count("/token") <= 4
    assert len(paths) - paths.count("/token") <= 4


def test_a_file_that_rotated_meanwhile_is_read_again(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")

    def rotating(request: Request) -> Reply:
        file.write_text(SECRET)
        return UP if request.headers["authorization"] == f"Bearer {SECRET}" else DENIED

    credentials = Credentials(bearer_token_file=str(file))
    with Stub(rotating) as stub, Prometheus(stub.url, credentials=credentials) as client:
        client.query(QUERY)
    assert [r.headers["authorization"] for r in stub.requests] == ["Bearer old", f"Bearer {SECRET}"]


# Commands


def printing(code: str) -> str:
    """A command that runs this."""
    return shlex.join([sys.executable, "-c", code])


def by_command(url: str, command: str) -> Prometheus:
    credentials = Credentials(bearer_token_command=command)
    return Prometheus(url, credentials=credentials, timeout=20, retries=0)


def test_a_command_is_run_once_and_again_when_its_token_is_refused(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("")
    code = (
        f"f = open({str(count)!r}, 'a+'); f.write('x'); f.seek(0)\n"
        "print('t', len(f.read()), sep='')"
    )

    def newest(request: Request) -> Reply:
        wanted = f"Bearer t{len(count.read_text())}"
        return UP if request.headers["authorization"] == wanted else DENIED

    with Stub(newest) as stub, by_command(stub.url, printing(code)) as client:
        client.query(QUERY)
        client.query(QUERY)
        assert count.read_text() == "x"
        count.write_text("xxx")  # the token expired
        client.query(QUERY)
        assert count.read_text() == "xxxx"


def test_a_command_may_print_what_plugins_of_kubectl_print(stub: Stub) -> None:
    status = {"token": SECRET, "expirationTimestamp": "2999-01-01T00:00:00Z"}
    text = json.dumps({"kind": "ExecCredential", "status": status})
    with by_command(stub.url, printing(f"print({text!r})")) as client:
        client.query(QUERY)
    assert stub.requests[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (printing(f"import sys; sys.exit('{SECRET}')"), "ended with 1; run it by hand"),
        (printing(f"print('{SECRET} and more')"), "prints is not one bearer token"),
        (printing("print()"), "prints is not one bearer token"),
        (printing("print('{')"), "prints is not one bearer token"),
        (printing("""print('{"status": "Failure"}')"""), "prints is not one bearer token"),
        (
            printing("""print('{"status": {"token": "t", "expirationTimestamp": 5}}')"""),
            "is not one",
        ),
        (printing("import sys; sys.stdout.buffer.write(bytes([255]))"), "is not one bearer token"),
        ("no-such-program --token", "cannot run the token command no-such-program: No such file"),
    ],
)
def test_a_command_without_a_token(command: str, said: str, stub: Stub) -> None:
    with by_command(stub.url, command) as client, pytest.raises(AccessDenied) as caught:
        client.query(QUERY)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not stub.requests


def test_a_slow_command_is_not_blamed_on_the_server(stub: Stub) -> None:
    credentials = Credentials(bearer_token_command=printing("import time; time.sleep(20)"))
    with Prometheus(stub.url, credentials=credentials, timeout=0.5, retries=0) as client:
        said = r"the token command .* has given no token within 0\.5 s"
        with pytest.raises(AccessDenied, match=said):
            client.query(QUERY)
    assert not stub.requests


@pytest.mark.parametrize(("command", "said"), [("'", "cannot read"), (" ", "is empty")])
def test_what_is_no_command(command: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        by_command("http://localhost:1", command)


def test_no_shell_reads_the_command(stub: Stub, tmp_path: Path) -> None:
    token = f"; touch {tmp_path / 'made'}; echo $HOME `id`"
    code = "import sys; print('t' if len(sys.argv) == 2 else 'words')"
    with by_command(stub.url, f"{printing(code)} {shlex.quote(token)}") as client:
        client.query(QUERY)
    assert stub.requests[0].headers["authorization"] == "Bearer t"
    assert not (tmp_path / "made").exists()


def test_a_token_that_says_when_it_expires_is_taken_at_its_word() -> None:
    def web_token(claims: object) -> str:
        parts = (json.dumps(each).encode() for each in ({"alg": "none"}, claims))
        return ".".join(urlsafe_b64encode(each).decode().rstrip("=") for each in parts) + ".x"

    now = time.time()
    assert expiry_of(web_token({"exp": now})) == pytest.approx(now)
    for odd in (web_token({}), web_token([]), web_token({"exp": "?"}), "a.b.c", "plain"):
        assert expiry_of(odd) == float("inf")

"""Managed services: signed in to by their vendors' libraries, against stand-ins on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from requests import PreparedRequest

from cilium_analysis.connection import connect
from cilium_analysis.errors import AccessDenied, ParameterError, SourceError
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_analysis.prometheus.managed import Aws, service_of
from tests.faults import Reply, Request, Stub, vector

UP = vector(({"job": "cilium"}, 1.5, "1"))
DENIED = Reply(b'{"message":"Missing Authentication Token"}', 403)
KEY, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session-token"
TOKEN = "ya29.open-sesame"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine signs in to anything."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1", "aws"),
        ("https://aps-workspaces-fips.us-gov-west-1.amazonaws.com/workspaces/ws-1", "aws"),
        ("https://aps-workspaces.eu-west-1.api.aws/workspaces/ws-1", "aws"),
        ("https://vpce-0a-b.aps-workspaces.eu-west-1.vpce.amazonaws.com/workspaces/w", "aws"),
        ("https://monitoring.googleapis.com/v1/projects/p/location/global/prometheus", "google"),
        ("https://mine-abc.westeurope.prometheus.monitor.azure.com", "azure"),
        ("https://mine.chinaeast.prometheus.monitor.azure.cn", "azure"),
        ("https://amazonaws.com.example.org", ""),
        ("https://aps-workspaces.eu-west-1.amazonaws.com.example.org/", ""),
        ("https://monitoring.googleapis.com.example.org", ""),
        ("http://prometheus:9090", ""),
        ("http://ann:hunter2@[", ""),
    ],
)
def test_services_are_known_by_their_whole_host(url: str, service: str) -> None:
    assert service_of(url) == service


def test_an_address_is_enough_unless_other_credentials_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "https://aps-workspaces.eu-west-1.amazonaws.com/workspaces/ws-1"
    source = connect(url)
    assert isinstance(source, Prometheus)
    assert isinstance(source.transport.access.auth, Aws)
    monkeypatch.setenv("CILIUM_ANALYSIS_USERNAME", "ann")
    source = connect(url)
    assert isinstance(source, Prometheus)
    assert not isinstance(source.transport.access.auth, Aws)
    # Who names no credentials at all gets none: the address may be anybody's.
    source = connect(url, credentials=Credentials())
    assert isinstance(source, Prometheus)
    assert source.transport.access.auth is None


# AWS


def signature(
    request: Request, secret: str, *, url_path: str, query: str, signed: str, scope: str, when: str
) -> str:
    """Compute a signature as AWS describes it (IAM, "Create a signed AWS API request")."""
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed.split(";"))
    body = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join((request.method, url_path, query, headers, signed, body))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", when, scope, digest))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def test_the_check_agrees_with_the_published_vector() -> None:
    """As of AWS' signature version 4 test suite, get-vanilla."""
    when = "20150830T123600Z"
    headers = {"host": "example.amazonaws.com", "x-amz-date": when}
    found = signature(
        Request("GET", "/", {}, headers),
        SECRET,
        url_path="/",
        query="",
        signed="host;x-amz-date",
        scope="20150830/us-east-1/service/aws4_request",
        when=when,
    )
    assert found == "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"


class Amp:
    """Takes requests that are signed for it, and no others."""

    def __init__(self, *, get_only: bool = False) -> None:
        self.get_only = get_only
        self.seen: list[Request] = []

    def answer(self, request: Request) -> Reply:
        self.seen.append(request)
        words = request.headers.get("authorization", "").removeprefix("AWS4-HMAC-SHA256 ")
        parts = dict(part.strip().split("=", 1) for part in words.split(",") if "=" in part)
        if not parts or (self.get_only and request.method != "GET"):
            return DENIED
        key, _, scope = parts["Credential"].partition("/")
        query = ""
        if request.method == "GET":
            safe = "-_.~"
            pairs = sorted(
                (quote(k, safe=safe), quote(v, safe=safe)) for k, v in request.params.items()
            )
            query = "&".join(f"{name}={value}" for name, value in pairs)
        expected = signature(
            request,
            SECRET,
            url_path=quote(request.path, safe="/-_.~"),
            query=query,
            signed=parts["SignedHeaders"],
            scope=scope,
            when=request.headers["x-amz-date"],
        )
        assert scope.endswith("/eu-west-1/aps/aws4_request")
        assert "x-amz-security-token" in parts["SignedHeaders"]
        assert request.headers["x-amz-security-token"] == SESSION
        return UP if (key, parts["Signature"]) == (KEY, expected) else DENIED


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", "aws")


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("get_only", [False, True])
def test_the_signature_is_the_one_that_the_server_computes(get_only: bool) -> None:
    amp = Amp(get_only=get_only)
    with Stub(amp.answer) as stub:
        source = connect(f"{stub.url}/workspaces/ws-1")
        assert isinstance(source, Prometheus)
        for query in ('up{job="a b/ü",x=~"c+d&e=f"}', "sum(rate(x[5m]))"):
            assert source.query(query).iloc[0] == 1
        assert amp.seen[-1].method == ("GET" if get_only else "POST")
        assert SECRET not in repr(source.transport) + repr(source)
        assert SESSION not in repr(source.transport)


@pytest.mark.usefixtures("signed_in")
def test_another_secret_is_refused_and_nothing_of_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    with Stub(Amp().answer) as stub:
        source = connect(stub.url)
        assert isinstance(source, Prometheus)
        with pytest.raises(AccessDenied, match="Missing Authentication Token") as caught:
            source.query("up")
    assert "another-secret" not in str(caught.value)
    assert SESSION not in str(caught.value)


def test_without_credentials_or_a_region_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", "aws")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ParameterError, match="names no region of AWS: set AWS_REGION"):
        connect("http://localhost:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    source = connect("http://localhost:1")
    assert isinstance(source, Prometheus)
    with pytest.raises(AccessDenied, match="no credentials of AWS were found: set AWS_PROFILE"):
        source.query("up")


def test_the_region_is_that_of_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "key")
    assert signed_for("http://localhost:1") == "eu-west-2"
    own = "https://vpce-0a-b.aps-workspaces.us-east-1.vpce.amazonaws.com/workspaces/w"
    assert signed_for(own) == "us-east-1"


def signed_for(url: str) -> str:
    """The region that a signature is good for."""
    request = PreparedRequest()
    request.prepare("GET", f"{url}/api/v1/query", headers={}, auth=Aws(url))
    signature = request.headers["Authorization"]
    scope = re.search(r"Credential=id/\d+/([^/]+)/aps/aws4_request", signature)
    assert scope is not None
    return scope[1]


def test_a_profile_of_aws_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", "aws")
    monkeypatch.setenv("AWS_PROFILE", "gone")
    with pytest.raises(AccessDenied, match=r"cannot be had \(ProfileNotFound\): see whether `aws"):
        connect("http://localhost:1")


def test_a_web_identity_that_aws_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").write_text(SECRET)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/reports")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    denied = f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{SECRET}</Message></Error>"
    with Stub(Reply(f"{denied}</ErrorResponse>".encode(), 403, content_type="text/xml")) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        client = Prometheus("http://localhost:1", credentials=Credentials(sign_in="aws"))
        with pytest.raises(AccessDenied, match=r"cannot be had \(ClientError\)") as caught:
            client.query("up")
    assert SECRET not in str(caught.value)


def test_an_unknown_way_and_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", "asw")
    with pytest.raises(ParameterError, match="unknown way to sign in 'asw': did you mean aws"):
        connect("http://localhost:1")
    for way, module in (
        ("aws", "botocore.session"),
        ("google", "google.auth"),
        ("azure", "azure.identity"),
    ):
        monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", way)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            SourceError, match=r"needs the package .*: pip install 'cilium-analysis\["
        ):
            connect("http://localhost:1")


# Google


@pytest.fixture
def desk() -> Iterator[tuple[Stub, list[Mapping[str, str]]]]:
    """A token endpoint, and a server that takes its newest token; the forms that it was sent."""
    forms: list[Mapping[str, str]] = []

    def answer(request: Request) -> Reply:
        if request.path == "/token":
            forms.append(dict(parse_qsl(request.body.decode())))
            given = {"access_token": f"{TOKEN}-{len(forms)}", "expires_in": 3600}
            return Reply(json.dumps(given | {"token_type": "Bearer"}).encode())
        if request.path == "/msi":
            forms.append(dict(request.params) | {"secret": request.headers["x-identity-header"]})
            until = int((datetime.now(UTC) + timedelta(hours=1)).timestamp())
            given = {"access_token": f"{TOKEN}-{len(forms)}", "expires_on": str(until)}
            return Reply(json.dumps(given | {"token_type": "Bearer", "resource": "r"}).encode())
        wanted = f"Bearer {TOKEN}-{len(forms)}"
        return UP if request.headers.get("authorization") == wanted else Reply(b"{}", 401)

    with Stub(answer) as stub:
        yield stub, forms


def test_google_s_application_default_credentials(
    desk: tuple[Stub, list[Mapping[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, forms = desk
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "reports@p.iam.gserviceaccount.com",
        "token_uri": f"{stub.url}/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", "google")
    source = connect(f"{stub.url}/v1/projects/p/location/global/prometheus")
    assert isinstance(source, Prometheus)
    source.query("up")
    source.query("up")
    assert len(forms) == 1
    assert forms[0]["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    forms.append({})  # the token was revoked
    source.query("up")
    assert len(forms) == 3
    assert TOKEN not in repr(source.transport)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone.json"))
    source = connect(stub.url)
    assert isinstance(source, Prometheus)
    with pytest.raises(AccessDenied, match=r"no token of Google \(\w+\): sign in \(gcloud auth"):
        source.query("up")


# Azure


def test_azure_s_managed_identity(
    desk: tuple[Stub, list[Mapping[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, forms = desk
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{stub.url}/msi")
    monkeypatch.setenv("IDENTITY_HEADER", "of-the-pod")
    monkeypatch.setenv("CILIUM_ANALYSIS_SIGN_IN", "azure")
    source = connect(stub.url)
    assert isinstance(source, Prometheus)
    source.query("up")
    source.query("up")
    assert len(forms) == 1
    assert forms[0]["resource"] == "https://prometheus.monitor.azure.com"
    assert forms[0]["secret"] == "of-the-pod"
    assert TOKEN not in repr(source.transport)

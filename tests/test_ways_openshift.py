"""The Prometheus of an OpenShift: its Thanos Querier, by the route and the user's token."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from cilium_analysis.connection import connect
from cilium_analysis.errors import AccessDenied, ParameterError, PrometheusError, SourceError
from cilium_analysis.prometheus import Prometheus
from tests.faults import Reply, Request, Stub, page, refusal, vector
from tests.kube_api import write_kubeconfig

UP = vector(({"job": "cilium"}, 1.5, "1"))
ROUTE = "/apis/route.openshift.io/v1/namespaces/openshift-monitoring/routes/thanos-querier"


@dataclass
class OpenShift:
    """An API server that knows a route, and what the route leads to."""

    host: str = ""
    failures: list[Reply] = field(default_factory=list)
    tenants: set[str | None] = field(default_factory=set)

    def querier(self, request: Request) -> Reply:
        self.tenants.add(request.headers.get("x-scope-orgid"))
        known = request.headers.get("authorization") == "Bearer sha256~me"
        return UP if known else refusal(401, "unauthorized", "no")

    def api(self, request: Request) -> Reply:
        if self.failures:
            return self.failures.pop()
        if request.headers.get("authorization") != "Bearer sha256~me":
            return Reply(b"{}", 401)
        found = json.dumps({"kind": "Route", "spec": {"host": self.host}}).encode()
        return Reply(found) if request.path == ROUTE else Reply(b"{}", 404)


@pytest.fixture
def openshift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[OpenShift, str]]:
    """One that the kubeconfig names."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("CILIUM_ANALYSIS_CA_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", "of-something-else")
    made = OpenShift()
    with Stub(made.querier, tls=context) as thanos, Stub(made.api) as server:
        made.host = thanos.url.removeprefix("https://")
        write_kubeconfig(tmp_path / "kubeconfig", server.url, token="sha256~me")
        yield made, server.url


def test_openshift_s_thanos_querier(openshift: tuple[OpenShift, str], tmp_path: Path) -> None:
    made, url = openshift
    source = connect("openshift:")
    assert isinstance(source, Prometheus)
    assert source.query("up").iloc[0] == 1
    assert source.name == "openshift:"
    assert source.found == f"Found the route thanos-querier at {made.host}"
    write_kubeconfig(tmp_path / "kubeconfig", url, token="another")
    with pytest.raises(AccessDenied, match=r"\(401\): sign in \(oc login\) as a user with"):
        connect("openshift:")
    write_kubeconfig(tmp_path / "kubeconfig", url)
    with pytest.raises(AccessDenied, match="has no token"):
        connect("openshift:")
    made.host = "evil.example/path"
    write_kubeconfig(tmp_path / "kubeconfig", url, token="sha256~me")
    with pytest.raises(SourceError, match="has no route thanos-querier"):
        connect("openshift:")
    with pytest.raises(ParameterError, match="names no Service: write openshift:"):
        connect("openshift:a/b:1")


def test_an_api_server_that_starts_anew_is_asked_again(openshift: tuple[OpenShift, str]) -> None:
    openshift[0].failures = [page(503)]
    assert connect("openshift:").name == "openshift:"


def test_the_tenant_is_sent(
    openshift: tuple[OpenShift, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_TENANT", "team")
    source = connect("openshift:")
    assert isinstance(source, Prometheus)
    source.query("up")
    assert openshift[0].tenants == {"team"}


@pytest.mark.usefixtures("openshift")
@pytest.mark.parametrize("password", ["hunter2[secret", "hunter2 secret"])
def test_the_password_of_a_proxy_is_shown_nowhere(
    password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", "http://api.invalid", token="sha256~me")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://user:{password}@proxy.invalid:99999")
    with pytest.raises(PrometheusError) as caught:
        connect("openshift:", timeout=2)
    assert "hunter2" not in str(caught.value)

"""The Prometheus in a cluster by a port-forward, which is opened for it and closed with it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from cilium_analysis.connection import connect
from cilium_analysis.errors import ParameterError, ServerUnavailable, SourceError
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.ways.services import pod_port, ready_pods, selector_of
from cilium_analysis.window import Window
from tests.faults import Reply, Request, Stub, matrix, vector
from tests.kube_api import CORE, PATHS, KubeApi, Object, write_kubeconfig
from tests.port_forward import Forwarding
from tests.test_ways_kubernetes import STACK, app, service

UP = vector(({}, 1.0, "1"))
PODS = f"{CORE}/namespaces/monitoring/pods"
SOURCE = "kubernetes:monitoring/kps-prometheus:9090?via=port-forward"


def pod(name: str, *, ready: bool = True) -> Object:
    ports = [{"name": "http-web", "containerPort": 9091}]
    return {
        "metadata": {"name": name, "namespace": "monitoring"},
        "spec": {"containers": [{"name": "sidecar"}, {"name": "prometheus", "ports": ports}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }


SERVICE = STACK | {
    "spec": {
        "selector": {"app": "prometheus", "instance": "kps"},
        "ports": [{"name": "http-web", "port": 9090, "targetPort": "http-web"}],
    }
}


def test_what_a_service_leads_to() -> None:
    assert selector_of(SERVICE) == "app=prometheus,instance=kps"
    assert selector_of({}) == ""
    pods: list[Any] = [pod("b"), pod("a", ready=False), pod("c"), {"metadata": {}}, None]
    assert [each["metadata"]["name"] for each in ready_pods(pods)] == ["b", "c"]
    assert ready_pods([pod("a", ready=False)]) == []
    assert pod_port(SERVICE, pod("a"), 9090) == 9091
    numbered = {"spec": {"ports": [{"name": "web", "port": 80, "targetPort": 9095}]}}
    assert pod_port(numbered, pod("a"), 80) == 9095
    assert pod_port({"spec": {"ports": [{"name": "web", "port": 80}]}}, pod("a"), 80) == 80


@pytest.fixture
def prometheus() -> Iterator[Stub]:
    """What runs in the pod."""

    def answer(request: Request) -> Reply:
        if request.path.endswith("query_range"):
            return matrix(({}, {float(t): "1" for t in range(0, 90 * 86_400 + 1, 60)}))
        return UP

    with Stub(answer) as stub:
        yield stub


def cluster(
    stub: Stub | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *pods: Object,
    services: Sequence[Object] = (SERVICE,),
) -> Forwarding:
    port = urlsplit(stub.url).port if stub is not None else None
    api = KubeApi({PATHS["Service"]: list(services), PODS: list(pods)}, token="of-kube")
    made = Forwarding(api, {("kps-0", 9091): port})
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return made


def asked(made: Forwarding, tmp_path: Path, source: str = SOURCE) -> Prometheus:
    write_kubeconfig(tmp_path / "kubeconfig", made.url, token="of-kube")
    found = connect(source, timeout=10)
    assert isinstance(found, Prometheus)
    found.transport.retries = 0
    return found


def test_a_port_leads_to_the_pod_with_the_credentials_of_the_server(
    prometheus: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", "of-the-server")
    with cluster(prometheus, tmp_path, monkeypatch, pod("kps-0")) as made:
        source = asked(made, tmp_path)
        assert source.name == SOURCE
        assert not source.query("up").empty
        assert prometheus.requests[-1].headers["authorization"] == "Bearer of-the-server"
        assert prometheus.requests[-1].method == "POST"
        # A large answer comes whole, and connections are used again.
        window = Window.parse("1970-01-01T00:00Z", "1970-04-01T00:00Z", step="60s")
        assert source.range("up", window).shape[0] > 100_000
        opened = made.opened
        source.query("up")
        assert made.opened == opened
        port = urlsplit(source.transport.base).port
        source.close()
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            pass


def test_one_is_found_and_forwarded_to(
    prometheus: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(prometheus, tmp_path, monkeypatch, pod("kps-0")) as made:
        source = asked(made, tmp_path, "kubernetes:?via=port-forward")
        assert source.name == SOURCE
        assert not source.query("up").empty


@pytest.mark.parametrize("pods", [[], [pod("kps-0", ready=False)]])
def test_no_pod_is_ready(
    pods: list[Any], prometheus: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(prometheus, tmp_path, monkeypatch, *pods) as made:
        with pytest.raises(SourceError, match="has no pod that is ready to forward to"):
            asked(made, tmp_path)
        made.api.forbid(PODS)
        with pytest.raises(SourceError, match=r"cannot list pods \(403\)"):
            asked(made, tmp_path)


def test_nobody_listens_in_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(None, tmp_path, monkeypatch, pod("kps-0")) as made:
        source = asked(made, tmp_path)
        with pytest.raises(ServerUnavailable, match="closed the connection without an answer"):
            source.query("up")


def test_a_candidate_without_a_ready_pod_is_passed_over(
    prometheus: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = service("thanos-query", app("thanos-query"), ("http", 9090), namespace="thanos")
    other["spec"]["selector"] = {"app": "thanos"}
    services = [other, SERVICE]
    with cluster(prometheus, tmp_path, monkeypatch, pod("kps-0"), services=services) as made:
        made.api.objects[f"{CORE}/namespaces/thanos/pods"] = []
        assert asked(made, tmp_path, "kubernetes:?via=port-forward").name == SOURCE


@pytest.mark.parametrize("source", [SOURCE, "kubernetes:?via=port-forward"])
def test_the_right_to_forward_is_missing(
    source: str, prometheus: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = [SERVICE, service("other", app("prometheus", "server"), ("http", 80))]
    made = cluster(prometheus, tmp_path, monkeypatch, pod("kps-0"), services=services)
    made.may_forward = False
    with made:
        said = (
            r"cannot forward to pods \(403\): that needs the rights to get and to create pods/portf"
        )
        with pytest.raises(SourceError, match=said):
            asked(made, tmp_path, source)


def test_a_certificate_is_that_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("CILIUM_ANALYSIS_CA_FILE", str(tmp_path / "ca.pem"))
    secure = STACK | {
        "spec": SERVICE["spec"]
        | {"ports": [{"name": "https-web", "port": 9090, "targetPort": "http-web"}]}
    }
    for name, trusted in (("kps-prometheus.monitoring.svc", True), ("another.svc", False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        with (
            Stub(lambda _: UP, tls=context) as stub,
            cluster(stub, tmp_path, monkeypatch, pod("kps-0"), services=[secure]) as made,
        ):
            source = asked(made, tmp_path)
            if trusted:
                assert not source.query("up").empty
                continue
            with pytest.raises(ServerUnavailable, match="no TLS with"):
                source.query("up")


def test_a_token_that_expired_is_asked_for_again(
    prometheus: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cluster(prometheus, tmp_path, monkeypatch, pod("kps-0")) as made:
        source = asked(made, tmp_path)
        made.api.token = "newer"
        write_kubeconfig(tmp_path / "kubeconfig", made.url, token="newer")
        assert not source.query("up").empty


def test_an_unknown_way() -> None:
    with pytest.raises(ParameterError, match="goes via neither proxy nor port-forward"):
        connect("kubernetes:a/b:1?via=ssh")

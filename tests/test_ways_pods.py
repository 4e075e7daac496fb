"""A Service of a cluster that leads to several servers, and who gets credentials there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme

from cilium_analysis.connection import connect
from cilium_analysis.errors import ServerUnavailable, SourceError
from cilium_analysis.kube.access import Kubernetes
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.ways.services import servers_of
from tests.faults import Answerer, Reply, Request, Stub, refusal
from tests.kube_api import CORE, PATHS, KubeApi, Object, status, write_kubeconfig
from tests.port_forward import Forwarding
from tests.test_ways_kubernetes import CILIUM, NOTHING, OPERATED, STACK, THANOS, always

PODS = f"{CORE}/namespaces/monitoring/pods"
NAMED = "kubernetes:monitoring/prometheus-operated:9090"


def with_pods(service: Object, selector: Mapping[str, str]) -> Object:
    return service | {"spec": service["spec"] | {"selector": dict(selector)}}


#: Both lead to all pods of Prometheus Operator, as theirs do.
BOTH = [with_pods(each, {"app.kubernetes.io/name": "prometheus"}) for each in (OPERATED, STACK)]


def pod(name: str, *, of: str = "k8s", shard: str = "0", ready: bool = True) -> Object:
    """A pod of Prometheus Operator."""
    labels = {"operator.prometheus.io/name": of, "operator.prometheus.io/shard": shard}
    return {
        "metadata": {"name": name, "namespace": "monitoring", "labels": labels},
        "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 9090}]}]},
        "status": {
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}],
        },
    }


SHARDS = [pod("k8s-0"), pod("k8s-shard-1-0", shard="1")]
PAIR = [pod("k8s-1"), pod("k8s-0")]
THE_PAIR = {
    "monitoring/pods/k8s-0:9090": always(CILIUM),
    "monitoring/pods/k8s-1:9090": always(NOTHING),
    "monitoring/prometheus-operated:9090": always(CILIUM),
}

Cluster = Callable[..., KubeApi]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Make the API server of the kubeconfig."""
    running: list[KubeApi] = []

    def make(
        services: Sequence[Object], pods: Sequence[Object], behind: Mapping[str, Answerer]
    ) -> KubeApi:
        objects = {PATHS["Service"]: list(services), PODS: list(pods)}
        api = KubeApi(objects, proxied=behind)
        running.append(api.__enter__())
        monkeypatch.setenv("KUBECONFIG", str(write_kubeconfig(tmp_path / "kubeconfig", api.url)))
        return api

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield make
    for api in running:
        api.__exit__(None, None, None)


def reached(source: str) -> Prometheus:
    found = connect(source, timeout=10)
    assert isinstance(found, Prometheus)
    return found


def warnings(source: Prometheus) -> tuple[str, ...]:
    source.instant("up", datetime.now(UTC))
    return source.journal[-1].warnings


def test_servers_are_told_apart_by_their_labels() -> None:
    assert servers_of(SHARDS) == ["k8s shard 0", "k8s shard 1"]
    assert servers_of(PAIR) == ["k8s shard 0"]
    assert servers_of([pod("a"), pod("b", of="apps")]) == ["apps shard 0", "k8s shard 0"]
    assert servers_of([{"metadata": None}, {}]) == ["one without such labels"]
    assert servers_of([]) == []


@pytest.mark.parametrize("source", [NAMED, "kubernetes:", f"{NAMED}?via=port-forward"])
# One that is down just now is a shard all the same.
@pytest.mark.parametrize("pods", [SHARDS, [SHARDS[0], pod("b", shard="1", ready=False)]])
def test_a_service_of_shards_is_refused(source: str, pods: list[Object], cluster: Cluster) -> None:
    cluster(BOTH[:1], pods, {"monitoring/prometheus-operated:9090": always(CILIUM)})
    said = r"leads to 2 servers that hold different metrics \(k8s shard 0, k8s shard 1\); name a "
    with pytest.raises(SourceError, match=said):
        reached(source)


def test_shards_are_passed_over_for_what_asks_them_all(cluster: Cluster) -> None:
    served = {
        "monitoring/thanos-query:9090": always(NOTHING),
        "monitoring/kps-prometheus:9090": always(CILIUM),
    }
    cluster([THANOS, BOTH[1]], SHARDS, served)
    source = reached("kubernetes:")
    assert source.name == "kubernetes:monitoring/thanos-query:9090"
    assert source.found.endswith(
        ". monitoring/kps-prometheus:9090 leads to 2 servers that hold different metrics"
        " (k8s shard 0, k8s shard 1)"
    )
    cluster(BOTH, SHARDS, served)
    with pytest.raises(SourceError, match=r"none of the Services .*leads to 2 servers that hold"):
        reached("kubernetes:")


@pytest.mark.parametrize("source", [NAMED, "kubernetes:"])
def test_of_a_pair_one_is_asked_all(source: str, cluster: Cluster) -> None:
    api = cluster(BOTH[:1], PAIR, THE_PAIR)
    found = reached(source)
    assert found.name == NAMED
    assert found.found.endswith(
        "leads to 2 replicas: all is asked of the pod k8s-0, which runs longest"
    )
    for _ in range(4):
        assert not found.query("up").empty
    asked = {request.path for request in api.requests if "/proxy/" in request.path}
    assert asked == {f"{PODS}/k8s-0:9090/proxy/api/v1/query"}
    assert not warnings(found)


def test_of_a_pair_the_one_that_runs_longest_is_asked(cluster: Cluster) -> None:
    """What has no volume of its own has lost all that was before its last start."""
    times = {"k8s-0": "2026-03-21T09:10:00Z", "k8s-1": "2026-03-01T07:00:00Z"}
    pods = [
        each | {"status": each["status"] | {"startTime": times[each["metadata"]["name"]]}}
        for each in PAIR
    ]
    cluster(BOTH[:1], pods, THE_PAIR)
    assert reached(NAMED).found.endswith("all is asked of the pod k8s-1, which runs longest")


@pytest.mark.parametrize("gone", [status(404, "NotFound", 'pods "k8s-0" not found'), None])
def test_a_pod_that_goes_away_gives_its_place_to_the_other(
    gone: Reply | None, cluster: Cluster
) -> None:
    behind = {**THE_PAIR, "monitoring/pods/k8s-1:9090": always(CILIUM)}
    api = cluster(BOTH[:1], PAIR, behind)
    found = reached(NAMED)
    assert not warnings(found)
    if gone:
        api.proxied["monitoring/pods/k8s-0:9090"] = lambda _: gone
    else:  # the proxy cannot reach it
        del api.proxied["monitoring/pods/k8s-0:9090"]
    api.change(PODS, PAIR[:1])
    for _ in range(2):
        assert warnings(found) == (
            "a replica of monitoring/prometheus-operated:9090 went away while it was asked, and the"
            " pod k8s-1 in its place: they differ a little",
        )
    assert found.name == NAMED
    assert len(api.asked(f"{PODS}/k8s-0:9090/proxy/api/v1/query")) <= 4


def test_where_no_other_pod_is_ready_the_first_is_waited_for(cluster: Cluster) -> None:
    api = cluster(BOTH[:1], PAIR, THE_PAIR)
    found = reached(NAMED)
    found.transport.retries = 0
    answers = api.proxied.pop("monitoring/pods/k8s-0:9090")
    api.change(PODS, [pod("k8s-1", ready=False)])
    with pytest.raises(ServerUnavailable):
        found.query("up")
    api.proxied["monitoring/pods/k8s-0:9090"] = answers
    assert not found.query("up").empty


def test_a_pair_whose_pods_may_not_be_asked(cluster: Cluster) -> None:
    api = cluster(BOTH[:1], PAIR, THE_PAIR)
    api.may_ask_pods = False
    found = reached(NAMED)
    assert "leads to 2 replicas, which answer in turn and differ a little" in found.found
    assert not found.query("up").empty
    assert warnings(found) == (found.found,)


@pytest.mark.parametrize("source", [NAMED, "kubernetes:"])
def test_pods_that_may_not_be_listed(source: str, cluster: Cluster) -> None:
    api = cluster(BOTH[:1], PAIR, THE_PAIR)
    api.forbid(PODS)
    found = reached(source)
    assert "cannot list pods (403)" in found.found
    (said,) = warnings(found)
    assert said.startswith("monitoring/prometheus-operated:9090 may lead to several servers in t")


def test_what_is_alike_is_asked_as_one(cluster: Cluster) -> None:
    """Each of several Thanos Queries sees all."""
    thanos = with_pods(THANOS, {"app": "thanos"})
    api = cluster([thanos], PAIR, {"monitoring/thanos-query:9090": always(CILIUM)})
    found = reached("kubernetes:")
    assert not found.query("up").empty
    assert found.found == "Found monitoring/thanos-query:9090 (Thanos Query)"
    assert not api.asked(PODS)


# Where the server gets the credentials that are named for it


TOKEN = "of-my-prometheus"
DENIED = refusal(401, "unauthorized", "no token")


@pytest.fixture
def in_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Sequence[Object], Sequence[Object], Answerer], Stub]]:
    """Make the API of the cluster that this is a pod of; all else that is asked goes to a stub."""
    account = tmp_path / "account"
    account.mkdir()
    authority = trustme.CA()
    (account / "token").write_text("of-the-pod")
    authority.cert_pem.write_to_path(account / "ca.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    of_this_pod = partial(Kubernetes, service_account=str(account))
    monkeypatch.setattr("cilium_analysis.ways.kubernetes.Kubernetes", of_this_pod)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", TOKEN)
    with ExitStack() as running:

        def make(services: Sequence[Object], pods: Sequence[Object], server: Answerer) -> Stub:
            objects = {PATHS["Service"]: list(services), PODS: list(pods)}
            api = running.enter_context(KubeApi(objects, token="of-the-pod", tls=context))
            stub = running.enter_context(Stub(server))
            where = urlsplit(api.url)
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(where.hostname))
            monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(where.port))
            monkeypatch.setenv("http_proxy", stub.url)
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            return stub

        yield make


def test_one_that_was_only_found_gets_no_credentials_in_a_pod(in_pod: Any) -> None:
    anybody_s = THANOS | {"metadata": THANOS["metadata"] | {"namespace": "tenant-b"}}

    def server(request: Request) -> Reply:
        return CILIUM if "kps" in request.headers["host"] else NOTHING

    for services in ([anybody_s, STACK], [STACK]):
        stub = in_pod(services, [], server)
        found = reached("kubernetes:")
        assert found.name == "http://kps-prometheus.monitoring.svc:9090"
        assert not found.query("up").empty
        assert stub.requests
        assert not any("authorization" in request.headers for request in stub.requests)
    named = reached("kubernetes:monitoring/kps-prometheus:9090")
    named.query("up")
    assert stub.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("others", [[], [THANOS]])
def test_one_that_wants_credentials_is_to_be_named(others: list[Object], in_pod: Any) -> None:
    def server(request: Request) -> Reply:
        known = request.headers.get("authorization") == f"Bearer {TOKEN}"
        return CILIUM if known else DENIED if "kps" in request.headers["host"] else NOTHING

    stub = in_pod([*others, STACK], [], server)
    source = "kubernetes:monitoring/kps-prometheus:9090"
    with pytest.raises(SourceError) as caught:
        reached("kubernetes:")
    assert str(caught.value) == (
        "monitoring/kps-prometheus:9090 asks for credentials, which go to a Service only that is"
        f" named: if it is yours, --source {source}"
    )
    assert not any("authorization" in request.headers for request in stub.requests)
    assert not reached(source).query("up").empty


def test_in_a_pod_one_of_a_pair_is_asked_by_its_address(in_pod: Any) -> None:
    stub = in_pod(BOTH[:1], PAIR, always(CILIUM))
    found = reached(NAMED)
    assert not found.query("up").empty
    assert found.name == "http://prometheus-operated.monitoring.svc:9090"
    assert {request.headers["host"] for request in stub.requests} == {"10.0.0.1:9090"}


def test_one_that_was_only_found_gets_no_credentials_by_a_port_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", TOKEN)
    script = [DENIED, CILIUM]
    with Stub(lambda _: script[0]) as stub:
        objects = {PATHS["Service"]: BOTH[:1], PODS: PAIR[1:]}
        ports = {("k8s-0", 9090): urlsplit(stub.url).port}
        with Forwarding(KubeApi(objects), ports) as made:
            write_kubeconfig(tmp_path / "kubeconfig", made.url)
            source = "kubernetes:?via=port-forward"
            with pytest.raises(SourceError, match=r"--source kubernetes:\S+\?via=port-forward$"):
                reached(source)
            del script[0]
            with reached(source) as found:
                assert not found.query("up").empty
            assert not any("authorization" in request.headers for request in stub.requests)
            with reached(f"{NAMED}?via=port-forward") as named:
                named.query("up")
            assert stub.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"

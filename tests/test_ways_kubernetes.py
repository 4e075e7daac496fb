"""The Prometheus in a cluster, with nothing at hand but a kubeconfig: found, and asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from cilium_analysis.cli import main
from cilium_analysis.connection import connect
from cilium_analysis.errors import AccessDenied, ParameterError, ServerUnavailable, SourceError
from cilium_analysis.prometheus import Prometheus
from cilium_analysis.ways.kubernetes import Source
from cilium_analysis.ways.services import described, known
from tests.faults import Answerer, Reply, Request, Stub, forward, vector
from tests.kube_api import PATHS, KubeApi, Object, status, write_kubeconfig
from tests.servers.served import ClusterServer

SERVICES = PATHS["Service"]
CILIUM = vector(({}, 1.0, "6"))
NOTHING = vector()


def service(
    name: str, labels: Mapping[str, str], *ports: tuple[str, int], namespace: str = "monitoring"
) -> Object:
    """A Service, as the API gives it."""
    listed = [{"name": port, "port": number, "protocol": "TCP"} for port, number in ports]
    meta = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"metadata": meta, "spec": {"type": "ClusterIP", "ports": listed}}


def app(name: str, component: str = "") -> dict[str, str]:
    found = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": component}
    return {label: value for label, value in found.items() if value}


OPERATED = service("prometheus-operated", {"operated-prometheus": "true"}, ("web", 9090))
STACK = service(
    "kps-prometheus",
    {"app": "kube-prometheus-stack-prometheus"},
    ("reloader-web", 8080),
    ("http-web", 9090),
)
SERVER = service("prometheus-server", app("prometheus", "server"), ("http", 80))
THANOS = service("thanos-query", app("thanos-query"), ("grpc", 10901), ("http", 9090))
OTHERS = [
    service("alertmanager", app("alertmanager"), ("http", 9093)),
    service("prometheus-node-exporter", app("prometheus-node-exporter"), ("metrics", 9100)),
    service("pushgateway", {"app": "prometheus", "component": "pushgateway"}, ("http", 9091)),
    service("kube-dns", {"k8s-app": "kube-dns"}, ("dns-tcp", 53), namespace="kube-system"),
    {"metadata": None, "spec": []},
]


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (OPERATED, "monitoring/prometheus-operated:9090"),
        (STACK, "monitoring/kps-prometheus:9090"),
        (SERVER, "monitoring/prometheus-server:80"),
        (THANOS, "monitoring/thanos-query:9090"),
        (
            service("prometheus-k8s", app("prometheus", "prometheus"), ("web", 9090)),
            "monitoring/prometheus-k8s:9090",
        ),
        # Cilium's own example (examples/kubernetes/addons/prometheus).
        (
            service("prometheus", {"app": "prometheus"}, ("webui", 9090), namespace="cilium-mon"),
            "cilium-mon/prometheus:9090",
        ),
        (service("vms", app("vmsingle"), ("http", 8429)), "monitoring/vms:8429"),
        (service("vmselect", {"app": "vmselect"}, ("http", 8481)), "monitoring/vmselect:8481"),
        (
            service("mimir-nginx", app("mimir", "nginx"), ("http-metric", 80)),
            "monitoring/mimir-nginx:80",
        ),
    ],
)
def test_each_kind_is_known_by_its_labels(item: Object, found: str) -> None:
    (only,) = known([*OTHERS, item])
    assert only.text == found
    assert only.called
    assert described(item) == only


def test_what_sees_most_comes_first() -> None:
    names = [each.name for each in known([SERVER, OPERATED, THANOS, *OTHERS])]
    assert names == ["thanos-query", "prometheus-server", "prometheus-operated"]


def test_the_paths_of_each_kind() -> None:
    select = service("s", {"app": "vmselect"}, ("http", 8481))
    mimir = service("m", app("mimir", "gateway"), ("http-metrics", 80))
    secure = service("p", app("prometheus", "server"), ("https-web", 9091))
    assert [each.prefix for each in known([select, mimir])] == [
        "/prometheus",
        "/select/0/prometheus",
    ]
    assert known([secure])[0].tls


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kubernetes:monitoring", "names no Service: write kubernetes:, or kubernetes:NAMESPACE"),
        ("kubernetes:a/b:x", "names no Service"),
        ("kubernetes:a/b:70000", "names no port"),
        ("kubernetes:../x:1", "names no Service"),
        ("kubernetes:a/b/c:1", "names no Service"),
        ("kubernetes:?contxt=a", "unknown 'contxt': did you mean context?"),
    ],
)
def test_what_is_no_source(text: str, said: str) -> None:
    with pytest.raises(ParameterError) as caught:
        connect(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["kubernetes:", "kubernetes:a/b:9090", "kubernetes:?context=x/y"])
def test_a_source_is_written_as_it_is_read(text: str) -> None:
    assert Source.parse(text).text == text
    assert Source.parse(Source.parse(text).text) == Source.parse(text)


Cluster = Callable[..., str]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Make the API server of the kubeconfig; what is behind each Service is given."""
    running: list[KubeApi] = []

    def make(
        *services: Object, token: str = "", behind: Mapping[str, Answerer] | None = None
    ) -> KubeApi:
        api = KubeApi({SERVICES: list(services)}, token=token, proxied=behind)
        running.append(api.__enter__())
        config = write_kubeconfig(tmp_path / "kubeconfig", api.url, token=token)
        monkeypatch.setenv("KUBECONFIG", str(config))
        return api

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    yield make  # type: ignore[misc]
    for api in running:
        api.__exit__(None, None, None)


def always(reply: Reply) -> Answerer:
    return lambda _: reply


def test_the_only_one_is_taken(cluster: Any) -> None:
    api = cluster(*OTHERS, STACK, behind={"monitoring/kps-prometheus:9090": always(CILIUM)})
    source = connect("kubernetes:")
    assert isinstance(source, Prometheus)
    assert source.found == "Found monitoring/kps-prometheus:9090 (kube-prometheus-stack)"
    assert source.name == "kubernetes:monitoring/kps-prometheus:9090"
    source.query("up")
    assert {request.method for request in api.requests} == {"GET"}
    again = connect(source.name)
    assert again.name == source.name
    assert not getattr(again, "found", "")


def test_of_several_the_one_with_cilium_is_taken_and_all_are_named(cluster: Any) -> None:
    behind = {
        "monitoring/thanos-query:9090": always(NOTHING),
        "monitoring/prometheus-server:80": always(CILIUM),
        "monitoring/prometheus-operated:9090": always(CILIUM),
    }
    cluster(THANOS, SERVER, OPERATED, *OTHERS, behind=behind)
    source = connect("kubernetes:")
    assert source.name == "kubernetes:monitoring/prometheus-server:80"
    assert isinstance(source, Prometheus)
    assert source.found == (
        "Found monitoring/thanos-query:9090 (Thanos Query), monitoring/prometheus-server:80"
        " (Prometheus), monitoring/prometheus-operated:9090 (Prometheus Operator). Took"
        " monitoring/prometheus-server:80, which has metrics of Cilium;"
        " --source kubernetes:NAMESPACE/SERVICE:PORT takes another"
    )


def test_without_cilium_the_first_that_answers_is_taken(cluster: Any) -> None:
    cluster(THANOS, SERVER, behind={"monitoring/prometheus-server:80": always(NOTHING)})
    source = connect("kubernetes:")
    assert isinstance(source, Prometheus)
    assert "Took monitoring/prometheus-server:80, the first that answers" in source.found


def test_none_of_several_answers(cluster: Any) -> None:
    cluster(THANOS, SERVER)
    with pytest.raises(SourceError, match="none of the Services of the cluster answers like"):
        connect("kubernetes:")


def test_no_service_is_a_prometheus(cluster: Any) -> None:
    cluster(*OTHERS)
    with pytest.raises(SourceError, match="has the labels of a Prometheus, Thanos, Mimir or"):
        connect("kubernetes:")


def test_services_that_may_not_be_listed(cluster: Any) -> None:
    api = cluster(STACK, behind={"monitoring/kps-prometheus:9090": always(CILIUM)})
    api.forbid(SERVICES)
    with pytest.raises(SourceError, match=r"cannot list services .*; or name the Prom"):
        connect("kubernetes:")
    # One that is named with its port needs no other right than to ask it.
    api.forbid("/api/v1/namespaces/monitoring/services/kps-prometheus")
    source = connect("kubernetes:monitoring/kps-prometheus:9090")
    assert isinstance(source, Prometheus)
    assert not source.query("up").empty
    with pytest.raises(SourceError, match="or name its port: --source kubernetes:monitoring/kps"):
        connect("kubernetes:monitoring/kps-prometheus")


def test_the_port_of_a_service_is_looked_up(cluster: Any) -> None:
    cluster(STACK, behind={"monitoring/kps-prometheus:9090": always(CILIUM)})
    assert connect("kubernetes:monitoring/kps-prometheus").name.endswith(":9090")
    with pytest.raises(SourceError, match="no such"):
        connect("kubernetes:monitoring/kps-promtheus")


def test_a_service_without_pods_is_told(cluster: Any) -> None:
    cluster(STACK)
    source = connect("kubernetes:", timeout=5)
    assert isinstance(source, Prometheus)
    source.transport.retries = 0
    with pytest.raises(ServerUnavailable, match="no endpoints available for service"):
        source.query("up")


def test_credentials_of_a_server_do_not_reach_the_api_server(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", "of-the-server")
    monkeypatch.setenv("CILIUM_ANALYSIS_TENANT", "team")
    api = cluster(STACK, token="of-kube", behind={"monitoring/kps-prometheus:9090": always(CILIUM)})
    source = connect("kubernetes:")
    assert isinstance(source, Prometheus)
    source.query("up")
    assert {r.headers["authorization"] for r in api.requests} == {"Bearer of-kube"}
    assert "of-kube" not in repr(source) + repr(source.transport) + source.name


@pytest.mark.parametrize("text", ["kubernetes:", "kubernetes:monitoring/mimir:80"])
def test_the_tenant_passes_the_proxy_of_the_api_server(
    text: str, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_TENANT", "team")

    def mimir(request: Request) -> Reply:
        known = request.headers.get("x-scope-orgid") == "team"
        return CILIUM if known else status(401, "Unauthorized", "no org id")

    gateway = service("mimir", app("mimir", "gateway"), ("http-metrics", 80))
    cluster(gateway, behind={"monitoring/mimir:80": mimir})
    source = connect(text)
    assert isinstance(source, Prometheus)
    assert not source.query("up").empty


def sign_by_plugin(folder: Path) -> Path:
    """Let the kubeconfig there take tokens of an exec plugin; give the file that counts its runs.

    The tokens are t1, t2 and so on.
    """
    count, config = folder / "count", folder / "kubeconfig"
    count.write_text("")
    code = (
        f"import json; f = open({str(count)!r}, 'a+'); f.write('x'); f.seek(0)\n"
        "status = {'token': f't{len(f.read())}'}\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
        " 'kind': 'ExecCredential', 'status': status}))"
    )
    document = yaml.safe_load(config.read_text())
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", code],
        "interactiveMode": "Never",
    }
    document["users"][0]["user"] = {"exec": plugin}
    config.write_text(yaml.safe_dump(document))
    return count


def test_one_discovery_runs_the_plugin_of_the_kubeconfig_once(cluster: Any, tmp_path: Path) -> None:
    named = [service(f"p{n}", app("prometheus", "server"), ("http", 80)) for n in range(7)]
    behind = {f"monitoring/p{n}:80": always(NOTHING) for n in range(7)}
    api = cluster(
        *named, OPERATED, behind={**behind, "monitoring/prometheus-operated:9090": always(CILIUM)}
    )
    api.token = "t1"
    count = sign_by_plugin(tmp_path)
    source = connect("kubernetes:")
    assert source.name == "kubernetes:monitoring/prometheus-operated:9090"
    assert isinstance(source, Prometheus)
    source.query("up")
    assert count.read_text() == "x"


def test_a_token_that_expires_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exec plugin of the kubeconfig is run again after a 401."""
    with KubeApi(
        {SERVICES: [STACK]}, proxied={"monitoring/kps-prometheus:9090": always(CILIUM)}
    ) as api:
        config = write_kubeconfig(tmp_path / "kubeconfig", api.url)
        count = sign_by_plugin(tmp_path)
        monkeypatch.setenv("KUBECONFIG", str(config))
        source = connect("kubernetes:")
        assert isinstance(source, Prometheus)
        api.token = f"t{len(count.read_text()) + 1}"  # that of before is revoked
        source.query("up")
        first = len(count.read_text())
        source.query("up")
        assert len(count.read_text()) == first
        api.token = "none"
        with pytest.raises(AccessDenied, match="401"):
            source.query("up")


def test_certificates_are_those_of_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    own = authority.issue_cert("reader@corp.example")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    behind = {"monitoring/kps-prometheus:9090": always(CILIUM)}
    with KubeApi({SERVICES: [STACK]}, tls=context, proxied=behind) as api:
        config = write_kubeconfig(
            tmp_path / "kubeconfig", api.url, authority=str(tmp_path / "ca.pem")
        )
        document = yaml.safe_load(config.read_text())
        document["users"][0]["user"] = {
            "client-certificate": str(tmp_path / "cert.pem"),
            "client-key": str(tmp_path / "key.pem"),
        }
        config.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(config))
        source = connect("kubernetes:")
        assert isinstance(source, Prometheus)
        assert not source.query("up").empty


def test_in_a_pod_the_service_itself_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", "of-the-server")
    seen: list[Request] = []

    def proxy(request: Request) -> Reply:
        seen.append(request)
        return CILIUM

    with Stub(proxy) as stub:
        monkeypatch.setenv("http_proxy", stub.url)
        monkeypatch.delenv("no_proxy", raising=False)
        source = connect("kubernetes:monitoring/prometheus:9090", timeout=5)
        assert isinstance(source, Prometheus)
        source.query("up")
    assert seen[-1].headers["host"] == "prometheus.monitoring.svc:9090"
    assert seen[-1].headers["authorization"] == "Bearer of-the-server"
    assert seen[-1].method == "POST"


@pytest.mark.slow
def test_a_report_with_nothing_but_a_kubeconfig(
    cluster: Any,
    cluster_server: Callable[..., ClusterServer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same findings as by the server's address, by GET alone."""
    served = cluster_server("sample")
    api = cluster(*OTHERS, STACK, behind={"monitoring/kps-prometheus:9090": forward(served.url)})
    about = ["incident", "--start", "2026-03-21T08:00Z", "--end", "2026-03-21T10:00Z"]
    found = []
    for name, source in (("address", served.url), ("way", "kubernetes:")):
        output = tmp_path / name
        assert main(["report", *about, "--source", source, "--output", str(output)]) == 0
        (run,) = output.glob("2*")
        document = json.loads((run / "findings.json").read_text())
        found.append([row["title"] for row in document["findings"]])
    assert found[0] == found[1]
    assert found[0]
    assert {request.method for request in api.requests} == {"GET"}
    err = capsys.readouterr().err
    assert "Found monitoring/kps-prometheus:9090 (kube-prometheus-stack)" in err
    assert "Reading kubernetes:monitoring/kps-prometheus:9090" in err


def test_a_context_is_for_a_cluster_only(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cluster(STACK)
    assert main(["check", "--source", "sample", "--context", "x"]) == 2
    assert "--context and --via are for --source kubernetes:" in capsys.readouterr().err
    assert main(["check", "--source", "kubernetes:", "--context", "her"]) != 0
    assert "has no context 'her': did you mean here?" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "capture"])
def test_what_was_cut_short_goes_on_in_the_cluster_that_is_named(
    command: str,
    cluster: Any,
    cluster_server: Callable[..., ClusterServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    behind = {"monitoring/kps-prometheus:9090": forward(cluster_server("sample").url)}
    api = cluster(STACK, behind=behind)
    config = tmp_path / "kubeconfig"
    monkeypatch.delenv("KUBECONFIG")
    where = ["--source", "kubernetes:", "--context", "here", "--kubeconfig", str(config)]
    times = ["--start", "2026-03-21T08:50Z", "--end", "2026-03-21T09:10Z"]
    out = tmp_path / "out"
    assert main([command, "dns", *times, *where, "--output", str(out)]) == 0
    directory = out if command == "capture" else next(out.glob("2*"))
    bundle = directory if command == "capture" else directory / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest |= {"whole": False, "answers": manifest["answers"][:3]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    if command == "report":
        (directory / "dns.ipynb").unlink()
    capsys.readouterr()
    before = len(api.requests)
    assert main([command, "--resume", str(directory), *where]) == 0, capsys.readouterr().err
    assert len(api.requests) > before + 3


def test_a_status_that_is_no_service_is_told(cluster: Any) -> None:
    api = cluster(STACK)
    api.always(SERVICES, status(500, "InternalError", "etcd is away"))
    with pytest.raises(SourceError, match="etcd is away"):
        connect("kubernetes:")

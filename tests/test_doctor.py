"""The doctor: each way that is broken ends at its step, with what to change."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import trustme

from cilium_analysis.cli import main
from cilium_analysis.doctor import Step, examine
from cilium_analysis.kube import Kubernetes
from tests.faults import Reply, Stub, forward, page, text, vector
from tests.field.asking import available
from tests.field.make import Metrics, agent, constant, counter, hubble, steady, vitals
from tests.kube_api import PATHS, KubeApi, status, write_kubeconfig
from tests.servers.prometheus import PrometheusServer
from tests.test_ways_grafana import TOKEN, Grafana
from tests.test_ways_kubernetes import STACK

UP = vector(({}, 1.0, "1"))
SECRET = "open-sesame"


def last(source: str, **more: Any) -> Step:
    """The last step of a way; each step is one line without a secret."""
    steps = list(examine(source, **more))
    for step in steps:
        assert "\n" not in step.said
        assert SECRET not in step.said
        assert TOKEN not in step.said
    assert all(step.state != "failed" for step in steps[:-1])
    return steps[-1]


def ends(source: str, at: str, *said: str, **more: Any) -> None:
    step = last(source, **more)
    assert (step.name, step.state) == (at, "failed"), step
    for each in said:
        assert each in step.said


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_no_source(tmp_path: Path) -> None:
    ends("nowhere", "source", "no source 'nowhere': give the URL of a server")
    ends("http://", "source", "not a URL of a server")
    ends(f"http://user:{SECRET}@:x", "source", "not a URL of a server")
    ends("kubernetes:x", "source", "names no Service")
    assert last("sample").said.endswith("is a recording: there is no way to try")


def test_a_name_that_does_not_resolve() -> None:
    ends("http://prometheus.invalid:9090", "name", "does not resolve", "is it spelt right")
    ends("http://prom.monitoring.svc:9090", "name", "try --source kubernetes:")


def test_nobody_listens(closed: int) -> None:
    ends(f"http://127.0.0.1:{closed}", "TCP", "(Connection refused): is it running")


def test_a_proxy_that_is_not_there(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:{SECRET}@127.0.0.1:{closed}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    ends("http://prometheus.invalid:9090", "TCP", "of the proxy, no connection to 127.0.0.1")


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_a_proxy_as_requests_takes_it(
    variable: str, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"127.0.0.1:{closed}")
    ends("http://prometheus.invalid:9090", "TCP", "of the proxy, no connection to 127.0.0.1")
    monkeypatch.setenv(variable, "http://127.0.0.1:99999")
    ends("http://prometheus.invalid:9090", "source", "the address of the proxy is not valid")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Stub(UP, tls=context) as stub:
        yield stub.url


def test_tls(
    secure: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends(secure, "TLS", "is not trusted (", "name its authority in CILIUM_ANALYSIS_CA_FILE")
    ends(secure.replace("https", "http"), "API", "it speaks TLS")
    with Stub(UP) as stub:
        ends(stub.url.replace("http", "https"), "TLS", "it answers without TLS: write http://")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("CILIUM_ANALYSIS_CA_FILE", str(tmp_path / "ca.pem"))
    shaken = next(step for step in examine(secure) if step.name == "TLS")
    assert shaken.state == "ok"
    assert "the certificate is trusted, for " in shaken.said
    monkeypatch.setenv("CILIUM_ANALYSIS_CLIENT_CERT", str(tmp_path / "gone.pem"))
    unread = "a certificate cannot be read (no such file or directory): look at the files in"
    ends(secure, "TLS", unread)
    monkeypatch.delenv("CILIUM_ANALYSIS_CLIENT_CERT")
    monkeypatch.setenv("CILIUM_ANALYSIS_CA_FILE", str(tmp_path / "gone.pem"))
    ends(secure, "TLS", unread)


def test_authorities_in_a_directory(
    secure: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert last(secure).name != "TLS"


def test_a_certificate_is_a_way_to_sign_in(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("me").private_key_and_cert_chain_pem
    mine.write_to_path(tmp_path / "me.pem")
    monkeypatch.setenv("CILIUM_ANALYSIS_CA_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("CILIUM_ANALYSIS_CLIENT_CERT", str(tmp_path / "me.pem"))
    with Stub(UP, tls=context) as stub:
        steps = {step.name: step for step in examine(stub.url)}
    assert steps["sign-in"].said == "credentials are accepted"


@pytest.mark.parametrize(
    ("reply", "at", "said"),
    [
        (text(401, "who are you?"), "sign-in", "denies access (401): who are you?"),
        (text(403, "not you"), "sign-in", "CILIUM_ANALYSIS_BEARER_TOKEN_FILE"),
        (page(302, Location="https://login.example/oauth"), "API", "redirects to https://login.ex"),
        (page(200, "Sign in"), "API", "did not answer like Prometheus"),
        (page(200, "Grafana"), "API", "this looks like Grafana"),
        (text(404, "404 page not found"), "API", "is this the address of a Prometheus"),
        (Reply(b'{"status":"success","data":1}'), "API", "did not answer like Prometheus"),
        (text(503, "overloaded"), "API", "cannot answer (503): overloaded"),
    ],
)
def test_what_answers_is_no_prometheus(reply: Reply, at: str, said: str) -> None:
    with Stub(reply) as stub:
        ends(stub.url, at, said)


def test_credentials_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Stub(UP) as stub:
        monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN_COMMAND", "no-such-program")
        ends(stub.url, "sign-in", "cannot run the token command no-such-program")
        monkeypatch.delenv("CILIUM_ANALYSIS_BEARER_TOKEN_COMMAND")
        monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN_FILE", str(tmp_path / "gone"))
        ends(stub.url, "sign-in", "cannot read the credentials in")
        monkeypatch.delenv("CILIUM_ANALYSIS_BEARER_TOKEN_FILE")
        (tmp_path / "http.yaml").write_text(f"authorisation: {SECRET}")
        monkeypatch.setenv("CILIUM_ANALYSIS_HTTP_CONFIG", str(tmp_path / "http.yaml"))
        ends(stub.url, "source", "http.yaml:1: unknown key 'authorisation'")


# What the server has


def test_a_server_without_cilium(prometheus3: PrometheusServer) -> None:
    ends(
        prometheus3.url,
        "metrics of Cilium",
        "No Cilium metrics in the last",
        "Is this the server that scrapes the cluster",
    )


def served(*, agents: bool = True, hubbles: bool = True, replica: str = "") -> Metrics:
    """The last three hours of two nodes; each stored twice, if a label tells the replicas."""
    metrics, now = Metrics(), int(time.time())
    at = list(range(now - 3 * 3600, now, 60))
    for number, one in product((1, 2), ("p-0", "p-1") if replica else ("",)):
        told = {"cluster": "eu"} | ({replica: one} if replica else {})
        target, seen = agent(number) | told, hubble(number) | told
        if agents:
            vitals(metrics, target, seen, at=at)
            constant(metrics, "cilium_version", target | {"version": "1.17.0"}, 1, at)
        if hubbles:
            flow = seen | {"protocol": "TCP", "verdict": "FORWARDED", "type": "Trace"}
            counter(metrics, "hubble_flows_processed_total", flow, steady(5.0), at=at)
    return metrics


def test_a_way_that_leads_all_along() -> None:
    with available(served()) as url:
        steps = list(examine(url, match='cluster="eu"'))
        # Three hours of metrics are less than a day.
        assert [step.name for step in steps if step.state != "ok"] == ["how far back"]
        said = {step.name: step.said for step in steps}
        assert said["sign-in"] == "none is asked for"
        assert said["API"].startswith("Prometheus 3")
        assert said["metrics of Cilium"] == "2 agents in the last hour"
        assert said["metrics of Hubble"] == "hubble_flows_processed_total"
        assert said["scrape interval"].startswith("1m: onsets are known")
        assert list(said) == [
            *("source", "TCP", "sign-in", "API", "metrics of Cilium", "metrics of Hubble"),
            *("how far back", "scrape interval"),
        ]
        ends(url, "metrics of Cilium", "match", "without these matchers", match='cluster="us"')


def test_agents_that_a_pair_of_servers_stores_are_counted_once() -> None:
    with available(served(replica="prometheus_replica")) as url:
        steps = {step.name: step for step in examine(f" {url} ")}
    assert steps["metrics of Cilium"].said == "2 agents in the last hour"


@pytest.mark.parametrize("agents", [True, False])
def test_half_of_it(agents: bool) -> None:
    with available(served(agents=agents, hubbles=not agents)) as url:
        steps = {step.name: step for step in examine(url)}
    lacking = "metrics of Hubble" if agents else "metrics of Cilium"
    assert steps[lacking].state == "missing"
    assert "Helm: " in steps[lacking].said
    assert steps["how far back"].state == "missing"
    assert steps["how far back"].said.startswith("less than 1d")


# Ways


def test_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: int) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    ends("kubernetes:", "source", "there is no kubeconfig")
    write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{closed}")
    ends("kubernetes:", "TCP", "Connection refused")
    with available(served()) as url:
        behind = {"monitoring/kps-prometheus:9090": forward(url)}
        with KubeApi({PATHS["Service"]: [STACK]}, token=SECRET, proxied=behind) as api:
            write_kubeconfig(tmp_path / "kubeconfig", api.url, token="another")
            ends("kubernetes:", "API", "does not accept the credentials")
            write_kubeconfig(tmp_path / "kubeconfig", api.url, token=SECRET)
            steps = {step.name: step for step in examine("kubernetes:")}
            assert steps["sign-in"].said == "credentials are accepted"
            assert steps["API"].said.startswith("Found monitoring/kps-prometheus:9090")
            assert steps["metrics of Cilium"].said == "2 agents in the last hour"
            api.forbid(PATHS["Service"])
            ends("kubernetes:", "API", "cannot list services", "or name the Prometheus")
    with KubeApi({PATHS["Service"]: [STACK]}) as api:
        write_kubeconfig(tmp_path / "kubeconfig", api.url)
        ends("kubernetes:", "API", "no endpoints available for service")


def test_a_grafana(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Grafana(lambda _: UP)
    with Stub(made.answer) as stub:
        ends(f"grafana:{stub.url}", "sign-in", "denies access to its data sources (401)")
        monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", TOKEN)
        ends(f"grafana:{stub.url}?datasource=x", "API", "no such data source")
        made.sources = []
        ends(f"grafana:{stub.url}", "API", "has no data source of the type prometheus")


def test_rights_of_kubernetes(tmp_path: Path) -> None:
    with available(served()) as url, KubeApi() as api:
        write_kubeconfig(tmp_path / "kubeconfig", api.url)
        cluster = Kubernetes(str(tmp_path / "kubeconfig"), retries=0)
        assert last(url, kubernetes=cluster).said.startswith("may read namespaces, nodes")
        api.forbid(PATHS["Event"])
        ends(
            url,
            "Kubernetes",
            "cannot list events (403)",
            "check --cluster-role",
            kubernetes=cluster,
        )
        api.always(PATHS["Namespace"], status(401, "Unauthorized"))
        ends(url, "Kubernetes", "does not accept the credentials", kubernetes=cluster)


# The command


def test_the_command_prints_each_step_and_its_code_is_that_of_the_way(
    closed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--source", f"http://127.0.0.1:{closed}"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"✓ source: http://127.0.0.1:{closed}/"
    assert said[1].startswith("✗ TCP: ")
    with available(served()) as url:
        assert main(["doctor", "--source", url]) == 0
    assert main(["doctor", "--source", ""]) == 2
    assert "no source: give --source" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "capture", "check"])
def test_other_commands_point_to_it(
    command: str, closed: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cilium_analysis.prometheus.transport.RETRIES", 0)
    assert main([command, "--source", f"http://127.0.0.1:{closed}", "--start", "-1h"]) == 1
    said = capsys.readouterr().err
    assert "`cilium-analysis doctor` with the same --source tries the way" in said
    # A query that the server refuses is no matter of the way.
    assert main([command, "--source", "nowhere"]) == 2
    assert "doctor" not in capsys.readouterr().err

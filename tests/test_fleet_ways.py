"""A fleet whose clusters are each reached in another way, with credentials of their own."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from cilium_analysis.cli import main
from tests.faults import Reply, Request, Stub, forward
from tests.kube_api import PATHS, KubeApi, write_kubeconfig
from tests.servers.served import ClusterServer
from tests.test_ways_grafana import TOKEN, Grafana
from tests.test_ways_kubernetes import STACK

PASSWORD, CLUSTER_TOKEN, HEADER = "pw-open-sesame", "k8s-open-sesame", "key-open-sesame"
FLEET = """
defaults: {{topics: [drop_reasons]}}
window: {{start: 2026-03-21T08:00Z, end: 2026-03-21T10:00Z}}
clusters:
  - name: by-password
    source: {password}
    credentials: {{username: reports, password_file: {folder}/password}}
  - name: by-header
    source: {header}
    credentials: {{http_config: {folder}/http.yaml}}
  - name: by-grafana
    source: grafana:{grafana}
    credentials: {{bearer_token_env: CILIUM_ANALYSIS_HERE}}
  - name: by-kubeconfig
    source: kubernetes:monitoring/kps-prometheus:9090?kubeconfig={folder}/config
"""


def guarded(behind: Callable[[Request], Reply], name: str, value: str) -> Callable[..., Reply]:
    """Let through what has a header, and nothing else."""

    def answer(request: Request) -> Reply:
        if request.headers.get(name) != value:
            return Reply(b"no", 401, content_type="text/plain")
        return behind(request)

    return answer


@pytest.mark.slow
def test_a_fleet_mixes_ways(
    cluster_server: Callable[..., ClusterServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = cluster_server("sample")
    behind = forward(served.url)
    basic = "Basic " + b64encode(f"reports:{PASSWORD}".encode()).decode()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CILIUM_ANALYSIS_HERE", TOKEN)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "http.yaml").write_text(f"http_headers: {{X-Key: {{secrets: [{HEADER}]}}}}\n")
    with ExitStack() as stack:
        api = KubeApi(
            {PATHS["Service"]: [STACK]},
            token=CLUSTER_TOKEN,
            proxied={"monitoring/kps-prometheus:9090": behind},
        )
        write_kubeconfig(tmp_path / "config", stack.enter_context(api).url, token=CLUSTER_TOKEN)
        urls = {
            "password": guarded(behind, "authorization", basic),
            "header": guarded(behind, "x-key", HEADER),
            "grafana": Grafana(behind).answer,
        }
        found = {name: stack.enter_context(Stub(answer)).url for name, answer in urls.items()}
        text = FLEET.format(**found, folder=tmp_path)
        (tmp_path / "fleet.yaml").write_text(text)
        assert main(["fleet", "fleet.yaml", "--workers", "2"]) == 0
    runs = [json.loads(path.read_text()) for path in (tmp_path / "reports").glob("*/run.json")]
    assert {run["cluster"] for run in runs} == {
        *("by-password", "by-header", "by-grafana", "by-kubeconfig")
    }
    assert {run["status"] for run in runs} == {"complete"}
    documents = [path.read_text() for path in (tmp_path / "reports").glob("*/findings.json")]
    told = [[row["title"] for row in json.loads(text)["findings"]] for text in documents]
    assert told[0]
    assert told == [told[0]] * 4
    for path in (tmp_path / "reports").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (PASSWORD, basic, HEADER, TOKEN, CLUSTER_TOKEN):
            assert secret.encode() not in content, path

"""The servers that other tests lean on: they start, answer, restart and leave nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.conftest import installed_or_skip
from tests.servers import install
from tests.servers.install import ROOT
from tests.servers.process import ServerFailed, ServerProcess
from tests.servers.prometheus import NotInstalled, PrometheusServer, blocks_from_openmetrics
from tests.servers.served import KINDS, start
from tests.servers.victoria import VictoriaServer
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = sorted(KINDS)
# From the guide "Securing Prometheus API and UI endpoints using basic auth".
HASH_OF_TEST = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"


def running(pid: int) -> bool:
    """Tell whether a process lives; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture(params=ALL)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    try:
        one = start(request.param)
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with one:
        yield one


@pytest.fixture
def prometheus() -> type[PrometheusServer]:
    """Give the class, if the program is there."""
    if install.program("prometheus-2", "prometheus") is None:
        installed_or_skip(NotInstalled(f"no Prometheus, get it with: {install.HOW_TO_GET}"))
    return PrometheusServer


def ask(server: ServerProcess, query: str) -> list[dict[str, object]]:
    answer = json.loads(server.get(f"/api/v1/query?time=1774000020&query={query}"))
    result: list[dict[str, object]] = answer["data"]["result"]
    return result


def test_it_answers_and_stops_without_orphan(server: ServerProcess) -> None:
    assert json.loads(server.get("/api/v1/status/buildinfo"))["status"] == "success"
    pid, folder = server.pid, server.folder
    server.stop()
    server.stop()
    assert not running(pid)
    assert not folder.exists()


@pytest.mark.slow
def test_it_dies_with_a_test_run_that_is_killed(server_kind: str) -> None:
    if install.program(KINDS[server_kind], "VERSION") is None:
        installed_or_skip(NotInstalled(f"no {server_kind}, get it with: {install.HOW_TO_GET}"))
    code = (
        "import os; from tests.servers.served import start; "
        f"server = start('{server_kind}'); print(server.pid, server.folder, flush=True); "
        "os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    pid, folder = done.stdout.split()
    try:
        until(lambda: not running(int(pid)), limit=10)
    finally:
        shutil.rmtree(folder)


def test_it_restarts_on_its_port(server: ServerProcess) -> None:
    before = server.pid, server.url
    server.restart()
    assert server.pid != before[0]
    assert server.url == before[1]
    assert not running(before[0])
    assert json.loads(server.get("/api/v1/labels"))["status"] == "success"


def test_the_session_servers_are_real(
    prometheus2: ServerProcess, prometheus3: ServerProcess, victoria: ServerProcess
) -> None:
    versions = [
        json.loads(s.get("/api/v1/status/buildinfo"))["data"]["version"]
        for s in (prometheus2, prometheus3)
    ]
    assert [v.partition(".")[0] for v in versions] == ["2", "3"]
    assert b"victoria" in victoria.get("/metrics")


def test_victoria_takes_text() -> None:
    try:
        server = VictoriaServer()
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with server:
        server.load_text('a_total{x="1"} 5 1774000000000\n')
        assert ask(server, "a_total")[0]["value"] == [1774000020, "5"]


def test_prometheus_serves_blocks(prometheus: type[PrometheusServer], tmp_path: Path) -> None:
    text = tmp_path / "a.om"
    text.write_text('# TYPE a counter\na_total{x="\\"q\\""} 5 1774000000.0\n# EOF\n')
    blocks_from_openmetrics(text, tmp_path / "blocks")
    with prometheus(data=tmp_path / "blocks", route_prefix="/metrics/here") as server:
        assert server.url.endswith("/metrics/here")
        (found,) = ask(server, "a_total")
    assert found["metric"] == {"__name__": "a_total", "x": '"q"'}


def test_prometheus_refuses_a_broken_config(prometheus: type[PrometheusServer]) -> None:
    with pytest.raises(ServerFailed, match="the server ended while starting"):
        prometheus(config="nonsense: true\n")


def test_prometheus_speaks_tls_and_asks_for_a_password(
    prometheus: type[PrometheusServer], tmp_path: Path
) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    web = (
        f"tls_server_config: {{cert_file: {tmp_path}/both.pem, key_file: {tmp_path}/both.pem}}\n"
        f"basic_auth_users: {{admin: {HASH_OF_TEST}}}\n"
    )
    with prometheus(web_config=web, auth="admin:test") as server:
        assert server.url.startswith("https://")
        assert json.loads(server.get("/api/v1/labels"))["status"] == "success"
        server.auth = ""
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.get("/api/v1/labels")


def test_both_formats_of_apt_sources_are_read(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example/debian x main\n"
        "deb [arch=amd64 signed-by=/a.gpg] http://one.example/debian bookworm main\n"
        "deb-src http://src.example/debian bookworm main\n"
    )
    (parts / "two.sources").write_text(
        "Types: deb\nURIs: http://two.example/debian-security\nSuites: x\nSigned-By: /b.gpg\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off.example/debian\n"
    )
    assert list(install.mirrors(tmp_path)) == [
        install.Mirror("http://one.example/debian", "/a.gpg"),
        install.Mirror("http://two.example/debian-security", "/b.gpg"),
    ]


def test_a_failed_install_is_fatal_only_in_ci(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    assert install.main(["--cache", str(tmp_path)]) == 0
    monkeypatch.setenv("CI", "true")
    assert install.main(["--cache", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("apt-get is needed") == 2


def test_a_missing_server_is_excused_only_outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(install.CACHE_VARIABLE, os.devnull)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(NotInstalled) as missing:
        start("prometheus-2")
    with pytest.raises(pytest.skip.Exception, match=install.HOW_TO_GET):
        installed_or_skip(missing.value)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=install.HOW_TO_GET):
        installed_or_skip(missing.value)

"""A Prometheus behind a Grafana: found among its data sources, and asked through it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cilium_analysis.cli import main
from cilium_analysis.connection import connect
from cilium_analysis.errors import (
    AccessDenied,
    NotPrometheus,
    ParameterError,
    PrometheusError,
    ServerUnavailable,
    SourceError,
)
from cilium_analysis.prometheus import Prometheus
from tests.faults import Answerer, Reply, Request, Stub, forward, page, text, vector
from tests.servers.served import ClusterServer

UP = vector(({"job": "cilium"}, 1.5, "1"))
TOKEN = "glsa_open-sesame"
#: As of Grafana's HTTP API, "Get all data sources"; what is not read is left out.
SOURCES = [
    {"id": 1, "uid": "loki", "name": "Loki", "type": "loki", "isDefault": False},
    {"id": 2, "uid": "dev", "name": "Prometheus dev", "type": "prometheus", "isDefault": False},
    {"id": 3, "uid": "P1809", "name": "Prometheus", "type": "prometheus", "isDefault": True},
]


class Grafana:
    """Lists data sources, and hands on what is asked of one, as Grafana's proxy does."""

    def __init__(self, behind: Answerer, *, prefix: str = "") -> None:
        self.behind, self.prefix = behind, prefix
        self.sources: Any = SOURCES
        self.paths: list[str] = []

    def answer(self, request: Request) -> Reply:
        self.paths.append(request.path)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(json.dumps({"message": "Unauthorized"}).encode(), 401)
        path = request.path.removeprefix(self.prefix)
        if path == "/api/datasources":
            return Reply(json.dumps(self.sources).encode())
        start = "/api/datasources/proxy/uid/"
        if not path.startswith(start):
            return page(404, "Grafana")
        uid, _, rest = path.removeprefix(start).partition("/")
        if uid not in {each["uid"] for each in SOURCES}:
            return Reply(json.dumps({"message": "Unable to load datasource"}).encode(), 404)
        # The credentials are Grafana's; all else is handed on (pkg/api/pluginproxy).
        headers = {k: v for k, v in request.headers.items() if k != "authorization"}
        handed = Request(request.method, f"/{rest}", request.params, headers, request.body)
        return self.behind(handed)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", TOKEN)


@pytest.fixture
def grafana() -> Iterator[tuple[Grafana, str]]:
    made = Grafana(lambda _: UP)
    with Stub(made.answer) as stub:
        yield made, stub.url


def asked(source: str) -> Prometheus:
    found = connect(source, timeout=10)
    assert isinstance(found, Prometheus)
    found.transport.retries = 0
    assert not found.query("up").empty
    return found


@pytest.mark.usefixtures("token")
def test_the_default_is_taken_and_all_are_named(grafana: tuple[Grafana, str]) -> None:
    made, url = grafana
    source = asked(f"grafana:{url}")
    assert made.paths[-1] == "/api/datasources/proxy/uid/P1809/api/v1/query"
    assert source.name == f"grafana:{url}?datasource=P1809"
    assert source.found == (
        "Grafana has Prometheus dev, Prometheus. Took Prometheus, its default;"
        " …?datasource=NAME takes another"
    )
    assert TOKEN not in repr(source) + repr(source.transport)
    assert asked(source.name).name == source.name


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("wanted", ["dev", "Prometheus%20dev", "Prometheus+dev"])
def test_the_one_that_is_named_is_taken(wanted: str, grafana: tuple[Grafana, str]) -> None:
    made, url = grafana
    source = asked(f"grafana:{url}/?datasource={wanted}")
    assert "/uid/dev/" in made.paths[-1]
    assert not source.found


@pytest.mark.usefixtures("token")
def test_a_grafana_below_a_path() -> None:
    made = Grafana(lambda _: UP, prefix="/grafana")
    with Stub(made.answer) as stub:
        asked(f"grafana:{stub.url}/grafana/")
    assert made.paths == [
        "/grafana/api/datasources",
        "/grafana/api/datasources/proxy/uid/P1809/api/v1/query",
    ]


@pytest.mark.usefixtures("token")
def test_without_a_default_the_first_is_taken(grafana: tuple[Grafana, str]) -> None:
    made, url = grafana
    made.sources = [each | {"isDefault": False} for each in SOURCES]
    assert asked(f"grafana:{url}").found.startswith(
        "Grafana has Prometheus dev, Prometheus. Took Pr"
    )
    assert "/uid/dev/" in made.paths[-1]


def fails(source: str) -> str:
    with pytest.raises((SourceError, PrometheusError, ParameterError)) as caught:
        connect(source, timeout=10)
    said = str(caught.value)
    assert "\n" not in said
    assert TOKEN not in said
    return said


@pytest.mark.usefixtures("token")
def test_what_is_not_there(grafana: tuple[Grafana, str]) -> None:
    made, url = grafana
    assert "no such data source of Prometheus: did you mean Prometheus dev?" in fails(
        f"grafana:{url}?datasource=Prometheus-dev"
    )
    made.sources = SOURCES[:1]
    assert fails(f"grafana:{url}").endswith("has no data source of the type prometheus")
    made.sources = {"message": TOKEN}
    assert "did not answer like Grafana (200)" in fails(f"grafana:{url}")
    # Names are anybody's.
    made.sources = [SOURCES[1] | {"name": "\x1b[2J" + "x" * 500, "uid": "a/../b"}]
    source = connect(f"grafana:{url}")
    assert isinstance(source, Prometheus)
    assert "\x1b" not in source.found
    assert len(source.found) < 250
    assert source.transport.base.endswith("/uid/a%2F..%2Fb/")


def test_rights(grafana: tuple[Grafana, str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, url = grafana
    with pytest.raises(AccessDenied, match=r"denies access to its data sources \(401\): give a t"):
        connect(f"grafana:{url}")
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN", "another")
    with pytest.raises(AccessDenied):
        connect(f"grafana:{url}")


@pytest.mark.usefixtures("token")
def test_what_is_no_grafana() -> None:
    with Stub(page(200, "Welcome")) as stub:
        assert "did not answer like Grafana (200): is this its address" in fails(
            f"grafana:{stub.url}"
        )
        gone = stub.url
    with pytest.raises(ServerUnavailable, match="cannot reach"):
        connect(f"grafana:{gone}")
    with Stub(page(302, Location="https://login.example/x")) as stub:
        assert "did not answer like Grafana (302)" in fails(f"grafana:{stub.url}")


@pytest.mark.usefixtures("token")
def test_the_tenant_reaches_the_server_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_TENANT", "team")
    seen: list[str | None] = []

    def mimir(request: Request) -> Reply:
        seen.append(request.headers.get("x-scope-orgid"))
        return UP

    with Stub(Grafana(mimir).answer) as stub:
        asked(f"grafana:{stub.url}")
    assert set(seen) == {"team"}


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("failure", [page(503), Reply(ends="reset"), text(429, "slow down")])
def test_a_grafana_that_starts_anew_is_asked_again(failure: Reply) -> None:
    made, failures = Grafana(lambda _: UP), [failure]
    with Stub(lambda r: failures.pop() if failures else made.answer(r)) as stub:
        asked(f"grafana:{stub.url}")


def test_a_token_that_was_refused_is_read_again(
    grafana: tuple[Grafana, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "token"
    command.write_text(
        f"if test -e {tmp_path}/used; then echo {TOKEN}; fi\n"
        f"if ! test -e {tmp_path}/used; then echo old; touch {tmp_path}/used; fi\n"
    )
    monkeypatch.setenv("CILIUM_ANALYSIS_BEARER_TOKEN_COMMAND", f"sh {command}")
    asked(f"grafana:{grafana[1]}")


@pytest.mark.parametrize("password", ["hunter2[secret", "hunter2 secret"])
def test_the_password_of_a_proxy_is_shown_nowhere(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://user:{password}@proxy.invalid:99999")
    assert "hunter2" not in fails("grafana:http://grafana.invalid")


@pytest.mark.parametrize(
    "text",
    [
        "grafana:",
        "grafana:ftp://a",
        "grafana:http://",
        f"grafana:http://u:{TOKEN}@a",
        "grafana:http://a#b",
    ],
)
def test_what_is_no_source(text: str) -> None:
    assert fails(text).startswith("this is not the address of a Grafana: write grafana:https://")


def test_an_unknown_option() -> None:
    assert "has an unknown 'token'" in fails(f"grafana:http://a?token={TOKEN}")


@pytest.mark.usefixtures("token")
def test_a_data_source_that_was_removed(grafana: tuple[Grafana, str]) -> None:
    made, url = grafana
    made.sources = [*SOURCES, SOURCES[1] | {"uid": "gone", "name": "gone"}]
    source = connect(f"grafana:{url}?datasource=gone")
    assert isinstance(source, Prometheus)
    with pytest.raises(NotPrometheus, match="Unable to load datasource"):
        source.query("up")


@pytest.mark.slow
@pytest.mark.usefixtures("token")
def test_a_report_through_grafana(
    cluster_server: Callable[..., ClusterServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = cluster_server("sample")
    about = ["drop_reasons", "--start", "2026-03-21T08:00Z", "--end", "2026-03-21T10:00Z"]
    with Stub(Grafana(forward(served.url)).answer) as stub:
        source = f"grafana:{stub.url}"
        assert main(["report", *about, "--source", source, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "Drops “Policy denied”" in said.out
    assert "Took Prometheus, its default" in said.err
    (run,) = tmp_path.glob("2*")
    everything = b"".join(path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert TOKEN.encode() not in everything + said.err.encode() + said.out.encode()

"""Credentials: planted wherever they can come from, and searched for in all that comes out."""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme
import yaml

from cilium_analysis.cli import main
from cilium_analysis.errors import PrometheusError
from cilium_analysis.prometheus import Credentials, Prometheus
from cilium_simulator.scenario import load
from tests.conftest import installed_or_skip
from tests.faults import JSON, Reply, Request, Stub
from tests.kube_api import KubeApi, write_kubeconfig
from tests.leaks import MARK, Watch, leaks, leaks_of_files, planted
from tests.runs import notebook
from tests.servers.process import free_port
from tests.servers.prometheus import NotInstalled, PrometheusServer
from tests.servers.served import ClusterServers, feed

ROOT = Path(__file__).parent.parent
#: bcrypt, at its lowest cost, of what `planted` gives for the name.
HASHES = {
    "url": "$2b$04$x.3AX3k5y11vJoGjvmoRkusDQPMSPmnqrwNA4JS92NJy4GrqJOoqe",
    "password-file": "$2b$04$x.3AX3k5y11vJoGjvmoRkuTLF0rcIq7LxyhCidOqd65lWChUwEZOC",
    "password-variable": "$2b$04$x.3AX3k5y11vJoGjvmoRku2eWi5s6Q6SppZ5yD7/dpmRWmHfpZ4Eu",
    "fleet-variable": "$2b$04$x.3AX3k5y11vJoGjvmoRku9RfYKeBqYOTwISSyrZGBcbG0XdPz7cK",
}
#: A bearer token has no characters but these.
BEARER = {
    name: f"{MARK}-{name}-<&%/+==" for name in ("token-file", "token-variable", "kube", "exec")
}
TIMES = ["--start", "2026-03-10T08:10Z", "--end", "2026-03-10T09:00Z", "--step", "30s"]
TIMES += ["--baseline", "2026-03-10T08:00Z/2026-03-10T08:10Z"]
#: The real command; what is before it may choose other notebooks.
COMMAND = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG)
if sys.argv[1]:
    import cilium_analysis.report.run as run
    run.notebook_directory = lambda: Path(sys.argv[1])
from cilium_analysis.cli import main
sys.exit(main(sys.argv[2:]))
"""
#: A notebook that shows all it can reach, and then fails of it.
CURIOUS = """
import os
everything = repr(dict(os.environ))
print(everything)
raise RuntimeError(everything)
"""


@dataclass(frozen=True)
class Ran:
    """What a command left behind and said."""

    code: int
    out: str
    err: str
    watch: Watch


@dataclass(frozen=True)
class Place:
    """Where secrets are planted, and servers that ask for them."""

    folder: Path
    keys: tuple[str, ...]
    environment: Mapping[str, str]
    prometheus: PrometheusServer
    echo: Stub
    kube: KubeApi
    told: Stub

    def run(
        self,
        *arguments: str,
        without: Sequence[str] = (),
        notebooks: Path | None = None,
        **variables: str,
    ) -> Ran:
        """Run a command in the folder where all is searched, and look at its processes."""
        hidden = tuple(without) or ("-",)
        named = self.environment.items()
        kept = {name: value for name, value in named if not name.startswith(hidden)}
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(notebooks or ""), *arguments],
            cwd=self.written,
            env=kept | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watch = Watch()
        with ThreadPoolExecutor(1) as pool:
            said = pool.submit(process.communicate)
            while not said.done():
                watch.look(process.pid)
                time.sleep(0.15)
        return Ran(process.returncode, *said.result(), watch)

    @property
    def written(self) -> Path:
        """All that commands write is below this."""
        return self.folder / "written"


def echoing(request: Request) -> Reply:
    """Refuse, and say all that came: as a debugging proxy does, in a web page or in JSON."""
    came = "; ".join(f"{name}: {value}" for name, value in request.headers.items())
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    plain = base64.b64decode(value).decode() if scheme == "Basic" else value
    proxied = request.headers.get("proxy-authorization", "").removeprefix("Basic ")
    said = (
        f"{plain} and {base64.b64decode(proxied).decode('latin-1')} {came} {quote(plain, safe='')}"
    )
    status = int(request.path.strip("/").split("/")[0])
    if status == 200:
        document = {"status": "success", "data": {"resultType": "vector", "result": []}}
        warned = json.dumps(document | {"warnings": [said], "infos": [came]})
        return Reply(warned.encode(), 200)
    if status == 502:
        return Reply(f"<html><title>{html.escape(said)}</title></html>".encode(), 502)
    document = {"status": "error", "errorType": plain, "error": said}
    return Reply(json.dumps(document).encode(), status, content_type=JSON)


def web_config(folder: Path) -> tuple[str, str]:
    """TLS both ways and passwords for a real Prometheus; gives the text of the client's key too."""
    authority = trustme.CA()
    served, own = authority.issue_cert("127.0.0.1"), authority.issue_cert("analyst.example")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, certificate in (("server", served), ("own", own)):
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.crt")
    users = "".join(f"  {name}: {value}\n" for name, value in HASHES.items())
    config = (
        f"tls_server_config:\n  cert_file: {folder}/server.crt\n  key_file: {folder}/server.key\n"
        f"  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: {folder}/ca.pem\n"
        f"basic_auth_users:\n{users}"
    )
    return config, (folder / "own.key").read_text().splitlines()[2]


def kubeconfig(folder: Path, url: str) -> str:
    """A kubeconfig with every kind of credential in it."""
    path = write_kubeconfig(folder / "kubeconfig", url, token=BEARER["kube"])
    document = yaml.safe_load(path.read_text())
    given = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    (folder / "credential.json").write_text(
        json.dumps({**given, "status": {"token": BEARER["exec"]}})
    )
    plugin = {
        "apiVersion": given["apiVersion"],
        "command": "cat",
        "args": [str(folder / "credential.json")],
        "env": [{"name": "PLUGIN_SECRET", "value": planted("exec-variable")}],
        "interactiveMode": "Never",
    }
    key = base64.b64encode(planted("kube-key").encode()).decode()
    document["users"] += [
        {"name": "plugin", "user": {"exec": plugin}},
        {"name": "third", "user": {"client-key-data": key, "password": planted("kube-password")}},
    ]
    document["contexts"].append(
        {"name": "plugged", "context": {"cluster": "near", "user": "plugin"}}
    )
    path.write_text(yaml.safe_dump(document))
    return str(path)


def environment(folder: Path, port: int) -> dict[str, str]:
    """Variables with a secret in each that can hold one, or names of files that do."""
    prefix = "CILIUM_ANALYSIS_"
    files = {"BEARER_TOKEN_FILE": BEARER["token-file"], "PASSWORD_FILE": planted("password-file")}
    for name, value in files.items():
        (folder / name).write_text(value)
    service = quote(planted("service"), safe="")
    (folder / "addresses").write_text(
        f"json://user:{service}@127.0.0.1:{port}/{service}?-key={service}\n"
        f"json://user:{service}@127.0.0.1:{free_port()}/{service}?wait=0.1\n"
    )
    proxy = f"http://user:{quote(planted('proxy'), safe='')}@127.0.0.1:{free_port()}"
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return kept | {
        "HOME": str(folder / "written" / "home"),
        "TMPDIR": str(folder / "written" / "tmp"),
        "MPLCONFIGDIR": os.environ.get(
            "MPLCONFIGDIR", str(Path("~/.config/matplotlib").expanduser())
        ),
        "PYTHONPATH": str(ROOT),
        **{prefix + name: str(folder / name) for name in files},
        prefix + "BEARER_TOKEN": BEARER["token-variable"],
        prefix + "USERNAME": "password-file",
        prefix + "PASSWORD": planted("password-variable"),
        prefix + "FLEET_PASSWORD": planted("fleet-variable"),
        prefix + "PAGER": f"json://user:{service}@127.0.0.1:{port}/?+key={service}",
        prefix + "NOTIFY_FILE": str(folder / "addresses"),
        prefix + "TENANT": f"{MARK}-tenant",
        prefix + "CA_FILE": str(folder / "ca.pem"),
        prefix + "CLIENT_CERT": str(folder / "own.crt"),
        prefix + "CLIENT_KEY": str(folder / "own.key"),
        "http_proxy": proxy,
        "https_proxy": proxy,
        "no_proxy": "127.0.0.1",
        "AWS_SECRET_ACCESS_KEY": planted("cloud"),
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={planted('account')}",
        "DATABASE_URL": f"postgres://user:{quote(planted('database'), safe='')}@db/x",
        "GITHUB_TOKEN": planted("forge"),
    }


@pytest.fixture(scope="module")
def place(
    cluster_servers: ClusterServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("secrets")
    for name in ("home", "tmp"):
        (folder / "written" / name).mkdir(parents=True)
    config, key = web_config(folder)
    try:
        server = PrometheusServer(
            "prometheus-3",
            web_config=config,
            auth=f"url:{planted('url')}",
            remote_write=True,
        )
    except NotInstalled as error:
        installed_or_skip(error)
        return
    with (
        server,
        Stub(echoing) as echo,
        Stub(Reply(b"")) as told,
        KubeApi(config={"enable-hubble": "true"}, token=BEARER["kube"]) as kube,
    ):
        feed(server, cluster_servers.files(load("burst_between_scrapes"), float_le=True))
        yield Place(folder, (key,), environment(folder, told.port), server, echo, kube, told)


# Commands, each with another of the credentials; all the others are planted beside it.

TOKENS = ("CILIUM_ANALYSIS_BEARER_TOKEN",)
FILES = ("CILIUM_ANALYSIS_PASSWORD_FILE",)


def report_with_a_url(place: Place) -> Ran:
    secret = quote(planted("url"), safe="")
    source = place.prometheus.url.replace("//", f"//url:{secret}@")
    access = ["--kubernetes", "here", "--kubeconfig", kubeconfig(place.folder, place.kube.url)]
    whom = ["--notify", "env:CILIUM_ANALYSIS_PAGER", "--notify", f"file:{place.folder}/addresses"]
    whom += ["--notify-on", "info"]
    return place.run(
        *["report", "drop_reasons", *TIMES, *access, *whom, "--output", "by-url", "--show-code"],
        "--debug",
        CILIUM_ANALYSIS_SOURCE=source,
    )


def report_that_fails(place: Place) -> Ran:
    mine = notebook(place.folder / "curious", CURIOUS)
    return place.run(
        *["report", "drop_reasons", "--source", place.prometheus.url, *TIMES],
        *["--output", "failed", "--show-code", "--debug"],
        notebooks=mine,
        without=(*TOKENS, *FILES),
        CILIUM_ANALYSIS_USERNAME="password-variable",
    )


def fleet(place: Place) -> Ran:
    file = place.written / "fleet.yaml"
    tls = f"ca_file: {place.folder}/ca.pem, client_cert: {place.folder}/own.crt"
    tls += f", client_key: {place.folder}/own.key, tenant: {MARK}-tenant"
    by_file = f"bearer_token_file: {place.folder}/BEARER_TOKEN_FILE"
    file.with_name("fleet.yaml").write_text(
        "defaults: {topics: [setup_check]}\n"
        "window: {start: 2026-03-10T08:10Z, end: 2026-03-10T09:00Z}\nclusters:\n"
        f"  - name: guarded\n    source: {place.prometheus.url}\n    credentials: {{username:"
        f" fleet-variable, password_env: CILIUM_ANALYSIS_FLEET_PASSWORD, {tls}}}\n"
        f"  - {{name: echo, source: '{place.echo.url}/400', credentials: {{{by_file}}}}}\n"
        f"  - {{name: down, source: 'http://127.0.0.1:{free_port()}', credentials: "
        "{bearer_token_env: CILIUM_ANALYSIS_BEARER_TOKEN}}\n".replace(f"{MARK}-tenant", "shop")
    )
    done = place.run("fleet", "fleet.yaml", "--workers", "1", "--output", "fleet", "--debug")
    file.unlink()
    return done


def check(place: Place) -> Ran:
    access = ["--kubernetes", "plugged", "--kubeconfig", kubeconfig(place.folder, place.kube.url)]
    place.kube.token = ""
    return place.run(
        "check", "--source", place.prometheus.url, *TIMES, *access, "--debug", without=TOKENS
    )


def capture(place: Place) -> Ran:
    return place.run(
        *["capture", "drop_reasons", "--source", place.prometheus.url, *TIMES],
        *["--output", "bundle", "--debug"],
        without=TOKENS,
    )


def unreachable(place: Place) -> Ran:
    """Through a proxy that is not there, whose password is in the environment."""
    source = "https://prometheus.example"
    return place.run("report", "--source", source, "--output", "unreachable", "--debug")


def doctor(place: Place) -> Ran:
    """Up to the server's metrics, which are older; then to a cluster with a plugin for tokens."""
    first = place.run("doctor", "--source", place.prometheus.url, "--debug", without=TOKENS)
    assert "✗ metrics of Cilium" in first.out, first
    access = ["--context", "plugged", "--kubeconfig", kubeconfig(place.folder, place.kube.url)]
    second = place.run("doctor", "--source", "kubernetes:", *access, "--debug")
    return Ran(second.code, first.out + second.out, first.err + second.err, second.watch)


COMMANDS: dict[str, tuple[Callable[[Place], Ran], int, str]] = {
    "report": (report_with_a_url, 0, "was not notified: the service cannot be reached"),
    "a report that fails": (report_that_fails, 1, "drop_reasons stopped with RuntimeError"),
    "fleet": (fleet, 1, "echo is down: "),
    "check": (check, 0, ""),
    "capture": (capture, 0, ""),
    "doctor": (doctor, 1, ""),
    "unreachable": (unreachable, 1, "cannot reach https://prometheus.example/ through the proxy"),
}


@pytest.fixture(scope="module")
def ran(place: Place) -> dict[str, Ran]:
    """All of them, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        jobs = {name: pool.submit(run, place) for name, (run, _, _) in COMMANDS.items()}
        return {name: job.result() for name, job in jobs.items()}


@pytest.mark.slow(group="secrets")
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_is_said(name: str, ran: dict[str, Ran], place: Place) -> None:
    one, (_, code, words) = ran[name], COMMANDS[name]
    assert one.code == code, one.err
    assert words in one.err
    assert not leaks((one.out + one.err).encode(), *place.keys)
    assert not leaks("\n".join(one.watch.commands).encode(), *place.keys)


def test_nothing_is_written(ran: dict[str, Ran], place: Place) -> None:
    made = {path.name for path in place.written.rglob("*") if path.is_file()}
    assert {"run.json", "findings.json", "manifest.json", "fleet.html", "setup_check.ipynb"} <= made
    assert not leaks_of_files(place.written, *place.keys)


def test_kernels_have_nothing_to_tell(ran: dict[str, Ran], place: Place) -> None:
    seen = [text for one in ran.values() for text in one.watch.kernels.values()]
    assert len(seen) >= 3
    assert not leaks("\n".join(seen).encode(), *place.keys)
    assert "CILIUM_ANALYSIS_" not in "\n".join(seen)
    (failed,) = place.written.glob("failed/*/drop_reasons.ipynb")
    outputs = [o for c in nbformat.read(failed, as_version=4).cells for o in c.get("outputs", ())]
    assert [o for o in outputs if "PATH" in o.get("text", "")]  # it did tell what it has


@pytest.mark.slow(group="secrets")
def test_what_was_planted_was_used(ran: dict[str, Ran], place: Place) -> None:
    heard = {request.headers.get("authorization") for request in place.echo.requests}
    assert f"Bearer {BEARER['token-file']}" in heard
    asked = {request.headers.get("authorization") for request in place.kube.requests}
    assert {f"Bearer {BEARER['kube']}", f"Bearer {BEARER['exec']}"} <= asked
    assert place.told.requests


# A schedule


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kubernetes", "systemd"])
def test_schedules_take_nothing_from_the_environment(kind: str, place: Place) -> None:
    extra = (
        [] if kind == "kubernetes" else ["--credential", f"token={place.folder}/BEARER_TOKEN_FILE"]
    )
    one = place.run("schedule", kind, "--source", "https://prometheus.example", *extra, "--debug")
    assert one.code == 0, one.err
    assert not leaks((one.out + one.err).encode(), *place.keys)


@pytest.mark.parametrize("kind", ["kubernetes", "cron", "systemd"])
@pytest.mark.parametrize(
    "given",
    [
        ["--source", "https://user:{}@prometheus.example"],
        ["--sourc", "https://user:{}@prometheus.example"],
        ["--source", "https://prometheus.example", "--notify", "json://{}@host"],
    ],
)
def test_schedules_refuse_what_is_planted_in_their_options(
    given: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = quote(planted("option"), safe="")
    assert main(["schedule", kind, *(word.format(secret) for word in given), "--debug"]) == 2
    said = "".join(capsys.readouterr())
    assert said
    assert not leaks(said.encode())


# Servers and proxies that say what they were sent


@pytest.mark.parametrize("status", [200, 400, 401, 422, 500, 502])
@pytest.mark.parametrize("by", ["token", "basic", "headers", "config", "command", "aws"])
def test_a_server_that_says_what_it_was_sent(
    status: int, by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = planted("sent").replace("ü", "") if by != "basic" else planted("sent")
    monkeypatch.setenv("CILIUM_ANALYSIS_SENT", BEARER["token-file"] if by == "token" else secret)
    with Stub(echoing) as proxy:
        user = quote(planted("proxy"), safe="")
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", f"//user:{user}@"))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        if by == "config":
            (tmp_path / "token").write_text(BEARER["token-file"])
            (tmp_path / "http.yaml").write_text(
                "authorization: {credentials_file: token}\n"
                f"http_headers: {{X-Key: {{secrets: ['{MARK}-key']}}}}\n"
                f"proxy_url: '{os.environ['http_proxy']}'\n"
            )
            monkeypatch.delenv("http_proxy")
        if by == "aws":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"{MARK}-key")
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", planted("aws"))
            monkeypatch.setenv("AWS_SESSION_TOKEN", f"{MARK}-session/+=")
            monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        credentials = {
            "config": Credentials(http_config=str(tmp_path / "http.yaml")),
            "command": Credentials(bearer_token_command=f"echo '{BEARER['token-variable']}'"),
            "aws": Credentials(sign_in="aws"),
            "token": Credentials(bearer_token_env="CILIUM_ANALYSIS_SENT", tenant=f"{MARK}-tenant"),
            "basic": Credentials(username="ann", password_env="CILIUM_ANALYSIS_SENT"),
            "headers": Credentials(),
        }[by]
        with Prometheus(
            f"http://prometheus.example/{status}",
            credentials=credentials,
            headers={"X-Key": secret} if by == "headers" else None,
            retries=0,
        ) as client:
            said = ""
            try:
                client.instant("up", datetime(2026, 3, 10, tzinfo=UTC))
            except PrometheusError as problem:
                said = str(problem)
            journal = [record.as_json() for record in client.journal]
        sent = str(proxy.requests[0].headers)
    assert (status == 200) == (not said)
    assert len(said) > 60 or journal[0]["warnings"]
    assert leaks(sent.encode())
    assert not leaks(f"{said} {journal} {client!r}".encode())


@pytest.mark.parametrize(
    "address", ["http://user:{}@[proxy", "http://user:{}@proxy:port", "ftp://user:{}@x"]
)
def test_a_proxy_that_cannot_be(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", address.format(f"{MARK}-proxy"))
    monkeypatch.delenv("no_proxy", raising=False)
    with Prometheus("http://prometheus.example", retries=0) as client:
        with pytest.raises(PrometheusError) as caught:
            client.query("up")
    assert not leaks(str(caught.value).encode())


# The search itself


FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "base64": lambda text: base64.b64encode(f"ann:{text}".encode()),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(f"{text}".encode()),
    "base64 of a file": lambda text: base64.b64encode(
        b"x" * 50 + gzip.compress(b"")[:0] + text.encode()
    ),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "quoted": lambda text: quote(text, safe="").encode(),
    "HTML": lambda text: html.escape(text).encode(),
    "HTML numbers": lambda text: "".join(f"&#{ord(char)};" for char in text).encode(),
    "JSON": lambda text: json.dumps({"a": text}).encode(),
    "JSON escapes": lambda text: "".join(f"\\u{ord(char):04x}" for char in text).encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "base64 of gzip": lambda text: base64.b64encode(gzip.compress(text.encode() * 3)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", range(3))
def test_the_search_finds_every_form(form: str, where: int, tmp_path: Path) -> None:
    packed = FORMS[form]("." * where + planted("control"))
    around = b"" if "gzip" in form else b"<p>before "
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.html").write_bytes(around + packed)
    assert set(leaks_of_files(tmp_path)) == {"deep/page.html"}


def test_the_search_finds_what_is_packed(tmp_path: Path) -> None:
    secret = planted("control")
    table = pa.table({"reason": [secret, "x"] * 1000})
    pq.write_table(table, tmp_path / "values.parquet", compression="zstd")
    noted = pa.table({"a": [1.0]}).replace_schema_metadata({"note": secret})
    pq.write_table(noted, tmp_path / "notes.parquet", compression="zstd")
    cell = nbformat.v4.new_code_cell(metadata={"kept": secret})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")
    (tmp_path / f"{MARK}.txt").write_text("")
    (tmp_path / "fine.txt").write_text("planted, as nobody else is")
    assert set(leaks_of_files(tmp_path)) == {"names", "values.parquet", "notes.parquet", "a.ipynb"}

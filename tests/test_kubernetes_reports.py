"""Kubernetes objects in reports, captures and checks: asked for, kept, read again offline."""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from pandas.testing import assert_frame_equal

from cilium_analysis.bundle import Bundle
from cilium_analysis.cli import main
from cilium_analysis.errors import BundleError
from cilium_analysis.kube import Kubernetes, cluster_role, load
from cilium_analysis.kube.tables import COLUMNS
from cilium_analysis.question import ask
from cilium_analysis.window import Window
from cilium_simulator.kubernetes import Moment
from cilium_simulator.scenario import load as scenario
from tests.kube_api import PATHS, KubeApi, recorded, status, write_kubeconfig
from tests.servers.served import ClusterServer

Serve = Callable[..., ClusterServer]

#: Planted in the kubeconfig; nothing that is written or said may hold one of them.
SECRETS = {"token": "hush-token-4711", "password": "hush-word-0815", "key": "hush-key-1234"}
TIMES = ["--start", "2026-03-21T08:00Z", "--end", "2026-03-21T10:00Z", "--step", "30s"]


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test in an empty directory, without settings of the machine."""
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(work)
    for name in ("CILIUM_ANALYSIS_SOURCE", "CILIUM_ANALYSIS_KUBERNETES", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with KubeApi(config={"enable-hubble": "true"}, token=SECRETS["token"]) as server:
        yield server


def kubeconfig(folder: Path, url: str, *, token: str = SECRETS["token"]) -> Path:
    """A kubeconfig with every kind of credential in it."""
    path = write_kubeconfig(folder / "kubeconfig", url, token=token)
    document = yaml.safe_load(path.read_text())
    key = base64.b64encode(SECRETS["key"].encode()).decode()
    document["users"].append(
        {"name": "other", "user": {"password": SECRETS["password"], "username": "ann"}}
    )
    document["users"].append({"name": "third", "user": {"client-key-data": key}})
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def access(api: KubeApi, tmp_path: Path) -> list[str]:
    return ["--kubernetes", "here", "--kubeconfig", str(kubeconfig(tmp_path, api.url))]


def written() -> bytes:
    """Everything below the directory of the test."""
    return b"\n".join(p.read_bytes() for p in Path().rglob("*") if p.is_file())


def assert_no_secret(*texts: str) -> None:
    """No credential in what was written or said, plain or in base64."""
    everything = written() + "".join(texts).encode()
    for secret in SECRETS.values():
        assert secret.encode() not in everything
        assert base64.b64encode(secret.encode()).rstrip(b"=") not in everything


def run_json() -> dict[str, object]:
    (path,) = Path().glob("*/*/run.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


# What is kept


@pytest.mark.slow
def test_a_capture_keeps_what_the_api_shows(
    cluster_server: Serve, access: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    served = cluster_server("sample")
    command = ["capture", "drop_reasons", "--source", served.url, *TIMES, *access]
    assert main([*command, "--output", "kept", "--debug"]) == 0
    out, err = capsys.readouterr()
    assert f"Reading {served.url} and Kubernetes (here)" in err
    assert_no_secret(out, err)
    kept = ask(source="kept", baseline="").cluster
    assert kept is not None
    direct = load(Kubernetes(access[-1], "here"))
    for name in COLUMNS:
        if name != "events":
            assert_frame_equal(getattr(kept, name), getattr(direct, name))
    assert kept.cilium_config.equals(direct.cilium_config)


def test_events_are_those_since_the_baseline_began(
    cluster_server: Serve, api: KubeApi, access: list[str]
) -> None:
    def event(name: str, at: str) -> dict[str, object]:
        about = {"kind": "Pod", "namespace": "shop", "name": name}
        times = {"firstTimestamp": at, "lastTimestamp": at}
        return {"involvedObject": about, "reason": "Killing", "type": "Normal", **times}

    moments = {
        "before": "2026-03-21T05:59:59Z",
        "baseline": "2026-03-21T06:00:00Z",
        "window": "2026-03-21T10:00:00Z",
        "after": "2026-03-21T10:00:01Z",
    }
    api.objects[PATHS["Event"]] = [event(name, at) for name, at in moments.items()]
    command = ["capture", "drop_reasons", "--source", cluster_server("sample").url, *TIMES]
    assert main([*command, *access, "--output", "kept"]) == 0
    cluster = ask(source="kept", baseline="").cluster
    assert cluster is not None
    assert list(cluster.events["name"]) == ["baseline", "window"]


@pytest.mark.slow
def test_the_api_is_read_once(cluster_server: Serve, api: KubeApi, access: list[str]) -> None:
    command = ["report", "drop_reasons", "setup_check", "--source", cluster_server("sample").url]
    assert main([*command, *TIMES, *access]) == 0
    assert {path: len(api.asked(path)) for path in PATHS.values()} == dict.fromkeys(
        PATHS.values(), 1
    )


@pytest.mark.slow
def test_nothing_is_read_unless_asked(
    cluster_server: Serve, api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, api.url)))
    command = ["report", "drop_reasons", "--source", cluster_server("sample").url, *TIMES]
    assert main(command) == 0
    assert api.requests == []
    assert run_json()["kubernetes"] is None
    (page,) = Path().glob("*/*/index.html")
    assert "not read (<code>--kubernetes</code>" in page.read_text()


def test_the_environment_switches_it_on(
    cluster_server: Serve, api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, api.url)))
    monkeypatch.setenv("CILIUM_ANALYSIS_KUBERNETES", "current")
    times = {"start": "2026-03-21T08:00Z", "end": "2026-03-21T10:00Z", "step": "30s"}
    question = ask(source=cluster_server("sample").url, **times)
    assert api.requests == []
    assert question.cluster is not None
    assert question.cluster.server == api.url
    assert len(api.asked(PATHS["Node"])) == 1
    assert ask(source="sample").kubernetes is None


@pytest.mark.slow
def test_a_report_says_what_was_read_and_what_not(
    cluster_server: Serve, api: KubeApi, access: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    api.forbid(PATHS["Service"])
    command = ["report", "drop_reasons", "setup_check", "--source", cluster_server("sample").url]
    assert main([*command, *TIMES, *access]) == 0
    assert_no_secret(*capsys.readouterr())
    told = run_json()["kubernetes"]
    assert isinstance(told, dict)
    assert (told["server"], told["unread"]) == (api.url, ["services"])
    assert any("services" in note and "403" in note for note in told["notes"])
    # The recorded objects are of another cluster than the simulated metrics.
    assert any("seem to be of different clusters" in note for note in told["notes"])
    assert any(re.search(r"read \w+ after the end", note) for note in told["notes"])
    (page,) = Path().glob("*/*/index.html")
    text = page.read_text()
    assert api.url in text
    assert "could not be read: services" in text
    assert "seem to be of different clusters" in text


@pytest.mark.slow
def test_offline_the_findings_are_the_same(cluster_server: Serve, access: list[str]) -> None:
    topics = ["drop_reasons", "setup_check"]
    command = ["report", *topics, "--source", cluster_server("sample").url, *TIMES, *access]
    assert main([*command, "--output", "live"]) == 0
    (bundle,) = Path("live").glob("*/bundle")
    assert main(["report", "--source", str(bundle), "--output", "offline"]) == 0
    live, offline = (next(Path(name).glob("*/findings.json")) for name in ("live", "offline"))
    assert live.read_bytes() == offline.read_bytes()
    again = next(Path("offline").glob("*/bundle/kubernetes.json"))
    assert again.read_bytes() == (bundle / "kubernetes.json").read_bytes()


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[list[str]]:
    """Access to the simulated cluster of the sample, as its API showed it at the window's end."""
    told = scenario("sample")
    moment = Moment(told, 27 * 3600)
    objects = {PATHS[kind]: found for kind, found in moment.objects().items()}
    with KubeApi(objects, config=moment.config(), token=SECRETS["token"]) as server:
        yield ["--kubernetes", "here", "--kubeconfig", str(kubeconfig(tmp_path, server.url))]


def test_the_check_prints_what_kubernetes_says(
    cluster_server: Serve, simulated: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--source", cluster_server("sample").url, *TIMES, *simulated]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "Kubernetes, agent: scraped – prometheus-serve-addr=:9962" in lines
    assert "Kubernetes, Service hubble-metrics: selects 6 pods – k8s-app=cilium" in lines
    assert any(line.startswith("Kubernetes, nodes and agents: an agent on every") for line in lines)
    assert "of different clusters" not in out
    assert_no_secret(out, err)


@pytest.mark.slow
def test_the_simulated_cluster_offline(cluster_server: Serve, simulated: list[str]) -> None:
    command = ["report", "setup_check", "--source", cluster_server("sample").url, *TIMES]
    assert main([*command, *simulated, "--output", "live"]) == 0
    (bundle,) = Path("live").glob("*/bundle")
    assert main(["report", "--source", str(bundle), "--output", "offline"]) == 0
    live, offline = (next(Path(name).glob("*/findings.json")) for name in ("live", "offline"))
    assert live.read_bytes() == offline.read_bytes()
    pages = [next(Path(name).glob("*/setup_check.html")) for name in ("live", "offline")]
    assert all("an agent on every node" in page.read_text() for page in pages)
    assert_no_secret()


# What goes wrong


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if " Reading " not in line]
    assert (out, len(said)) == ("", 1), err
    return said[0]


@pytest.mark.parametrize("command", ["report", "capture", "check"])
def test_credentials_that_are_refused(
    command: str,
    cluster_server: Serve,
    api: KubeApi,
    access: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    api.token = "another"
    asked = [command, "--source", cluster_server("sample").url, *TIMES, *access, "--debug"]
    assert main(asked) == 2
    out, err = capsys.readouterr()
    assert "does not accept the credentials" in err.splitlines()[-1]
    assert_no_secret(out, err)
    assert [path for path in Path().rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("command", ["report", "capture", "check"])
def test_an_api_that_is_not_there(
    command: str,
    cluster_server: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        path = kubeconfig(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
    monkeypatch.setattr("cilium_analysis.retry.random.uniform", lambda a, b: 0.0)
    access = ["--kubernetes", "current", "--kubeconfig", str(path)]
    asked = [command, "--source", cluster_server("sample").url, *TIMES, *access]
    assert main(asked) == 1
    assert "cannot reach http://127.0.0.1" in complaint(capsys)
    assert [path for path in Path().rglob("*") if path.is_file()] == []


BAD = {
    "a bundle has its own": (
        ["--source", "sample", "--kubernetes", "current"],
        "a bundle brings its own",
    ),
    "a kubeconfig alone": (
        ["--source", "http://127.0.0.1:9", "--kubeconfig", "x"],
        "add --kubernetes current",
    ),
    "no such file": (
        ["--source", "http://127.0.0.1:9", "--kubernetes", "current", "--kubeconfig", "nowhere"],
        "there is no kubeconfig nowhere",
    ),
    "no such context": (
        ["--source", "http://127.0.0.1:9", "--kubernetes", "heer", "--kubeconfig", "FILE"],
        "did you mean here?",
    ),
    "no pod": (
        ["--source", "http://127.0.0.1:9", "--kubernetes", "in-cluster"],
        "holds no service account",
    ),
    "both": (
        ["--source", "http://127.0.0.1:9", "--kubernetes", "in-cluster", "--kubeconfig", "FILE"],
        "needs no kubeconfig",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "capture", "check"])
@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(
    command: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(kubeconfig(tmp_path, "http://127.0.0.1:9"))
    given = [file if argument == "FILE" else argument for argument in arguments]
    assert main([command, *given]) == 2
    said = complaint(capsys)
    assert message in said
    assert_no_secret(said)
    assert [path for path in Path().rglob("*") if path.is_file()] == []


# Bundles


@pytest.fixture
def kept(cluster_server: Serve, access: list[str]) -> Path:
    command = ["capture", "drop_reasons", "--source", cluster_server("sample").url, *TIMES]
    assert main([*command, *access, "--output", "kept"]) == 0
    return Path("kept")


def test_objects_that_were_changed_are_noticed(kept: Path) -> None:
    file = kept / "kubernetes.json"
    file.write_bytes(file.read_bytes().replace(b"true", b"false"))
    with pytest.raises(BundleError, match="has changed since it was recorded"):
        _ = ask(source="kept").cluster
    file.unlink()
    with pytest.raises(BundleError, match="damaged"):
        _ = ask(source="kept").cluster


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"file": "../../etc/passwd"},
        {"read": "yesterday"},
        {"notes": "none"},
        {"unread": [1]},
        {"sha256": None},
    ],
    ids=str,
)
def test_a_manifest_that_lies_about_them_is_refused(kept: Path, change: dict[str, object]) -> None:
    path = kept / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["kubernetes"] |= change
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="manifest of kept is damaged"):
        Bundle(kept)


def test_a_bundle_from_before_is_read(kept: Path) -> None:
    path = kept / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["kubernetes"]
    path.write_text(json.dumps(manifest))
    assert ask(source="kept").cluster is None
    assert Bundle(kept).kubernetes is None


def test_a_bundle_is_read_without_the_package(kept: Path) -> None:
    code = (
        "import sys; sys.modules['kubernetes'] = None\n"
        "from cilium_analysis.question import ask\n"
        f"print(len(ask(source={str(kept)!r}).cluster.pods))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(recorded()[PATHS["Pod"]])


# The rest


def test_the_role_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--cluster-role"]) == 0
    out = capsys.readouterr().out
    assert out == cluster_role()
    assert yaml.safe_load(out)["kind"] == "ClusterRole"


def test_in_cluster_is_the_pods_own(
    api: KubeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a kubeconfig lies about, as in a pod that has mounted one."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    chosen = Kubernetes.at("in-cluster")
    assert chosen.in_cluster
    assert chosen.name == "in-cluster"
    assert Kubernetes.at("current").name == "current"
    assert Kubernetes.at("prod").context == "prod"


@pytest.mark.slow
def test_a_hostile_server_cannot_write_into_the_page(
    cluster_server: Serve, api: KubeApi, access: list[str]
) -> None:
    said = "<script>alert(1)</script>"
    api.always(PATHS["Pod"], status(403, "Forbidden", said))
    command = ["report", "drop_reasons", "setup_check", "--source", cluster_server("sample").url]
    assert main([*command, *TIMES, *access]) == 0
    pages = [path.read_text() for path in Path().rglob("*.html")]
    assert all("<script>alert" not in page for page in pages)
    assert any("&lt;script&gt;alert" in page for page in pages)


def test_the_question_says_where_it_would_read() -> None:
    window = Window.parse("2026-03-21T08:00Z", "2026-03-21T10:00Z", step="30s")
    question = ask(
        source="http://127.0.0.1:9",
        start=window.start.isoformat(),
        end=window.end.isoformat(),
        kubernetes="prod",
    )
    assert "Kubernetes: prod" in repr(question)

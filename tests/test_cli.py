"""The command line: what people type, what they get back, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cilium_analysis import __version__, connect
from cilium_analysis.bundle import Bundle
from cilium_analysis.capture import TOPICS
from cilium_analysis.cli import main
from cilium_analysis.cli.options import joined_times
from cilium_analysis.cli.parser import build_parser
from cilium_analysis.connection import sample_directory
from cilium_analysis.report.notebooks import notebook_directory
from cilium_analysis.topics import drops
from cilium_analysis.window import Window
from tests.servers.served import ClusterServer

Serve = Callable[..., ClusterServer]
PROGRAM = [
    sys.executable,
    "-c",
    "import sys; from cilium_analysis.cli import main; sys.exit(main())",
]


REPORT = ["report", "--source", "sample"]


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test in an empty directory, with the process's own signals afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CILIUM_ANALYSIS_SOURCE", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def website() -> Iterator[str]:
    """A web server that is no Prometheus."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><title>Sign in</title></html>")

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def left() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


# Fine


@pytest.mark.slow
def test_the_demo_reports_on_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert "1. [critical] Drops “Policy denied” (ingress) mostly from batch/report to" in out
    assert "2026-03-21 09:00:00 to 2026-03-21 09:42:00 UTC" in out
    (page,) = re.findall(r"Report: (\S+)", out)
    assert Path(page).is_file()
    assert err.splitlines() == [
        "cilium-analysis: Reading sample (a simulated cluster, Cilium 1.15.2)",
        f"cilium-analysis: Running {', '.join(TOPICS)}",
    ]
    run = json.loads((Path(page).parent / "run.json").read_text())
    assert [row["topic"] for row in run["topics"]] == list(TOPICS)
    assert run["status"] == "complete"


@pytest.mark.slow
@pytest.mark.parametrize(("fail_on", "code"), [("critical", 20), ("warning", 20)])
def test_findings_decide_the_exit_code_when_asked(fail_on: str, code: int) -> None:
    assert main([*REPORT, "drop_reasons", "--fail-on", fail_on]) == code


@pytest.mark.slow
def test_a_quiet_window_is_fine_whatever_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = ["--start", "2026-03-21T08:00Z", "--end", "2026-03-21T08:50Z", "--step", "30s"]
    baseline = ["--baseline", "2026-03-21T06:00Z/2026-03-21T08:00Z"]
    command = [
        "report",
        "drop_reasons",
        "--source",
        "sample",
        *quiet,
        *baseline,
        "--fail-on",
        "warning",
    ]
    assert main(command) == 0
    assert "Nothing unusual." in capsys.readouterr().out


@pytest.mark.slow
def test_a_report_on_a_live_server_finds_what_the_topic_finds(
    cluster_server: Serve, server_kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    served = cluster_server("sample", server_kind)
    start, end = "2026-03-21T08:00:00Z", "2026-03-21T10:00:00Z"
    times = ["--start", start, "--end", end, "--step", "30s", "--timezone", "Asia/Tokyo"]
    assert main(["report", "drop_reasons", "--source", served.url, *times]) == 0
    out = capsys.readouterr().out
    assert "2026-03-21 18:00:00 to 2026-03-21 18:42:00 Asia/Tokyo" in out
    (page,) = re.findall(r"Report: (\S+)", out)
    found = json.loads((Path(page).parent / "findings.json").read_text())
    window = Window.parse(start, end, step="30s")
    direct = drops.findings(drops.load(connect(served.url), window, window.baseline()))
    assert found == json.loads(json.dumps(direct.as_json()))
    assert found["source"] == served.url


@pytest.mark.slow
def test_capture_then_report_offline(cluster_server: Serve) -> None:
    served = cluster_server("sample")
    times = ["--start", "2026-03-21T08:00Z", "--end", "2026-03-21T10:00Z", "--step", "30s"]
    assert (
        main(["capture", "drop_reasons", "--source", served.url, *times, "--output", "kept"]) == 0
    )
    assert main(["report", "drop_reasons", "--source", served.url, *times, "--output", "live"]) == 0
    assert main(["report", "--source", "kept", "--output", "offline"]) == 0
    live, offline = (next(Path(name).glob("*/findings.json")) for name in ("live", "offline"))
    assert live.read_bytes() == offline.read_bytes()


@pytest.mark.slow
def test_a_bundle_replays_without_its_matchers_being_named(
    cluster_server: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    served = cluster_server("sample")
    times = ["--start", "2026-03-21T08:30Z", "--end", "2026-03-21T09:30Z", "--step", "60s"]
    asked = ["--match", 'node=~"worker-[12]"']
    record = ["capture", "drop_reasons", "--source", served.url, *times, *asked]
    assert main([*record, "--output", "kept"]) == 0
    assert main(["report", "--source", "kept", "--output", "offline"]) == 0
    assert """, only node=~"worker-[12]\"""" in capsys.readouterr().err
    (file,) = Path("offline").glob("*/run.json")
    run = json.loads(file.read_text())
    assert run["parameters"]["match"] == asked[1]
    assert run["cost"]["samples"] > 0
    assert main(["report", "--source", "kept", "--match", 'node="worker-3"']) == 2
    assert r"""matchers {node=~"worker-[12]"}: leave --match out""" in capsys.readouterr().err


def test_capture_names_the_bundle_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--source", "sample", "drop_reasons"]) == 0
    (name,) = re.findall(r"Bundle: (\S+)", capsys.readouterr().out)
    assert Bundle(Path(name)).window.points == 241


@pytest.mark.slow
def test_the_source_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_ANALYSIS_SOURCE", "sample")
    assert main(["capture", "--output", "kept"]) == 0


def test_times_before_now_are_not_taken_for_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--source", "sample", "--start", "-2h", "--end", "-1h"]) == 2
    assert "no answer for" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["report", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--fail-on" in out
    assert __version__ in out


def test_the_help_of_report_lists_the_questions_of_its_notebooks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    out = capsys.readouterr().out
    for name in TOPICS:
        notebook = json.loads((notebook_directory() / f"{name}.ipynb").read_text())
        title = notebook["cells"][0]["source"][0].removeprefix("# ").strip()
        assert re.search(rf"^  {name} +{re.escape(title)}$", out, re.MULTILINE)
    examples = out.partition("examples:\n")[2].partition("\n\n")[0].replace("\\\n", " ")
    for example in examples.splitlines():
        command = shlex.split(example)
        assert command[0] == "cilium-analysis"
        build_parser().parse_args(joined_times(command[1:]))
    assert len(examples.splitlines()) == 4


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import atexit, sys; from cilium_analysis.cli import main\n"
        "atexit.register(lambda: print(*sys.modules)); main(['report', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "argparse" in loaded
    assert not {"pandas", "numpy", "papermill", "requests"} & set(loaded)


@pytest.mark.slow
def test_reports_do_without_the_grammar_of_addresses() -> None:
    """With JupyterLab comes one that jsonschema would spend two seconds on; others may use it."""
    code = (
        "import sys, cilium_analysis.report, nbformat\n"
        "nbformat.validate(nbformat.v4.new_notebook())\n"
        "print(*sys.modules)\n"
        "import rfc3987_syntax"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "jsonschema" in done.stdout.split()
    assert "lark" not in done.stdout.split()


# Bad input: one line, exit 2, nothing written

BAD = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["repot"], "invalid choice: 'repot'"),
    "unknown option": ([*REPORT, "--nope"], "unrecognized arguments: --nope"),
    "no source": (["report"], "no source: give --source"),
    "unknown source": (["report", "--source", "nowhere"], "no source 'nowhere'"),
    "unknown topic": ([*REPORT, "drop_reason"], "did you mean drop_reasons?"),
    "unparsable time": ([*REPORT, "--start", "yesterdayish"], "'yesterdayish' is not a time"),
    "reversed times": (
        [*REPORT, "--start", "2026-03-21T10:00Z", "--end", "2026-03-21T08:00Z"],
        "ends",
    ),
    "step of zero": ([*REPORT, "--start", "2026-03-21T08:00Z", "--step", "0"], "step of zero"),
    "the future": ([*REPORT, "--start", "2999-01-01T00:00Z"], "future"),
    "unknown zone": ([*REPORT, "--timezone", "Mars/Olympus"], "unknown time zone 'Mars/Olympus'"),
    "bad matcher": ([*REPORT, "--match", "cluster=prod"], "cannot read the label matchers"),
    "bad baseline": ([*REPORT, "--baseline", "sometime"], "sometime"),
    "overlapping baseline": (
        [*REPORT, "--baseline", "2026-03-21T09:00Z/2026-03-21T11:00Z"],
        "overlaps",
    ),
    "no notebooks at a time": ([*REPORT, "--jobs", "0"], "'0' is not a number of notebooks"),
    "unknown severity": ([*REPORT, "--fail-on", "info"], "invalid choice: 'info'"),
    "around and a start": (
        [*REPORT, "--around", "2026-03-21 09:10", "--start", "-2h"],
        "--around finds start and end of the window: leave --start out",
    ),
    "around and an end of capture": (
        ["capture", "--source", "sample", "--around", "-2h", "--end", "now"],
        "--around finds start and end of the window: leave --end out",
    ),
    "around and an alert": ([*REPORT, "--around", "-2h", "--alert", "x"], "leave --alert out"),
    "an alert and a start": ([*REPORT, "--alert", "x", "--start", "-2h"], "leave --start out"),
    "unparsable around": ([*REPORT, "--around", "lunch"], "'lunch' is not a time"),
    "around the future": ([*REPORT, "--around", "2999-01-01"], "2999-01-01 is in the future"),
    "around of another time": (
        [*REPORT, "--around", "2026-03-21 12:10"],
        "the bundle is not of this time, but of 2026-03-21 08:00 to 10:00 UTC",
    ),
    "an alert of a bundle": ([*REPORT, "--alert", "x"], "a bundle holds no alerts"),
    "around of a resumed run": (["report", "--resume", "x", "--around", "-2h"], "leave out"),
    "an alert of a resumed bundle": (["capture", "--resume", "x", "--alert", "y"], "leave out"),
    "around of the check": (["check", "--around", "-2h"], "unrecognized arguments: --around=-2h"),
    "an alert of a fleet": (["fleet", "x", "--alert", "y"], "unrecognized arguments: --alert y"),
    "around of a schedule": (
        ["schedule", "cron", "--source", "http://prometheus:9090", "--around", "-2h"],
        "unrecognized arguments: --around=-2h",
    ),
    "not in the bundle": ([*REPORT, "--start", "2026-03-01T00:00Z"], "the bundle holds"),
    "output is a file": ([*REPORT, "--output", __file__], "cannot write to"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    lines = _complaint(capsys)
    assert message in lines[-1]
    assert [path for path in Path().rglob("*") if path.is_file()] == []


def _complaint(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was said but for the progress: one line."""
    out, err = capsys.readouterr()
    assert out == ""
    said = [line for line in err.splitlines() if " Reading " not in line]
    assert len(said) == 1, err
    assert said[0].startswith("cilium-analysis: ")
    return said


def test_a_bundle_that_is_damaged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(sample_directory(), kept)
    manifest = json.loads((kept / "manifest.json").read_text())
    answer = kept / manifest["answers"][0]["file"]
    answer.write_bytes(answer.read_bytes()[:-1] + b"?")
    assert main(["report", "--source", "kept"]) == 2
    assert "has changed since it was recorded" in _complaint(capsys)[0]
    (kept / "manifest.json").write_text('{"schema": "cilium-analysis/bundle/9"}')
    assert main(["report", "--source", "kept"]) == 2
    assert "cilium-analysis/bundle/9" in _complaint(capsys)[0]


def test_a_server_that_is_not_prometheus(website: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--source", website]) == 1
    assert "Prometheus" in _complaint(capsys)[0]
    assert list(Path("reports").iterdir()) == []


def test_matchers_that_the_server_rejects(
    cluster_server: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    served = cluster_server("sample")
    command = ["report", "--source", served.url, "--start", "2026-03-21T08:00Z"]
    assert main([*command, "--end", "2026-03-21T10:00Z", "--match", 'reason=~"("']) == 1
    assert "error parsing regexp" in _complaint(capsys)[0]


@pytest.mark.slow
def test_a_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert main(["report", "--source", address]) == 1
    assert address in _complaint(capsys)[0]


def test_passwords_in_the_address_are_never_shown(
    website: str, capsys: pytest.CaptureFixture[str]
) -> None:
    address = website.replace("http://", "http://ann:hunter2@")
    assert main(["report", "--source", address, "--debug"]) == 1
    out, err = capsys.readouterr()
    assert "hunter2" not in out + err
    assert "Traceback" in err


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--source", "sample", "\x1b]0;owned\x07"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_an_error_of_ours_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("kept").mkdir()
    (Path("kept") / "manifest.json").mkdir()
    assert main(["report", "--source", "kept"]) == 2
    assert "is damaged" in _complaint(capsys)[0]


@pytest.mark.slow
@pytest.mark.parametrize("step", [[], ["--step", "30s"]], ids=["asking", "recording"])
def test_ctrl_c_while_a_server_keeps_silent(tmp_path: Path, step: list[str]) -> None:
    """Without a step, already the question asks: for the scrape intervals."""
    out = tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [*PROGRAM, "report", "--source", address, "--output", str(out), *step]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        with silent.accept()[0] as connection:
            assert connection.recv(1)  # it has asked, and waits
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped; nothing was left behind" in err
    assert "Traceback" not in err
    assert out.exists() == bool(step)
    assert list(out.glob("*")) == []
